"""Attacks on the two web applications that no page's own test makes, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.app.services import Services
from mailer.app.web.app import staff_app
from mailer.app.web.desk import LimitBody, router
from mailer.app.web.serve import WebServer
from tests.mailer.web.conftest import (
    TOKEN,
    clock,
    empty_ledger,
    make_services,
    notify,
    patron,
    services,
    serving,
    staff,
)

__all__ = ["clock", "empty_ledger", "make_services", "patron", "services", "staff"]

EVIL = "evil.example"

# -- whom a page leads to --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/desk", "/desk/", "/desk/login/", "/desk/patrons/", "/desk/static", "/metrics/", "/healthz/"),
        *("/api/v1", "/api/v1/report/", f"//{EVIL}/", f"/desk//{EVIL}/..", f"/desk/login//{EVIL}"),
    ],
)
async def test_no_answer_leads_to_the_host_that_was_asked_for(staff: httpx.AsyncClient, path: str) -> None:
    """A Host that a stranger chose must not come back as an address: caches and mailed links would carry it."""
    answer = await staff.get(path, headers={"Host": EVIL, "X-Forwarded-Host": EVIL})
    assert EVIL not in answer.headers.get("location", "")
    assert EVIL not in answer.text.replace(path, "")


@pytest.mark.parametrize("path", ["/c/abc/", "/c/style.css/", "/robots.txt/", f"//{EVIL}/", "/c"])
async def test_nor_does_a_patrons_page(patron: httpx.AsyncClient, path: str) -> None:
    answer = await patron.get(path, headers={"Host": EVIL, "X-Forwarded-Host": EVIL})
    assert "location" not in answer.headers
    assert EVIL not in answer.text.replace(path, "")


# -- what stays behind -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api/v1/report", "/api/v1/explain/patron:p-1", "/api/v1/nowhere", "/metrics", "/", "/desk/login"],
)
async def test_no_answer_is_kept_or_shown_inside_another_page(
    services: Services, staff: httpx.AsyncClient, path: str
) -> None:
    await notify(services)
    headers = (await staff.get(path)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


# -- bodies ----------------------------------------------------------------------------------------


async def _form(scope: Scope, receive: Receive, send: Send) -> None:
    """A page that reads all of its body, and then waits for its reader to leave, as a stream does."""
    said = await Request(scope, receive).body()
    if scope["path"] == "/stream":
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(receive(), 0.5)
    await PlainTextResponse(f"{len(said)} octets")(scope, receive, send)


@contextlib.asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    server = WebServer(app, "127.0.0.1", 0)
    async with serving(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        yield reader, writer
        writer.close()


async def test_a_body_that_trickles_is_cut_off() -> None:
    async with connected(LimitBody(_form, most=1000, seconds=0.2)) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\na")
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_a_page_that_is_streamed_is_not_cut_off() -> None:
    async with connected(LimitBody(_form, most=1000, seconds=0.2)) as (reader, writer):
        writer.write(b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_the_desk_is_behind_that_limit(services: Services) -> None:
    [limit] = [found for found in router(services).user_middleware if found.cls is LimitBody]  # type: ignore[comparison-overlap]
    assert set(limit.kwargs) == {"most"}
    assert LimitBody(_form, 1)._seconds <= 60


async def test_a_caller_without_token_sends_its_body_to_nobody(services: Services) -> None:
    """The refusal comes before the body: five megabytes of a stranger's are not waited for."""
    async with connected(staff_app(services)) as (reader, writer):
        writer.write(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n[")
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")


async def test_a_caller_with_one_is_read(services: Services, staff: httpx.AsyncClient) -> None:
    assert staff.headers["authorization"] == f"Bearer {TOKEN}"
    assert (await staff.post("/api/v1/events", content=b"[]")).status_code == 200
