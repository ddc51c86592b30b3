"""The HTTP API for other programs, mounted at `/api/v1`: library events in, the report and stories out.

Enters JSON of any shape from a caller with a bearer token; leaves JSON. Whatever an event looks like, the
answer is 200 and says what became of each; a status of 4xx means that the request as a whole was not used.
Errors have one shape: `{"error": {"code", "message", "message_ja"}}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, AwareDatetime, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from holds_core.errors import BadInput, NotFound
from holds_core.events import Event
from holds_core.feeds import wire
from holds_core.feeds.intake import ImportReport, Parsed
from holds_core.ledger import queries, received, story
from mailer import maillog
from mailer.app.services import Services
from mailer.app.web import api_decisions, log
from mailer.app.web.security import BearerTokens, Shield
from mailer.app.web.shapes import (
    ErrorAnswer,
    EventsAnswer,
    ReportLine,
    StoryAnswer,
)

MAX_BODY = 5 * 1024 * 1024
MAX_EVENTS = 1000
READ_S = 60
"""A caller that sends its body slower than this is cut off; it would hold memory for ever."""
FEED = "api"
LONGEST_ERROR = 1000
LONGEST_NAME = 400


# -- errors ----------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[int, str, str]] = {
    "not_json": (400, "the body is not JSON in UTF-8", "本文が UTF-8 の JSON ではありません"),
    "unauthorized": (401, "a known bearer token is needed", "有効なトークンが必要です"),
    "no_tokens": (
        403,
        "the API is closed: no token is configured (api.tokens_file)",
        "トークンが設定されていないため、API は使えません (api.tokens_file)",
    ),
    "not_found": (404, "there is no such thing", "見つかりません"),
    "method_not_allowed": (405, "this address does not take that method", "このメソッドは使えません"),
    "too_slow": (408, f"the body took longer than {READ_S} s", "本文の受信に時間がかかりすぎました"),
    "too_large": (
        413,
        f"the body is larger than {MAX_BODY} bytes",
        f"本文が {MAX_BODY} バイトを超えています",
    ),
    "too_many_events": (
        413,
        f"more than {MAX_EVENTS} events; send them in several requests",
        f"一度に送れるのは {MAX_EVENTS} 件までです。分けて送ってください",
    ),
    "bad_parameter": (422, "a parameter cannot be used", "パラメータが正しくありません"),
    "failed": (500, "an error of ours; the log has it", "内部エラーです。ログを確認してください"),
    "unavailable": (503, "the database is away, try again", "データベースを使えません。再試行してください"),
}
"""code -> status, English, Japanese."""

_CODES = {404: "not_found", 405: "method_not_allowed", 500: "failed", 503: "unavailable"}


class ApiError(Exception):
    """A request that is not used at all. `detail` follows the code's own sentence."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def error_response(code: str, detail: str = "") -> Response:
    """The one shape of errors."""
    status, english, japanese = ERRORS[code]
    headers = {
        "unauthorized": {"WWW-Authenticate": 'Bearer realm="todoku"'},
        "unavailable": {"Retry-After": "10"},
    }.get(code, {})
    message = f"{english}: {detail}" if detail else english
    return _json({"error": {"code": code, "message": message, "message_ja": japanese}}, status, headers)


def broken(path: str, status: int) -> Response:
    """The answer to a request that met an error of ours."""
    return error_response(_CODES.get(status, "failed"))


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # half a surrogate pair in a caller's own word becomes \udxxx, which is how JSON writes it
    return Response(text.encode("utf-8", "backslashreplace"), status, headers, "application/json")


# -- events in -------------------------------------------------------------------------------------


async def read_body(request: Request) -> bytes:
    """The body, never more than MAX_BODY of it in memory. Raises ApiError."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:15]) > MAX_BODY:
        raise ApiError("too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise ApiError("too_large")
    except TimeoutError:
        raise ApiError("too_slow") from None
    return bytes(body)


def decode(body: bytes) -> list[Any]:
    """The events in a body: a list, or one alone. Raises ApiError."""
    try:
        data = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # ValueError also for numbers of thousands of digits
        raise ApiError("not_json") from None
    items = data if isinstance(data, list) else [data]
    if len(items) > MAX_EVENTS:
        raise ApiError("too_many_events")
    return items


def parse_all(items: Sequence[Any]) -> list[Parsed]:
    """Each item as an event or what is wrong with it; `line` counts from 1."""
    parsed = []
    for number, item in enumerate(items, start=1):
        try:
            parsed.append(Parsed(number, _event(item)))
        except BadInput as error:
            parsed.append(Parsed(number, None, str(error)))
    return parsed


def _event(item: Any) -> Event:
    event = wire.parse(item)
    try:
        event.at.astimezone(UTC)
    except OverflowError:
        raise BadInput("at is not a time that can be stored") from None
    return event


def results_of(
    items: Sequence[Any],
    parsed: Sequence[Parsed],
    report: ImportReport,
    before: set[str],
    after: dict[str, str],
) -> list[dict[str, Any]]:
    """One result per event. `before`: ids that the ledger knew; `after`: its outcomes now."""
    said = {found.line: found for found in (*report.failed, *report.conflicts)}
    seen = set(before)
    results = []
    for item, entry in zip(items, parsed, strict=True):
        result: dict[str, Any] = {"id": entry.event.id if entry.event else _id_of(item)}
        if found := said.get(entry.line):
            result |= {"outcome": found.outcome, "error": found.text[:LONGEST_ERROR]}
        else:
            assert entry.event is not None  # what did not parse is among report.failed
            result["outcome"] = "repeat" if entry.event.id in seen else after.get(entry.event.id, "applied")
        if entry.event and result["outcome"] != "failed":
            seen.add(entry.event.id)
        result |= api_decisions.in_result(
            report.verdicts.get(entry.line, ()), report.doubts.get(entry.line, ())
        )
        results.append(result)
    return results


def _id_of(item: Any) -> str | None:
    """The id that an unusable event gives itself, for its sender to find it again."""
    found = item.get("id") if isinstance(item, dict) else None
    return found[:200] if isinstance(found, str) else None


class EventsIn:
    """Takes events in, one request at a time: a repeat is told by what the ledger knew before."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = asyncio.Lock()

    async def take(self, items: Sequence[Any]) -> dict[str, Any]:
        """Applies the events; the answer as JSON."""
        parsed = parse_all(items)
        ids = [entry.event.id for entry in parsed if entry.event]
        async with self._turn:
            before = await self._outcomes(ids)
            report = await self._services.intake().run(parsed, FEED)
            after = await self._outcomes(ids)
        maillog.imported(FEED, report.applied, report.repeats, len(report.failed))
        return {
            "results": results_of(items, parsed, report, set(before), after),
            "applied": report.applied,
            "repeats": report.repeats,
            "stale": report.stale,
            "conflicts": len(report.conflicts),
            "failed": len(report.failed),
            "notices": report.notices,
            "held": report.held,
        }

    async def _outcomes(self, ids: Sequence[str]) -> dict[str, str]:
        async with self._services.ledger.read() as connection:
            return await received.outcomes(connection, ids)


# -- the application -------------------------------------------------------------------------------

_bearer = HTTPBearer(auto_error=False, description="A line of `api.tokens_file`.")


class Guard:
    """Lets in who has a token."""

    def __init__(self, tokens: BearerTokens) -> None:
        self._tokens = tokens

    async def __call__(
        self, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> None:
        if not self._tokens:
            log.refused("no_tokens")
            raise ApiError("no_tokens")
        if credentials is None or not self._tokens.knows(credentials.credentials):
            log.refused("unauthorized")
            raise ApiError("unauthorized")


def _sensible(moment: datetime) -> datetime:
    """Far from both ends of the calendar, where reckoning fails."""
    if not 2000 <= moment.year < 2200:
        raise ValueError("must lie between the years 2000 and 2200")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_sensible)]
AsOf = Annotated[Moment | None, Query(description="What was known then; now if left out.")]
Since = Annotated[Moment | None, Query(description="Mail made since then; 35 days if left out.")]

_COMMON: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in ((401, "No known token."), (403, "No token is configured."), (503, "Try again."))
}


def api_app(services: Services) -> FastAPI:
    """The application to mount at `/api/v1`. Its description is at `openapi.json`; there are no pages."""
    app = FastAPI(
        title="Todoku",
        version="1",
        description="Library events in; the undelivered-mail report and the story of each mail out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(_events(services))
    app.include_router(_reading(services))
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    # its own, because FastAPI's last resort below it answers in plain text
    app.add_middleware(Shield, answer=broken)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _guard(services: Services) -> Guard:
    return Guard(BearerTokens(services.secrets.api_tokens))


def _events(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[Depends(_guard(services))], responses=_COMMON)
    events_in = EventsIn(services)

    @router.post(
        "/events",
        summary="Hand library events in",
        description=(
            f"One event, or a list of at most {MAX_EVENTS}. All or nothing per event; the id makes a repeat "
            "harmless, so a request whose answer was lost can be sent again as it is."
        ),
        responses={
            200: {"model": EventsAnswer},
            **{
                status: {"model": ErrorAnswer, "description": text}
                for status, text in ((400, "No JSON."), (408, "Too slow."), (413, "Too large."))
            },
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Events"}}},
            }
        },
    )
    async def events(request: Request) -> Response:
        return _json(await events_in.take(decode(await read_body(request))))

    return router


def _reading(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[Depends(_guard(services))], responses=_COMMON)
    unusable: dict[int | str, dict[str, Any]] = {422: {"model": ErrorAnswer, "description": "Bad parameter."}}

    @router.get(
        "/report",
        summary="The undelivered-mail report",
        description="Mail that did not reach or gave no sign; holds still on the shelf first, by deadline.",
        responses={200: {"model": list[ReportLine]}, **unusable},
    )
    async def report(as_of: AsOf = None, since: Since = None) -> Response:
        async with services.ledger.read() as connection:
            found = await queries.undelivered(connection, as_of or services.clock.now(), since)
        return _json([line.as_json() for line in found])

    api_decisions.add_to(router, services, _json, unusable)

    @router.get(
        "/explain/{name:path}",
        summary="Everything known of a notice, hold, patron or address",
        description="An id, best with `notice:`, `hold:`, `patron:` or `address:` in front.",
        responses={
            200: {"model": StoryAnswer},
            404: {"model": ErrorAnswer, "description": "Unknown."},
            **unusable,
        },
    )
    async def explain(name: str) -> Response:
        # no id has them, and PostgreSQL refuses a text with NUL
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise ApiError("not_found")
        async with services.ledger.read() as connection:
            try:
                told = await story.tell(connection, name)
            except NotFound:
                raise ApiError("not_found") from None
        return _json(told.as_json())

    return router


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error.code, error.detail)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(_CODES.get(error.status_code, "not_found"))
    response.headers.update(error.headers or {})
    return response


async def _parameter_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = (f"{item['loc'][-1]}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors())
    return error_response("bad_parameter", "; ".join(said)[:LONGEST_ERROR])


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the events as `holds_core.feeds.wire` has them."""
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        events = TypeAdapter(wire.EventIn | list[wire.EventIn]).json_schema(
            ref_template="#/components/schemas/{model}"
        )
        schemas = described["components"]["schemas"]
        schemas |= events.pop("$defs") | {"Events": events}
        # FastAPI's own shape of a 422, which is never sent
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = described
    return app.openapi_schema
