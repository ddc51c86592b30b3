"""The web server: sockets bound by us, signals left alone, an end in time, a log without secrets."""

import asyncio
import contextlib
import logging
import signal
import socket
from typing import Any

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from holds_core.errors import TodokuError
from holds_core.tokens import Purpose
from mailer.app.services import Services
from mailer.app.web.app import patron_app, staff_app
from mailer.app.web.security import Shield
from mailer.app.web.serve import CannotListen, WebServer
from tests.mailer.web.conftest import notify, serving


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def test_a_busy_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = WebServer(hello, "127.0.0.1", port)
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}.*another program has it"):
            server.bind()
        with pytest.raises(TodokuError):
            await server.run(asyncio.Event())


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(CannotListen, match="cannot listen on"):
        WebServer(hello, host, 0).bind()


def test_a_bound_server_that_never_ran_gives_its_port_back() -> None:
    first = WebServer(hello, "127.0.0.1", 0)
    first.bind()
    assert first.port
    first.close()
    second = WebServer(hello, "127.0.0.1", first.port)
    second.bind()
    second.close()


async def test_it_runs_again_on_its_port() -> None:
    server = WebServer(hello, "127.0.0.1", 0)
    urls = []
    for _ in range(2):
        async with serving(server) as url, httpx.AsyncClient() as client:
            assert (await client.get(url)).text == "hello"
        urls.append(url)
    assert urls[0] == urls[1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(urls[0])


async def test_a_cancelled_server_leaves_nothing_open() -> None:
    server = WebServer(hello, "127.0.0.1", 0)
    server.bind()
    task = asyncio.create_task(server.run(asyncio.Event()))
    async with httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{server.port}/")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{server.port}/")
    async with serving(server) as url, httpx.AsyncClient() as client:
        assert (await client.get(url)).text == "hello"


async def test_a_name_is_served_on_every_address_it_has() -> None:
    server = WebServer(hello, "localhost", 0)
    found = socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)
    async with serving(server):
        reached = []
        for family, _, _, _, address in found:
            with socket.socket(family) as probe:
                probe.setblocking(False)
                with contextlib.suppress(OSError):  # a name of a family that this machine has not
                    await asyncio.get_running_loop().sock_connect(probe, (address[0], server.port))
                    reached.append(address[0])
    assert "127.0.0.1" in reached


async def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.app.web.serve.MAX_CONNECTIONS", 3)
    async with serving(WebServer(hello, "127.0.0.1", 0)) as url:
        port = int(url.rpartition(":")[2])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 503
            for _, writer in silent:
                writer.close()
                await writer.wait_closed()
            async with asyncio.timeout(20):
                while (await client.get(url, headers={"Connection": "close"})).status_code != 200:
                    pass


async def test_signals_stay_with_the_process() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    async with serving(WebServer(hello, "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
        await client.get(url)
        assert {number: signal.getsignal(number) for number in before} == before


async def refused(port: int) -> None:
    """Waits until nobody listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()


async def test_a_request_under_way_is_finished() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await PlainTextResponse("done")(scope, receive, send)

    server = WebServer(slow, "127.0.0.1", 0)
    server.bind()
    stop = asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/"))
        await begun.wait()
        stop.set()
        await refused(server.port)
        assert not running.done()
        go_on.set()
        assert (await asking).text == "done"
    await running


async def test_a_request_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.app.web.serve.GRACE_S", 1)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server = WebServer(endless, "127.0.0.1", 0)
    server.bind()
    stop = asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/", timeout=30))
        await begun.wait()
        stop.set()
        async with asyncio.timeout(20):
            await running
        with pytest.raises(httpx.HTTPError):
            (await asking).raise_for_status()
    await cancelled.wait()


async def test_half_a_request_does_not_hinder_the_end() -> None:
    async with serving(WebServer(hello, "127.0.0.1", 0)) as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
        await writer.drain()
        async with httpx.AsyncClient() as client:
            await client.get(url)
    assert await reader.read() == b""
    writer.close()


async def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred strangers who say nothing must not use up the places of readers."""
    monkeypatch.setattr("mailer.app.web.serve.SILENCE_S", 0.1)
    async with serving(WebServer(hello, "127.0.0.1", 0)) as url:
        port = int(url.rpartition(":")[2])
        for said in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()


async def test_a_slow_answer_is_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.app.web.serve.SILENCE_S", 0.05)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.5)
        await PlainTextResponse("done")(scope, receive, send)

    async with serving(WebServer(slow, "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
        assert (await client.get(url)).text == "done"


async def test_logs_carry_no_token(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    registration, hold = await notify(services)
    tokens = [
        services.keys.make(number, purpose)
        for number in (registration, hold)
        for purpose in (Purpose.CONFIRM, Purpose.NOT_ME)
    ]
    caplog.set_level(logging.WARNING)  # as `maillog.setup` has it for all libraries
    caplog.handler.setLevel(logging.NOTSET)  # a library that sets a level of its own gets past that
    with structlog.testing.capture_logs() as lines:
        for app in (patron_app(services), staff_app(services)):
            async with serving(WebServer(app, "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
                for token in tokens:
                    await client.get(f"{url}/c/{token}")
                    await client.post(f"{url}/c/{token}")
                    await client.get(f"{url}/c/{token}x?{token}")
                    await client.get(f"{url}/api/v1/explain/{token}", headers={"Authorization": token})
    assert [line["event"] for line in lines].count("reader_answered") == 4
    text = str(lines) + caplog.text
    assert not [word for word in (*tokens, "hanako", "127.0.0.1/c") if word in text]


async def test_an_error_of_ours_is_logged_without_its_words() -> None:
    class LedgerLike(Exception):
        pass

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LedgerLike("[parameters: ('hanako@example.ne.jp', '坊っちゃん')]")

    def answer(path: str, status: int) -> Any:
        return PlainTextResponse(f"sorry {status}", status)

    with structlog.testing.capture_logs() as lines:
        app = Shield(broken, answer)
        async with serving(WebServer(app, "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
            response = await client.get(f"{url}/c/secret-token")
    assert (response.status_code, response.text) == (500, "sorry 500")
    failed = [line for line in lines if line["event"] == "request_failed"]
    assert [(line["error"], line["part"]) for line in failed] == [("LedgerLike", "c")]
    assert "hanako" not in str(lines)
    assert "secret-token" not in str(lines)
