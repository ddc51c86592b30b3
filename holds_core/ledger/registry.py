"""Library events into the ledger, in one transaction per event: the door for every feed.

Enters a `holds_core.events` record; leaves an `Applied` that says what became of it. A repeat is ignored, an
event older than the hold's last changes nothing, one without a legal path becomes a conflict for staff.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import events as ev
from holds_core.ledger import hold_events, observations, registrations
from holds_core.ledger.event_rules import Applied, EventRules
from holds_core.ledger.models import events
from holds_core.ledger.outbox import Cause
from holds_core.ledger.owing import owe_registration, patron_record
from holds_core.ledger.sql import insert_new
from holds_core.policy import prompt_at


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
            return await registrations.patron(connection, event, cause, rules)
        case ev.EmailChanged():
            return await registrations.email_changed(connection, event, cause, rules)
        case ev.PasswordChanged():
            record = await patron_record(connection, event.patron_id)
            if record is None:
                return Applied("conflict", f"patron {event.patron_id} is unknown")
            notices = await owe_registration(connection, record, (), cause, changed="password")
            return Applied("applied", notices=notices)
        case ev.PatronSeen():
            await observations.patron_seen(connection, event.patron_id, event.at, event.id, cause.now)
            return Applied("applied")
        case ev.HoldEvent():
            return await hold_events.apply(connection, event, cause, rules)
