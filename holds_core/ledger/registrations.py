"""Events about a patron's record into the ledger: arrival, new addresses, what is owed for them.

Enters `patron` and `patron.email_changed`; leaves the patron's row, addresses in force with their history,
and the notices owed. An address that staff corrected stays until the library system says something new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import events as ev
from holds_core.address_checks import AddressDoubt, doubt_of
from holds_core.evidence import Sign
from holds_core.ledger import cases, mail_domains, observations, outbox
from holds_core.ledger.event_rules import Applied, EventRules
from holds_core.ledger.models import addresses, events, patron_addresses, patrons
from holds_core.ledger.observations import Observation
from holds_core.ledger.outbox import Cause
from holds_core.ledger.owing import (
    announce_waiting,
    on_shelf,
    owe_registration,
    owed_before,
    patron_record,
    start_unsaid_clock,
    take_back,
    wards,
)
from holds_core.patrons import AddressFault, address_key
from holds_core.policy import PatronRecord
from holds_core.providers import Providers

_PROVIDERS = Providers.load()

_PATRON_FIELDS = (
    "name",
    "name_kana",
    "contact",
    "phones",
    "phone_note",
    "guardian_id",
    "branch",
    "language",
    "title_policy",
    "provisional",
    "overdue",
)


async def patron(connection: AsyncConnection, event: ev.Patron, cause: Cause, rules: EventRules) -> Applied:
    known = (
        await connection.execute(
            sa.select(patrons).where(patrons.c.patron_id == event.patron_id).with_for_update()
        )
    ).first()
    said = _said(event)
    if known is None:
        return await _patron_arrives(connection, event, cause, rules)
    if event.at < known.event_at:
        return Applied("stale", "a later record of this patron is known")
    await connection.execute(
        sa.update(patrons)
        .where(patrons.c.patron_id == event.patron_id)
        .values(event_at=event.at, departed_at=None, **said)
    )
    emails = tuple(known.feed_emails) if event.emails is None else event.emails
    same = _keys(emails) == _keys(known.feed_emails)
    # an address that takes the place of a provisional one is the patron's own, unless the event says else
    provisional = known.provisional and same if event.provisional is None else event.provisional
    turned = await _contact_turned(connection, event, known, cause, rules)
    # an address corrected by staff stays until the library system itself says something new
    if same and provisional == known.provisional:
        await cases.review(connection, event.patron_id, cause.now)
        return Applied("applied", notices=turned)
    done = await _readdress(connection, event.patron_id, emails, event, cause, rules, provisional=provisional)
    return replace(done, notices=turned + done.notices)


def _said(event: ev.Patron) -> dict[str, Any]:
    """The columns of the patron that the event speaks of."""
    said = {name: value for name in _PATRON_FIELDS if (value := getattr(event, name)) is not None}
    if "phones" in said:
        said["phones"] = list(said["phones"])
    return said


async def _patron_arrives(
    connection: AsyncConnection, event: ev.Patron, cause: Cause, rules: EventRules
) -> Applied:
    """A first record owes nothing about the registration; holds that waited for it are announced."""
    await connection.execute(sa.insert(patrons).values(**first_row(event, rules.default_contact)))
    doubts = await set_addresses(
        connection, event.patron_id, event.emails or (), event, bool(event.provisional), cause.now
    )
    owed = await owed_before(connection, event.patron_id, cause)
    await outbox.cancel_unsent(
        connection, event.patron_id, keep_keys=_keys(event.emails or ()), reason="patron_known"
    )
    notices = await announce_waiting(connection, event.patron_id, cause, owed)
    await cases.review(connection, event.patron_id, cause.now)
    return Applied("applied", notices=notices, doubts=doubts)


def first_row(event: ev.Patron | ev.EmailChanged, contact: str = "email") -> dict[str, Any]:
    """The row of a patron whom no event named before; `contact` serves one whose record names no way."""
    row: dict[str, Any] = {"contact": contact, "phones": [], "provisional": False, "overdue": False}
    if isinstance(event, ev.Patron):
        row |= _said(event)
    return row | {
        "patron_id": event.patron_id,
        "event_at": event.at,
        "feed_emails": list(event.emails or ()),
    }


def _keys(emails: Sequence[str]) -> list[str]:
    return sorted({address_key(email) for email in emails})


async def email_changed(
    connection: AsyncConnection, event: ev.EmailChanged, cause: Cause, rules: EventRules
) -> Applied:
    known = await connection.scalar(
        sa.select(patrons.c.event_at).where(patrons.c.patron_id == event.patron_id).with_for_update()
    )
    if known is None:
        await connection.execute(sa.insert(patrons).values(**first_row(event, rules.default_contact)))
    elif event.at < known:
        return Applied("stale", "a later record of this patron is known")
    else:
        await connection.execute(
            sa.update(patrons)
            .where(patrons.c.patron_id == event.patron_id)
            .values(event_at=event.at, departed_at=None)
        )
    return await _readdress(connection, event.patron_id, event.emails, event, cause, rules, provisional=False)


async def _contact_turned(
    connection: AsyncConnection, event: ev.Patron, known: Any, cause: Cause, rules: EventRules
) -> tuple[str, ...]:
    """Another way of contact, or another guardian: what has not left yet goes the new way, and those on
    the shelf who want no word from now on have their time from the shelving."""
    moved = event.contact not in (None, known.contact)
    if not moved and event.guardian_id in (None, known.guardian_id):
        return ()
    owed = await owed_before(connection, event.patron_id, cause)
    await take_back(connection, event.patron_id, all_kinds=moved)
    made = await announce_waiting(connection, event.patron_id, cause, owed, untold=True)
    for hold_id in await on_shelf(connection, event.patron_id):
        await start_unsaid_clock(connection, hold_id, rules)
    return made


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
    doubts = await set_addresses(connection, patron_id, emails, event, provisional, cause.now)
    after = await patron_record(connection, patron_id)
    assert after is not None
    former = before.addresses if before else ()
    notices = await owe_registration(connection, after, former, cause)
    owed = await owed_before(connection, patron_id, cause)
    await outbox.cancel_unsent(
        connection, patron_id, keep_keys=[record.key for record in after.addresses], reason="address_changed"
    )
    notices += await announce_waiting(connection, patron_id, cause, owed)
    notices += await _announce_to_wards(connection, patron_id, after, cause)
    await cases.review(connection, patron_id, cause.now)
    return Applied("applied", notices=notices, doubts=doubts)


async def _announce_to_wards(
    connection: AsyncConnection, patron_id: str, guardian: PatronRecord, cause: Cause
) -> tuple[str, ...]:
    """Mail about a child's holds goes where the guardian's goes now."""
    made: tuple[str, ...] = ()
    for ward in await wards(connection, patron_id):
        owed = await owed_before(connection, ward, cause)
        keys = [record.key for record in guardian.addresses]
        await outbox.cancel_unsent(connection, ward, keep_keys=keys, reason="address_changed")
        made += await announce_waiting(connection, ward, cause, owed)
        await cases.review(connection, ward, cause.now)
    return made


@dataclass(frozen=True, slots=True)
class Provisional:
    """A patron whose address is still the one the library made up. `used_at`: the first use of the web
    service with it, against the rule that it is replaced at the first login."""

    patron_id: str
    name: str
    branch: str
    address: str
    since: datetime
    used_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        used = self.used_at.isoformat() if self.used_at else None
        return asdict(self) | {"since": self.since.isoformat(), "used_at": used}


async def provisional(connection: AsyncConnection) -> list[Provisional]:
    """Who has not replaced a provisional address: first those who have used it, the oldest first."""
    used = (
        sa.select(sa.func.min(events.c.at))
        .where(
            events.c.patron_id == patron_addresses.c.patron_id,
            events.c.at >= patron_addresses.c.since,
            sa.or_(
                events.c.type == ev.PatronSeen.type,
                sa.and_(
                    events.c.type == "hold.requested",
                    sa.func.coalesce(events.c.payload["via"].as_string(), "web") == "web",
                ),
            ),
        )
        .correlate(patron_addresses)
        .scalar_subquery()
    )
    rows = await connection.execute(
        sa.select(
            patrons.c.patron_id,
            patrons.c.name,
            patrons.c.branch,
            patron_addresses.c.address,
            patron_addresses.c.since,
            used.label("used_at"),
        )
        .join(patrons, patrons.c.patron_id == patron_addresses.c.patron_id)
        .where(patron_addresses.c.until.is_(None), patron_addresses.c.provisional.is_(sa.true()))
    )
    found = [Provisional(**row._mapping) for row in rows]
    return sorted(found, key=lambda item: (item.used_at is None, item.used_at or item.since, item.patron_id))


async def set_addresses(
    connection: AsyncConnection,
    patron_id: str,
    emails: Sequence[str],
    event: ev.Patron | ev.EmailChanged,
    provisional: bool,
    now: datetime,
    source: str = "feed",
) -> tuple[AddressDoubt, ...]:
    """Ends the addresses in force and begins the new ones; history stays. Returns what is probably wrong
    with them."""
    doubts = []
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
        doubts.append(await _check(connection, email, key, patron_id, event.at, now))
    return tuple(doubt for doubt in doubts if doubt is not None)


async def _check(
    connection: AsyncConnection, email: str, key: str, patron_id: str, at: datetime, now: datetime
) -> AddressDoubt | None:
    """An address that cannot exist is kept as it was given, but no mail goes there: staff must ask. Other
    doubts are kept with the address; mail goes there all the same."""
    domain = await mail_domains.known(connection, key.rpartition("@")[2])
    doubt = doubt_of(email, _PROVIDERS, domain)
    await connection.execute(
        sa.update(addresses)
        .where(addresses.c.address_key == key)
        .values(doubt=doubt.code if doubt else "", suggestion=doubt.suggestion if doubt else "")
    )
    if doubt is not None and doubt.code in list(AddressFault):
        invalid = Observation(
            at, Sign.INVALID, "check", f"invalid:{key}", None, key, patron_id, reason=doubt.code
        )
        await observations.observe(connection, invalid, now)
    return doubt
