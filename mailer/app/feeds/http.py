"""JSON over HTTPS from one server, with a token: the thin part that all live feeds share.

Enters a path and parameters; leaves decoded JSON with its headers. Whatever goes wrong is a `FeedDown`, whose text
says what, and names no patron. A token that has run out is fetched anew once. Certificates are verified unless the
settings say otherwise; redirects are not followed: a token must not travel to where nobody meant it to go.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from holds_core.errors import TodokuError

LONGEST_S = 300.0
"""Seconds that one answer may take: a server that sends a letter a second would keep the feed for ever."""
MAX_ANSWER = 64 * 1024 * 1024
"""Octets of one answer: a page of a thousand records has a few megabytes."""
_WAIT = frozenset({429, 502, 503, 504})

Params = Mapping[str, str | int]


class FeedDown(TodokuError):  # noqa: N818
    """The other system cannot be asked now. `retry_after`: seconds it asked us to wait, if it did.

    `status`: its answer, 0 where there was none.
    """

    def __init__(self, text: str, retry_after: float | None = None, status: int = 0) -> None:
        self.retry_after, self.status = retry_after, status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Token:
    """What is said with each request, until `good_until` (seconds of the event loop's clock)."""

    headers: Mapping[str, str]
    good_until: float


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `at` is the server's own time, if it told it."""

    json: Any
    headers: httpx.Headers

    @property
    def at(self) -> datetime | None:
        try:
            return parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError, TypeError):
            return None


GetToken = Callable[[httpx.AsyncClient], Awaitable[Token]]


class Api:
    """One server. Use as `async with`. Raises FeedDown from every method."""

    def __init__(
        self, base_url: str, get_token: GetToken, *, timeout: float, verify: bool, ca_file: Path | None
    ) -> None:
        self._get_token = get_token
        self._token: Token | None = None
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=timeout,
            verify=tls(verify=verify, ca_file=ca_file),
            follow_redirects=False,  # the token would go along to whatever server is named
            headers={"Accept": "application/json", "User-Agent": "todoku"},
        )

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Params | None = None) -> Reply:
        """Decoded JSON. An answer of 4xx is a FeedDown with its status too; see `find`."""
        response = await self._send(path, params or {}, await self._headers())
        if response.status_code == 401:
            # tokens run out, or the server was restarted: one new one, then the words are taken seriously
            self._token = None
            response = await self._send(path, params or {}, await self._headers())
        return _understood(response, path)

    async def find(self, path: str, params: Params | None = None) -> Reply | None:
        """Like `get`; None if there is no such thing (404)."""
        try:
            return await self.get(path, params)
        except FeedDown as error:
            if error.status == 404:
                return None
            raise

    async def _headers(self) -> Mapping[str, str]:
        now = asyncio.get_running_loop().time()
        if self._token is None or self._token.good_until <= now:
            self._token = await self._get_token(self._client)
        return self._token.headers

    async def _send(self, path: str, params: Params, headers: Mapping[str, str]) -> httpx.Response:
        request = self._client.build_request("GET", path, params=dict(params), headers=dict(headers))
        return await send(self._client, request)


def tls(*, verify: bool, ca_file: Path | None) -> ssl.SSLContext | bool:
    """Whose certificates are believed. Raises FeedDown if `ca_file` cannot be read."""
    if not verify:
        return False
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise FeedDown(f"ca_file cannot be used: {error}") from None


async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """The whole answer, at most MAX_ANSWER of it within LONGEST_S. Raises FeedDown where there is none."""
    try:
        async with asyncio.timeout(LONGEST_S):
            response = await client.send(request, stream=True)
            try:
                body = bytearray()
                async for block in response.aiter_bytes():
                    body += block
                    if len(body) > MAX_ANSWER:
                        raise FeedDown(f"{request.url.path}: the answer is larger than {MAX_ANSWER} bytes")
            finally:
                await response.aclose()
    except TimeoutError:
        raise FeedDown(f"{request.url.host}: the answer took longer than {LONGEST_S:g} s") from None
    except httpx.HTTPError as error:
        # its text may quote the URL; the kind says enough
        raise FeedDown(f"{request.url.host}: {_kind(error)}") from None
    headers = {k: v for k, v in response.headers.multi_items() if k.lower() not in _CODED}
    plain = httpx.Response(response.status_code, headers=headers, content=bytes(body), request=request)
    plain.headers = response.headers
    return plain


_CODED = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _kind(error: httpx.HTTPError) -> str:
    match error:
        case httpx.TimeoutException():
            return "no answer in time"
        case httpx.ConnectError():
            return f"no connection ({error})"
        case _:
            return f"the connection broke ({type(error).__name__})"


def _understood(response: httpx.Response, path: str) -> Reply:
    status = response.status_code
    if status in _WAIT:
        raise FeedDown(f"{path}: HTTP {status}, to be asked later", _retry_after(response), status)
    if status in (401, 403):
        raise FeedDown(f"{path}: HTTP {status}: the account may not read this", None, status)
    if not 200 <= status < 300:
        raise FeedDown(f"{path}: HTTP {status}", None, status)
    return Reply(decoded(response, path), response.headers)


def decoded(response: httpx.Response, path: str) -> Any:
    """The body as JSON. Raises FeedDown."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        raise FeedDown(f"{path}: the answer is not JSON", None, response.status_code) from None


def _retry_after(response: httpx.Response) -> float | None:
    """RFC 9110 section 10.2.3, seconds only: a date is for clocks that agree."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isdecimal() and len(said) < 6 else None
