"""An unforeseen closing (臨時休館) entered by a person: what it touches, what it moves, who is told.

Enters what somebody typed at the desk or on the command line; leaves the closing in the ledger and in this
process's calendars, deadlines moved, corrected notices owed if wanted, and a line in the audit trail: all in
one transaction. Other daemons of the library see it within seconds (`mailer.app.days`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from holds_core.calendar import DateRange
from holds_core.ledger import accounts, closures, shelf
from holds_core.ledger.closures import Closure, Touched
from holds_core.ledger.outbox import Cause
from holds_core.notices import Kind
from holds_core.policy import prompt_at
from holds_core.rulebook import Closing, Days, Rulebook
from holds_core.settings import OnClosedDays
from mailer.app.services import Services
from mailer.batches import slots_between


@dataclass(frozen=True, slots=True)
class SlotThen:
    """A batch on a day of the closing. `waits`: every branch is closed then, and batches wait for an open day."""

    key: str
    at: datetime
    waits: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """Whom a closing would touch."""

    holds: tuple[Touched, ...]
    batches: tuple[SlotThen, ...]


@dataclass(frozen=True, slots=True)
class Entered:
    """A closing in force. `moved` are the holds with a later last day, `notices` what tells of it."""

    closure: Closure
    preview: Preview
    moved: tuple[str, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A closing that does not take place. `back` are the holds with their former last day again; `kept` those
    whose patrons were told the later one, or could not come any more by the former."""

    closure: Closure
    back: tuple[str, ...]
    kept: tuple[str, ...]


async def preview(services: Services, branch: str, days: DateRange) -> Preview:
    """Whom it would touch if it were entered now; changes nothing."""
    await services.refresh_days()
    closing = Closing(branch, days)
    async with services.ledger.read() as connection:
        found = await closures.touched(connection, services.sender.rulebook, closing)
    return Preview(tuple(found), batches_then(services.sender.rulebook, services.days.known, closing))


async def enter(
    services: Services, branch: str, days: DateRange, reason: str, who: str, *, tell: bool
) -> Entered:
    """Enters a closing that `closures.check` has let pass, moves deadlines, tells their patrons if wanted.

    Raises Conflict if it is in force already.
    """
    now = services.clock.now()
    before = await preview(services, branch, days)
    async with services.ledger.write() as connection:
        closure = await closures.add(connection, branch, days, reason, who, now)
        moved = await closures.move_deadlines(connection, closure.closure_id, before.holds, now)
        cause = _cause(services.sender.rulebook, closure, now)
        notices: tuple[str, ...] = ()
        if tell and moved:
            notices = await shelf.tell(connection, Kind.DEADLINE_CHANGED, moved, cause, _because(days))
        detail = {
            "branch": branch,
            "first": days.first.isoformat(),
            "last": days.last.isoformat(),
            "reason": reason,
            "moved": len(moved),
            "notices": len(notices),
        }
        await accounts.record(connection, who, "closure.add", f"closure:{closure.closure_id}", detail, now)
    await services.refresh_days()
    return Entered(closure, before, tuple(moved), notices)


async def take_back(services: Services, closure_id: int, who: str) -> TakenBack:
    """The calendars forget a closing, and last days that nobody was told are what they were.

    Raises NotFound, Conflict.
    """
    now = services.clock.now()
    book = services.sender.rulebook
    async with services.ledger.write() as connection:
        closure = await closures.remove(connection, closure_id, who, now)
        cause = _cause(book, closure, closure.entered_at)
        back, kept = await closures.move_back(connection, closure, cause.id, book.local(now).date(), now)
        detail = {
            "branch": closure.branch,
            "first": closure.first.isoformat(),
            "moved_back": len(back),
            "kept": len(kept),
        }
        await accounts.record(connection, who, "closure.remove", f"closure:{closure_id}", detail, now)
    await services.refresh_days()
    return TakenBack(closure, tuple(back), tuple(kept))


def batches_then(book: Rulebook, known: Days, closing: Closing) -> tuple[SlotThen, ...]:
    """The batches of the days of a closing, and which of them would wait."""
    settings = book.settings
    then = Rulebook.of(settings, book.holidays, Days((*known.closings, closing), known.holidays))
    waits = settings.batch_rules.on_closed_days is OnClosedDays.WAIT
    zone = settings.library.timezone
    first = datetime.combine(closing.days.first, time(), zone) - timedelta(microseconds=1)
    last = datetime.combine(closing.days.last + timedelta(days=1), time(), zone) - timedelta(microseconds=1)
    return tuple(
        SlotThen(slot.key, slot.due_at, waits and then.all_closed(slot.due_at.astimezone(zone).date()))
        for slot in slots_between(settings.batches, zone, first, last)
    )


def _because(days: DateRange) -> str:
    """The notice's reason, as `mailer.compose.sentence` reads it."""
    return f"closure:{days.first.isoformat()}..{days.last.isoformat()}"


def _cause(book: Rulebook, closure: Closure, now: datetime) -> Cause:
    quiet_from, quiet_to = book.quiet()
    zone = book.settings.library.timezone
    leaves = prompt_at(now, nightly=False, quiet_from=quiet_from, quiet_to=quiet_to, zone=zone)
    return Cause(f"closure:{closure.closure_id}", now, leaves)


def as_json(found: Sequence[Touched]) -> list[dict[str, object]]:
    """Touched holds as commands print them."""

    def said(day: date | None) -> str | None:
        return day.isoformat() if day else None

    return [
        {
            "hold_id": item.hold_id,
            "patron_id": item.patron_id,
            "branch": item.branch,
            "deadline": said(item.deadline),
            "moves_to": said(item.moves_to),
            "contact": item.contact,
            "told": item.told,
        }
        for item in found
    ]
