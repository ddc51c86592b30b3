"""What staff say about a patron's mail: it arrives, it never came, the address is another one.

Uses the same rules as the library system's events (`owing`, `registrations`): a corrected address is told and tried at
once, waiting holds are announced again. It holds until the library system itself says something new.
All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import events as ev
from holds_core.errors import BadInput, NotFound
from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger import cases, observations, outbox, owing, registrations
from holds_core.ledger.models import (
    deliveries,
    holds,
    notice_holds,
    notices,
    patron_addresses,
    patrons,
)
from holds_core.ledger.observations import Observation
from holds_core.ledger.outbox import Cause
from holds_core.notices import Kind, Transmission
from holds_core.patrons import Refusal, address_key, check_address
from holds_core.policy import mailable
from holds_core.providers import Providers

_PROVIDERS = Providers.load()
_SENT = (Transmission.HANDED_OVER, Transmission.UNCERTAIN, Transmission.REFUSED, Transmission.EXPIRED)


class UnusableAddress(BadInput):
    """What staff typed cannot be an address. `suggestion` is what was probably meant, or ""."""

    def __init__(self, refusal: Refusal) -> None:
        self.ja, self.en = refusal.sentence
        self.suggestion = refusal.suggestion
        super().__init__(f"{self.ja} {self.en}")


# -- the address -----------------------------------------------------------------------------------


async def in_force(connection: AsyncConnection, patron_id: str) -> list[dict[str, Any]]:
    """The patron's addresses in force: {address, source, provisional}, the first one first."""
    rows = await connection.execute(
        sa.select(patron_addresses)
        .where(patron_addresses.c.patron_id == patron_id, patron_addresses.c.until.is_(None))
        .order_by(patron_addresses.c.position)
    )
    return [{"address": row.address, "source": row.source, "provisional": row.provisional} for row in rows]


async def correct_address(
    connection: AsyncConnection,
    patron_id: str,
    address: str,
    who: str,
    now: datetime,
    *,
    replaces: str = "",
    prompt_at: datetime | None = None,
    cause_id: str = "",
) -> tuple[str, ...]:
    """Staff give the patron's true address. Returns the notices owed: the change, and holds that wait.

    It takes the place of `replaces`, or of all addresses. The library system's own value is kept beside
    it, so that tonight's snapshot, which still has the old one, does not restore it.
    Raises UnusableAddress, NotFound.
    """
    checked = check_address(address, _PROVIDERS, allow_special_domains=True)
    if isinstance(checked, Refusal):
        raise UnusableAddress(checked)
    before = await owing.patron_record(connection, patron_id)
    if before is None:
        raise NotFound(f"there is no patron {patron_id}")
    kept = [record.address for record in before.addresses if replaces and record.address != replaces]
    wanted = [address.strip(), *(old for old in kept if address_key(old) != address_key(address))]
    cause = Cause(cause_id or f"staff:{who}:{now.isoformat()}", now, prompt_at or now)
    await _set(connection, patron_id, wanted, cause, source="staff", provisional=False)
    after = await owing.patron_record(connection, patron_id)
    assert after is not None
    made = await owing.owe_registration(connection, after, before.addresses, cause)
    return made + await _announce(connection, patron_id, cause)


async def _set(
    connection: AsyncConnection,
    patron_id: str,
    addresses: Sequence[str],
    cause: Cause,
    *,
    source: str,
    provisional: bool,
) -> None:
    change = ev.EmailChanged(id=cause.id, at=cause.now, patron_id=patron_id, emails=tuple(addresses))
    await registrations.set_addresses(
        connection, patron_id, addresses, change, provisional, cause.now, source=source
    )


async def _announce(connection: AsyncConnection, patron_id: str, cause: Cause) -> tuple[str, ...]:
    """Takes back unsent mail to addresses no longer in force, and tells the present ones what waits."""
    record = await owing.patron_record(connection, patron_id)
    keys = [item.key for item in record.addresses] if record else []
    await outbox.cancel_unsent(connection, patron_id, keep_keys=keys, reason="address_changed")
    made = await owing.announce_waiting(connection, patron_id, cause)
    await cases.review(connection, patron_id, cause.now)
    return made


@dataclass(frozen=True, slots=True)
class Unsynced:
    """An address that staff corrected and the library system does not have yet."""

    patron_id: str
    name: str
    branch: str
    address: str
    since: datetime
    feed_emails: tuple[str, ...]


async def unsynced(connection: AsyncConnection) -> list[Unsynced]:
    """What somebody has to type into the library system, oldest first."""
    rows = await connection.execute(
        sa.select(
            patron_addresses.c.patron_id,
            patrons.c.name,
            patrons.c.branch,
            patron_addresses.c.address,
            patron_addresses.c.since,
            patrons.c.feed_emails,
        )
        .join(patrons, patrons.c.patron_id == patron_addresses.c.patron_id)
        .where(patron_addresses.c.until.is_(None), patron_addresses.c.source == "staff")
        .order_by(patron_addresses.c.since, patron_addresses.c.patron_id)
    )
    found = [
        Unsynced(row.patron_id, row.name, row.branch, row.address, row.since, tuple(row.feed_emails))
        for row in rows
    ]
    return [item for item in found if address_key(item.address) not in map(address_key, item.feed_emails)]


# -- what the patron says of the mail ----------------------------------------------------------------


async def say(
    connection: AsyncConnection, patron_id: str, address: str, sign: Sign, cause: Cause
) -> list[str]:
    """Records what a patron told staff, about each mail of the holds on the shelf, or the address alone.

    `address` empty: all of the patron's addresses. Returns the fingerprints. Raises BadInput.
    """
    record = await owing.patron_record(connection, patron_id)
    keys = [item.key for item in record.addresses] if record else []
    if address:
        keys = [key for key in keys if key == address_key(address)]
    if not keys:
        raise BadInput("メールアドレスの登録がありません。 There is no such mail address.")
    made: list[str] = []
    for key in keys:
        about: list[int | None] = list(await _mails(connection, patron_id, key))
        for delivery_id in about or [None]:
            fingerprint = f"{cause.id}:{delivery_id or key}"
            item = Observation(cause.now, sign, observations.STAFF, fingerprint, delivery_id, key, patron_id)
            await observations.observe(connection, item, cause.now)
            made.append(fingerprint)
    return made


async def _mails(connection: AsyncConnection, patron_id: str, key: str) -> list[int]:
    """Mails to the address that announced a hold which is still on the shelf."""
    found = await connection.scalars(
        sa.select(deliveries.c.delivery_id)
        .join(notice_holds, notice_holds.c.notice_id == deliveries.c.notice_id)
        .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
        .where(
            deliveries.c.patron_id == patron_id,
            deliveries.c.address_key == key,
            deliveries.c.kind == Kind.HOLD_READY,
            deliveries.c.state.in_(_SENT),
            holds.c.state == Hold.READY,
        )
        .distinct()
        .order_by(deliveries.c.delivery_id)
    )
    return list(found)


async def mail_again(connection: AsyncConnection, patron_id: str, cause: Cause) -> dict[str, Any]:
    """After "mail arrives": what was withheld because the address seemed dead goes with the next batch."""
    record = await owing.patron_record(connection, patron_id)
    keys = [item.key for item in mailable(record)] if record else []
    released = await outbox.move(
        connection,
        sa.and_(deliveries.c.patron_id == patron_id, deliveries.c.address_key.in_(keys)),
        Transmission.PENDING,
        sources=(Transmission.WITHHELD,),
        slot=None,
        next_at=None,
        reason="",
    )
    nowhere = await connection.scalar(
        sa.select(deliveries.c.delivery_id)
        .where(
            deliveries.c.patron_id == patron_id,
            deliveries.c.state == Transmission.WITHHELD,
            deliveries.c.reason == "unreachable",
        )
        .limit(1)
    )
    made = await _announce(connection, patron_id, cause) if keys and nowhere else ()
    return {"released": released, "notices": list(made)}


async def resend(connection: AsyncConnection, patron_id: str, cause: Cause) -> tuple[str, ...]:
    """Owes a new hold-ready notice for what is on the shelf, for the next batch.

    Raises BadInput if nothing is on the shelf, or if there is no address that may be used.
    """
    record = await owing.patron_record(connection, patron_id)
    if record is None or not mailable(record):
        raise BadInput("送信できるメールアドレスがありません。 There is no address that mail may go to.")
    waiting = list(
        await connection.scalars(
            sa.select(holds.c.hold_id)
            .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
            .order_by(holds.c.hold_id)
        )
    )
    if not waiting:
        raise BadInput("お取り置き中の資料がありません。 Nothing is on the hold shelf.")
    made: list[str] = []
    for hold_id in waiting:
        made += await owing.owe_hold(connection, hold_id, Kind.HOLD_READY, cause)
    if not made:
        raise BadInput("メールでの連絡を希望していません。 The patron asked for no mail.")
    return tuple(dict.fromkeys(made))


# -- taking it back ----------------------------------------------------------------------------------


async def take_back(
    connection: AsyncConnection,
    patron_id: str,
    before: dict[str, Any],
    after: dict[str, Any],
    cause: Cause,
    *,
    who: str,
    undone: str,
) -> None:
    """Undoes an action's part about mail, as `desk_actions` recorded it. `undone`: the action's cause.

    What staff had said of the mail is marked as withdrawn by `who`, and stays."""
    again = after.get("mail_again", {})
    await _cancel(connection, undone)
    if again.get("released"):
        numbers = deliveries.c.delivery_id.in_(again["released"])
        await outbox.move(
            connection,
            numbers,
            Transmission.WITHHELD,
            sources=(Transmission.PENDING,),
            reason="unreachable",
        )
    if after.get("signs"):
        await observations.withdraw(connection, after["signs"], who, cause.now)
    if "addresses" in before:
        await _restore(connection, patron_id, before["addresses"], cause)
    if "addresses" in before or again.get("notices"):
        await _announce_untold(connection, patron_id, cause)


async def _announce_untold(connection: AsyncConnection, patron_id: str, cause: Cause) -> None:
    """Owes the announcements anew that the undone action had cancelled, and no others: what was sent, and
    came back, is the reason of the case."""
    record = await owing.patron_record(connection, patron_id)
    keys = [item.key for item in record.addresses] if record else []
    await outbox.cancel_unsent(connection, patron_id, keep_keys=[*keys, ""], reason="undone")
    waiting = await connection.scalars(
        sa.select(holds.c.hold_id)
        .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
        .order_by(holds.c.hold_id)
    )
    for hold_id in list(waiting):
        if await owing.told_of(connection, hold_id) == frozenset():
            await owing.owe_hold(connection, hold_id, Kind.HOLD_READY, cause)


async def _cancel(connection: AsyncConnection, cause_id: str) -> None:
    """Mail that the action caused and that has not left."""
    caused = sa.select(notices.c.notice_id).where(notices.c.event_id == cause_id)
    await outbox.move(
        connection,
        deliveries.c.notice_id.in_(caused),
        Transmission.CANCELLED,
        sources=(Transmission.PENDING, Transmission.WITHHELD),
        reason="undone",
    )


async def _restore(
    connection: AsyncConnection, patron_id: str, former: Sequence[dict[str, Any]], cause: Cause
) -> None:
    await _set(
        connection, patron_id, [item["address"] for item in former], cause, source="feed", provisional=False
    )
    for item in former:
        await connection.execute(
            sa.update(patron_addresses)
            .where(
                patron_addresses.c.patron_id == patron_id,
                patron_addresses.c.until.is_(None),
                patron_addresses.c.address == item["address"],
            )
            .values(source=item["source"], provisional=item["provisional"])
        )
