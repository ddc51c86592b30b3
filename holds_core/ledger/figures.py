"""Numbers about the ledger for health checks and metrics. Reads only; no address, name or title leaves.

`census` counts every delivery and is a scan: ask for it now and then. `figures` reads only what an index
holds ready, however many mails were ever sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger import breaker
from holds_core.ledger.models import (
    CLAIMABLE,
    UNRELEASED,
    batches,
    cases,
    deliveries,
    events,
    inbound,
    troubles,
)
from holds_core.notices import Finding

RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Group:
    """How many deliveries have these values in common. `fault` and `reason` are codes or empty."""

    kind: str
    state: str
    finding: str
    reason: str
    fault: str
    count: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The ledger at one moment; a time is None where there is nothing to take it from.

    `recent`: (mail domain, finding) -> deliveries handed over within RECENT.
    """

    due_since: datetime | None
    batch_waits_since: datetime | None
    unanswered: int
    quarantined: int
    unread: int
    open_cases: int
    newest_event: datetime | None
    last_batch: datetime | None
    recent: dict[tuple[str, str], int]
    breaker_open: bool


async def census(connection: AsyncConnection) -> list[Group]:
    """All deliveries, grouped."""
    columns = (
        deliveries.c.kind,
        deliveries.c.state,
        deliveries.c.finding,
        deliveries.c.reason,
        deliveries.c.fault,
    )
    rows = await connection.execute(sa.select(*columns, sa.func.count().label("count")).group_by(*columns))
    return [Group(**row._mapping) for row in rows]


async def figures(connection: AsyncConnection, now: datetime) -> Figures:
    """What indexes tell of the ledger at `now`."""
    due = sa.select(sa.func.min(deliveries.c.next_at)).where(
        sa.text(CLAIMABLE), deliveries.c.next_at <= now, deliveries.c.prompt.in_([True, False])
    )
    waits = sa.select(sa.func.min(deliveries.c.created_at)).where(sa.text(UNRELEASED))
    newest = sa.select(sa.func.max(events.c.at)).where(events.c.outcome == "applied")
    return Figures(
        due_since=await connection.scalar(due),
        batch_waits_since=await connection.scalar(waits),
        unanswered=await _count(connection, deliveries.c.finding == Finding.UNANSWERED),
        quarantined=await _count(connection, inbound.c.state == "quarantined"),
        unread=await _count(connection, inbound.c.state == "new"),
        open_cases=await _count(connection, cases.c.state == "open"),
        newest_event=await connection.scalar(newest),
        last_batch=await connection.scalar(sa.select(sa.func.max(batches.c.released_at))),
        recent=await _recent(connection, now),
        breaker_open=not (await breaker.read(connection)).lets_mail_through,
    )


@dataclass(frozen=True, slots=True)
class Slow:
    """What takes a scan, to be asked now and then. `inbound`: (kind, state) -> mails that came back;
    `batches`: seconds from a batch's release to its last hand-over; `troubles`: kind -> how many last."""

    groups: tuple[Group, ...]
    inbound: dict[tuple[str, str], int]
    batches: tuple[float, ...]
    troubles: dict[str, int]


async def slow(connection: AsyncConnection) -> Slow:
    """Everything at once."""
    mails = await connection.execute(
        sa.select(inbound.c.kind, inbound.c.state, sa.func.count().label("mails")).group_by(
            inbound.c.kind, inbound.c.state
        )
    )
    runs = await connection.execute(
        sa.select(batches.c.released_at, batches.c.finished_at).where(
            batches.c.outcome == "run", batches.c.released > 0, batches.c.finished_at.is_not(None)
        )
    )
    lasting = await connection.execute(
        sa.select(troubles.c.trouble, sa.func.count().label("number"))
        .where(troubles.c.gone_since.is_(None))
        .group_by(troubles.c.trouble)
    )
    return Slow(
        groups=tuple(await census(connection)),
        inbound={(row.kind, row.state): row.mails for row in mails},
        batches=tuple((row.finished_at - row.released_at).total_seconds() for row in runs),
        troubles={row.trouble: row.number for row in lasting},
    )


async def _count(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> int:
    return await connection.scalar(sa.select(sa.func.count()).where(where)) or 0


async def _recent(connection: AsyncConnection, now: datetime) -> dict[tuple[str, str], int]:
    columns = (deliveries.c.domain, deliveries.c.finding)
    rows = await connection.execute(
        sa.select(*columns, sa.func.count().label("mails"))
        .where(deliveries.c.handed_over_at > now - RECENT)
        .group_by(*columns)
    )
    return {(row.domain, row.finding): row.mails for row in rows}
