"""The loop: looks once a minute, and tells IT what has to be told.

Whose turn it is, what was told and when are the ledger's: a restart tells nothing twice, and of several
daemons one speaks. A mail that no server takes is tried again at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from holds_core.alerts import Decision, Known, Policy, decide
from holds_core.ledger import troubles
from holds_core.ledger.session import UNAVAILABLE
from holds_core.settings import Settings
from mailer import maillog
from mailer.app.alerts.letters import write
from mailer.app.alerts.post import post, ways
from mailer.app.alerts.watch import Senses, Watch
from mailer.app.services import Services, relay_options
from mailer.clock import wait
from mailer.smtp import Relay, RelayOptions

EVERY_S = 60.0
FIRST_S = 5.0
"""The other tasks get so long after a start to catch up on what was missed."""


class Alerts:
    """One per process. `routes` says by which servers mail to IT leaves."""

    def __init__(
        self,
        services: Services,
        senses: Senses,
        routes: Callable[[Settings], Sequence[RelayOptions]] | None = None,
    ) -> None:
        self._services = services
        self._routes = routes or (lambda settings: ways(settings, services.secrets))
        self.watch = Watch(
            services, senses, lambda: Relay(relay_options(services.settings, services.secrets))
        )

    @property
    def _settings(self) -> Settings:
        """Those in force: a reload changes them."""
        return self._services.sender.rulebook.settings

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        await wait(self._services.clock, stop, FIRST_S)
        while not stop.is_set():
            try:
                await self.tick()
            except UNAVAILABLE as error:
                # without a ledger there is no memory of what was told; the service manager sees to that
                maillog.ledger_busy(error, EVERY_S)
            await wait(self._services.clock, stop, EVERY_S)

    async def tick(self) -> Decision | None:
        """One look. Returns what was decided, None if it was another daemon's turn."""
        services, settings = self._services, self._settings
        now = services.clock.now()
        found = await self.watch.look(settings, now)
        async with services.ledger.write() as connection:
            if not await troubles.take_turn(connection, services.owner, now):
                return None
            decision = decide(
                found,
                self.watch.looked_at,
                await troubles.known(connection),
                await troubles.sent(connection),
                now,
                Policy(repeat=settings.alerts.repeat),
            )
        told = await self._tell(decision, settings, now)
        async with services.ledger.write() as connection:
            await troubles.keep(connection, decision.told if told else decision.untold)
            if told and decision.anything and settings.alerts.to:
                await troubles.add_sent(connection, now)
            await troubles.end_turn(connection)
        return decision

    async def _tell(self, decision: Decision, settings: Settings, now: datetime) -> bool:
        """Whether it is told: by mail to whoever wants it, in the log in any case."""
        if not decision.anything:
            return True
        if settings.alerts.to:
            words = write(decision, settings.library.name, settings.library.timezone, now)
            if not await post(self._routes(settings), settings, words, now):
                return False
        for item in decision.tell:
            maillog.event("trouble", trouble=item.trouble.value, about=_about(item), **item.facts)
        for item in decision.over:
            maillog.event("trouble_over", trouble=item.trouble.value, about=_about(item))
        return True


def _about(item: Known) -> str:
    """Whom or what it concerns, as the log may name it: the ledger tells every mail domain apart."""
    return str(item.facts.get("domain", item.subject))
