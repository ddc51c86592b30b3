"""Asks a live feed again and again, and takes in what it says. A feed that is down delays, and never loses.

Enters a source; leaves events in the ledger, and there too how far the feed was read: the next poll asks from
there, in whatever process. Nothing is remembered before it was applied, and what is read twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from holds_core.errors import Conflict
from holds_core.feeds.changes import Known
from holds_core.feeds.mapping import Kind
from holds_core.feeds.polled import Answer, PolledIntake, stage
from holds_core.feeds.records import Told
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.staging import Staging
from holds_core.ledger import polls
from holds_core.ledger.polls import Poll
from holds_core.ledger.session import UNAVAILABLE
from holds_core.ledger.snapshots import Source as RowSource
from holds_core.settings import LiveFeed
from mailer import maillog
from mailer.app.feeds.http import FeedDown
from mailer.app.feeds.source import Source
from mailer.app.services import Services, event_rules
from mailer.clock import wait

OVERLAP = timedelta(minutes=2)
"""Changes are asked for from so long before the last ones known: a transaction shows only when it commits."""
LONGEST_WAIT = timedelta(hours=1)
"""Between two tries of a feed that is down."""
_AT_ONCE = 4
"""Vanished holds looked up at a time: their server has readers to serve."""


class Poller:
    """One live feed of one library. `open_source` makes a client; each poll has a new one."""

    def __init__(
        self,
        services: Services,
        name: str,
        options: LiveFeed,
        open_source: Callable[[], Source],
        told: Callable[[SnapshotReport], None] = lambda report: None,
    ) -> None:
        self.name, self._options = name, options
        self._services, self._open, self._told = services, open_source, told
        self._intake = PolledIntake(
            services.ledger, event_rules(services.rulebook), services.settings, services.clock.now
        )

    # -- again and again -----------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. What went wrong is logged and tried again, later and later."""
        while not stop.is_set():
            pause = await self.try_once()
            await wait(self._services.clock, stop, pause.total_seconds())

    async def try_once(self) -> timedelta:
        """One poll, whatever comes of it. Returns how long to wait for the next one."""
        try:
            await self.poll()
        except FeedDown as error:
            failures = await self._failed(str(error))
            pause = self._pause(failures, error.retry_after)
            maillog.feed_down(self.name, str(error), pause.total_seconds())
            return pause
        except Conflict:
            maillog.event("feed_waits", feed=self.name)
        except UNAVAILABLE as error:
            maillog.ledger_busy(error, self._options.interval.total_seconds())
        return self._options.interval

    def _pause(self, failures: int, retry_after: float | None) -> timedelta:
        """Twice as long with every failure, never all libraries at the same moment, never before we may."""
        doubled: timedelta = self._options.interval * (1 << min(failures, 20))
        longest = min(doubled, max(LONGEST_WAIT, self._options.interval))
        spread = longest * (0.5 + self._services.jitter() / 2)
        return max(spread, timedelta(seconds=retry_after or 0))

    async def _failed(self, error: str) -> int:
        now = self._services.clock.now()
        try:
            async with self._services.ledger.write() as connection:
                poll = (await polls.poll_of(connection, self.name)).failed(error, now)
                await polls.keep(connection, self.name, poll, now)
        except UNAVAILABLE:
            return 1
        return poll.failures

    async def probe(self) -> None:
        """Asks for one page of open holds and forgets it. Raises FeedDown."""
        async with self._open() as source:
            async for _ in source.pages(Kind.HOLDS, None):
                return

    # -- once ----------------------------------------------------------------------------------------

    async def poll(
        self, *, full: bool = False, dry_run: bool = False, force_by: str = ""
    ) -> list[SnapshotReport]:
        """Patrons, then holds: what changed, or all if it is time for it or `full` asks for it.

        `force_by`: a person who takes in what the guard refuses. Raises FeedDown, Conflict.
        """
        began = self._services.clock.now()
        async with self._services.ledger.read() as connection:
            poll = await polls.poll_of(connection, self.name)
        all_holds = full or poll.full_at is None or began - poll.full_at >= self._options.full_every
        reports = []
        async with self._open() as source:
            for kind, whole in ((Kind.PATRONS, full), (Kind.HOLDS, all_holds)):
                report, poll = await self._take(source, kind, poll, began, whole, dry_run, force_by)
                reports.append(report)
        if not dry_run:
            if all_holds and not reports[-1].refused:
                poll = replace(poll, full_at=began)
            await self._keep(poll.succeeded())
        for report in reports:
            failed = len(report.refused) or report.tally.faults.count
            maillog.imported(self.name, report.applied, report.repeats, failed)
            self._told(report)
        return reports

    async def _keep(self, poll: Poll) -> None:
        async with self._services.ledger.write() as connection:
            await polls.keep(connection, self.name, poll, self._services.clock.now())

    async def _take(
        self,
        source: Source,
        kind: Kind,
        poll: Poll,
        began: datetime,
        whole: bool,
        dry_run: bool,
        force_by: str,
    ) -> tuple[SnapshotReport, Poll]:
        rows = RowSource(self.name, kind)
        since = poll.patrons if kind is Kind.PATRONS else poll.holds
        whole = whole or since is None or not await self._intake.known(rows)
        answer = Answer(
            rows, began, whole, self._options.when_gone, self._options.guard, titles=source.titles
        )
        staging = await asyncio.to_thread(Staging)
        try:
            until = await self._read(
                source, kind, staging, None if whole or since is None else since - OVERLAP
            )
            if whole and kind is Kind.HOLDS:
                await self._look_up(source, staging, await self._intake.missing(staging, answer))
            report = await self._intake.take(staging, answer, dry_run=dry_run, force_by=force_by)
        finally:
            await asyncio.to_thread(staging.close)
        if report.refused:
            return report, poll
        until = max((time for time in (until, since) if time is not None), default=None)
        return report, replace(poll, patrons=until) if kind is Kind.PATRONS else replace(poll, holds=until)

    async def _read(
        self, source: Source, kind: Kind, staging: Staging, since: datetime | None
    ) -> datetime | None:
        """Stages all pages. Returns until when changes are known: the latest one seen, but not one made while we
        were reading, for then others may have been made on pages that we had turned already.
        """
        first: datetime | None = None
        newest: datetime | None = None
        async for page in source.pages(kind, since):
            first = first or page.at
            newest = max((time for time in (newest, page.newest) if time is not None), default=None)
            await asyncio.to_thread(stage, staging, page.told)
        return min((time for time in (newest, first) if time is not None), default=None)

    async def _look_up(self, source: Source, staging: Staging, gone: Sequence[Known]) -> None:
        """What is no longer listed: what became of it counts; where nobody can tell, the settings decide."""
        async with self._services.ledger.read() as connection:
            patrons = await polls.patrons_of(connection, [row.key for row in gone])
        for start in range(0, len(gone), _AT_ONCE):
            asked = [
                source.look_up(row.key, patrons.get(row.key, "")) for row in gone[start : start + _AT_ONCE]
            ]
            found = await asyncio.gather(*asked, return_exceptions=True)
            for item in found:
                if isinstance(item, BaseException):
                    raise item
            told = [item for item in found if isinstance(item, Told)]
            await asyncio.to_thread(stage, staging, told)
