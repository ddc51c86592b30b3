"""A snapshot file into the ledger: read, compared with the last one, judged, applied in chunks.

Enters a file; leaves a `SnapshotReport`. Nothing is applied before the whole file was read and believed. A
chunk's events and the rows that remember them are one transaction: a run that was interrupted is continued
by the next one with the same file, and repeats nothing. Memory stays flat however long the file is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from holds_core.errors import BadInput
from holds_core.feeds import changes, comparing
from holds_core.feeds.applying import Applier, Job, begin, wording
from holds_core.feeds.csv import check_size
from holds_core.feeds.mapping import Kind
from holds_core.feeds.opened import open_plain
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.sources import time_of
from holds_core.feeds.staging import Staging
from holds_core.ledger import snapshots
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.session import Ledger
from holds_core.ledger.snapshots import Run, Source
from holds_core.settings import Settings
from holds_core.settings.feeds import Snapshot


class SnapshotIntake:
    """Takes snapshot files into one ledger, by one library's settings and rules.

    `rules.baseline` and `rules.nightly` are set per file: by what the feed has had before, and its setting.
    """

    def __init__(
        self, ledger: Ledger, rules: EventRules, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self._ledger, self._rules, self._settings, self._now = ledger, rules, settings, now
        self._applier = Applier(ledger, now, settings.feeds.max_prompt_per_run)

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
            check_size(path)
            digest = await asyncio.to_thread(_digest, path)
            report.as_of = time_of(path, self._rules.zone, self._now())
            report.kind = await asyncio.to_thread(
                staging.read, path, snapshot, kind, self._settings.holds.default_contact.value, progress
            )
            report.tally = staging.tally
            ours = {branch.id for branch in self._settings.library.branches}
            report.strange_branches = sorted(staging.tally.branches - ours) if ours else []
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
        report.counts = await comparing.compare(self._ledger, staging, source)
        objections = [] if report.resumed else self._objections(snapshot, report, done)
        if objections and not force_by:
            report.refused += objections
            report.can_be_forced = True
            if not report.dry_run:
                await begin(self._ledger, source, digest, report, "refused", "", self._now())
            return
        report.overruled = objections
        if report.resumed and last is not None and not report.dry_run:
            run = replace(last, as_of=report.as_of)
        else:
            who = force_by if objections else ""
            run = await begin(self._ledger, source, digest, report, "applying", who, self._now())
        job = self._job(snapshot, source, run, done, report)
        await self._applier.apply(staging, job, report, progress)
        if not report.dry_run:
            async with self._ledger.write() as connection:
                await snapshots.still_ours(connection, run.run_id)
                await snapshots.finish(connection, source, run, self._now(), report.counts.as_json())

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

    def _job(
        self, snapshot: Snapshot, source: Source, run: Run, done: Run | None, report: SnapshotReport
    ) -> Job:
        # a file that a person took in although it is older is true from now on, or it would change nothing
        at = self._now() if done is not None and run.as_of < done.as_of else run.as_of
        return Job(
            source,
            run,
            wording(source, run, at.astimezone(self._rules.zone), snapshot.when_gone, self._settings),
            replace(self._rules, nightly=snapshot.nightly, baseline=run.baseline),
            report.dry_run,
        )


def _digest(path: Path) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
