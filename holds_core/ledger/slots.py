"""Batch slots in the ledger: which ran, and the one transaction that lets a slot go exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger import outbox
from holds_core.ledger.models import CLAIMABLE, UNRELEASED, batches, deliveries
from holds_core.ledger.sql import insert_new


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a slot. outcome: run, missed, closed. finished_at: when its last mail had left."""

    slot: str
    due_at: datetime
    released_at: datetime
    released: int
    outcome: str
    finished_at: datetime | None = None


async def known(connection: AsyncConnection, slots: Iterable[str]) -> set[str]:
    """Those of `slots` that have run, or were passed over."""
    found = await connection.scalars(sa.select(batches.c.slot).where(batches.c.slot.in_(list(slots))))
    return set(found)


async def run(
    connection: AsyncConnection, slot: str, due_at: datetime, now: datetime, outcome: str = "run"
) -> int | None:
    """Takes the slot and, if it is to run, releases what waits. None: another daemon had it first."""
    row = {"slot": slot, "due_at": due_at, "released_at": now, "released": 0, "outcome": outcome}
    if not await insert_new(connection, batches, row):
        return None
    if outcome != "run":
        return 0
    count = await outbox.release(connection, slot, now, now)
    await connection.execute(sa.update(batches).where(batches.c.slot == slot).values(released=count))
    return count


QUIET = timedelta(minutes=1)
"""A batch of which no mail waits and none has left for so long is finished; claimed mails leave sooner."""

OPEN_FOR = timedelta(days=8)


async def finish(connection: AsyncConnection, now: datetime) -> list[str]:
    """Notes of each batch when its last mail was handed over, once all were tried. Returns those slots.

    Mails that are retried later do not keep a batch open.
    """
    rows = await connection.execute(
        sa.select(batches.c.slot, batches.c.released_at).where(
            batches.c.outcome == "run",
            batches.c.finished_at.is_(None),
            batches.c.released_at > now - OPEN_FOR,
        )
    )
    finished = []
    for slot, released_at in rows.all():
        waits = sa.exists().where(
            sa.text(CLAIMABLE),
            deliveries.c.slot == slot,
            deliveries.c.tries == 0,
            deliveries.c.next_at <= now,
        )
        last = sa.select(sa.func.max(deliveries.c.handed_over_at)).where(
            deliveries.c.handed_over_at >= released_at, deliveries.c.slot == slot
        )
        at = await connection.scalar(last) or released_at
        if now - at < QUIET or await connection.scalar(sa.select(waits)):
            continue
        await connection.execute(sa.update(batches).where(batches.c.slot == slot).values(finished_at=at))
        finished.append(slot)
    return finished


async def unfinished(connection: AsyncConnection, now: datetime) -> bool:
    """Whether `finish` has anything to look at."""
    found = await connection.scalar(
        sa.select(batches.c.slot)
        .where(
            batches.c.outcome == "run",
            batches.c.finished_at.is_(None),
            batches.c.released_at > now - OPEN_FOR,
        )
        .limit(1)
    )
    return found is not None


async def recent(connection: AsyncConnection, limit: int = 20) -> list[Ran]:
    rows = await connection.execute(sa.select(batches).order_by(batches.c.due_at.desc()).limit(limit))
    return [Ran(**row._mapping) for row in rows]


async def waiting(connection: AsyncConnection, limit: int = 100_000) -> list[int]:
    """Deliveries that the next batch would release, oldest first."""
    found = await connection.scalars(
        sa.select(deliveries.c.delivery_id)
        .where(sa.text(UNRELEASED))
        .order_by(deliveries.c.created_at, deliveries.c.delivery_id)
        .limit(limit)
    )
    return list(found)
