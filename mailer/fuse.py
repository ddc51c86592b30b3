"""The circuit breaker as one sender sees it: how many mails may be claimed now, and what their ends mean.

In: the end of every attempt, and the breaker's state in the ledger. Out: all, one (a test) or none. While
mail flows it costs a batch one comparison per mail and no statement; what it decides is
`holds_core.breaker`, and what it keeps `holds_core.ledger.breaker`.
"""

from __future__ import annotations

from holds_core.breaker import Limit, Position, State, Window, may_test
from holds_core.ledger import breaker, outbox
from holds_core.ledger.sending import Finish
from holds_core.ledger.session import Ledger
from holds_core.notices import Outcome, Transmission
from holds_core.reasons import Fault
from holds_core.settings import Settings
from mailer import maillog
from mailer.clock import Clock

ALL = 1_000_000
"""As many as there are."""


class Fuse:
    """One per sender; `owner` is the sender's."""

    def __init__(self, ledger: Ledger, clock: Clock, owner: str, settings: Settings) -> None:
        self._ledger, self._clock, self._owner = ledger, clock, owner
        self._limit = limit_of(settings)
        self._window = Window(self._limit)
        self._blown: Finish | None = None
        self._testing = False
        self._passed: bool | None = None
        self._ended = False
        self.closed = True
        """Whether the breaker let mail through when it was last looked at."""

    def reload(self, settings: Settings) -> None:
        """Takes a new limit; what was counted under the old one is forgotten."""
        if (limit := limit_of(settings)) != self._limit:
            self._limit, self._window = limit, Window(limit)

    @property
    def stops(self) -> bool:
        """Whether no further mail may be dialled, not even one that is claimed and composed."""
        return self._blown is not None or not (self.closed or self._testing)

    def note(self, finish: Finish) -> bool:
        """One attempt ended. Returns whether it blew the fuse: nothing more may leave."""
        ours = finish.state is Transmission.REFUSED and finish.fault == Fault.US
        if self._testing:
            self._ended = True
            handed_over = finish.state is Transmission.HANDED_OVER
            self._passed = True if handed_over else False if ours else None
            return False
        if finish.state not in (Transmission.HANDED_OVER, Transmission.REFUSED) or self._blown is not None:
            return False
        if self._window.note(finish.at, ours=ours):
            self._blown = finish
            return True
        return False

    async def allowed(self, state: State, *, idle: bool) -> int:
        """How many mails may be claimed now: ALL, 1 or 0. `idle`: none of ours is under way."""
        if self._blown is not None:
            state = await self._open(self._blown)
        if self._testing:
            if not (self._ended or idle):
                return 0
            state = await self._end_test()
        if state.lets_mail_through:
            if not self.closed:
                self._window.clear()
            self.closed = True
            return ALL
        if self.closed:
            # another daemon's, or one from before a restart: what is claimed here may not wait for it
            self.closed = False
            async with self._ledger.write() as connection:
                await outbox.unlease(connection, self._owner)
        return 1 if await self._begin_test(state) else 0

    async def nothing_to_test(self) -> bool:
        """The test found no mail that waits. Whether one of the refused ones now waits in its place."""
        now = self._clock.now()
        async with self._ledger.write() as connection:
            return await breaker.put_one_back(connection, now)

    async def _open(self, last: Finish) -> State:
        """Opens it for all daemons, and gives back what was claimed and not begun."""
        now = self._clock.now()
        async with self._ledger.write() as connection:
            state = await breaker.open_(
                connection, self._limit, now, self._window, last.reason, _code(last.outcome)
            )
            await outbox.unlease(connection, self._owner)
        maillog.stopped_by_breaker(self._window.refused, self._window.mails, last.reason, _code(last.outcome))
        self._blown = None
        self._window.clear()
        return state

    async def _begin_test(self, state: State) -> bool:
        now = self._clock.now()
        if not may_test(state, now):
            return False
        async with self._ledger.write() as connection:
            begun = await breaker.begin_test(connection, now)
        self._testing, self._ended, self._passed = begun, False, None
        return begun

    async def _end_test(self) -> State:
        now = self._clock.now()
        async with self._ledger.write() as connection:
            state = await breaker.end_test(connection, self._limit, now, passed=self._passed)
        maillog.tested_by_breaker(state.position.value, self._passed)
        self._testing = False
        return state


def shown(state: State) -> str:
    """Why nothing leaves, for the status line and `todoku batch`; "" while mail flows."""
    if state.lets_mail_through:
        return ""
    last = "; waits for todoku resume" if state.position is Position.STOPPED else ""
    return f"circuit breaker: {state.refused} of {state.mails} refused ({state.code} {state.reason}){last}"


def limit_of(settings: Settings) -> Limit:
    """The library's limit."""
    wanted = settings.sending.breaker
    return Limit(wanted.share, wanted.at_least, wanted.probe_after, wanted.probes)


def _code(outcome: Outcome) -> str:
    """ "550 5.7.1", without the words: they may quote an address."""
    return " ".join(str(part) for part in (outcome.code, outcome.status) if part)
