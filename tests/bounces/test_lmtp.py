"""The LMTP listener over real sockets: what is acknowledged is stored, and nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import smtplib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from bounces.intake import Inbound, delivery_headers
from bounces.lmtp import BUFFER_LIMIT, LmtpListener, read_body
from tests.servers.postfix import Relay

NOW = datetime(2026, 4, 1, 0, 0, tzinfo=UTC)
TOKEN = "b+kx7q2m@notice.library.example"
MAIL = (
    b"From: Mail Delivery System <mailer-daemon@mx.example>\r\n"
    b"To: <b+kx7q2m@notice.library.example>\r\n"
    b"Subject: Undelivered mail\r\n"
    b"\r\n"
    b"The mailbox is not there.\r\n"
)


class Shelf:
    """A store that keeps mails in a list. `failures` are raised first, one for each mail; while `gate`
    is closed, storing waits."""

    def __init__(self, *failures: Exception) -> None:
        self.mails: list[Inbound] = []
        self.failures = list(failures)
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def __call__(self, inbound: Inbound) -> None:
        self.waiting.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.mails.append(inbound)


class Client:
    """An LMTP client that says just what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """One reply, its lines joined by a space; "" when the server closed."""
        lines = []
        while line := await asyncio.wait_for(self.reader.readline(), 10):
            lines.append(line.decode().strip())
            if line[3:4] != b"-":
                break
        return " ".join(lines)

    async def say(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def mail(self, *recipients: str, sender: str = "") -> None:
        assert (await self.say(f"MAIL FROM:<{sender}>")).startswith("250")
        for recipient in recipients:
            assert (await self.say(f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await self.say("DATA")).startswith("354")

    async def deliver(self, raw: bytes = MAIL, *recipients: str, sender: str = "") -> list[str]:
        to = recipients or (TOKEN,)
        await self.mail(*to, sender=sender)
        self.writer.write(raw + b".\r\n")
        return [await self.reply() for _ in to]


@contextlib.asynccontextmanager
async def connected(listener: LmtpListener) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    client = Client(reader, writer)
    try:
        assert (await client.reply()).startswith("220")
        assert (await client.say("LHLO mx.library.example")).startswith("250")
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(shelf: Shelf, **options: object) -> AsyncIterator[LmtpListener]:
    listener = LmtpListener("127.0.0.1", 0, shelf, lambda: NOW, **options)  # type: ignore[arg-type]
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def test_a_bounce_is_stored_as_it_came_before_it_is_acknowledged() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    async with listening(shelf) as listener, connected(listener) as client:
        await client.mail(TOKEN)
        client.writer.write(MAIL + b"..a line with a dot\r\n.\r\n")
        await shelf.waiting.wait()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.05)
        shelf.gate.set()
        assert await client.reply() == "250 2.0.0 Stored"
    assert shelf.mails == [
        Inbound(MAIL + b".a line with a dot\r\n", "lmtp", "", (TOKEN,), NOW, truncated=False, note="")
    ]


async def test_every_recipient_has_a_reply_of_its_own() -> None:
    shelf = Shelf(OSError("disk full"))
    recipients = ("a@library.example", "b@library.example", "c@library.example")
    async with listening(shelf) as listener, connected(listener) as client:
        assert [reply[:3] for reply in await client.deliver(MAIL, *recipients)] == ["451"] * 3
        assert [reply[:3] for reply in await client.deliver(MAIL, *recipients)] == ["250"] * 3
        assert (await client.say("NOOP")).startswith("250")  # and not one reply more
    assert [mail.envelope_to for mail in shelf.mails] == [recipients]


@pytest.mark.parametrize(
    "failure", [OSError("full"), RuntimeError("locked"), UnicodeEncodeError("a", "", 0, 1, "")]
)
async def test_what_cannot_be_stored_is_never_refused_for_good(failure: Exception) -> None:
    shelf = Shelf(failure)
    async with listening(shelf) as listener, connected(listener) as client:
        assert (await client.deliver())[0].startswith("451")
        assert shelf.mails == []
        assert (await client.deliver())[0].startswith("250")
    assert len(shelf.mails) == 1


async def test_a_fault_of_the_session_itself_is_answered_451_and_the_next_mail_goes_on() -> None:
    shelf = Shelf()
    times: list[Callable[[], datetime]] = [lambda: 1 / 0, lambda: NOW]  # type: ignore[list-item, return-value]
    listener = LmtpListener("127.0.0.1", 0, shelf, lambda: times.pop(0)())
    await listener.start()
    async with connected(listener) as client:
        replies = await client.deliver(MAIL, "a@library.example", "b@library.example")
        assert [reply[:3] for reply in replies] == ["451", "451"]
        assert (await client.deliver())[0].startswith("250")
    await listener.stop()


SENDERS = [
    # envelope sender on the wire, as it must arrive
    ("<>", ""),
    ("<taro@example.jp>", "taro@example.jp"),
    ("<taro@example.jp> BODY=8BITMIME SIZE=99000000", "taro@example.jp"),
    ("<a..b@docomo.example>", "a..b@docomo.example"),
    ("<taro.@docomo.example>", "taro.@docomo.example"),
    ('<"taro."@docomo.example>', '"taro."@docomo.example'),
    ('<"a>b c"@example.jp>', '"a>b c"@example.jp'),
    ("<a:b@example.jp>", "a:b@example.jp"),
    ("<a[x@example.jp>", "a[x@example.jp"),
    ('<half"quoted@example.jp>', 'half"quoted@example.jp'),
    ("<@relay.example:taro@example.jp>", "taro@example.jp"),
    ("<太郎@例え.example> SMTPUTF8", "太郎@例え.example"),
    ("<a@b..example>", "a@b..example"),
    ("taro@example.jp", "taro@example.jp"),
    (f"<{'x' * 900}@example.jp>", f"{'x' * 900}@example.jp"),
]


@pytest.mark.parametrize(("path", "sender"), SENDERS)
async def test_any_sender_is_taken_as_it_is_written(path: str, sender: str) -> None:
    shelf = Shelf()
    async with listening(shelf) as listener, connected(listener) as client:
        assert (await client.say(f"MAIL FROM:{path}")).startswith("250")
        assert (await client.say("RCPT TO:<anything+at all@library.example>")).startswith("250")
        assert (await client.say("DATA")).startswith("354")
        client.writer.write(MAIL + b".\r\n")
        assert (await client.reply()).startswith("250")
    assert (shelf.mails[0].envelope_from, shelf.mails[0].envelope_to) == (
        sender,
        ("anything+at all@library.example",),
    )


async def test_commands_out_of_order_and_nonsense_do_not_end_the_session() -> None:
    shelf = Shelf()
    async with listening(shelf) as listener, connected(listener) as client:
        for line, code in [
            ("DATA", "503"),
            ("RCPT TO:<a@library.example>", "503"),
            ("EHLO mx", "500"),
            ("MAIL FROM:", "501"),
            ("VRFY taro", "252"),
            ("X" * 5000, "500"),
            ("MAIL FROM:<>", "250"),
            ("MAIL FROM:<>", "503"),
            ("DATA", "503"),
            ("RCPT TO:<a@library.example>", "250"),
            ("DATA now", "501"),
            ("RSET", "250"),
        ]:
            assert (await client.say(line))[:3] == code, line
        assert (await client.deliver())[0].startswith("250")


async def test_recipients_beyond_the_limit_wait_for_another_transaction() -> None:
    shelf = Shelf()
    async with listening(shelf) as listener, connected(listener) as client:
        await client.say("MAIL FROM:<>")
        replies = [(await client.say(f"RCPT TO:<r{n}@library.example>"))[:3] for n in range(102)]
        assert Counter(replies) == {"250": 100, "452": 2}
        await client.say("DATA")
        client.writer.write(MAIL + b".\r\n")
        assert {(await client.reply())[:3] for _ in range(100)} == {"250"}
    assert len(shelf.mails[0].envelope_to) == 100


@pytest.mark.parametrize("line", [80, 5_000, 3 * BUFFER_LIMIT])
async def test_of_a_long_mail_the_head_is_kept_and_marked(line: int) -> None:
    shelf = Shelf()
    raw = MAIL + (b"x" * line + b"\r\n") * (1_000_000 // line)
    async with listening(shelf, max_size=100_000) as listener, connected(listener) as client:
        assert (await client.deliver(raw))[0].startswith("250")
        assert (await client.deliver(MAIL))[0].startswith("250")
    long, short = shelf.mails
    assert long.raw == raw[:100_000]
    assert long.truncated
    assert long.note == f"first 100000 of {len(raw)} octets kept"
    assert (short.raw, short.truncated) == (MAIL, False)


SMUGGLED = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
]


@pytest.mark.parametrize("end", SMUGGLED)
async def test_only_crlf_dot_crlf_ends_a_mail(end: bytes) -> None:
    shelf = Shelf()
    hidden = b"MAIL FROM:<>\r\nRCPT TO:<victim@library.example>\r\nDATA\r\nforged\r\n"
    async with listening(shelf) as listener, connected(listener) as client:
        assert (await client.deliver(MAIL + b"text" + end + hidden))[0].startswith("250")
        assert (await client.say("NOOP")).startswith("250")
    assert len(shelf.mails) == 1
    assert shelf.mails[0].envelope_to == (TOKEN,)
    assert shelf.mails[0].raw.endswith(hidden)


@given(
    lines=st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\r\n", b"")), max_size=30),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    keep=st.integers(0, 300),
    limit=st.integers(8, 64),
)
def test_any_octets_come_through_dot_stuffing_in_any_pieces(
    lines: list[bytes], cuts: list[int], keep: int, limit: int
) -> None:
    # an end "\r" of a line would join with the line end; that is another mail, not another reading
    body = b"".join(line.rstrip(b"\r") + b"\r\n" for line in lines)
    stuffed = _stuff(body)

    async def read() -> tuple[tuple[bytes, int], bytes]:
        reader = asyncio.StreamReader(limit=limit)
        wire = stuffed + b".\r\nQUIT\r\n"
        places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
        for start, end in itertools.pairwise(places):
            reader.feed_data(wire[start:end])
        reader.feed_eof()
        return await read_body(reader, keep), await reader.read()

    (kept, size), rest = asyncio.run(read())
    assert (kept, size) == (body[:keep], len(body))
    assert rest == b"QUIT\r\n"


def _stuff(body: bytes) -> bytes:
    lines = body.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


async def test_only_allowed_peers_may_enter() -> None:
    shelf = Shelf()
    async with listening(shelf, allowed=("192.0.2.0/24",)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"421 4.7.1")
        writer.close()
        await writer.wait_closed()


PEERS = [
    (("127.0.0.1", 25), True),
    (("127.9.9.9", 25), True),
    (("::1", 25, 0, 0), True),
    (("::ffff:127.0.0.1", 25, 0, 0), True),
    (("fe80::1%eth0", 25, 0, 2), False),
    (("::ffff:192.0.2.1", 25, 0, 0), False),
    (("192.0.2.1", 25), False),
    ("", True),  # a Unix socket has no peer name
]


@pytest.mark.parametrize(("peer", "allowed"), PEERS)
async def test_peers_are_loopback_by_default(peer: object, allowed: bool) -> None:
    listener = LmtpListener("127.0.0.1", 0, Shelf(), lambda: NOW)
    assert (listener.refusal(peer) == "") is allowed


async def test_connections_beyond_the_limit_are_put_off_and_later_let_in() -> None:
    shelf = Shelf()
    async with listening(shelf, max_connections=2) as listener:
        async with connected(listener), connected(listener):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            async with asyncio.timeout(10):
                assert (await reader.read()).startswith(b"421 4.3.2")
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(10):
            while listener.sessions:
                await asyncio.sleep(0.01)
        async with connected(listener) as client:
            assert (await client.deliver())[0].startswith("250")


async def test_a_silent_connection_is_closed() -> None:
    async with listening(Shelf(), timeout=0.1) as listener, connected(listener) as client:
        async with asyncio.timeout(10):
            assert await client.reply() == ""


async def test_a_client_that_leaves_in_mid_mail_leaves_nothing() -> None:
    shelf = Shelf()
    async with listening(shelf) as listener:
        async with connected(listener) as client:
            await client.mail(TOKEN)
            client.writer.write(MAIL)
            await client.writer.drain()
        async with connected(listener) as client:
            assert (await client.deliver())[0].startswith("250")
    assert len(shelf.mails) == 1


async def test_a_client_that_leaves_after_the_final_dot_has_its_mail_stored() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    async with listening(shelf) as listener:
        async with connected(listener) as client:
            await client.mail(TOKEN)
            client.writer.write(MAIL + b".\r\n")
            await shelf.waiting.wait()
        shelf.gate.set()
    assert len(shelf.mails) == 1


async def test_stopping_answers_what_is_being_stored_and_ends_the_rest_with_421() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    listener = LmtpListener("127.0.0.1", 0, shelf, lambda: NOW)
    await listener.start()
    async with connected(listener) as storing, connected(listener) as writing, connected(listener) as idle:
        await writing.mail(TOKEN)
        await storing.mail(TOKEN)
        storing.writer.write(MAIL + b".\r\n")
        await shelf.waiting.wait()
        stopping = asyncio.create_task(listener.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        shelf.gate.set()
        await stopping
        assert await storing.reply() == "250 2.0.0 Stored"
        assert (await storing.reply()).startswith("421")
        assert (await writing.reply()).startswith("421")
        assert (await idle.reply()).startswith("421")
        assert await idle.reply() == ""
    assert len(shelf.mails) == 1
    with pytest.raises(RuntimeError):
        _ = listener.port


async def test_stopping_does_not_wait_for_ever() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    listener = LmtpListener("127.0.0.1", 0, shelf, lambda: NOW, grace=0.05)
    await listener.start()
    async with connected(listener) as client:
        await client.mail(TOKEN)
        client.writer.write(MAIL + b".\r\n")
        await shelf.waiting.wait()
        await listener.stop()
        assert (await client.reply()).startswith("421")  # unacknowledged: its sender keeps it
    shelf.gate.set()


async def flood(listener: LmtpListener, connections: int, mails: int) -> list[str]:
    async def one(number: int) -> list[str]:
        async with connected(listener) as client:
            return [
                reply
                for n in range(mails)
                for reply in await client.deliver(MAIL + b"%d-%d\r\n" % (number, n))
            ]

    return [reply for replies in await asyncio.gather(*map(one, range(connections))) for reply in replies]


async def test_a_flood_is_stored_once_each() -> None:
    shelf = Shelf()
    async with listening(shelf) as listener:
        replies = await flood(listener, 20, 100)
    assert Counter(replies) == {"250 2.0.0 Stored": 2000}
    assert len({mail.raw for mail in shelf.mails}) == len(shelf.mails) == 2000


async def test_a_real_postfix_keeps_what_was_not_stored_and_hands_it_in_again(relay: Relay) -> None:
    """Several recipients in one transaction, the store down at first, a mail longer than we keep."""
    shelf = Shelf(OSError("disk full"))
    listener = LmtpListener("127.0.0.1", relay.our_lmtp_port, shelf, lambda: NOW, max_size=50_000)
    await listener.start()
    recipients = [f"b-{n}@lmtp.library.example" for n in range(3)]

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", relay.port) as smtp:
            smtp.sendmail("a..b@docomo.example", recipients, MAIL + b"x" * 99_000 + b"\r\n..\r\n")

    await asyncio.to_thread(send)
    async with asyncio.timeout(60):
        while not shelf.mails:
            await asyncio.sleep(0.05)
    await listener.stop()
    (inbound,) = shelf.mails
    assert sorted(inbound.envelope_to) == recipients
    assert inbound.envelope_from == '"a..b"@docomo.example'  # as Postfix writes it
    assert (len(inbound.raw), inbound.truncated) == (50_000, True)
    assert "451 4.3.0 The mail could not be stored" in relay.log()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_under_uvloop_and_on_a_socket_of_the_callers(family: socket.AddressFamily, tmp_path: Path) -> None:
    async def use() -> None:
        shelf = Shelf()
        sock = socket.socket(family)
        sock.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "lmtp"))
        listener = LmtpListener("", 0, shelf, lambda: NOW, sock=sock, max_connections=1)
        await listener.start()
        if family == socket.AF_INET:
            streams = await asyncio.open_connection("127.0.0.1", listener.port)
        else:
            streams = await asyncio.open_unix_connection(str(tmp_path / "lmtp"))
        client = Client(*streams)
        assert (await client.reply()).startswith("220")
        await client.say("LHLO mx")
        assert (await client.deliver(MAIL, "a@x.example", "b@x.example")) == ["250 2.0.0 Stored"] * 2
        await listener.stop()
        assert (await client.reply()).startswith("421")
        client.writer.close()
        assert len(shelf.mails) == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())


async def test_no_address_is_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.NOTSET, "mail.log")
    shelf = Shelf(OSError("(sqlite) INSERT ... taro@example.jp"))
    async with listening(shelf) as listener, connected(listener) as client:
        await client.deliver(MAIL, sender="taro@example.jp")
        await client.deliver(MAIL, sender="taro@example.jp")
    written = caplog.text + capsys.readouterr().out
    assert "mail_stored" in written
    assert "@" not in written


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Inbound(b"", "file", "", (), datetime(2026, 4, 1), False, "")  # noqa: DTZ001


HEADS = [
    # head of a mail, envelope sender, recipients
    (b"Return-Path: <>\r\nDelivered-To: b+tok@library.example\r\n", "", ("b+tok@library.example",)),
    (b"return-path:<a@x.example>\r\nReturn-Path: <b@x.example>\r\n", "a@x.example", ()),
    (
        b"Delivered-To: box@library.example\r\nX-Original-To: b+tok@library.example\r\n"
        b"Envelope-To: <box@library.example>\r\n",
        "",
        ("box@library.example", "b+tok@library.example"),
    ),
    (b"Delivered-To:\r\n b+tok@library.example\r\n", "", ("b+tok@library.example",)),
    (b"Delivered-To: \r\nSubject: x\r\n", "", ()),
    (b"Subject: x\r\n\r\nDelivered-To: forged@library.example\r\n", "", ()),
    (b"Subject: x\n\nDelivered-To: forged@library.example\n", "", ()),
    (b"", "", ()),
]


@pytest.mark.parametrize(("head", "sender", "recipients"), HEADS)
def test_the_delivering_servers_notes_are_read(head: bytes, sender: str, recipients: tuple[str, ...]) -> None:
    assert delivery_headers(head) == (sender, recipients)


@given(st.binary(max_size=400) | st.binary(max_size=100).map(lambda tail: b"Delivered-To: " + tail))
def test_any_octets_can_be_asked_for_the_notes(raw: bytes) -> None:
    sender, recipients = delivery_headers(raw)
    assert "\0" not in sender
    assert all(address and "\0" not in address for address in recipients)
