"""The last snapshot of each feed, and the runs that compared with it. No rules: shapes in, shapes out.

All functions but `pages` work inside the caller's transaction, so that a chunk's events and the rows that
remember them are kept together or not at all; that is what makes a run restartable in the middle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import Conflict
from holds_core.feeds.changes import Change, Known, known
from holds_core.feeds.mapping import Kind
from holds_core.holds import OPEN
from holds_core.ledger import bulk, outbox
from holds_core.ledger.models import (
    audit,
    deliveries,
    flags,
    holds,
    notices,
    patrons,
    snapshot_rows,
    snapshot_runs,
)
from holds_core.ledger.sql import get_flag, put_flag

_IN = 500


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of file of one feed: what a snapshot is compared with is the last one of its source."""

    feed: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Run:
    """One file being taken in. `resumed`: it was begun before and interrupted."""

    run_id: int
    digest: str
    as_of: datetime
    baseline: bool
    state: str
    prompts: int = 0
    resumed: bool = False


async def last_run(connection: AsyncConnection, source: Source) -> Run | None:
    """The newest run that was not refused."""
    return await _run(connection, source, snapshot_runs.c.state != "refused")


@dataclass(frozen=True, slots=True)
class Refused:
    """A file, or an answer of a live feed, that the guard did not let in and nothing has replaced since."""

    feed: str
    kind: Kind
    file: str
    at: datetime


async def refused(connection: AsyncConnection) -> list[Refused]:
    """What waits for a person: to be mended over there, or taken in all the same."""
    columns = snapshot_runs.c
    newest = sa.select(sa.func.max(columns.run_id)).group_by(columns.feed, columns.kind)
    rows = await connection.execute(
        sa.select(columns.feed, columns.kind, columns.file, columns.started_at)
        .where(columns.run_id.in_(newest), columns.state == "refused")
        .order_by(columns.feed, columns.kind)
    )
    return [Refused(row.feed, Kind(row.kind), row.file, row.started_at) for row in rows]


async def newest_run(connection: AsyncConnection, source: Source) -> Run | None:
    """The newest run, also one that was refused."""
    return await _run(connection, source, sa.true())


async def last_done(connection: AsyncConnection, source: Source) -> Run | None:
    """The newest run that came to its end; None: the source has no baseline yet."""
    return await _run(connection, source, snapshot_runs.c.state == "done")


async def _run(connection: AsyncConnection, source: Source, where: sa.ColumnElement[bool]) -> Run | None:
    columns = snapshot_runs.c
    row = (
        await connection.execute(
            sa.select(
                columns.run_id,
                columns.digest,
                columns.as_of,
                columns.baseline,
                columns.state,
                columns.prompts,
            )
            .where(columns.feed == source.feed, columns.kind == source.kind, where)
            .order_by(columns.run_id.desc())
            .limit(1)
        )
    ).first()
    return None if row is None else Run(*row)


async def begin(
    connection: AsyncConnection,
    source: Source,
    *,
    file: str,
    digest: str,
    as_of: datetime,
    now: datetime,
    state: str,
    baseline: bool,
    figures: dict[str, int],
    forced_by: str = "",
) -> int:
    """Writes a new run. One that was still applying is abandoned: its process finds out at its next chunk."""
    columns = snapshot_runs.c
    if state == "applying":
        await connection.execute(
            sa.update(snapshot_runs)
            .where(columns.feed == source.feed, columns.kind == source.kind, columns.state == "applying")
            .values(state="abandoned", finished_at=now)
        )
    result = await connection.execute(
        sa.insert(snapshot_runs)
        .values(
            feed=source.feed,
            kind=source.kind,
            file=file,
            digest=digest,
            as_of=as_of,
            started_at=now,
            finished_at=None if state == "applying" else now,
            state=state,
            baseline=baseline,
            forced_by=forced_by,
            figures=figures,
        )
        .returning(columns.run_id)
    )
    run_id: int = result.scalar_one()
    if forced_by:
        detail = {"run": run_id, "file": file, "kind": source.kind.value} | figures
        await connection.execute(
            sa.insert(audit).values(
                at=now, who=forced_by, what="snapshot_forced", subject=source.feed, detail=detail
            )
        )
    return run_id


async def still_ours(connection: AsyncConnection, run_id: int) -> None:
    """Locks the run for this transaction. Raises Conflict if another run of the source has begun."""
    state = await connection.scalar(
        sa.select(snapshot_runs.c.state).where(snapshot_runs.c.run_id == run_id).with_for_update()
    )
    if state != "applying":
        raise Conflict("another file of this feed is being taken in; this run has stopped")


async def finish(
    connection: AsyncConnection, source: Source, run: Run, now: datetime, figures: dict[str, int]
) -> None:
    """The run is done: what the feed's data are as of is known from now on (flag `feed:NAME`)."""
    await connection.execute(
        sa.update(snapshot_runs)
        .where(snapshot_runs.c.run_id == run.run_id)
        .values(state="done", finished_at=now, as_of=run.as_of, figures=figures)
    )
    await _dated(connection, source, run.as_of, now)


async def nothing_new(
    connection: AsyncConnection, source: Source, run: Run, as_of: datetime, now: datetime
) -> None:
    """The feed was read and says what it said before: `run`, its last one, speaks of `as_of` too."""
    await connection.execute(
        sa.update(snapshot_runs)
        .where(snapshot_runs.c.run_id == run.run_id)
        .values(finished_at=now, as_of=as_of)
    )
    await _dated(connection, source, as_of, now)


async def _dated(connection: AsyncConnection, source: Source, as_of: datetime, now: datetime) -> None:
    name = f"feed:{source.feed}"
    before = await get_flag(connection, name, {})
    value = before | {source.kind.value: as_of.isoformat(), "run_at": now.isoformat()}
    # lists are made of holds; a feed without a file of holds has only its patrons to be dated by
    value["as_of"] = value.get(Kind.HOLDS.value) or value[Kind.PATRONS.value]
    await put_flag(connection, name, value, now)


async def feed_times(connection: AsyncConnection) -> dict[str, dict[str, str]]:
    """Feed -> {as_of, run_at, patrons?, holds?}, ISO times: for 「○月○日 02:10 現在」."""
    rows = await connection.execute(
        sa.select(flags.c.name, flags.c.value).where(flags.c.name.startswith("feed:", autoescape=True))
    )
    return {row.name.removeprefix("feed:"): row.value for row in rows}


async def count(connection: AsyncConnection, source: Source) -> int:
    """How many rows the last snapshot has."""
    return (
        await connection.scalar(
            sa.select(sa.func.count())
            .select_from(snapshot_rows)
            .where(snapshot_rows.c.feed == source.feed, snapshot_rows.c.kind == source.kind)
        )
    ) or 0


async def page(connection: AsyncConnection, source: Source, after: str, limit: int) -> list[Known]:
    """The next rows of the last snapshot whose keys come after `after`, in order."""
    columns = snapshot_rows.c
    rows = await connection.execute(
        sa.select(columns.key, columns.mark, columns.until, columns.digest)
        .where(columns.feed == source.feed, columns.kind == source.kind, columns.key > after)
        .order_by(columns.key)
        .limit(limit)
    )
    return [Known(*row) for row in rows]


async def among(connection: AsyncConnection, source: Source, keys: Sequence[str]) -> list[Known]:
    """Those of the last snapshot's rows that have these keys."""
    columns = snapshot_rows.c
    found: list[Known] = []
    for start in range(0, len(keys), _IN):
        rows = await connection.execute(
            sa.select(columns.key, columns.mark, columns.until, columns.digest).where(
                columns.feed == source.feed,
                columns.kind == source.kind,
                columns.key.in_(keys[start : start + _IN]),
            )
        )
        found += [Known(*row) for row in rows]
    return found


async def remember(
    connection: AsyncConnection, source: Source, changes: Sequence[Change], now: datetime
) -> None:
    """Makes the last snapshot what it is after these changes. Patrons whom no list has any more have departed."""
    rows = [
        {"feed": source.feed, "kind": source.kind.value, "key": row.key}
        | {"mark": row.mark, "until": row.until, "digest": row.digest}
        for change in changes
        if change.new is not None
        for row in (known(change.new),)
    ]
    await bulk.insert(connection, snapshot_rows, rows, clash="replace")
    gone = [change.key for change in changes if change.new is None]
    for start in range(0, len(gone), _IN):
        await connection.execute(
            sa.delete(snapshot_rows).where(
                snapshot_rows.c.feed == source.feed,
                snapshot_rows.c.kind == source.kind,
                snapshot_rows.c.key.in_(gone[start : start + _IN]),
            )
        )
        if source.kind is Kind.PATRONS:
            await _depart(connection, gone[start : start + _IN], now)


async def _depart(connection: AsyncConnection, patron_ids: Sequence[str], now: datetime) -> None:
    listed = sa.select(snapshot_rows.c.key).where(
        snapshot_rows.c.kind == Kind.PATRONS.value, snapshot_rows.c.key == patrons.c.patron_id
    )
    await connection.execute(
        sa.update(patrons)
        .where(patrons.c.patron_id.in_(patron_ids), ~sa.exists(listed))
        .values(departed_at=now)
    )


async def patrons_known(connection: AsyncConnection, patron_ids: Collection[str]) -> set[str]:
    """Those of the patrons that the ledger has."""
    wanted = list(patron_ids)
    found: set[str] = set()
    for start in range(0, len(wanted), _IN):
        found.update(
            await connection.scalars(
                sa.select(patrons.c.patron_id).where(patrons.c.patron_id.in_(wanted[start : start + _IN]))
            )
        )
    return found


async def hold_back(
    connection: AsyncConnection, run: Run, prefix: str, made: Iterable[str], limit: int
) -> tuple[int, int]:
    """Keeps the prompt notices of a run from leaving once there are more than `limit` of them.

    `made` are this chunk's notices, `prefix` begins the ids of the run's events: when the limit is passed,
    those of the earlier chunks are held too, whichever process made them. Returns (prompt notices made by
    this chunk, deliveries held).
    """
    prompt = await outbox.prompt_among(connection, list(made))
    if not prompt:
        return 0, 0
    await connection.execute(
        sa.update(snapshot_runs)
        .where(snapshot_runs.c.run_id == run.run_id)
        .values(prompts=snapshot_runs.c.prompts + len(prompt))
    )
    if run.prompts + len(prompt) <= limit:
        return len(prompt), 0
    to_hold = prompt if run.prompts > limit else [*prompt, *await _made_by(connection, prefix)]
    return len(prompt), await outbox.hold_back(connection, list(dict.fromkeys(to_hold)))


async def _made_by(connection: AsyncConnection, prefix: str) -> list[str]:
    """Prompt notices whose events begin so. Reads all notices: once in a run that went wrong."""
    return list(
        await connection.scalars(
            sa.select(notices.c.notice_id)
            .join(deliveries, deliveries.c.notice_id == notices.c.notice_id)
            .where(notices.c.event_id.startswith(prefix, autoescape=True), deliveries.c.prompt.is_(sa.true()))
        )
    )


async def over(connection: AsyncConnection, hold_ids: Sequence[str]) -> set[str]:
    """Those of the holds that have ended already, by the word of another feed."""
    found: set[str] = set()
    for start in range(0, len(hold_ids), _IN):
        found.update(
            await connection.scalars(
                sa.select(holds.c.hold_id).where(
                    holds.c.hold_id.in_(hold_ids[start : start + _IN]), holds.c.state.not_in(OPEN)
                )
            )
        )
    return found
