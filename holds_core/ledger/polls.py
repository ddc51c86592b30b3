"""What is remembered of feeds that Todoku asks itself: how far they were read, and how it went. Shapes only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import flags, holds
from holds_core.ledger.sql import get_flag, put_flag

_PREFIX = "poll:"
_TIMES = ("patrons", "holds", "full_at", "failing_since")
_IN = 500


@dataclass(frozen=True, slots=True)
class Poll:
    """How a feed stands. `patrons` and `holds`: changes are known until then, by the other system's clock.

    `full_at`: when all open holds were read last. `failures` in a row, the first at `failing_since`; `error`
    is the last one's text.
    """

    patrons: datetime | None = None
    holds: datetime | None = None
    full_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    error: str = ""

    def failed(self, error: str, now: datetime) -> Poll:
        """The same, one failure later."""
        return replace(
            self, failures=self.failures + 1, failing_since=self.failing_since or now, error=error[:500]
        )

    def succeeded(self) -> Poll:
        return replace(self, failures=0, failing_since=None, error="")


async def poll_of(connection: AsyncConnection, feed: str) -> Poll:
    """How the feed stands; a fresh one if it was never asked."""
    return _read(await get_flag(connection, _PREFIX + feed, {}))


async def polls(connection: AsyncConnection) -> dict[str, Poll]:
    """How all feeds stand that were ever asked."""
    rows = await connection.execute(
        sa.select(flags.c.name, flags.c.value).where(flags.c.name.startswith(_PREFIX, autoescape=True))
    )
    return {row.name.removeprefix(_PREFIX): _read(row.value) for row in rows}


async def keep(connection: AsyncConnection, feed: str, poll: Poll, now: datetime) -> None:
    """Remembers how the feed stands."""
    times = {name: value.isoformat() for name in _TIMES if (value := getattr(poll, name)) is not None}
    value = times | {"failures": poll.failures, "error": poll.error}
    await put_flag(connection, _PREFIX + feed, value, now)


def _read(value: dict[str, str | int]) -> Poll:
    times = {name: datetime.fromisoformat(str(value[name])) for name in _TIMES if value.get(name)}
    return Poll(failures=int(value.get("failures", 0)), error=str(value.get("error", "")), **times)


async def patrons_of(connection: AsyncConnection, hold_ids: Collection[str]) -> dict[str, str]:
    """Hold -> its patron, as the ledger has it."""
    wanted = list(hold_ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _IN):
        rows = await connection.execute(
            sa.select(holds.c.hold_id, holds.c.patron_id).where(
                holds.c.hold_id.in_(wanted[start : start + _IN])
            )
        )
        found |= {row.hold_id: row.patron_id for row in rows}
    return found
