"""The reception runs: what was asked for since yesterday, taken once on each open day of a branch.

Enters a branch, its day and a cut-off; leaves requests placed or refused and cancellations done or refused, in
the order in which they were asked. A run is many short transactions: one that was interrupted goes on with
what is left, because whatever was answered waits no longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.holds import Hold
from holds_core.ledger import reception
from holds_core.ledger.decisions import What
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.models import hold_steps, holds, reception_runs
from holds_core.ledger.outbox import Cause
from holds_core.ledger.reception import Answer
from holds_core.ledger.sql import insert_new

AT_ONCE = 50
"""Requests answered in one transaction: a sender that waits for its turn does not notice."""

WAITING = (Hold.REQUESTED, Hold.WITHDRAWN, Hold.CANCEL_REQUESTED)


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `until`: what was asked for by then belongs to it."""

    branch: str
    day: date
    until: datetime
    started_at: datetime
    finished_at: datetime | None
    by: str
    placed: int = 0
    refused: int = 0
    cancelled: int = 0
    cancel_refused: int = 0

    @property
    def id(self) -> str:
        """What caused the notices and the steps of this run."""
        return f"reception {self.until.isoformat(timespec='seconds')} {self.branch}"[:200]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a run has come: the time and the hold of the last request it looked at."""

    asked_at: datetime
    hold_id: str


async def begin(
    connection: AsyncConnection, branch: str, day: date, until: datetime, now: datetime, by: str
) -> Run | None:
    """The branch's run of a day, new or interrupted. None: it was finished before."""
    row = {"branch": branch, "day": day, "until": until, "started_at": now, "by": by}
    await insert_new(connection, reception_runs, row)
    found = (
        await connection.execute(
            sa.select(reception_runs).where(
                reception_runs.c.branch == branch,
                reception_runs.c.day == day,
                reception_runs.c.finished_at.is_(None),
            )
        )
    ).first()
    return Run(**found._mapping) if found else None


async def open_again(connection: AsyncConnection, branch: str, day: date, now: datetime, by: str) -> Run:
    """A further run on the same day, by hand: takes what was asked for since."""
    row = {"branch": branch, "day": day, "until": now, "started_at": now, "by": by}
    if not await insert_new(connection, reception_runs, row):
        await connection.execute(
            sa.update(reception_runs)
            .where(reception_runs.c.branch == branch, reception_runs.c.day == day)
            .values(until=now, by=by, finished_at=None)
        )
    found = await begin(connection, branch, day, now, now, by)
    assert found is not None
    return found


async def finish(connection: AsyncConnection, run: Run, now: datetime) -> None:
    await connection.execute(
        sa.update(reception_runs)
        .where(reception_runs.c.branch == run.branch, reception_runs.c.day == run.day)
        .values(finished_at=now)
    )


async def branches(connection: AsyncConnection) -> set[str]:
    """The branches where something waits."""
    found = await connection.scalars(sa.select(holds.c.branch).where(holds.c.state.in_(WAITING)).distinct())
    return set(found)


_LOCKED = sa.select(holds).where(holds.c.hold_id == sa.bindparam("hold")).with_for_update()
_ASKED_AT = (
    sa.select(sa.func.max(hold_steps.c.at))
    .where(hold_steps.c.hold_id == holds.c.hold_id, hold_steps.c.state == holds.c.state)
    .correlate(holds)
    .scalar_subquery()
)
"""When it was asked: the step that made the state that waits."""


async def waiting(
    connection: AsyncConnection,
    branch: str | None,
    until: datetime,
    after: Place | None = None,
    limit: int | None = None,
) -> list[tuple[Any, datetime]]:
    """(hold's row, when it was asked) of what a run would take beyond a place, in the order of asking.

    `branch` None: of all branches.
    """
    asked = sa.func.coalesce(_ASKED_AT, holds.c.event_at, type_=holds.c.event_at.type).label("asked_at")
    where = [holds.c.state.in_(WAITING), asked <= until]
    if branch is not None:
        where.append(holds.c.branch == branch)
    if after is not None:
        later = sa.and_(asked == after.asked_at, holds.c.hold_id > after.hold_id)
        where.append(sa.or_(asked > after.asked_at, later))
    rows = await connection.execute(
        sa.select(holds, asked).where(*where).order_by(asked, holds.c.hold_id).limit(limit)
    )
    return [(row, row.asked_at) for row in rows]


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction of a run did. `reached` None: nothing was left."""

    reached: Place | None
    answers: tuple[Answer, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(notice for answer in self.answers for notice in answer.notices)


async def take(
    connection: AsyncConnection, run: Run, cause: Cause, rules: EventRules, after: Place | None
) -> Part:
    """Answers the run's next requests, in the caller's transaction. Each counts for those behind it."""
    batch = await waiting(connection, run.branch, run.until, after, AT_ONCE)
    answers: list[Answer] = []
    for seen, _ in batch:
        # once more, locked: another daemon, or the patron, may have been faster
        hold = (await connection.execute(_LOCKED, {"hold": seen.hold_id})).one()
        found = await reception.answer(connection, hold, cause, rules, cause.now)
        if found is not None:
            answers.append(found)
    await _count(connection, run, answers)
    reached = Place(batch[-1][1], batch[-1][0].hold_id) if batch else None
    return Part(reached, tuple(answers))


async def _count(connection: AsyncConnection, run: Run, answers: Sequence[Answer]) -> None:
    if not answers:
        return
    counted = Counter(answer.verdict.what for answer in answers)
    columns = {
        "placed": What.PLACED,
        "refused": What.REFUSED,
        "cancelled": What.CANCELLED,
        "cancel_refused": What.CANCEL_REFUSED,
    }
    await connection.execute(
        sa.update(reception_runs)
        .where(reception_runs.c.branch == run.branch, reception_runs.c.day == run.day)
        .values({name: reception_runs.c[name] + counted[what] for name, what in columns.items()})
    )


async def recent(connection: AsyncConnection, limit: int = 30) -> list[Run]:
    """The latest runs, the newest first."""
    rows = await connection.execute(
        sa.select(reception_runs).order_by(reception_runs.c.day.desc(), reception_runs.c.branch).limit(limit)
    )
    return [Run(**row._mapping) for row in rows]


async def known(connection: AsyncConnection, run: Run) -> Run:
    """The run as it is counted now."""
    row = (
        await connection.execute(
            sa.select(reception_runs).where(
                reception_runs.c.branch == run.branch, reception_runs.c.day == run.day
            )
        )
    ).one()
    return replace(run, **row._mapping)
