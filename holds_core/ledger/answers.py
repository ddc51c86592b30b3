"""A reader's answer on the confirmation page: what a delivery asks, and the answer as evidence.

Enters a delivery's number, which a signed token has vouched for; leaves what the page may know of it. That
is never a name, an address or a hold. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.ledger.models import deliveries, evidence
from holds_core.ledger.observations import Observation, observe
from holds_core.notices import Kind

SOURCE = "page"

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
    prints = {_fingerprint(sign, delivery_id): sign for sign in _FINGERPRINTS}
    found = await connection.scalars(
        sa.select(evidence.c.fingerprint).where(evidence.c.fingerprint.in_(list(prints)))
    )
    return Asked(Kind(row.kind), row.created_at, frozenset(prints[name] for name in found))


async def answer(connection: AsyncConnection, delivery_id: int, sign: Answer, now: datetime) -> bool:
    """Records the answer of whoever reads the delivery's mailbox. Returns whether it was new.

    Raises sqlalchemy.exc.NoResultFound if there is no such delivery.
    """
    said = Observation(now, sign, SOURCE, _fingerprint(sign, delivery_id), delivery_id)
    return await observe(connection, said, now)


def _fingerprint(sign: Sign, delivery_id: int) -> str:
    return f"{_FINGERPRINTS[sign]}:{delivery_id}"
