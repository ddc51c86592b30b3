"""SMTP as bytes: commands go out in groups, replies come back; and the encodings that they need.

In: an open transport, complete commands, a mail's bytes. Out: complete replies. This module does not
know what a reply means, opens no connection and knows no library but asyncio.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

_MAX_REPLY = 32 * 1024  # bytes; real EHLO replies have some hundred
_MAX_TEXT = 1000  # characters


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete SMTP reply: its code, and its lines without the code, joined by spaces."""

    code: int
    raw: bytes

    @property
    def text(self) -> str:
        return clean(self.raw.decode("utf-8", "replace"))


class Conversation(asyncio.Protocol):
    """Commands and replies on an open session, several at a time (RFC 2920).

    Takes over a transport on which all earlier replies were read. Whatever goes wrong (lost, silent for
    too long, cancelled in mid-wait, a reply nobody asked for, no SMTP at all) ends the connection and is
    told by `broken`: replies and commands could no longer be paired.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.broken = ""
        """Why the connection is not usable any more, in English; "" while it is."""
        self._transport = transport
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 0
        self._replies: list[Reply] = []
        self._buffer = b""
        self._earlier_lines = b""  # of a reply that is not complete
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not self.broken and not self._transport.is_closing()

    async def ask(self, data: bytes, wanted: int, patience: float) -> list[Reply]:
        """Writes `data` and waits for as many replies as it makes, `patience` seconds for each of them.

        Returns fewer replies if the connection broke first; it is closed then, and `broken` says why.
        """
        if not self.is_open:
            self._break("connection lost")
            return []
        loop = asyncio.get_running_loop()
        self._replies, self._wanted = [], wanted
        self._waiter = loop.create_future()
        alarm = loop.call_later(patience * wanted, self._break, "no answer in time")
        self._transport.write(data)
        try:
            await self._waiter
        finally:
            alarm.cancel()
            self._waiter, self._wanted = None, 0
            if len(self._replies) < wanted:
                self._break("cancelled")
        return self._replies

    def cut(self) -> None:
        """Closes at once, without QUIT. No command can follow."""
        self._break("connection closed by us")

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if not self.broken:  # what follows a misfit cannot be paired with a command
                self._take(line)
        if len(self._buffer) + len(self._earlier_lines) > _MAX_REPLY:
            self._break("the reply is too long")

    def connection_lost(self, exc: Exception | None) -> None:
        self._break("connection lost")

    def _take(self, line: bytes) -> None:
        """One line of a reply (RFC 5321 section 4.2.1); the last one has no hyphen after the code."""
        code, hyphen, text = line[:3], line[3:4], line[4:].strip()
        if not (len(code) == 3 and code.isdigit() and hyphen in b" -\r"):
            self._break("the reply is not SMTP")
        elif len(self._replies) >= self._wanted:
            # unasked: as a rule "421 timeout exceeded" on an idle connection
            self._break("a reply without a command")
        elif hyphen == b"-":
            self._earlier_lines += text + b" "
        else:
            self._replies.append(Reply(int(code), self._earlier_lines + text))
            self._earlier_lines = b""
            if len(self._replies) == self._wanted:
                self._wake()

    def _break(self, why: str) -> None:
        if not self.broken:
            self.broken = why
            self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def on_the_wire(data: bytes) -> bytes:
    """A mail as DATA wants it: CRLF line ends, leading dots doubled, the final dot (RFC 5321 section 4.5.2).

    A bare CR or LF is a line end to some servers and not to others, which is how mails are smuggled.
    """
    ends = data.count(b"\r\n")
    if data.count(b"\n") != ends or data.count(b"\r") != ends:
        data = _LINE_END.sub(b"\r\n", data)
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if data.startswith(b"."):
        data = b"." + data
    return data.replace(b"\r\n.", b"\r\n..") + b".\r\n"


_LINE_END = re.compile(rb"\r\n|\r|\n")


def xtext(text: str) -> bytes:
    """RFC 3461 section 4: printable ASCII but "+" and "=" as it is, all else as +XX.

    >>> xtext("a+b@library.example")
    b'a+2Bb@library.example'
    """
    return _NOT_XCHAR.sub(lambda found: b"+%02X" % found[0][0], text.encode())


_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")


def enhanced_status(code: int | None, text: str) -> str:
    """The enhanced status code (RFC 2034 section 4) at the head of a reply's text, or "".

    It counts only if its class is the reply code's own, as the RFC demands: servers that get this wrong
    have not looked it up.
    """
    found = _STATUS.match(text)
    return found[0] if found and code is not None and found[0][0] == str(code)[0] else ""


_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")


def clean(text: str) -> str:
    """A relay's words as one printable line of at most 1,000 characters."""
    printable = text.encode("utf-8", "replace").decode().translate(_CONTROLS)
    return " ".join(printable.split())[:_MAX_TEXT]


_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
