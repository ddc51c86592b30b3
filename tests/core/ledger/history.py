"""Made-up mail as it lies in a ledger: the observations of `tests/core/silence_world.py` as rows.

Written a piece at a time, as a year would write them, so that whoever reads the ledger can be asked in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.ledger.models import (
    deliveries,
    events,
    evidence,
    hold_steps,
    holds,
    notice_holds,
    notices,
)
from holds_core.ledger.session import Ledger
from holds_core.observations import (
    Bounced,
    Confirmed,
    Ending,
    Failure,
    HoldEnded,
    Mailed,
    NeverGot,
    Observation,
    PatronSeen,
)
from tests.core.silence_world import JST

_SAYS = {
    Failure.UNKNOWN: ("userunknown", "patron", "hard"),
    Failure.FILTERED: ("filtered", "patron", "soft"),
    Failure.SOFT: ("mailboxfull", "patron", "soft"),
    Failure.OURS: ("authfailure", "us", "soft"),
}


class Scribe:
    """Writes observations into a ledger. Every hold's last day is the seventh after its mail."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._delivery: dict[str, int] = {}
        self._serial = 0

    async def write(self, seen: Iterable[Observation]) -> None:
        """What was observed, in its order, in one transaction."""
        items = list(seen)

        async def work(connection: AsyncConnection) -> None:
            for item in items:
                await self._put(connection, item)

        await self._ledger.write_many(work)

    async def _put(self, connection: AsyncConnection, item: Observation) -> None:
        match item:
            case Mailed():
                await self._mail(connection, item)
            case HoldEnded():
                await self._end(connection, item)
            case PatronSeen():
                await self._visit(connection, item)
            case Bounced():
                reason, fault, severity = _SAYS[item.failure]
                await self._evidence(
                    connection,
                    item.notice_id,
                    Sign.BOUNCED,
                    item.at,
                    reason=reason,
                    fault=fault,
                    severity=severity,
                )
            case Confirmed():
                await self._evidence(connection, item.notice_id, Sign.CONFIRMED, item.at)
            case NeverGot():
                await self._evidence(connection, item.notice_id, Sign.STAFF_NEVER_GOT, item.at)
            case _:
                raise TypeError(item)

    async def _mail(self, connection: AsyncConnection, item: Mailed) -> None:
        refused = item.failure is not None
        await connection.execute(
            sa.insert(notices).values(
                notice_id=item.notice_id,
                kind=item.kind,
                patron_id=item.patron_id,
                branch="main",
                created_at=item.at,
            )
        )
        due = item.at.astimezone(JST).date() + timedelta(days=7)
        for hold_id in item.hold_ids:
            await connection.execute(
                sa.insert(holds).values(
                    hold_id=hold_id, patron_id=item.patron_id, branch="main", state="ready", event_at=item.at,
                    ready_on=item.at.astimezone(JST).date(), deadline=due, deadline_source="mail",
                )
            )  # fmt: skip
            await connection.execute(
                sa.insert(notice_holds).values(notice_id=item.notice_id, hold_id=hold_id)
            )
        made = await connection.execute(
            sa.insert(deliveries)
            .values(
                notice_id=item.notice_id, kind=item.kind, patron_id=item.patron_id, address=item.address,
                address_key=item.address, domain=item.address.rpartition("@")[2],
                state="refused" if refused else "handed_over", finding="bounced" if refused else "waiting",
                prompt=False, created_at=item.at, first_attempt_at=item.at,
                handed_over_at=None if refused else item.at, window_ends_at=item.at + timedelta(days=3), deadline=due,
            )
            .returning(deliveries.c.delivery_id)
        )  # fmt: skip
        self._delivery[item.notice_id] = int(made.scalar_one())
        if item.failure is not None:
            reason, fault, severity = _SAYS[item.failure]
            await self._evidence(
                connection,
                item.notice_id,
                Sign.REFUSED,
                item.at,
                reason=reason,
                fault=fault,
                severity=severity,
            )

    async def _evidence(
        self, connection: AsyncConnection, notice_id: str, sign: Sign, at: datetime, **said: Any
    ) -> None:
        self._serial += 1
        number = self._delivery[notice_id]
        row = (
            await connection.execute(
                sa.select(deliveries.c.address_key, deliveries.c.patron_id).where(
                    deliveries.c.delivery_id == number
                )
            )
        ).one()
        await connection.execute(
            sa.insert(evidence).values(
                at=at, kind=sign, delivery_id=number, address_key=row.address_key, patron_id=row.patron_id,
                source="test", fingerprint=f"h{self._serial}", **said,
            )
        )  # fmt: skip

    async def _end(self, connection: AsyncConnection, item: HoldEnded) -> None:
        state = {Ending.COLLECTED: "collected", Ending.LAPSED: "lapsed", Ending.UNKNOWN: "cancelled"}[
            item.how
        ]
        await connection.execute(
            sa.update(holds).where(holds.c.hold_id == item.hold_id).values(state=state, event_at=item.at)
        )
        await connection.execute(
            sa.insert(hold_steps).values(hold_id=item.hold_id, state=state, at=item.at, inferred=False)
        )

    async def _visit(self, connection: AsyncConnection, item: PatronSeen) -> None:
        self._serial += 1
        await connection.execute(
            sa.insert(events).values(
                event_id=f"seen{self._serial}", type="patron.seen", at=item.at, received_at=item.at, feed="test",
                payload={}, patron_id=item.patron_id, outcome="applied",
            )
        )  # fmt: skip
