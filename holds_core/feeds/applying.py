"""Differences into the ledger, a chunk at a time: a chunk's events and the rows that remember them are one
transaction.

Enters what was compared and believed; leaves the ledger as the new snapshot has it, and the figures in a report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from holds_core import events as ev
from holds_core.errors import Conflict, TodokuError
from holds_core.feeds import changes
from holds_core.feeds.changes import Change, Wording
from holds_core.feeds.mapping import Kind
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.staging import Staging
from holds_core.ledger import firsts, registry, snapshots
from holds_core.ledger.event_rules import Applied, EventRules
from holds_core.ledger.session import REFUSED, Ledger, Transaction
from holds_core.ledger.snapshots import Run, Source
from holds_core.settings import Settings
from holds_core.settings.feeds import WhenGone

CHUNK = 200
"""Changes applied in one transaction: short enough that a sender beside us does not wait."""
CHUNK_OF_FIRSTS = 2000
"""First records go in by few statements, so more of them fit."""

_REFUSED = (TodokuError, *REFUSED)


@dataclass(frozen=True, slots=True)
class Job:
    """One snapshot on its way through: what is the same for all of its chunks."""

    source: Source
    run: Run
    wording: Wording
    rules: EventRules
    dry_run: bool


@dataclass(slots=True)
class _Done:
    """What one chunk did; counted only once it is committed."""

    applied: list[Applied] = field(default_factory=list)
    conflicts: list[tuple[Change, str]] = field(default_factory=list)
    failed: list[tuple[Change, str]] = field(default_factory=list)
    prompts: int = 0
    held: int = 0


async def begin(
    ledger: Ledger,
    source: Source,
    digest: str,
    report: SnapshotReport,
    state: str,
    forced_by: str,
    now: datetime,
) -> Run:
    """Writes down that a run begins (`applying`), or why it did not (`refused`). A dry run is not written."""
    assert report.as_of is not None
    run_id = 0
    if not report.dry_run:
        async with ledger.write() as connection:
            run_id = await snapshots.begin(
                connection,
                source,
                file=report.file,
                digest=digest,
                as_of=report.as_of,
                now=now,
                state=state,
                baseline=report.baseline,
                figures=report.counts.as_json(),
                forced_by=forced_by,
            )
    return Run(run_id, digest, report.as_of, report.baseline, state)


def wording(source: Source, run: Run, at: datetime, when_gone: WhenGone, settings: Settings) -> Wording:
    """What the run's events are made with."""
    return Wording(
        feed=source.feed,
        run=str(run.run_id) if run.run_id else "dry",
        at=at,
        when_gone=when_gone,
        announce_new=settings.feeds.notice_new_rows and not run.baseline,
    )


class _DryRun(Exception):  # noqa: N818
    """Takes a transaction back that was only to be looked at."""


class Applier:
    """Applies differences to one ledger. `max_prompt`: more prompt notices of one run wait for a person."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime], max_prompt: int) -> None:
        self._ledger, self._now, self._max_prompt = ledger, now, max_prompt

    async def apply(
        self, staging: Staging, job: Job, report: SnapshotReport, progress: Callable[[int], None]
    ) -> None:
        """All differences, a chunk at a time. Where a row could be anybody's, no hold is taken for gone."""
        keep_gone = staging.tally.nameless > 0
        size = CHUNK_OF_FIRSTS if job.run.baseline else CHUNK
        after = ""
        while found := await asyncio.to_thread(staging.changes, after, size):
            after = found[-1].key
            chunk = [change for change in found if change.new is not None or not keep_gone]
            report.kept_gone += len(found) - len(chunk)
            await self._apply_chunk(chunk, job, report)
            progress(report.applied)

    async def _apply_chunk(self, chunk: Sequence[Change], job: Job, report: SnapshotReport) -> None:
        """One transaction. If the ledger refuses an event, again with each event in a savepoint of its own."""
        run = replace(job.run, prompts=job.run.prompts + report.prompts)
        for careful in (False, True):
            done = _Done()
            try:
                await self._ledger.write_many(partial(self._transact, chunk, job, run, done, careful))
            except _DryRun:
                pass
            except Conflict:
                raise
            except _REFUSED:
                if careful:
                    raise
                continue
            report.add(done.applied, done.conflicts, done.failed, done.prompts, done.held)
            return

    async def _transact(
        self,
        chunk: Sequence[Change],
        job: Job,
        run: Run,
        done: _Done,
        careful: bool,
        connection: Transaction,
    ) -> None:
        if not job.dry_run:
            await snapshots.still_ours(connection, run.run_id)
        await self._apply_all(connection, chunk, job, done, careful=careful)
        done.prompts, done.held = await snapshots.hold_back(
            connection,
            run,
            f"{job.wording.feed}:{job.wording.run}:",
            [notice for applied in done.applied for notice in applied.notices],
            self._max_prompt,
        )
        if job.dry_run:
            raise _DryRun

    async def _apply_all(
        self,
        connection: Transaction,
        chunk: Sequence[Change],
        job: Job,
        done: _Done,
        *,
        careful: bool,
    ) -> None:
        now = self._now()
        quiet_rules = replace(job.rules, baseline=True)
        planned = await self._plan(connection, chunk, job)
        quiet = [
            event
            for change, made in planned
            if job.run.baseline or changes.is_silent(change, job.source.kind)
            for event in made
        ]
        hushed = {event.id for event in quiet}
        left = hushed
        if quiet and not careful:
            left = {
                event.id for event in await firsts.apply(connection, quiet, job.source.feed, now, quiet_rules)
            }
            done.applied += [Applied("applied")] * (len(quiet) - len(left))
        remembered: list[Change] = []
        for change, made in planned:
            todo = [event for event in made if event.id not in hushed or event.id in left]
            if not todo:
                remembered.append(change)
                continue
            rules = quiet_rules if made and made[0].id in hushed else job.rules
            if await self._apply_events(connection, change, todo, job, rules, done, careful=careful):
                remembered.append(change)
        await snapshots.remember(connection, job.source, remembered, now)

    async def _plan(
        self, connection: Transaction, chunk: Sequence[Change], job: Job
    ) -> list[tuple[Change, list[ev.Event]]]:
        """Each change with its events; what the ledger knows from elsewhere is taken into account."""
        kind = job.source.kind
        met: set[str] = set()
        over: set[str] = set()
        if kind is Kind.PATRONS and job.wording.announce_new:
            met = await snapshots.patrons_known(
                connection, [change.key for change in chunk if change.old is None]
            )
        if kind is Kind.HOLDS:
            over = await snapshots.over(connection, [change.key for change in chunk if change.new is None])
        return [
            (
                change,
                []
                if change.key in over
                else changes.events_of(change, kind, job.wording, patron_known=change.key in met),
            )
            for change in chunk
        ]

    async def _apply_events(
        self,
        connection: Transaction,
        change: Change,
        made: Sequence[ev.Event],
        job: Job,
        rules: EventRules,
        done: _Done,
        *,
        careful: bool,
    ) -> bool:
        """Whether the ledger took the change's events; one it refused is tried again with the next file."""
        now = self._now()
        try:
            if careful:
                async with connection.begin_nested():
                    found = [
                        await registry.apply(connection, event, job.source.feed, now, rules) for event in made
                    ]
            else:
                found = [
                    await registry.apply(connection, event, job.source.feed, now, rules) for event in made
                ]
        except _REFUSED as error:
            if not careful:
                raise
            done.failed.append((change, str(error) if isinstance(error, TodokuError) else ""))
            return False
        done.applied += found
        done.conflicts += [(change, item.note) for item in found if item.outcome == "conflict"]
        return True
