"""When requests are taken: each open morning of a branch, or at once. The daemon's task, and a run by hand.

Only under `authority: todoku`; else the library system takes them. What a run does is in
`holds_core.ledger.reception_runs`; that it happens once a day, whatever restarts, is the ledger's promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from holds_core.errors import BadInput
from holds_core.ledger import decisions, outbox, reception_runs
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.outbox import Cause
from holds_core.ledger.reception_runs import Place, Run
from holds_core.ledger.session import Ledger, Transaction
from holds_core.policy import prompt_at
from holds_core.rulebook import Rulebook
from mailer import maillog
from mailer.clock import Clock, wait

LOOK_EVERY_S = 20.0
LOOK_BACK_DAYS = 60
"""Over a longer closing, or a longer downtime, the next open morning's run takes what waits."""


@dataclass(slots=True)
class _Made:
    """The notices of one run; beyond `limit` they wait for a person, as those of an import do."""

    limit: int
    notices: list[str] = field(default_factory=list)
    held: int = 0


class ReceptionDesk:
    """Runs what is due. `rulebook` and `rules` are asked for each time: settings may have been read again."""

    def __init__(
        self,
        ledger: Ledger,
        rulebook: Callable[[], Rulebook],
        rules: Callable[[Rulebook], EventRules],
        clock: Clock,
    ) -> None:
        self._ledger, self._rulebook, self._rules, self._clock = ledger, rulebook, rules, clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            await self.tick()
            await wait(self._clock, stop, LOOK_EVERY_S)

    async def tick(self) -> list[Run]:
        """Runs what is due now; returns the runs that took place."""
        book = self._rulebook()
        rules = self._rules(book)
        if not rules.binding:
            return []
        done = await (self._morning_runs(book, rules) if rules.waits else self._stragglers(book, rules))
        async with self._ledger.write() as connection:
            await decisions.note_deadlines(connection, self._clock.now())
        return done

    async def by_hand(self, branch: str | None, who: str, *, again: bool = False) -> list[Run]:
        """Today's run before its time, or with `again` a further one, also on a closed day.

        Raises BadInput where the rules leave nothing to run.
        """
        book = self._rulebook()
        rules = self._rules(book)
        if not rules.binding:
            raise BadInput("library.authority is ils: the library system takes the requests")
        now = self._clock.now()
        today = book.local(now).date()
        done = []
        for name in [branch] if branch is not None else await self._branches(book):
            if not again and not book.calendar(name).is_open(today):
                continue
            async with self._ledger.write() as connection:
                found: Run | None
                if again:
                    found = await reception_runs.open_again(connection, name, today, now, who)
                else:
                    found = await reception_runs.begin(connection, name, today, now, now, who)
            if found is not None:
                done.append(await self._take(found, book, rules))
        return done

    # -- what is due -------------------------------------------------------------------------------

    async def _morning_runs(self, book: Rulebook, rules: EventRules) -> list[Run]:
        now = self._clock.now()
        done = []
        for branch in await self._branches(book):
            day = self._due_day(book, branch, now)
            if day is None:
                continue
            async with self._ledger.write() as connection:
                found = await reception_runs.begin(
                    connection, branch, day, self._due(book, day), now, "daemon"
                )
            if found is not None:
                done.append(await self._take(found, book, rules))
        return done

    async def _stragglers(self, book: Rulebook, rules: EventRules) -> list[Run]:
        """Under immediate reception nothing waits but requests that came before their patron's record, or
        before the settings changed."""
        async with self._ledger.read() as connection:
            names = await reception_runs.branches(connection)
        now = self._clock.now()
        today = book.local(now).date()
        return [
            await self._take(Run(name, today, now, now, None, "daemon"), book, rules, counted=False)
            for name in sorted(names)
        ]

    async def _branches(self, book: Rulebook) -> list[str]:
        """The library's branches, and those of which only a feed knows."""
        async with self._ledger.read() as connection:
            waiting = await reception_runs.branches(connection)
        ours = [branch.id for branch in book.settings.library.branches]
        return ours + sorted(waiting - set(ours))

    def _due_day(self, book: Rulebook, branch: str, now: datetime) -> date | None:
        """The latest open day of the branch whose run is due."""
        calendar = book.calendar(branch)
        today = book.local(now).date()
        for back in range(LOOK_BACK_DAYS):
            day = today - timedelta(days=back)
            if calendar.is_open(day) and self._due(book, day) <= now:
                return day
        return None

    def _due(self, book: Rulebook, day: date) -> datetime:
        return datetime.combine(day, book.settings.holds.reception_at, book.settings.library.timezone)

    # -- one run -----------------------------------------------------------------------------------

    async def _take(self, run: Run, book: Rulebook, rules: EventRules, *, counted: bool = True) -> Run:
        """Answers all that the run has to, part by part."""
        made = _Made(book.settings.feeds.max_prompt_per_run)
        place: Place | None = None
        while True:
            place = await self._part(run, rules, place, made)
            if place is None:
                break
        if not counted:
            return run
        now = self._clock.now()
        async with self._ledger.write() as connection:
            await reception_runs.finish(connection, run, now)
            run = await reception_runs.known(connection, run)
        maillog.event(
            "reception_run",
            branch=run.branch,
            day=run.day.isoformat(),
            placed=run.placed,
            refused=run.refused,
            cancelled=run.cancelled,
            cancel_refused=run.cancel_refused,
            held=made.held,
        )
        return run

    async def _part(self, run: Run, rules: EventRules, after: Place | None, made: _Made) -> Place | None:
        """One transaction's worth of requests. Returns how far it came; None: nothing was left."""
        now = self._clock.now()
        leaves = prompt_at(
            now, nightly=False, quiet_from=rules.quiet_from, quiet_to=rules.quiet_to, zone=rules.zone
        )
        cause = Cause(run.id, now, leaves)

        async def work(connection: Transaction) -> tuple[reception_runs.Part, int]:
            part = await reception_runs.take(connection, run, cause, rules, after)
            notices = [*made.notices, *part.notices]
            if len(notices) <= made.limit:
                return part, 0
            return part, await outbox.hold_back(connection, notices)

        part, held = await self._ledger.write_many(work)
        made.notices = [] if held else [*made.notices, *part.notices]
        made.limit = 0 if held else made.limit
        made.held += held
        return part.reached
