"""What staff and programs ask of the ledger: the undelivered-mail report and the story of one thing.

Reads only. Shapes are the contract's: scripts outside rely on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Evidence, Sign, finding
from holds_core.ledger.models import deliveries, evidence, holds, notice_holds, patrons
from holds_core.notices import Finding, Transmission

DEFAULT_SPAN = timedelta(days=35)
"""A report covers the shelf time twice and a bit, unless it is asked for more."""

_TROUBLED_STATES = (Transmission.REFUSED, Transmission.EXPIRED, Transmission.WITHHELD, Transmission.UNCERTAIN)
_TROUBLED_FINDINGS = (Finding.BOUNCED, Finding.UNANSWERED)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """One line of the undelivered-mail report: one delivery that did not reach, or gave no sign."""

    notice_id: str
    patron_id: str
    address: str
    kind: str
    state: str
    finding: str
    reason: str
    fault: str
    sent_at: datetime | None
    deadline: date | None
    hold_ids: tuple[str, ...]
    patron_name: str = ""
    open: bool = True

    def as_json(self) -> dict[str, Any]:
        """The contract's fields."""
        return {
            "notice_id": self.notice_id,
            "patron_id": self.patron_id,
            "address": self.address,
            "kind": self.kind,
            "state": self.state,
            "finding": self.finding,
            "reason": self.reason,
            "fault": self.fault,
            "sent_at": self.sent_at.isoformat() if self.sent_at else None,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "hold_ids": list(self.hold_ids),
        }


async def undelivered(
    connection: AsyncConnection, as_of: datetime, since: datetime | None = None
) -> list[Undelivered]:
    """Mail of the span that did not reach or gave no sign, as it was known at `as_of`.

    Most urgent first: holds still on the shelf by deadline, then the rest, newest first.
    """
    start = since or as_of - DEFAULT_SPAN
    columns = deliveries.c
    rows = (
        await connection.execute(
            sa.select(deliveries, patrons.c.name)
            .join(patrons, patrons.c.patron_id == columns.patron_id, isouter=True)
            .where(
                columns.created_at >= start,
                columns.created_at <= as_of,
                sa.or_(
                    columns.state.in_(_TROUBLED_STATES),
                    columns.finding.in_(_TROUBLED_FINDINGS),
                    # a finding may have been otherwise at `as_of`
                    columns.window_ends_at <= as_of,
                ),
            )
            .order_by(columns.delivery_id)
        )
    ).all()
    known = await _evidence(connection, [row.delivery_id for row in rows], as_of)
    listed = await _holds(connection, {row.notice_id for row in rows})
    found = [_line(row, known.get(row.delivery_id, []), listed.get(row.notice_id, []), as_of) for row in rows]
    lines = [line for line in found if line is not None]
    urgent = sorted(
        (line for line in lines if line.open), key=lambda line: (line.deadline or date.max, line.notice_id)
    )
    return urgent + [line for line in reversed(lines) if not line.open]


def _line(row: Any, items: list[Evidence], listed: list[Any], as_of: datetime) -> Undelivered | None:
    found = finding(items, row.window_ends_at, as_of)
    if found not in _TROUBLED_FINDINGS and (
        row.state not in _TROUBLED_STATES
        or found is Finding.CONFIRMED
        # every refusal is evidence: without it, it came after `as_of`
        or row.state == Transmission.REFUSED
    ):
        return None
    on_shelf = [item.deadline for item in listed if item.state == "ready"]
    deadlines = [item.deadline for item in listed if item.deadline] or (
        [row.deadline] if row.deadline else []
    )
    return Undelivered(
        notice_id=row.notice_id,
        patron_id=row.patron_id,
        address=row.address,
        kind=row.kind,
        state=row.state,
        finding=found,
        reason=row.reason or ("no_sign" if found is Finding.UNANSWERED else ""),
        fault=row.fault,
        sent_at=row.handed_over_at or row.first_attempt_at,
        deadline=min(deadlines, default=None),
        hold_ids=tuple(item.hold_id for item in listed),
        patron_name=row.name or "",
        open=bool(on_shelf),
    )


async def _evidence(
    connection: AsyncConnection, numbers: Sequence[int], as_of: datetime
) -> dict[int, list[Evidence]]:
    found: dict[int, list[Evidence]] = {}
    for start in range(0, len(numbers), 500):
        rows = await connection.execute(
            sa.select(
                evidence.c.delivery_id, evidence.c.at, evidence.c.kind, evidence.c.fault, evidence.c.severity
            ).where(evidence.c.delivery_id.in_(numbers[start : start + 500]), evidence.c.at <= as_of)
        )
        for row in rows:
            item = Evidence(row.at, Sign(row.kind), row.delivery_id, "", row.fault, row.severity)
            found.setdefault(row.delivery_id, []).append(item)
    return found


async def _holds(connection: AsyncConnection, notice_ids: set[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    wanted = sorted(notice_ids)
    for start in range(0, len(wanted), 500):
        rows = await connection.execute(
            sa.select(notice_holds.c.notice_id, holds.c.hold_id, holds.c.state, holds.c.deadline)
            .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
            .where(notice_holds.c.notice_id.in_(wanted[start : start + 500]))
            .order_by(holds.c.hold_id)
        )
        for row in rows:
            found.setdefault(row.notice_id, []).append(row)
    return found
