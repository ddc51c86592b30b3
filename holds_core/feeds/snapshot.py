"""A snapshot file into the ledger: read, compared with the last one, judged, applied in chunks.

Enters a file; leaves a `SnapshotReport`. Nothing is applied before the whole file was read and believed. A
chunk's events and the rows that remember them are one transaction: a run that was interrupted is continued
by the next one with the same file, and repeats nothing. Memory stays flat however long the file is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from holds_core import events as ev
from holds_core.errors import BadInput, Conflict, TodokuError
from holds_core.feeds import changes
from holds_core.feeds.changes import Change, Counts, Wording
from holds_core.feeds.mapping import Kind
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.sources import time_of
from holds_core.feeds.staging import Staging
from holds_core.ledger import firsts, registry, snapshots
from holds_core.ledger.registry import EventRules
from holds_core.ledger.session import REFUSED, Ledger, Transaction
from holds_core.ledger.snapshots import Run, Source
from holds_core.settings import Settings
from holds_core.settings.feeds import Snapshot

PAGE = 5000
"""Rows of either snapshot that are compared at a time."""
CHUNK = 200
"""Changes applied in one transaction: short enough that a sender beside us does not wait."""
CHUNK_OF_FIRSTS = 2000
"""First records go in by few statements, so more of them fit."""

_REFUSED = (TodokuError, *REFUSED)


@dataclass(frozen=True, slots=True)
class _Job:
    """One file on its way through: what is the same for all of its chunks."""

    snapshot: Snapshot
    source: Source
    run: Run
    wording: Wording
    rules: EventRules
    dry_run: bool


@dataclass(slots=True)
class _Done:
    """What one chunk did; counted only once it is committed."""

    applied: list[registry.Applied] = field(default_factory=list)
    conflicts: list[tuple[Change, str]] = field(default_factory=list)
    failed: list[tuple[Change, str]] = field(default_factory=list)
    prompts: int = 0
    held: int = 0


class _DryRun(Exception):  # noqa: N818
    """Takes a transaction back that was only to be looked at."""


class SnapshotIntake:
    """Takes snapshot files into one ledger, by one library's settings and rules.

    `rules.baseline` and `rules.nightly` are set per file: by what the feed has had before, and its setting.
    """

    def __init__(
        self, ledger: Ledger, rules: EventRules, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self._ledger, self._rules, self._settings, self._now = ledger, rules, settings, now

    async def take(
        self,
        path: Path,
        snapshot: Snapshot,
        kind: Kind | None = None,
        *,
        dry_run: bool = False,
        force_by: str = "",
        progress: Callable[[int], None] = lambda done: None,
    ) -> SnapshotReport:
        """Takes one file in. `kind` None: its heading says what it is. `force_by` names the person who takes
        it in although the guard would not; it is recorded. With `dry_run` nothing is kept.

        `progress` hears of rows read, then of changes applied; what it raises stops the run between two
        chunks, to be continued later. Raises OSError if the file cannot be read.
        """
        report = SnapshotReport(file=path.name, feed=snapshot.name, dry_run=dry_run)
        staging = await asyncio.to_thread(Staging)
        try:
            digest = await asyncio.to_thread(_digest, path)
            report.as_of = time_of(path, self._rules.zone, self._now())
            report.kind = await asyncio.to_thread(
                staging.read, path, snapshot, kind, self._settings.holds.default_contact.value, progress
            )
            report.tally = staging.tally
            await self._take(staging, snapshot, digest, report, force_by, progress)
        except BadInput as error:
            report.tally = staging.tally
            report.refused.append(str(error))
        finally:
            await asyncio.to_thread(staging.close)
        return report

    async def _take(
        self,
        staging: Staging,
        snapshot: Snapshot,
        digest: str,
        report: SnapshotReport,
        force_by: str,
        progress: Callable[[int], None],
    ) -> None:
        assert report.kind is not None
        assert report.as_of is not None
        source = Source(snapshot.name, report.kind)
        async with self._ledger.read() as connection:
            done = await snapshots.last_done(connection, source)
            last = await snapshots.last_run(connection, source)
        report.baseline = done is None
        report.resumed = last is not None and last.state == "applying" and last.digest == digest
        await self._compare(staging, source, report)
        objections = [] if report.resumed else self._objections(snapshot, report, done)
        if objections and not force_by:
            report.refused += objections
            report.can_be_forced = True
            if not report.dry_run:
                await self._begin(source, digest, report, "refused", "")
            return
        report.overruled = objections
        if report.resumed and last is not None and not report.dry_run:
            run = replace(last, as_of=report.as_of)
        else:
            run = await self._begin(source, digest, report, "applying", force_by if objections else "")
        job = self._job(snapshot, source, run, done, report)
        await self._apply(staging, job, report, progress)
        if not report.dry_run:
            async with self._ledger.write() as connection:
                await snapshots.still_ours(connection, run.run_id)
                await snapshots.finish(connection, source, run, self._now(), report.counts.as_json())

    # -- comparing -----------------------------------------------------------------------------------

    async def _differences(self, staging: Staging, source: Source) -> AsyncIterator[tuple[int, list[Change]]]:
        """(rows of the last snapshot, differences), for one range of keys after the other."""
        after = ""
        while True:
            new = await asyncio.to_thread(staging.page, after, PAGE)
            async with self._ledger.read() as connection:
                old = await snapshots.page(connection, source, after, PAGE)
            ends = [new.last] if new.full else []
            if len(old) == PAGE:
                ends.append(old[-1].key)
            if not ends:
                yield len(old), changes.differences(old, new.rows, new.unread)
                return
            # of both only what lies before the nearer end: beyond it one of the pages knows nothing
            after = min(ends)
            before = [row for row in old if row.key <= after]
            yield (
                len(before),
                changes.differences(
                    before,
                    [row for row in new.rows if row.key <= after],
                    [key for key in new.unread if key <= after],
                ),
            )

    async def _compare(self, staging: Staging, source: Source, report: SnapshotReport) -> None:
        tally = staging.tally
        counts = Counts(new=tally.good, unread=tally.unread, odd=tally.odd)
        async for rows, found in self._differences(staging, source):
            counts.old += rows
            for change in found:
                counts.add(change)
            await asyncio.to_thread(staging.note, found)
        report.counts = counts

    def _objections(self, snapshot: Snapshot, report: SnapshotReport, done: Run | None) -> list[str]:
        assert report.kind is not None
        assert report.as_of is not None
        found = changes.objections(report.counts, report.kind, snapshot.guard)
        if done is not None and report.as_of < done.as_of:
            zone = self._rules.zone
            new, old = (f"{time.astimezone(zone):%Y-%m-%d %H:%M}" for time in (report.as_of, done.as_of))
            found.append(
                f"{new} 現在のファイルです。{old} 現在のものをすでに取り込んでいます。 / "
                f"it is as of {new}, and one as of {old} has been taken in"
            )
        return found

    async def _begin(
        self, source: Source, digest: str, report: SnapshotReport, state: str, forced_by: str
    ) -> Run:
        assert report.as_of is not None
        run_id = 0
        if not report.dry_run:
            async with self._ledger.write() as connection:
                run_id = await snapshots.begin(
                    connection,
                    source,
                    file=report.file,
                    digest=digest,
                    as_of=report.as_of,
                    now=self._now(),
                    state=state,
                    baseline=report.baseline,
                    figures=report.counts.as_json(),
                    forced_by=forced_by,
                )
        return Run(run_id, digest, report.as_of, report.baseline, state)

    def _job(
        self, snapshot: Snapshot, source: Source, run: Run, done: Run | None, report: SnapshotReport
    ) -> _Job:
        now = self._now()
        # a file that a person took in although it is older is true from now on, or it would change nothing
        at = now if done is not None and run.as_of < done.as_of else run.as_of
        return _Job(
            snapshot,
            source,
            run,
            Wording(
                feed=snapshot.name,
                run=str(run.run_id) if run.run_id else "dry",
                at=at.astimezone(self._rules.zone),
                when_gone=snapshot.when_gone,
                announce_new=self._settings.feeds.notice_new_rows and not run.baseline,
            ),
            replace(self._rules, nightly=snapshot.nightly, baseline=run.baseline),
            report.dry_run,
        )

    # -- applying ------------------------------------------------------------------------------------

    async def _apply(
        self, staging: Staging, job: _Job, report: SnapshotReport, progress: Callable[[int], None]
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

    async def _apply_chunk(self, chunk: Sequence[Change], job: _Job, report: SnapshotReport) -> None:
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
        job: _Job,
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
            self._settings.feeds.max_prompt_per_run,
        )
        if job.dry_run:
            raise _DryRun

    async def _apply_all(
        self,
        connection: Transaction,
        chunk: Sequence[Change],
        job: _Job,
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
            done.applied += [registry.Applied("applied")] * (len(quiet) - len(left))
        remembered: list[Change] = []
        for change, made in planned:
            todo = [event for event in made if event.id not in hushed or event.id in left]
            rules = quiet_rules if made and made[0].id in hushed else job.rules
            if await self._apply_events(connection, change, todo, job, rules, done, careful=careful):
                remembered.append(change)
        await snapshots.remember(connection, job.source, remembered)

    async def _plan(
        self, connection: Transaction, chunk: Sequence[Change], job: _Job
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
        job: _Job,
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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
