"""The desk's frame: templates, the visit (who asks, in which language, when), and answers to errors.

Every page passes through `Desk.page`: it finds the session, checks the CSRF token of a POST, and turns the
errors that a person can act on into a page. Page modules bring handlers, never their own checks.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from holds_core.address_checks import ADVICE, sentence
from holds_core.errors import Conflict, IllegalTransition, NotFound, TodokuError
from holds_core.ledger import accounts, desk, desk_deeds
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
from mailer.app.web.desk.visit import Visit, base_of, here, local_path, query_of
from mailer.app.web.desk.who import SESSION, NoAccount, Who
from mailer.app.web.security import NotTrusted
from mailer.sender import PAUSED

BACK = "todoku_back"
"""The cookie with the page that somebody wanted who had to log in first."""
HASHED_AT_ONCE = 2
"""Passwords checked or hashed at the same time; each takes 64 MiB."""
CHOOSE_ANEW = "/password"
"""The only page for an account whose password somebody else knows, but for the way out."""


class Forbidden(Exception):  # noqa: N818
    """The account may not do this."""


Handler = Callable[[Request, Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Desk:
    """What all pages share."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.library = services.settings.library
        self.who = Who(services)
        self._templates = _environment()
        self.version = _version()
        self.hashing = asyncio.Semaphore(HASHED_AT_ONCE)
        self.provider_of = lru_cache(maxsize=10_000)(lambda domain: services.providers.of(domain).name)
        """The provider's name of a mail domain; a page asks for thousands."""

    # -- who asks ----------------------------------------------------------------------------------

    def page(self, handler: Handler, *, admin: bool = False) -> Endpoint:
        """`handler` for people who have logged in (and are admins); a POST needs the session's token."""

        async def endpoint(request: Request) -> Response:
            with self.services.courtesy.page():
                return await answer(request)

        async def answer(request: Request) -> Response:
            try:
                visit = await self.who.asks(request)
            except (NotTrusted, NoAccount) as error:
                return self._refused(request, error)
            if visit is None:
                return self._to_login(request)
            try:
                response = await self._checked(handler, visit, admin=admin)
            except (Forbidden, TodokuError) as error:
                response = await self._answer(visit, error)
            if visit.new_session:
                self.who.put_cookie(request, response, SESSION, visit.new_session)
            return response

        return endpoint

    async def _checked(self, handler: Handler, visit: Visit, *, admin: bool) -> Response:
        """The handler's answer, if the form is one of this session's and the account may ask. Raises."""
        if visit.request.method == "POST":
            visit.form = await visit.request.form(max_files=0, max_fields=60, max_part_size=20_000)
            if not hmac.compare_digest(visit.said("csrf").encode(), visit.csrf.encode()):
                return await self.problem(visit, 403, *_CSRF)
        if admin and not visit.account.is_admin:
            raise Forbidden
        if visit.account.password_once and not visit.vouched:
            path = visit.request.url.path.removeprefix(base_of(visit.request))
            if path not in (CHOOSE_ANEW, "/logout"):
                return RedirectResponse(base_of(visit.request) + CHOOSE_ANEW, 303)
        return await handler(visit.request, visit)

    def _refused(self, request: Request, error: Exception) -> Response:
        problem = "no_account" if isinstance(error, NoAccount) else "not_trusted"
        return self.render_outside(request, "refused.html", 403, problem=problem)

    def _to_login(self, request: Request) -> Response:
        """Only a GET is worth coming back to."""
        back = here(request) if request.method == "GET" else "/"
        response = RedirectResponse(f"{base_of(request)}/login", 303)
        if back != "/":
            self.who.put_cookie(request, response, BACK, back, timedelta(minutes=10))
        return response

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
        frame = self._frame(request, self.who.language(request), today)
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
            "ago": lambda value: words.span(self.services.clock.now() - value, language),
            "branch_name": lambda branch_id: self.branch_name(branch_id, language),
            "doubted": lambda code: sentence(code)[english],
            "receiving": lambda address: self._receiving(address, language, today),
            "library_name": (self.library.name_en if english else None) or self.library.name,
            "version": self.version,
        }

    async def _head(self, connection: Transaction) -> dict[str, Any]:
        return {
            "data_as_of": await desk.data_as_of(connection),
            "paused": await get_flag(connection, PAUSED),
            "sending_off": self.services.settings.sending.mode is Mode.OFF,
        }

    def _receiving(self, address: str, language: str, today: date) -> dict[str, Any]:
        """How the owner of this mailbox lets our mail in."""
        provider = self.services.providers.of(address)
        advice = self.services.guide.of(provider)
        counter = ADVICE.get(provider.kind, ("", ""))
        sender = self.services.settings.sender.addresses_from(today)[0]
        return {
            "name": advice.name_in(language),
            "steps": advice.steps_for(sender, language),
            "search": advice.search,
            "counter": counter[language == "en"],
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
            since = await desk_deeds.deeds(connection, error.patron_id, error.since)
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


class Part:
    """A group of pages: each class of handlers starts from here, and names its routes by `get` and `post`."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._services = desk, desk.services

    def routes(self) -> list[Route]:
        raise NotImplementedError

    def get(self, path: str, handler: Handler, *, admin: bool = False) -> Route:
        return Route(path, self._desk.page(handler, admin=admin), methods=["GET"])

    def post(self, path: str, handler: Handler, *, admin: bool = False) -> Route:
        return Route(path, self._desk.page(handler, admin=admin), methods=["POST"])

    async def note(self, visit: Visit, what: str, subject: str, **detail: Any) -> None:
        """A line of the audit trail in a transaction of its own, for what changes nothing in the ledger."""
        async with self._services.ledger.write() as connection:
            await accounts.record(connection, visit.account.login, what, subject, detail, visit.now)

    def to(self, visit: Visit, path: str, **query: str) -> Response:
        """After a press: to a page of ours, which may say what was done."""
        return RedirectResponse(base_of(visit.request) + path + query_of(query), 303)


_CSRF = (
    (
        "ページの有効期限が切れました。前のページに戻り、もう一度操作してください",
        "The form is out of date: go back and try again",
    ),
)


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
