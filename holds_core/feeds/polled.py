"""What another system was asked for, into the ledger: the same comparison, guard and chunks as a nightly file.

Enters rows, staged; leaves a `SnapshotReport`. All that is open (`whole`) or only what changed lately: in the
latter nothing is taken for gone. The first of a feed is a baseline that tells nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from holds_core.feeds import changes, comparing
from holds_core.feeds.applying import CHUNK_OF_FIRSTS, Applier, Job, begin, wording
from holds_core.feeds.changes import Known
from holds_core.feeds.faults import Fault
from holds_core.feeds.mapping import Kind
from holds_core.feeds.records import Told, with_title
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.staging import Staging
from holds_core.ledger import snapshots
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.session import Ledger
from holds_core.ledger.snapshots import Run, Source
from holds_core.settings import Settings
from holds_core.settings.feeds import Guard, WhenGone

Titles = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Ids of holds -> the titles that are known. Asked only of holds that are new or have changed."""


async def _no_titles(keys: Sequence[str]) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for at one time. `whole`: nothing else is open; else it is what changed lately."""

    source: Source
    as_of: datetime
    whole: bool
    when_gone: WhenGone
    guard: Guard
    titles: Titles = _no_titles


def stage(staging: Staging, told: Iterable[Told]) -> None:
    """Stages records as they were understood. One that cannot be used is neither changed nor gone."""
    for item in told:
        staging.tally.rows += 1
        if item.row is not None:
            staging.put_latest(item.row)
        else:
            staging.set_aside(item.key, [Fault(0, 0, "", *(_unusable(item),) * 2)])


def _unusable(item: Told) -> str:
    return f"{item.key or '?'}: {item.fault}"


class PolledIntake:
    """Takes answers into one ledger, by one library's settings and rules."""

    def __init__(
        self, ledger: Ledger, rules: EventRules, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self._ledger, self._rules, self._settings, self._now = ledger, rules, settings, now
        self._applier = Applier(ledger, now, settings.feeds.max_prompt_per_run)

    async def known(self, source: Source) -> bool:
        """Whether the feed has a baseline; without one only a whole answer can be taken in."""
        async with self._ledger.read() as connection:
            return await snapshots.last_done(connection, source) is not None

    async def missing(self, staging: Staging, answer: Answer) -> list[Known]:
        """Open holds that a whole answer no longer has: to be looked up before it is believed.

        None where the guard will refuse the answer anyway: a town's holds are not asked for one by one.
        """
        gone = await comparing.missing(self._ledger, staging, answer.source)
        async with self._ledger.read() as connection:
            known = await snapshots.count(connection, answer.source)
        counts = changes.Counts(old=known, new=staging.tally.good, lost=len(gone))
        if changes.objections(counts, answer.source.kind, answer.guard):
            return []
        return [row for row in gone if changes.is_open(row)]

    async def take(
        self, staging: Staging, answer: Answer, *, dry_run: bool = False, force_by: str = ""
    ) -> SnapshotReport:
        """Compares, judges and applies. `force_by` names the person who overrules the guard; it is recorded.

        Raises Conflict if another run of the same feed has begun meanwhile.
        """
        source = answer.source
        as_of = answer.as_of.astimezone(self._rules.zone)
        report = SnapshotReport(f"{source.feed} API", source.feed, dry_run, source.kind, as_of)
        report.tally = staging.tally
        async with self._ledger.read() as connection:
            done = await snapshots.last_done(connection, source)
            newest = await snapshots.newest_run(connection, source)
        report.baseline = done is None
        compare = comparing.compare if answer.whole else comparing.compare_part
        report.counts = await compare(self._ledger, staging, source)
        objections = changes.objections(_judged(report.counts, whole=answer.whole), source.kind, answer.guard)
        if objections and not force_by:
            report.refused, report.can_be_forced = objections, True
            # the next answer will be refused as well: one line of history is enough
            if newest is None or newest.state != "refused":
                await begin(self._ledger, source, "", report, "refused", "", self._now())
            return report
        report.overruled = objections
        if done is not None and not report.counts.differ and not dry_run:
            async with self._ledger.write() as connection:
                await snapshots.nothing_new(connection, source, done, answer.as_of, self._now())
            return report
        await self._name_works(staging, answer)
        run = await begin(
            self._ledger, source, "", report, "applying", force_by if objections else "", self._now()
        )
        await self._applier.apply(staging, self._job(answer, run, report), report, lambda done: None)
        if not dry_run:
            async with self._ledger.write() as connection:
                await snapshots.still_ours(connection, run.run_id)
                await snapshots.finish(connection, source, run, self._now(), report.counts.as_json())
        return report

    def _job(self, answer: Answer, run: Run, report: SnapshotReport) -> Job:
        at = answer.as_of.astimezone(self._rules.zone)
        return Job(
            answer.source,
            run,
            wording(answer.source, run, at, answer.when_gone, self._settings),
            replace(self._rules, nightly=False, baseline=run.baseline),
            report.dry_run,
        )

    async def _name_works(self, staging: Staging, answer: Answer) -> None:
        """Titles for the holds that have changed."""
        if answer.source.kind is not Kind.HOLDS:
            return
        after = ""
        while found := await asyncio.to_thread(staging.changes, after, CHUNK_OF_FIRSTS):
            after = found[-1].key
            rows = {change.key: change.new for change in found if change.new is not None}
            titles = await answer.titles(list(rows))
            named = [with_title(rows[key], title) for key, title in titles.items() if title and key in rows]
            await asyncio.to_thread(staging.reword, named)


def _judged(counts: changes.Counts, *, whole: bool) -> changes.Counts:
    """What the guard looks at. A part says nothing about rows that are lost: all others are as they were."""
    return counts if whole else replace(counts, new=counts.old + counts.added, odd=0)
