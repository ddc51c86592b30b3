"""The desk's frame: templates, the visit (who asks, in which language, when), and answers to errors.

Every page passes through `Desk.page`: it finds the session, checks the CSRF token of a POST, and turns the
errors that a person can act on into a page. Page modules bring handlers, never their own checks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from holds_core.errors import Conflict, IllegalTransition, NotFound, TodokuError
from holds_core.ledger import accounts, desk, desk_actions
from holds_core.ledger.accounts import Account
from holds_core.ledger.desk import Stale
from holds_core.ledger.desk_mail import UnusableAddress
from holds_core.ledger.outbox import Cause
from holds_core.ledger.session import Transaction
from holds_core.ledger.sql import get_flag
from holds_core.policy import prompt_at
from holds_core.settings import Mode
from mailer.app.services import Services
from mailer.app.web.desk import words
from mailer.sender import PAUSED

SESSION = "todoku_session"
LANGUAGE = "todoku_language"


class Forbidden(Exception):  # noqa: N818
    """The account may not do this."""


@dataclass(slots=True)
class Visit:
    """One request of a person who has logged in. `now` in UTC, `local` in the library's zone."""

    request: Request
    account: Account
    csrf: str
    language: str
    now: datetime
    local: datetime
    form: FormData = field(default_factory=FormData)

    @property
    def today(self) -> date:
        return self.local.date()

    def said(self, name: str, limit: int = 1000) -> str:
        """A field of the form, or of the address, as one trimmed text."""
        value = self.form.get(name) if name in self.form else self.request.query_params.get(name, "")
        return value.strip()[:limit] if isinstance(value, str) else ""

    def say(self, ja: str, en: str) -> str:
        return en if self.language == "en" else ja


Handler = Callable[[Request, Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Desk:
    """What all pages share."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.library = services.settings.library
        self._templates = _environment()
        self.version = _version()
        self.provider_of = lru_cache(maxsize=10_000)(lambda domain: services.providers.of(domain).name)
        """The provider's name of a mail domain; a page asks for thousands."""

    # -- who asks ----------------------------------------------------------------------------------

    def page(self, handler: Handler, *, admin: bool = False) -> Endpoint:
        """`handler` for people who have logged in (and are admins); a POST needs the session's token."""

        async def endpoint(request: Request) -> Response:
            visit = await self._visit(request)
            if visit is None:
                return self._to_login(request)
            try:
                if request.method == "POST":
                    visit.form = await request.form(max_files=0, max_fields=60, max_part_size=20_000)
                    if not hmac.compare_digest(visit.said("csrf").encode(), visit.csrf.encode()):
                        return await self.problem(visit, 403, *_CSRF)
                if admin and not visit.account.is_admin:
                    raise Forbidden
                return await handler(request, visit)
            except (Forbidden, TodokuError) as error:
                return await self._answer(visit, error)

        return endpoint

    async def _visit(self, request: Request) -> Visit | None:
        cookie = request.cookies.get(SESSION, "")
        now = self.services.clock.now()
        if not cookie:
            return None
        async with self.services.ledger.read() as connection:
            found = await accounts.session_of(connection, cookie, now)
        if found is None:
            return None
        account, seen_at = found
        if now - seen_at >= accounts.SEEN_STEP:
            async with self.services.ledger.write() as connection:
                await accounts.touch(connection, cookie, now)
        local = self.services.rulebook.local(now)
        return Visit(request, account, csrf_of(cookie), self.language(request), now, local)

    def language(self, request: Request) -> str:
        chosen = request.cookies.get(LANGUAGE, "")
        return chosen if chosen in ("ja", "en") else self.library.language.value

    def _to_login(self, request: Request) -> Response:
        """Only a GET is worth coming back to."""
        back = here(request) if request.method == "GET" else "/"
        response = RedirectResponse(f"{base_of(request)}/login", 303)
        if back != "/":
            response.set_cookie(
                "todoku_back", back, max_age=600, path=base_of(request) or "/", httponly=True, samesite="lax",
                secure=self.secure,
            )  # fmt: skip
        return response

    @property
    def secure(self) -> bool:
        return self.services.settings.desk.secure_cookies

    # -- writing pages -----------------------------------------------------------------------------

    async def render(self, visit: Visit, name: str, status: int = 200, **values: Any) -> Response:
        """A page for this visit, with the head that all pages have."""
        async with self.services.ledger.read() as connection:
            head = await self._head(connection)
        html = self._templates.get_template(name).render(
            visit=visit,
            account=visit.account,
            csrf=visit.csrf,
            **head,
            **self._frame(visit.request, visit.language, visit.today),
            **values,
        )
        return HTMLResponse(html, status)

    def render_outside(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        """A page for somebody who has not logged in."""
        today = self.services.rulebook.local(self.services.clock.now()).date()
        frame = self._frame(request, self.language(request), today)
        return HTMLResponse(self._templates.get_template(name).render(**frame, **values), status)

    def _frame(self, request: Request, language: str, today: date) -> dict[str, Any]:
        english = language == "en"
        local = self.services.rulebook.local

        def said(table: words.Words, code: str) -> str:
            pair = table.get(code)
            return str(code) if pair is None else pair[english]

        return {
            "language": language,
            "t": lambda ja, en: en if english else ja,
            "w": words,
            "word": said,
            "base": base_of(request),
            "here": here(request),
            "path": request.url.path.removeprefix(base_of(request)) or "/",
            "today": today,
            "day": lambda value: words.day(value, language, today) if value else "",
            "local": local,
            "moment": lambda value: words.moment(local(value), language, today) if value else "",
            "branch_name": lambda branch_id: self.branch_name(branch_id, language),
            "library_name": (self.library.name_en if english else None) or self.library.name,
            "version": self.version,
        }

    async def _head(self, connection: Transaction) -> dict[str, Any]:
        return {
            "data_as_of": await desk.data_as_of(connection),
            "paused": await get_flag(connection, PAUSED),
            "sending_off": self.services.settings.sending.mode is Mode.OFF,
        }

    def branch_name(self, branch_id: str, language: str) -> str:
        branch = self.library.branch(branch_id)
        if branch is None:
            return branch_id
        return (branch.name_en if language == "en" else None) or branch.name

    def branches_of(self, account: Account) -> list[str]:
        """The branches that the account may choose among."""
        known = [branch.id for branch in self.library.branches]
        return [branch for branch in known if not account.branches or branch in account.branches]

    def back(self, visit: Visit, default: str = "/") -> Response:
        """To the page a form came from; never to another site."""
        return RedirectResponse(base_of(visit.request) + local_path(visit.said("back"), default), 303)

    def cause(self, visit: Visit) -> Cause:
        """What a staff action's notices follow from: phones do not ring in quiet hours."""
        quiet_from, quiet_to = self.services.rulebook.quiet()
        leaves = prompt_at(
            visit.now,
            nightly=False,
            quiet_from=quiet_from,
            quiet_to=quiet_to,
            zone=self.library.timezone,
        )
        return Cause("", visit.now, leaves)

    # -- what went wrong ---------------------------------------------------------------------------

    async def problem(self, visit: Visit, status: int, title: tuple[str, str], text: str = "") -> Response:
        return await self.render(
            visit, "problem.html", status, title=visit.say(*title), text=text, back=visit.said("back") or "/"
        )

    async def _answer(self, visit: Visit, error: Exception) -> Response:
        match error:
            case Stale():
                return await self._stale(visit, error)
            case Forbidden():
                return await self.problem(visit, 403, ("この操作は許可されていません", "Not allowed"))
            case NotFound():
                return await self.problem(visit, 404, ("見つかりません", "Not found"), str(error))
            case UnusableAddress():
                text = visit.say(error.ja, error.en)
                if error.suggestion:
                    text += visit.say(
                        f"「{error.suggestion}」ではありませんか。", f" Did you mean {error.suggestion}?"
                    )
                return await self.problem(
                    visit, 422, ("このアドレスは登録できません", "This address cannot be used"), text
                )
            case Conflict() | IllegalTransition():
                return await self.problem(
                    visit, 409, ("この操作はできません", "This cannot be done"), str(error)
                )
            case _:
                return await self.problem(
                    visit, 422, ("入力を確認してください", "Please check what you entered"), str(error)
                )

    async def _stale(self, visit: Visit, error: Stale) -> Response:
        """Somebody or something was faster: nothing is overwritten, and the page says what changed."""
        async with self.services.ledger.read() as connection:
            since = await desk_actions.deeds(connection, error.patron_id, error.since)
            names = await accounts.names(connection)
        return await self.render(
            visit,
            "stale.html",
            409,
            patron_id=error.patron_id,
            deeds=since,
            names=names,
            back=local_path(visit.said("back"), "/"),
        )


_CSRF = (
    (
        "ページの有効期限が切れました。前のページに戻り、もう一度操作してください",
        "The form is out of date: go back and try again",
    ),
)


def csrf_of(cookie: str) -> str:
    """The form token of a session: whoever knows it knows the cookie, which only the browser does."""
    return hmac.new(cookie.encode(), b"csrf", hashlib.sha256).hexdigest()


def base_of(request: Request) -> str:
    """The path that the desk is mounted at."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def here(request: Request) -> str:
    """This page's address below the desk's base."""
    path = request.url.path.removeprefix(base_of(request)) or "/"
    return f"{path}?{request.url.query}" if request.url.query else path


def number_of(request: Request, name: str) -> int:
    """A number in the path. Raises NotFound for one that no row can have."""
    number = int(request.path_params[name])
    if number >= 2**63:
        raise NotFound(f"there is no number {number}")
    return number


def local_path(text: str, default: str = "/") -> str:
    """`text` if it is a path of ours. "//host" and "/\\\\host" would lead a browser elsewhere."""
    safe = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if safe else default


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("templates", "desk/staff"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _version() -> str:
    try:
        return version("todoku")
    except PackageNotFoundError:
        return ""


def query_of(values: Mapping[str, str]) -> str:
    """An address's query without what says nothing."""
    said = {name: value for name, value in values.items() if value}
    return "?" + urlencode(said) if said else "?"
