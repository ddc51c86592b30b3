"""All that is kept about one patron: shown to them, or erased.

Enters a patron's id; leaves one JSON document, or a ledger that no longer knows the person. What remains
after `forget` are numbers: mails with their kind, provider, state and outcome, tied to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import Conflict, NotFound
from holds_core.ledger import accounts, outbox
from holds_core.ledger.models import (
    addresses,
    attempts,
    audit,
    case_actions,
    case_marks,
    case_steps,
    cases,
    claims,
    decisions,
    deliveries,
    events,
    evidence,
    hold_steps,
    holds,
    inbound,
    mail_domains,
    notice_holds,
    notices,
    patron_addresses,
    patrons,
    provider_alerts,
    provider_weeks,
    risks,
    snapshot_rows,
)
from holds_core.notices import UNSENT, Transmission

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Person:
    """The rows that are about one patron, by their keys. `own` are addresses that no one else has."""

    patron_id: str
    addresses: tuple[str, ...]
    written: tuple[str, ...]
    own: tuple[str, ...]
    holds: tuple[str, ...]
    notices: tuple[str, ...]
    deliveries: tuple[int, ...]
    cases: tuple[int, ...]


async def _find(connection: AsyncConnection, patron_id: str) -> _Person:
    """Raises NotFound if nothing is kept about that id."""

    async def listed(column: sa.ColumnElement[Any], where: sa.ColumnElement[bool]) -> tuple[Any, ...]:
        return tuple(await connection.scalars(sa.select(column).where(where).order_by(column)))

    known = await listed(patrons.c.patron_id, patrons.c.patron_id == patron_id)
    told = await listed(events.c.event_id, events.c.patron_id == patron_id)
    mails = await listed(deliveries.c.delivery_id, deliveries.c.patron_id == patron_id)
    if not (known or told or mails):
        raise NotFound(f"there is no patron {patron_id}")
    keys: set[str] = set()
    written: set[str] = set()
    for table in (patron_addresses, deliveries):
        mine = table.c.patron_id == patron_id
        keys.update(await listed(table.c.address_key, mine))
        written.update(await listed(table.c.address, mine))
    keys.update(await listed(evidence.c.address_key, evidence.c.patron_id == patron_id))
    keys.discard("")
    others = await listed(
        patron_addresses.c.address_key,
        sa.and_(patron_addresses.c.address_key.in_(keys), patron_addresses.c.patron_id != patron_id),
    )
    return _Person(
        patron_id=patron_id,
        addresses=tuple(sorted(keys)),
        written=tuple(sorted((written | keys) - {""})),
        own=tuple(sorted(keys - set(others))),
        holds=await listed(holds.c.hold_id, holds.c.patron_id == patron_id),
        notices=await listed(notices.c.notice_id, notices.c.patron_id == patron_id),
        deliveries=mails,
        cases=await listed(cases.c.case_id, cases.c.patron_id == patron_id),
    )


def _subjects(person: _Person) -> list[str]:
    """How the audit trail names the patron."""
    kinds: tuple[tuple[str, Iterable[object]], ...] = (
        ("patron", [person.patron_id]),
        ("address", person.written),
        ("hold", person.holds),
        ("notice", person.notices),
        ("case", person.cases),
    )
    return [f"{kind}:{name}" for kind, names in kinds for name in names]


async def _mails(connection: AsyncConnection, person: _Person) -> list[int]:
    """Mail that came back about the patron's mail, from the patron, or with an address of theirs in it."""
    named: list[sa.ColumnElement[bool]] = [sa.func.lower(inbound.c.envelope_from).in_(person.addresses)]
    for address in person.written:
        octets = sa.literal(address.encode(), sa.LargeBinary)
        if connection.dialect.name == "sqlite":
            named.append(sa.func.instr(inbound.c.raw, octets) > 0)
        else:
            named.append(sa.func.position(octets.op("IN")(inbound.c.raw)) > 0)
    found = set(await connection.scalars(sa.select(inbound.c.inbound_id).where(sa.or_(*named))))
    for part in _parts(person.deliveries):
        found.update(
            await connection.scalars(sa.select(inbound.c.inbound_id).where(inbound.c.delivery_id.in_(part)))
        )
    return sorted(found)


def _parts(keys: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE))


# Showing ------------------------------------------------------------------------------------------


async def export(connection: AsyncConnection, patron_id: str) -> dict[str, Any]:
    """All that is kept about a patron, table by table, ready for JSON. Raises NotFound."""
    person = await _find(connection, patron_id)

    async def rows(table: sa.Table, column: sa.Column[Any], keys: Sequence[Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for part in _parts(keys):
            query = sa.select(table).where(column.in_(part)).order_by(*table.primary_key.columns)
            found += [_plain(row._mapping) for row in await connection.execute(query)]
        return found

    me = [patron_id]
    return {
        "patron": next(iter(await rows(patrons, patrons.c.patron_id, me)), None),
        "addresses": await rows(patron_addresses, patron_addresses.c.patron_id, me),
        "standings": await rows(addresses, addresses.c.address_key, person.addresses),
        "holds": await rows(holds, holds.c.hold_id, person.holds),
        "hold_steps": await rows(hold_steps, hold_steps.c.hold_id, person.holds),
        "notices": await rows(notices, notices.c.notice_id, person.notices),
        "notice_holds": await rows(notice_holds, notice_holds.c.notice_id, person.notices),
        "deliveries": await rows(deliveries, deliveries.c.delivery_id, person.deliveries),
        "attempts": await rows(attempts, attempts.c.delivery_id, person.deliveries),
        "evidence": await _evidence(rows, person),
        "inbound": await rows(inbound, inbound.c.inbound_id, await _mails(connection, person)),
        "risks": await rows(risks, risks.c.notice_id, person.notices),
        "cases": await rows(cases, cases.c.case_id, person.cases),
        "case_steps": await rows(case_steps, case_steps.c.case_id, person.cases),
        "case_marks": await rows(case_marks, case_marks.c.case_id, person.cases),
        "case_actions": await rows(case_actions, case_actions.c.patron_id, me),
        "claims": await rows(claims, claims.c.patron_id, me),
        "decisions": await rows(decisions, decisions.c.patron_id, me),
        "events": await rows(events, events.c.patron_id, me),
        "snapshot_rows": await _snapshot(rows, person),
        "hold_events": [
            row for row in await rows(events, events.c.hold_id, person.holds) if row["patron_id"] != patron_id
        ],
        "audit": await _audit(connection, rows, person),
    }


async def _evidence(rows: Any, person: _Person) -> list[dict[str, Any]]:
    """About the patron, their mail, or an address that is theirs alone: on each once."""
    found: list[dict[str, Any]] = await rows(evidence, evidence.c.patron_id, [person.patron_id])
    found += await rows(evidence, evidence.c.delivery_id, person.deliveries)
    found += await rows(evidence, evidence.c.address_key, person.own)
    return [row for _, row in sorted({row["evidence_id"]: row for row in found}.items())]


async def _snapshot(rows: Any, person: _Person) -> list[dict[str, Any]]:
    """What the last snapshots remember: `key` is the patron's id, or a hold's."""
    found: list[dict[str, Any]] = await rows(
        snapshot_rows, snapshot_rows.c.key, [person.patron_id, *person.holds]
    )
    mine = {"patrons": {person.patron_id}, "holds": set(person.holds)}
    return [row for row in found if row["key"] in mine.get(row["kind"], ())]


async def _audit(connection: AsyncConnection, rows: Any, person: _Person) -> list[dict[str, Any]]:
    """Of a line about several patrons the others are left out."""
    found: list[dict[str, Any]] = await rows(audit, audit.c.subject, _subjects(person))
    seen = {row["audit_id"] for row in found}
    several = await _mentioning(connection, audit.c.detail, person.patron_id)
    return found + [_plain(row._mapping) | {"detail": {}} for row in several if row.audit_id not in seen]


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _json(value) for name, value in row.items()}


def _json(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


# Erasing ------------------------------------------------------------------------------------------


async def forget(connection: AsyncConnection, patron_id: str, who: str, now: datetime) -> dict[str, int]:
    """Erases a person. Returns how many rows were deleted or made nobody's, by kind.

    Unsent mail is cancelled. The audit trail keeps that somebody was forgotten, and by whom (`who`), not
    the person. Raises NotFound; Conflict while a mail to the patron is on the wire, with nothing changed.
    """
    person = await _find(connection, patron_id)
    await _stop_mail(connection, patron_id, now)
    counts = {"inbound": await _empty_mails(connection, await _mails(connection, person))}
    counts |= await _unname_mail(connection, person)
    counts |= await _delete(connection, person)
    await _unname_ward(connection, patron_id)
    counts["audit"] = await _unname_audit(connection, person)
    await accounts.record(connection, who, "forget", "", counts, now)
    return counts


async def _stop_mail(connection: AsyncConnection, patron_id: str, now: datetime) -> None:
    """Nothing leaves any more. What is in doubt counts as handed over, or it would be tried again."""
    mine = deliveries.c.patron_id == patron_id
    sending = sa.select(sa.func.count()).where(mine, deliveries.c.state == Transmission.SENDING)
    if await connection.scalar(sending):
        raise Conflict(f"a mail to patron {patron_id} is being sent just now; try again in a minute")
    await outbox.move(connection, mine, Transmission.CANCELLED, sources=UNSENT, next_at=None, slot=None)
    await outbox.move(
        connection,
        mine,
        Transmission.HANDED_OVER,
        sources=(Transmission.UNCERTAIN,),
        handed_over_at=sa.func.coalesce(deliveries.c.handed_over_at, now),
        next_at=None,
    )


async def _empty_mails(connection: AsyncConnection, numbers: Sequence[int]) -> int:
    """The digest stays, so that the same mail is not taken in again."""
    blank: dict[str, Any] = {
        "raw": None,
        "envelope_from": "",
        "envelope_to": [],
        "why": "",
        "delivery_id": None,
    }
    for part in _parts(numbers):
        await connection.execute(sa.update(inbound).where(inbound.c.inbound_id.in_(part)).values(**blank))
    return len(numbers)


async def _unname_mail(connection: AsyncConnection, person: _Person) -> dict[str, int]:
    """Mails and evidence stay as numbers. Texts of servers go: they name addresses more often than not."""
    mine = deliveries.c.patron_id == person.patron_id
    numbers = sa.select(deliveries.c.delivery_id).where(mine)
    await connection.execute(sa.update(attempts).where(attempts.c.delivery_id.in_(numbers)).values(text=""))
    seen = await connection.execute(
        sa.update(evidence)
        .where(
            sa.or_(
                evidence.c.patron_id == person.patron_id,
                evidence.c.delivery_id.in_(numbers),
                evidence.c.address_key.in_(person.own),
            )
        )
        .values(
            patron_id=None,
            # of an address that others have too, what is known is theirs as well
            address_key=sa.case((evidence.c.address_key.in_(person.own), ""), else_=evidence.c.address_key),
            text="",
            inbound_id=None,
            fingerprint=sa.literal("forgotten:") + sa.cast(evidence.c.evidence_id, sa.String),
        )
    )
    sent = await connection.execute(
        sa.update(deliveries)
        .where(mine)
        .values(
            patron_id="",
            address="",
            address_key="",
            token=None,
            domain=sa.case(
                (deliveries.c.domain.in_(await _private(connection, person)), ""), else_=deliveries.c.domain
            ),
        )
    )
    await connection.execute(sa.delete(notice_holds).where(notice_holds.c.notice_id.in_(person.notices)))
    await connection.execute(
        sa.update(notices)
        .where(notices.c.patron_id == person.patron_id)
        .values(patron_id="", event_id=None, reason="")
    )
    return {"deliveries": sent.rowcount, "evidence": seen.rowcount}


async def _private(connection: AsyncConnection, person: _Person) -> list[str]:
    """Mail domains that only this patron uses: a domain of one's own names the person."""
    domains = {key.rpartition("@")[2] for key in person.own}
    shared = await connection.scalars(
        sa.select(addresses.c.domain)
        .where(addresses.c.domain.in_(domains), addresses.c.address_key.not_in(person.own))
        .distinct()
    )
    return sorted(domains - set(shared))


async def _delete(connection: AsyncConnection, person: _Person) -> dict[str, int]:
    """Rows that are nothing without the person; steps, marks and addresses go with them by cascade."""
    patron_id = person.patron_id
    private = await _private(connection, person)
    doomed: tuple[tuple[str, sa.Table, sa.ColumnElement[bool]], ...] = (
        (
            "events",
            events,
            sa.or_(events.c.patron_id == patron_id, events.c.hold_id.in_(person.holds)),
        ),
        ("holds", holds, holds.c.patron_id == patron_id),
        ("case_actions", case_actions, case_actions.c.patron_id == patron_id),
        ("cases", cases, cases.c.patron_id == patron_id),
        ("claims", claims, claims.c.patron_id == patron_id),
        ("decisions", decisions, decisions.c.patron_id == patron_id),
        (
            "snapshot_rows",
            snapshot_rows,
            sa.or_(
                sa.and_(snapshot_rows.c.kind == "patrons", snapshot_rows.c.key == patron_id),
                sa.and_(snapshot_rows.c.kind == "holds", snapshot_rows.c.key.in_(person.holds)),
            ),
        ),
        ("patrons", patrons, patrons.c.patron_id == patron_id),
        ("mail_domains", mail_domains, mail_domains.c.domain.in_(private)),
        ("provider_weeks", provider_weeks, provider_weeks.c.domain.in_(private)),
        ("provider_alerts", provider_alerts, provider_alerts.c.domain.in_(private)),
        ("addresses", addresses, addresses.c.address_key.in_(person.own)),
    )
    return {
        name: (await connection.execute(sa.delete(table).where(where))).rowcount
        for name, table, where in doomed
    }


async def _unname_ward(connection: AsyncConnection, patron_id: str) -> None:
    """Others whose guardian the patron was: in their records, and in the events that brought those."""
    await connection.execute(
        sa.update(patrons).where(patrons.c.guardian_id == patron_id).values(guardian_id=None)
    )
    for row in await _mentioning(connection, events.c.payload, patron_id):
        payload = _without(row.payload, patron_id)
        await connection.execute(
            sa.update(events).where(events.c.event_id == row.event_id).values(payload=payload)
        )


async def _unname_audit(connection: AsyncConnection, person: _Person) -> int:
    """What staff did stays; to whom does not."""
    count = 0
    for part in _parts(_subjects(person)):
        changed = await connection.execute(
            sa.update(audit).where(audit.c.subject.in_(part)).values(subject="", detail={})
        )
        count += changed.rowcount
    for row in await _mentioning(connection, audit.c.detail, person.patron_id):
        detail = _without(row.detail, person.patron_id)
        await connection.execute(
            sa.update(audit).where(audit.c.audit_id == row.audit_id).values(detail=detail)
        )
        count += 1
    return count


async def _mentioning(connection: AsyncConnection, column: sa.Column[Any], patron_id: str) -> Sequence[Any]:
    """Rows whose JSON has the id among its values: such as a printed call list, or a child's guardian."""
    word = json.dumps(patron_id)
    named = sa.cast(column, sa.Text).contains(word, autoescape=True)
    table = column.table
    return (await connection.execute(sa.select(table).where(named).order_by(*table.primary_key))).all()


def _without(value: Any, patron_id: str) -> Any:
    """A JSON value without the id, wherever it stands."""
    if isinstance(value, dict):
        return {name: _without(item, patron_id) for name, item in value.items() if name != patron_id}
    if isinstance(value, list):
        return [_without(item, patron_id) for item in value if item != patron_id]
    return "" if value == patron_id else value
