"""The daemon: all tasks of `todoku serve` under one supervisor. The composition root.

SIGTERM and SIGINT drain and stop, SIGHUP reads again what can be read again. One daemon per SQLite file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime

from starlette.types import ASGIApp

from bounces.lmtp import LmtpListener
from bounces.mailbox import MailboxState
from bounces.watcher import Watcher
from holds_core.errors import TodokuError
from holds_core.ledger import daemons, outbox, upkeep
from holds_core.rulebook import Rulebook
from holds_core.settings import Settings
from holds_core.settings.secrets import Secrets
from mailer import maillog
from mailer.app.alerts import Alerts, Senses
from mailer.app.feeds.live import LagWatch
from mailer.app.notify import Notifier
from mailer.app.reception import ReceptionDesk
from mailer.app.reload import Wanted, held, until_stop, wanted
from mailer.app.running import Running
from mailer.app.services import Decided, Services, event_rules
from mailer.app.shelfkeeper import ShelfKeeper
from mailer.app.summary import Summary
from mailer.app.supervisor import Supervisor, Task
from mailer.app.watch import lookout
from mailer.app.web.app import patron_app, staff_app
from mailer.app.web.serve import WebServer
from mailer.batches import Batches
from mailer.clock import wait
from mailer.outcome import DOUBT_WAIT

PURGE_EVERY_S = 86_400.0
SWITCH_S = 0.0005
BEAT_S = 15.0
"""How often a daemon says that it lives, and looks for others that do not."""


class Daemon:
    """Everything that runs. Start it with `run`; `ready` is set once it listens.

    `reread` brings the settings and secrets of now; `watch` is the lookout if it does not run in this process.
    """

    def __init__(
        self,
        services: Services,
        notifier: Notifier,
        reread: Callable[[], tuple[Settings, Secrets]] | None = None,
        watch: Task | None = None,
    ) -> None:
        self.services = services
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.supervisor = Supervisor(services.clock)
        self._notifier, self._reread, self._watch = notifier, reread, watch
        self.batches: Batches | None = None
        self.lmtp: LmtpListener | None = None
        self.mailbox_state = MailboxState()
        self.staff: WebServer | None = None
        self.patrons: WebServer | None = None
        self._wanted: dict[str, Wanted] = {}
        self._running = Running(lambda: self.supervisor.states, self._senses())

    async def run(self) -> None:
        """Until a signal or `stop`. Raises TodokuError for what cannot be started at all."""
        began = await self._begin()
        self._add_tasks(began)
        async with self._listeners():
            with self._signals():
                maillog.event("started", owner=self.services.owner, sending=self._mode())
                self._notifier.send(READY="1", STATUS=self._status())
                _settle_down()
                self.ready.set()
                await self.supervisor.run(self.stop)
        await self._goodbye()
        maillog.event("stopped")

    async def _begin(self) -> datetime:
        """Takes the ledger over: says that this process lives, and settles what a dead one left."""
        async with self.services.ledger.write() as connection:
            began = await daemons.began(connection, self.services.clock.now())
        await self._recover()
        await self.services.refresh_days()
        return began

    async def _recover(self) -> None:
        services = self.services
        now = services.clock.now()
        async with services.ledger.write() as connection:
            await daemons.lives(connection, services.owner, now)
            # on SQLite the lock says that there is no other
            alone = services.ledger.dialect == "sqlite"
            alive = [services.owner] if alone else await daemons.alive(connection, now)
            found = await outbox.recover(connection, now, DOUBT_WAIT, alive=alive)
        maillog.recovered(len(found))

    async def _goodbye(self) -> None:
        async with self.services.ledger.write() as connection:
            await daemons.gone(connection, self.services.owner)

    # -- tasks -------------------------------------------------------------------------------------

    def _add_tasks(self, began: datetime) -> None:
        services, clock = self.services, self.services.clock
        self.batches = Batches(services.ledger, services.rulebook, clock, began)
        watcher = Watcher(services.ledger, clock.now, clock.sleep, maillog)
        self.supervisor.add("batches", self.batches.run)
        keeper = ShelfKeeper(services.ledger, self._rulebook, event_rules, clock)
        self.supervisor.add("shelf", keeper.run)
        desk = ReceptionDesk(services.ledger, self._rulebook, event_rules, clock)
        self.supervisor.add("reception", desk.run)
        self.supervisor.add(
            "calendar",
            lambda stop: services.days.run(clock, lambda: (services.rulebook, self._rulebook()), stop),
        )
        self.supervisor.add("ingest", until_stop(services.ingest.run))
        self.supervisor.add("watcher", until_stop(watcher.run))
        self.supervisor.add("heartbeat", self._heartbeat)
        self.supervisor.add("purge", self._purge)
        self.supervisor.add("summary", Summary(services).run)
        self.supervisor.add("notify", lambda stop: self._notifier.beat(clock, stop, self._status))
        self.supervisor.add("alerts", Alerts(services, self._senses()).run)
        self.supervisor.add("feed_lag", LagWatch(services).run)
        self._add_wanted()

    def _add_wanted(self) -> list[str]:
        """Begins, renews and ends the tasks that depend on settings. Returns their names."""
        before, after = self._wanted, wanted(self.services, self._mailbox_state)
        watch = self._watch or until_stop(lookout(self.services, self._rulebook).run)
        after["lookout"] = Wanted(self.services.settings, watch)
        changed = [
            name for name, task in after.items() if name not in before or before[name].made_of != task.made_of
        ]
        gone = [name for name in before if name not in after]
        for name in gone:
            self.supervisor.remove(name)
        for name in changed:
            self.supervisor.add(name, after[name].task)
        self._wanted = after
        return changed + gone

    def _rulebook(self) -> Rulebook:
        """The one in force: a reload brings a new one."""
        return self.services.sender.rulebook

    def _mailbox_state(self, state: MailboxState) -> None:
        self.mailbox_state = state

    def _senses(self) -> Senses:
        """What the daemon can tell of its ways in."""
        return Senses(
            lmtp=lambda: (
                (self.services.settings.intake.lmtp.listen.host, self.lmtp.port)
                if self.lmtp is not None and self.services.settings.intake.lmtp is not None
                else None
            ),
            mailbox=lambda: self.mailbox_state if self.services.settings.intake.imap is not None else None,
        )

    async def _purge(self, stop: asyncio.Event) -> None:
        """Once a day, erases what retention says is old enough."""
        services = self.services
        while not stop.is_set():
            erased = await upkeep.purge(
                services.ledger, services.sender.rulebook.settings.retention, services.clock.now()
            )
            maillog.purged(erased)
            await wait(services.clock, stop, PURGE_EVERY_S)

    async def _heartbeat(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await wait(self.services.clock, stop, BEAT_S)
            if not stop.is_set():
                await self._recover()

    @contextlib.asynccontextmanager
    async def _listeners(self) -> AsyncIterator[None]:
        """The sockets are open before the daemon says that it is ready. Raises TodokuError."""
        services = self.services
        settings = services.settings
        async with contextlib.AsyncExitStack() as opened:
            if settings.intake.lmtp is not None:
                listen = settings.intake.lmtp.listen
                self.lmtp = LmtpListener(
                    listen.host,
                    listen.port,
                    services.ingest.store,
                    services.clock.now,
                    max_size=settings.intake.lmtp.max_size,
                )
                await self.lmtp.start()
                opened.push_async_callback(self.lmtp.stop)
            self.staff = WebServer(self._staff_app(), *settings.desk.listen, name="desk")
            self.patrons = WebServer(patron_app(services), *settings.confirm.listen, name="confirm")
            for server in (self.staff, self.patrons):
                server.bind()
                opened.callback(server.close)
            self.supervisor.add("staff_pages", self.staff.run)
            self.supervisor.add("patron_pages", self.patrons.run)
            yield

    # -- signals -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGTERM: self._terminate,
            signal.SIGINT: self._terminate,
            signal.SIGHUP: self.reload,
        }
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError, NotImplementedError):  # not the main thread: tests
                loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                with contextlib.suppress(ValueError, NotImplementedError):
                    loop.remove_signal_handler(number)

    def _terminate(self) -> None:
        maillog.event("stopping")
        self._notifier.send(STOPPING="1")
        self.stop.set()

    def reload(self) -> None:
        """Reads settings, secrets, templates and the guide again, and goes on by them.

        What cannot be used changes nothing, and the log says why. What only a restart can change
        (`reload.NEEDS_RESTART`) stays as it was, and the log names its keys.
        """
        if self._reread is None:
            return
        self._notifier.reloading()
        try:
            settings, secrets = self._reread()
            settings, waiting = held(self.services.settings, settings)
            made = self.services.decide(settings, secrets)
        except (TodokuError, OSError) as error:
            maillog.reload_refused(str(error))
        else:
            maillog.reloaded(self._take(made), waiting)
        self._notifier.send(READY="1", STATUS=self._status())

    def _take(self, made: Decided) -> list[str]:
        """Goes on by what was read. Returns the names of the tasks that begin anew."""
        logging = made.settings.logging
        maillog.reshape(json=logging.format.value == "json", level=logging.level.value)
        self.services.take(made)
        if self.batches is not None:
            self.batches.reload(made.rulebook)
        if self.staff is not None and self.patrons is not None:
            self.staff.renew(self._staff_app())
            self.patrons.renew(patron_app(self.services))
        return self._add_wanted()

    def _staff_app(self) -> ASGIApp:
        return staff_app(self.services, restarts=self._restarts, running=self._running)

    def _restarts(self) -> dict[str, int]:
        return {state.name: state.restarts for state in self.supervisor.states}

    def _mode(self) -> str:
        return self.services.settings.sending.mode.value

    def _status(self) -> str:
        state = self.services.sender.state
        relay = {None: "relay not tried", True: "relay up", False: f"relay down ({state.relay_error})"}
        sending = state.paused.removeprefix("sending.mode: ") or self._mode()
        return f"sending {sending}; {relay[state.relay_up]}; handed over {state.sent}"


def _settle_down() -> None:
    """Two settings of the interpreter, for a process that serves pages while it works.

    What a start has loaded lives as long as the process: the collector need not walk through it again. A page
    with thousands of rows makes it run several times, and that walk took most of such a page's time.
    A thread at work on many rows (`Ledger.write_many`, and the lookout's where it runs in this process) hands
    over ten times sooner than Python's 5 ms, or each of a page's many waits for the database would cost as much.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
