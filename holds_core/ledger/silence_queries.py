"""What `holds_core.ledger.silence_facts` asks of the ledger. Questions only: nothing is read here but `shelves`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger.models import (
    deliveries,
    events,
    evidence,
    hold_steps,
    holds,
    notice_holds,
    notices,
)
from holds_core.notices import Finding, Kind, Transmission

PAGE: Final = 1000

SAYS_YES: Final = frozenset({Sign.CONFIRMED, Sign.REPLIED, Sign.WROTE, Sign.STAFF_WORKS})
SAYS_NO: Final = frozenset({Sign.STAFF_NEVER_GOT, Sign.STAFF_MISTYPED, Sign.NOT_ME})
FAILED: Final = frozenset({Sign.BOUNCED, Sign.REFUSED})
CANARIES: Final = frozenset({Sign.CANARY_INBOX, Sign.CANARY_JUNK, Sign.CANARY_MISSING})
_TAKEN: Final = sorted(SAYS_YES | SAYS_NO | FAILED | CANARIES)

_LEFT: Final = (Hold.COLLECTED, Hold.LAPSED, Hold.CANCELLED, Hold.ENDED)

OFFERED: Final = (
    Transmission.HANDED_OVER,
    Transmission.REFUSED,
    Transmission.EXPIRED,
    Transmission.WITHHELD,
)
"""States of a delivery that has had its say: what waits or is in doubt may still become anything."""

MAIL: Final = sa.select(
    deliveries.c.delivery_id,
    deliveries.c.notice_id,
    deliveries.c.kind,
    deliveries.c.patron_id,
    deliveries.c.address_key,
    deliveries.c.domain,
    deliveries.c.state,
    deliveries.c.fault,
    deliveries.c.handed_over_at,
    deliveries.c.first_attempt_at,
    deliveries.c.created_at,
    deliveries.c.deadline,
    notices.c.branch,
).join(notices, notices.c.notice_id == deliveries.c.notice_id).where(deliveries.c.patron_id != "")  # fmt: skip
"""A forgotten person's mail belongs to nobody and is left out."""

EVIDENCE: Final = (
    sa.select(
        evidence.c.evidence_id,
        evidence.c.at,
        evidence.c.kind,
        evidence.c.delivery_id,
        evidence.c.address_key,
        evidence.c.fault,
        evidence.c.severity,
        evidence.c.reason,
        deliveries.c.notice_id,
        deliveries.c.patron_id,
    )
    .join(deliveries, deliveries.c.delivery_id == evidence.c.delivery_id, isouter=True)
    .where(evidence.c.kind.in_(_TAKEN), evidence.c.withdrawn_at.is_(None))
)

_earlier = hold_steps.alias("earlier")
_UNSHELVED: Final = sa.and_(
    hold_steps.c.state == Hold.PLACED,
    sa.exists().where(
        _earlier.c.hold_id == hold_steps.c.hold_id,
        _earlier.c.state == Hold.READY,
        _earlier.c.id < hold_steps.c.id,
    ),
)
STEPS: Final = (
    sa.select(hold_steps.c.id, hold_steps.c.hold_id, hold_steps.c.state, hold_steps.c.at, holds.c.deadline)
    .join(holds, holds.c.hold_id == hold_steps.c.hold_id)
    .where(sa.or_(hold_steps.c.state.in_(_LEFT), _UNSHELVED))
)

VISITS: Final = sa.select(events.c.event_id, events.c.at, events.c.received_at, events.c.patron_id).where(
    events.c.outcome == "applied", events.c.type == "patron.seen", events.c.patron_id.is_not(None)
)


def taught() -> sa.ColumnElement[bool]:
    """Mail that teaches something: that which asks for a sign, and any of which something was heard."""
    return sa.and_(
        deliveries.c.state.in_(OFFERED),
        sa.or_(
            deliveries.c.kind.in_([Kind.HOLD_READY, Kind.REGISTRATION_CHANGED]),
            deliveries.c.finding.in_([Finding.CONFIRMED, Finding.BOUNCED]),
        ),
    )


async def shelves(connection: AsyncConnection, notice_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The holds that each notice announces."""
    found: dict[str, list[Any]] = {}
    for start in range(0, len(notice_ids), PAGE):
        rows = await connection.execute(
            sa.select(notice_holds.c.notice_id, notice_holds.c.hold_id, holds.c.deadline, holds.c.ready_on)
            .join(holds, holds.c.hold_id == notice_holds.c.hold_id, isouter=True)
            .where(notice_holds.c.notice_id.in_(notice_ids[start : start + PAGE]))
            .order_by(notice_holds.c.notice_id, notice_holds.c.hold_id)
        )
        for row in rows:
            found.setdefault(row.notice_id, []).append(row)
    return found
