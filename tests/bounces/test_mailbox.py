"""The mailbox reader against a real Dovecot, through a gate that can cut, silence and alter the talk."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import imaplib
import logging
import re
import shutil
import smtplib
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from bounces.imap import fetched, mailbox_name, quoted, uid_set
from bounces.intake import Inbound
from bounces.mailbox import ImapOptions, MailboxReader, MailboxState, MailboxStatus, Pacing
from holds_core.errors import BadInput
from tests.servers.dovecot import Dovecot

NOW = datetime(2026, 4, 1, 0, 0, tzinfo=UTC)
TOKEN = "b+kx7q2m@library.example"
QUICK = Pacing(first=0.02, longest=0.1, refused=3600, mail_first=0.05, mail_longest=0.2, answer=20)
LATE = timedelta(hours=1)  # a poll that no test waits for
PATIENCE = 30.0  # seconds until a test gives up


def mail(subject: str, body: bytes = b"text\r\n") -> bytes:
    head = f"From: <mailer-daemon@mx.example>\r\nTo: <{TOKEN}>\r\nSubject: {subject}\r\n\r\n"
    return head.encode() + body


def subject(raw: bytes) -> str:
    found = re.search(rb"^Subject: (.*?)\r?$", raw, re.MULTILINE)
    assert found
    return found[1].decode()


async def deliver(dovecot: Dovecot, *mails: bytes) -> None:
    """Puts mails into the mailbox as the MTA does, one after the other in one session."""

    def send() -> None:
        with smtplib.LMTP("127.0.0.1", dovecot.lmtp_port) as lmtp:
            for raw in mails:
                lmtp.sendmail("", [TOKEN], raw)

    await asyncio.to_thread(send)


class Gate:
    """A TCP proxy before Dovecot. `alter` changes what the server says and `garble` what the client says
    (the length must stay); `silent` swallows the server's words; `cut` ends every connection at once."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.alter: Callable[[bytes], bytes] = lambda data: data
        self.garble: Callable[[bytes], bytes] = lambda data: data
        self.silent = False
        self.opened = 0
        self.said = bytearray()  # what the client said
        self.port = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Gate]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            if self._tasks:
                await asyncio.wait(self._tasks)

    @property
    def open(self) -> bool:
        return bool(self._writers)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError):
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
            self._writers |= {writer, behind_writer}
            await asyncio.gather(
                self._pump(reader, behind_writer, self._hear), self._pump(behind_reader, writer, self._speak)
            )
        writer.close()
        self._tasks.discard(task)

    def _hear(self, data: bytes) -> bytes:
        self.said += data
        return self.garble(data)

    def _speak(self, data: bytes) -> bytes:
        return b"" if self.silent else self.alter(data)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(change(data))
                await writer.drain()
        writer.close()
        self._writers.discard(writer)


class Desk:
    """Runs one reader, keeps what it stores and every state it tells."""

    def __init__(self, options: ImapOptions, pacing: Pacing = QUICK) -> None:
        self.options = options
        self.mails: list[Inbound] = []
        self.states: list[MailboxState] = []
        self.refuse: Callable[[Inbound], bool] = lambda _: False
        self.tried: list[str] = []
        self._pacing = pacing
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Desk]:
        reader = MailboxReader(
            self.options, self._keep, lambda: NOW, self._tell, jitter=lambda: 0.5, pacing=self._pacing
        )
        task = asyncio.create_task(reader.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep(self, inbound: Inbound) -> None:
        self.tried.append(subject(inbound.raw))
        self._changed.set()
        if self.refuse(inbound):
            raise OSError("(database) INSERT ... taro@example.jp")
        self.mails.append(inbound)

    def _tell(self, state: MailboxState) -> None:
        self.states.append(state)
        self._changed.set()

    async def until(self, met: Callable[[Desk], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not met(self):
                self._changed.clear()
                await self._changed.wait()

    async def settled(self, count: int) -> None:
        """Until `count` mails are stored, all are moved, and the reader listens."""
        await self.until(lambda desk: len(desk.mails) >= count and desk.state.waiting == 0 and desk.listens)

    @property
    def state(self) -> MailboxState:
        return self.states[-1] if self.states else MailboxState()

    @property
    def listens(self) -> bool:
        return self.state.status is MailboxStatus.LISTENING

    @property
    def subjects(self) -> list[str]:
        return [subject(inbound.raw) for inbound in self.mails]


@pytest.fixture
def options(dovecot: Dovecot) -> ImapOptions:
    """The mailbox `bounces` without TLS."""
    return ImapOptions(
        "127.0.0.1", dovecot.imap_port, "none", "bounces", dovecot.accounts["bounces"], poll=LATE
    )


def in_folder(dovecot: Dovecot, folder: str) -> list[str]:
    return sorted(subject(raw) for raw in dovecot.mailbox("bounces", folder))


async def test_a_mail_is_read_when_it_arrives_and_moved_once_it_is_stored(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    async with Desk(options).run() as desk:
        await desk.until(lambda desk: desk.listens)
        await deliver(dovecot, mail("told by IDLE"))
        await desk.settled(1)
        await deliver(dovecot, mail("two at once, 1"), mail("two at once, 2"))
        await desk.settled(3)
        assert sorted(desk.subjects) == ["told by IDLE", "two at once, 1", "two at once, 2"]
        assert in_folder(dovecot, "INBOX") == []
        assert in_folder(dovecot, "Todoku") == sorted(desk.subjects)
    inbound = desk.mails[0]
    assert inbound.raw.endswith(mail("told by IDLE"))
    assert (inbound.source, inbound.envelope_from, inbound.truncated, inbound.note) == ("imap", "", False, "")
    assert (inbound.envelope_to, inbound.received_at) == ((TOKEN,), NOW)
    assert desk.state == MailboxState(MailboxStatus.LISTENING, NOW)
    assert desk.state.connected


def append(dovecot: Dovecot, *mails: bytes) -> None:
    """Puts mails into the mailbox in this order. (Dovecot numbers those delivered within one second as
    the disk lists them.)"""
    with imaplib.IMAP4("127.0.0.1", dovecot.imap_port) as imap:
        imap.login("bounces", dovecot.accounts["bounces"])
        for raw in mails:
            imap.append("INBOX", "", "", raw)


async def test_mail_that_waits_is_read_oldest_first_and_stays_unread_for_people(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    await asyncio.to_thread(append, dovecot, *(mail(f"m{n}") for n in range(5)))
    async with Desk(options).run() as desk:
        await desk.settled(5)
    assert desk.subjects == [f"m{n}" for n in range(5)]
    done = dovecot.mail / "bounces" / "Maildir" / ".Todoku"
    flags = [path.name.partition(":2,")[2] for part in ("cur", "new") for path in (done / part).iterdir()]
    assert len(flags) == 5
    assert not any("S" in flag for flag in flags)


async def test_a_mail_whose_store_fails_stays_and_is_stored_later_without_blocking_others(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    await deliver(dovecot, mail("bad"), mail("good 1"), mail("good 2"))
    desk = Desk(options)
    desk.refuse = lambda inbound: subject(inbound.raw) == "bad"
    async with desk.run():
        await desk.until(lambda desk: len(desk.mails) == 2 and desk.tried.count("bad") >= 3)
        await desk.until(lambda desk: desk.listens and desk.state.waiting == 1)
        assert desk.state.last_error == "a mail could not be stored: OSError"
        assert in_folder(dovecot, "INBOX") == ["bad"]
        await deliver(dovecot, mail("good 3"))
        await desk.until(lambda desk: "good 3" in desk.subjects)
        desk.refuse = lambda _: False
        await desk.settled(4)
    assert desk.subjects.count("bad") == 1
    assert desk.state.last_error == ""
    assert in_folder(dovecot, "INBOX") == []


async def test_a_store_that_is_down_is_not_pressed_with_every_mail(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    await deliver(dovecot, *(mail(f"m{n:02}") for n in range(40)))
    desk = Desk(options, replace(QUICK, mail_first=3600, mail_longest=3600))
    desk.refuse = lambda _: True
    async with desk.run():
        await desk.until(lambda desk: desk.listens)
        assert len(desk.tried) == 5
        assert desk.state.waiting == 40
    again = Desk(options)
    again.refuse = lambda _: len(again.tried) <= 12
    async with again.run():
        await again.settled(40)
    assert sorted(again.subjects) == [f"m{n:02}" for n in range(40)]
    assert in_folder(dovecot, "INBOX") == []


async def test_tls_is_verified_against_the_given_authority(dovecot: Dovecot, options: ImapOptions) -> None:
    tls = replace(options, host="localhost", port=dovecot.imaps_port, tls="implicit")
    await deliver(dovecot, mail("through TLS"))
    async with Desk(tls).run() as desk:  # the system's authorities do not know ours
        await desk.until(lambda desk: desk.state.status is MailboxStatus.BROKEN)
        assert "CERTIFICATE_VERIFY_FAILED" in desk.state.last_error
        assert desk.mails == []
    async with Desk(replace(tls, ca_file=Path("/nowhere/ca.pem"))).run() as desk:
        await desk.until(lambda desk: desk.state.status is MailboxStatus.BROKEN)
        assert "No such file" in desk.state.last_error
    async with Desk(replace(tls, ca_file=dovecot.cert)).run() as desk:
        await desk.settled(1)
    await deliver(dovecot, mail("unverified"))
    async with Desk(replace(tls, verify=False)).run() as desk:
        await desk.settled(1)
    assert desk.subjects == ["unverified"]


async def test_a_wrong_password_is_told_and_not_tried_again_soon(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    gate = Gate(options.port)
    async with gate.run():
        wrong = replace(options, port=gate.port, username='li brary "x"', password='wrong \\ "pass"')
        async with Desk(wrong).run() as desk:
            await desk.until(lambda desk: desk.state.status is MailboxStatus.REFUSED)
            assert "AUTHENTICATIONFAILED" in desk.state.last_error
            assert not desk.state.connected
            await asyncio.sleep(5 * QUICK.longest)  # time for five tries, were they not held back
            assert gate.opened == 1
        assert rb' LOGIN "li brary \"x\"" "wrong \\ \"pass\""' in gate.said


async def test_a_server_in_trouble_is_not_taken_for_a_wrong_password(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    gate = Gate(options.port)
    gate.alter = lambda data: data.replace(
        b"[AUTHENTICATIONFAILED] Authentication failed.", b"[UNAVAILABLE] x"
    )
    async with gate.run(), Desk(replace(options, port=gate.port, password="wrong")).run() as desk:
        await desk.until(lambda _: gate.opened >= 3)
    assert {state.status for state in desk.states} == {MailboxStatus.CONNECTING, MailboxStatus.BROKEN}


async def test_reads_on_after_the_server_was_restarted(dovecot: Dovecot, options: ImapOptions) -> None:
    async with Desk(options).run() as desk:
        await deliver(dovecot, mail("before"))
        await desk.settled(1)
        await asyncio.to_thread(dovecot.stop)
        await desk.until(lambda desk: "Connect call failed" in desk.state.last_error)
        assert desk.state.status in (MailboxStatus.BROKEN, MailboxStatus.CONNECTING)
        await asyncio.to_thread(dovecot.start)
        await deliver(dovecot, mail("after"))
        await desk.settled(2)
        assert desk.state.last_error == ""
    assert desk.subjects == ["before", "after"]


async def test_a_cut_during_idle_is_noticed_at_once(dovecot: Dovecot, options: ImapOptions) -> None:
    gate = Gate(options.port)
    async with gate.run(), Desk(replace(options, port=gate.port)).run() as desk:
        for n in range(3):
            await desk.until(lambda desk: desk.listens)
            gate.cut()
            await desk.until(lambda desk: not desk.listens)
            await deliver(dovecot, mail(f"m{n}"))
            await desk.settled(n + 1)
    assert desk.subjects == ["m0", "m1", "m2"]


async def test_a_silent_server_is_left_for_a_new_connection(dovecot: Dovecot, options: ImapOptions) -> None:
    gate = Gate(options.port)
    quick = replace(QUICK, answer=0.5)
    poll = timedelta(seconds=0.1)
    async with gate.run(), Desk(replace(options, port=gate.port, poll=poll), quick).run() as desk:
        await desk.until(lambda desk: desk.listens)
        gate.silent = True
        await desk.until(lambda desk: "no answer in 0.5 s" in desk.state.last_error)
        gate.silent = False
        await deliver(dovecot, mail("heard again"))
        await desk.settled(1)


async def test_five_hundred_mails_at_once(dovecot: Dovecot, options: ImapOptions) -> None:
    names = [f"m{n:03}" for n in range(500)]
    async with Desk(options).run() as desk:
        await deliver(dovecot, *map(mail, names))
        await desk.settled(500)
    assert sorted(desk.subjects) == names
    assert in_folder(dovecot, "INBOX") == []
    assert in_folder(dovecot, "Todoku") == names


async def test_of_a_long_mail_the_head_is_read(dovecot: Dovecot, options: ImapOptions) -> None:
    long = mail("long", b"y" * 70 + b"\r\n")[:-2] + (b"x" * 70 + b"\r\n") * 15_000
    await asyncio.to_thread(append, dovecot, mail("short 1"), long, mail("short 2"))
    async with Desk(replace(options, max_size=10_000)).run() as desk:
        await desk.settled(3)
    assert desk.subjects == ["short 1", "long", "short 2"]
    inbound = desk.mails[1]
    assert (len(inbound.raw), inbound.truncated) == (10_000, True)
    assert re.fullmatch(r"first 10000 of 10\d{5} octets kept", inbound.note)
    assert [mail.truncated for mail in desk.mails] == [False, True, False]
    assert max(map(len, dovecot.mailbox("bounces", "Todoku"))) > 1_000_000  # the whole is still there


async def test_folders_with_japanese_names(dovecot: Dovecot, options: ImapOptions) -> None:
    await deliver(dovecot, mail("m"))
    async with Desk(replace(options, done_folder="処理済み & 完了")).run() as desk:
        await desk.settled(1)
        assert desk.state.last_error == ""
    assert in_folder(dovecot, imap_utf7("処理済み & 完了")) == ["m"]
    async with Desk(replace(options, folder="処理済み & 完了", done_folder='"戻り" \\ 2')).run() as desk:
        await desk.settled(1)
    assert in_folder(dovecot, imap_utf7('"戻り" \\ 2')) == ["m"]


async def test_a_missing_folder_is_told_and_tried_again(dovecot: Dovecot, options: ImapOptions) -> None:
    async with Desk(replace(options, folder="Bounces 1")).run() as desk:
        await desk.until(lambda desk: desk.state.status is MailboxStatus.BROKEN)
        assert desk.state.last_error.startswith("folder Bounces 1: NO")
        maildir = dovecot.mail / "bounces" / "Maildir" / ".Bounces 1"
        subprocess.run(
            ["install", "-d", "-o", "mail", "-g", "mail", *(maildir / p for p in ("cur", "new", "tmp"))]
        )
        await desk.until(lambda desk: desk.listens)
        assert desk.state.last_error == ""


# what Dovecot offers, and what the library's provider may lack; of equal length
LACKING = [
    pytest.param([b" MOVE"], b"UID EXPUNGE", id="without MOVE"),
    pytest.param([b" MOVE", b" UIDPLUS"], b"UID STORE", id="without MOVE and UIDPLUS"),
    pytest.param([b" IDLE"], b"UID MOVE", id="without IDLE"),
]


@pytest.mark.parametrize(("missing", "command"), LACKING)
async def test_poor_servers(
    dovecot: Dovecot, options: ImapOptions, missing: list[bytes], command: bytes
) -> None:
    def poor(data: bytes) -> bytes:
        for capability in missing:
            data = data.replace(capability, capability.replace(b"E", b"X").replace(b"U", b"X"))
        return data

    gate = Gate(options.port)
    gate.alter = poor
    poll = timedelta(seconds=0.05) if b" IDLE" in missing else LATE
    await deliver(dovecot, mail("m1"), mail("m2"))
    async with gate.run(), Desk(replace(options, port=gate.port, poll=poll)).run() as desk:
        await desk.settled(2)
        await deliver(dovecot, mail("m3"))
        await desk.settled(3)
    assert sorted(desk.subjects) == ["m1", "m2", "m3"]
    assert in_folder(dovecot, "Todoku") == ["m1", "m2", "m3"]
    assert command in gate.said
    if b" UIDPLUS" in missing:
        # nothing may be expunged without naming it: they stay, marked, and are not read again
        assert b"EXPUNGE" not in gate.said
        async with Desk(options).run() as again:
            await again.until(lambda desk: desk.listens)
        assert (again.mails, again.state.waiting) == ([], 0)
    else:
        assert in_folder(dovecot, "INBOX") == []


async def test_capabilities_are_asked_for_after_the_login(dovecot: Dovecot, options: ImapOptions) -> None:
    """Dovecot offers MOVE only after it; another server does not repeat them unasked."""
    gate = Gate(options.port)

    def reticent(data: bytes) -> bytes:
        unasked = b" LOGIN " in gate.said and gate.said.count(b" CAPABILITY\r\n") < 2
        return data.replace(b"CAPABILITY ", b"XXXXXXXXXX ") if unasked else data

    gate.alter = reticent
    await deliver(dovecot, mail("m"))
    async with gate.run(), Desk(replace(options, port=gate.port)).run() as desk:
        await desk.settled(1)
    assert b"UID MOVE" in gate.said


async def test_mail_that_people_deleted_is_theirs(dovecot: Dovecot, options: ImapOptions) -> None:
    def append_deleted() -> None:
        append(dovecot, mail("kept"))
        with imaplib.IMAP4("127.0.0.1", dovecot.imap_port) as imap:
            imap.login("bounces", dovecot.accounts["bounces"])
            imap.append("INBOX", r"(\Deleted)", "", mail("deleted"))

    await asyncio.to_thread(append_deleted)
    async with Desk(options).run() as desk:
        await desk.settled(1)
    assert desk.subjects == ["kept"]
    assert in_folder(dovecot, "INBOX") == ["deleted"]


async def test_idle_that_is_offered_but_refused_becomes_polling(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    gate = Gate(options.port)
    gate.garble = lambda data: data.replace(b" IDLE\r\n", b" XXXX\r\n")  # so Dovecot answers BAD
    async with gate.run():
        refusing = replace(options, port=gate.port, poll=timedelta(seconds=0.05))
        async with Desk(refusing).run() as desk:
            await desk.until(lambda desk: desk.listens)
            await deliver(dovecot, mail("polled"))
            await desk.settled(1)
        assert gate.said.count(b" IDLE\r\n") == gate.opened == 1


async def test_a_new_uidvalidity_gives_every_uid_a_new_meaning(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    gate = Gate(options.port)
    async with gate.run():
        unmovable = replace(options, port=gate.port, done_folder="Todoku//x")
        async with Desk(unmovable).run() as desk:
            await deliver(dovecot, mail("m1"), mail("m2"))
            await desk.until(lambda desk: len(desk.mails) == 2 and desk.listens)
            gate.alter = lambda data: re.sub(rb"(?<=\[UIDVALIDITY )\d", b"9", data)
            gate.cut()
            await desk.until(lambda desk: len(desk.mails) == 4 and desk.listens)
    assert sorted(desk.subjects) == ["m1", "m1", "m2", "m2"]


async def test_other_clients_may_do_much_at_once(dovecot: Dovecot, options: ImapOptions) -> None:
    """aioimaplib dies of a burst of thousands of lines; the reader reads on with another connection."""
    told = b"".join(b"* %d FETCH (FLAGS ())\r\n" % n for n in range(1, 4000))
    gate = Gate(options.port)

    def burst(data: bytes) -> bytes:
        if b"EXISTS" in data and data.startswith(b"* "):
            gate.alter = lambda data: data
            return told + data
        return data

    async with gate.run(), Desk(replace(options, port=gate.port)).run() as desk:
        await desk.until(lambda desk: desk.listens)
        gate.alter = burst
        await deliver(dovecot, mail("in the burst"))
        await desk.settled(1)
    assert in_folder(dovecot, "Todoku") == ["in the burst"]


GREETINGS = [
    # what a server says to a newcomer, and the trouble that is told
    pytest.param(b"", "connect: connection closed", id="nothing"),
    pytest.param(b"* BYE too many connections\r\n", "connect: ", id="busy"),
    pytest.param(b"220 mx.example ESMTP\r\n", "connect: ", id="not IMAP"),
    pytest.param(b"\x16\x03\x01\r\n\xff\r\n", "connect: ", id="not text"),
]


@pytest.mark.parametrize(("greeting", "trouble"), GREETINGS)
async def test_servers_that_are_none(greeting: bytes, trouble: str) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Desk(
            ImapOptions("127.0.0.1", port, "none", "u", "p"), replace(QUICK, answer=1)
        ).run() as desk:
            await desk.until(lambda desk: desk.state.status is MailboxStatus.BROKEN)
            assert desk.state.last_error.startswith(trouble)


async def test_a_cancelled_reader_leaves_no_connection(dovecot: Dovecot, options: ImapOptions) -> None:
    gate = Gate(options.port)
    async with gate.run():
        async with Desk(replace(options, port=gate.port)).run() as desk:
            await desk.until(lambda desk: desk.listens)
            assert gate.open
        async with asyncio.timeout(PATIENCE):
            while gate.open:
                await asyncio.sleep(0.01)


def test_under_uvloop(dovecot: Dovecot, options: ImapOptions) -> None:
    tls = replace(options, host="localhost", port=dovecot.imaps_port, tls="implicit", ca_file=dovecot.cert)

    async def use() -> list[str]:
        async with Desk(tls).run() as desk:
            await desk.until(lambda desk: desk.listens)
            await deliver(dovecot, mail("m1"), mail("m2"))
            await desk.settled(2)
            await asyncio.to_thread(dovecot.stop)
            await desk.until(lambda desk: not desk.state.connected)
        return desk.subjects

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert sorted(runner.run(use())) == ["m1", "m2"]


async def test_a_done_folder_that_cannot_be_made_stops_no_mail_and_none_is_stored_twice(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    gate = Gate(options.port)
    poll = timedelta(seconds=0.05)
    async with gate.run():
        broken = replace(options, port=gate.port, done_folder="Todoku//x", poll=poll)
        desk = Desk(broken)
        desk.refuse = lambda _: len(desk.tried) == 1
        async with desk.run():
            await deliver(dovecot, mail("m1"))
            await desk.until(lambda desk: "m1" in desk.subjects and desk.listens)
            assert "Todoku//x" in desk.state.last_error
            gate.cut()
            await desk.until(lambda desk: not desk.state.connected)
            await deliver(dovecot, mail("m2"))
            await desk.until(lambda desk: "m2" in desk.subjects and desk.listens and desk.state.waiting == 2)
    assert desk.subjects == ["m1", "m2"]
    assert in_folder(dovecot, "INBOX") == ["m1", "m2"]
    async with Desk(options).run() as desk:
        await desk.settled(2)


async def test_a_done_folder_deleted_meanwhile_is_made_again(dovecot: Dovecot, options: ImapOptions) -> None:
    options = replace(options, done_folder="Short lived")
    async with Desk(options).run() as desk:
        await desk.until(lambda desk: desk.listens)
        folder = dovecot.mail / "bounces" / "Maildir" / ".Short lived"
        await asyncio.to_thread(shutil.rmtree, folder)
        await deliver(dovecot, mail("m"))
        await desk.settled(1)
    assert in_folder(dovecot, "Short lived") == ["m"]


async def test_a_mail_that_breaks_the_connection_does_not_keep_the_others_from_being_read(
    dovecot: Dovecot, options: ImapOptions
) -> None:
    gate = Gate(options.port)

    def breaks(data: bytes) -> bytes:
        if b"Subject: poison" in data:
            gate.cut()
            return b""
        return data

    gate.alter = breaks
    await deliver(dovecot, mail("good 1"), mail("poison"), mail("good 2"))
    async with gate.run(), Desk(replace(options, port=gate.port)).run() as desk:
        await desk.until(lambda desk: len(desk.mails) == 2 and desk.listens)
        assert sorted(desk.subjects) == ["good 1", "good 2"]
        assert in_folder(dovecot, "INBOX") == ["poison"]
        assert desk.state.last_error == "the connection breaks when a mail is read"
        gate.alter = lambda data: data
        await desk.settled(3)
    assert in_folder(dovecot, "INBOX") == []


async def test_nothing_private_is_logged(
    dovecot: Dovecot,
    options: ImapOptions,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.NOTSET, "aioimaplib")
    desk = Desk(options)
    desk.refuse = lambda _: len(desk.tried) == 1
    async with desk.run():
        await deliver(dovecot, mail("secret"))
        await desk.settled(1)
    written = caplog.text + capsys.readouterr().out
    assert "mail_stored" in written
    assert "mail_not_stored" in written
    for private in ("@", "secret", options.password):
        assert private not in written
    assert options.password not in repr(options)


def imap_utf7(name: str) -> str:
    """Modified UTF-7 by way of Python's UTF-7, for names without `+` and `/`."""
    words = re.split(r"([^\x20-\x7e]+)", name.replace("&", "&-"))
    return "".join(
        word if word.isascii() else "&" + word.encode("utf-7").decode().strip("+-").replace("/", ",") + "-"
        for word in words
    )


def unquoted_utf7(name: str) -> str:
    assert name[0] == name[-1] == '"'
    plain = re.sub(r"\\(.)", r"\1", name[1:-1])

    def decode(found: re.Match[str]) -> str:
        coded = found[1].replace(",", "/")
        return base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-16-be") if coded else "&"

    return re.sub(r"&([^-]*)-", decode, plain)


NAMES = [
    ("inbox", '"INBOX"'),
    ("Todoku", '"Todoku"'),
    ("処理済み", '"&UeZ0Bm4IMH8-"'),
    ("R&D/戻り", '"R&-D/&Yjswig-"'),
    ('a "b" \\', '"a \\"b\\" \\\\"'),
    ("~peter/mail/台北/日本語", '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),  # RFC 3501 section 5.1.3
    ("\t", '"&AAk-"'),
    ("", '""'),
]


@pytest.mark.parametrize(("name", "written"), NAMES)
def test_mailbox_names(name: str, written: str) -> None:
    assert mailbox_name(name) == written


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name.upper() != "INBOX"))
def test_any_mailbox_name_can_be_read_back(name: str) -> None:
    written = mailbox_name(name)
    assert written.isascii()
    assert not re.search(r"[\x00-\x1f\x7f]", written)
    assert unquoted_utf7(written) == name


def test_quoting() -> None:
    assert quoted('a\\b"c') == '"a\\\\b\\"c"'


@given(st.sets(st.integers(1, 40)))
def test_uid_sets(uids: set[int]) -> None:
    written = uid_set(sorted(uids))
    read = set()
    for part in written.split(",") if written else []:
        first, _, last = part.partition(":")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == uids


ANSWERS = [
    ([b"1 FETCH (UID 7 RFC822.SIZE 42)", b"done"], [(7, 42, None)]),
    ([b"1 FETCH (UID 7 BODY[]<0> {2}", bytearray(b"ab"), b")", b"done"], [(7, None, b"ab")]),
    ([b"1 FETCH (BODY[]<0> {2}", bytearray(b"ab"), b" UID 7)", b"done"], [(7, None, b"ab")]),
    ([b"1 FETCH (UID 7 BODY[] {0}", bytearray(), b")", b"done"], [(7, None, b"")]),
    ([b'1 FETCH (UID 7 BODY[]<0> "a \\"b\\"")', b"done"], [(7, None, b'a "b"')]),
    ([b'1 FETCH (BODY[]<0> "UID 9" UID 7)', b"done"], [(7, None, b"UID 9")]),
    ([b"1 FETCH (UID 7 BODY[]<0> NIL)", b"done"], [(7, None, None)]),
    # another client set a flag meanwhile: no UID, or no body
    ([b"3 FETCH (FLAGS (\\Seen))", b"1 FETCH (UID 7 RFC822.SIZE 1)", b"done"], [(7, 1, None)]),
    # what a mail contains is not the server's word
    (
        [b"1 FETCH (UID 7 BODY[] {31}", bytearray(b"2 FETCH (UID 9 RFC822.SIZE 999)"), b")"],
        [(7, None, b"2 FETCH (UID 9 RFC822.SIZE 999)")],
    ),
    ([], []),
    ([b"KO"], []),
]


@pytest.mark.parametrize(("lines", "mails"), ANSWERS)
def test_answers_to_fetch(
    lines: list[bytes | bytearray], mails: list[tuple[int, int | None, bytes | None]]
) -> None:
    assert list(fetched(lines)) == mails


def test_options_that_cannot_work() -> None:
    good = ImapOptions("mx", 993, "implicit", "u", "p")
    for wrong in ({"done_folder": "inbox"}, {"username": "a\r\nb"}, {"password": "a\0b"}):
        with pytest.raises(BadInput):
            replace(good, **wrong)  # type: ignore[arg-type]
