"""What the staff desk reads: the call list, who works on what, and whose form is out of date.

Leaves rows ready to show, without titles and without phone numbers: those have their own question
(`phones`), asked when a row is opened. What staff do is in `desk_actions`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import Conflict
from holds_core.holds import Hold
from holds_core.ledger import snapshots, stakes
from holds_core.ledger.cases import REASONS
from holds_core.ledger.models import (
    case_actions,
    case_marks,
    cases,
    claims,
    deliveries,
    events,
    holds,
    notice_holds,
    patron_addresses,
    patrons,
    risks,
)
from holds_core.ledger.sql import as_text, date_in, insert_new, time_in, words_in
from holds_core.ledger.stakes import PatronRisk
from holds_core.notices import Kind
from holds_core.silence import Settings
from holds_core.silence_reasons import RiskReason

CLAIM_FOR = timedelta(minutes=10)
"""How long an opened row stays a person's own without another press."""
CALL_LIMIT = 3
"""Calls without an answer after which another one is not the way; a letter may be."""


class Status(StrEnum):
    """What staff have made of a case."""

    NOT_REACHED = "not_reached"
    MESSAGE = "message"
    REACHED = "reached"
    WRONG_NUMBER = "wrong_number"
    IGNORED = "ignored"


class View(StrEnum):
    """The three heaps that the open cases fall into, each case into one; and all of them."""

    TODAY = "today"
    LATER = "later"
    DONE = "done"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Mark:
    """A case's row of `case_marks`; the default is an untouched case."""

    status: Status | None = None
    again_on: date | None = None
    tries: int = 0
    known_holds: frozenset[str] = frozenset()
    known_reasons: frozenset[str] = frozenset()


class Case(NamedTuple):
    """One open case as the list shows it. `shelf`: at which branch how many holds wait; `at_stake`: what the
    risk model says of them, None before it was asked; `has_phone`: whether there is a number to ring."""

    case_id: int
    patron_id: str
    name: str
    name_kana: str
    hold_ids: tuple[str, ...]
    branches: tuple[str, ...]
    shelf: tuple[tuple[str, int], ...]
    deadline: date | None
    reasons: tuple[str, ...]
    domains: tuple[str, ...]
    mark: Mark
    view: View
    opened_at: datetime
    overdue: bool = False
    at_stake: PatronRisk | None = None
    contact: str = "email"
    has_phone: bool = True

    @property
    def risk(self) -> float | None:
        """The probability (0 to 1) that a hold lapses because its mail was not seen."""
        return None if self.at_stake is None else self.at_stake.risk

    @property
    def risk_reasons(self) -> tuple[RiskReason, ...]:
        """Why, heaviest first; their sentences are in `silence_reasons.SENTENCES`."""
        return () if self.at_stake is None else self.at_stake.reasons

    @property
    def risk_word(self) -> tuple[str, str]:
        """The risk as a word for the counter: Japanese, English."""
        return ("", "") if self.risk is None else stakes.level(self.risk)

    def days_left(self, today: date) -> int | None:
        """Days from today to the deadline; 0 is the last day."""
        return None if self.deadline is None else (self.deadline - today).days


def view_of(mark: Mark, hold_ids: Iterable[str], reasons: Iterable[str], today: date) -> View:
    """Into which heap a case falls. News (another hold, another reason) brings a settled case back."""
    if mark.status is None:
        return View.TODAY
    news = not (mark.known_holds >= set(hold_ids) and mark.known_reasons >= set(reasons))
    if mark.again_on is not None:
        return View.TODAY if mark.again_on <= today else View.LATER
    if news:
        return View.TODAY
    return View.DONE if mark.status is Status.REACHED else View.LATER


COUNTER = Settings(call_margin=1.0)
"""Whoever is told today can still come tomorrow: at the counter a hold's last chance is the day before, where
`backtest` counts a call only two days before."""
_SHELF = timedelta(days=7)
_WEIGHT = {reason: place for place, reason in enumerate(REASONS)}


def order(found: Iterable[Case], now: datetime) -> list[Case]:
    """The order in which to phone: that in which calls save most holds, as the model lists them.

    `now` in the library's time zone. Where calls are worth the same (nothing waits, say, and the patron
    wrote back) by days left, then by the weight of the reasons, then the oldest.
    """

    def rank(case: Case) -> tuple[float, datetime, int, datetime, str]:
        weight = min((_WEIGHT.get(reason, len(_WEIGHT)) for reason in case.reasons), default=len(_WEIGHT))
        ends = _lapses(case, now)
        stake = case.at_stake or stakes.assumed(case.reasons, case.hold_ids, ends)
        return (-stake.worth(now, COUNTER), ends, weight, case.opened_at, case.patron_id)

    return sorted(found, key=rank)


def _lapses(case: Case, now: datetime) -> datetime:
    """The end of the case's last day. Without one (no mail was sent, so no day was named) it is taken as if
    its shelf time had begun when it was opened."""
    last = case.deadline or (case.opened_at.astimezone(now.tzinfo) + _SHELF).date()
    return datetime.combine(last + timedelta(days=1), time(0), now.tzinfo)


async def open_cases(connection: AsyncConnection, today: date) -> list[Case]:
    """All open cases, in no order. Three questions, however many cases there are.

    There are thousands of rows behind a page of fifty: they are read at once (row by row costs three times as
    much), as plain tuples, and what many rows have in common is understood once.
    """
    shelf: dict[str, list[Any]] = {}
    for row in (await connection.execute(_SHELF_ROWS)).all():
        shelf.setdefault(row[0], []).append(row)
    domains: dict[str, list[str]] = {}
    for patron_id, key in (await connection.execute(_DOMAINS)).all():
        domains.setdefault(patron_id, []).append(key.rpartition("@")[2])
    rows = (await connection.execute(_CASES)).all()
    return [_case(row, shelf.get(row[1], ()), domains.get(row[1], ()), today) for row in rows]


_WHO: Final = sa.select(cases.c.patron_id).where(cases.c.state == "open")
_SHELF_ROWS: Final = (
    sa.select(holds.c.patron_id, holds.c.branch, as_text(holds.c.deadline), holds.c.hold_id, *stakes.RISK)
    .join(notice_holds, notice_holds.c.hold_id == holds.c.hold_id, isouter=True)
    .join(risks, risks.c.notice_id == notice_holds.c.notice_id, isouter=True)
    .where(holds.c.state == Hold.READY, holds.c.patron_id.in_(_WHO))
    .order_by(holds.c.hold_id, notice_holds.c.notice_id)
)
_DOMAINS: Final = (
    sa.select(patron_addresses.c.patron_id, patron_addresses.c.address_key)
    .where(patron_addresses.c.until.is_(None), patron_addresses.c.patron_id.in_(_WHO))
    .order_by(patron_addresses.c.position)
)
_CASES: Final = (
    sa.select(
        cases.c.case_id,
        cases.c.patron_id,
        patrons.c.name,
        patrons.c.name_kana,
        as_text(cases.c.reasons),
        as_text(cases.c.deadline),
        as_text(cases.c.opened_at),
        patrons.c.branch,
        patrons.c.overdue,
        patrons.c.contact,
        as_text(patrons.c.phones),
        case_marks.c.status,
        case_marks.c.again_on,
        case_marks.c.tries,
        case_marks.c.known,
    )
    .join(patrons, patrons.c.patron_id == cases.c.patron_id, isouter=True)
    .join(case_marks, case_marks.c.case_id == cases.c.case_id, isouter=True)
    .where(cases.c.state == "open")
)


def _case(row: Any, told: Sequence[Any], domains: Sequence[str], today: date) -> Case:
    """`row` of `_CASES`, and what `_SHELF_ROWS` has of the patron: a hold is there once for each notice."""
    case_id, patron_id, name, kana, why, day, opened, branch, overdue, contact, numbers, *_ = row
    reasons, mark, lasts = words_in(why), mark_of(row), date_in(day)
    waits: dict[str, str] = {}
    for _, where, until, hold_id, *_risk in told:
        waits[hold_id] = where
        last = date_in(until)
        if last is not None and (lasts is None or last < lasts):
            lasts = last
    counted: dict[str, int] = {}  # a Counter costs ten times as much, and there are thousands of rows
    for where in waits.values():
        counted[where] = counted.get(where, 0) + 1
    hold_ids = tuple(waits)
    opened_at = time_in(opened)
    assert opened_at is not None
    return Case(
        case_id=case_id,
        patron_id=patron_id,
        name=name or "",
        name_kana=kana or "",
        hold_ids=hold_ids,
        branches=tuple(counted) or ((branch,) if branch else ()),
        shelf=tuple(counted.items()),
        deadline=lasts,
        reasons=reasons,
        domains=tuple(domains),
        mark=mark,
        view=view_of(mark, hold_ids, reasons, today),
        opened_at=opened_at,
        overdue=bool(overdue),
        at_stake=stakes.at_stake([item[3:] for item in told]),
        contact=contact or "email",
        has_phone=bool(words_in(numbers)),
    )


_UNTOUCHED = Mark()


def mark_of(row: Any) -> Mark:
    """The mark in a row that has the columns of `case_marks`, all None for an untouched case."""
    if row is None or row.status is None:
        return _UNTOUCHED
    known = row.known or {}
    return Mark(
        status=Status(row.status),
        again_on=row.again_on,
        tries=row.tries,
        known_holds=frozenset(known.get("holds", ())),
        known_reasons=frozenset(known.get("reasons", ())),
    )


def plain(text: str) -> str:
    """A name or number as it is compared: no blanks, one width, hiragana as katakana.

    >>> plain("やまだ　はなこ"), plain("ﾔﾏﾀﾞ ﾊﾅｺ")
    ('ヤマダハナコ', 'ヤマダハナコ')
    """
    text = "".join(unicodedata.normalize("NFKC", text).split()).casefold()
    return "".join(chr(ord(c) + 0x60) if "ぁ" <= c <= "ゖ" else c for c in text)


def counts(found: Iterable[Case]) -> dict[View, int]:
    """How many cases each heap has; `all` is their sum."""
    heaps = Counter(case.view for case in found)
    return {view: heaps[view] for view in (View.TODAY, View.LATER, View.DONE)} | {View.ALL: heaps.total()}


# -- beside the rows -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LastMail:
    """The last hold-ready mail of a patron, or its being withheld."""

    address: str
    at: datetime
    state: str
    finding: str
    reason: str


async def last_mails(connection: AsyncConnection, patron_ids: Sequence[str]) -> dict[str, LastMail]:
    """The newest hold-ready delivery of each patron."""
    newest = (
        sa.select(sa.func.max(deliveries.c.delivery_id))
        .where(deliveries.c.patron_id.in_(patron_ids), deliveries.c.kind == Kind.HOLD_READY)
        .group_by(deliveries.c.patron_id)
    )
    rows = await connection.execute(sa.select(deliveries).where(deliveries.c.delivery_id.in_(newest)))
    return {
        row.patron_id: LastMail(
            row.address,
            row.handed_over_at or row.first_attempt_at or row.created_at,
            row.state,
            row.finding,
            row.reason,
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class Phones:
    """How to ring a patron. Shown only on opening a row, and written to the audit trail."""

    numbers: tuple[str, ...]
    note: str
    guardian_id: str | None


async def phones(connection: AsyncConnection, patron_id: str) -> Phones:
    row = (
        await connection.execute(
            sa.select(patrons.c.phones, patrons.c.phone_note, patrons.c.guardian_id).where(
                patrons.c.patron_id == patron_id
            )
        )
    ).first()
    if row is None:
        return Phones((), "", None)
    numbers = row.phones or await _numbers_of(connection, row.guardian_id)
    return Phones(tuple(numbers), row.phone_note, row.guardian_id)


async def _numbers_of(connection: AsyncConnection, guardian_id: str | None) -> list[str]:
    """A child without a number is rung at the guardian's."""
    if guardian_id is None:
        return []
    found = await connection.scalar(sa.select(patrons.c.phones).where(patrons.c.patron_id == guardian_id))
    return found or []


async def data_as_of(connection: AsyncConnection) -> datetime | None:
    """What the library system's data are as of: the latest event, or the latest list even if nothing in it was new."""
    newest = await connection.scalar(
        sa.select(events.c.at).where(events.c.outcome == "applied").order_by(events.c.at.desc()).limit(1)
    )
    lists = (
        value["as_of"] for value in (await snapshots.feed_times(connection)).values() if "as_of" in value
    )
    times = [*(datetime.fromisoformat(said) for said in lists), *([newest] if newest else [])]
    return max(times, default=None)


# -- claims ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """Who is working on a patron, and until when."""

    who: str
    until: datetime


async def claims_of(
    connection: AsyncConnection, patron_ids: Sequence[str], now: datetime
) -> dict[str, Claim]:
    """The claims that are still good."""
    rows = await connection.execute(
        sa.select(claims).where(claims.c.patron_id.in_(patron_ids), claims.c.until > now)
    )
    return {row.patron_id: Claim(row.who, row.until) for row in rows}


async def claim(
    connection: AsyncConnection, patron_id: str, who: str, now: datetime, *, take_over: bool = False
) -> Claim:
    """Claims a patron for `who`. Returns the claim in force, which is a colleague's if they have it."""
    known = (await claims_of(connection, [patron_id], now)).get(patron_id)
    if known is not None and known.who != who and not take_over:
        return known
    await release(connection, patron_id)
    mine = Claim(who, now + CLAIM_FOR)
    row = {"patron_id": patron_id, "who": who, "until": mine.until}
    if await insert_new(connection, claims, row):
        return mine
    # two at once, on PostgreSQL: the first one has it
    return (await claims_of(connection, [patron_id], now)).get(patron_id, mine)


async def release(connection: AsyncConnection, patron_id: str) -> None:
    await connection.execute(sa.delete(claims).where(claims.c.patron_id == patron_id))


# -- forms that are out of date --------------------------------------------------------------------


class Stale(Conflict):
    """The case changed since the form was shown. `since` is the last action the form knew."""

    def __init__(self, patron_id: str, since: int) -> None:
        self.patron_id, self.since = patron_id, since
        super().__init__(f"the case of patron {patron_id} has changed in the meantime")


async def versions(connection: AsyncConnection, patron_ids: Sequence[str]) -> dict[str, str]:
    """What a form must hand back to be accepted, per patron: "last action.undone.case.its last change"."""
    acted = {
        row.patron_id: f"{row.last}.{row.undone}"
        for row in await connection.execute(
            sa.select(
                case_actions.c.patron_id,
                sa.func.max(case_actions.c.action_id).label("last"),
                sa.func.count(case_actions.c.undone_at).label("undone"),
            )
            .where(case_actions.c.patron_id.in_(patron_ids))
            .group_by(case_actions.c.patron_id)
        )
    }
    changed = {
        row.patron_id: f"{row.case_id}.{row.changed_at.timestamp():.6f}"
        for row in await connection.execute(
            sa.select(cases.c.patron_id, cases.c.case_id, cases.c.changed_at).where(
                cases.c.patron_id.in_(patron_ids), cases.c.state == "open"
            )
        )
    }
    return {
        patron_id: f"{acted.get(patron_id, '0.0')}.{changed.get(patron_id, '0.0')}"
        for patron_id in patron_ids
    }


async def check_version(connection: AsyncConnection, patron_id: str, seen: str) -> None:
    """Raises Stale unless the case is still what the form showed."""
    if (await versions(connection, [patron_id]))[patron_id] != seen:
        last = seen.partition(".")[0]
        raise Stale(patron_id, int(last) if last.isdecimal() and len(last) < 18 else 0)


async def branches_of_patron(connection: AsyncConnection, patron_id: str) -> tuple[str, ...]:
    """The branches that a patron concerns: those of what is on the shelf, else the patron's own."""
    shelf = await connection.scalars(
        sa.select(holds.c.branch)
        .where(holds.c.patron_id == patron_id, holds.c.state == Hold.READY)
        .distinct()
        .order_by(holds.c.branch)
    )
    own = await connection.scalar(sa.select(patrons.c.branch).where(patrons.c.patron_id == patron_id))
    return tuple(dict.fromkeys([*shelf, *([own] if own else [])]))
