"""The two web applications: one for staff and programs, one for patrons. They listen on separate addresses,
so that only the second need face the internet.

Enters the process's services; leaves ASGI applications for `mailer.app.web.serve`. Starts nothing.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from mailer.app.running import Running
from mailer.app.services import Services
from mailer.app.web import api, desk
from mailer.app.web.confirm import confirm_app
from mailer.app.web.health import health_router
from mailer.app.web.metrics import Restarts
from mailer.app.web.security import NOTHING_ELSE, DefaultHeaders, Shield


def staff_app(services: Services, *, restarts: Restarts = dict, running: Running | None = None) -> FastAPI:
    """For `desk.listen`: the desk, the API, health and metrics.

    `restarts` tells how often the supervisor had to start each task again, `running` how the process is.
    """
    # redirect_slashes would lead to whatever Host the browser sent
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.mount("/api/v1", api.api_app(services))
    app.include_router(health_router(services, restarts))
    app.add_route("/", _to_the_desk)
    app.add_route("/desk", _to_the_desk)  # before the mount, which answers it too
    app.mount("/desk", desk.router(services, running))
    app.add_exception_handler(HTTPException, _no_such_page)
    # the last one added is the outermost
    app.add_middleware(Shield, answer=_broken)
    app.add_middleware(DefaultHeaders, headers=NOTHING_ELSE)
    return app


def patron_app(services: Services) -> Starlette:
    """For `confirm.listen`: the confirmation page and nothing else."""
    return confirm_app(services)


async def _to_the_desk(request: Request) -> Response:
    # relative, so that it holds below any path of a proxy
    return RedirectResponse("desk/", 303)


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/api/"):
        return api.error_response("not_found")
    text = "ページが見つかりません。\nPage not found.\n"
    return PlainTextResponse(text, error.status_code, error.headers)


def _broken(path: str, status: int) -> Response:
    if path.startswith("/api/"):
        return api.broken(path, status)
    return PlainTextResponse("ただいま表示できません。\nNot available just now.\n", status)
