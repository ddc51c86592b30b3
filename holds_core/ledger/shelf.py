"""The hold shelf from day to day: reminders, clocks that stand still, holds that lapse, deadlines that moved.

Enters the time and the library's rules; leaves notices owed and holds' new states. Reminders are owed under
either authority; clocks and lapsing are ours only under `authority: todoku`, else the feed says so. Each
function may be called as often as one likes: what was done before is not done again. All of them work in
the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.deadline import Standstill, has_passed, reminder_day, shifted
from holds_core.events import HoldEvent
from holds_core.holds import Hold
from holds_core.ledger import cases, decisions, outbox, registry
from holds_core.ledger.decisions import Verdict, What
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.models import case_actions, deliveries, holds, notice_holds, notices
from holds_core.ledger.outbox import Cause
from holds_core.ledger.owing import patron_record
from holds_core.notices import Finding, Kind, Transmission
from holds_core.policy import hold_owed
from holds_core.rulebook import Rulebook
from holds_core.settings import Authority

FEED = "todoku"
"""The feed that our own decisions are recorded under, beside the library system's."""

AT_ONCE = 500
"""Holds in one transaction."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one look at the shelf did."""

    reminded: int = 0
    stopped: int = 0
    resumed: int = 0
    lapsed: tuple[str, ...] = ()

    def plus(self, other: Round) -> Round:
        return Round(
            self.reminded + other.reminded,
            self.stopped + other.stopped,
            self.resumed + other.resumed,
            self.lapsed + other.lapsed,
        )


async def look(connection: AsyncConnection, book: Rulebook, rules: EventRules, now: datetime) -> Round:
    """One look: clocks first, so that nothing lapses whose notice is known not to have arrived."""
    stopped = resumed = 0
    lapsed: tuple[str, ...] = ()
    if book.settings.library.authority is Authority.TODOKU:
        if book.deadline_rule.stands_still:
            stopped, resumed = await clocks(connection, book, now)
        lapsed = await lapse(connection, book, rules, now)
    return Round(await remind(connection, book, now), stopped, resumed, lapsed)


# -- reminders -------------------------------------------------------------------------------------


async def remind(connection: AsyncConnection, book: Rulebook, now: datetime) -> int:
    """Owes `hold_expiring` for holds whose reminder is due; the next batch takes it. Returns how many.

    Each deadline is reminded of once; one that was extended is reminded of again. A hold whose own mail
    left today needs no reminder.
    """
    before = book.settings.deadline.remind_before
    if not before:
        return 0
    today = book.local(now).date()
    due = [
        row
        for row in await _expiring(connection, today, today + timedelta(before))
        if _is_due(row, book, today, before)
    ]
    for row in due:
        cause = Cause(f"expiring:{row.hold_id}:{row.deadline}", now, now)
        await tell(connection, Kind.HOLD_EXPIRING, [row.hold_id], cause)
    return len(due)


async def _expiring(connection: AsyncConnection, first: date, last: date) -> Sequence[Any]:
    about = notice_holds.c.hold_id == holds.c.hold_id
    told = (
        sa.select(sa.func.min(deliveries.c.handed_over_at))
        .join(notice_holds, notice_holds.c.notice_id == deliveries.c.notice_id)
        .where(about, deliveries.c.kind == Kind.HOLD_READY)
        .scalar_subquery()
    )
    reminded = (
        sa.select(sa.func.max(notices.c.created_at))
        .join(notice_holds, notice_holds.c.notice_id == notices.c.notice_id)
        .where(about, notices.c.kind == Kind.HOLD_EXPIRING)
        .scalar_subquery()
    )
    rows = await connection.execute(
        sa.select(holds.c.hold_id, holds.c.deadline, told.label("told"), reminded.label("reminded"))
        .where(
            holds.c.state == Hold.READY,
            holds.c.deadline.between(first, last),
            holds.c.clock_stopped_at.is_(None),
        )
        .order_by(holds.c.patron_id, holds.c.hold_id)
    )
    return rows.all()


def _is_due(row: Any, book: Rulebook, today: date, before: int) -> bool:
    if row.told is None or book.local(row.told).date() >= today:
        return False
    if row.reminded is None:
        return True
    return bool(book.local(row.reminded).date() < reminder_day(row.deadline, before))


async def tell(
    connection: AsyncConnection, kind: Kind, hold_ids: Iterable[str], cause: Cause, reason: str = ""
) -> tuple[str, ...]:
    """Owes one notice of this kind per patron, branch and contact method, with all the holds it concerns.

    Patrons who get no mail owe nothing: whoever asked tells them otherwise. Returns the notices' ids.
    """
    rows = await connection.execute(
        sa.select(holds.c.hold_id, holds.c.patron_id, holds.c.branch, holds.c.contact)
        .where(holds.c.hold_id.in_(list(hold_ids)))
        .order_by(holds.c.patron_id, holds.c.branch, holds.c.contact, holds.c.hold_id)
    )
    made: list[str] = []
    for _, group in groupby(rows.all(), lambda row: tuple(row)[1:]):
        alike = list(group)
        patron_id, branch, contact = alike[0].patron_id, alike[0].branch, alike[0].contact
        record = await patron_record(connection, patron_id)
        ids = tuple(row.hold_id for row in alike)
        owed = hold_owed(kind, record, ids[0], contact=contact, reason=reason) if record else None
        if owed is None:
            continue
        owed = replace(owed, hold_ids=ids)
        if (notice_id := await outbox.owe(connection, owed, patron_id, branch, cause)) is not None:
            made.append(notice_id)
    return tuple(made)


# -- clocks that stand still -----------------------------------------------------------------------


async def clocks(connection: AsyncConnection, book: Rulebook, now: datetime) -> tuple[int, int]:
    """Stops the clock of holds whose notice is known not to have arrived, and lets it go on once the
    patron was reached: then the deadline moves by the days that were lost. Returns (stopped, resumed)."""
    stopped = resumed = 0
    for hold_id in await _doubtful(connection):
        row = (await connection.execute(sa.select(holds).where(holds.c.hold_id == hold_id))).one()
        undelivered = await _undelivered(connection, row)
        if undelivered and row.clock_stopped_at is None:
            values: dict[str, Any] = {"clock_stopped_at": now}
            stopped += 1
        elif not undelivered and row.clock_stopped_at is not None:
            values = {"clock_stopped_at": None}
            if not await _began_anew(connection, row):
                values["deadline"] = _standing_still(book, row, now)
            resumed += 1
        else:
            continue
        await connection.execute(sa.update(holds).where(holds.c.hold_id == hold_id).values(**values))
        await cases.review(connection, row.patron_id, now)
    return stopped, resumed


def _standing_still(book: Rulebook, row: Any, now: datetime) -> date:
    still = [Standstill(row.clock_stopped_at)]
    zone = book.settings.library.timezone
    return shifted(book.deadline_rule, book.calendar(row.branch), row.deadline, still, tz=zone, now=now)


_FAILED_STATES = (Transmission.REFUSED, Transmission.EXPIRED, Transmission.WITHHELD)
_failed = sa.or_(deliveries.c.finding == Finding.BOUNCED, deliveries.c.state.in_(_FAILED_STATES))
_about_hold = sa.and_(
    notice_holds.c.notice_id == deliveries.c.notice_id,
    deliveries.c.kind == Kind.HOLD_READY,
    deliveries.c.state != Transmission.CANCELLED,
)


async def _doubtful(connection: AsyncConnection) -> list[str]:
    """Holds whose clock stands still or may have to: one of their mails failed."""
    failed = sa.select(notice_holds.c.hold_id).join(deliveries, _about_hold).where(_failed)
    found = await connection.scalars(
        sa.select(holds.c.hold_id)
        .where(
            holds.c.state == Hold.READY,
            holds.c.deadline.is_not(None),
            sa.or_(holds.c.clock_stopped_at.is_not(None), holds.c.hold_id.in_(failed)),
        )
        .order_by(holds.c.hold_id)
    )
    return list(found)


async def _undelivered(connection: AsyncConnection, hold: Any) -> bool:
    """Every mail about the hold failed, and staff have not reached the patron since it was owed."""
    rows = (
        await connection.execute(
            sa.select(
                deliveries.c.finding,
                deliveries.c.created_at,
                sa.case((_failed, True), else_=False).label("failed"),
            )
            .join(notice_holds, _about_hold)
            .where(notice_holds.c.hold_id == hold.hold_id)
        )
    ).all()
    if not rows or not all(row.failed and row.finding != Finding.CONFIRMED for row in rows):
        return False
    reached = await connection.scalar(
        sa.select(sa.func.count()).where(
            case_actions.c.patron_id == hold.patron_id,
            case_actions.c.kind == "reached",
            case_actions.c.undone_at.is_(None),
            case_actions.c.at >= min(row.created_at for row in rows),
        )
    )
    return not reached


async def _began_anew(connection: AsyncConnection, hold: Any) -> bool:
    """The period began anew since the clock stopped: by another mail, or because staff reached the patron."""
    if hold.deadline_source == "reached":
        return True
    if hold.deadline_source not in (None, "mail"):
        return False
    latest = await connection.scalar(
        sa.select(sa.func.max(deliveries.c.handed_over_at))
        .join(notice_holds, _about_hold)
        .where(notice_holds.c.hold_id == hold.hold_id)
    )
    return latest is not None and latest >= hold.clock_stopped_at


# -- lapsing ---------------------------------------------------------------------------------------


async def lapse(
    connection: AsyncConnection, book: Rulebook, rules: EventRules, now: datetime
) -> tuple[str, ...]:
    """Holds whose last day is over lapse, as if the library system had said so; their patrons are told.

    A hold whose clock stands still never lapses by itself. Returns the holds, `AT_ONCE` at most.
    """
    zone = book.settings.library.timezone
    rows = await connection.execute(
        sa.select(holds.c.hold_id, holds.c.patron_id, holds.c.deadline)
        .where(
            holds.c.state == Hold.READY,
            holds.c.deadline <= book.local(now).date(),
            holds.c.clock_stopped_at.is_(None),
        )
        .order_by(holds.c.deadline, holds.c.hold_id)
        .limit(AT_ONCE)
    )
    over = [row for row in rows if has_passed(book.deadline_rule, row.deadline, tz=zone, now=now)]
    for row in over:
        event = HoldEvent(
            type="hold.lapsed",
            id=f"lapse:{row.hold_id}:{row.deadline.isoformat()}",
            at=now,
            hold_id=row.hold_id,
            patron_id=row.patron_id,
        )
        await registry.apply(connection, event, FEED, now, rules)
        await decisions.record(
            connection,
            now,
            Verdict(What.LAPSED),
            hold_id=row.hold_id,
            patron_id=row.patron_id,
            deadline=row.deadline,
            event_id=event.id,
        )
    return tuple(row.hold_id for row in over)


async def to_take_down(connection: AsyncConnection, since: datetime) -> Sequence[Any]:
    """Holds that lapsed since then: their items may be taken from the shelf, for the next in line.

    Rows of hold_id, patron_id, branch, deadline, lapsed_at.
    """
    rows = await connection.execute(
        sa.select(
            *(holds.c.hold_id, holds.c.patron_id, holds.c.branch, holds.c.deadline),
            holds.c.event_at.label("lapsed_at"),
        )
        .where(holds.c.state == Hold.LAPSED, holds.c.event_at >= since)
        .order_by(holds.c.branch, holds.c.deadline, holds.c.hold_id)
    )
    return rows.all()
