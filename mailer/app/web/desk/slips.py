"""受信設定: slips for the counter that tell patrons how to let the library's mail in, by mail service.

A page to choose from, and the slip itself for printing. With `patron` the patron's own service is chosen;
nothing of the patron stands on the slip.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from holds_core.ledger import desk_patrons
from holds_core.receiving import OTHER
from mailer.app import slips
from mailer.app.web.desk.calls import Calls
from mailer.app.web.desk.pages import Desk
from mailer.app.web.desk.visit import Visit, base_of, local_path


class Slips:
    """The handlers."""

    def __init__(self, desk: Desk, calls: Calls) -> None:
        self._desk, self._calls = desk, calls
        self._services = desk.services

    def routes(self) -> list[Route]:
        page = self._desk.page
        return [
            Route("/slips", page(self.choose), methods=["GET"]),
            Route("/slips/print", page(self.print), methods=["GET"]),
        ]

    async def choose(self, request: Request, visit: Visit) -> Response:
        patron_id = visit.said("patron", 200)
        own = await self._own(visit, patron_id) if patron_id else []
        return await self._desk.render(
            visit,
            "slips.html",
            entries=self._services.guide.entries,
            own=own,
            patron_id=patron_id,
            senders=self._senders(visit),
        )

    async def print(self, request: Request, visit: Visit) -> Response:
        """The slip. Raises BadInput for a service that the guide does not know."""
        services = self._services
        base = base_of(request)
        language = visit.said("language", 10)
        patron_id = visit.said("patron", 200)
        key = visit.said("service", 60)
        if not key:
            key = (await self._own(visit, patron_id))[0] if patron_id else slips.ALL
        back = f"{base}{local_path(visit.said('back'), '/slips')}"
        html = slips.slip_html(
            slips.chosen(services.guide, key),
            self._desk.library,
            self._senders(visit),
            language if language in ("ja", "en") else visit.language,
            style_url=f"{base}/static/{slips.STYLE}",
            script_url=f"{base}/static/desk.js",
            back_url=back,
        )
        return HTMLResponse(html)

    async def _own(self, visit: Visit, patron_id: str) -> list[str]:
        """The keys of the services that run the patron's mailboxes; the general one without any.

        Raises NotFound, and Forbidden for a patron of another branch.
        """
        services = self._services
        async with services.ledger.read() as connection:
            page = await desk_patrons.page(connection, patron_id)
            await self._calls.check_allowed(connection, visit.account, patron_id)
        found = [services.guide.of(services.providers.of(line.address)).key for line in page.addresses]
        return list(dict.fromkeys(found)) or [OTHER]

    def _senders(self, visit: Visit) -> tuple[str, ...]:
        return self._services.settings.sender.addresses_from(visit.today)
