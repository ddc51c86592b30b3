"""Mail that came back, as it came: stored before it is acknowledged, read afterwards, never dropped.

Enters raw bytes with their envelope; leaves what still has to be read, and the quarantine: mail that could
not be used, listed with its reason, to be replayed or dismissed by a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import NotFound
from holds_core.ledger.models import attempts, deliveries, inbound
from holds_core.ledger.sql import insert_new
from holds_core.states import Machine


class MailState(StrEnum):
    """What became of a mail that came in."""

    NEW = "new"
    USED = "used"
    QUARANTINED = "quarantined"
    DISMISSED = "dismissed"


_M = MailState

INBOUND: Machine[MailState] = Machine(
    "inbound mail",
    {
        _M.NEW: frozenset({_M.USED, _M.QUARANTINED}),
        # read again, with success or still without, or put away by a person
        _M.QUARANTINED: frozenset({_M.NEW, _M.USED, _M.QUARANTINED, _M.DISMISSED}),
        _M.DISMISSED: frozenset({_M.NEW}),
        _M.USED: frozenset(),
    },
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail as the ledger keeps it. `raw` is None once retention has erased it."""

    inbound_id: int
    received_at: datetime
    source: str
    envelope_from: str
    envelope_to: tuple[str, ...]
    raw: bytes | None
    truncated: bool
    state: MailState
    kind: str
    why: str
    delivery_id: int | None


async def store(
    connection: AsyncConnection,
    *,
    raw: bytes,
    source: str,
    envelope_from: str,
    envelope_to: Sequence[str],
    received_at: datetime,
    truncated: bool = False,
) -> bool:
    """Keeps a mail. Returns False if the same bytes for the same recipients are here already."""
    digest = hashlib.sha256(raw)
    for recipient in sorted(envelope_to):
        digest.update(b"\0" + recipient.lower().encode("utf-8", "surrogateescape"))
    return await insert_new(
        connection,
        inbound,
        {
            "received_at": received_at,
            "source": source,
            "envelope_from": envelope_from,
            "envelope_to": list(envelope_to),
            "raw": raw,
            "truncated": truncated,
            "digest": digest.hexdigest(),
            "state": MailState.NEW,
        },
    )


async def waiting(connection: AsyncConnection, limit: int = 50) -> list[int]:
    """Mails that were not read yet, oldest first."""
    found = await connection.scalars(
        sa.select(inbound.c.inbound_id)
        .where(inbound.c.state == MailState.NEW)
        .order_by(inbound.c.inbound_id)
        .limit(limit)
    )
    return list(found)


async def get(connection: AsyncConnection, inbound_id: int) -> Stored:
    """Raises NotFound."""
    row = (await connection.execute(sa.select(inbound).where(inbound.c.inbound_id == inbound_id))).first()
    if row is None:
        raise NotFound(f"there is no mail {inbound_id}")
    return _stored(row)


def _stored(row: sa.Row[tuple[object, ...]]) -> Stored:
    said = row._mapping
    return Stored(
        inbound_id=said["inbound_id"],
        received_at=said["received_at"],
        source=said["source"],
        envelope_from=said["envelope_from"],
        envelope_to=tuple(said["envelope_to"]),
        raw=said["raw"],
        truncated=said["truncated"],
        state=MailState(said["state"]),
        kind=said["kind"],
        why=said["why"],
        delivery_id=said["delivery_id"],
    )


async def settle(
    connection: AsyncConnection,
    inbound_id: int,
    state: MailState,
    *,
    kind: str = "",
    why: str = "",
    delivery_id: int | None = None,
) -> None:
    """Records what became of a mail. Raises IllegalTransition, NotFound."""
    stored = await get(connection, inbound_id)
    INBOUND.check(stored.state, state, f"mail {inbound_id}")
    await connection.execute(
        sa.update(inbound)
        .where(inbound.c.inbound_id == inbound_id, inbound.c.state == stored.state)
        .values(state=state, kind=kind or stored.kind, why=why, delivery_id=delivery_id)
    )


async def quarantine(connection: AsyncConnection, limit: int = 200) -> list[Stored]:
    """Mail that could not be used, newest first."""
    rows = await connection.execute(
        sa.select(inbound)
        .where(inbound.c.state == MailState.QUARANTINED)
        .order_by(inbound.c.inbound_id.desc())
        .limit(limit)
    )
    return [_stored(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Target:
    """A delivery that a mail may be about."""

    delivery_id: int
    address_key: str
    patron_id: str
    token: str | None


_TARGET = (
    deliveries.c.delivery_id,
    deliveries.c.address_key,
    deliveries.c.patron_id,
    deliveries.c.token,
)


async def target(connection: AsyncConnection, delivery_id: int) -> Target | None:
    row = (
        await connection.execute(sa.select(*_TARGET).where(deliveries.c.delivery_id == delivery_id))
    ).first()
    return Target(*row) if row is not None else None


async def likely(
    connection: AsyncConnection, address_key: str, since: datetime, until: datetime
) -> Target | None:
    """The last delivery attempted to an address within a span: a weak match, shown to staff only."""
    row = (
        await connection.execute(
            sa.select(*_TARGET)
            .join(attempts, attempts.c.delivery_id == deliveries.c.delivery_id)
            .where(
                deliveries.c.address_key == address_key,
                attempts.c.started_at >= since,
                attempts.c.started_at <= until,
            )
            .order_by(attempts.c.started_at.desc())
            .limit(1)
        )
    ).first()
    return Target(*row) if row is not None else None
