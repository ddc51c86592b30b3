"""A FOLIO to ask: users, circulation requests and both ways to a token, as its published interfaces have them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


@dataclass
class FakeFolio:
    """One tenant. `modern` False: a FOLIO before Poppy, whose tokens never end and come in a header."""

    tenant: str = "diku"
    username: str = "todoku"
    password: str = "s3cret"
    modern: bool = True
    lifetime: int = 600
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    answers_next: list[Response] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def user(self, number: str, at: datetime, *, email: str | None = None, **personal: Any) -> None:
        person = {"lastName": "佐藤", "firstName": "花子", "preferredContactTypeId": "002"} | personal
        if email is not None:
            person["email"] = email
        self.users[number] = {
            "id": number,
            "barcode": "0001",
            "active": True,
            "personal": person,
            "metadata": {"updatedDate": at.isoformat()},
        }

    def request(self, number: str, user: str, status: str, at: datetime, **fields: Any) -> None:
        blank = {
            "requestLevel": "Item",
            "requestType": "Hold",
            "requestDate": "2026-11-01T00:00:00.000+00:00",
            "instanceId": "11111111-1111-4111-8111-111111111111",
            "instance": {"title": "門"},
            "fulfillmentPreference": "Hold Shelf",
            "pickupServicePointId": "22222222-2222-4222-8222-222222222222",
            "pickupServicePoint": {"name": "本館", "code": "main"},
        }
        known = self.requests.get(number, blank)
        self.requests[number] = (
            known
            | fields
            | {
                "id": number,
                "requesterId": user,
                "status": status,
                "metadata": {"updatedDate": at.isoformat()},
            }
        )

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/authn/login-with-expiry", self._login_with_expiry, methods=["POST"]),
                Route("/authn/login", self._login, methods=["POST"]),
                Route(
                    "/realms/{realm}/protocol/openid-connect/token", self._keycloak_token, methods=["POST"]
                ),
                Route("/users", self._users),
                Route("/circulation/requests", self._requests),
                Route("/circulation/requests/{number}", self._request),
            ]
        )

    def _new_token(self) -> str:
        token = f"ey.{len(self.asked)}.{len(self.tokens)}"
        self.tokens.add(token)
        return token

    async def _known(self, request: Request) -> bool:
        said = await request.json()
        right = (said.get("username"), said.get("password")) == (self.username, self.password)
        return right and request.headers.get("x-okapi-tenant") == self.tenant

    async def _login_with_expiry(self, request: Request) -> Response:
        if not self.modern:
            return PlainTextResponse("No suitable module found", 404)
        if not await self._known(request):
            return JSONResponse({"errors": [{"message": "Password does not match"}]}, 422)
        answer = JSONResponse({"accessTokenExpiration": "2026-11-22T00:10:00Z"}, 201)
        cookie = f"folioAccessToken={self._new_token()}; Max-Age={self.lifetime}; Path=/; Secure; HTTPOnly"
        answer.headers.append("set-cookie", cookie)
        answer.headers.append(
            "set-cookie", "folioRefreshToken=r; Max-Age=604800; Path=/authn; Secure; HTTPOnly"
        )
        return answer

    async def _login(self, request: Request) -> Response:
        if not await self._known(request):
            return JSONResponse({"errors": [{"message": "Password does not match"}]}, 422)
        return JSONResponse({}, 201, {"x-okapi-token": self._new_token()})

    async def _keycloak_token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if (form.get("client_id"), form.get("client_secret")) != (self.username, self.password):
            return JSONResponse({"error": "invalid_client"}, 401)
        assert request.path_params["realm"] == self.tenant
        assert form["grant_type"] == "client_credentials"
        return JSONResponse({"access_token": self._new_token(), "expires_in": self.lifetime})

    def _refused(self, request: Request) -> Response | None:
        self.asked.append(request.url.path)
        if self.answers_next:
            return self.answers_next.pop(0)
        if request.headers.get("x-okapi-token") not in self.tokens:
            return PlainTextResponse("Token missing", 401)
        if request.headers.get("x-okapi-tenant") != self.tenant:
            return PlainTextResponse("No such Tenant", 400)
        return None

    async def _users(self, request: Request) -> Response:
        return self._refused(request) or self._page(request, self.users, "users")

    async def _requests(self, request: Request) -> Response:
        return self._refused(request) or self._page(request, self.requests, "requests")

    async def _request(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        found = self.requests.get(request.path_params["number"])
        return JSONResponse(found) if found else PlainTextResponse("Not found", 404)

    def _page(self, request: Request, table: dict[str, dict[str, Any]], name: str) -> Response:
        query = request.query_params["query"].removesuffix(" sortby id")
        limit, offset = int(request.query_params["limit"]), int(request.query_params["offset"])
        rows = [row for _, row in sorted(table.items()) if _fits(row, query)]
        # RMB estimates totals of large results: here it is always wrong
        return JSONResponse({name: rows[offset : offset + limit], "totalRecords": 1000})


def _fits(row: dict[str, Any], query: str) -> bool:
    if query == "cql.allRecords=1":
        return True
    if query == 'status=="Open*"':
        return str(row["status"]).startswith("Open")
    match = re.fullmatch(r'metadata\.updatedDate>="([^"]+)"', query)
    assert match, query
    changed = datetime.fromisoformat(row["metadata"]["updatedDate"])
    return changed >= datetime.fromisoformat(match[1])
