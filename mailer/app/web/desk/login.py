"""Logging in and out, and how often a wrong password may be tried.

Guessing is slowed down per client; a browser that logged in here before carries a signed mark and is counted
by itself. So nobody can lock a colleague out from another machine, and not for long from the same one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from datetime import timedelta

import itsdangerous
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holds_core.ledger import accounts
from mailer.app.web.desk.pages import BACK, Desk, Part
from mailer.app.web.desk.visit import Visit, base_of, csrf_of, local_path
from mailer.app.web.desk.who import LANGUAGE, SESSION
from mailer.app.web.security import Rate, RateLimit, client_of

GUESSES = Rate(burst=6, per_second=1 / 20)
"""Six wrong passwords at once, then one in 20 seconds: a person waits a moment, a program gives up."""
SPRAY = Rate(burst=30, per_second=1 / 5)
"""The same for all accounts together at one address; browsers that are known are not counted."""
DEVICE_FOR = timedelta(days=180)
_DEVICE, _BEFORE = "todoku_device", "todoku_before"


class Login(Part):
    """The door."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._who = desk.who
        self._guesses, self._spray = RateLimit(GUESSES), RateLimit(SPRAY)
        keys = [hashlib.sha256(b"desk device" + key).digest() for key in desk.services.secrets.token_keys]
        # the newest key last, as itsdangerous signs with that one
        self._signer = itsdangerous.URLSafeTimedSerializer(
            list(reversed(keys)) or [secrets.token_bytes(32)], salt="device"
        )

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.show, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            self.post("/logout", self.leave),
            Route("/language", self.choose_language, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """The form; whom a proxy has logged in needs none."""
        if self._who.is_vouched(request):
            return RedirectResponse(f"{base_of(request)}/", 303)
        return self._form(request)

    def _form(self, request: Request, status: int = 200, problem: str = "", login: str = "") -> Response:
        before = request.cookies.get(_BEFORE) or secrets.token_urlsafe(24)
        response = self._desk.render_outside(
            request, "login.html", status, csrf=csrf_of(before), problem=problem, login=login
        )
        self._who.put_cookie(request, response, _BEFORE, before)
        return response

    async def enter(self, request: Request) -> Response:
        form = await request.form(max_files=0, max_fields=10, max_part_size=2000)
        login, password, token = (str(form.get(name, "")) for name in ("login", "password", "csrf"))
        before = request.cookies.get(_BEFORE, "")
        if not before or not hmac.compare_digest(token.encode(), csrf_of(before).encode()):
            return self._form(request, 403, "expired")
        login = login.strip().lower()[:40]
        who, now = self._counted_as(request, login), self._services.clock.now().timestamp()
        client = client_of(request.scope)
        known = who.startswith("device ")
        if self._guesses.left(who, now) < 1 or (not known and self._spray.left(client, now) < 1):
            response = self._form(request, 429, "slow", login)
            response.headers["Retry-After"] = str(self._guesses.rate.retry_after)
            return response
        if not await self._right(login, password):
            self._guesses.take(who, now)
            if not known:
                self._spray.take(client, now)
            return self._form(request, 401, "wrong", login)
        return await self._welcome(request, login)

    def _counted_as(self, request: Request, login: str) -> str:
        """The browser, if it logged in to this account before; else the account at the client's address."""
        try:
            mark = self._signer.loads(
                request.cookies.get(_DEVICE, ""), max_age=int(DEVICE_FOR.total_seconds())
            )
        except itsdangerous.BadData:
            mark = None
        if isinstance(mark, list) and len(mark) == 2 and mark[0] == login:
            return f"device {mark[1]}"
        return f"client {client_of(request.scope)} {login}"

    async def _right(self, login: str, password: str) -> bool:
        async with self._services.ledger.read() as connection:
            found = await accounts.stored(connection, login)
        usable = found is not None and found[0].disabled_at is None
        hashed = found[1] if found is not None and usable else None
        async with self._desk.hashing:
            return await asyncio.to_thread(accounts.verify, hashed, password)

    async def _welcome(self, request: Request, login: str) -> Response:
        now = self._services.clock.now()
        async with self._services.ledger.write() as connection:
            if old := request.cookies.get(SESSION):
                await accounts.end_session(connection, old)
            cookie = await accounts.begin_session(connection, login, now)
            await accounts.record(connection, login, "login", f"user:{login}", {}, now)
        back = local_path(request.cookies.get(BACK, ""))
        response = RedirectResponse(base_of(request) + back, 303)
        self._who.put_cookie(request, response, SESSION, cookie)
        mark = self._signer.dumps([login, secrets.token_urlsafe(12)])
        self._who.put_cookie(request, response, _DEVICE, str(mark), DEVICE_FOR)
        for spent in (_BEFORE, BACK):
            response.delete_cookie(spent, path=base_of(request) or "/")
        return response

    async def leave(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.write() as connection:
            await accounts.end_session(connection, request.cookies.get(SESSION, ""))
        response = RedirectResponse(f"{base_of(request)}/login", 303)
        response.delete_cookie(SESSION, path=base_of(request) or "/")
        return response

    async def choose_language(self, request: Request) -> Response:
        """Changes nothing but how this browser reads the pages: needs no token."""
        form = await request.form(max_files=0, max_fields=10, max_part_size=2000)
        chosen = "en" if form.get("language") == "en" else "ja"
        response = RedirectResponse(base_of(request) + local_path(str(form.get("back", ""))), 303)
        self._who.put_cookie(request, response, LANGUAGE, chosen, timedelta(days=365))
        return response
