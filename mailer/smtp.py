"""One connection to the library's relay: mail and its envelope go in, the relay's answer comes out.

In: bytes that are ready to send, sender and recipient. Out: an `Outcome` with all the evidence. This
module never reads a clock for a decision, never retries a mail that the relay answered, never logs,
and never raises for what a relay may do. It is the only one that knows aiosmtplib.

aiosmtplib opens the session: connection, greeting, EHLO, TLS, login. The mails themselves go through
`Conversation`, which takes the transport over (`Transport.set_protocol`), because one reply per command
is all that aiosmtplib can await, and command pipelining (RFC 2920) halves the round trips of a mail and
takes about a third of the processor time.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import cast

import aiosmtplib

from holds_core.notices import Outcome, Phase, Result
from mailer.conversation import Conversation, Reply, clean, enhanced_status, on_the_wire, xtext

QUIT_WAIT = 5.0
"""Seconds to wait for the answer to QUIT: a courtesy (RFC 5321 section 4.1.1.10), not worth more."""

_CLOSING = 421  # "service not available, closing transmission channel", RFC 5321 section 3.8


class Tls(StrEnum):
    """How the connection is encrypted. There is no opportunistic mode: what is asked for is required."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """Where the relay is and how to speak to it. Times are in seconds.

    `local_hostname` is our name in EHLO: a full domain name, or an address literal in brackets. With a
    `username` the login is part of connecting; it is sent in clear only where `tls` says `none`.
    `ca_file` (PEM) replaces the system's certificate authorities. `verify=False` accepts any certificate.
    `timeout` is for each reply, except `dot_timeout` for the one after the final dot: giving up there
    duplicates mail, and RFC 5321 section 4.5.3.2.6 asks for 10 minutes. The connection is renewed after
    `max_mails` mails, and after `max_idle` seconds without one, before relays do it by themselves.

    Raises ValueError if `local_hostname` cannot be put into a command.
    """

    host: str
    port: int
    tls: Tls
    local_hostname: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    verify: bool = True
    timeout: float = 60.0
    dot_timeout: float = 600.0
    max_mails: int = 1000
    max_idle: float = 100.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]+", self.local_hostname):
            raise ValueError(f"not a host name for EHLO: {self.local_hostname!r}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """One mail to one recipient, as it goes over the wire.

    `sender` "" is the null return path `<>`. `data` is the whole mail; bare CR and LF become CRLF.
    `envid` is the envelope id for reports (RFC 3461 section 4.4), at most 100 characters; with `dsn`
    reports of success, failure and delay are asked for, if the relay can pass that on.
    """

    sender: str
    recipient: str
    data: bytes
    envid: str = ""
    dsn: bool = True


class Relay:
    """A connection that is opened when needed and reused. One task owns it: calls must not overlap."""

    def __init__(self, options: RelayOptions) -> None:
        self._options = options
        self._line: Conversation | None = None
        self._tls_context: ssl.SSLContext | None = None
        self._mails = 0  # on this connection
        self._last_used = 0.0  # loop time
        self._transaction_open = False  # a refused mail that must be reset before the next one
        self.remote = options.host
        """The relay's name as its greeting gave it; the host's before the first connection."""
        self.extensions: frozenset[str] = frozenset()
        """What the relay announced last (EHLO keywords in lower case), for example "dsn"."""

    @property
    def is_connected(self) -> bool:
        return self._line is not None and self._line.is_open

    async def connect(self) -> Outcome | None:
        """Opens a new connection, after closing an old one. None: it is open and logged in.

        Otherwise a NOT_STARTED outcome with the phase that failed (connect, hello, tls, login) and what
        the relay or the system said.
        """
        await self.close()
        try:
            self._line = await self._open()
        except _NotStartedError as error:
            return error.outcome
        self._mails = 0
        self._transaction_open = False
        self._last_used = asyncio.get_running_loop().time()
        return None

    async def send(
        self, sender: str, recipient: str, data: bytes, *, envid: str = "", dsn: bool = True
    ) -> Outcome:
        """Sends one mail (see `Envelope`), connecting first if need be, and says how it ended.

        HANDED_OVER: 250 after the final dot. REFUSED: 5xx. DEFERRED: 4xx, or the connection broke before
        the final dot. UNCERTAIN: it broke, or stayed silent, after it. NOT_STARTED: no connection, TLS
        or login. If cancelled, the connection is cut: its mail is in an unknown state.
        """
        envelope = Envelope(sender, recipient, data, envid, dsn)
        if fault := _unspeakable(envelope):
            return fault
        while True:
            before = self._line
            if failure := await self._ready():
                return failure
            assert self._line is not None
            try:
                outcome = await self._transact(self._line, envelope)
            except BaseException:
                self._line.cut()
                raise
            # The relay closed an idle connection while MAIL was under way. No mail was begun, and a
            # new connection tells whether the relay has more to say than "you were too slow".
            stale = outcome.phase is Phase.MAIL and outcome.code in (None, _CLOSING)
            if self._line is not before or not stale:
                return outcome

    async def close(self) -> None:
        """Ends the session with QUIT if there is one. Never raises; may be called again."""
        line, self._line = self._line, None
        if line is None:
            return
        if line.is_open:
            await line.ask(b"QUIT\r\n", 1, QUIT_WAIT)
        line.cut()

    async def _ready(self) -> Outcome | None:
        """Makes sure that the connection can take a mail; None, or the outcome of the failure."""
        idle = asyncio.get_running_loop().time() - self._last_used
        worn = self._mails >= self._options.max_mails or idle > self._options.max_idle
        if self._line is not None and self._line.is_open and not worn:
            if not self._transaction_open:
                return None
            replies = await self._line.ask(b"RSET\r\n", 1, self._options.timeout)
            if replies and replies[0].code == 250:
                self._transaction_open = False
                return None
        return await self.connect()

    async def _open(self) -> Conversation:
        """A session up to the point where MAIL may be sent. Raises _NotStartedError."""
        options, phase = self._options, Phase.TLS
        try:
            context = await self._context()
        except OSError as error:
            raise _NotStartedError(phase, error, self.remote) from error
        client = aiosmtplib.SMTP(
            hostname=options.host,
            port=options.port,
            local_hostname=options.local_hostname,  # else a blocking look-up of our own name
            timeout=options.timeout,
            use_tls=options.tls is Tls.IMPLICIT,
            start_tls=False,  # a step of its own, so that its failure is told from the connection's
            tls_context=context,
        )
        try:
            for phase, step in self._steps(client):  # noqa: B007 - tells below which step failed
                await step()
            return self._take_over(client)
        except BaseException as error:
            client.close()
            # ValueError: a challenge or greeting that aiosmtplib cannot decode
            if isinstance(error, aiosmtplib.SMTPException | OSError | ValueError):
                raise _NotStartedError(phase, error, self.remote) from error
            raise

    def _steps(self, client: aiosmtplib.SMTP) -> list[tuple[Phase, _Step]]:
        """What opens a session, in order. EHLO is repeated under TLS (RFC 3207 section 4.2)."""
        options = self._options
        hello = (Phase.HELLO, partial(_hello, client))
        steps: list[tuple[Phase, _Step]] = [(Phase.CONNECT, client.connect), hello]
        if options.tls is Tls.STARTTLS:
            steps += [(Phase.TLS, client.starttls), hello]
        if options.username:
            steps += [(Phase.LOGIN, partial(client.login, options.username, options.password))]
        return steps

    async def _context(self) -> ssl.SSLContext | None:
        """The TLS settings, read once. Raises OSError for a missing or bad `ca_file`."""
        if self._options.tls is not Tls.NONE and self._tls_context is None:
            # reads some hundred certificates from disk: not in the event loop
            self._tls_context = await asyncio.to_thread(_tls_context, self._options)
        return self._tls_context

    def _take_over(self, client: aiosmtplib.SMTP) -> Conversation:
        """The client's connection as a conversation of ours; raises SMTPServerDisconnected if it is gone."""
        greeting = client.last_ehlo_response or client.last_helo_response
        transport = client.transport
        if transport is None or greeting is None or transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.remote = clean(greeting.message).partition(" ")[0] or self._options.host
        self.extensions = frozenset(client.esmtp_extensions)
        return Conversation(cast(asyncio.Transport, transport))

    async def _transact(self, line: Conversation, envelope: Envelope) -> Outcome:
        """One mail transaction (RFC 5321 section 3.3) on an open connection."""
        self._mails += 1
        try:
            failure = await self._begin(line, self._commands(envelope))
            if failure:
                return failure
            replies = await line.ask(on_the_wire(envelope.data), 1, self._options.dot_timeout)
            if not replies:
                # Perhaps the dot never left our own buffers; there is no way to be sure, and
                # taking it for sent costs a wait where the opposite costs a second mail.
                return self._outcome(Result.UNCERTAIN, Phase.DATA, text=line.broken)
            if replies[0].code // 100 == 2:
                return self._outcome(Result.HANDED_OVER, Phase.DATA, replies[0].code, replies[0].text)
            return self._negative(line, Phase.DATA, replies[0], otherwise=Result.UNCERTAIN)
        finally:
            self._last_used = asyncio.get_running_loop().time()

    def _commands(self, envelope: Envelope) -> tuple[bytes, bytes, bytes]:
        """MAIL, RCPT and DATA, with the extensions that the relay announced."""
        mail = [b"MAIL FROM:<%s>" % envelope.sender.encode()]
        rcpt = [b"RCPT TO:<%s>" % envelope.recipient.encode()]
        if "size" in self.extensions:  # RFC 1870: too large is refused before it is sent
            mail.append(b"SIZE=%d" % len(envelope.data))
        if "8bitmime" in self.extensions and not envelope.data.isascii():  # RFC 6152
            mail.append(b"BODY=8BITMIME")
        if envelope.dsn and "dsn" in self.extensions:  # RFC 3461 section 4
            mail.append(b"RET=HDRS")
            if envelope.envid:
                mail.append(b"ENVID=" + xtext(envelope.envid))
            rcpt += [b"NOTIFY=SUCCESS,FAILURE,DELAY", b"ORCPT=rfc822;" + xtext(envelope.recipient)]
        return b" ".join(mail) + b"\r\n", b" ".join(rcpt) + b"\r\n", b"DATA\r\n"

    async def _begin(self, line: Conversation, commands: tuple[bytes, bytes, bytes]) -> Outcome | None:
        """Sends the commands; None: the relay waits for the data, otherwise the outcome.

        With PIPELINING all three leave together (RFC 2920 section 3.1: DATA may be the last of a group).
        """
        grouped = "pipelining" in self.extensions
        replies: list[Reply] = []
        if grouped:
            replies = await line.ask(b"".join(commands), 3, self._options.timeout)
        for number, phase in enumerate((Phase.MAIL, Phase.RCPT, Phase.DATA)):
            if not grouped:
                replies += await line.ask(commands[number], 1, self._options.timeout)
            if len(replies) <= number:
                return self._outcome(Result.DEFERRED, phase, text=line.broken)
            reply = replies[number]
            if reply.code // 100 == (3 if phase is Phase.DATA else 2):
                continue
            if grouped and replies[-1].code // 100 == 3:
                # DATA was let through without a recipient: ending that empty mail is legal (the same
                # section), but a cut connection cannot be taken for a mail by any relay.
                line.cut()
            self._transaction_open = phase is not Phase.MAIL
            return self._negative(line, phase, reply, otherwise=Result.DEFERRED)
        if not line.is_open:  # it said more than it was asked, or goodbye: the data stays here
            return self._outcome(Result.DEFERRED, Phase.DATA, text=line.broken or "connection lost")
        return None

    def _negative(self, line: Conversation, phase: Phase, reply: Reply, *, otherwise: Result) -> Outcome:
        """The outcome of a reply that is not the awaited one.

        `otherwise` is its worth if it is neither 4xx nor 5xx: the relay has then lost the thread.
        """
        result = {4: Result.DEFERRED, 5: Result.REFUSED}.get(reply.code // 100)
        if result is None or reply.code == _CLOSING:
            line.cut()
        return self._outcome(result or otherwise, phase, reply.code, reply.text)

    def _outcome(self, result: Result, phase: Phase, code: int | None = None, text: str = "") -> Outcome:
        return Outcome(result, phase, code, enhanced_status(code, text), text, self.remote)


class _NotStartedError(Exception):
    """The session could not be opened; `outcome` says in which phase and why."""

    def __init__(self, phase: Phase, error: BaseException, remote: str) -> None:
        if isinstance(error.__cause__, ssl.SSLError):  # implicit TLS is part of connecting
            phase = Phase.TLS
        code, text = None, str(error)
        if isinstance(error, aiosmtplib.SMTPResponseException):
            text = error.message
            code = error.code if error.code > 0 else None  # -1: the reply was not SMTP
        text = clean(text)
        self.outcome = Outcome(Result.NOT_STARTED, phase, code, enhanced_status(code, text), text, remote)
        super().__init__(text)


_Step = Callable[[], Awaitable[object]]


async def _hello(client: aiosmtplib.SMTP) -> None:
    """EHLO, or HELO where the relay does not know it (RFC 5321 section 3.2)."""
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()


def _tls_context(options: RelayOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca_file)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_SPEAKABLE = re.compile(r"[!-;=?-~]*")  # printable ASCII without space, "<" and ">"


def _unspeakable(envelope: Envelope) -> Outcome | None:
    """The outcome of a mail whose addresses cannot be put into a command, else None.

    A patron's bad record must not stop the queue behind it, nor smuggle a command into it. The codes are
    RFC 3463's for bad address syntax (X.1.3, X.1.7); no relay was asked, hence no reply code.
    """
    if not (envelope.recipient and _SPEAKABLE.fullmatch(envelope.recipient)):
        return Outcome(Result.REFUSED, Phase.RCPT, None, "5.1.3", "the address cannot be written in SMTP")
    if not _SPEAKABLE.fullmatch(envelope.sender):
        # ours to mend, and then it can still be sent
        return Outcome(Result.NOT_STARTED, Phase.MAIL, None, "5.1.7", "the sender cannot be written in SMTP")
    return None
