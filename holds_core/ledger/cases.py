"""Cases: one open row per patron who needs a person's attention, opened and closed by evidence.

`review` looks at a patron's holds on the shelf, their mail and their addresses, and opens, changes or
closes the case, and writes down by what news. It never decides whom to phone first; that is the call
list's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.address_checks import CASES, IMPOSSIBLE
from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger.models import (
    addresses,
    case_steps,
    cases,
    deliveries,
    evidence,
    holds,
    notice_holds,
    patron_addresses,
    patrons,
    risks,
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
    "address_impossible": ("登録のメールアドレスは使えない形です", "the mail address cannot exist"),
    "address_mistyped": (
        "登録のメールアドレスに入力間違いの可能性があります",
        "the mail address is probably mistyped",
    ),
    "address_dead": (
        "登録のメールアドレスは終了したサービスのものです",
        "the mail service of the address has ended",
    ),
    "address_no_mail": (
        "登録のメールアドレスのドメインはメールを受け取りません",
        "the domain of the address takes no mail",
    ),
    "at_risk": (
        "取置のお知らせが見られていないおそれがあります",
        "the hold-ready mail has probably not been seen",
    ),
    "expired": ("取置のお知らせを送信できませんでした", "the hold-ready mail could not be sent"),
    "cannot_be_written": ("取置のお知らせを作成できませんでした", "the hold-ready mail could not be written"),
    "not_me": ("「心当たりがない」との回答がありました", "the reader says: this is not me"),
    "replied": ("利用者から返信がありました", "the patron wrote back"),
}
"""Why a patron needs attention: Japanese and English. Order is weight, heaviest first."""

CLOSED: dict[str, tuple[str, str]] = {
    "confirmed": ("利用者が到着を確認しました", "the patron confirmed the mail"),
    "replied": ("利用者から返信がありました", "the patron wrote back"),
    "wrote": ("利用者から空メールが届きました", "the patron sent an empty mail"),
    "staff_works": ("メールが届いていると職員が確認しました", "staff noted that mail arrives"),
    "collected": ("貸出済みです", "the hold was collected"),
    "lapsed": ("取置期限が切れました", "the hold lapsed"),
    "cancelled": ("予約が取り消されました", "the hold was cancelled"),
    "off_the_shelf": ("取置がなくなりました", "nothing is on the shelf any more"),
    "mail_underway": ("新しいアドレスにお知らせを送ります", "the mail goes to another address"),
    "risk_fell": ("届いている見込みが高くなりました", "the mail has probably been seen"),
    "resolved": ("確認が要らなくなりました", "there is no reason left"),
}
"""What closed a case: Japanese and English."""

STEPS: dict[str, tuple[str, str]] = {
    "opened": ("要連絡になりました", "needs attention"),
    "raised": ("理由が加わりました", "a reason was added"),
    "changed": ("理由が変わりました", "the reasons changed"),
    "lowered": ("新しい手がかりにより優先度が下がりました", "news has made it less urgent"),
    "closed": ("要連絡ではなくなりました", "needs no attention any more"),
}
"""What became of a case by itself."""


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
    open_case = (await connection.execute(_OPEN, {"patron": patron_id})).first()
    if open_case is None:
        if reasons:
            await _open(connection, patron_id, reasons, deadline, now)
        return
    values: dict[str, object]
    if not reasons:
        why = await _closed_by(connection, patron_id, open_case)
        values = {"state": "closed", "closed_at": now, "closed_why": why}
        await _step(connection, open_case.case_id, "closed", [why], now)
    elif tuple(open_case.reasons) != reasons or open_case.deadline != deadline:
        values = {"reasons": list(reasons), "deadline": deadline}
        await _reasons_changed(connection, open_case, reasons, now)
    else:
        return
    await connection.execute(
        sa.update(cases).where(cases.c.case_id == open_case.case_id).values(changed_at=now, **values)
    )


async def _reasons_changed(
    connection: AsyncConnection, case: Any, reasons: Sequence[str], now: datetime
) -> None:
    """New reasons raise a case, even beside old ones; reasons that only went away lower it."""
    gained = [reason for reason in reasons if reason not in case.reasons]
    lost = [reason for reason in case.reasons if reason not in reasons]
    if gained:
        order = list(REASONS)
        heavier = not lost or order.index(gained[0]) < min(order.index(r) for r in case.reasons if r in order)
        await _step(connection, case.case_id, "raised" if heavier else "changed", gained, now)
    elif lost:
        await _step(connection, case.case_id, "lowered", list(reasons), now)


async def _step(connection: AsyncConnection, case_id: int, what: str, why: list[str], now: datetime) -> None:
    await connection.execute(sa.insert(case_steps).values(case_id=case_id, at=now, what=what, why=why))


async def lowered(connection: AsyncConnection, patron_id: str, why: Sequence[str], now: datetime) -> None:
    """News has made a patron's open case less urgent; `why` are `RiskReason` values."""
    case_id = await connection.scalar(
        sa.select(cases.c.case_id).where(cases.c.patron_id == patron_id, cases.c.state == "open")
    )
    if case_id is not None:
        await _step(connection, case_id, "lowered", list(why), now)


_CLOSING = (Sign.CONFIRMED, Sign.REPLIED, Sign.WROTE, Sign.STAFF_WORKS, Sign.COLLECTED, Sign.LAPSED)
_OFF_SHELF = {Hold.COLLECTED: "collected", Hold.LAPSED: "lapsed", Hold.CANCELLED: "cancelled"}


async def _closed_by(connection: AsyncConnection, patron_id: str, case: Any) -> str:
    """What left no reason: the last sign since the case was opened, or what became of the holds."""
    sign = await connection.scalar(
        sa.select(evidence.c.kind)
        .where(
            evidence.c.patron_id == patron_id,
            evidence.c.kind.in_(_CLOSING),
            evidence.c.at >= case.opened_at,
            evidence.c.withdrawn_at.is_(None),
        )
        .order_by(evidence.c.at.desc(), evidence.c.evidence_id.desc())
        .limit(1)
    )
    if sign is not None:
        return str(sign)
    mine = sa.select(holds.c.state).where(holds.c.patron_id == patron_id)
    if await connection.scalar(mine.where(holds.c.state == Hold.READY).limit(1)) is None:
        last = await connection.scalar(
            mine.where(holds.c.event_at >= case.opened_at).order_by(holds.c.event_at.desc()).limit(1)
        )
        return _OFF_SHELF.get(Hold(last), "off_the_shelf") if last is not None else "resolved"
    if list(case.reasons) == ["at_risk"]:
        return "risk_fell"
    on_its_way = sa.select(deliveries.c.delivery_id).where(
        deliveries.c.patron_id == patron_id,
        deliveries.c.kind == Kind.HOLD_READY,
        deliveries.c.created_at >= case.opened_at,
        deliveries.c.finding == Finding.WAITING,
    )
    return "mail_underway" if await connection.scalar(on_its_way.limit(1)) is not None else "resolved"


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
        return
    case_id = await connection.scalar(
        sa.select(cases.c.case_id).where(cases.c.patron_id == patron_id, cases.c.state == "open")
    )
    assert case_id is not None
    await _step(connection, case_id, "opened", list(reasons), now)


_disowned = sa.exists().where(
    evidence.c.delivery_id == deliveries.c.delivery_id,
    evidence.c.kind == Sign.NOT_ME,
    evidence.c.withdrawn_at.is_(None),
)


# Every event asks these three; made once, because making a statement costs more than running it.
_OPEN = sa.select(cases).where(cases.c.patron_id == sa.bindparam("patron"), cases.c.state == "open")
_ON_THE_SHELF = (
    sa.select(
        holds.c.hold_id,
        sa.func.coalesce(holds.c.deadline, deliveries.c.deadline).label("deadline"),
        deliveries.c.state,
        deliveries.c.finding,
        deliveries.c.reason,
        deliveries.c.delivery_id,
        _disowned.label("disowned"),
        risks.c.alarming,
    )
    .join(notice_holds, notice_holds.c.hold_id == holds.c.hold_id)
    .join(deliveries, deliveries.c.notice_id == notice_holds.c.notice_id)
    .join(risks, risks.c.notice_id == notice_holds.c.notice_id, isouter=True)
    .join(patrons, patrons.c.patron_id == holds.c.patron_id, isouter=True)
    .where(
        holds.c.patron_id == sa.bindparam("patron"),
        holds.c.state == Hold.READY,
        # whoever wants no word is never called, whatever became of an earlier mail
        sa.func.coalesce(holds.c.contact, patrons.c.contact, "email") != "none",
        deliveries.c.kind == Kind.HOLD_READY,
        deliveries.c.state != Transmission.CANCELLED,
    )
    .order_by(holds.c.hold_id, deliveries.c.delivery_id)
)
_SAID = (
    sa.select(evidence.c.kind)
    .where(
        evidence.c.patron_id == sa.bindparam("patron"),
        sa.or_(
            sa.and_(
                evidence.c.kind == Sign.NOT_ME,
                evidence.c.address_key.in_(
                    sa.select(patron_addresses.c.address_key).where(
                        patron_addresses.c.patron_id == sa.bindparam("patron"),
                        patron_addresses.c.until.is_(None),
                    )
                ),
            ),
            sa.and_(
                # an empty mail with words in it is a reply as well
                sa.or_(
                    evidence.c.kind == Sign.REPLIED,
                    sa.and_(evidence.c.kind == Sign.WROTE, evidence.c.text != ""),
                ),
                ~sa.exists().where(
                    cases.c.patron_id == sa.bindparam("patron"), cases.c.closed_at >= evidence.c.at
                ),
            ),
        ),
    )
    .distinct()
)
_registered = sa.join(patron_addresses, addresses, addresses.c.address_key == patron_addresses.c.address_key)
_in_force = sa.and_(
    patron_addresses.c.patron_id == sa.bindparam("patron"), patron_addresses.c.until.is_(None)
)
# one address that works is enough: nobody is phoned about a slip in the second
_DOUBTED = (
    sa.select(addresses.c.doubt)
    .select_from(_registered)
    .where(
        _in_force,
        addresses.c.doubt != "",
        ~sa.select(sa.literal(1))
        .select_from(_registered)
        .where(_in_force, addresses.c.proven)
        .correlate(None)
        .exists(),
    )
)
_SAID_OR_DOUBTED = sa.union_all(_SAID, _DOUBTED)


async def _attention(connection: AsyncConnection, patron_id: str) -> list[Attention]:
    """Each delivery that leaves a hold on the shelf unannounced, unless another delivery reached."""
    rows = (await connection.execute(_ON_THE_SHELF, {"patron": patron_id})).all()
    by_hold: dict[str, list[Any]] = {}
    for row in rows:
        by_hold.setdefault(row.hold_id, []).append(row)
    found = [item for deliveries_of in by_hold.values() if (item := _of_hold(deliveries_of)) is not None]
    return found + await _answered(connection, patron_id)


async def _answered(connection: AsyncConnection, patron_id: str) -> list[Attention]:
    """What staff must see whether or not a hold waits.

    "Not me", as long as that address is the patron's; a reply, until a case with it was closed; a doubt about
    a registered address, until a person's sign came from there or another one is registered.
    """
    found = await connection.scalars(_SAID_OR_DOUBTED, {"patron": patron_id})
    return [Attention(_REASON_OF.get(word) or CASES.get(word, IMPOSSIBLE), None) for word in found]


_REASON_OF: dict[str, str] = {
    Sign.NOT_ME: "not_me",
    Sign.REPLIED: "replied",
    Sign.WROTE: "replied",
}


def _of_hold(rows: Sequence[Any]) -> Attention | None:
    """The heaviest reason among a hold's deliveries; none if one of them still waits or reached."""
    reasons = [_of_delivery(row) for row in rows]
    if not reasons or None in reasons:
        return None
    order = list(REASONS)
    heaviest = min((reason for reason in reasons if reason), key=order.index)
    return Attention(heaviest, min((row.deadline for row in rows if row.deadline), default=None))


def _of_delivery(row: Any) -> str | None:
    # a stranger reads that mailbox: nothing that comes from it is the patron's answer
    if row.disowned:
        return "not_me"
    if row.finding == Finding.CONFIRMED:
        return None
    if row.state == Transmission.WITHHELD:
        return row.reason if row.reason in REASONS else "unreachable"
    if row.finding == Finding.BOUNCED or row.state == Transmission.REFUSED:
        return "bounced"
    if row.state == Transmission.EXPIRED:
        return "expired"
    if row.finding == Finding.UNANSWERED:
        return "unanswered"
    # nothing has happened yet, and probably nothing will
    return "at_risk" if row.alarming and row.state == Transmission.HANDED_OVER else None
