"""システム: mail in and out, the breaker, feeds, mail services, what is wrong, versions, what waits for a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.ledger import (
    accounts,
    breaker,
    canaries,
    desk_traffic,
    outbox,
    silence,
    slots,
    snapshots,
    troubles,
)
from mailer.app.alerts.letters import headline
from mailer.app.running import Running
from mailer.app.web.desk.pages import Desk, Part
from mailer.app.web.desk.visit import Visit

ALERTS_SHOWN = timedelta(days=60)
"""How long the page remembers that a mail service fared differently."""


class System(Part):
    """The handlers for library IT."""

    def __init__(self, desk: Desk, running: Running) -> None:
        super().__init__(desk)
        self._running = running

    def routes(self) -> list[Route]:
        return [
            self.get("/system", self.show),
            self.post("/system/release", self.release, admin=True),
            self.post("/system/breaker", self.close_breaker, admin=True),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        services = self._services
        async with services.ledger.read() as connection:
            values: dict[str, Any] = {
                "feeds": await desk_traffic.feeds(connection),
                "refused_lists": await snapshots.refused(connection),
                "conflicts": await desk_traffic.conflicts(connection),
                "inbound": await desk_traffic.inbound_states(connection),
                "waiting": await desk_traffic.waiting(connection),
                "batches": await slots.recent(connection, 1),
                "breaker": await breaker.read(connection),
                "troubles": [
                    (headline(item), item) for item in await troubles.known(connection) if not item.gone_since
                ],
                "canaries": await canaries.canaries(connection),
                "providers": [
                    alert
                    for alert in await silence.alerts(connection)
                    if alert.closed_at is None or alert.closed_at > visit.now - ALERTS_SHOWN
                ],
            }
        found, wanted = await services.ledger.schema()
        senses = self._running.senses
        return await self._desk.render(
            visit,
            "system.html",
            settings=services.settings,
            sender=services.sender.state,
            lmtp=senses.lmtp(),
            mailbox=senses.mailbox(),
            failures=[task for task in self._running.tasks() if task.restarts],
            zone=self._desk.library.timezone,
            database=services.ledger.dialect,
            schema_found=found,
            schema_wanted=wanted,
            **values,
        )

    async def release(self, request: Request, visit: Visit) -> Response:
        """Lets notices go that were held back because a run made too many of them."""
        async with self._services.ledger.write() as connection:
            count = await outbox.release_held(connection, visit.now)
            who = visit.account.login
            await accounts.record(connection, who, "held.release", "sending", {"count": count}, visit.now)
        return self.to(visit, "/system")

    async def close_breaker(self, request: Request, visit: Visit) -> Response:
        """Lets mail leave again that the breaker had stopped; what our own fault refused is sent again."""
        async with self._services.ledger.write() as connection:
            before = await breaker.read(connection)
            again = await breaker.resume(connection, visit.now)
            detail = {"before": before.position.value, "sent_again": again}
            who = visit.account.login
            await accounts.record(connection, who, "breaker.resume", "sending", detail, visit.now)
        return self.to(visit, "/system")
