"""The ledger's history as the risk model's observations: first all of it, then what is new since the last look.

Out come the same facts that `todoku backtest` takes from a history. Read in short transactions, a page at a
time, so that a sender waits for none of it. Judges nothing: a refusal's meaning stands in its evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import deadline
from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger.models import (
    case_actions,
    deliveries,
    events,
    evidence,
    hold_steps,
    holds,
    notice_holds,
)
from holds_core.ledger.session import Ledger
from holds_core.ledger.silence_queries import (
    CANARIES,
    EVIDENCE,
    FAILED,
    MAIL,
    OFFERED,
    PAGE,
    SAYS_YES,
    STEPS,
    VISITS,
    shelves,
    taught,
)
from holds_core.notices import Kind, Transmission
from holds_core.observations import (
    Bounced,
    CanaryResult,
    Confirmed,
    DeadlineMoved,
    Ending,
    Failure,
    HoldEnded,
    Mailed,
    NeverGot,
    Observation,
    PatronSeen,
    Told,
    failure,
)
from holds_core.patrons import check_address
from holds_core.providers import Providers
from holds_core.rulebook import Rulebook

_PROVIDERS = Providers.load()

LATE: Final = timedelta(days=2)
"""How long after its time a visit may come in and be seen before the next whole reading."""
OVERLAP: Final = timedelta(minutes=10)


ENDINGS: Final = {Hold.COLLECTED: Ending.COLLECTED, Hold.LAPSED: Ending.LAPSED}

CALLS: Final = {"reached": True, "message": False, "letter": False, "visit": False}
"""What staff did that may bring the patron without the mail; and whether the patron knows for sure."""

Asks = Callable[[Kind, str], bool]
"""Whether mail of a kind to a domain has a button or an address to answer to."""


@dataclass
class Cursor:
    """How far was read. A later row has a higher number; a visit that comes in late has an old time."""

    mail: int = 0
    evidence: int = 0
    step: int = 0
    action: int = 0
    undone: int | None = None
    visit: tuple[datetime, str] | None = None
    received: datetime | None = None
    handed_over: datetime | None = None


class Facts:
    """Reads one ledger for one model. `stale`: something told before is true no more, so begin anew."""

    def __init__(self, rulebook: Rulebook, asks: Asks) -> None:
        self._rulebook, self._asks = rulebook, asks
        self._cursor = Cursor()
        self._told: dict[int, str] = {}  # delivery -> the state in which the model knows it
        self._due: dict[str, date] = {}
        self._doubted: dict[str, bool] = {}
        self.stale = False

    async def everything(self, ledger: Ledger) -> list[Observation]:
        """The whole history that retention has left. Call it once, before `news`."""
        found: list[Observation] = []
        for read in (self._mail_page, self._evidence_page, self._step_page, self._visit_page):
            while True:
                async with ledger.read() as connection:
                    page, more = await read(connection)
                found += page
                if not more:
                    break
        async with ledger.read() as connection:
            found += await self._actions(connection)
        return found

    async def news(self, ledger: Ledger, now: datetime) -> list[Observation]:
        """What came in since the last reading. A fact that was undone sets `stale`."""
        async with ledger.read() as connection:
            # before the shelf, which would move the cursor on
            found = await self._since_hand_over(connection)
            found += await self._shelf(connection, now)
        for read in (self._evidence_page, self._step_page):
            more = True
            while more:
                async with ledger.read() as connection:
                    page, more = await read(connection)
                found += page
        async with ledger.read() as connection:
            found += await self._late_visits(connection, now)
            found += await self._actions(connection)
        return found

    # -- mail --------------------------------------------------------------------------------------

    async def _mail_page(self, connection: AsyncConnection) -> tuple[list[Observation], bool]:
        """By number: holds and registrations, and of other kinds what failed or was answered."""
        rows = (
            await connection.execute(
                MAIL.where(deliveries.c.delivery_id > self._cursor.mail, taught())
                .order_by(deliveries.c.delivery_id)
                .limit(PAGE)
            )
        ).all()
        if rows:
            self._cursor.mail = rows[-1].delivery_id
        return await self._mailed(connection, rows), len(rows) == PAGE

    async def _shelf(self, connection: AsyncConnection, now: datetime) -> list[Observation]:
        """Every announcement of what is on a shelf now, and deadlines that moved."""
        on_shelf = (
            sa.select(notice_holds.c.notice_id)
            .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
            .where(holds.c.state == Hold.READY)
        )
        rows = (
            await connection.execute(
                MAIL.where(
                    deliveries.c.notice_id.in_(on_shelf),
                    deliveries.c.kind == Kind.HOLD_READY,
                    deliveries.c.state.in_(OFFERED),
                ).order_by(deliveries.c.delivery_id)
            )
        ).all()
        found = await self._mailed(connection, rows)
        moved = await connection.execute(
            sa.select(holds.c.hold_id, holds.c.deadline).where(
                holds.c.state == Hold.READY, holds.c.deadline.is_not(None)
            )
        )
        return found + [item for row in moved for item in self._moved(row.hold_id, row.deadline, now)]

    async def _since_hand_over(self, connection: AsyncConnection) -> list[Observation]:
        since = self._cursor.handed_over
        where = (
            deliveries.c.handed_over_at >= since - OVERLAP
            if since
            else deliveries.c.handed_over_at.is_not(None)
        )
        rows = (
            await connection.execute(MAIL.where(where, taught()).order_by(deliveries.c.delivery_id))
        ).all()
        return await self._mailed(connection, rows)

    async def _mailed(self, connection: AsyncConnection, rows: Sequence[Any]) -> list[Observation]:
        fresh = []
        for row in rows:
            known = self._told.get(row.delivery_id)
            self.stale = self.stale or known not in (None, row.state)
            if known is None:
                self._told[row.delivery_id] = row.state
                fresh.append(row)
                if row.handed_over_at is not None:
                    self._cursor.handed_over = max(
                        self._cursor.handed_over or row.handed_over_at, row.handed_over_at
                    )
        held = await shelves(connection, [row.notice_id for row in fresh])
        return [item for row in fresh for item in self._told_of(row, held.get(row.notice_id, []))]

    def _told_of(self, row: Any, shelf: Sequence[Any]) -> Iterator[Observation]:
        """One mail and the deadlines of what it announces."""
        at = row.handed_over_at or row.first_attempt_at or row.created_at
        waits = row.kind == Kind.HOLD_READY
        yield Mailed(
            at=at,
            notice_id=row.notice_id,
            kind=Kind(row.kind),
            patron_id=row.patron_id,
            address=row.address_key or f"{row.patron_id}@",
            hold_ids=tuple(item.hold_id for item in shelf) if waits else (),
            deadline=self._lapses(row, shelf, at) if waits else None,
            failure=_not_taken(row),
            mistyped=self._doubts(row.domain),
            asks=self._asks(Kind(row.kind), row.domain),
        )
        for item in shelf if waits else ():
            if item.deadline is not None:
                yield from self._moved(item.hold_id, item.deadline, at)

    def _doubts(self, domain: str) -> bool:
        """Whether the domain looks like a slip of the hand."""
        if domain and domain not in self._doubted:
            checked = check_address(f"a@{domain}", _PROVIDERS, allow_special_domains=True)
            self._doubted[domain] = bool(checked.suggestion)
        return self._doubted.get(domain, False)

    def _moved(self, hold_id: str, day: date, at: datetime) -> Iterator[Observation]:
        if self._due.get(hold_id) != day:
            self._due[hold_id] = day
            yield DeadlineMoved(at, hold_id, self.ends(day))

    def _lapses(self, row: Any, shelf: Sequence[Any], at: datetime) -> datetime:
        """When the holds lapse if nobody has said: what stood in the mail, or would have stood in it."""
        if row.deadline is not None:
            return self.ends(row.deadline)
        sent_on = self._rulebook.local(at).date()
        ready_on = min((item.ready_on for item in shelf if item.ready_on), default=None)
        return self.ends(self._rulebook.deadline(row.branch, sent_on=sent_on, ready_on=ready_on))

    def ends(self, day: date) -> datetime:
        """The moment at which a hold with that last day lapses."""
        return deadline.ends(self._rulebook.deadline_rule, day, self._rulebook.settings.library.timezone)

    # -- what is heard of it -----------------------------------------------------------------------

    async def _evidence_page(self, connection: AsyncConnection) -> tuple[list[Observation], bool]:
        rows = (
            await connection.execute(
                EVIDENCE.where(evidence.c.evidence_id > self._cursor.evidence)
                .order_by(evidence.c.evidence_id)
                .limit(PAGE)
            )
        ).all()
        if rows:
            self._cursor.evidence = rows[-1].evidence_id
        unknown = {row.delivery_id for row in rows if row.delivery_id not in self._told} - {None}
        about = [] if not unknown else await self._mailed(
            connection,
            (
                await connection.execute(
                    MAIL.where(deliveries.c.delivery_id.in_(unknown), deliveries.c.state.in_(OFFERED))
                )
            ).all(),
        )  # fmt: skip
        return about + [item for row in rows for item in _heard(row)], len(rows) == PAGE

    async def _step_page(self, connection: AsyncConnection) -> tuple[list[Observation], bool]:
        rows = (
            await connection.execute(
                STEPS.where(hold_steps.c.id > self._cursor.step).order_by(hold_steps.c.id).limit(PAGE)
            )
        ).all()
        found: list[Observation] = []
        for row in rows:
            self._cursor.step = row.id
            if row.deadline is not None:
                found += self._moved(row.hold_id, row.deadline, row.at)
            found.append(HoldEnded(row.at, row.hold_id, ENDINGS.get(Hold(row.state), Ending.UNKNOWN)))
        return found, len(rows) == PAGE

    async def _visit_page(self, connection: AsyncConnection) -> tuple[list[Observation], bool]:
        """All visits, by time."""
        ahead: sa.ColumnElement[bool] = sa.true()
        if self._cursor.visit is not None:
            at, event_id = self._cursor.visit
            ahead = sa.or_(events.c.at > at, sa.and_(events.c.at == at, events.c.event_id > event_id))
        rows = (
            await connection.execute(VISITS.where(ahead).order_by(events.c.at, events.c.event_id).limit(PAGE))
        ).all()
        if rows:
            self._cursor.visit = (rows[-1].at, rows[-1].event_id)
        return self._seen(rows), len(rows) == PAGE

    async def _late_visits(self, connection: AsyncConnection, now: datetime) -> list[Observation]:
        since = self._cursor.received
        fresh = events.c.received_at > since if since else sa.true()
        return self._seen((await connection.execute(VISITS.where(events.c.at > now - LATE, fresh))).all())

    def _seen(self, rows: Sequence[Any]) -> list[Observation]:
        for row in rows:
            self._cursor.received = max(self._cursor.received or row.received_at, row.received_at)
        return [PatronSeen(row.at, row.patron_id) for row in rows]

    async def _actions(self, connection: AsyncConnection) -> list[Observation]:
        """Calls that staff made, and how many actions were taken back."""
        undone = await connection.scalar(sa.select(sa.func.count(case_actions.c.undone_at))) or 0
        self.stale = self.stale or self._cursor.undone not in (None, undone)
        self._cursor.undone = undone
        rows = (
            await connection.execute(
                sa.select(
                    case_actions.c.action_id, case_actions.c.patron_id, case_actions.c.at, case_actions.c.kind
                )
                .where(
                    case_actions.c.action_id > self._cursor.action,
                    case_actions.c.kind.in_(list(CALLS)),
                    case_actions.c.undone_at.is_(None),
                )
                .order_by(case_actions.c.action_id)
            )
        ).all()
        if rows:
            self._cursor.action = rows[-1].action_id
        return [Told(row.at, row.patron_id, CALLS[row.kind]) for row in rows]


def _not_taken(row: Any) -> Failure | None:
    """Why the mail was not taken, as far as the delivery itself says; its evidence may say it better."""
    if row.state == Transmission.HANDED_OVER:
        return None
    if row.state == Transmission.WITHHELD:
        return Failure.UNSENT
    return failure(row.fault, "", "")


def _heard(row: Any) -> Iterator[Observation]:
    """One piece of evidence."""
    sign = Sign(row.kind)
    if sign in CANARIES:
        yield CanaryResult(row.at, row.address_key.rpartition("@")[2], sign is Sign.CANARY_INBOX)
    elif row.notice_id is None or not row.patron_id:
        return
    elif sign in FAILED:
        yield Bounced(row.at, row.notice_id, failure(row.fault, row.severity, row.reason), row.address_key)
    else:
        yield (Confirmed if sign in SAYS_YES else NeverGot)(row.at, row.notice_id)
