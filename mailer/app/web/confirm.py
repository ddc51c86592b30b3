"""The patrons' confirmation page: a signed token enters by a link in a mail, a reader's answer leaves.

GET and HEAD only show: mail scanners and phones follow links. A POST by the page's one button is a person's
sign and becomes evidence, unless the request itself says that it comes from a program. The page names the library and the kind of notice, and nothing of a person or of
what is on hold. No cookies, no scripts, nothing from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from holds_core.evidence import Sign
from holds_core.ledger import answers
from holds_core.ledger.answers import VALID_FOR, Answer, Asked
from holds_core.notices import Kind
from holds_core.tokens import Purpose
from mailer.app.services import Services
from mailer.app.web import log
from mailer.app.web.pages import STYLE, Pages, language_of
from mailer.app.web.security import (
    NOTHING_ELSE,
    DefaultHeaders,
    Rate,
    RateLimit,
    Shield,
    client_of,
    is_automatic,
)

REQUESTS = Rate(burst=60, per_second=2)
"""A carrier's gateway brings many phones by one address."""
MISSES = Rate(burst=20, per_second=0.1)
"""Wrong tokens: a few come from links cut in two, more is guessing. 80 bits of MAC make guessing useless;
this keeps it cheap as well."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a purpose of token asks, and the pages for it."""

    sign: Answer
    page: str
    done: str


QUESTIONS: dict[Purpose, Question] = {
    Purpose.CONFIRM: Question(Sign.CONFIRMED, "confirm", "confirmed"),
    Purpose.NOT_ME: Question(Sign.NOT_ME, "not_me", "not_me_done"),
}

MAY_DENY = frozenset({Kind.REGISTRATION_CHANGED})
"""Notices whose reader may say 「心当たりがない」: the address may have been mistyped into a stranger's."""


def confirm_app(services: Services) -> Starlette:
    """The application for `confirm.listen`."""
    page = ConfirmPage(services)
    app = Starlette(
        routes=[
            Route(f"/c/{STYLE}", page.style),
            Route("/c/{token}", page.show, methods=["GET", "HEAD"]),
            Route("/c/{token}", page.answer, methods=["POST"]),
            Route("/robots.txt", _robots),
        ],
        middleware=[
            Middleware(DefaultHeaders, headers=NOTHING_ELSE),
            Middleware(Shield, answer=page.broken),
        ],
        exception_handlers={HTTPException: page.not_found},
    )
    app.router.redirect_slashes = False  # it would lead to whatever Host the browser sent
    return app


class ConfirmPage:
    """The handlers, with the rates of one process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pages = Pages(services.settings.library, services.guide)
        self._style = self._pages.style()
        self._requests, self._misses = RateLimit(REQUESTS), RateLimit(MISSES)

    async def show(self, request: Request) -> Response:
        """The page with the button. Records nothing."""
        found = await self._find(request)
        if isinstance(found, Response):
            return found
        delivery_id, question, asked = found
        denies = question.sign is Sign.CONFIRMED and asked.kind in MAY_DENY
        return self._pages.ask(
            question.page,
            asked.kind,
            request.path_params["token"].lower(),
            self._language(request),
            given=question.sign in asked.given,
            not_me=self._services.keys.make(delivery_id, Purpose.NOT_ME) if denies else "",
            senders=self._senders(),
        )

    async def answer(self, request: Request) -> Response:
        """The button was pressed. The form's content, if any, is not looked at: the link says it all.

        A scanner that presses buttons and says that it is one gets the page again, and counts for nothing.
        """
        if is_automatic(request.headers):
            log.limited("robots")
            return await self.show(request)
        found = await self._find(request)
        if isinstance(found, Response):
            return found
        delivery_id, question, asked = found
        async with self._services.ledger.write() as connection:
            new = await answers.answer(connection, delivery_id, question.sign, self._services.clock.now())
        log.answered(delivery_id, question.sign, new=new)
        return self._pages.done(question.done, asked.kind, self._language(request), self._senders())

    def _senders(self) -> tuple[str, ...]:
        services = self._services
        today = services.rulebook.local(services.clock.now()).date()
        return services.settings.sender.addresses_from(today)

    async def _find(self, request: Request) -> tuple[int, Question, Asked] | Response:
        """The delivery and question that the token stands for, or the page that says why there is none."""
        now = self._services.clock.now()
        client = client_of(request.scope, self._services.settings.confirm.trusted_proxies)
        if limited := self._limited(client, now.timestamp()):
            return limited
        token = request.path_params["token"]
        # every purpose is tried, whatever the first said, so that the time tells nothing
        read = [(self._services.keys.read(token, purpose), QUESTIONS[purpose]) for purpose in QUESTIONS]
        delivery_id, question = next((item for item in read if item[0] is not None), (None, None))
        asked = None
        if delivery_id is not None:
            async with self._services.ledger.read() as connection:
                asked = await answers.asked(connection, delivery_id)
        if delivery_id is None or question is None or asked is None:
            self._misses.take(client, now.timestamp())
            return self._pages.both("unknown", 404)
        if now > asked.created_at + VALID_FOR:
            return self._pages.both("expired", 410, days=VALID_FOR.days)
        return delivery_id, question, asked

    def _limited(self, client: str, now: float) -> Response | None:
        if self._misses.left(client, now) < 1:
            log.limited("guesses")
            rate = MISSES
        elif not self._requests.take(client, now):
            log.limited("requests")
            rate = REQUESTS
        else:
            return None
        return self._pages.both("busy", 429, retry_after=rate.retry_after)

    def _language(self, request: Request) -> str:
        return language_of(
            request.query_params.get("lang"),
            request.headers.get("accept-language", ""),
            self._services.settings.library.language.value,
        )

    async def style(self, request: Request) -> Response:
        return PlainTextResponse(
            self._style, media_type="text/css", headers={"Cache-Control": "public, max-age=86400"}
        )

    async def not_found(self, request: Request, error: Exception) -> Response:
        """Any other path or method."""
        assert isinstance(error, HTTPException)
        page = self._pages.both("unknown", error.status_code, style_url=_style_from(request.url.path))
        page.headers.update(error.headers or {})
        return page

    def broken(self, path: str, status: int) -> Response:
        """What a reader sees of an error of ours. Plain text if the pages themselves are at fault."""
        try:
            return self._pages.both("broken", status, style_url=_style_from(path), retry_after=60)
        except Exception:
            return PlainTextResponse("ただいまページを表示できません。\nNot available just now.\n", status)


async def _robots(request: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /\n")


def _style_from(path: str) -> str:
    """The way from a page to the style sheet, relative for the sake of proxies that add a path."""
    depth = min(path.count("/"), 20) - 1
    if path.startswith("/c/"):
        return "../" * (depth - 1) + STYLE
    return "../" * depth + "c/" + STYLE
