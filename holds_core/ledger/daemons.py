"""Which daemons live: each says so now and then; one that has not for a while is dead.

Only matters on PostgreSQL, where several daemons may share a ledger. All functions work inside the caller's
transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import flags
from holds_core.ledger.sql import get_flag, insert_new, put_flag

_ALIVE = "daemon:"
_BEGAN = "began"

DEAD_AFTER = timedelta(seconds=120)
"""A daemon that has not said that it lives for so long is dead; what it was sending is in doubt."""


async def began(connection: AsyncConnection, now: datetime) -> datetime:
    """When a daemon first worked on this ledger: now, if none did before."""
    await insert_new(connection, flags, {"name": _BEGAN, "value": now.isoformat(), "at": now})
    return datetime.fromisoformat(await get_flag(connection, _BEGAN))


async def lives(connection: AsyncConnection, owner: str, now: datetime) -> None:
    """`owner` lives. Forgets those that are long dead."""
    await put_flag(connection, _ALIVE + owner, {}, now)
    await connection.execute(
        sa.delete(flags).where(flags.c.name.startswith(_ALIVE), flags.c.at <= now - DEAD_AFTER)
    )


async def gone(connection: AsyncConnection, owner: str) -> None:
    """`owner` has stopped in good order."""
    await connection.execute(sa.delete(flags).where(flags.c.name == _ALIVE + owner))


async def alive(connection: AsyncConnection, now: datetime) -> list[str]:
    """The owners that have said lately that they live."""
    names = await connection.scalars(
        sa.select(flags.c.name).where(flags.c.name.startswith(_ALIVE), flags.c.at > now - DEAD_AFTER)
    )
    return [name.removeprefix(_ALIVE) for name in names]
