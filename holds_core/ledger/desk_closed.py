"""Cases that closed without a person: what staff need not do any more, and why. Reads only, no titles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.ledger.models import cases, patrons

LISTED = timedelta(days=14)
MOST = 200


@dataclass(frozen=True, slots=True)
class Closed:
    """One case that is over. `why` is a code of `cases.CLOSED`; `reasons` are those it had."""

    patron_id: str
    name: str
    branch: str
    reasons: tuple[str, ...]
    why: str
    opened_at: datetime
    closed_at: datetime


async def closed_by_themselves(connection: AsyncConnection, now: datetime) -> list[Closed]:
    """The newest MOST cases that closed within LISTED, but for those that a word of staff closed."""
    rows = await connection.execute(
        sa.select(
            cases.c.patron_id,
            patrons.c.name,
            patrons.c.branch,
            cases.c.reasons,
            cases.c.closed_why,
            cases.c.opened_at,
            cases.c.closed_at,
        )
        .join(patrons, patrons.c.patron_id == cases.c.patron_id, isouter=True)
        .where(
            cases.c.state == "closed",
            cases.c.closed_at >= now - LISTED,
            cases.c.closed_why != Sign.STAFF_WORKS,
        )
        .order_by(cases.c.closed_at.desc(), cases.c.case_id.desc())
        .limit(MOST)
    )
    return [
        Closed(
            row.patron_id,
            row.name or "",
            row.branch or "",
            tuple(row.reasons),
            row.closed_why,
            row.opened_at,
            row.closed_at,
        )
        for row in rows.all()
    ]
