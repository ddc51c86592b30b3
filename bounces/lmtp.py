"""The LMTP listener: bounces, receipts and replies from the library's own mail server (RFC 2033).

In: LMTP connections from allowed peers, in the daemon's own loop. Out: each mail as `Inbound` to a
`Store`, and 250 only after the store has returned. It never refuses a mail for good because of what it
contains, its size or our own failure (a bounce has a null sender, so what is refused is lost): what is
too long is cut, and what cannot be stored now is answered 451, so that the mail server keeps it.
The only module that knows aiosmtpd.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import syntax

from bounces.intake import MAX_SIZE, Inbound, Store, cut_note

log = structlog.get_logger("bounces.lmtp")

LOOPBACK = ("127.0.0.0/8", "::1/128")
MAX_RECIPIENTS = 100  # RFC 5321 section 4.5.3.1.8: at least 100
COMMAND_LIMIT = 2048  # RFC 5321 section 4.5.3.1.4 asks for 512 and more with each extension
BUFFER_LIMIT = 65_536  # octets a connection may hold beyond what it keeps of the mail
NO_ANSWER_FROM_STORE = "451 4.3.0 The mail could not be stored, try again later"

_PATH = re.compile(r'<(?:@[^:>]*:)?((?:"(?:[^"\\]|\\.)*"|[^">])*)>\s*(.*)', re.DOTALL)
_ODD_PATH = re.compile(r"<?([^>\s]*)>?\s*(.*)", re.DOTALL)  # no brackets, or half a quoted string


async def read_body(reader: asyncio.StreamReader, keep: int) -> tuple[bytes, int]:
    """Reads the mail up to its final dot; returns its first `keep` octets and its whole size in octets.

    Only CRLF . CRLF ends a mail (RFC 5321 section 4.1.1.4): a dot between bare LF or bare CR is text, or
    else a second mail could be smuggled in behind it (CVE-2024-27305). Leading dots are taken off
    (section 4.5.2). Lines may be of any length. Raises asyncio.IncompleteReadError if the stream ends.
    """
    kept = bytearray()
    size = 0
    line_start = True
    while True:
        try:
            piece = await reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError as overrun:  # a part of a long line, without its end
            piece = await reader.readexactly(overrun.consumed)
        if line_start and piece == b".\r\n":
            return bytes(kept), size
        if line_start and piece.startswith(b"."):
            piece = piece[1:]
        line_start = piece.endswith(b"\r\n")
        size += len(piece)
        if len(kept) < keep:
            kept += piece[: keep - len(kept)]


class LmtpListener:
    """Listens on `host` and `port` (0 picks one, see `port`), or on the bound stream socket `sock`.

    `store` keeps each mail; `clock` gives the time in a time zone; `max_size` is in octets, of a longer
    mail the head is kept and marked; connections beyond `max_connections`, and those from peers outside
    the `allowed` networks (addresses or CIDR; Unix sockets are guarded by their own permissions), are
    answered 421; a connection may stay silent for `timeout` seconds (RFC 5321 section 4.5.3.2.7: five
    minutes); `stop` waits for what is being stored for at most `grace` seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        store: Store,
        clock: Callable[[], datetime],
        *,
        sock: socket.socket | None = None,
        max_size: int = MAX_SIZE,
        max_connections: int = 50,
        allowed: Sequence[str] = LOOPBACK,
        hostname: str = "localhost",
        timeout: float = 300.0,
        grace: float = 10.0,
    ) -> None:
        self.store = store
        self.clock = clock
        self.max_size = max_size
        self.max_connections = max_connections
        self.hostname = hostname  # aiosmtpd asks DNS for it otherwise, and blocks the loop
        self.timeout = timeout
        self.sessions: set[_Session] = set()
        self.busy: set[asyncio.Future[Any]] = set()  # from the final dot to the reply
        self._address = (host, port)
        self._sock = sock
        self._networks = [ipaddress.ip_network(network) for network in allowed]
        self._grace = grace
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on; 0 on a Unix socket. RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the listener is not started")
        name = self._server.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def start(self) -> None:
        """Begins to listen. OSError if the address cannot be bound."""
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd writes addresses at info
        loop = asyncio.get_running_loop()

        def door() -> _Door:
            return _Door(self, loop)

        if self._sock is None:
            host, port = self._address
            self._server = await loop.create_server(door, host, port)
        elif self._sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(door, sock=self._sock)
        else:
            self._server = await loop.create_server(door, sock=self._sock)
        log.info("lmtp_listening", port=self.port)

    async def stop(self) -> None:
        """Ends listening, lets mails behind their final dot be stored and answered, ends the rest with
        421 (their senders keep what was not acknowledged)."""
        if self._server is None:
            return
        self._server.close()
        if self.busy:
            await asyncio.wait(set(self.busy), timeout=self._grace)
        leaving = [session.leave() for session in list(self.sessions)]
        if leaving:
            await asyncio.wait(leaving, timeout=1.0)
        for session in list(self.sessions):  # a peer that does not even read
            session.abort()
        await self._server.wait_closed()
        self._server = None
        log.info("lmtp_stopped")

    def refusal(self, peer: object) -> str:
        """The reply for a newcomer that may not enter; "" if it may. 421, never 554: a mail server that
        connects from an unexpected address must keep its mail until an administrator has looked."""
        if isinstance(peer, tuple) and not self._is_allowed(str(peer[0])):
            log.warning("lmtp_peer_refused", peer=peer[0])
            return "421 4.7.1 This peer is not allowed here"
        if len(self.sessions) >= self.max_connections:
            log.warning("lmtp_connections_full", limit=self.max_connections)
            return "421 4.3.2 Too many connections, try again later"
        return ""

    def _is_allowed(self, peer: str) -> bool:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = ipaddress.ip_address(
            peer.partition("%")[0]
        )
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    async def keep(self, inbound: Inbound) -> str:
        """Stores one mail and returns the reply. An exception of the store is answered, not raised."""
        facts = {"octets": len(inbound.raw), "recipients": len(inbound.envelope_to)}
        try:
            await self.store(inbound)
        except Exception as error:
            # by its type only: a database error's text holds the mail and its addresses
            log.error("mail_not_stored", source="lmtp", error=type(error).__name__, **facts)
            return NO_ANSWER_FROM_STORE
        log.info("mail_stored", source="lmtp", truncated=inbound.truncated, **facts)
        return "250 2.0.0 Stored"


class _Door(asyncio.Protocol):
    """Meets every newcomer: turns it away, or hands the connection to a session of its own."""

    def __init__(self, listener: LmtpListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        refusal = self._listener.refusal(stream.get_extra_info("peername"))
        if refusal:
            stream.write(f"{refusal}\r\n".encode("ascii"))
            stream.close()
            return
        session = _Session(self._listener, self._loop)
        stream.set_protocol(session)
        session.connection_made(stream)


class _Session(LMTP):
    """One connection. Differs from aiosmtpd's where that would lose a mail; each method says how."""

    line_length_limit = BUFFER_LIMIT

    def __init__(self, listener: LmtpListener, loop: asyncio.AbstractEventLoop) -> None:
        # aiosmtpd shares one dict between all connections, and clears it with each new one
        self.command_size_limits = defaultdict(lambda: COMMAND_LIMIT)
        self._listener = listener
        self._replies_owed = 1
        self._gone: asyncio.Future[None] = loop.create_future()
        super().__init__(
            None,
            data_size_limit=None,  # no SIZE is announced: a long mail is cut, not refused
            enable_SMTPUTF8=True,  # replies from internationalised addresses (RFC 6531) are welcome
            hostname=listener.hostname,
            ident="Todoku LMTP",
            timeout=listener.timeout,
            loop=loop,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener.sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.sessions.discard(self)
        super().connection_lost(error)
        if not self._gone.done():
            self._gone.set_result(None)

    def leave(self) -> asyncio.Future[None]:
        """Says goodbye (RFC 5321 section 3.8: a server that must shut down sends 421)."""
        stream = cast(asyncio.Transport | None, self.transport)
        if stream is not None and not stream.is_closing():
            stream.write(b"421 4.3.2 Shutting down\r\n")
            stream.close()
        return self._gone

    def abort(self) -> None:
        stream = cast(asyncio.Transport | None, self.transport)
        if stream is not None:
            stream.abort()

    async def push(self, status: Any) -> None:
        """After the data LMTP owes one reply to each accepted recipient (RFC 2033 section 4.2); aiosmtpd
        sends one for all. Only the reply before the data begins with 354, so the next one is it."""
        reply = status if isinstance(status, str) else bytes(status).decode("utf-8", "replace")
        owed, self._replies_owed = self._replies_owed, 1
        if reply.startswith("354") and self.envelope is not None:
            self._replies_owed = len(self.envelope.rcpt_tos)
        await super().push("\r\n".join([reply] * owed))

    async def handle_exception(self, error: Exception) -> str:
        """451, where aiosmtpd answers 500 and the mail would be lost. The transaction is over."""
        log.error("lmtp_session_failed", error=type(error).__name__)
        self.envelope = self._create_envelope()
        return "451 4.3.0 Internal error, try again later"

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Takes any path as it is written (RFC 5321 section 4.1.2). aiosmtpd's parser refuses or cuts
        senders that exist, such as `a:b@example.jp`, and rewrites quoted ones."""
        found = _PATH.fullmatch(arg.strip())
        if found is not None:
            return found[1].strip() or "<>", found[2]  # aiosmtpd's own word for the null path
        odd = _ODD_PATH.fullmatch(arg.strip())
        assert odd is not None
        return odd[1], odd[2]

    @syntax("RCPT TO: <address>")
    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """Any recipient is taken, its token is judged later; only their number is limited."""
        if self.envelope is not None and len(self.envelope.rcpt_tos) >= MAX_RECIPIENTS:
            await self.push("452 4.5.3 Too many recipients")
            return
        await super().smtp_RCPT(arg)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Reads the mail keeping its head only, where aiosmtpd refuses long mails and long lines."""
        envelope = self.envelope
        assert envelope is not None
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
            return
        if not envelope.rcpt_tos:  # RFC 2033 section 4.2: 503, as no reply could follow the data
            await self.push("503 5.5.1 Error: need RCPT command")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        raw, size = await read_body(self._reader, self._listener.max_size)
        sender = envelope.mail_from or ""
        inbound = Inbound(
            raw=raw,
            source="lmtp",
            envelope_from="" if sender == "<>" else sender,
            envelope_to=tuple(envelope.rcpt_tos),
            received_at=self._listener.clock(),
            truncated=size > len(raw),
            note=cut_note(len(raw), size) if size > len(raw) else "",
        )
        await self._answer(inbound)

    async def _answer(self, inbound: Inbound) -> None:
        """Stores the mail and replies. The store is shielded: if the client leaves meanwhile, the mail
        is stored all the same, and counted once when the client comes again."""
        answered: asyncio.Future[None] = self.loop.create_future()
        storing = self.loop.create_task(self._listener.keep(inbound))
        self._listener.busy |= {answered, storing}
        storing.add_done_callback(self._listener.busy.discard)
        try:
            reply = await asyncio.shield(storing)
            self.envelope = self._create_envelope()
            await self.push(reply)
        finally:
            self._listener.busy.discard(answered)
            answered.cancel()
