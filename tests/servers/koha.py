"""A Koha to ask: the endpoints, fields, paging headers and errors of its published REST interface, on loopback.

Holds that are filled or cancelled move to the old holds, as in Koha; `old_holds_shown` False is a Koha of 23.11 or
older, which refuses the parameter; `may_see_history` False an account without the right to it. Trouble is planned by `answers_next`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_AFTER: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
    "-in": lambda a, b: a in b,
}


@dataclass
class FakeKoha:
    """One Koha and what it holds. `asked` are the paths that were asked for."""

    client_id: str = "todoku"
    secret: str = "s3cret"
    lifetime: int = 3600
    old_holds_shown: bool = True
    may_see_history: bool = True
    patrons: dict[int, dict[str, Any]] = field(default_factory=dict)
    holds: dict[int, dict[str, Any]] = field(default_factory=dict)
    old_holds: dict[int, dict[str, Any]] = field(default_factory=dict)
    biblios: dict[int, dict[str, Any]] = field(default_factory=dict)
    biblios_listed: bool = True
    tokens: set[str] = field(default_factory=set)
    answers_next: list[Response] = field(default_factory=list)
    between_pages: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    # -- what staff and patrons do ---------------------------------------------------------------

    def patron(self, number: int, at: datetime, **fields: Any) -> None:
        blank = dict.fromkeys(("email", "secondary_email", "altaddress_email", "phone", "mobile"))
        blank |= {"surname": "佐藤", "firstname": "花子", "library_id": "CPL", "category_id": "PT"}
        blank |= {"lang": "default", "cardnumber": f"{number:09}"}
        known = self.patrons.get(number, blank)
        self.patrons[number] = known | fields | {"patron_id": number, "updated_on": at.isoformat()}

    def hold(self, number: int, patron: int, at: datetime, **fields: Any) -> None:
        blank = dict.fromkeys(
            (
                "status",
                "waiting_date",
                "expiration_date",
                "cancellation_date",
                "cancellation_reason",
                "item_id",
            )
        )
        blank |= {"biblio_id": 1, "pickup_library_id": "CPL", "hold_date": "2026-11-01", "priority": 1}
        blank |= {"suspended": False, "suspended_until": None, "notes": None}
        known = self.holds.get(number, blank)
        self.holds[number] = (
            known
            | fields
            | {
                "hold_id": number,
                "patron_id": patron,
                "timestamp": at.isoformat(),
            }
        )

    def close(self, number: int, **fields: Any) -> None:
        """The hold is filled or cancelled."""
        self.old_holds[number] = self.holds.pop(number) | fields

    # -- the interface ---------------------------------------------------------------------------

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/oauth/token", self._token, methods=["POST"]),
                Route("/api/v1/patrons", self._patrons),
                Route("/api/v1/patrons/{number:int}/holds", self._holds_of),
                Route("/api/v1/holds", self._holds),
                Route("/api/v1/biblios", self._biblios),
                Route("/api/v1/biblios/{number:int}", self._biblio),
            ]
        )

    async def _token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        said = {name: values[0] for name, values in form.items()}
        if said.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "Unimplemented grant type"}, 400)
        if (said.get("client_id"), said.get("client_secret")) != (self.client_id, self.secret):
            return JSONResponse({"error": "unauthorized_client"}, 403)
        token = f"token-{len(self.asked)}-{len(self.tokens)}"
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime})

    def _refused(self, request: Request) -> Response | None:
        self.asked.append(request.url.path.removeprefix("/api/v1"))
        if self.answers_next:
            return self.answers_next.pop(0)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return JSONResponse({"error": "Authentication failure."}, 401)
        return None

    async def _patrons(self, request: Request) -> Response:
        return self._refused(request) or self._page(request, self.patrons, "patron_id")

    async def _holds(self, request: Request) -> Response:
        return self._refused(request) or self._page(request, self.holds, "hold_id")

    async def _holds_of(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if "old" in request.query_params and not self.old_holds_shown:
            return JSONResponse(
                {"errors": [{"message": "Malformed query string", "path": "/query/old"}]}, 400
            )
        if not self.may_see_history:
            return JSONResponse(
                {
                    "error": "Authorization failure. Missing required permission(s).",
                    "required_permissions": {"borrowers": ["edit_borrowers", "view_holds_history"]},
                },
                403,
            )
        patron = request.path_params["number"]
        if patron not in self.patrons:
            return JSONResponse({"error": "Patron not found"}, 404)
        old = request.query_params.get("old") == "true"
        theirs = {
            number: hold
            for number, hold in (self.old_holds if old else self.holds).items()
            if hold["patron_id"] == patron
        }
        return self._page(request, theirs, "hold_id")

    async def _biblios(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if not self.biblios_listed:
            return JSONResponse({"error": "Not found"}, 404)
        return self._page(request, self.biblios, "biblio_id")

    async def _biblio(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        found = self.biblios.get(request.path_params["number"])
        return JSONResponse(found) if found else JSONResponse({"error": "Object not found."}, 404)

    def _page(self, request: Request, table: dict[int, dict[str, Any]], key: str) -> Response:
        params = request.query_params
        wanted = json.loads(params.get("q", "{}"))
        rows = [row for _, row in sorted(table.items()) if _fits(row, wanted)]
        number, size = int(params.get("_page", "1")), int(params.get("_per_page", "20"))
        assert params.get("_order_by", f"+{key}") == f"+{key}"
        shown = rows[(number - 1) * size : number * size]
        headers = {"X-Total-Count": str(len(rows)), "X-Base-Total-Count": str(len(table))}
        if number * size < len(rows):
            url = request.url.include_query_params(_page=number + 1)
            headers["Link"] = f'<{url}>; rel="next", <{request.url}>; rel="first"'
        if self.between_pages:
            self.between_pages.pop(0)()
        return JSONResponse(shown, headers=headers)


def _fits(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for name, value in wanted.items():
        if not isinstance(value, dict):
            if row.get(name) != value:
                return False
            continue
        for sign, limit in value.items():
            left, right = row[name], limit
            if isinstance(limit, str):
                left, right = (datetime.fromisoformat(time).astimezone(UTC) for time in (left, right))
            if not _AFTER[sign](left, right):
                return False
    return True
