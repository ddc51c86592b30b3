"""The stop button: anyone at the desk may stop all mail, an admin lets it go on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holds_core.ledger import accounts
from holds_core.ledger.sql import put_flag
from mailer.app.web.desk.pages import Desk, Visit, base_of
from mailer.sender import PAUSED


class Stop:
    """Asking, stopping, going on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        page = self._desk.page
        return [
            Route("/stop", page(self.ask), methods=["GET"]),
            Route("/stop", page(self.stop), methods=["POST"]),
            Route("/resume", page(self.resume, admin=True), methods=["POST"]),
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
        async with self._desk.services.ledger.write() as connection:
            await put_flag(connection, PAUSED, value, visit.now)
            await accounts.record(connection, visit.account.login, what, "sending", value or {}, visit.now)
        return RedirectResponse(f"{base_of(visit.request)}/", 303)
