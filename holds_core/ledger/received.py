"""What the ledger keeps of events that were handed in: their outcomes. Reads only."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import events

_AT_ONCE = 500


async def outcomes(connection: AsyncConnection, event_ids: Iterable[str]) -> dict[str, str]:
    """Event id -> applied, stale or conflict; ids that the ledger has never seen are left out."""
    wanted = list(dict.fromkeys(event_ids))
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        rows = await connection.execute(
            sa.select(events.c.event_id, events.c.outcome).where(
                events.c.event_id.in_(wanted[start : start + _AT_ONCE])
            )
        )
        found.update((row.event_id, row.outcome) for row in rows)
    return found
