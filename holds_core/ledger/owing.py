"""What a patron is owed now: their record as policy takes it, notices about holds and the registration.

Enters a patron or a hold and the cause; leaves notices in the outbox, by `holds_core.policy`. It changes no
hold and no address. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.holds import Hold
from holds_core.ledger import outbox
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.models import addresses, deliveries, holds, notice_holds, patron_addresses, patrons
from holds_core.ledger.outbox import Cause
from holds_core.limits import VolumeOrder, volumes_due
from holds_core.notices import UNSENT, Finding, Kind, Transmission
from holds_core.policy import AddressRecord, Owed, PatronRecord, hold_owed, registration_owed
from holds_core.standing import Standing

# Asked for every event; made once, because making a statement costs more than running it.
_CONTACT = sa.select(patrons.c.contact).where(patrons.c.patron_id == sa.bindparam("patron"))
_ADDRESSES = (
    sa.select(
        patron_addresses.c.address,
        patron_addresses.c.address_key,
        patron_addresses.c.provisional,
        addresses.c.standing,
        addresses.c.proven,
        addresses.c.mistyped,
    )
    .join(addresses, addresses.c.address_key == patron_addresses.c.address_key, isouter=True)
    .where(patron_addresses.c.patron_id == sa.bindparam("patron"), patron_addresses.c.until.is_(None))
    .order_by(patron_addresses.c.position)
)
_WORDLESS = (
    sa.select(holds.c.branch, holds.c.ready_on)
    .join(patrons, patrons.c.patron_id == holds.c.patron_id, isouter=True)
    .where(
        holds.c.hold_id == sa.bindparam("hold"),
        sa.func.coalesce(holds.c.contact, patrons.c.contact) == "none",
        holds.c.deadline.is_(None),
        holds.c.ready_on.is_not(None),
    )
)
_HOLD = sa.select(holds).where(holds.c.hold_id == sa.bindparam("hold"))


async def patron_record(connection: AsyncConnection, patron_id: str) -> PatronRecord | None:
    """The patron with the addresses in force and what is known of them, or None."""
    contact = await connection.scalar(_CONTACT, {"patron": patron_id})
    if contact is None:
        return None
    rows = await connection.execute(_ADDRESSES, {"patron": patron_id})
    return PatronRecord(
        patron_id,
        contact,
        tuple(
            AddressRecord(
                address=row.address,
                key=row.address_key,
                standing=Standing(row.standing or Standing.UNPROVEN),
                proven=bool(row.proven),
                provisional=row.provisional,
                mistyped=bool(row.mistyped),
            )
            for row in rows
        ),
    )


async def owe_registration(
    connection: AsyncConnection,
    record: PatronRecord,
    former: Sequence[AddressRecord],
    cause: Cause,
    *,
    changed: str = "email",
) -> tuple[str, ...]:
    owed = registration_owed(record, former, changed=changed)
    return await owe_all(connection, owed, record.patron_id, "", cause)


async def owe_all(
    connection: AsyncConnection, owed: Sequence[Owed], patron_id: str, branch: str, cause: Cause
) -> tuple[str, ...]:
    made = [await outbox.owe(connection, item, patron_id, branch, cause) for item in owed]
    return tuple(notice_id for notice_id in made if notice_id is not None)


async def owe_hold(
    connection: AsyncConnection,
    hold_id: str,
    kind: Kind,
    cause: Cause,
    *,
    reason: str = "",
    told: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Owes one notice about a hold, to the patron's addresses that are not among `told`."""
    hold = (await connection.execute(_HOLD, {"hold": hold_id})).one()
    record = await told_record(connection, hold.patron_id)
    if record is None:
        # the hold came before its patron: it is on the call list until the record arrives
        if kind is not Kind.HOLD_READY:
            return ()
        owed: Owed | None = Owed(kind, (), (hold_id,), why="patron_unknown")
    else:
        owed = hold_owed(kind, record, hold_id, contact=hold.contact, reason=reason)
    if kind is Kind.HOLD_READY and not await _volume_is_due(connection, hold):
        return ()
    if owed is not None and told:
        left = tuple(item for item in owed.recipients if item.key not in told)
        if not left and (owed.recipients or "" in told):
            return ()
        owed = replace(owed, recipients=left)
    return await owe_all(connection, (owed,) if owed else (), hold.patron_id, hold.branch, cause)


async def _volume_is_due(connection: AsyncConnection, hold: Any) -> bool:
    """Whether a volume of a set may be announced yet, in the order that was asked for."""
    if not hold.volume_order or hold.set_id is None or hold.volume is None:
        return True
    rows = await connection.execute(
        sa.select(holds.c.volume, holds.c.state).where(
            holds.c.patron_id == hold.patron_id, holds.c.set_id == hold.set_id, holds.c.volume.is_not(None)
        )
    )
    volumes = [(number, Hold(state)) for number, state in rows]
    return hold.volume in volumes_due(VolumeOrder(hold.volume_order), volumes)


async def announce_set(connection: AsyncConnection, hold_id: str, cause: Cause) -> tuple[str, ...]:
    """Announces the other volumes of the hold's set that have waited on the shelf for this one."""
    hold = (await connection.execute(_HOLD, {"hold": hold_id})).one()
    if not hold.volume_order or hold.set_id is None:
        return ()
    others = await connection.scalars(
        sa.select(holds.c.hold_id)
        .where(
            holds.c.patron_id == hold.patron_id,
            holds.c.set_id == hold.set_id,
            holds.c.state == Hold.READY,
            holds.c.hold_id != hold_id,
        )
        .order_by(holds.c.volume, holds.c.hold_id)
    )
    made: list[str] = []
    for other in list(others):
        if await told_of(connection, other) == frozenset():
            made += await owe_hold(connection, other, Kind.HOLD_READY, cause)
    return tuple(dict.fromkeys(made))


async def owed_before(connection: AsyncConnection, patron_id: str, cause: Cause) -> frozenset[str] | None:
    """The holds whose announcement a baseline may redirect but not swallow; None: no baseline, all holds."""
    if not cause.silent:
        return None
    found = await connection.scalars(
        sa.select(notice_holds.c.hold_id)
        .join(deliveries, deliveries.c.notice_id == notice_holds.c.notice_id)
        .where(
            deliveries.c.patron_id == patron_id,
            deliveries.c.kind == Kind.HOLD_READY,
            deliveries.c.state != Transmission.CANCELLED,
        )
    )
    return frozenset(found)


async def announce_waiting(
    connection: AsyncConnection,
    patron_id: str,
    cause: Cause,
    only: frozenset[str] | None = None,
    *,
    untold: bool = False,
) -> tuple[str, ...]:
    """Owes hold_ready for every hold on the shelf to each address that was not told of it yet.

    Called when the patron's addresses are new: what went to the former ones may never have been read.
    A hold whose mail was confirmed is not announced again. `only` narrows the holds to those that were
    owed a mail already; the cause may then be a silent one. `untold`: only holds of which nobody was told.
    """
    made: list[str] = []
    if only is not None:
        cause = replace(cause, silent=False)
    for hold_id in await on_shelf(connection, patron_id):
        if only is not None and hold_id not in only:
            continue
        told = await told_of(connection, hold_id)
        if told is not None and not (untold and told):
            made += await owe_hold(connection, hold_id, Kind.HOLD_READY, cause, told=told)
    return tuple(dict.fromkeys(made))


async def on_shelf(connection: AsyncConnection, patron_id: str) -> list[str]:
    """The patron's holds on the shelf."""
    found = await connection.scalars(
        sa.select(holds.c.hold_id)
        .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
        .order_by(holds.c.hold_id)
    )
    return list(found)


async def take_back(connection: AsyncConnection, patron_id: str, *, all_kinds: bool) -> None:
    """Takes unsent mail about holds back whose way of contact is the patron's; `all_kinds`: not only
    announcements. A place on the call list is such a mail too."""
    theirs = (
        sa.select(notice_holds.c.notice_id)
        .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
        .where(holds.c.patron_id == patron_id, holds.c.contact.is_(None))
    )
    about = [deliveries.c.patron_id == patron_id, deliveries.c.notice_id.in_(theirs)]
    if not all_kinds:
        about.append(deliveries.c.kind.in_(outbox.HOLD_MAIL))
    await outbox.move(
        connection, sa.and_(*about), Transmission.CANCELLED, sources=UNSENT, reason="contact_changed"
    )


async def start_unsaid_clock(connection: AsyncConnection, hold_id: str, rules: EventRules) -> None:
    """Whoever wants no word (連絡不要) has the hold's time from the day of the shelving."""
    if rules.last_day is None:
        return
    row = (await connection.execute(_WORDLESS, {"hold": hold_id})).first()
    if row is None:
        return
    await connection.execute(
        sa.update(holds)
        .where(holds.c.hold_id == hold_id)
        .values(deadline=rules.last_day(row.branch, row.ready_on, row.ready_on), deadline_source="shelf")
    )


# -- children --------------------------------------------------------------------------------------


async def wards(connection: AsyncConnection, guardian_id: str) -> list[str]:
    """Patrons without an address of their own, whose mail their guardian gets."""
    own = sa.exists().where(
        patron_addresses.c.patron_id == patrons.c.patron_id, patron_addresses.c.until.is_(None)
    )
    found = await connection.scalars(
        sa.select(patrons.c.patron_id)
        .where(patrons.c.guardian_id == guardian_id, ~own)
        .order_by(patrons.c.patron_id)
    )
    return list(found)


async def told_record(connection: AsyncConnection, patron_id: str) -> PatronRecord | None:
    """The patron as mail about holds is sent to them: a child without an address has the guardian's."""
    record = await patron_record(connection, patron_id)
    if record is None or record.addresses:
        return record
    guardian_id = await connection.scalar(
        sa.select(patrons.c.guardian_id).where(patrons.c.patron_id == patron_id)
    )
    guardian = await patron_record(connection, guardian_id) if guardian_id else None
    return record if guardian is None else replace(record, addresses=guardian.addresses)


async def told_of(connection: AsyncConnection, hold_id: str) -> frozenset[str] | None:
    """Addresses that have a mail about the hold, sent or waiting; None if one of them was confirmed.

    The empty key stands for a notice that is withheld because there was no address.
    """
    rows = (
        await connection.execute(
            sa.select(deliveries.c.address_key, deliveries.c.state, deliveries.c.finding)
            .join(notice_holds, notice_holds.c.notice_id == deliveries.c.notice_id)
            .where(
                notice_holds.c.hold_id == hold_id,
                deliveries.c.kind == Kind.HOLD_READY,
                deliveries.c.state != Transmission.CANCELLED,
            )
        )
    ).all()
    if any(row.finding == Finding.CONFIRMED for row in rows):
        return None
    return frozenset(row.address_key for row in rows)
