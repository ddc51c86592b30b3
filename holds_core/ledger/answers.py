"""A reader's answer, on the confirmation page or by empty mail: what a delivery asks, the answer as evidence.

Enters a delivery's number, which a signed token has vouched for; leaves what the page may know of it. That
is never a name, an address or a hold. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.ledger.models import deliveries, evidence
from holds_core.ledger.observations import Observation, observe
from holds_core.notices import Kind

SOURCE = "page"

VALID_FOR = timedelta(days=60)
"""A token lives this long after its delivery was made: longer than any hold waits, and an answer that
comes later says nothing of the address today."""

ASKING = (Kind.REGISTRATION_CHANGED, Kind.HOLD_READY)
"""Notices that may ask for an answer."""

RECENT = timedelta(days=7)
"""An empty mail that names no notice answers those of the last days; a batch may bring a family several."""

Answer = Literal[Sign.CONFIRMED, Sign.NOT_ME]

_FINGERPRINTS: dict[Sign, str] = {Sign.CONFIRMED: "confirm", Sign.NOT_ME: "not_me"}
"""Each answer counts once, and the one does not hide the other: who confirms today may find tomorrow that
the notice was meant for somebody else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A delivery that asks for an answer. `given` are the answers it has had."""

    kind: Kind
    created_at: datetime
    given: frozenset[Sign]


async def asked(connection: AsyncConnection, delivery_id: int) -> Asked | None:
    """What the delivery asks; None if there is no such delivery (any more)."""
    row = (
        await connection.execute(
            sa.select(deliveries.c.kind, deliveries.c.created_at).where(
                deliveries.c.delivery_id == delivery_id
            )
        )
    ).first()
    if row is None:
        return None
    prints = {fingerprint(sign, delivery_id): sign for sign in _FINGERPRINTS}
    found = await connection.scalars(
        sa.select(evidence.c.fingerprint).where(evidence.c.fingerprint.in_(list(prints)))
    )
    return Asked(Kind(row.kind), row.created_at, frozenset(prints[name] for name in found))


async def answer(connection: AsyncConnection, delivery_id: int, sign: Answer, now: datetime) -> bool:
    """Records the answer of whoever reads the delivery's mailbox. Returns whether it was new.

    Raises sqlalchemy.exc.NoResultFound if there is no such delivery.
    """
    said = Observation(now, sign, SOURCE, fingerprint(sign, delivery_id), delivery_id)
    return await observe(connection, said, now)


def fingerprint(sign: Sign, delivery_id: int) -> str:
    """The same for the page and for mail: one notice is confirmed once."""
    return f"{_FINGERPRINTS[sign]}:{delivery_id}"


async def written_to(connection: AsyncConnection, address_key: str, now: datetime) -> list[int]:
    """The deliveries that an empty mail from this address may answer, latest first: those handed over in
    the last `RECENT`, else the latest that is still valid."""
    sent = deliveries.c.handed_over_at
    rows = (
        await connection.execute(
            sa.select(deliveries.c.delivery_id, sent)
            .where(
                deliveries.c.address_key == address_key,
                deliveries.c.kind.in_(ASKING),
                sent <= now,
                sent >= now - VALID_FOR,
            )
            .order_by(sent.desc(), deliveries.c.delivery_id.desc())
            .limit(50)
        )
    ).all()
    recent = [row.delivery_id for row in rows if row.handed_over_at >= now - RECENT]
    return recent or [row.delivery_id for row in rows[:1]]
