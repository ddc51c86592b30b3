"""システム: feeds, mail in and out, versions, what waits for a person, accounts, the audit trail, templates."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holds_core.errors import NotFound
from holds_core.ledger import accounts, desk_traffic, outbox, slots
from holds_core.notices import Kind
from mailer.app.web.desk.pages import Desk, Visit, base_of
from mailer.samples import sample_view

AUDIT_LINES = 200


class System:
    """The handlers for library IT."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._services = desk.services

    def routes(self) -> list[Route]:
        page = self._desk.page
        return [
            Route("/system", page(self.show), methods=["GET"]),
            Route("/system/release", page(self.release, admin=True), methods=["POST"]),
            Route("/system/accounts", page(self.accounts, admin=True), methods=["GET"]),
            Route("/system/accounts/{login}/disable", page(self.disable, admin=True), methods=["POST"]),
            Route("/system/audit", page(self.audit, admin=True), methods=["GET"]),
            Route("/system/templates", page(self.templates), methods=["GET"]),
            Route("/system/templates/{kind}/{language}", page(self.template), methods=["GET"]),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        services = self._services
        async with services.ledger.read() as connection:
            values: dict[str, Any] = {
                "feeds": await desk_traffic.feeds(connection),
                "conflicts": await desk_traffic.conflicts(connection),
                "inbound": await desk_traffic.inbound_states(connection),
                "waiting": await desk_traffic.waiting(connection),
                "batches": await slots.recent(connection, 1),
            }
        found, wanted = await services.ledger.schema()
        return await self._desk.render(
            visit,
            "system.html",
            settings=services.settings,
            sender=services.sender.state,
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
        return RedirectResponse(f"{base_of(request)}/system", 303)

    async def accounts(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            everyone = await accounts.everyone(connection)
        return await self._desk.render(visit, "accounts.html", everyone=everyone)

    async def disable(self, request: Request, visit: Visit) -> Response:
        """Ends an account and its sessions at once. Nobody shuts themselves out."""
        login = str(request.path_params["login"])
        if login == visit.account.login:
            return await self._desk.problem(
                visit, 422, ("自分のアカウントは停止できません", "You cannot disable your own account")
            )
        async with self._services.ledger.write() as connection:
            await accounts.disable(connection, login, visit.now)
            await accounts.record(
                connection, visit.account.login, "user.disable", f"user:{login}", {}, visit.now
            )
        return RedirectResponse(f"{base_of(request)}/system/accounts", 303)

    async def audit(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            trail = await accounts.trail(connection, AUDIT_LINES)
            names = await accounts.names(connection)
        return await self._desk.render(visit, "audit.html", trail=trail, names=names)

    async def templates(self, request: Request, visit: Visit) -> Response:
        renderer = self._services.renderer
        kinds = [(kind, renderer.languages(kind)) for kind in Kind]
        return await self._desk.render(
            visit, "templates.html", kinds=[(kind, found) for kind, found in kinds if found]
        )

    async def template(self, request: Request, visit: Visit) -> Response:
        """A template with made-up data. Raises NotFound."""
        kind, language = str(request.path_params["kind"]), str(request.path_params["language"])
        renderer = self._services.renderer
        if kind not in list(Kind) or language not in renderer.languages(Kind(kind)):
            raise NotFound(f"there is no template {kind}/{language}")
        shown = renderer.render(sample_view(Kind(kind), language))
        return await self._desk.render(
            visit, "template.html", kind=kind, template_language=language, shown=shown
        )
