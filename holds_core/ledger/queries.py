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
from holds_core.ledger.models import deliveries, evidence, holds, notice_holds, notices, patrons
from holds_core.notices import Finding, Transmission

DEFAULT_SPAN = timedelta(days=35)
"""A report covers the shelf time twice and a bit, unless it is asked for more."""

AT_ONCE = 5_000
"""Ids in one question: SQLite takes 32,766 (sqlite.org/limits.html), and a day's report needs one."""

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
    branch: str = ""

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
    connection: AsyncConnection,
    as_of: datetime,
    since: datetime | None = None,
    *,
    current: bool = False,
) -> list[Undelivered]:
    """Mail of the span that did not reach or gave no sign, as it was known at `as_of`.

    `current`: `as_of` is this moment, so that the findings as stored are the answer; otherwise they are
    drawn anew from the evidence of that time. Most urgent first: holds still on the shelf by deadline,
    then the rest, newest first.
    """
    columns = deliveries.c
    passed = columns.window_ends_at <= as_of
    wanted = sa.and_(
        columns.created_at >= (since or as_of - DEFAULT_SPAN),
        columns.created_at <= as_of,
        sa.or_(
            columns.state.in_(_TROUBLED_STATES),
            columns.finding.in_(_TROUBLED_FINDINGS),
            # the watcher has not come by yet; or a finding may have been otherwise at `as_of`
            sa.and_(passed, columns.finding == Finding.WAITING) if current else passed,
        ),
    )
    rows = (
        await connection.execute(
            sa.select(*_COLUMNS, patrons.c.name, notices.c.branch)
            .join(notices, notices.c.notice_id == columns.notice_id)
            .join(patrons, patrons.c.patron_id == columns.patron_id, isouter=True)
            .where(wanted)
            .order_by(columns.delivery_id)
        )
    ).all()
    known = {} if current else await _evidence(connection, wanted, as_of)
    listed = await _holds(connection, [row.notice_id for row in rows])
    lines = []
    for row in rows:
        found = (
            _stored(row, as_of)
            if current
            else finding(known.get(row.delivery_id, ()), row.window_ends_at, as_of)
        )
        if _is_trouble(row.state, found):
            lines.append(_line(row, found, listed.get(row.notice_id, ())))
    return _in_order(lines)


_COLUMNS = tuple(
    deliveries.c[name]
    for name in (
        *("delivery_id", "notice_id", "patron_id", "address", "kind", "state", "finding", "reason", "fault"),
        *("first_attempt_at", "handed_over_at", "window_ends_at", "deadline"),
    )
)


def _stored(row: Any, now: datetime) -> Finding:
    """The finding as it stands, a window that has just passed included."""
    found = Finding(row.finding)
    silent = found is Finding.WAITING and row.window_ends_at is not None and row.window_ends_at <= now
    return Finding.UNANSWERED if silent else found


def _is_trouble(state: str, found: Finding) -> bool:
    if found in _TROUBLED_FINDINGS:
        return True
    # every refusal is evidence: without it, it came after the report's time
    return state in _TROUBLED_STATES and state != Transmission.REFUSED and found is not Finding.CONFIRMED


def _in_order(lines: Sequence[Undelivered]) -> list[Undelivered]:
    urgent = sorted(
        (line for line in lines if line.open), key=lambda line: (line.deadline or date.max, line.notice_id)
    )
    return urgent + [line for line in reversed(lines) if not line.open]


def _line(row: Any, found: Finding, listed: Sequence[Any]) -> Undelivered:
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
        branch=row.branch,
    )


async def _evidence(
    connection: AsyncConnection, wanted: sa.ColumnElement[bool], as_of: datetime
) -> dict[int, list[Evidence]]:
    """The evidence of the deliveries that are wanted, as far as it was known at `as_of`."""
    found: dict[int, list[Evidence]] = {}
    said = evidence.c
    for row in await connection.execute(
        sa.select(said.delivery_id, said.at, said.kind, said.fault, said.severity)
        .join(deliveries, deliveries.c.delivery_id == said.delivery_id)
        .where(wanted, said.at <= as_of, said.withdrawn_at.is_(None))
    ):
        item = Evidence(row.at, Sign(row.kind), row.delivery_id, "", row.fault, row.severity)
        found.setdefault(row.delivery_id, []).append(item)
    return found


async def _holds(connection: AsyncConnection, notice_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The holds that each of the notices names."""
    wanted = list(dict.fromkeys(notice_ids))
    found: dict[str, list[Any]] = {}
    for start in range(0, len(wanted), AT_ONCE):
        rows = await connection.execute(
            sa.select(notice_holds.c.notice_id, holds.c.hold_id, holds.c.state, holds.c.deadline)
            .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
            .where(notice_holds.c.notice_id.in_(wanted[start : start + AT_ONCE]))
            .order_by(holds.c.hold_id)
        )
        for row in rows.all():
            found.setdefault(row.notice_id, []).append(row)
    return found
