"""Who asks: the session of a cookie, or a person whom a trusted reverse proxy has logged in.

Enters a request; leaves a `Visit`, or nothing for somebody who has to log in first. A proxy's word makes a
session of its own, so that forms have a token, idle time ends it, and an account that is disabled is out.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from holds_core.ledger import accounts
from holds_core.ledger.accounts import Account
from mailer.app.services import Services
from mailer.app.web.desk.visit import Visit, base_of, csrf_of
from mailer.app.web.security import NotTrusted, TrustedProxy

SESSION = "todoku_session"
LANGUAGE = "todoku_language"


class NoAccount(Exception):  # noqa: N818
    """The proxy vouches for somebody who has no account here, or a disabled one."""


class Who:
    """Finds out who asks, and keeps it in the browser's cookies."""

    def __init__(self, services: Services) -> None:
        self._services = services
        proxy = services.settings.desk.proxy
        self._proxy = TrustedProxy(proxy.trusted, proxy.header)

    async def asks(self, request: Request) -> Visit | None:
        """None: nobody is logged in. Raises NotTrusted and NoAccount for what a proxy may not say."""
        login = self._proxy.login(request.scope)
        cookie = request.cookies.get(SESSION, "")
        now = self._services.clock.now()
        account = await self._known(cookie, now)
        if login is None:
            return None if account is None else self._visit(request, account, cookie, now)
        if account is not None and account.login == login:
            visit = self._visit(request, account, cookie, now)
        else:
            account, cookie = await self._vouched(login, now)
            visit = self._visit(request, account, cookie, now)
            visit.new_session = cookie
        visit.vouched = True
        return visit

    def is_vouched(self, request: Request) -> bool:
        """Whether a trusted proxy names somebody, known here or not."""
        try:
            return self._proxy.login(request.scope) is not None
        except NotTrusted:
            return False

    async def _known(self, cookie: str, now: datetime) -> Account | None:
        """The account whose session the cookie is; notes that it was used."""
        if not cookie:
            return None
        async with self._services.ledger.read() as connection:
            found = await accounts.session_of(connection, cookie, now)
        if found is None:
            return None
        account, seen_at = found
        if now - seen_at >= accounts.SEEN_STEP:
            async with self._services.ledger.write() as connection:
                await accounts.touch(connection, cookie, now)
        return account

    async def _vouched(self, login: str, now: datetime) -> tuple[Account, str]:
        """A session for the person whom the proxy has logged in. Raises NoAccount."""
        async with self._services.ledger.read() as connection:
            found = await accounts.stored(connection, login)
        if found is None or found[0].disabled_at is not None:
            raise NoAccount
        async with self._services.ledger.write() as connection:
            cookie = await accounts.begin_session(connection, login, now)
            await accounts.record(connection, login, "login", f"user:{login}", {"by": "proxy"}, now)
        return found[0], cookie

    def _visit(self, request: Request, account: Account, cookie: str, now: datetime) -> Visit:
        local = self._services.rulebook.local(now)
        return Visit(request, account, csrf_of(cookie), self.language(request), now, local)

    def language(self, request: Request) -> str:
        """The language that this browser chose, else the library's."""
        chosen = request.cookies.get(LANGUAGE, "")
        return chosen if chosen in ("ja", "en") else self._services.settings.library.language.value

    def put_cookie(
        self, request: Request, response: Response, name: str, value: str, lasts: timedelta | None = None
    ) -> None:
        """Kept from scripts and other sites; gone with the browser's session unless it `lasts`."""
        response.set_cookie(
            name,
            value,
            max_age=int(lasts.total_seconds()) if lasts else None,
            path=base_of(request) or "/",
            httponly=True,
            samesite="lax",
            secure=self._services.settings.desk.secure_cookies,
        )
