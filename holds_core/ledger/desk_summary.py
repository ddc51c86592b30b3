"""What waits for staff this morning, in numbers only: for the mail that tells them so.

Reads only. No name, address, number of a patron or title leaves this module. The numbers are those that the
call list, the report and the other pages show at the same moment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger import desk, desk_mail, desk_traffic, queries
from holds_core.ledger.desk import View
from holds_core.ledger.models import inbound, provider_alerts

REPORTED = timedelta(days=7)
"""The days that the report page shows unless it is asked for others."""
SOON = 1
"""Days left, or fewer, that make a call urgent."""


@dataclass(frozen=True, slots=True)
class Counts:
    """`calls` to make today, `urgent` of them with a day left or less, by branch; `undelivered` mails of
    REPORTED; addresses that the library system has not (`unsynced`); mails in quarantine; notices held
    because there were too many; mail services that fare differently."""

    calls: int
    urgent: int
    by_branch: tuple[tuple[str, int], ...]
    undelivered: int
    unsynced: int
    quarantined: int
    held: int
    providers: int

    def __bool__(self) -> bool:
        """Whether there is something for a person to do."""
        return bool(self.calls or self.unsynced or self.quarantined or self.held or self.providers)


async def counts(connection: AsyncConnection, local: datetime) -> Counts:
    """The numbers at `local`, which is in the library's time zone."""
    today = local.date()
    calls = [case for case in await desk.open_cases(connection, today) if case.view is View.TODAY]
    left = [days for case in calls if (days := case.days_left(today)) is not None]
    branches = Counter(branch for case in calls for branch in case.branches)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - REPORTED + timedelta(days=1)
    return Counts(
        calls=len(calls),
        urgent=sum(days <= SOON for days in left),
        by_branch=tuple(sorted(branches.items())),
        undelivered=len(await queries.undelivered(connection, local, since, current=True)),
        unsynced=len(await desk_mail.unsynced(connection)),
        quarantined=await _count(connection, inbound.c.state == "quarantined"),
        held=(await desk_traffic.waiting(connection)).held,
        providers=await _count(connection, provider_alerts.c.closed_at.is_(None)),
    )


async def _count(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> int:
    return await connection.scalar(sa.select(sa.func.count()).where(where)) or 0
