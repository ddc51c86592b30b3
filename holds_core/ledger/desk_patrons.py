"""What the desk asks about one patron: look-up by name or number, the page, the story without titles.

Reads only. The story is told from tables, not from event payloads, so that no title can slip into it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import NotFound
from holds_core.holds import Hold
from holds_core.ledger import sending
from holds_core.ledger.desk import Mark, mark_of, plain
from holds_core.ledger.models import (
    addresses,
    attempts,
    case_marks,
    case_steps,
    cases,
    deliveries,
    events,
    evidence,
    holds,
    inbound,
    patron_addresses,
    patrons,
)
from holds_core.notices import Kind
from holds_core.patrons import address_key

# -- looking somebody up ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """One line of a look-up."""

    patron_id: str
    name: str
    name_kana: str
    branches: tuple[str, ...]
    has_case: bool
    ready: int


async def search(connection: AsyncConnection, text: str, limit: int) -> list[Found]:
    """Patrons whose number, name or kana contains `text`, or whose address it is. Exact numbers first."""
    rows = (
        await connection.execute(
            sa.select(patrons.c.patron_id, patrons.c.name, patrons.c.name_kana, patrons.c.branch)
            .where(sa.or_(*_like(text), _has_address(text)))
            .order_by(patrons.c.patron_id != text.strip(), patrons.c.name_kana, patrons.c.patron_id)
            .limit(limit)
        )
    ).all()
    ids = [row.patron_id for row in rows]
    shelf: dict[str, list[str]] = {}
    for patron_id, branch in await connection.execute(
        sa.select(holds.c.patron_id, holds.c.branch).where(
            holds.c.patron_id.in_(ids), holds.c.state == Hold.READY
        )
    ):
        shelf.setdefault(patron_id, []).append(branch)
    opened = set(
        await connection.scalars(
            sa.select(cases.c.patron_id).where(cases.c.patron_id.in_(ids), cases.c.state == "open")
        )
    )
    return [
        Found(
            row.patron_id,
            row.name,
            row.name_kana,
            tuple(dict.fromkeys([row.branch, *shelf.get(row.patron_id, [])])),
            row.patron_id in opened,
            len(shelf.get(row.patron_id, [])),
        )
        for row in rows
    ]


def _like(text: str) -> list[sa.ColumnElement[bool]]:
    """The text as typed and in the other kana, blanks aside: 「やまだ」 finds 「ヤマダ　ハナコ」."""
    wanted = {plain(text), "".join(text.split()).casefold(), _hiragana(plain(text))}
    columns = (patrons.c.patron_id, patrons.c.name, patrons.c.name_kana)
    return [
        sa.func.lower(sa.func.replace(sa.func.replace(column, " ", ""), "\u3000", "")).contains(
            form, autoescape=True
        )
        for column in columns
        for form in sorted(wanted)
    ]


def _hiragana(text: str) -> str:
    return "".join(chr(ord(c) - 0x60) if "ァ" <= c <= "ヶ" else c for c in text)


def _has_address(text: str) -> sa.ColumnElement[bool]:
    return patrons.c.patron_id.in_(
        sa.select(patron_addresses.c.patron_id).where(
            patron_addresses.c.address_key == address_key(text), patron_addresses.c.until.is_(None)
        )
    )


# -- the page --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddressLine:
    """One address in force, with the standing and the reasons that make it."""

    address: str
    source: str
    provisional: bool
    since: datetime
    standing: str
    reasons: tuple[str, ...]
    standing_since: datetime | None
    # what was found when it was registered (holds_core.address_checks), and what was probably meant
    doubt: str = ""
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class HoldLine:
    """One open hold. No title: the page needs none."""

    hold_id: str
    state: str
    branch: str
    ready_on: date | None
    deadline: date | None


@dataclass(frozen=True, slots=True)
class Page:
    """What the patron's page shows above the story. `case` is the open case's row, or None."""

    patron_id: str
    known: bool
    name: str
    name_kana: str
    branch: str
    contact: str
    language: str
    guardian_id: str
    overdue: bool
    feed_emails: tuple[str, ...]
    addresses: tuple[AddressLine, ...]
    holds: tuple[HoldLine, ...]
    case_id: int | None
    reasons: tuple[str, ...]
    deadline: date | None
    opened_at: datetime | None
    mark: Mark

    @property
    def shelf(self) -> list[tuple[str, int]]:
        """At which branch how many holds wait."""
        return list(Counter(item.branch for item in self.holds).items())


async def page(connection: AsyncConnection, patron_id: str) -> Page:
    """Raises NotFound for a patron of whom nothing at all is known."""
    row = (await connection.execute(sa.select(patrons).where(patrons.c.patron_id == patron_id))).first()
    case = (
        await connection.execute(
            sa.select(
                cases, case_marks.c.status, case_marks.c.again_on, case_marks.c.tries, case_marks.c.known
            )
            .join(case_marks, case_marks.c.case_id == cases.c.case_id, isouter=True)
            .where(cases.c.patron_id == patron_id, cases.c.state == "open")
        )
    ).first()
    shelf = await _open_holds(connection, patron_id)
    if row is None and case is None and not shelf:
        raise NotFound(f"利用者番号 {patron_id} は見つかりません。 There is no patron {patron_id}.")
    return Page(
        patron_id=patron_id,
        known=row is not None,
        name=row.name if row else "",
        name_kana=row.name_kana if row else "",
        branch=row.branch if row else "",
        contact=row.contact if row else "",
        language=row.language if row else "",
        guardian_id=(row.guardian_id or "") if row else "",
        overdue=bool(row and row.overdue),
        feed_emails=tuple(row.feed_emails) if row else (),
        addresses=await _addresses(connection, patron_id),
        holds=shelf,
        case_id=case.case_id if case else None,
        reasons=tuple(case.reasons) if case else (),
        deadline=min(
            (item.deadline for item in shelf if item.deadline and item.state == Hold.READY), default=None
        )
        or (case.deadline if case else None),
        opened_at=case.opened_at if case else None,
        mark=mark_of(case),
    )


async def _open_holds(connection: AsyncConnection, patron_id: str) -> tuple[HoldLine, ...]:
    rows = await connection.execute(
        sa.select(holds.c.hold_id, holds.c.state, holds.c.branch, holds.c.ready_on, holds.c.deadline)
        .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
        .order_by(holds.c.deadline, holds.c.hold_id)
    )
    return tuple(HoldLine(*row) for row in rows)


async def _addresses(connection: AsyncConnection, patron_id: str) -> tuple[AddressLine, ...]:
    rows = await connection.execute(
        sa.select(
            patron_addresses,
            addresses.c.standing,
            addresses.c.reasons,
            addresses.c.since.label("standing_since"),
            addresses.c.doubt,
            addresses.c.suggestion,
        )
        .join(addresses, addresses.c.address_key == patron_addresses.c.address_key, isouter=True)
        .where(patron_addresses.c.patron_id == patron_id, patron_addresses.c.until.is_(None))
        .order_by(patron_addresses.c.position)
    )
    return tuple(
        AddressLine(
            row.address,
            row.source,
            row.provisional,
            row.since,
            row.standing or "unproven",
            tuple(row.reasons or ()),
            row.standing_since,
            row.doubt or "",
            row.suggestion or "",
        )
        for row in rows
    )


async def sharing(connection: AsyncConnection, patron_id: str) -> list[Any]:
    """Other patrons with one of this patron's addresses: rows of patron_id, name, address."""
    own = sa.select(patron_addresses.c.address_key).where(
        patron_addresses.c.patron_id == patron_id, patron_addresses.c.until.is_(None)
    )
    rows = await connection.execute(
        sa.select(patron_addresses.c.patron_id, patrons.c.name, patron_addresses.c.address)
        .join(patrons, patrons.c.patron_id == patron_addresses.c.patron_id)
        .where(
            patron_addresses.c.address_key.in_(own),
            patron_addresses.c.until.is_(None),
            patron_addresses.c.patron_id != patron_id,
        )
        .order_by(patron_addresses.c.patron_id)
        .limit(20)
    )
    return list(rows)


async def ready_notices(connection: AsyncConnection, patron_id: str) -> list[sending.Claimed]:
    """What sending again would announce: one notice per branch with everything on its shelf now.

    Modelled on the patron's last hold-ready delivery; empty if there is none, or nothing on the shelf.
    """
    newest = await connection.scalar(
        sa.select(sa.func.max(deliveries.c.delivery_id)).where(
            deliveries.c.patron_id == patron_id, deliveries.c.kind == Kind.HOLD_READY
        )
    )
    model = await sending.load(connection, [newest]) if newest is not None else []
    rows = await connection.execute(
        sa.select(holds)
        .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
        .order_by(holds.c.branch, holds.c.hold_id)
    )
    shelf: dict[str, list[sending.HoldLine]] = {}
    for row in rows:
        line = sending.HoldLine(
            row.hold_id, row.title, row.volume, row.state, row.ready_on, row.deadline, row.deadline_source
        )
        shelf.setdefault(row.branch, []).append(line)
    return [
        replace(item, branch=branch, holds=tuple(lines)) for item in model for branch, lines in shelf.items()
    ]


async def raw_mail(connection: AsyncConnection, inbound_id: int) -> tuple[str, bytes | None]:
    """(the patron it is tied to or "", the bytes or None if erased). Raises NotFound."""
    row = (
        await connection.execute(
            sa.select(inbound.c.raw, deliveries.c.patron_id)
            .join(deliveries, deliveries.c.delivery_id == inbound.c.delivery_id, isouter=True)
            .where(inbound.c.inbound_id == inbound_id)
        )
    ).first()
    if row is None:
        raise NotFound(f"there is no mail {inbound_id}")
    return row.patron_id or "", row.raw


# -- the story -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened. type: event, address, mail, attempt, evidence, case."""

    at: datetime
    type: str
    detail: dict[str, Any]
    delivery_id: int | None = None
    inbound_id: int | None = None


_CAUSES_FIRST = ("address", "event", "mail", "attempt", "evidence", "case")


async def moments(connection: AsyncConnection, patron_id: str, since: datetime) -> list[Moment]:
    """What is remembered of the patron's mail and cases since a time, oldest first."""
    found = await _happened(connection, patron_id, since)
    rows = (
        await connection.execute(
            sa.select(deliveries).where(deliveries.c.patron_id == patron_id, deliveries.c.created_at >= since)
        )
    ).all()
    for row in rows:
        said = {name: getattr(row, name) for name in ("kind", "state", "reason", "address")}
        found.append(Moment(row.created_at, "mail", said, row.delivery_id))
    numbers = [row.delivery_id for row in rows]
    for row in await connection.execute(sa.select(attempts).where(attempts.c.delivery_id.in_(numbers))):
        said = {name: getattr(row, name) for name in ("number", "result", "phase", "code", "status", "text")}
        found.append(Moment(row.finished_at or row.started_at, "attempt", said, row.delivery_id))
    about = sa.or_(evidence.c.delivery_id.in_(numbers), evidence.c.patron_id == patron_id)
    for row in await connection.execute(sa.select(evidence).where(about, evidence.c.at >= since)):
        said = {name: getattr(row, name) for name in ("kind", "reason", "code", "status", "text", "source")}
        found.append(Moment(row.at, "evidence", said, row.delivery_id, row.inbound_id))
    return sorted(found, key=lambda moment: (moment.at, _CAUSES_FIRST.index(moment.type)))


async def _happened(connection: AsyncConnection, patron_id: str, since: datetime) -> list[Moment]:
    found: list[Moment] = []
    for row in await connection.execute(
        sa.select(events.c.at, events.c.type, events.c.outcome, holds.c.branch)
        .join(holds, holds.c.hold_id == events.c.hold_id, isouter=True)
        .where(events.c.patron_id == patron_id, events.c.at >= since)
    ):
        said = {"type": row.type, "outcome": row.outcome, "branch": row.branch}
        found.append(Moment(row.at, "event", said))
    given = await connection.execute(
        sa.select(patron_addresses).where(
            patron_addresses.c.patron_id == patron_id, patron_addresses.c.since >= since
        )
    )
    found += [Moment(row.since, "address", {"address": row.address, "source": row.source}) for row in given]
    for row in await connection.execute(
        sa.select(case_steps)
        .join(cases, cases.c.case_id == case_steps.c.case_id)
        .where(cases.c.patron_id == patron_id)
        .order_by(case_steps.c.step_id)
    ):
        found.append(Moment(row.at, "case", {"what": row.what, "why": list(row.why)}))
    return [moment for moment in found if moment.at >= since]
