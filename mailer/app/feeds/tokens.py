"""How a feed proves who it is: OAuth 2 client credentials (Koha, Keycloak), and FOLIO's name and password.

Enters ids and secrets; leaves the headers of a request and how long they are good. Nothing here logs.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from mailer.app.feeds.http import FeedDown, GetToken, Token, decoded, send

EARLY_S = 30.0
"""A token is renewed so long before it runs out."""
_UNKNOWN_S = 300.0
"""How long a token is taken to be good whose server does not say."""


def client_credentials(
    url: str, client_id: str, secret: str, header: str = "Authorization", scheme: str = "Bearer "
) -> GetToken:
    """RFC 6749 section 4.4. Koha has `/api/v1/oauth/token`, Keycloak a URL for each realm."""

    async def get(client: httpx.AsyncClient) -> Token:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        response = await send(client, client.build_request("POST", url, data=form))
        if response.status_code != 200:
            raise FeedDown(f"no token: HTTP {response.status_code}", None, response.status_code)
        found = decoded(response, "token")
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token.isprintable():
            raise FeedDown("no token: the answer has none")
        return Token({header: f"{scheme}{token}"}, _until(found.get("expires_in")))

    return get


def folio_login(tenant: str, username: str, password: str) -> GetToken:
    """`/authn/login-with-expiry` (mod-login, mod-login-keycloak): the token comes as a cookie. Releases before
    Poppy have only `/authn/login`, which gives it in a header.
    """

    async def get(client: httpx.AsyncClient) -> Token:
        words = {"username": username, "password": password}
        for path in ("/authn/login-with-expiry", "/authn/login"):
            request = client.build_request("POST", path, json=words, headers={"x-okapi-tenant": tenant})
            response = await send(client, request)
            if response.status_code in (404, 405) and path != "/authn/login":
                continue
            if response.status_code not in (200, 201):
                raise FeedDown(f"no token: HTTP {response.status_code}", None, response.status_code)
            # the cookie is marked Secure; it is said as a header, which every gateway takes
            token = response.headers.get("x-okapi-token") or _cookie(response, "folioAccessToken")
            if not token:
                raise FeedDown("no token: the answer has none")
            return Token({"x-okapi-token": token, "x-okapi-tenant": tenant}, _until(_max_age(response)))
        raise AssertionError("one of the two paths was asked")

    return get


def folio_client(tenant: str, url: str, client_id: str, secret: str) -> GetToken:
    """Eureka: a client of the tenant's realm in Keycloak."""
    credentials = client_credentials(url, client_id, secret, "x-okapi-token", "")

    async def get(client: httpx.AsyncClient) -> Token:
        token = await credentials(client)
        return Token({**token.headers, "x-okapi-tenant": tenant}, token.good_until)

    return get


def _until(seconds: Any) -> float:
    good = float(seconds) if isinstance(seconds, (int, float)) and seconds > 0 else _UNKNOWN_S
    return asyncio.get_running_loop().time() + max(good - EARLY_S, good / 2)


def _cookies(response: httpx.Response, name: str) -> list[list[str]]:
    """The parts of each cookie of that name."""
    said = (value.split(";") for value in response.headers.get_list("set-cookie"))
    return [[part.strip() for part in parts] for parts in said if parts[0].strip().startswith(f"{name}=")]


def _cookie(response: httpx.Response, name: str) -> str:
    found = _cookies(response, name)
    return found[0][0].partition("=")[2] if found else ""


def _max_age(response: httpx.Response) -> float | None:
    for parts in _cookies(response, "folioAccessToken"):
        for part in parts:
            key, _, value = part.partition("=")
            if key.lower() == "max-age" and value.isdecimal():
                return float(value)
    return None
