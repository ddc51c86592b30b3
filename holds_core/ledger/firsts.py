"""First records of patrons and holds that owe nothing, many in a few statements: a library's first day.

Enters events; leaves those that must go through `registry.apply` one by one, because the ledger knows their
subject already or something follows from them. What is stored for the others is what `registry.apply`
would have stored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import events as ev
from holds_core.address_checks import doubt_of
from holds_core.holds import path
from holds_core.ledger import bulk, hold_events, registrations, registry
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.models import (
    addresses,
    deliveries,
    events,
    hold_steps,
    holds,
    patron_addresses,
    patrons,
)
from holds_core.patrons import Refusal, address_key, check_address
from holds_core.providers import Providers
from holds_core.standing import Standing

_PROVIDERS = Providers.load()
_IN = 500


async def apply(
    connection: AsyncConnection, given: Sequence[ev.Event], feed: str, now: datetime, rules: EventRules
) -> list[ev.Event]:
    """Stores the first records among `given`, in the caller's transaction. Returns the other events, in order.

    Only under baseline rules: elsewhere a first record may owe a notice.
    """
    assert rules.baseline
    seen = await _among(connection, events.c.event_id, (event.id for event in given))
    ids = Counter(event.id for event in given)
    subjects = Counter(_subject(event) for event in given)
    fresh = [
        event
        for event in given
        if event.id not in seen and ids[event.id] == 1 and subjects[_subject(event)] == 1
    ]
    people = await _first_patrons(
        connection, [event for event in fresh if isinstance(event, ev.Patron)], feed, now
    )
    held = await _first_holds(
        connection, [event for event in fresh if isinstance(event, ev.HoldEvent)], feed, now, rules
    )
    done = people | held
    return [event for event in given if event.id not in done]


def _subject(event: ev.Event) -> tuple[str, str]:
    if isinstance(event, ev.HoldEvent):
        return "hold", event.hold_id
    return "patron", event.patron_id


async def _among(
    connection: AsyncConnection, column: sa.ColumnElement[Any], wanted: Iterable[str]
) -> set[str]:
    """Those of the values that the column has."""
    values = list(wanted)
    found: set[str] = set()
    for start in range(0, len(values), _IN):
        found.update(
            await connection.scalars(sa.select(column).where(column.in_(values[start : start + _IN])))
        )
    return found


async def _first_patrons(
    connection: AsyncConnection, given: Sequence[ev.Patron], feed: str, now: datetime
) -> set[str]:
    ids = [event.patron_id for event in given]
    # whoever was owed a mail before their record came: the registry decides what becomes of it
    known = await _among(connection, patrons.c.patron_id, ids) | await _among(
        connection, deliveries.c.patron_id, ids
    )
    first = [event for event in given if event.patron_id not in known and _are_good(event.emails or ())]
    rows, places, keys = [], [], {}
    for event in first:
        rows.append(registrations.first_row(event) | _unsaid(event))
        by_key = {address_key(email): email for email in reversed(event.emails or ())}
        for position, (key, email) in enumerate(reversed(by_key.items())):
            keys[key] = event.at
            places.append(
                {
                    "patron_id": event.patron_id,
                    "address": email,
                    "address_key": key,
                    "position": position,
                    "source": "feed",
                    "provisional": bool(event.provisional),
                    "since": event.at,
                }
            )
    await bulk.insert(connection, events, [registry.event_row(event, feed, now) for event in first])
    await bulk.insert(connection, patrons, rows)
    await bulk.insert(connection, patron_addresses, places)
    await bulk.insert(
        connection, addresses, [_address_row(key, at) for key, at in keys.items()], clash="skip"
    )
    return {event.id for event in first}


def _unsaid(event: ev.Patron) -> dict[str, Any]:
    """The columns an event leaves to their defaults; all rows of one statement name the same columns."""
    texts = {"name", "name_kana", "language", "title_policy", "branch", "phone_note"}
    return {name: "" for name in texts if getattr(event, name) is None} | (
        {} if event.guardian_id is not None else {"guardian_id": None}
    )


def _are_good(emails: Iterable[str]) -> bool:
    """Whether all addresses can exist; one that cannot is evidence, which the registry stores."""
    return all(_is_good(email) for email in emails)


_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,30}(?:\.[A-Za-z0-9_-]{1,10}){0,3}")
"""Local parts of which nothing can be wrong; with them the domain decides, and there are few of those."""


def _is_good(email: str) -> bool:
    local, _, domain = email.rpartition("@")
    if _PLAIN.fullmatch(local):
        return _can_exist(f"taro@{domain}")
    return _can_exist.__wrapped__(email)


@lru_cache(maxsize=4096)
def _can_exist(email: str) -> bool:
    return not isinstance(check_address(email, _PROVIDERS, allow_special_domains=True), Refusal)


def _address_row(key: str, at: datetime) -> dict[str, Any]:
    return {
        "address_key": key,
        "domain": key.rpartition("@")[2],
        "standing": Standing.UNPROVEN,
        "reasons": [],
        "since": at,
        "proven": False,
        "mistyped": False,
        **_doubted(key),
    }


def _doubted(key: str) -> dict[str, str]:
    """What is probably wrong with an address that can exist: a matter of its domain, and there are few."""
    local, _, domain = key.rpartition("@")
    code, meant = _doubt_of_domain(domain)
    return {"doubt": code, "suggestion": f"{local}@{meant}" if meant else ""}


@lru_cache(maxsize=4096)
def _doubt_of_domain(domain: str) -> tuple[str, str]:
    doubt = doubt_of(f"taro@{domain}", _PROVIDERS)
    return (doubt.code, doubt.suggestion.rpartition("@")[2]) if doubt else ("", "")


_HOLD_COLUMNS = {
    "title": "",
    "material": "",
    "via": "",
    "availability": "",
    "reason": "",
    "set_id": None,
    "volume": None,
    "contact": None,
    "ready_on": None,
    "deadline": None,
    "deadline_source": None,
}


async def _first_holds(
    connection: AsyncConnection, given: Sequence[ev.HoldEvent], feed: str, now: datetime, rules: EventRules
) -> set[str]:
    known = await _among(connection, holds.c.hold_id, (event.hold_id for event in given))
    first, rows, steps = [], [], []
    for event in given:
        state = ev.STATE_AFTER.get(event.type)
        if event.hold_id in known or event.patron_id is None or state is None:
            continue
        way = path(None, state)
        values = hold_events.hold_values(event, way, rules)
        first.append(event)
        rows.append(_HOLD_COLUMNS | hold_events.new_hold_row(event, values, rules))
        steps += hold_events.step_rows(event, way)
    await bulk.insert(connection, events, [registry.event_row(event, feed, now) for event in first])
    await bulk.insert(connection, holds, rows)
    await bulk.insert(connection, hold_steps, steps)
    return {event.id for event in first}
