"""Library events into the ledger: patrons, holds, and what they owe, in one transaction per event.

Enters a `holds_core.events` record; leaves an `Applied` that says what became of it. A repeat is ignored, an
event older than the hold's last changes nothing, one without a legal path becomes a conflict for staff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import events as ev
from holds_core.evidence import Sign
from holds_core.holds import HOLD, Hold, path
from holds_core.ledger import cases, observations, outbox
from holds_core.ledger.models import (
    addresses,
    deliveries,
    events,
    hold_steps,
    holds,
    notice_holds,
    patron_addresses,
    patrons,
)
from holds_core.ledger.observations import Observation
from holds_core.ledger.outbox import Cause
from holds_core.ledger.sql import insert_new
from holds_core.notices import Finding, Kind, Transmission
from holds_core.patrons import Refusal, address_key, check_address
from holds_core.policy import (
    AddressRecord,
    Owed,
    PatronRecord,
    hold_notice,
    hold_owed,
    prompt_at,
    registration_owed,
)
from holds_core.providers import Providers
from holds_core.standing import Standing

_PROVIDERS = Providers.load()


@dataclass(frozen=True, slots=True)
class EventRules:
    """The settings that decide what an event owes.

    `nightly`: prompt notices of this feed wait for the morning. `baseline`: the events tell what was so
    before we came; states change, and nobody is told.
    """

    zone: ZoneInfo
    max_age: timedelta
    quiet_from: time
    quiet_to: time
    default_branch: str
    nightly: bool = False
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event. outcome: applied, repeat, stale, conflict. `notices` are their ids."""

    outcome: str
    note: str = ""
    notices: tuple[str, ...] = ()


async def apply(
    connection: AsyncConnection, event: ev.Event, feed: str, now: datetime, rules: EventRules
) -> Applied:
    """Applies one event, in the caller's transaction."""
    if not await insert_new(connection, events, event_row(event, feed, now)):
        return Applied("repeat", "this event was handed in before")
    applied = await _dispatch(connection, event, _cause(event, now, rules), rules)
    if applied.outcome != "applied" or applied.note:
        await connection.execute(
            sa.update(events)
            .where(events.c.event_id == event.id)
            .values(outcome=applied.outcome, note=applied.note)
        )
    return applied


def event_row(event: ev.Event, feed: str, now: datetime) -> dict[str, Any]:
    """The event as it is stored."""
    return {
        "event_id": event.id,
        "type": event.type,
        "at": event.at,
        "received_at": now,
        "feed": feed,
        "payload": _payload(event),
        "outcome": "applied",
        "patron_id": event.patron_id,
        "hold_id": event.hold_id if isinstance(event, ev.HoldEvent) else None,
    }


def _payload(event: ev.Event) -> dict[str, Any]:
    """The event's fields without those that say nothing, as JSON."""
    return {
        name: value.isoformat() if isinstance(value, (date, datetime)) else value
        for name in event.__slots__
        if (value := getattr(event, name)) not in (None, "", ()) and name not in ("id", "type", "at")
    }


def _cause(event: ev.Event, now: datetime, rules: EventRules) -> Cause:
    if rules.baseline:
        return Cause(event.id, now, None, silent=True)
    if now - event.at > rules.max_age:
        return Cause(event.id, now, None)
    leaves = prompt_at(
        now, nightly=rules.nightly, quiet_from=rules.quiet_from, quiet_to=rules.quiet_to, zone=rules.zone
    )
    return Cause(event.id, now, leaves)


async def _dispatch(connection: AsyncConnection, event: ev.Event, cause: Cause, rules: EventRules) -> Applied:
    match event:
        case ev.Patron():
            return await _patron(connection, event, cause, rules)
        case ev.EmailChanged():
            return await _email_changed(connection, event, cause, rules)
        case ev.PasswordChanged():
            record = await patron_record(connection, event.patron_id)
            if record is None:
                return Applied("conflict", f"patron {event.patron_id} is unknown")
            notices = await _owe_registration(connection, record, (), cause, changed="password")
            return Applied("applied", notices=notices)
        case ev.PatronSeen():
            await observations.patron_seen(connection, event.patron_id, event.at, event.id, cause.now)
            return Applied("applied")
        case ev.HoldEvent():
            return await _hold(connection, event, cause, rules)


# -- patrons ---------------------------------------------------------------------------------------


async def patron_record(connection: AsyncConnection, patron_id: str) -> PatronRecord | None:
    """The patron with the addresses in force and what is known of them, or None."""
    contact = await connection.scalar(sa.select(patrons.c.contact).where(patrons.c.patron_id == patron_id))
    if contact is None:
        return None
    rows = await connection.execute(
        sa.select(
            patron_addresses.c.address,
            patron_addresses.c.address_key,
            patron_addresses.c.provisional,
            addresses.c.standing,
            addresses.c.proven,
            addresses.c.mistyped,
        )
        .join(addresses, addresses.c.address_key == patron_addresses.c.address_key, isouter=True)
        .where(patron_addresses.c.patron_id == patron_id, patron_addresses.c.until.is_(None))
        .order_by(patron_addresses.c.position)
    )
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


_PATRON_FIELDS = (
    "name",
    "name_kana",
    "contact",
    "phones",
    "phone_note",
    "guardian_id",
    "branch",
    "language",
    "provisional",
    "overdue",
)


async def _patron(connection: AsyncConnection, event: ev.Patron, cause: Cause, rules: EventRules) -> Applied:
    known = (
        await connection.execute(
            sa.select(patrons).where(patrons.c.patron_id == event.patron_id).with_for_update()
        )
    ).first()
    said = _said(event)
    if known is None:
        return await _patron_arrives(connection, event, cause)
    if event.at < known.event_at:
        return Applied("stale", "a later record of this patron is known")
    await connection.execute(
        sa.update(patrons).where(patrons.c.patron_id == event.patron_id).values(event_at=event.at, **said)
    )
    provisional = known.provisional if event.provisional is None else event.provisional
    emails = tuple(known.feed_emails) if event.emails is None else event.emails
    # an address corrected by staff stays until the library system itself says something new
    if _keys(emails) == _keys(known.feed_emails) and provisional == known.provisional:
        await cases.review(connection, event.patron_id, cause.now)
        return Applied("applied")
    return await _readdress(connection, event.patron_id, emails, event, cause, rules, provisional=provisional)


def _said(event: ev.Patron) -> dict[str, Any]:
    """The columns of the patron that the event speaks of."""
    said = {name: value for name in _PATRON_FIELDS if (value := getattr(event, name)) is not None}
    if "phones" in said:
        said["phones"] = list(said["phones"])
    return said


async def _patron_arrives(connection: AsyncConnection, event: ev.Patron, cause: Cause) -> Applied:
    """A first record owes nothing about the registration; holds that waited for it are announced."""
    await connection.execute(sa.insert(patrons).values(**first_row(event)))
    if event.emails:
        await _set_addresses(
            connection, event.patron_id, event.emails, event, bool(event.provisional), cause.now
        )
    owed = await _owed_before(connection, event.patron_id, cause)
    await outbox.cancel_unsent(
        connection, event.patron_id, keep_keys=_keys(event.emails or ()), reason="patron_known"
    )
    notices = await announce_waiting(connection, event.patron_id, cause, owed)
    await cases.review(connection, event.patron_id, cause.now)
    return Applied("applied", notices=notices)


def first_row(event: ev.Patron | ev.EmailChanged) -> dict[str, Any]:
    """The row of a patron whom no event named before."""
    row: dict[str, Any] = {"contact": "email", "phones": [], "provisional": False, "overdue": False}
    if isinstance(event, ev.Patron):
        row |= _said(event)
    return row | {
        "patron_id": event.patron_id,
        "event_at": event.at,
        "feed_emails": list(event.emails or ()),
    }


def _keys(emails: Sequence[str]) -> list[str]:
    return sorted({address_key(email) for email in emails})


async def _email_changed(
    connection: AsyncConnection, event: ev.EmailChanged, cause: Cause, rules: EventRules
) -> Applied:
    known = await connection.scalar(
        sa.select(patrons.c.event_at).where(patrons.c.patron_id == event.patron_id).with_for_update()
    )
    if known is None:
        await connection.execute(sa.insert(patrons).values(**first_row(event)))
    elif event.at < known:
        return Applied("stale", "a later record of this patron is known")
    else:
        await connection.execute(
            sa.update(patrons).where(patrons.c.patron_id == event.patron_id).values(event_at=event.at)
        )
    return await _readdress(connection, event.patron_id, event.emails, event, cause, rules, provisional=False)


async def _readdress(
    connection: AsyncConnection,
    patron_id: str,
    emails: Sequence[str],
    event: ev.Patron | ev.EmailChanged,
    cause: Cause,
    rules: EventRules,
    *,
    provisional: bool,
) -> Applied:
    """New addresses: the patron and the former addresses are told, waiting holds are announced again."""
    before = await patron_record(connection, patron_id)
    await connection.execute(
        sa.update(patrons)
        .where(patrons.c.patron_id == patron_id)
        .values(feed_emails=list(emails), provisional=provisional)
    )
    await _set_addresses(connection, patron_id, emails, event, provisional, cause.now)
    after = await patron_record(connection, patron_id)
    assert after is not None
    former = before.addresses if before else ()
    notices = await _owe_registration(connection, after, former, cause)
    owed = await _owed_before(connection, patron_id, cause)
    await outbox.cancel_unsent(
        connection, patron_id, keep_keys=[record.key for record in after.addresses], reason="address_changed"
    )
    notices += await announce_waiting(connection, patron_id, cause, owed)
    await cases.review(connection, patron_id, cause.now)
    return Applied("applied", notices=notices)


async def _owe_registration(
    connection: AsyncConnection,
    record: PatronRecord,
    former: Sequence[AddressRecord],
    cause: Cause,
    *,
    changed: str = "email",
) -> tuple[str, ...]:
    owed = registration_owed(record, former, changed=changed)
    return await _owe_all(connection, owed, record.patron_id, "", cause)


async def _owe_all(
    connection: AsyncConnection, owed: Sequence[Owed], patron_id: str, branch: str, cause: Cause
) -> tuple[str, ...]:
    made = [await outbox.owe(connection, item, patron_id, branch, cause) for item in owed]
    return tuple(notice_id for notice_id in made if notice_id is not None)


async def _set_addresses(
    connection: AsyncConnection,
    patron_id: str,
    emails: Sequence[str],
    event: ev.Patron | ev.EmailChanged,
    provisional: bool,
    now: datetime,
    source: str = "feed",
) -> None:
    """Ends the addresses in force and begins the new ones; history stays."""
    await connection.execute(
        sa.update(patron_addresses)
        .where(patron_addresses.c.patron_id == patron_id, patron_addresses.c.until.is_(None))
        .values(until=event.at)
    )
    by_key = {address_key(email): email for email in reversed(emails)}
    for position, (key, email) in enumerate(reversed(by_key.items())):
        await connection.execute(
            sa.insert(patron_addresses).values(
                patron_id=patron_id,
                address=email,
                address_key=key,
                position=position,
                source=source,
                provisional=provisional,
                since=event.at,
            )
        )
        await observations.know(connection, key, event.at)
        await _check(connection, email, key, patron_id, event.at, now)


async def _check(
    connection: AsyncConnection, email: str, key: str, patron_id: str, at: datetime, now: datetime
) -> None:
    """An address that cannot exist is kept as it was given, but no mail goes there: staff must ask."""
    checked = check_address(email, _PROVIDERS, allow_special_domains=True)
    if isinstance(checked, Refusal):
        invalid = Observation(
            at, Sign.INVALID, "check", f"invalid:{key}", None, key, patron_id, reason=checked.fault.value
        )
        await observations.observe(connection, invalid, now)


# -- holds -----------------------------------------------------------------------------------------


_HOLD_FIELDS = ("title", "material", "branch", "via", "availability", "set_id", "volume", "contact")


async def _hold(connection: AsyncConnection, event: ev.HoldEvent, cause: Cause, rules: EventRules) -> Applied:
    known = (
        await connection.execute(sa.select(holds).where(holds.c.hold_id == event.hold_id).with_for_update())
    ).first()
    if known is None and event.patron_id is None:
        return Applied("conflict", f"hold {event.hold_id} is unknown and the event names no patron_id")
    if known is not None and event.at < known.event_at:
        return Applied("stale", "a later step of this hold is known")
    if known is not None and event.patron_id not in (None, known.patron_id):
        return Applied("conflict", f"hold {event.hold_id} belongs to another patron")
    if event.type == "hold.extended":
        return await _extended(connection, event, known, cause)
    before = Hold(known.state) if known is not None else None
    wanted = _wanted(event, before)
    if before is Hold.READY and wanted is Hold.CANCEL_REQUESTED:
        return await _refuse_cancellation(connection, event, known, cause)
    try:
        steps = path(before, wanted)
    except LookupError as error:
        return Applied("conflict", str(error))
    await _walk(connection, event, known, steps, rules)
    notices = await _hold_moved(connection, event, before, steps, cause, rules) if steps else ()
    patron_id = event.patron_id or known.patron_id  # type: ignore[union-attr]
    await cases.review(connection, patron_id, cause.now)
    return Applied("applied", notices=notices)


def _wanted(event: ev.HoldEvent, before: Hold | None) -> Hold:
    wanted = ev.STATE_AFTER[event.type]
    # a request that is not placed yet is withdrawn at once, and formally cancelled at the next run
    if wanted is Hold.CANCEL_REQUESTED and before is Hold.REQUESTED:
        return Hold.WITHDRAWN
    return wanted


async def _walk(
    connection: AsyncConnection,
    event: ev.HoldEvent,
    known: Any,
    steps: Sequence[Hold],
    rules: EventRules,
) -> None:
    """Writes the hold's new state and each step on the way to it."""
    values = hold_values(event, steps, rules)
    if known is None:
        row = new_hold_row(event, values, rules)
        await connection.execute(sa.insert(holds).values(**row))
    else:
        await connection.execute(
            sa.update(holds)
            .where(holds.c.hold_id == event.hold_id, holds.c.state == known.state)
            .values(**values)
        )
    if steps:
        await connection.execute(sa.insert(hold_steps), step_rows(event, steps))


def hold_values(event: ev.HoldEvent, steps: Sequence[Hold], rules: EventRules) -> dict[str, Any]:
    """The columns of the hold that the event changes, walking `steps`."""
    values: dict[str, Any] = {
        name: value for name in _HOLD_FIELDS if (value := getattr(event, name)) is not None
    }
    values["event_at"] = event.at
    if event.reason:
        values["reason"] = event.reason
    if steps:
        values["state"] = steps[-1]
    ready = event.type == "hold.shelved"
    if ready and steps:
        values |= {
            "ready_on": event.ready_on or event.at.astimezone(rules.zone).date(),
            "deadline": None,
            "deadline_source": None,
        }
    if ready and event.deadline is not None:
        values |= {"deadline": event.deadline, "deadline_source": "feed"}
    return values


def new_hold_row(event: ev.HoldEvent, values: dict[str, Any], rules: EventRules) -> dict[str, Any]:
    """The row of a hold that no event named before."""
    return {"branch": rules.default_branch, "hold_id": event.hold_id, "patron_id": event.patron_id} | values


def step_rows(event: ev.HoldEvent, steps: Sequence[Hold]) -> list[dict[str, Any]]:
    """Each step on the way; only the last one was shown by the event."""
    return [
        {
            "hold_id": event.hold_id,
            "state": state,
            "at": event.at,
            "event_id": event.id,
            "inferred": state is not steps[-1],
        }
        for state in steps
    ]


async def _hold_moved(
    connection: AsyncConnection,
    event: ev.HoldEvent,
    before: Hold | None,
    steps: Sequence[Hold],
    cause: Cause,
    rules: EventRules,
) -> tuple[str, ...]:
    """What follows from a hold's new state: evidence, mail taken back, mail owed."""
    after = steps[-1]
    if before is Hold.READY or Hold.READY in steps[:-1]:
        await outbox.hold_left_shelf(connection, event.hold_id)
    if after in (Hold.COLLECTED, Hold.LAPSED):
        sign = Sign.COLLECTED if after is Hold.COLLECTED else Sign.LAPSED
        await observations.hold_ended(connection, event.hold_id, sign, event.at, event.id, cause.now)
    kind = hold_notice(before, after, by=event.by)
    if kind is None:
        return ()
    return await _owe_hold(connection, event.hold_id, kind, cause, reason=event.reason)


async def _owe_hold(
    connection: AsyncConnection,
    hold_id: str,
    kind: Kind,
    cause: Cause,
    *,
    reason: str = "",
    told: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Owes one notice about a hold, to the patron's addresses that are not among `told`."""
    hold = (await connection.execute(sa.select(holds).where(holds.c.hold_id == hold_id))).one()
    record = await patron_record(connection, hold.patron_id)
    if record is None:
        # the hold came before its patron: it is on the call list until the record arrives
        if kind is not Kind.HOLD_READY:
            return ()
        owed: Owed | None = Owed(kind, (), (hold_id,), why="patron_unknown")
    else:
        owed = hold_owed(kind, record, hold_id, contact=hold.contact, reason=reason)
    if owed is not None and told:
        left = tuple(item for item in owed.recipients if item.key not in told)
        if not left and (owed.recipients or "" in told):
            return ()
        owed = replace(owed, recipients=left)
    return await _owe_all(connection, (owed,) if owed else (), hold.patron_id, hold.branch, cause)


async def _owed_before(connection: AsyncConnection, patron_id: str, cause: Cause) -> frozenset[str] | None:
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
    connection: AsyncConnection, patron_id: str, cause: Cause, only: frozenset[str] | None = None
) -> tuple[str, ...]:
    """Owes hold_ready for every hold on the shelf to each address that was not told of it yet.

    Called when the patron's addresses are new: what went to the former ones may never have been read.
    A hold whose mail was confirmed is not announced again. `only` narrows the holds to those that were
    owed a mail already; the cause may then be a silent one.
    """
    waiting = await connection.scalars(
        sa.select(holds.c.hold_id)
        .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
        .order_by(holds.c.hold_id)
    )
    made: list[str] = []
    if only is not None:
        cause = replace(cause, silent=False)
    for hold_id in list(waiting):
        if only is not None and hold_id not in only:
            continue
        told = await _told(connection, hold_id)
        if told is not None:
            made += await _owe_hold(connection, hold_id, Kind.HOLD_READY, cause, told=told)
    return tuple(dict.fromkeys(made))


async def _told(connection: AsyncConnection, hold_id: str) -> frozenset[str] | None:
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


async def _extended(connection: AsyncConnection, event: ev.HoldEvent, known: Any, cause: Cause) -> Applied:
    if known is None:
        return Applied("conflict", f"hold {event.hold_id} is unknown")
    if known.state != Hold.READY:
        return Applied("conflict", f"hold {event.hold_id} is {known.state}, only a ready one has a deadline")
    await connection.execute(
        sa.update(holds)
        .where(holds.c.hold_id == event.hold_id)
        .values(deadline=event.deadline, deadline_source="extended", event_at=event.at)
    )
    await cases.review(connection, known.patron_id, cause.now)
    return Applied("applied")


async def _refuse_cancellation(
    connection: AsyncConnection, event: ev.HoldEvent, known: Any, cause: Cause
) -> Applied:
    """A hold on the shelf cannot be cancelled by its patron: "contact the pickup branch"."""
    assert not HOLD.allows(Hold.READY, Hold.CANCEL_REQUESTED)
    notices = await _owe_hold(connection, event.hold_id, Kind.CANCEL_REFUSED, cause)
    return Applied("applied", "refused: the hold is on the shelf", notices)
