"""Unforeseen closings (臨時休館) and imported public holidays: entered while the daemon runs, used at once.

Enters what a person typed at the desk or on the command line; leaves `rulebook.Days` for the calendars, and
whom a closing touches: the holds whose last day it moves. Never decides what the last day is
(`holds_core.deadline`) and never lets one that a patron was told come earlier. All functions work in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.calendar import DateRange
from holds_core.deadline import OnClosing, after_closing
from holds_core.errors import BadInput, Conflict, NotFound
from holds_core.holds import Hold
from holds_core.ledger import cases, outbox
from holds_core.ledger.models import (
    UtcTime,
    case_actions,
    closures,
    deliveries,
    flags,
    holds,
    notice_holds,
    notices,
    patrons,
    public_holidays,
)
from holds_core.ledger.sql import put_flag
from holds_core.notices import UNSENT, Kind, Transmission
from holds_core.rulebook import Closing, Days, Rulebook
from holds_core.settings import Authority

HOLIDAYS = "holidays"
"""The ledger's flag that says when the list of public holidays was imported, and from which file."""

LONGEST = 366
"""Days of the longest closing that may be entered; a longer one belongs into the settings."""


@dataclass(frozen=True, slots=True)
class Closure:
    """One closing as it was entered. `branch` "": all branches."""

    closure_id: int
    branch: str
    first: date
    last: date
    reason: str
    entered_at: datetime
    entered_by: str
    moved: Mapping[str, Sequence[str]] | None = None
    removed_at: datetime | None = None
    removed_by: str = ""

    @property
    def days(self) -> DateRange:
        return DateRange(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Touched:
    """A hold on the shelf whose last day a closing concerns.

    `moves_to` is the new last day, None if the library system has to move it (authority ils, its deadline).
    `contact` is how its patron is told; `told` whether a mail with the deadline was handed over.
    """

    hold_id: str
    patron_id: str
    branch: str
    deadline: date
    moves_to: date | None
    contact: str
    told: bool


# -- entering --------------------------------------------------------------------------------------


def check(book: Rulebook, branch: str, first: date, last: date, today: date) -> DateRange:
    """The days of a closing that may be entered. Raises BadInput that says what is wrong with it."""
    if branch and branch not in {known.id for known in book.settings.library.branches}:
        raise BadInput(f"{branch}: 設定にない館です。 The settings have no such branch.")
    if last < first:
        raise BadInput("終わりの日が始まりの日より前です。 The last day lies before the first.")
    if last < today:
        raise BadInput("過ぎた日は登録できません。 These days are over.")
    if (last - first).days >= LONGEST:
        raise BadInput(f"{LONGEST}日を超える休館は設定ファイルに。 Longer closings belong into the settings.")
    return DateRange(first, last)


async def add(
    connection: AsyncConnection, branch: str, days: DateRange, reason: str, who: str, now: datetime
) -> Closure:
    """Enters a closing. Raises Conflict if the very same one is in force."""
    same = sa.and_(
        closures.c.branch == branch,
        closures.c.first == days.first,
        closures.c.last == days.last,
        closures.c.removed_at.is_(None),
    )
    if (await connection.execute(sa.select(closures.c.closure_id).where(same))).first() is not None:
        raise Conflict("同じ臨時休館が登録されています。 This closing has been entered already.")
    row = {"branch": branch, "first": days.first, "last": days.last, "reason": reason}
    row |= {"entered_at": now, "entered_by": who}
    made = await connection.execute(sa.insert(closures).values(**row).returning(closures.c.closure_id))
    return Closure(int(made.scalar_one()), **row)  # type: ignore[arg-type]


async def remove(connection: AsyncConnection, closure_id: int, who: str, now: datetime) -> Closure:
    """Takes a closing back; see `move_back` for the deadlines that it moved.

    Raises NotFound, and Conflict for one that was taken back before.
    """
    row = (await connection.execute(sa.select(closures).where(closures.c.closure_id == closure_id))).first()
    if row is None:
        raise NotFound(f"there is no closing {closure_id}")
    if row.removed_at is not None:
        raise Conflict("この臨時休館は取り消し済みです。 This closing was taken back already.")
    await connection.execute(
        sa.update(closures).where(closures.c.closure_id == closure_id).values(removed_at=now, removed_by=who)
    )
    return Closure(**row._mapping)


async def listed(connection: AsyncConnection, since: date | None = None) -> list[Closure]:
    """Closings in force that end on `since` or later (all without it), in order."""
    wanted: list[sa.ColumnElement[bool]] = [closures.c.removed_at.is_(None)]
    if since is not None:
        wanted.append(closures.c.last >= since)
    rows = await connection.execute(
        sa.select(closures).where(*wanted).order_by(closures.c.first, closures.c.closure_id)
    )
    return [Closure(**row._mapping) for row in rows]


async def put_holidays(
    connection: AsyncConnection, official: Mapping[date, str], source: str, now: datetime
) -> None:
    """Takes the Cabinet Office's list (`calendar.read_official`) in place of the one before."""
    await connection.execute(sa.delete(public_holidays))
    await connection.execute(
        sa.insert(public_holidays), [{"day": day, "name": name} for day, name in official.items()]
    )
    await put_flag(connection, HOLIDAYS, {"source": source, "days": len(official)}, now)


async def drop_holidays(connection: AsyncConnection, now: datetime) -> None:
    """From now on public holidays are the settings' file's, or calculated."""
    await connection.execute(sa.delete(public_holidays))
    await put_flag(connection, HOLIDAYS, None, now)


# -- reading ---------------------------------------------------------------------------------------


async def in_force(connection: AsyncConnection) -> Days:
    """Everything that the calendars must know beside the settings."""
    rows = await connection.execute(sa.select(public_holidays))
    official = {row.day: row.name for row in rows}
    closings = [Closing(item.branch, item.days) for item in await listed(connection)]
    return Days(tuple(closings), official)


async def stamp(connection: AsyncConnection) -> tuple[object, ...]:
    """Another value whenever `in_force` may say something else: cheap to ask for, again and again."""
    imported = sa.select(flags.c.at).where(flags.c.name == HOLIDAYS).scalar_subquery()
    row = (
        await connection.execute(
            sa.select(
                sa.func.max(closures.c.closure_id), sa.func.count(closures.c.removed_at), imported
            ).select_from(closures)
        )
    ).one()
    return tuple(row)


# -- whom a closing touches ------------------------------------------------------------------------


async def touched(connection: AsyncConnection, book: Rulebook, closing: Closing) -> list[Touched]:
    """Holds on the shelf whose last day the closing concerns, the earliest first.

    Under `on_closure: push` those whose last day falls into it, else all that it takes days from.
    `book` may know the closing already or not.
    """
    days = closing.days
    wanted = [holds.c.state == Hold.READY, holds.c.deadline >= days.first]
    if book.deadline_rule.on_closing is OnClosing.NOTHING:
        wanted.append(holds.c.deadline <= days.last)
    if closing.branch:
        wanted.append(holds.c.branch == closing.branch)
    rows = await connection.execute(
        sa.select(
            *(holds.c.hold_id, holds.c.patron_id, holds.c.branch, holds.c.deadline, holds.c.deadline_source),
            sa.func.coalesce(holds.c.contact, patrons.c.contact, "").label("contact"),
            _announced.label("told"),
        )
        .join(patrons, patrons.c.patron_id == holds.c.patron_id, isouter=True)
        .where(*wanted)
        .order_by(holds.c.deadline, holds.c.patron_id, holds.c.hold_id)
    )
    return [_touched(row, book, days) for row in rows]


_announced = sa.exists().where(
    notice_holds.c.hold_id == holds.c.hold_id,
    deliveries.c.notice_id == notice_holds.c.notice_id,
    deliveries.c.kind == Kind.HOLD_READY,
    deliveries.c.state == Transmission.HANDED_OVER,
)


_OURS = ("mail", "reached", "shelf")
"""Deadlines by our formula; the others the library system gave."""


def _touched(row: Any, book: Rulebook, days: DateRange) -> Touched:
    ours = row.deadline_source in _OURS or book.settings.library.authority is Authority.TODOKU
    calendar = book.calendar(row.branch)
    moves_to = after_closing(book.deadline_rule, calendar, row.deadline, days) if ours else None
    return Touched(
        row.hold_id, row.patron_id, row.branch, row.deadline, moves_to, row.contact, bool(row.told)
    )


async def move_deadlines(
    connection: AsyncConnection, closure_id: int, found: Sequence[Touched], now: datetime
) -> list[str]:
    """Puts the new last days of a closing into force. Returns the holds that it moved; cases follow."""
    moved: dict[str, list[str]] = {}
    for item in found:
        if item.moves_to is None or item.moves_to <= item.deadline:
            continue
        changed = await connection.execute(
            sa.update(holds)
            .where(
                holds.c.hold_id == item.hold_id,
                holds.c.state == Hold.READY,
                holds.c.deadline == item.deadline,
            )
            .values(deadline=item.moves_to)
        )
        if changed.rowcount:
            moved[item.hold_id] = [item.deadline.isoformat(), item.moves_to.isoformat()]
    await connection.execute(
        sa.update(closures).where(closures.c.closure_id == closure_id).values(moved=moved)
    )
    for patron_id in sorted({item.patron_id for item in found if item.hold_id in moved}):
        await cases.review(connection, patron_id, now)
    return list(moved)


# -- and taken back --------------------------------------------------------------------------------

_SAID = (Transmission.SENDING, Transmission.UNCERTAIN, Transmission.HANDED_OVER)


async def move_back(
    connection: AsyncConnection, closure: Closure, cause_id: str, today: date, now: datetime
) -> tuple[list[str], list[str]]:
    """Gives the holds that a closing moved their former last day, if nobody was told the new one.

    Notices of the cause that still wait are taken back. A hold stays as it is if its patron was told, if its
    last day has changed since, or if the former one leaves no day to come. Returns (moved back, kept), both
    holds that are still on the shelf with the closing's day.
    """
    mine = deliveries.c.notice_id.in_(sa.select(notices.c.notice_id).where(notices.c.event_id == cause_id))
    await outbox.move(connection, mine, Transmission.CANCELLED, sources=UNSENT, reason="closing_taken_back")
    told = await _told_since(connection, closure)
    back: dict[str, str] = {}
    kept: list[str] = []
    for hold_id, (before, since) in (closure.moved or {}).items():
        hold = sa.and_(
            holds.c.hold_id == hold_id,
            holds.c.state == Hold.READY,
            holds.c.deadline == date.fromisoformat(since),
        )
        patron_id = await connection.scalar(sa.select(holds.c.patron_id).where(hold))
        if patron_id is None:
            continue
        former = date.fromisoformat(before)
        if hold_id in told or patron_id in told or former <= today:
            kept.append(hold_id)
            continue
        await connection.execute(sa.update(holds).where(hold).values(deadline=former))
        back[hold_id] = patron_id
    for patron_id in sorted(set(back.values())):
        await cases.review(connection, patron_id, now)
    return list(back), kept


async def _told_since(connection: AsyncConnection, closure: Closure) -> set[str]:
    """Holds of which a mail left since the closing was entered, whatever it was about, and patrons whom staff
    have reached: they know the later day."""
    mails = await connection.scalars(
        sa.select(notice_holds.c.hold_id)
        .join(deliveries, deliveries.c.notice_id == notice_holds.c.notice_id)
        .where(
            deliveries.c.state.in_(_SAID),
            sa.func.coalesce(deliveries.c.handed_over_at, deliveries.c.first_attempt_at, type_=UtcTime)
            >= closure.entered_at,
        )
    )
    calls = await connection.scalars(
        sa.select(case_actions.c.patron_id).where(
            case_actions.c.kind == "reached",
            case_actions.c.undone_at.is_(None),
            case_actions.c.at >= closure.entered_at,
        )
    )
    return {*mails, *calls}
