"""What guards both web applications: headers, bearer tokens, rates, and an end to every error.

ASGI middleware and small values; no page is written here. Never sets a cookie, never logs who asked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holds_core.ledger.session import UNAVAILABLE
from mailer.app.web import log

NOTHING_ELSE: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
"""Headers of a page that loads nothing but our style sheet, is kept nowhere and found by no search."""


class DefaultHeaders:
    """Adds headers to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Shield:
    """Ends every error that a request meets: 503 while the database is away, else 500.

    Without it the web server would log a traceback, and a database error's text quotes what it was given.
    `answer` makes the response for a path and a status.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[str, int], Response]) -> None:
        self._app, self._answer = app, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:
            return  # nobody is left to answer, and it is no fault of ours
        except Exception as error:
            path = str(scope.get("path", ""))
            log.failed(str(scope.get("method", "")), path.split("/")[1] if "/" in path else "", error)
            if not started and scope["type"] == "http":
                await self._answer(path, _status(error))(scope, receive, send)


def _status(error: Exception) -> int:
    """A database that is locked, full or gone comes back; anything else is a fault of ours."""
    return 503 if isinstance(error, UNAVAILABLE) else 500


class BearerTokens:
    """Who may use the API. Without tokens nobody may."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = tuple(_digest(token.encode()) for token in tokens)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def knows(self, token: str) -> bool:
        """Whether the token is one of ours. Takes as long for a good one as for a bad one."""
        given = _digest(token.encode("utf-8", "surrogatepass"))
        known = False
        for digest in self._digests:
            known |= hmac.compare_digest(digest, given)
        return known


def _digest(token: bytes) -> bytes:
    # digests are of one length: comparing them tells nothing of the token's
    return hashlib.sha256(token).digest()


class NotTrusted(Exception):  # noqa: N818
    """Somebody who is not the proxy sent the header that only the proxy may send."""


class TrustedProxy:
    """The word of a reverse proxy that logs people in. Without `trusted` addresses no such word is asked for."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network], header: str) -> None:
        self._trusted, self._header = tuple(trusted), header

    def login(self, scope: Scope) -> str | None:
        """Whom the proxy has logged in; None if it says nothing, or there is none.

        What counts is the address at the other end of the connection, never a forwarded one. Raises
        NotTrusted if the header comes from elsewhere, or more than once: a proxy that adds its own header
        to the browser's would let the browser choose.
        """
        said = Headers(scope=scope).getlist(self._header) if self._trusted else []
        if not said:
            return None
        peer = _address(scope["client"][0]) if scope.get("client") else None
        if peer is None or len(said) > 1 or not any(peer in network for network in self._trusted):
            raise NotTrusted
        return said[0].strip().lower()[:40] or None


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once, and `per_second` in the long run."""

    burst: float
    per_second: float

    @property
    def retry_after(self) -> int:
        """Whole seconds after which one more is surely allowed."""
        return max(1, round(1 / self.per_second + 0.5))


class RateLimit:
    """Counts per client, in memory, at most `clients` of them: the longest unseen is forgotten first."""

    def __init__(self, rate: Rate, clients: int = 10_000) -> None:
        self.rate = rate
        self._clients = clients
        self._seen: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def left(self, client: str, now: float) -> float:
        """How much the client may still ask for; `now` in seconds, of any clock."""
        allowance, since = self._seen.get(client, (self.rate.burst, now))
        # a clock that was set back gives nothing and takes nothing
        return min(self.rate.burst, allowance + max(0.0, now - since) * self.rate.per_second)

    def take(self, client: str, now: float) -> bool:
        """Takes one from the client's allowance. False, and nothing taken, if there is none."""
        left = self.left(client, now)
        allowed = left >= 1
        self._seen[client] = (left - 1 if allowed else left, now)
        self._seen.move_to_end(client)
        while len(self._seen) > self._clients:
            self._seen.popitem(last=False)
        return allowed


def client_of(scope: Scope, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> str:
    """The client's address as rates count it: IPv4 whole, IPv6 by /64, which is what one household gets.

    X-Forwarded-For is believed only from a proxy on this machine or in `trusted`, and only up to the last
    address that is no such proxy: what stands before it came from the client and may be invented.
    """
    peer = _address(scope["client"][0]) if scope.get("client") else None
    if peer is None or _is_proxy(peer, trusted):
        said = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        hops = (_address(part) for part in reversed(said))
        peer = next((hop for hop in hops if hop is None or not _is_proxy(hop, trusted)), None) or peer
    if isinstance(peer, IPv6Address):
        return str(ip_network((peer, 64), strict=False))
    return str(peer) if peer else "unknown"


def _is_proxy(address: IPv4Address | IPv6Address, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    return address.is_loopback or any(address in network for network in trusted)


def is_automatic(headers: Headers) -> bool:
    """Whether a request says itself that no person pressed anything: fetched ahead (Sec-Purpose of the Fetch
    standard, its forerunners Purpose and X-Moz), sent by another site's page, or by a program that names
    itself a robot or a mail scanner. What says nothing is taken for a person: old phones say nothing."""
    ahead = " ".join(headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    if re.search(r"prefetch|prerender|preview", ahead, re.IGNORECASE):
        return True
    if headers.get("sec-fetch-site", "").lower() in ("cross-site", "same-site"):
        return True
    return bool(_ROBOTS.search(headers.get("user-agent", "")[:1000]))


_ROBOTS = re.compile(
    r"bot\b|crawl|spider|slurp|preview|scanner|safelinks|proofpoint|mimecast|barracuda|messagelabs|fireeye|"
    r"trendmicro|ironport|facebookexternalhit|whatsapp",
    re.IGNORECASE,
)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without port and brackets; None for anything else (RFC 7239 has no say here)."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found
