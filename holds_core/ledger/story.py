"""The whole story of a notice, a hold, a patron or an address, in order. Reads only.

Enters an id, with or without a prefix (`notice:`, `hold:`, `patron:`, `address:`); leaves the contract's
`{subject, events[{at, type, detail}]}`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.address_checks import sentence
from holds_core.errors import NotFound
from holds_core.evidence import WEIGHTS, Sign
from holds_core.ledger.decisions import as_json
from holds_core.ledger.models import (
    addresses,
    attempts,
    case_steps,
    cases,
    decisions,
    deliveries,
    events,
    evidence,
    hold_steps,
    holds,
    notice_holds,
    notices,
    patron_addresses,
    patrons,
)
from holds_core.patrons import address_key


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened."""

    at: datetime
    type: str
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "type": self.type, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Story:
    subject: str
    moments: tuple[Moment, ...]

    def as_json(self) -> dict[str, Any]:
        return {"subject": self.subject, "events": [moment.as_json() for moment in self.moments]}


async def tell(connection: AsyncConnection, name: str) -> Story:
    """Everything known of `name`, oldest first. Raises NotFound."""
    prefix, _, rest = name.partition(":")
    if prefix in _KINDS and rest:
        found = await _KINDS[prefix](connection, rest)
        if found is None:
            raise NotFound(f"there is no {prefix} {rest}")
        return found
    for teller in _KINDS.values():
        if (found := await teller(connection, name)) is not None:
            return found
    raise NotFound(f"there is no notice, hold, patron or address {name}")


async def _notice(connection: AsyncConnection, notice_id: str) -> Story | None:
    row = (await connection.execute(sa.select(notices).where(notices.c.notice_id == notice_id))).first()
    if row is None:
        return None
    held = list(
        await connection.scalars(
            sa.select(notice_holds.c.hold_id).where(notice_holds.c.notice_id == notice_id)
        )
    )
    moments = [
        Moment(
            row.created_at,
            "notice.owed",
            _said(row, "kind", "patron_id", "branch", "reason") | {"holds": held, "because": row.event_id},
        )
    ]
    moments += [m async for m in _mail(connection, deliveries.c.notice_id == notice_id)]
    return _story(f"notice:{notice_id}", moments)


async def _hold(connection: AsyncConnection, hold_id: str) -> Story | None:
    row = (await connection.execute(sa.select(holds).where(holds.c.hold_id == hold_id))).first()
    if row is None:
        return None
    moments = [m async for m in _events(connection, events.c.hold_id == hold_id)]
    steps = await connection.execute(sa.select(hold_steps).where(hold_steps.c.hold_id == hold_id))
    moments += [Moment(step.at, f"hold.{step.state}", _said(step, "inferred", "event_id")) for step in steps]
    moments += await _decided(connection, decisions.c.hold_id == hold_id)
    about = deliveries.c.notice_id.in_(
        sa.select(notice_holds.c.notice_id).where(notice_holds.c.hold_id == hold_id)
    )
    moments += [m async for m in _mail(connection, about)]
    return _story(f"hold:{hold_id}", moments)


async def _patron(connection: AsyncConnection, patron_id: str) -> Story | None:
    known = await connection.scalar(
        sa.select(sa.func.count()).select_from(patrons).where(patrons.c.patron_id == patron_id)
    )
    own_holds = sa.select(holds.c.hold_id).where(holds.c.patron_id == patron_id)
    about = sa.or_(events.c.patron_id == patron_id, events.c.hold_id.in_(own_holds))
    moments = [m async for m in _events(connection, about)]
    if not known and not moments:
        return None
    moments += await _decided(connection, decisions.c.patron_id == patron_id)
    moments += await _addresses_of(connection, patron_id)
    moments += [m async for m in _mail(connection, deliveries.c.patron_id == patron_id)]
    moments += await _loose_evidence(connection, evidence.c.patron_id == patron_id)
    opened = await connection.execute(sa.select(cases).where(cases.c.patron_id == patron_id))
    for row in opened:
        moments.append(Moment(row.opened_at, "case.opened", _said(row, "case_id", "reasons", "deadline")))
        if row.closed_at is not None:
            moments.append(Moment(row.closed_at, "case.closed", _said(row, "case_id", "closed_why")))
    steps = await connection.execute(
        sa.select(case_steps)
        .join(cases, cases.c.case_id == case_steps.c.case_id)
        .where(cases.c.patron_id == patron_id, case_steps.c.what.not_in(["opened", "closed"]))
        .order_by(case_steps.c.step_id)
    )
    moments += [Moment(row.at, f"case.{row.what}", _said(row, "case_id", "why")) for row in steps]
    return _story(f"patron:{patron_id}", moments)


async def _address(connection: AsyncConnection, address: str) -> Story | None:
    key = address_key(address)
    row = (await connection.execute(sa.select(addresses).where(addresses.c.address_key == key))).first()
    if row is None:
        return None
    owners = await connection.execute(
        sa.select(patron_addresses).where(patron_addresses.c.address_key == key)
    )
    moments = [
        Moment(owner.since, "address.registered", _said(owner, "patron_id", "source", "provisional", "until"))
        for owner in owners
    ]
    moments.append(
        Moment(row.since, "address.standing", _said(row, "standing", "reasons", "proven", "mistyped"))
    )
    moments += _doubted(row, row.since)
    moments += [m async for m in _mail(connection, deliveries.c.address_key == key)]
    moments += await _loose_evidence(connection, evidence.c.address_key == key)
    return _story(f"address:{key}", moments)


_KINDS: dict[str, Callable[[AsyncConnection, str], Awaitable[Story | None]]] = {
    "notice": _notice,
    "hold": _hold,
    "patron": _patron,
    "address": _address,
}


async def _addresses_of(connection: AsyncConnection, patron_id: str) -> list[Moment]:
    rows = await connection.execute(
        sa.select(
            patron_addresses,
            addresses.c.standing,
            addresses.c.reasons,
            addresses.c.since.label("so"),
            addresses.c.doubt,
            addresses.c.suggestion,
        )
        .join(addresses, addresses.c.address_key == patron_addresses.c.address_key, isouter=True)
        .where(patron_addresses.c.patron_id == patron_id)
    )
    moments = []
    for row in rows:
        moments.append(
            Moment(row.since, "address.registered", _said(row, "address", "source", "provisional", "until"))
        )
        if row.standing:
            moments.append(Moment(row.so, "address.standing", _said(row, "address", "standing", "reasons")))
        moments += _doubted(row, row.since)
    return moments


def _doubted(row: Any, at: datetime) -> list[Moment]:
    """What the checks at registration found, if anything."""
    if not row.doubt:
        return []
    ja, en = sentence(row.doubt)
    return [Moment(at, "address.doubted", _said(row, "doubt", "suggestion") | {"ja": ja, "en": en})]


async def _events(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> AsyncIterator[Moment]:
    for row in await connection.execute(sa.select(events).where(where)):
        detail = dict(row.payload) | {"event_id": row.event_id, "feed": row.feed, "outcome": row.outcome}
        yield Moment(row.at, f"event.{row.type}", detail | ({"note": row.note} if row.note else {}))


async def _decided(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> list[Moment]:
    """What our rules decided about holds, or warned of, each with its rule and sentence."""
    moments = []
    for row in await connection.execute(sa.select(decisions).where(where).order_by(decisions.c.decision_id)):
        said = {name: value for name, value in as_json(row).items() if value not in (None, "")}
        del said["at"]
        moments.append(Moment(row.at, f"decision.{said.pop('decision')}", said))
    return moments


async def _mail(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> AsyncIterator[Moment]:
    """Deliveries with their attempts and the evidence about them."""
    rows = (await connection.execute(sa.select(deliveries).where(where))).all()
    numbers = [row.delivery_id for row in rows]
    for row in rows:
        said = _said(
            row, "delivery_id", "notice_id", "kind", "address", "state", "finding", "reason", "fault"
        )
        yield Moment(row.created_at, "delivery.queued", said | _said(row, "slot", "deadline"))
    for row in await connection.execute(sa.select(attempts).where(attempts.c.delivery_id.in_(numbers))):
        yield Moment(row.started_at, "attempt.started", _said(row, "delivery_id", "number", "deadline"))
        if row.finished_at is not None:
            said = _said(row, "delivery_id", "number", "result", "phase", "code", "status", "text", "remote")
            yield Moment(row.finished_at, "attempt.ended", said)
    for row in await connection.execute(sa.select(evidence).where(evidence.c.delivery_id.in_(numbers))):
        yield _observed(row)


async def _loose_evidence(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> list[Moment]:
    """What was observed of an address, and not of one mail: what staff said, a form no address has."""
    rows = await connection.execute(sa.select(evidence).where(where, evidence.c.delivery_id.is_(None)))
    return [_observed(row) for row in rows]


def _observed(row: Any) -> Moment:
    said = _said(row, "delivery_id", "source", "reason", "fault", "severity", "status", "code", "text")
    said |= _said(row, "withdrawn_at", "withdrawn_by")
    said["weight"] = " / ".join(WEIGHTS[Sign(row.kind)])
    return Moment(row.at, f"evidence.{row.kind}", said)


def _said(row: Any, *names: str) -> dict[str, Any]:
    """The named columns that say something, as JSON."""
    found = {name: getattr(row, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, (date, datetime)) else value
        for name, value in found.items()
        if value not in (None, "", [])
    }


_ORDER = ("event", "hold", "decision", "address", "notice", "delivery", "attempt", "evidence", "case")


def _story(subject: str, moments: list[Moment]) -> Story:
    """In order of time; of what happened at once, causes first."""
    ordered = sorted(moments, key=lambda moment: (moment.at, _ORDER.index(moment.type.partition(".")[0])))
    return Story(subject, tuple(ordered))
