"""Cases: one open row per patron who needs a person's attention, opened and closed by evidence.

`review` looks at a patron's holds on the shelf, their mail and their addresses, and opens, changes or
closes the case. It never decides whom to phone first; that is the call list's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger.models import (
    cases,
    deliveries,
    evidence,
    holds,
    notice_holds,
    patron_addresses,
)
from holds_core.ledger.sql import insert_new
from holds_core.notices import Finding, Kind, Transmission

REASONS: dict[str, tuple[str, str]] = {
    "no_address": ("メールアドレスの登録がありません", "no mail address is registered"),
    "provisional": ("仮のメールアドレスのままです", "the mail address is still provisional"),
    "unreachable": ("登録のアドレスにメールが届きません", "mail to the registered address does not arrive"),
    "contact_phone": ("電話での連絡をご希望です", "the patron asked to be phoned"),
    "contact_post": ("郵便での連絡をご希望です", "the patron asked for a letter"),
    "patron_unknown": ("利用者情報が届いていません", "the patron's record has not arrived"),
    "bounced": ("取置のお知らせが不達でした", "the hold-ready mail came back"),
    "unanswered": ("取置のお知らせに到着確認がありません", "no sign that the hold-ready mail arrived"),
    "expired": ("取置のお知らせを送信できませんでした", "the hold-ready mail could not be sent"),
    "cannot_be_written": ("取置のお知らせを作成できませんでした", "the hold-ready mail could not be written"),
    "not_me": ("「心当たりがない」との回答がありました", "the reader says: this is not me"),
    "replied": ("利用者から返信がありました", "the patron wrote back"),
}
"""Why a patron needs attention: Japanese and English. Order is weight, heaviest first."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What one delivery of a hold on the shelf says about its patron."""

    reason: str
    deadline: date | None


def reasons_of(found: Iterable[Attention]) -> tuple[tuple[str, ...], date | None]:
    """The distinct reasons, heaviest first, and the earliest deadline among them."""
    items = list(found)
    order = {reason: place for place, reason in enumerate(REASONS)}
    reasons = sorted({item.reason for item in items}, key=lambda reason: order.get(reason, len(order)))
    deadlines = [item.deadline for item in items if item.deadline is not None]
    return tuple(reasons), min(deadlines, default=None)


async def review(connection: AsyncConnection, patron_id: str, now: datetime) -> None:
    """Opens, changes or closes the patron's case by what is known now."""
    reasons, deadline = reasons_of(await _attention(connection, patron_id))
    open_case = (
        await connection.execute(
            sa.select(cases).where(cases.c.patron_id == patron_id, cases.c.state == "open")
        )
    ).first()
    if open_case is None:
        if reasons:
            await _open(connection, patron_id, reasons, deadline, now)
        return
    values: dict[str, object]
    if not reasons:
        values = {"state": "closed", "closed_at": now, "closed_why": "resolved"}
    elif tuple(open_case.reasons) != reasons or open_case.deadline != deadline:
        values = {"reasons": list(reasons), "deadline": deadline}
    else:
        return
    await connection.execute(
        sa.update(cases).where(cases.c.case_id == open_case.case_id).values(changed_at=now, **values)
    )


async def _open(
    connection: AsyncConnection, patron_id: str, reasons: Sequence[str], deadline: date | None, now: datetime
) -> None:
    row = {"reasons": list(reasons), "deadline": deadline, "changed_at": now}
    new = await insert_new(
        connection, cases, {"patron_id": patron_id, "state": "open", "opened_at": now} | row
    )
    if not new:  # another transaction opened it since we looked
        await connection.execute(
            sa.update(cases).where(cases.c.patron_id == patron_id, cases.c.state == "open").values(**row)
        )


_disowned = sa.exists().where(
    evidence.c.delivery_id == deliveries.c.delivery_id, evidence.c.kind == Sign.NOT_ME
)


async def _attention(connection: AsyncConnection, patron_id: str) -> list[Attention]:
    """Each delivery that leaves a hold on the shelf unannounced, unless another delivery reached."""
    rows = (
        await connection.execute(
            sa.select(
                holds.c.hold_id,
                sa.func.coalesce(holds.c.deadline, deliveries.c.deadline).label("deadline"),
                deliveries.c.state,
                deliveries.c.finding,
                deliveries.c.reason,
                deliveries.c.delivery_id,
                _disowned.label("disowned"),
            )
            .join(notice_holds, notice_holds.c.hold_id == holds.c.hold_id)
            .join(deliveries, deliveries.c.notice_id == notice_holds.c.notice_id)
            .where(
                holds.c.patron_id == patron_id,
                holds.c.state == Hold.READY,
                deliveries.c.kind == Kind.HOLD_READY,
                deliveries.c.state != Transmission.CANCELLED,
            )
            .order_by(holds.c.hold_id, deliveries.c.delivery_id)
        )
    ).all()
    by_hold: dict[str, list[Any]] = {}
    for row in rows:
        by_hold.setdefault(row.hold_id, []).append(row)
    found = [item for deliveries_of in by_hold.values() if (item := _of_hold(deliveries_of)) is not None]
    return found + await _answered(connection, patron_id)


async def _answered(connection: AsyncConnection, patron_id: str) -> list[Attention]:
    """What a person answered that staff must see, whether or not a hold waits.

    "Not me", as long as that address is the patron's; a reply, until a case with it was closed.
    """
    registered = sa.select(patron_addresses.c.address_key).where(
        patron_addresses.c.patron_id == patron_id, patron_addresses.c.until.is_(None)
    )
    closed = sa.select(sa.func.max(cases.c.closed_at)).where(cases.c.patron_id == patron_id).scalar_subquery()
    signs = await connection.scalars(
        sa.select(evidence.c.kind)
        .where(
            evidence.c.patron_id == patron_id,
            sa.or_(
                sa.and_(evidence.c.kind == Sign.NOT_ME, evidence.c.address_key.in_(registered)),
                sa.and_(evidence.c.kind == Sign.REPLIED, sa.or_(closed.is_(None), evidence.c.at > closed)),
            ),
        )
        .distinct()
    )
    return [Attention(str(sign), None) for sign in signs]


def _of_hold(rows: Sequence[Any]) -> Attention | None:
    """The heaviest reason among a hold's deliveries; none if one of them still waits or reached."""
    reasons = [_of_delivery(row.state, row.finding, row.reason, disowned=row.disowned) for row in rows]
    if not reasons or None in reasons:
        return None
    order = list(REASONS)
    heaviest = min((reason for reason in reasons if reason), key=order.index)
    return Attention(heaviest, min((row.deadline for row in rows if row.deadline), default=None))


def _of_delivery(state: str, found: str, reason: str, *, disowned: bool) -> str | None:
    # a stranger reads that mailbox: nothing that comes from it is the patron's answer
    if disowned:
        return "not_me"
    if found == Finding.CONFIRMED:
        return None
    if state == Transmission.WITHHELD:
        return reason if reason in REASONS else "unreachable"
    if found == Finding.BOUNCED or state == Transmission.REFUSED:
        return "bounced"
    if state == Transmission.EXPIRED:
        return "expired"
    return "unanswered" if found == Finding.UNANSWERED else None
