"""Batch slots in the ledger: which ran, and the one transaction that lets a slot go exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger import outbox
from holds_core.ledger.models import UNRELEASED, batches, deliveries
from holds_core.ledger.sql import insert_new


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a slot. outcome: run, missed, closed."""

    slot: str
    due_at: datetime
    released_at: datetime
    released: int
    outcome: str


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
