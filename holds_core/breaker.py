"""The circuit breaker: refusals that are our own fault stop all mail before they use up a batch. Pure.

In go the outcomes of mails, one at a time, and the time; out comes whether to stop, when to let a single
mail test whether it is over, and what that test means. While it is closed nothing is remembered but the
last outcomes (`Window`); from the moment it opens its `State` is the ledger's, so that a restart changes
nothing. No patron is marked: the fault is ours.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class Position(StrEnum):
    """As with a fuse: closed lets mail through."""

    CLOSED = "closed"
    OPEN = "open"  # nothing leaves; a test follows at `probe_at`
    TESTING = "testing"  # one mail is under way to see whether it is over
    STOPPED = "stopped"  # all tests failed: a person decides


LONGEST_WAIT = timedelta(hours=4)
TEST_WITHIN = timedelta(minutes=20)
"""A test that has not ended by then never will: its daemon died. Another one may begin."""
RELAPSE = timedelta(hours=1)
"""Opening again so soon after a test let it close counts as that test's failure."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Opens at `at_least` refusals that are our fault, if they are more than `share` of the last mails.

    Tests follow after `probe_after`, then twice that, and so on; after `probes` failures a person decides.
    """

    share: float = 0.3
    at_least: int = 5
    probe_after: timedelta = timedelta(minutes=10)
    probes: int = 3

    @property
    def window(self) -> int:
        """How many mails are "the last": enough that a good morning does not hide a bad noon."""
        return max(20, 4 * self.at_least)


@dataclass(frozen=True, slots=True)
class State:
    """`since`: the first of the refusals that opened it, `refused` of `mails`; `reason` and `code` what the
    last of them said, by their names only. `tests` counts failed ones; `closed_at`: when it last closed."""

    position: Position = Position.CLOSED
    since: datetime | None = None
    opened_at: datetime | None = None
    refused: int = 0
    mails: int = 0
    reason: str = ""
    code: str = ""
    tests: int = 0
    probe_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def lets_mail_through(self) -> bool:
        return self.position is Position.CLOSED


class Window:
    """The last outcomes of one process, while the breaker is closed. Costs a batch nothing to speak of."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._last: deque[datetime | None] = deque(maxlen=limit.window)
        self._ours = 0

    def note(self, at: datetime, *, ours: bool) -> bool:
        """One mail ended; `ours`: it was refused for good, and the fault is ours. Returns whether to stop."""
        if len(self._last) == self._last.maxlen and self._last[0] is not None:
            self._ours -= 1
        self._last.append(at if ours else None)
        self._ours += ours
        return (
            ours and self._ours >= self._limit.at_least and self._ours > self._limit.share * len(self._last)
        )

    @property
    def refused(self) -> int:
        return self._ours

    @property
    def mails(self) -> int:
        return len(self._last)

    @property
    def since(self) -> datetime | None:
        """The first refusal in the window."""
        return next((at for at in self._last if at is not None), None)

    def clear(self) -> None:
        self._last.clear()
        self._ours = 0


def opened(
    before: State, limit: Limit, now: datetime, *, window: Window, reason: str = "", code: str = ""
) -> State:
    """The breaker opens for what `window` has seen. Already open it stays as it is (another daemon's)."""
    if before.position is not Position.CLOSED:
        return before
    relapsed = before.closed_at is not None and now - before.closed_at <= RELAPSE
    state = State(
        Position.OPEN,
        since=window.since or now,
        opened_at=now,
        refused=window.refused,
        mails=window.mails,
        reason=reason,
        code=code,
        tests=before.tests + 1 if relapsed else 0,
    )
    return _waiting(state, limit, now)


def may_test(state: State, now: datetime) -> bool:
    """Whether a single mail may leave now to see whether it is over."""
    if state.position not in (Position.OPEN, Position.TESTING) or state.probe_at is None:
        return False
    # far ahead: the clock was set back since
    return state.probe_at <= now or state.probe_at > now + LONGEST_WAIT


def testing(state: State, now: datetime) -> State:
    """A test begins; `probe_at` is when another one may, should this one never end."""
    return replace(state, position=Position.TESTING, probe_at=now + TEST_WITHIN)


def tested(state: State, limit: Limit, now: datetime, *, passed: bool | None) -> State:
    """How the test ended: passed closes, failed waits longer or for a person. None: it told nothing (the
    relay was down, the patron's mailbox is full), so that another one follows soon."""
    if state.position is not Position.TESTING:
        return state
    if passed:
        return State(tests=state.tests, closed_at=now)
    if passed is None:
        return replace(state, position=Position.OPEN, probe_at=now + min(limit.probe_after, LONGEST_WAIT))
    return _waiting(replace(state, position=Position.OPEN, tests=state.tests + 1), limit, now)


def resumed() -> State:
    """A person lets mail leave again: the past is forgotten."""
    return State()


def _waiting(state: State, limit: Limit, now: datetime) -> State:
    if state.tests >= limit.probes:
        return replace(state, position=Position.STOPPED, probe_at=None)
    wait = min(limit.probe_after * 2**state.tests, LONGEST_WAIT)
    return replace(state, probe_at=now + wait)
