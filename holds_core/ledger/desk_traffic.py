"""What the desk asks about mail in the large: batches, what waits, signs per provider and week, bounces.

Reads only, counts only: no patron, address or title leaves this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger import snapshots
from holds_core.ledger.models import CLAIMABLE, UNRELEASED, deliveries, events, inbound
from holds_core.ledger.outbox import HELD
from holds_core.notices import Finding, Kind, Transmission

RECENT = 20_000
"""Deliveries that may belong to the batches shown. Numbers grow with time, so that the newest are a short
range of the primary key, however many mails were ever sent."""


async def _recent(connection: AsyncConnection) -> sa.ColumnElement[bool]:
    newest = await connection.scalar(sa.select(sa.func.max(deliveries.c.delivery_id)))
    return deliveries.c.delivery_id > (newest or 0) - RECENT


async def by_slot(connection: AsyncConnection, slots: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many deliveries of each batch are in which state."""
    rows = await connection.execute(
        sa.select(deliveries.c.slot, deliveries.c.state, sa.func.count().label("number"))
        .where(await _recent(connection), deliveries.c.slot.in_(slots))
        .group_by(deliveries.c.slot, deliveries.c.state)
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.slot, {})[row.state] = row.number
    return found


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not left yet, and what left and waits for a sign."""

    next_batch: int
    prompt: int
    retrying: int
    uncertain: int
    held: int
    for_a_sign: int


async def waiting(connection: AsyncConnection) -> Waiting:
    """Counts along the partial indexes, so that a hundred thousand old mails cost nothing."""

    async def count(*where: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(deliveries).where(*where)
        return int(await connection.scalar(query) or 0)

    rows = await connection.execute(
        sa.select(deliveries.c.state, sa.func.count().label("number"))
        .where(sa.text(CLAIMABLE))
        .group_by(deliveries.c.state)
    )
    states = {row.state: row.number for row in rows}
    return Waiting(
        next_batch=int(
            await connection.scalar(
                sa.select(sa.func.count()).select_from(deliveries).where(sa.text(UNRELEASED))
            )
            or 0
        ),
        prompt=states.get(Transmission.PENDING, 0),
        retrying=states.get(Transmission.RETRYING, 0),
        uncertain=states.get(Transmission.UNCERTAIN, 0),
        held=await count(
            await _recent(connection),
            deliveries.c.slot == HELD,
            deliveries.c.state == Transmission.PENDING,
        ),
        for_a_sign=await count(
            deliveries.c.finding == Finding.WAITING, deliveries.c.window_ends_at.is_not(None)
        ),
    )


WEEK = timedelta(days=7)


async def signs_by_week(
    connection: AsyncConnection, ends: datetime, weeks: int
) -> list[dict[tuple[str, str], int]]:
    """Per week, oldest first, the last one ending at `ends`: (domain, finding) -> hold-ready mails handed over.

    One question along the index of hand-over times.
    """
    at, starts = deliveries.c.handed_over_at, ends - weeks * WEEK
    # the first boundary that a time lies before tells its week
    week = sa.case(*((at < starts + (number + 1) * WEEK, number) for number in range(weeks)), else_=weeks)
    rows = await connection.execute(
        sa.select(
            week.label("week"), deliveries.c.domain, deliveries.c.finding, sa.func.count().label("number")
        )
        .where(at >= starts, at < ends, deliveries.c.kind == Kind.HOLD_READY)
        .group_by(sa.text("1"), deliveries.c.domain, deliveries.c.finding)
    )
    found: list[dict[tuple[str, str], int]] = [{} for _ in range(weeks)]
    for row in rows.all():
        found[row.week][row.domain, row.finding] = row.number
    return found


async def bounces_by_reason(connection: AsyncConnection, since: datetime) -> list[tuple[str, str, int]]:
    """(reason, fault, mails) of what bounced or was refused, the most frequent first."""
    number = sa.func.count().label("number")
    rows = await connection.execute(
        sa.select(deliveries.c.reason, deliveries.c.fault, number)
        .where(deliveries.c.finding == Finding.BOUNCED, deliveries.c.created_at >= since)
        .group_by(deliveries.c.reason, deliveries.c.fault)
        .order_by(number.desc(), deliveries.c.reason)
    )
    return [(row.reason, row.fault, row.number) for row in rows]


# -- the system ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeedLine:
    """A feed's latest event: when it happened there, and when it came here."""

    feed: str
    at: datetime
    received_at: datetime


async def feeds(connection: AsyncConnection, look_at: int = 500) -> list[FeedLine]:
    """The feeds that the latest events came from."""
    rows = await connection.execute(
        sa.select(events.c.feed, events.c.at, events.c.received_at)
        .where(events.c.outcome == "applied")
        .order_by(events.c.at.desc())
        .limit(look_at)
    )
    found: dict[str, FeedLine] = {}
    for row in rows:
        found.setdefault(row.feed, FeedLine(row.feed, row.at, row.received_at))
    # a list in which nothing was new makes no event
    for feed, times in (await snapshots.feed_times(connection)).items():
        at, read_at = (datetime.fromisoformat(times[name]) for name in ("as_of", "run_at"))
        if feed not in found or found[feed].at < at:
            found[feed] = FeedLine(feed, at, read_at)
    return sorted(found.values(), key=lambda line: line.feed)


@dataclass(frozen=True, slots=True)
class ConflictLine:
    """An event that could not be applied. Its note names ids, never a title."""

    event_id: str
    type: str
    at: datetime
    patron_id: str | None
    note: str


async def conflicts(connection: AsyncConnection, limit: int = 20) -> list[ConflictLine]:
    rows = await connection.execute(
        sa.select(events.c.event_id, events.c.type, events.c.at, events.c.patron_id, events.c.note)
        .where(events.c.outcome == "conflict")
        .order_by(events.c.at.desc())
        .limit(limit)
    )
    return [ConflictLine(*row) for row in rows]


async def inbound_states(connection: AsyncConnection) -> tuple[dict[str, int], datetime | None]:
    """(mails that came in, by state; when the last one came)."""
    rows = await connection.execute(
        sa.select(inbound.c.state, sa.func.count().label("number")).group_by(inbound.c.state)
    )
    last = await connection.scalar(
        sa.select(inbound.c.received_at).order_by(inbound.c.inbound_id.desc()).limit(1)
    )
    return {row.state: row.number for row in rows}, last
