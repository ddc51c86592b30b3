"""Evidence into the ledger, and what follows from it at once: finding, standing, the patron's case.

Evidence is append-only and accepted in every transmission state. An observation that was handed in before
(same fingerprint) changes nothing. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import FAILURES, Evidence, Sign, finding
from holds_core.ledger import cases, outbox
from holds_core.ledger.models import addresses, deliveries, evidence, notice_holds
from holds_core.ledger.sql import insert_new, short_id
from holds_core.notices import Finding, Kind, Transmission
from holds_core.reasons import Fault
from holds_core.standing import Judgement, Standing, judge

SEEN_COUNTS_FOR = timedelta(days=30)
"""An OPAC visit says something about mails of the last month, not about older ones."""

STAFF = "staff"
"""The source of evidence that staff give at the desk; the only one that can be withdrawn."""

_SETTLES_DOUBT = FAILURES | {Sign.DELIVERED, Sign.RELAYED, Sign.DELAYED, Sign.CONFIRMED, Sign.REPLIED}


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation as it is stored. `fingerprint` is the same for the same fact, however often seen.

    `address_key` is the address the observation is about; with a delivery it is the delivery's own.
    """

    at: datetime
    sign: Sign
    source: str
    fingerprint: str
    delivery_id: int | None = None
    address_key: str = ""
    patron_id: str | None = None
    reason: str = ""
    fault: str = ""
    severity: str = ""
    phase: str = ""
    code: int | None = None
    status: str = ""
    text: str = ""
    inbound_id: int | None = None


async def observe(connection: AsyncConnection, item: Observation, now: datetime) -> bool:
    """Stores one observation and draws its conclusions. Returns whether it was new."""
    address_key, patron_id = item.address_key, item.patron_id
    if item.delivery_id is not None:
        row = (
            await connection.execute(
                sa.select(deliveries.c.address_key, deliveries.c.patron_id).where(
                    deliveries.c.delivery_id == item.delivery_id
                )
            )
        ).one()
        address_key, patron_id = address_key or row.address_key, row.patron_id
    new = await insert_new(
        connection,
        evidence,
        {
            "at": item.at,
            "kind": item.sign,
            "delivery_id": item.delivery_id,
            "address_key": address_key,
            "patron_id": patron_id,
            "source": item.source,
            "reason": item.reason,
            "fault": item.fault,
            "severity": item.severity,
            "phase": item.phase,
            "code": item.code,
            "status": item.status,
            "text": item.text[:2000],
            "inbound_id": item.inbound_id,
            "fingerprint": _print(item.fingerprint),
        },
    )
    if not new:
        return False
    if item.delivery_id is not None:
        await _conclude(connection, item, now)
    if address_key:
        await rejudge(connection, address_key, now)
    if patron_id:
        await cases.review(connection, patron_id, now)
    return True


_LONGEST_PRINT = 200


def _print(fingerprint: str) -> str:
    """As the table can hold it: an event's id or an address inside it may fill the column alone."""
    return fingerprint if len(fingerprint) <= _LONGEST_PRINT else short_id("long:", fingerprint)


async def _conclude(connection: AsyncConnection, item: Observation, now: datetime) -> None:
    """The delivery's finding anew, and an end to its doubt if the evidence gives one."""
    assert item.delivery_id is not None
    if item.sign in _SETTLES_DOUBT:
        settled = await outbox.move(
            connection,
            deliveries.c.delivery_id == item.delivery_id,
            Transmission.HANDED_OVER,
            sources=(Transmission.UNCERTAIN,),
            handed_over_at=sa.func.coalesce(deliveries.c.handed_over_at, item.at),
            next_at=None,
            reason="evidence",
        )
        await outbox.deadline_in_force(connection, settled)
    values: dict[str, object] = {"finding": await _finding(connection, item.delivery_id, now)}
    if item.sign in FAILURES:
        values |= {"reason": item.reason, "fault": item.fault}
    await connection.execute(
        sa.update(deliveries).where(deliveries.c.delivery_id == item.delivery_id).values(**values)
    )


async def _finding(connection: AsyncConnection, delivery_id: int, now: datetime) -> Finding:
    window = await connection.scalar(
        sa.select(deliveries.c.window_ends_at).where(deliveries.c.delivery_id == delivery_id)
    )
    about = sa.and_(evidence.c.delivery_id == delivery_id, ~_mended)
    return finding(await _evidence(connection, about), window, now)


_mended = sa.and_(
    evidence.c.kind == Sign.REFUSED,
    evidence.c.fault == Fault.US,
    sa.exists().where(
        deliveries.c.delivery_id == evidence.c.delivery_id, deliveries.c.state != Transmission.REFUSED
    ),
)
"""A refusal by our own fault of a mail that was sent again since (`holds_core.ledger.breaker`)."""


async def _evidence(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> list[Evidence]:
    """The evidence that counts."""
    columns = evidence.c
    rows = await connection.execute(
        sa.select(
            columns.at, columns.kind, columns.delivery_id, columns.reason, columns.fault, columns.severity
        ).where(where, columns.withdrawn_at.is_(None))
    )
    return [
        Evidence(row.at, Sign(row.kind), row.delivery_id, row.reason, row.fault, row.severity) for row in rows
    ]


async def withdraw(connection: AsyncConnection, fingerprints: Sequence[str], who: str, now: datetime) -> None:
    """Marks staff's own evidence as taken back, and draws the conclusions anew without it.

    Nobody observed it, somebody pressed the wrong button. Evidence of any other source is left alone.
    """
    mine = sa.and_(
        evidence.c.fingerprint.in_([_print(item) for item in fingerprints]),
        evidence.c.source == STAFF,
        evidence.c.withdrawn_at.is_(None),
    )
    rows = (
        await connection.execute(sa.select(evidence.c.delivery_id, evidence.c.address_key).where(mine))
    ).all()
    await connection.execute(sa.update(evidence).where(mine).values(withdrawn_at=now, withdrawn_by=who))
    for delivery_id in sorted({row.delivery_id for row in rows if row.delivery_id is not None}):
        found = await _finding(connection, delivery_id, now)
        await connection.execute(
            sa.update(deliveries).where(deliveries.c.delivery_id == delivery_id).values(finding=found)
        )
    for key in sorted({row.address_key for row in rows}):
        await rejudge(connection, key, now)


async def rejudge(connection: AsyncConnection, address_key: str, now: datetime) -> Judgement:
    """Judges an address anew from all of its evidence and stores the result."""
    await know(connection, address_key, now)
    # locked first: of two transactions with news of one address, the later must see the earlier's
    await connection.execute(
        sa.select(addresses.c.since).where(addresses.c.address_key == address_key).with_for_update()
    )
    judgement = judge(await _evidence(connection, evidence.c.address_key == address_key))
    await connection.execute(
        sa.update(addresses)
        .where(addresses.c.address_key == address_key)
        .values(
            since=sa.case((addresses.c.standing == judgement.standing, addresses.c.since), else_=now),
            standing=judgement.standing,
            reasons=list(judgement.reasons),
            proven=judgement.proven,
            mistyped=judgement.mistyped,
        )
    )
    return judgement


async def know(connection: AsyncConnection, address_key: str, now: datetime) -> None:
    """Makes sure that the address has a row; a new one is unproven."""
    await insert_new(
        connection,
        addresses,
        {
            "address_key": address_key,
            "domain": address_key.rpartition("@")[2],
            "standing": Standing.UNPROVEN,
            "reasons": [],
            "since": now,
            "proven": False,
            "mistyped": False,
        },
    )


async def patron_seen(
    connection: AsyncConnection, patron_id: str, at: datetime, event_id: str, now: datetime
) -> None:
    """The patron was seen: a weak sign for each of their mails that waits for one."""
    for delivery_id in await _waiting(
        connection, deliveries.c.patron_id == patron_id, at - SEEN_COUNTS_FOR, at
    ):
        seen = Observation(at, Sign.SEEN, "feed", f"seen:{event_id}:{delivery_id}", delivery_id)
        await observe(connection, seen, now)


async def hold_ended(
    connection: AsyncConnection, hold_id: str, sign: Sign, at: datetime, event_id: str, now: datetime
) -> None:
    """A hold was collected or lapsed: evidence for the mails that announced it before."""
    announced = sa.and_(
        deliveries.c.kind == Kind.HOLD_READY,
        deliveries.c.notice_id.in_(
            sa.select(notice_holds.c.notice_id).where(notice_holds.c.hold_id == hold_id)
        ),
    )
    for delivery_id in await _handed_over(connection, announced, at):
        ended = Observation(at, sign, "feed", f"{sign}:{event_id}:{delivery_id}", delivery_id)
        await observe(connection, ended, now)


async def _waiting(
    connection: AsyncConnection, where: sa.ColumnElement[bool], since: datetime, until: datetime
) -> list[int]:
    open_findings = deliveries.c.finding.in_([Finding.WAITING, Finding.UNANSWERED])
    recent = deliveries.c.handed_over_at >= since
    return await _handed_over(connection, sa.and_(where, open_findings, recent), until)


async def _handed_over(
    connection: AsyncConnection, where: sa.ColumnElement[bool], until: datetime
) -> list[int]:
    found = await connection.scalars(
        sa.select(deliveries.c.delivery_id)
        .where(where, deliveries.c.handed_over_at <= until)
        .order_by(deliveries.c.delivery_id)
    )
    return list(found)


async def windows_passed(connection: AsyncConnection, now: datetime, limit: int = 500) -> list[int]:
    """Deliveries whose window passed without any sign become unanswered. Returns them; call until empty."""
    due = list(
        await connection.scalars(
            sa.select(deliveries.c.delivery_id)
            .where(deliveries.c.finding == Finding.WAITING, deliveries.c.window_ends_at <= now)
            .order_by(deliveries.c.window_ends_at)
            .limit(limit)
        )
    )
    for delivery_id in due:
        silence = Observation(now, Sign.UNANSWERED, "clock", f"unanswered:{delivery_id}", delivery_id)
        if not await observe(connection, silence, now):
            # seen before and answered since, then the window was set anew by a second attempt
            await _conclude(connection, silence, now)
    return due
