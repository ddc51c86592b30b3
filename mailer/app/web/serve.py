"""An ASGI application on an address, in our own event loop, until it is told to stop.

uvicorn left to itself ends the process when the port is busy, takes SIGTERM away from the supervisor, and
writes each path into its access log, tokens included. Here the sockets are bound by us, signals are left
alone, and there is no access log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from holds_core.errors import TodokuError
from mailer.app.web import log

GRACE_S = 4
"""For requests under way when the server stops; with its own pauses uvicorn stays within 5 s."""
MAX_CONNECTIONS = 300
"""More are answered 503 at once: each costs memory, and the daemon has mail to send."""
IDLE_S = 5
SILENCE_S = 20
"""A connection that sends no whole request for so long is closed; uvicorn would wait for ever."""


class CannotListen(TodokuError):  # noqa: N818
    """An address that we are to listen on is taken, not ours, or not allowed to us."""


class WebServer:
    """One listening address. `bind` may be called early, so that a busy port shows before all else starts;
    `run` binds if need be and may be called again after it has ended."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, name: str = "web") -> None:
        self._app, self._host, self._name = app, host, name
        self._sockets: list[socket.socket] = []
        self.port = port
        """The port; 0 becomes the one that the system chose when it is bound."""

    def bind(self) -> None:
        """Takes the address. Raises CannotListen."""
        if self._sockets:
            return
        try:
            found = socket.getaddrinfo(
                self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise self._cannot(error) from None
        failure: OSError | None = None
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                self._bind_one(socket.socket(family, kind, protocol), str(address[0]))
            except OSError as error:
                # a name may have an IPv6 address on a machine without IPv6; a busy port is another matter
                if error.errno == errno.EADDRINUSE:
                    self.close()
                    raise self._cannot(error) from None
                failure = error
        if failure is not None and not self._sockets:
            raise self._cannot(failure)

    def _bind_one(self, sock: socket.socket, address: str) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, self.port))
            # SO_REUSEADDR lets two sockets bind; only listening tells that the port is ours
            sock.listen(128)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        self.port = sock.getsockname()[1]
        self._sockets.append(sock)

    def _cannot(self, error: OSError) -> CannotListen:
        why = {
            errno.EADDRINUSE: ("ほかのプログラムが使用中です", "another program has it"),
            errno.EADDRNOTAVAIL: (
                "このサーバーのアドレスではありません",
                "it is not an address of this machine",
            ),
            errno.EACCES: ("1024番より前のポートは使えません", "ports below 1024 are not allowed to us"),
        }
        ja, en = why.get(error.errno or 0, (error.strerror, error.strerror))
        where = f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"
        return CannotListen(f"{where} で待ち受けできません({ja})。/ cannot listen on {where}: {en}")

    def renew(self, app: ASGIApp) -> None:
        """`app` answers the requests that begin from now on; the address stays."""
        self._app = app

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then ends what is under way, within 5 s. Raises CannotListen."""
        self.bind()
        server = _Server(self._config())
        watcher = asyncio.create_task(_tell(server, stop))
        log.listening(self._name, f"{self._host}:{self.port}")
        try:
            await server.serve(sockets=self._sockets)
        finally:
            watcher.cancel()
            left = server.cut_off()
            self.close()
            log.stopped(self._name, left)

    def close(self) -> None:
        """Gives the address back, if it was bound and never served."""
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._answer,
            interface="asgi3",
            loop="none",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            # its warnings are about what strangers send; errors of ours are told by `security.Shield`
            log_level="critical",
            access_log=False,
            server_header=False,
            # whom to believe about the client's address is decided in `security.client_of`
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
        )


class _Server(uvicorn.Server):
    """uvicorn's server without its hands on the process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def cut_off(self) -> int:
        """Closes whatever is still open, also when the server was cancelled. Returns how many."""
        for listener in getattr(self, "servers", ()):
            listener.close()
        left = list(self.server_state.connections)
        for connection in left:
            connection.transport.abort()
        return len(left)


class _Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 with an end to patience: a stranger who opens hundreds of connections and sends
    a byte a minute must not use up the places of readers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._last: object = None
        self._patience = self.loop.call_later(SILENCE_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Closes the connection unless a request is being answered or came since the last look."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering and self.cycle is self._last:
            self.transport.close()
            return
        self._last = self.cycle
        self._patience = self.loop.call_later(SILENCE_S, self._look)


async def _tell(server: _Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
