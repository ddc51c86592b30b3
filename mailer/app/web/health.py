"""`/healthz` and `/metrics`: whether the daemon lives, whether it can work, and how much it has done.

Alive: the event loop answers. Ready: the ledger can be read and has this program's schema. A relay that is
down makes nothing unready: the outbox waits for it. Neither page tells of a person, so neither asks for a
token.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from holds_core.ledger import breaker
from holds_core.ledger.session import UNAVAILABLE, SchemaMismatch
from holds_core.settings import Mode
from mailer.app.services import Services
from mailer.app.web.metrics import Metrics, Restarts
from mailer.sender import PAUSED

PATIENCE_S = 5
"""A ledger that takes longer to say anything is not one that mail can be sent from."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the daemon is. database: ok, wrong_schema, unavailable. relay: up, down, unknown. sending: the mode
    of the settings, or what stops it: paused (a person), breaker (too many refusals by our own fault)."""

    database: str
    relay: str
    sending: str
    in_flight: int

    @property
    def ready(self) -> bool:
        return self.database == "ok"

    def as_json(self) -> dict[str, Any]:
        return {
            "alive": True,
            "ready": self.ready,
            "database": self.database,
            "relay": self.relay,
            "sending": self.sending,
            "in_flight": self.in_flight,
        }


async def look(services: Services) -> Health:
    """How the daemon is now; waits at most PATIENCE_S for the ledger."""
    mode = services.settings.sending.mode
    sending = str(mode.value)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await services.ledger.check_schema()
            async with services.ledger.read() as connection:
                paused, fuse = await breaker.gate(connection, PAUSED)
        database = "ok"
        if mode is not Mode.OFF and (paused or not fuse.lets_mail_through):
            sending = "paused" if paused else "breaker"
    except SchemaMismatch:
        database = "wrong_schema"
    except UNAVAILABLE:
        database = "unavailable"
    state = services.sender.state
    relay = {None: "unknown", True: "up", False: "down"}[state.relay_up]
    return Health(database, relay, sending, len(state.in_flight))


def health_router(services: Services, restarts: Restarts) -> APIRouter:
    """`/healthz` (200, or 503 while not ready) and `/metrics`."""
    router = APIRouter(include_in_schema=False)
    metrics = Metrics(services, restarts)

    @router.get("/healthz")
    async def healthz() -> Response:
        health = await look(services)
        return JSONResponse(health.as_json(), 200 if health.ready else 503)

    @router.get("/metrics")
    async def scrape() -> Response:
        health = await look(services)
        return Response(await metrics.scrape(ready=health.ready), media_type=CONTENT_TYPE_LATEST)

    return router
