"""The stop button: anyone at the desk may stop all mail, an admin lets it go on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.ledger import accounts
from holds_core.ledger.sql import get_flag, put_flag
from mailer.app.web.desk.pages import Part
from mailer.app.web.desk.visit import Visit
from mailer.sender import PAUSED


class Stop(Part):
    """Asking, stopping, going on."""

    def routes(self) -> list[Route]:
        return [
            self.get("/stop", self.ask),
            self.post("/stop", self.stop),
            self.post("/resume", self.resume, admin=True),
        ]

    async def ask(self, request: Request, visit: Visit) -> Response:
        return await self._desk.render(visit, "stop.html")

    async def stop(self, request: Request, visit: Visit) -> Response:
        why = visit.said("why", 200) or visit.say("職員が停止しました", "stopped by staff")
        value = {"why": why, "who": visit.account.login, "at": visit.now.isoformat()}
        return await self._put(visit, "pause", value)

    async def resume(self, request: Request, visit: Visit) -> Response:
        return await self._put(visit, "resume", None)

    async def _put(self, visit: Visit, what: str, value: dict[str, str] | None) -> Response:
        async with self._services.ledger.write() as connection:
            detail = {"before": await get_flag(connection, PAUSED), "after": value}
            await put_flag(connection, PAUSED, value, visit.now)
            await accounts.record(connection, visit.account.login, what, "sending", detail, visit.now)
        return self.to(visit, "/")
