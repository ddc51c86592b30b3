"""Puts the demo together: the daemon as `todoku serve` runs it, on a clock that the town moves.

Enters a `Plan`; leaves progress, a report and a folder to look into. Nothing of Todoku is replaced but the
clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog
from rich.console import Console

from bounces import report as reports
from holds_core.ledger import accounts, desk, queries, silence
from holds_core.ledger.accounts import Account, Role
from holds_core.ledger.figures import figures
from holds_core.ledger.queries import Undelivered
from holds_core.settings.secrets import read_secrets
from mailer.app.daemon import Daemon
from mailer.app.demo import show
from mailer.app.demo.clock import Agenda, TownClock
from mailer.app.demo.judge import compare
from mailer.app.demo.people import People, Web
from mailer.app.demo.place import BRANCHES, Place, place
from mailer.app.demo.post import Post
from mailer.app.demo.relay import Relay
from mailer.app.demo.town import Town
from mailer.app.notify import Notifier
from mailer.app.services import Services
from mailer.app.single import only_one
from mailer.sender import Sender

DAYS = 14
DAY_BEGINS = time(6, 0)
SECONDS_PER_DAY = 20.0
"""How long a day takes to watch, unless it is to go as fast as the work allows."""
STEP, LONG_STEP = timedelta(minutes=10), timedelta(minutes=30)
"""How far time jumps at most when nothing is to be done: to be watched, and to be fast."""
RETRY_STEP, RETRY_SPAN = timedelta(minutes=2), timedelta(minutes=6)
"""Shorter ones for a while after the greylist sent a mail away, for Todoku tries again soon."""
CLOSE = timedelta(minutes=1)
"""So near to the machine's time, which runs on meanwhile, the town has caught up."""
CRAWL = timedelta(seconds=2)
"""How far time goes on while there is work: a little more than the sender's pause between two looks."""
LIVE_LOOK_S = 0.5
CALLS = 5
"""Rows of the call list that are shown at the end."""
LOG_SIZE = 2_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. `days` None: two weeks, then it goes on until it is stopped."""

    days: int | None = None
    fast: bool = False
    folder: Path | None = None
    seed: int = 1


async def demo(plan: Plan, out: Console, err: Console) -> None:
    """Plays until the days are over, or until SIGINT or SIGTERM. Raises TodokuError."""
    with place(plan.folder) as here, _log_into(here.folder), only_one(here.settings):
        await _Demo(plan, here, out, err).run()


class _Demo:
    def __init__(self, plan: Plan, here: Place, out: Console, err: Console) -> None:
        self._plan, self._here, self._out = plan, here, out
        self._zone: ZoneInfo = here.settings.library.timezone
        self._begins = _beginning(self._zone, plan.days or DAYS)
        self._ends = self._begins + timedelta(days=plan.days or DAYS)
        self._clock = TownClock(self._begins)
        self._agenda = Agenda(self._clock)
        self._town = Town(plan.seed, BRANCHES, self._begins + (self._ends - self._begins) / 2)
        self._web = Web(here.desk_url, here.api_token)
        self._people = People(self._town, self._clock, self._agenda, self._zone, self._web)
        post = Post(self._town, self._clock, self._agenda, here.lmtp, self._people.arrives)
        self._relay = Relay(self._town, self._clock, post.accepted)
        self._err = err
        self._progress = show.Progress(err, self._zone, self._town)
        self._password = secrets.token_urlsafe(9)
        self._batches = 0
        self._activity: tuple[int, ...] = ()
        self._services = Services.build(
            here.settings,
            read_secrets(here.settings, {}),
            clock=self._clock,
            jitter=random.Random(plan.seed).random,  # noqa: S311
            owner=f"demo:{os.getpid()}",
        )
        self._daemon = Daemon(self._services, Notifier({}))

    async def run(self) -> None:
        days = self._plan.days or DAYS
        show.hello(self._err, days, None if self._plan.fast else SECONDS_PER_DAY)
        try:
            await self._services.ledger.upgrade()
            await self._hire()
            async with self._everything():
                with self._progress.shown():
                    await self._play()
                stays = self._plan.days is None and not self._stopped()
                if stays:
                    await self._tell()
                    await self._stay()
            if not stays:
                await self._tell()
            if self._plan.folder is None:
                show.gone(self._err)
        finally:
            await self._services.close()

    async def _hire(self) -> None:
        """An account for the desk."""
        password = await asyncio.to_thread(accounts.hash_password, self._password)
        async with self._services.ledger.write() as connection:
            account = Account("demo", "見本の職員", Role.ADMIN)
            await accounts.add(connection, account, password, self._clock.now())

    @contextlib.asynccontextmanager
    async def _everything(self) -> AsyncIterator[None]:
        """The daemon and the town run inside. The relay is there before the daemon, and after it."""
        await self._relay.start(self._here.relay)
        running = asyncio.create_task(self._daemon.run())
        try:
            async with self._web:
                await self._ready(running)
                await self._people.begin()
                yield
        finally:
            self._daemon.stop.set()
            await running
            await self._relay.stop()

    async def _ready(self, running: asyncio.Task[None]) -> None:
        ready = asyncio.create_task(self._daemon.ready.wait())
        await asyncio.wait((ready, running), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if running.done():
            await running  # raises what kept it from starting

    def _stopped(self) -> bool:
        return self._daemon.stop.is_set()

    # -- time --------------------------------------------------------------------------------------

    async def _play(self) -> None:
        """Lets the days go by: in steps, each as long as its work takes, or as watching is pleasant."""
        self._expect_batches()
        began = asyncio.get_running_loop().time()
        while not self._stopped() and self._until() - (now := self._clock.now()) > CLOSE:
            step = min(now + self._step(now), self._until())
            self._clock.move_to(min(step, self._agenda.next_at() or step))
            await self._do_due()
            await self._settle()
            self._progress.update(self._clock.now(), self._batches)
            if not self._plan.fast:
                played = (self._clock.now() - self._begins) / timedelta(days=1)
                await self._pause(began + played * SECONDS_PER_DAY - asyncio.get_running_loop().time())
        await self._drain()

    def _step(self, now: datetime) -> timedelta:
        if self._relay.greylisted_at is not None and now - self._relay.greylisted_at < RETRY_SPAN:
            return RETRY_STEP
        return LONG_STEP if self._plan.fast else STEP

    def _until(self) -> datetime:
        """The end of the days that were asked for, or now."""
        return self._ends if self._plan.days is not None else datetime.now(UTC)

    async def _do_due(self) -> None:
        try:
            await self._agenda.run_due()
        except Exception:
            # a daemon that was told to stop takes nothing in any more
            if not self._stopped():
                raise

    async def _settle(self) -> None:
        """Until the step's work is done: while anything moves, time only crawls."""
        await self._clock.settled()
        while self._moved() and not self._stopped():
            self._clock.move_to(self._clock.now() + CRAWL)
            await self._clock.settled()

    def _moved(self) -> bool:
        """Whether anything happened since the last look."""
        state = self._services.sender.state
        activity = (self._agenda.done, self._relay.transactions, state.sent, state.refused)
        before, self._activity = self._activity, activity
        return activity != before or not at_rest(self._services.sender)

    async def _drain(self) -> None:
        """What is due is sent and what came back is read, before anybody judges."""
        while not self._stopped():
            async with self._services.ledger.read() as connection:
                found = await figures(connection, self._clock.now())
            if found.due_since is None and not found.unread and at_rest(self._services.sender):
                return
            self._clock.move_to(self._clock.now() + CRAWL)
            await self._clock.settled()

    def _expect_batches(self) -> None:
        """An entry for each slot of the coming day: time must not jump over one, nor past its work."""
        today = self._clock.now().astimezone(self._zone).date()
        for batch in self._here.settings.batches:
            self._agenda.at(datetime.combine(today, batch.at, self._zone), self._batch)
        self._agenda.at(datetime.combine(today + timedelta(days=1), time(0), self._zone), self._next_day)

    async def _batch(self) -> None:
        self._batches += 1

    async def _next_day(self) -> None:
        self._expect_batches()

    async def _stay(self) -> None:
        """The town lives on at the machine's own pace until somebody stops it."""
        self._clock.go_live()
        self._progress.say(
            "町の時刻が現在に追いつきました。Ctrl-C で終わります / the town has caught up with today; Ctrl-C ends it"
        )
        while not self._stopped():
            await self._do_due()
            await self._pause(LIVE_LOOK_S)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._daemon.stop.wait(), seconds)

    # -- the end -----------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """The report, how it stands against the truth, and where to look on."""
        now = self._clock.now()
        async with self._services.ledger.read() as connection:
            lines = await queries.undelivered(connection, now, self._begins)
        self._write(lines, now)
        show.report(self._out, lines, self._zone)
        patience = self._here.settings.confirmation.windows.hold_ready
        verdict = compare(self._town, lines, now, patience)
        if verdict.judged:
            show.comparison(self._out, verdict)
            await self._tell_found(now)
        else:
            show.early(self._out)
        running = not self._stopped()
        if not running and self._plan.folder is None:
            return
        pages = [
            ("職員の画面 desk", f"{self._here.desk_url}/desk/ (demo / {self._password})"),
            ("利用者の確認ページ confirmation page", self._people.unpressed),
        ]
        example = lines[0].patron_id if lines else "P0001"
        show.where(self._out, self._here.folder, example, pages if running else ())

    async def _tell_found(self, now: datetime) -> None:
        """The providers' alerts, and the head of the call list."""
        local = now.astimezone(self._zone)
        async with self._services.ledger.read() as connection:
            alerts = await silence.alerts(connection, open_only=True)
            cases = await desk.open_cases(connection, local.date())
        calls = desk.order((case for case in cases if case.view is desk.View.TODAY), local)
        show.found(self._out, alerts, calls[:CALLS], self._town, self._zone)

    def _write(self, lines: list[Undelivered], now: datetime) -> None:
        folder, library = self._here.folder, self._here.settings.library.name
        (folder / "report.csv").write_bytes(reports.as_csv(lines, self._zone))
        (folder / "report.html").write_text(reports.as_html(lines, self._zone, now, library), "utf-8")
        truth = json.dumps(self._town.truth(now), ensure_ascii=False, indent=1)
        (folder / "truth.json").write_text(truth, "utf-8")


def at_rest(sender: Sender) -> bool:
    """Whether the sender has nothing in hand, from the claim to the relay's answer."""
    return sender.idle


def _beginning(zone: ZoneInfo, days: int) -> datetime:
    """The morning that lies so many days before the last one: the town's days end in the past, so that
    the other commands, which look at the machine's clock, see all of them."""
    now = datetime.now(zone)
    last = now.date() if now.time() >= DAY_BEGINS else now.date() - timedelta(days=1)
    return datetime.combine(last - timedelta(days=days), DAY_BEGINS, zone).astimezone(UTC)


@contextlib.contextmanager
def _log_into(folder: Path) -> Iterator[None]:
    """The daemon's log goes to a file of bounded size, for the terminal belongs to the town."""
    file = logging.handlers.RotatingFileHandler(
        folder / "todoku.log", maxBytes=LOG_SIZE, backupCount=1, encoding="utf-8"
    )
    root = logging.getLogger()
    root.addHandler(file)
    for ours in ("todoku", "bounces"):
        logging.getLogger(ours).setLevel(logging.INFO)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"], drop_missing=True),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    try:
        yield
    finally:
        root.removeHandler(file)
        file.close()
