"""What IT is told of trouble, in the ledger: what is known, whose turn it is, and what there is to see.

The rules are `holds_core.alerts`; here the memory is kept, so that a restart tells nothing twice, and the
ledger's own signs of trouble are read. Of several daemons one at a time looks, judges and writes
(`take_turn`). No patron is named. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.alerts import Known, Trouble
from holds_core.ledger.models import (
    CLAIMABLE,
    addresses,
    batches,
    deliveries,
    events,
    flags,
    inbound,
    patron_addresses,
    provider_alerts,
    troubles,
)
from holds_core.ledger.sql import get_flag, insert_new, put_flag
from holds_core.providers import FEW_PATRONS

TURN = timedelta(minutes=5)
"""How long one daemon may take to look and to write. A dead one's turn ends by itself."""

_TURN = "alerts.turn"
_SENT = "alerts.sent"


async def take_turn(connection: AsyncConnection, owner: str, now: datetime) -> bool:
    """Whether `owner` may look now; nobody else until `end_turn`, or until TURN is over."""
    if await insert_new(connection, flags, {"name": _TURN, "value": {"owner": owner}, "at": now}):
        return True
    taken = await connection.execute(
        sa.update(flags)
        .where(
            flags.c.name == _TURN,
            # taken in the future: the clock was set back since
            sa.or_(flags.c.at <= now - TURN, flags.c.at > now),
        )
        .values(value={"owner": owner}, at=now)
    )
    return taken.rowcount == 1


async def end_turn(connection: AsyncConnection) -> None:
    await connection.execute(sa.delete(flags).where(flags.c.name == _TURN))


async def known(connection: AsyncConnection) -> list[Known]:
    """All trouble that is remembered."""
    rows = await connection.execute(sa.select(troubles).order_by(troubles.c.since, troubles.c.key))
    return [
        Known(Trouble(row.trouble), row.subject, row.since, row.facts, row.told_at, row.gone_since)
        for row in rows
    ]


async def keep(connection: AsyncConnection, items: Iterable[Known]) -> None:
    """Remembers these and nothing else."""
    before = {item.key: item for item in await known(connection)}
    after = {item.key: item for item in items}
    if changed := [key for key, item in before.items() if after.get(key) != item]:
        await connection.execute(sa.delete(troubles).where(troubles.c.key.in_(changed)))
    rows = [_row(item) for key, item in after.items() if before.get(key) != item]
    if rows:
        await connection.execute(sa.insert(troubles), rows)


def _row(item: Known) -> dict[str, object]:
    return {
        "key": item.key[:200],
        "trouble": item.trouble,
        "subject": item.subject[:150],
        "since": item.since,
        "facts": dict(item.facts),
        "told_at": item.told_at,
        "gone_since": item.gone_since,
    }


async def sent(connection: AsyncConnection) -> list[datetime]:
    """When mails were sent to IT within the last hours."""
    return [datetime.fromisoformat(text) for text in await get_flag(connection, _SENT, [])]


async def add_sent(connection: AsyncConnection, now: datetime) -> None:
    recent = [at for at in await sent(connection) if now - timedelta(hours=1) < at <= now]
    await put_flag(connection, _SENT, [at.isoformat() for at in (*recent, now)], now)


# What there is to see -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A mail domain whose share of signs changed, as long as that lasts. Shares from 0 to 1; `patrons` have an
    address there, counted no further than FEW_PATRONS."""

    domain: str
    since: datetime
    mails: int
    observed: float
    expected: float
    suspect: str
    patrons: int = 0


@dataclass(frozen=True, slots=True)
class Signs:
    """The ledger at one moment. A time is None where there is nothing to take it from.

    `began`: when a daemon first worked on this ledger. `missed`: slots that were too late to run, with their
    time. `slots`: those of the asked ones that have run or were passed over. `heard_at`: the newest event's
    time. `quarantined`: mails of the last day.
    `providers`: those whose mail fares differently.
    """

    began: datetime | None
    missed: tuple[tuple[str, datetime], ...]
    slots: frozenset[str]
    prompt_due_since: datetime | None
    heard_at: datetime | None
    quarantined: int
    unread_since: datetime | None
    providers: tuple[Change, ...]


DAY = timedelta(days=1)
MISSED_WITHIN = timedelta(days=2)


async def signs(connection: AsyncConnection, now: datetime, slots: Sequence[str]) -> Signs:
    """What indexes tell at `now`: it is asked once a minute."""
    began = await get_flag(connection, "began")
    missed = await connection.execute(
        sa.select(batches.c.slot, batches.c.due_at)
        .where(batches.c.outcome == "missed", batches.c.released_at > now - MISSED_WITHIN)
        .order_by(batches.c.due_at)
    )
    done = await connection.scalars(sa.select(batches.c.slot).where(batches.c.slot.in_(list(slots))))
    late = sa.select(sa.func.min(deliveries.c.next_at)).where(
        sa.text(CLAIMABLE),
        deliveries.c.prompt.is_(sa.true()),
        deliveries.c.next_at <= now,
        deliveries.c.state == "pending",
    )
    heard = sa.select(sa.func.max(events.c.at)).where(events.c.outcome == "applied", events.c.at <= now)
    return Signs(
        began=datetime.fromisoformat(began) if began else None,
        missed=tuple((row.slot, row.due_at) for row in missed),
        slots=frozenset(done),
        prompt_due_since=await connection.scalar(late),
        heard_at=await connection.scalar(heard),
        quarantined=await _quarantined(connection, now - DAY),
        unread_since=await connection.scalar(
            sa.select(inbound.c.received_at)
            .where(inbound.c.state == "new")
            .order_by(inbound.c.inbound_id)
            .limit(1)
        ),
        providers=await _providers(connection),
    )


async def _quarantined(connection: AsyncConnection, since: datetime) -> int:
    count = sa.select(sa.func.count()).where(inbound.c.state == "quarantined", inbound.c.received_at > since)
    return await connection.scalar(count) or 0


async def _providers(connection: AsyncConnection) -> tuple[Change, ...]:
    rows = await connection.execute(
        sa.select(provider_alerts)
        .where(provider_alerts.c.closed_at.is_(None))
        .order_by(provider_alerts.c.domain)
    )
    return tuple(
        [
            Change(
                row.domain,
                row.since,
                row.sent,
                row.shown / row.sent if row.sent else 0.0,
                row.expected,
                row.suspect,
                await _patrons(connection, row.domain),
            )
            for row in rows.all()
        ]
    )


async def _patrons(connection: AsyncConnection, domain: str) -> int:
    """How many patrons have an address of this domain; a big provider's are not all counted."""
    some = (
        sa.select(patron_addresses.c.patron_id)
        .join(addresses, addresses.c.address_key == patron_addresses.c.address_key)
        .where(addresses.c.domain == domain, patron_addresses.c.until.is_(None))
        .distinct()
        .limit(FEW_PATRONS)
    )
    return await connection.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0
