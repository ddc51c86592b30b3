"""When to try a delivery again: growing delays with jitter, and the moment to give up.

In go a rule, the count of tries and the times of the first and the last one; out comes a time or None.
Pure: `now` and the jitter are arguments. Which state follows is `holds_core.notices.AFTER`'s business, and
the single second try of an uncertain delivery is the sender's.

RFC 5321 section 4.5.4.1 asks a client to delay a retry (30 minutes in general; other strategies "when the
SMTP client can determine the reason for non-delivery"), finds two attempts in the first hour and then one
every two or three hours good practice, and a give-up time of four to five days. Our client speaks to one
relay that does the long waiting itself, so what is deferred here is mostly greylisting, which is over after
some minutes (RFC 6647): hence an early first retry, and the RFC's pace after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from holds_core.errors import BadInput
from holds_core.notices import Result

_MINUTES = (5, 15, 45, 135, 180)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits after the first, second, … attempt; the last one repeats. Each is lengthened by up to the
    share `spread`. It only lengthens: a retry before a greylist's window is deferred once more.

    `give_up_after` is counted from the first attempt; None never gives up. Raises BadInput for values
    that cannot be meant.
    """

    delays: tuple[timedelta, ...]
    give_up_after: timedelta | None
    spread: float = 0.2

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) <= timedelta() or max(self.delays) > _LONGEST:
            raise BadInput("retry: expected at least one delay, each positive and at most 30 days")
        if not 0 <= self.spread <= 1:
            raise BadInput("retry: expected a spread of 0 to 1")
        if self.give_up_after is not None and not timedelta() < self.give_up_after <= _LONGEST:
            raise BadInput("retry: expected give_up_after between 0 and 30 days")

    def after(self, tries: int) -> timedelta:
        """The wait after the `tries`-th attempt (from 1), without jitter."""
        return self.delays[min(tries, len(self.delays)) - 1]


_LONGEST = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """Two paces: for a relay that answered 4xx, and for one that could not be spoken to at all.

    The defaults for deferred mail try after 0, 5, 20 and 65 minutes, 3 hours 20, and every three hours
    from then on, and give up after four days. A relay that is down is our own trouble, mended within
    minutes and no fault of the notice: it is tried up to every ten minutes and never given up; whether the
    notice is still true is checked before each try anyway.
    """

    deferred: Backoff = Backoff(
        tuple(timedelta(minutes=minutes) for minutes in _MINUTES), give_up_after=timedelta(days=4)
    )
    not_started: Backoff = Backoff(
        tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 240, 480, 600)), give_up_after=None
    )


def next_try(
    rule: RetryRule, result: Result, *, tries: int, first_try: datetime, now: datetime, jitter: float
) -> datetime | None:
    """When to try again after the `tries`-th attempt ended as `result` at `now`; None: give up.

    `tries` counts from 1, `jitter` is a fresh random number in [0, 1). A try that would fall behind the
    give-up time is made at that time, as the last one. Raises ValueError for a result other than DEFERRED
    and NOT_STARTED, for naive datetimes, and for numbers out of range.
    """
    if result not in (Result.DEFERRED, Result.NOT_STARTED):
        raise ValueError(f"an attempt that ended as {result} is not retried by this rule")
    if tries < 1 or not 0 <= jitter < 1 or now.tzinfo is None or first_try.tzinfo is None:
        raise ValueError("expected tries from 1, a jitter in [0, 1) and timezone-aware datetimes")
    backoff = rule.deferred if result is Result.DEFERRED else rule.not_started
    following = now + backoff.after(tries) * (1 + backoff.spread * jitter)
    if backoff.give_up_after is None:
        return following
    last = first_try + backoff.give_up_after
    return None if now >= last else min(following, last)
