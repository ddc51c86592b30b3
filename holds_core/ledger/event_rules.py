"""What decides about an event beside the event itself, and what became of it. Plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

from holds_core.address_checks import AddressDoubt
from holds_core.ledger.decisions import Verdict
from holds_core.limits import LimitRules

_NO_LIMITS = LimitRules()


@dataclass(frozen=True, slots=True)
class EventRules:
    """The settings that decide what an event owes.

    `nightly`: prompt notices of this feed wait for the morning. `baseline`: the events tell what was so
    before we came; states change, and nobody is told. `tell_extended`: a later deadline has its own notice.

    `binding`: our rules decide (`authority: todoku`), else they only warn. `waits`: what is asked for on the
    web waits for the reception run of the next open morning. `last_day`: (branch, day on which the patron
    was told, day of the shelving) -> the last day on the shelf.
    """

    zone: ZoneInfo
    max_age: timedelta
    quiet_from: time
    quiet_to: time
    default_branch: str
    nightly: bool = False
    baseline: bool = False
    tell_extended: bool = False
    binding: bool = False
    waits: bool = False
    limits: LimitRules = _NO_LIMITS
    default_contact: str = "email"
    last_day: Callable[[str, date, date], date] | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event. outcome: applied, repeat, stale, conflict. `notices` are their ids.

    `verdicts`: what our rules decided of a request, or warned of. `doubts`: about new addresses.
    """

    outcome: str
    note: str = ""
    notices: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    doubts: tuple[AddressDoubt, ...] = ()
