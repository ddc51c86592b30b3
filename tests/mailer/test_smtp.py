"""The relay connection against real servers: what each fault comes to, and what goes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from holds_core.notices import Outcome, Phase, Result
from mailer.conversation import clean, enhanced_status, on_the_wire, xtext
from mailer.smtp import Relay, RelayOptions, Tls
from tests.servers.ports import HOST, free_port, wait_until
from tests.servers.postfix import Relay as PostfixRelay
from tests.servers.sink import Sink
from tests.servers.tls import Certificate

SENDER, RECIPIENT = "token@bounce.library.example", "u@sink.example"
MAIL = (
    b"From: library@library.example\r\nTo: u@sink.example\r\nSubject: t\r\n"
    b"Message-ID: <1@library.example>\r\n\r\nhello\r\n"
)
MakeSink = Callable[..., Sink]


def options(port: int, tls: Tls = Tls.NONE, **changes: Any) -> RelayOptions:
    values: dict[str, Any] = {"host": HOST, "local_hostname": "mx.library.example", "timeout": 5.0, **changes}
    return RelayOptions(port=port, tls=tls, **values)


@contextlib.asynccontextmanager
async def relay_to(port: int, tls: Tls = Tls.NONE, **changes: Any) -> AsyncIterator[Relay]:
    relay = Relay(options(port, tls, **changes))
    try:
        yield relay
    finally:
        await relay.close()


async def send(relay: Relay, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "sender": SENDER,
        "recipient": RECIPIENT,
        "data": MAIL,
        "envid": "d7",
        **changes,
    }
    return await relay.send(**values)


# --- smtp-sink: a fault, the outcome, whether the sink ended up with the mail, whether we stay connected

SINK_FAULTS: list[tuple[list[str], Result, Phase, int | None, str, int, bool]] = [
    ([], Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", 1, True),
    (["-r", "CONNECT"], Result.NOT_STARTED, Phase.CONNECT, 450, "4.3.0", 0, False),
    (["-Q", "CONNECT"], Result.NOT_STARTED, Phase.CONNECT, 421, "4.0.0", 0, False),
    (["-q", "CONNECT"], Result.NOT_STARTED, Phase.CONNECT, None, "", 0, False),
    (["-q", "EHLO"], Result.NOT_STARTED, Phase.HELLO, None, "", 0, False),
    # HELO is tried after EHLO
    (["-f", "EHLO"], Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", 1, True),
    (["-e"], Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", 1, True),
    (["-N", "-8", "-p"], Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", 1, True),
    (["-r", "MAIL"], Result.DEFERRED, Phase.MAIL, 450, "4.3.0", 0, True),
    (["-f", "MAIL", "-B", "553 5.7.1 sender?"], Result.REFUSED, Phase.MAIL, 553, "5.7.1", 0, True),
    (["-Q", "MAIL"], Result.DEFERRED, Phase.MAIL, 421, "4.0.0", 0, False),
    (["-q", "MAIL"], Result.DEFERRED, Phase.MAIL, None, "", 0, False),
    (["-p", "-r", "RCPT", "-b", "452 4.2.2 full"], Result.DEFERRED, Phase.RCPT, 452, "4.2.2", 0, True),
    (["-p", "-f", "RCPT", "-B", "550 5.1.1 no"], Result.REFUSED, Phase.RCPT, 550, "5.1.1", 0, True),
    (["-f", "RCPT", "-B", "550 5.1.1 no"], Result.REFUSED, Phase.RCPT, 550, "5.1.1", 0, True),
    (["-q", "RCPT"], Result.DEFERRED, Phase.RCPT, None, "", 0, False),
    (["-Q", "RCPT"], Result.DEFERRED, Phase.RCPT, 421, "4.0.0", 0, False),
    (["-f", "DATA"], Result.REFUSED, Phase.DATA, 500, "5.3.0", 0, True),
    (["-q", "DATA"], Result.DEFERRED, Phase.DATA, None, "", 0, False),
    (["-r", "."], Result.DEFERRED, Phase.DATA, 450, "4.3.0", 1, True),
    (["-f", ".", "-B", "554 5.7.1 spam"], Result.REFUSED, Phase.DATA, 554, "5.7.1", 1, True),
    (["-Q", "."], Result.DEFERRED, Phase.DATA, 421, "4.0.0", 1, False),
    # The whole mail is there, and nobody can tell
    (["-q", "."], Result.UNCERTAIN, Phase.DATA, None, "", 1, False),
    (["-W", ".:30"], Result.UNCERTAIN, Phase.DATA, None, "", 1, False),
    # -p: the sink's delays mix up the replies of a group
    (["-p", "-W", "RCPT:30"], Result.DEFERRED, Phase.RCPT, None, "", 0, False),
    (["-p", "-w", "30"], Result.DEFERRED, Phase.DATA, None, "", 0, False),
    (["-q", "QUIT"], Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", 1, True),
]


@pytest.mark.parametrize(
    ("fault", "result", "phase", "code", "status", "whole", "connected"),
    SINK_FAULTS,
    ids=[" ".join(row[0]) or "none" for row in SINK_FAULTS],
)
async def test_faults_of_smtp_sink(
    smtp_sink: MakeSink,
    fault: list[str],
    result: Result,
    phase: Phase,
    code: int | None,
    status: str,
    whole: int,
    connected: bool,
) -> None:
    sink = smtp_sink(*fault)
    patience = 0.3 if "30" in fault[-1:] or ":30" in "".join(fault) else 5.0
    async with relay_to(sink.port, timeout=patience, dot_timeout=patience) as relay:
        outcome = await send(relay)
        assert (outcome.result, outcome.phase, outcome.code, outcome.status) == (result, phase, code, status)
        assert outcome.text
        assert relay.is_connected is connected
    await wait_until(lambda: sum(b"hello" in mail for mail in sink.messages()) == whole)


async def test_a_relay_that_aborts_in_mid_mail(smtp_sink: MakeSink) -> None:
    """Its 550 may come before the mail is sent, after it, or be lost with the connection that it resets."""
    sink = smtp_sink("-A", "0")
    async with relay_to(sink.port) as relay:
        outcome = await send(relay)
    assert (outcome.result, outcome.code) in (
        (Result.DEFERRED, None),
        (Result.REFUSED, 550),
        (Result.UNCERTAIN, None),
    )
    assert outcome.phase is Phase.DATA


@pytest.mark.parametrize("fault", [["-p", "-f", "RCPT"], ["-f", "RCPT"], ["-r", "DATA"], ["-r", "."]])
async def test_the_mail_after_a_refused_one_is_refused_for_its_own_reason(
    smtp_sink: MakeSink, fault: list[str]
) -> None:
    """Without RSET or a new connection it would be "503 nested MAIL"."""
    async with relay_to(smtp_sink(*fault).port) as relay:
        outcomes = [await send(relay) for _ in range(3)]
    assert outcomes[0].result in (Result.REFUSED, Result.DEFERRED)
    assert outcomes == outcomes[:1] * 3


async def test_a_relay_that_ended_with_the_mail_in_hand(smtp_sink: MakeSink) -> None:
    sink = smtp_sink("-M", "1")
    async with relay_to(sink.port) as relay:
        assert (await send(relay)).result is Result.UNCERTAIN
        outcome = await send(relay)
    assert (outcome.result, outcome.phase, outcome.code) == (Result.NOT_STARTED, Phase.CONNECT, None)


async def test_a_relay_that_came_back(smtp_sink: MakeSink) -> None:
    sink = smtp_sink()
    async with relay_to(sink.port) as relay:
        assert (await send(relay)).result is Result.HANDED_OVER
        sink.stop()
        smtp_sink(port=sink.port)
        assert (await send(relay)).result is Result.HANDED_OVER


async def test_nobody_listens() -> None:
    async with relay_to(free_port()) as relay:
        outcome = await send(relay)
        assert (outcome.result, outcome.phase, outcome.code) == (Result.NOT_STARTED, Phase.CONNECT, None)
        assert outcome.remote == HOST
        assert await relay.connect() == outcome


# --- a server that keeps to a script

ANSWERS = {
    "CONNECT": b"220 relay.example ESMTP\r\n",
    "EHLO": b"250-relay.example greets you\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 DSN\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 go on\r\n",
    ".": b"250 2.0.0 Ok: queued as 4X\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
    "STARTTLS": b"220 2.0.0 Ready\r\n",
    "AUTH": b"235 2.7.0 Welcome\r\n",
}
NO_PIPELINING = b"250-relay.example greets you\r\n250 SIZE 1000000\r\n"
WITH_LOGIN = b"250-relay.example greets you\r\n250 AUTH PLAIN\r\n"
WITH_TLS = b"250-relay.example greets you\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"
HANG, CLOSE = b"HANG", b"CLOSE"
Answer = bytes | Sequence[bytes]


class Script:
    """An SMTP server that answers from a table; a sequence gives the answers in turn, the last for ever.

    `commands` has all lines it was told but the mails, `chunks` what came in one piece, `mails` the data.
    """

    def __init__(
        self, changes: Mapping[str, Answer] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answers: dict[str, Answer] = {**ANSWERS, **(changes or {})}
        self.tls = tls
        self.port = free_port()
        self.commands: list[str] = []
        self.chunks: list[bytes] = []
        self.mails: list[bytes] = []
        self.connections = 0
        self.open = 0
        self._asked: dict[str, int] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            if await self.answer("CONNECT", writer):
                await self.converse(reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer, in_data = b"", False
        while chunk := await reader.read(65536):
            self.chunks.append(chunk)
            buffer += chunk
            while (end := b"\r\n.\r\n" if in_data else b"\r\n") in buffer:
                piece, _, buffer = buffer.partition(end)
                if in_data:
                    self.mails.append(piece + b"\r\n")
                    verb = "."
                else:
                    self.commands.append(piece.decode())
                    verb = piece[:4].decode().upper().replace("STAR", "STARTTLS").replace("HELO", "EHLO")
                if not await self.answer(verb, writer):
                    return
                in_data = verb == "DATA" and self.last.startswith(b"354")
                if verb == "STARTTLS" and self.last.startswith(b"220"):
                    await self.start_tls(writer)

    async def start_tls(self, writer: asyncio.StreamWriter) -> None:
        plain = writer.transport
        assert self.tls is not None
        try:
            await writer.start_tls(self.tls)
        except AttributeError:  # Python 3.11 forgets the transport if the client gives up
            writer._transport = plain  # type: ignore[attr-defined]
            raise ConnectionResetError from None

    async def answer(self, verb: str, writer: asyncio.StreamWriter) -> bool:
        answers = self.answers[verb]
        turn = self._asked.get(verb, 0)
        self._asked[verb] = turn + 1
        self.last = answers if isinstance(answers, bytes) else answers[min(turn, len(answers) - 1)]
        if self.last == CLOSE:
            return False
        if self.last != HANG:
            writer.write(self.last)
            await writer.drain()
        return not self.last.startswith((b"421", b"221"))

    def say(self, words: bytes) -> None:
        """Says something unasked on every connection, and hangs up."""
        for writer in self._writers:
            writer.write(words)
            writer.close()


@contextlib.asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    server = await asyncio.start_server(script, HOST, script.port, ssl=tls)
    try:
        yield script
    finally:
        server.close()
        for writer in list(script._writers):
            writer.close()
        await wait_until(lambda: script.open == 0)


async def outcome_with(changes: Mapping[str, Answer]) -> tuple[Outcome, Script]:
    async with (
        serving(Script(changes)) as script,
        relay_to(script.port, timeout=2, dot_timeout=0.2) as relay,
    ):
        return await send(relay), script


# what the server says, and what it comes to
ODD_ANSWERS: list[tuple[dict[str, Answer], Result, Phase, int | None, str]] = [
    ({"CONNECT": b"554 5.7.1 go away\r\n"}, Result.NOT_STARTED, Phase.CONNECT, 554, "5.7.1"),
    ({"CONNECT": b"HTTP/1.1 400 Bad Request\r\n"}, Result.NOT_STARTED, Phase.CONNECT, None, ""),
    ({"EHLO": b"554 no\r\n"}, Result.NOT_STARTED, Phase.HELLO, 554, ""),
    ({"EHLO": b"421 4.3.2 busy\r\n"}, Result.NOT_STARTED, Phase.HELLO, 421, "4.3.2"),
    ({"MAIL": b"hello?\r\n"}, Result.DEFERRED, Phase.MAIL, None, ""),
    ({"MAIL": b"250" * 20_000}, Result.DEFERRED, Phase.MAIL, None, ""),
    ({"MAIL": b"250-more\r\n" * 20_000}, Result.DEFERRED, Phase.MAIL, None, ""),
    ({"MAIL": b"354 what?\r\n"}, Result.DEFERRED, Phase.MAIL, 354, ""),
    ({"RCPT": b"251 will forward\r\n"}, Result.HANDED_OVER, Phase.DATA, 250, "2.0.0"),
    ({"RCPT": b"550\r\n", "DATA": b"554 5.5.1 no valid recipients\r\n"}, Result.REFUSED, Phase.RCPT, 550, ""),
    (
        {"RCPT": b"550-5.1.1 a\r\n550 5.1.1 b\r\n", "DATA": b"554 x\r\n"},
        Result.REFUSED,
        Phase.RCPT,
        550,
        "5.1.1",
    ),
    ({"RCPT": b"550 4.1.1 wrong class\r\n", "DATA": b"554 x\r\n"}, Result.REFUSED, Phase.RCPT, 550, ""),
    ({"DATA": b"250 fine\r\n"}, Result.DEFERRED, Phase.DATA, 250, ""),
    ({"DATA": CLOSE}, Result.DEFERRED, Phase.DATA, None, ""),
    # broken before a single octet of the mail was sent: certainly not in doubt
    ({"DATA": b"354 go on\r\n421 4.3.2 closing\r\n"}, Result.DEFERRED, Phase.DATA, None, ""),
    ({"RCPT": b"250 Ok\r\n250 Ok\r\n250 Ok\r\n"}, Result.DEFERRED, Phase.DATA, 250, ""),
    ({".": CLOSE}, Result.UNCERTAIN, Phase.DATA, None, ""),
    ({".": HANG}, Result.UNCERTAIN, Phase.DATA, None, ""),
    ({".": b"oops\r\n"}, Result.UNCERTAIN, Phase.DATA, None, ""),
    ({".": b"354 more?\r\n"}, Result.UNCERTAIN, Phase.DATA, 354, ""),
    ({".": b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"}, Result.HANDED_OVER, Phase.DATA, 250, "2.0.0"),
]


@pytest.mark.parametrize(("answers", "result", "phase", "code", "status"), ODD_ANSWERS)
async def test_odd_answers(
    answers: Mapping[str, Answer], result: Result, phase: Phase, code: int | None, status: str
) -> None:
    outcome, _ = await outcome_with(answers)
    assert (outcome.result, outcome.phase, outcome.code, outcome.status) == (result, phase, code, status)


async def test_all_lines_of_an_answer_are_kept_as_one() -> None:
    outcome, _ = await outcome_with(
        {"RCPT": b"550-5.1.1 No such\x1b[31m user.\r\n550 5.1.1 \xff\xe3\x81\x82\r\n", "DATA": b"554 x\r\n"}
    )
    assert outcome.text == "5.1.1 No such [31m user. 5.1.1 \N{REPLACEMENT CHARACTER}あ"
    assert outcome.remote == "relay.example"
    outcome, _ = await outcome_with({".": b"554 " + b"x" * 5000 + b"\r\n"})
    assert len(outcome.text) == 1000


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
async def test_answers_may_come_in_any_pieces(ends: bytes) -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(*verbs: str) -> None:
            for octet in b"".join(ANSWERS[verb].replace(b"\r\n", ends) for verb in verbs):
                writer.write(bytes([octet]))
                await writer.drain()
                await asyncio.sleep(0)

        await say("CONNECT")
        await reader.readuntil(b"\r\n")
        await say("EHLO")
        await reader.readuntil(b"DATA\r\n")  # all three in one group, or this would wait for ever
        await say("MAIL", "RCPT", "DATA")
        await reader.readuntil(b"\r\n.\r\n")
        await say(".")
        await reader.readuntil(b"QUIT\r\n")
        writer.close()

    server = await asyncio.start_server(dribble, HOST, port := free_port())
    async with relay_to(port) as relay:
        outcome = await send(relay)
    assert (outcome.result, outcome.text) == (Result.HANDED_OVER, "2.0.0 Ok: queued as 4X")
    server.close()
    await server.wait_closed()


async def test_what_goes_over_the_wire() -> None:
    async with serving(Script()) as script, relay_to(script.port) as relay:
        assert await relay.connect() is None  # and this is the connection that is used
        await send(relay, envid="d+7=", recipient="a..b+c@docomo.ne.jp")
        await send(relay, sender="", dsn=False, data="件名\r\n".encode())
    assert script.commands == [
        "EHLO mx.library.example",
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)} RET=HDRS ENVID=d+2B7+3D",
        "RCPT TO:<a..b+c@docomo.ne.jp> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a..b+2Bc@docomo.ne.jp",
        "DATA",
        "MAIL FROM:<> SIZE=8 BODY=8BITMIME",
        "RCPT TO:<u@sink.example>",
        "DATA",
        "QUIT",
    ]
    assert script.mails == [MAIL, "件名\r\n".encode()]
    assert relay.extensions == {"pipelining", "size", "8bitmime", "dsn"}


async def test_lock_step_where_pipelining_is_not_announced() -> None:
    async with serving(Script({"EHLO": NO_PIPELINING})) as script, relay_to(script.port) as relay:
        assert (await send(relay)).result is Result.HANDED_OVER
    assert all(chunk.count(b"\r\n") == 1 for chunk in script.chunks if b"hello" not in chunk)
    assert not any("NOTIFY" in command or "RET=" in command for command in script.commands)


async def test_a_refused_recipient_never_gets_a_mail_by_way_of_the_group() -> None:
    async with (
        serving(Script({"RCPT": [b"550 5.1.1 no\r\n", ANSWERS["RCPT"]]})) as script,
        relay_to(script.port) as relay,
    ):
        assert (await send(relay)).result is Result.REFUSED
        assert (await send(relay)).result is Result.HANDED_OVER
    assert script.mails == [MAIL]
    assert script.connections == 2


async def test_a_refused_mail_is_reset_on_the_same_connection() -> None:
    refusals: dict[str, Answer] = {
        "RCPT": [b"550 5.1.1 no\r\n", ANSWERS["RCPT"]],
        "DATA": [b"554 no recipients\r\n", ANSWERS["DATA"]],
    }
    async with serving(Script(refusals)) as script, relay_to(script.port) as relay:
        await send(relay)
        assert (await send(relay)).result is Result.HANDED_OVER
    assert [command[:4] for command in script.commands][3:6] == ["DATA", "RSET", "MAIL"]
    assert script.connections == 1


@pytest.mark.parametrize("words", [b"421 4.4.2 timeout exceeded\r\n", b""])
async def test_a_connection_closed_while_idle_is_replaced(words: bytes) -> None:
    async with serving(Script()) as script, relay_to(script.port) as relay:
        await send(relay)
        script.say(words)
        await wait_until(lambda: not relay.is_connected)
        assert (await send(relay)).result is Result.HANDED_OVER
    assert script.connections == 2
    assert len(script.mails) == 2


@pytest.mark.parametrize("last_words", [b"421 4.4.2 timeout exceeded\r\n", CLOSE])
async def test_a_connection_closed_as_the_next_mail_begins_is_replaced(last_words: bytes) -> None:
    again = [ANSWERS["MAIL"], last_words, ANSWERS["MAIL"]]
    async with serving(Script({"MAIL": again})) as script, relay_to(script.port) as relay:
        outcomes = [(await send(relay)).result for _ in range(2)]
    assert outcomes == [Result.HANDED_OVER] * 2
    assert script.connections == 2


async def test_a_new_connection_that_closes_at_mail_is_not_tried_for_ever() -> None:
    async with serving(Script({"MAIL": [ANSWERS["MAIL"], CLOSE]})) as script, relay_to(script.port) as relay:
        await send(relay)
        assert (await send(relay)).result is Result.DEFERRED
    assert script.connections == 2


async def test_a_connection_is_renewed_after_its_share_of_mails_and_of_idleness() -> None:
    async with serving(Script()) as script, relay_to(script.port, max_mails=2) as relay:
        for _ in range(5):
            assert (await send(relay)).result is Result.HANDED_OVER
        assert script.connections == 3
    async with serving(Script()) as script, relay_to(script.port, max_idle=0.0) as relay:
        for _ in range(3):
            await send(relay)
        assert script.connections == 3
        assert script.commands.count("QUIT") == 2


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_a_cancelled_mail_takes_its_connection_along(verb: str) -> None:
    normal = ANSWERS[verb]
    asked = {".": "hello"}.get(verb, verb).encode()
    async with serving(Script({verb: [HANG, normal]})) as script, relay_to(script.port) as relay:
        task = asyncio.create_task(send(relay))
        await wait_until(lambda: any(asked in chunk for chunk in script.chunks))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not relay.is_connected
        await wait_until(lambda: script.open == 0)
        assert (await send(relay)).result is Result.HANDED_OVER
        assert script.connections == 2


@pytest.mark.parametrize(
    "recipient",
    [
        "",
        "a b@x.example",
        "a@x.example>\r\nRCPT TO:<b@x.example",
        "a@x.example\0",
        "あ@x.example",
        "a<b@x.example",
    ],
)
async def test_an_address_that_cannot_be_written_stops_nothing(recipient: str) -> None:
    async with serving(Script()) as script, relay_to(script.port) as relay:
        bad = await send(relay, recipient=recipient)
        assert (await send(relay)).result is Result.HANDED_OVER
        wrong_sender = await send(relay, sender="a\r\nDATA@library.example")
    assert (bad.result, bad.phase, bad.code, bad.status) == (Result.REFUSED, Phase.RCPT, None, "5.1.3")
    assert (wrong_sender.result, wrong_sender.phase) == (Result.NOT_STARTED, Phase.MAIL)
    assert sum(command.startswith("RCPT") for command in script.commands) == 1


@pytest.mark.parametrize("name", ["", "two words", "mx\r\nQUIT", "図書館.example"])
def test_a_host_name_must_fit_the_greeting(name: str) -> None:
    with pytest.raises(ValueError, match="EHLO"):
        options(25, local_hostname=name)


def test_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(options(25, username="u", password="s3cret"))


# --- TLS and login


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def run_with_uvloop(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def run_with_asyncio(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(work)


@pytest.mark.parametrize("run", [run_with_asyncio, run_with_uvloop])
@pytest.mark.parametrize("tls", list(Tls))
def test_mails_on_either_loop_and_with_any_tls(
    run: Callable[[Coroutine[Any, Any, None]], None], tls: Tls, authority: trustme.CA, ca_file: Path
) -> None:
    """The transport changes hands after the login: its TLS, and what it may still report, must come along."""
    context = server_tls(authority, HOST)

    async def work() -> None:
        script = Script({"EHLO": WITH_TLS if tls is Tls.STARTTLS else WITH_LOGIN}, context)
        login = {"username": "mailer", "password": "pässword"}
        async with (
            serving(script, context if tls is Tls.IMPLICIT else None),
            relay_to(script.port, tls, ca_file=ca_file, **login) as relay,
        ):
            for _ in range(3):
                assert (await send(relay)).result is Result.HANDED_OVER
            script.say(b"")
            await wait_until(lambda: not relay.is_connected)
            assert (await send(relay)).result is Result.HANDED_OVER
        assert script.mails == [MAIL] * 4
        assert script.connections == 2
        assert sum(command.startswith("AUTH PLAIN") for command in script.commands) == 2

    run(work())


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize(
    ("trusted", "name", "verify", "accepted"),
    [
        (True, HOST, True, True),
        (True, "elsewhere.example", True, False),  # somebody else's certificate
        (False, HOST, True, False),  # an unknown authority
        (False, "elsewhere.example", False, True),  # told not to look
    ],
)
async def test_certificates(
    tls: Tls, trusted: bool, name: str, verify: bool, accepted: bool, authority: trustme.CA, ca_file: Path
) -> None:
    context = server_tls(authority, name)
    script = Script({"EHLO": WITH_TLS}, context)
    async with (
        serving(script, context if tls is Tls.IMPLICIT else None),
        relay_to(
            script.port, tls, ca_file=ca_file if trusted else None, verify=verify, username="u", password="p"
        ) as relay,
    ):
        outcome = await send(relay)
    if accepted:
        assert outcome.result is Result.HANDED_OVER
    else:
        assert (outcome.result, outcome.phase, outcome.code) == (Result.NOT_STARTED, Phase.TLS, None)
        assert "certificate" in outcome.text.lower()
        assert not any(command.startswith(("AUTH", "MAIL")) for command in script.commands)


@pytest.mark.parametrize(
    ("answers", "code"),
    [({"EHLO": WITH_LOGIN}, None), ({"EHLO": WITH_TLS, "STARTTLS": b"454 4.7.0 no\r\n"}, 454)],
)
async def test_starttls_is_never_skipped(answers: dict[str, Answer], code: int | None) -> None:
    async with (
        serving(Script(answers)) as script,
        relay_to(script.port, Tls.STARTTLS, username="u") as relay,
    ):
        outcome = await send(relay)
    assert (outcome.result, outcome.phase, outcome.code) == (Result.NOT_STARTED, Phase.TLS, code)
    assert not any(command.startswith(("AUTH", "MAIL")) for command in script.commands)


@pytest.mark.parametrize("missing", [True, False])
async def test_a_bad_ca_file_is_a_tls_failure(missing: bool, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if not missing:
        path.write_text("not a certificate")
    async with relay_to(free_port(), Tls.IMPLICIT, ca_file=path) as relay:
        outcome = await send(relay)
    assert (outcome.result, outcome.phase) == (Result.NOT_STARTED, Phase.TLS)


@pytest.mark.parametrize(
    ("answers", "code", "status"),
    [
        ({"EHLO": WITH_LOGIN, "AUTH": b"535 5.7.8 wrong password\r\n"}, 535, "5.7.8"),
        ({"EHLO": WITH_LOGIN, "AUTH": b"454 4.7.0 try later\r\n"}, 454, "4.7.0"),
        ({"EHLO": b"250-relay.example\r\n250 AUTH GSSAPI\r\n"}, None, ""),
        ({"EHLO": b"250-relay.example\r\n250 AUTH CRAM-MD5\r\n", "AUTH": b"334 @@@\r\n"}, None, ""),
        ({"EHLO": NO_PIPELINING}, None, ""),
        ({"EHLO": WITH_LOGIN, "AUTH": CLOSE}, None, ""),
    ],
)
async def test_a_failed_login_is_not_started(
    answers: dict[str, Answer], code: int | None, status: str
) -> None:
    async with (
        serving(Script(answers)) as script,
        relay_to(script.port, username="u", password="p") as relay,
    ):
        outcome = await send(relay)
        assert (outcome.result, outcome.phase) == (Result.NOT_STARTED, Phase.LOGIN)
        assert (outcome.code, outcome.status) == (code, status)
        assert not relay.is_connected


async def test_real_postfix(relay: PostfixRelay, certificate: Certificate) -> None:
    """Submission with STARTTLS and a login, pipelined, with DSN; a refusal in between; a wrong password."""
    login = {
        "host": "localhost",
        "username": "mailer",
        "password": "mailerpw",
        "ca_file": certificate.authority,
    }
    for port, tls in ((relay.submission_port, Tls.STARTTLS), (relay.submissions_port, Tls.IMPLICIT)):
        async with relay_to(port, tls, **login) as client:
            assert await client.connect() is None
            assert {"dsn", "pipelining"} <= client.extensions
            outcomes = [
                await send(client, recipient=to) for to in ("a@discard.example", "@", "b@discard.example")
            ]
            assert [outcome.result for outcome in outcomes] == [
                Result.HANDED_OVER,
                Result.REFUSED,
                Result.HANDED_OVER,
            ]
            assert (outcomes[1].phase, str(outcomes[1].code)[0]) == (Phase.RCPT, "5")
        async with relay_to(port, tls, **{**login, "password": "wrong"}) as client:
            outcome = await send(client)
        assert (outcome.result, outcome.phase, outcome.code) == (Result.NOT_STARTED, Phase.LOGIN, 535)


# --- the encodings

lines = st.lists(st.sampled_from([b".", b"..", b".a", b"a.", b"", b"x" * 70]), max_size=6)


@given(lines, st.lists(st.sampled_from([b"\r\n", b"\n", b"\r"]), min_size=6, max_size=6))
def test_a_mail_survives_the_dots(body: list[bytes], ends: list[bytes]) -> None:
    wire = on_the_wire(b"".join(line + end for line, end in zip(body, ends, strict=False)))
    *sent, last, rest = wire.split(b"\r\n")
    assert (last, rest) == (b".", b"")
    assert b"." not in sent
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")
    received = [line.removeprefix(b".") for line in sent]
    # "a" CR, "" LF is one line end, not two: compare what was written, not how
    assert [line for line in received if line] == [line for line in body if line]


@given(st.text())
def test_xtext_reads_back(text: str) -> None:
    coded = xtext(text)
    assert all(0x21 <= octet <= 0x7E and octet != ord("=") for octet in coded)
    head, *rest = coded.split(b"+")
    decoded = head + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in rest)
    assert decoded == text.encode()


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "5.1.1 no such user", "5.1.1"),
        (450, "4.7.28", "4.7.28"),
        (550, "5.7.515 Access denied", "5.7.515"),
        (550, "Unknown user", ""),
        (550, "4.1.1 other class", ""),
        (550, "5.1.1.1 version", ""),
        (550, "see 5.1.1", ""),
        (None, "5.1.1 nobody said this", ""),
    ],
)
def test_enhanced_status(code: int | None, text: str, status: str) -> None:
    assert enhanced_status(code, text) == status


@given(st.text())
def test_texts_can_be_printed_and_stored(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\n" not in cleaned
    assert "\x1b" not in cleaned
    assert clean(cleaned) == cleaned
