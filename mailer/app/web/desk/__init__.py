"""The staff desk as one ASGI application, to be mounted at a path of the staff listener.

Enters the parts of a process; leaves pages rendered on the server. Never sends mail, never speaks to the
outside, loads nothing from elsewhere: a municipal network has no internet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailer.app.running import Running
from mailer.app.services import Services
from mailer.app.web.desk.admin import Admin
from mailer.app.web.desk.audit import Audit
from mailer.app.web.desk.calls import Calls
from mailer.app.web.desk.closures import Closures
from mailer.app.web.desk.login import Login
from mailer.app.web.desk.pages import Desk
from mailer.app.web.desk.patrons import Patrons
from mailer.app.web.desk.people import OwnPassword, People
from mailer.app.web.desk.provisional import ProvisionalAddresses
from mailer.app.web.desk.quarantine import Quarantine
from mailer.app.web.desk.report import Reports
from mailer.app.web.desk.slips import Slips
from mailer.app.web.desk.stop import Stop
from mailer.app.web.desk.system import System
from mailer.app.web.desk.traffic import Traffic
from mailer.app.web.security import DefaultHeaders

__all__ = ["router"]

MAX_BODY = 64 * 1024
"""Octets of a request; the longest form is a note."""
BODY_S = 30.0
"""Seconds that a request's body may take."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def router(services: Services, running: Running | None = None) -> Starlette:
    """The desk's pages, for `app.mount("/desk", router(services))`; links follow the mount's path.

    `running` is what the system page tells of the process around it."""
    desk = Desk(services)
    calls = Calls(desk)
    parts = (
        Login(desk),
        calls,
        Patrons(desk, calls),
        Reports(desk),
        ProvisionalAddresses(desk, calls),
        Quarantine(desk),
        Traffic(desk),
        Closures(desk),
        Slips(desk, calls),
        System(desk, running or Running()),
        Admin(desk),
        People(desk),
        OwnPassword(desk),
        Audit(desk),
        Stop(desk),
    )
    static = Path(str(files("templates"))) / "desk" / "static"
    app = Starlette(
        routes=[
            *(route for part in parts for route in part.routes()),
            Mount("/static", StaticFiles(directory=static)),
        ],
        middleware=[Middleware(DefaultHeaders, headers=HEADERS), Middleware(LimitBody, most=MAX_BODY)],
    )
    app.router.redirect_slashes = False  # it would lead to whatever Host the browser sent
    return app


class LimitBody:
    """Refuses a request whose body is too long, also one that does not say how long it is, or takes longer
    than `seconds` to come: whoever sends a letter a second would keep a connection for ever."""

    def __init__(self, app: ASGIApp, most: int, seconds: float = BODY_S) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left, started, whole = self._most, False, False
        end = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal left, whole
            if whole:  # a page that is streamed waits here for its reader to leave
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise _TooMuch(408, "too slow") from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooMuch(413, "too long")
            whole = not message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooMuch as error:
            if not started:
                headers = {"Connection": "close"}  # the rest of the body would be read first
                await PlainTextResponse(error.why, error.status, headers)(scope, receive, send)


class _TooMuch(Exception):  # noqa: N818
    """The body is longer than any form of ours, or takes too long."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why
