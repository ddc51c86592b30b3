"""Attacks that no other test makes: what a name, a file, a server or a stopwatch could do to a library.

`docs/security.md` names these and the tests elsewhere; each fails when its defence is taken away.
"""

import asyncio
import contextlib
import errno
import gzip
import hashlib
import hmac
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP

from bounces.mailbox import ImapOptions, MailboxReader, MailboxState, MailboxStatus, Pacing
from holds_core.config import parse
from holds_core.errors import TodokuError
from holds_core.feeds.opened import open_plain
from holds_core.ledger import accounts
from holds_core.notices import Kind
from holds_core.settings import Settings
from holds_core.tokens import TokenKeys
from mailer.app.dropfolder import SETTLED_AFTER
from mailer.app.feeds import http as feed_http
from mailer.app.feeds.http import Api, FeedDown, Reply, Token
from mailer.app.web.security import BearerTokens
from mailer.clock import SystemClock
from mailer.render import Renderer
from mailer.samples import sample_view
from tests.e2e.library import Library, library
from tests.mailer.test_dropfolder import PATRONS, Folder
from tests.mailer.test_dropfolder import folder as folder
from tests.servers.ports import wait_until

# -- names and titles ------------------------------------------------------------------------------

EVIL = (
    "花子\r\nBcc: everyone@victim.example\r\nX-Evil: 1",
    "花子\r\n.\r\nMAIL FROM:<evil@victim.example>\r\nRCPT TO:<victim@victim.example>\r\nDATA\r\nSubject: hi\r\n\r\nx",
    "花子\n.\nMAIL FROM:<evil@victim.example>",
    "花子\u2028Bcc: everyone@victim.example",
    "花子\x00\x1b[2J\x85Bcc: everyone@victim.example",
    "{{ 7 * 7 }}{% for x in range(3) %}AAA{% endfor %}{{ ''.__class__.__mro__ }}",
)


class Box:
    """A relay that takes everything and keeps it."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), bytes(envelope.content)))
        return "250 ok"


@contextlib.asynccontextmanager
async def town(folder: Path) -> AsyncIterator[tuple[Library, Box]]:
    box, loop = Box(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, hostname="localhost", loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with library(folder, RELAY_PORT=port) as found:
        yield found, box
    server.close()


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
async def test_what_a_name_or_title_says_is_text_and_nothing_else(evil: str, tmp_path: Path) -> None:
    async with town(tmp_path) as (found, box):
        await found.event("patron", patron_id="P1", email="p@good.example", name=evil)
        await found.event("hold.shelved", hold_id="H1", patron_id="P1", title=f"題 {evil}", branch="main")
        await found.batch()
        await found.send()
    [(_, recipients, raw)] = box.mails
    assert recipients == ["p@good.example"]
    mail = message_from_bytes(raw, policy=policy.default)
    names = [name.lower() for name in mail]
    assert not {"bcc", "cc", "x-evil"} & set(names)
    assert len(names) == len(set(names))
    assert mail["To"] == "p@good.example"
    text = mail.get_content()
    # nor does it begin a line of the text, where it could pass for the library's own words
    assert not [line for line in text.splitlines() if line.startswith((".", "Bcc", "X-Evil", "MAIL", "RCPT"))]
    assert not set("\x00\x1b\x85\u2028") & set(text)
    assert ("{{ 7 * 7 }}" in text) is ("{{" in evil)
    assert "<class" not in text


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ notice.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% include '../../../../etc/passwd' %}",
    ],
)
def test_a_template_reaches_nothing_but_its_own_words(attack: str, tmp_path: Path) -> None:
    """Who may write the library's wording may not thereby read the machine's files or memory."""
    body = tmp_path / "mail/hold_ready/ja/body.txt"
    body.parent.mkdir(parents=True)
    body.write_text(attack + "\n")
    try:
        rendered = Renderer(tmp_path).render(sample_view(Kind.HOLD_READY))
    except TodokuError:
        return
    assert "root:" not in str(rendered)
    assert "<class" not in str(rendered)
    assert "__builtins__" not in str(rendered)


# -- files of a feed -------------------------------------------------------------------------------

SECRET = "patron_id,name,email\nP9,秘密 太郎,secret@example.jp\n"


async def test_a_link_among_a_feeds_files_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text(SECRET)
    (folder.path / "patrons.csv").symlink_to(outside)
    os.mkfifo(folder.path / "patrons2.csv")
    assert await folder.settle() == 0
    assert outside.read_text() == SECRET
    assert (folder.path / "patrons.csv").is_symlink()


@pytest.mark.parametrize("name", ["done", "failed"])
async def test_files_are_not_put_away_through_a_link(folder: Folder, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder.path / name).symlink_to(elsewhere)
    folder.put("patrons.csv", SECRET if name == "done" else "no such column\n1\n")
    await folder.settle()
    assert list(elsewhere.iterdir()) == []


async def test_a_link_that_takes_a_files_place_in_time_is_not_followed(
    folder: Folder, tmp_path: Path
) -> None:
    """Whoever may write here swaps the file when it has just been looked at: a secret of ours would stand in
    the report that is put beside it."""
    outside = tmp_path / "outside.csv"
    outside.write_text("a secret of ours\n")
    path = folder.put("patrons.csv", PATRONS)
    await folder.look()
    folder.clock.advance(SETTLED_AFTER)
    [complete] = folder.drop._complete()
    path.unlink()
    path.symlink_to(outside)
    assert not await folder.drop._deal(complete, folder.stop)
    assert [file.name for file in folder.path.rglob("*")] == ["patrons.csv"]


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    """Opening one to read waits until somebody writes: for ever, if nobody means to."""
    os.mkfifo(tmp_path / "patrons.csv")
    said: list[OSError] = []

    def read() -> None:
        try:
            open_plain(tmp_path / "patrons.csv")
        except OSError as error:
            said.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive()
    assert [error.errno for error in said] == [errno.EINVAL]


async def test_no_report_is_written_over_what_a_link_points_to(folder: Folder, tmp_path: Path) -> None:
    precious = tmp_path / "todoku.precious"
    precious.write_text("as it was")
    (folder.path / "failed").mkdir()
    (folder.path / "failed/patrons.csv.report.txt").symlink_to(precious)
    folder.put("patrons.csv", "no such column\n1\n")
    await folder.settle()
    assert (folder.path / "failed/patrons.csv").exists()
    assert precious.read_text() == "as it was"


# -- a server that lies ----------------------------------------------------------------------------

LIES = 64 * 1024 * 1024
"""How much the server would send: more than any answer may have."""


class Liar:
    """An IMAP server that announces a small mail and then sends without end."""

    def __init__(self) -> None:
        self.sent = 0
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"* OK ready\r\n")
            while line := await reader.readline():
                tag, _, words = line.rstrip().partition(b" ")
                self.asked.append(words)
                await self._answer(tag, words.upper(), writer)
        writer.close()

    async def _answer(self, tag: bytes, words: bytes, writer: asyncio.StreamWriter) -> None:
        done = tag + b" OK done\r\n"
        if words.startswith(b"CAPABILITY"):
            writer.write(b"* CAPABILITY IMAP4rev1 IDLE MOVE UIDPLUS\r\n" + done)
        elif words.startswith(b"SELECT"):
            writer.write(b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n" + done)
        elif b"SEARCH" in words:
            writer.write(b"* SEARCH 1\r\n" + done)
        elif b"RFC822.SIZE" in words:
            writer.write(b"* 1 FETCH (UID 1 RFC822.SIZE 1000)\r\n" + done)
        elif b"BODY" in words:
            writer.write(b"* 1 FETCH (UID 1 BODY[]<0> {%d}\r\n" % LIES)
            while self.sent < LIES:
                writer.write(b"x" * 65_536)
                self.sent += 65_536
                await writer.drain()
            writer.write(b")\r\n" + done)
        else:
            writer.write(done)


@contextlib.asynccontextmanager
async def reading(liar: Liar, until: MailboxStatus) -> AsyncIterator[tuple[list[object], list[MailboxState]]]:
    """A reader at the liar's until it says so of the mailbox, or has ended, or reads a mail again: what it
    stored, and all that it said."""
    stored: list[object] = []
    states = [MailboxState()]

    async def keep(inbound: object) -> None:
        stored.append(inbound)

    async with await asyncio.start_server(liar.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pacing = Pacing(first=30, longest=30, refused=30, mail_first=30, mail_longest=30, answer=20)
        options = ImapOptions("127.0.0.1", port, "none", "bounces", "password")
        reader = MailboxReader(
            options, keep, SystemClock().now, states.append, jitter=lambda: 0.5, pacing=pacing
        )
        task = asyncio.create_task(reader.run())
        try:
            await wait_until(
                lambda: states[-1].status is until or task.done() or len(stored) > 1, 30, "the end of it"
            )
            yield stored, states
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_an_imap_server_that_lies_about_sizes_does_not_fill_the_memory() -> None:
    liar = Liar()
    async with reading(liar, MailboxStatus.BROKEN) as (stored, _):
        assert stored == []
    assert any(b"BODY" in words for words in liar.asked)
    assert 0 < liar.sent < LIES // 2


class Keeper(Liar):
    """Says that mails are moved, and still shows them."""

    async def _answer(self, tag: bytes, words: bytes, writer: asyncio.StreamWriter) -> None:
        if b"BODY" in words:
            writer.write(b"* 1 FETCH (UID 1 BODY[]<0> {3}\r\nabc)\r\n" + tag + b" OK done\r\n")
        else:
            await super()._answer(tag, words, writer)


async def test_a_mail_that_the_server_does_not_let_go_is_read_once() -> None:
    """Or the reader would go round without a pause, and the ledger with it."""
    keeper = Keeper()
    async with reading(keeper, MailboxStatus.LISTENING) as (stored, states):
        assert len(stored) == 1
        assert "still shows them" in states[-1].last_error


class Boaster(Liar):
    """Numbers that no mailbox has."""

    def __init__(self, place: bytes) -> None:
        super().__init__()
        self._place = place

    async def _answer(self, tag: bytes, words: bytes, writer: asyncio.StreamWriter) -> None:
        number, done = b"9" * 5000, tag + b" OK done\r\n"
        if words.startswith(b"SELECT") and self._place == b"UIDVALIDITY":
            writer.write(b"* 1 EXISTS\r\n* OK [UIDVALIDITY %s] ok\r\n" % number + done)
        elif b"SEARCH" in words and self._place == b"UID":
            writer.write(b"* SEARCH %s\r\n" % number + done)
        elif b"RFC822.SIZE" in words:
            writer.write(b"* 1 FETCH (UID 1 RFC822.SIZE %s)\r\n" % number + done)
        else:
            await super()._answer(tag, words, writer)


@pytest.mark.parametrize("place", [b"UIDVALIDITY", b"UID", b"SIZE"])
async def test_a_number_too_long_to_be_one_ends_the_connection_and_not_the_reader(place: bytes) -> None:
    async with reading(Boaster(place), MailboxStatus.BROKEN) as (stored, states):
        assert states[-1].status is MailboxStatus.BROKEN
        assert stored == []


# -- a library system's server that lies, or another in its place ----------------------------------------


@contextlib.asynccontextmanager
async def answering(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A web server that says this to every request. Its address."""

    served: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.gather(*(task for task in served if task is not None))


async def asked(url: str) -> Reply:
    async def token(_: httpx.AsyncClient) -> Token:
        return Token({"X-Okapi-Token": "secret"}, float("inf"))

    async with Api(url, token, timeout=10, verify=True, ca_file=None) as api:
        return await api.get("list")


async def test_a_packed_answer_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_http, "MAX_ANSWER", 1_000_000)
    packed = gzip.compress(b" " * 20_000_000)
    assert len(packed) < 100_000

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed))
        writer.write(packed)
        await writer.drain()

    async with answering(answer) as url:
        with pytest.raises(FeedDown, match="larger than"):
            await asked(url)


async def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_http, "LONGEST_S", 0.3)
    gone = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        while not gone.is_set():
            writer.write(b"[")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with answering(answer) as url, asyncio.timeout(10):
        try:
            with pytest.raises(FeedDown, match="took longer"):
                await asked(url)
        finally:
            gone.set()


async def test_a_token_is_not_taken_to_another_server() -> None:
    reached: list[bytes] = []

    async def elsewhere(writer: asyncio.StreamWriter) -> None:
        reached.append(b"asked")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with answering(elsewhere) as other:

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n".encode())

        async with answering(answer) as url:
            with pytest.raises(FeedDown):
                await asked(url)
    assert reached == []


# -- stopwatches -----------------------------------------------------------------------------------


def test_a_token_is_compared_with_every_key_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = TokenKeys([b"a" * 32, b"b" * 32, b"c" * 32])
    compared = _count(monkeypatch, hmac, "compare_digest")
    assert keys.read(keys.make(1)) == 1
    assert keys.read("a" * 16 + "b") is None
    # a guess that is right at once takes no less than one that is wrong
    assert [len(call) for call in compared] == [2] * 6


def test_a_bearer_token_is_compared_with_every_token_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = BearerTokens(["first-token", "second-token"])
    compared = _count(monkeypatch, hmac, "compare_digest")
    assert tokens.knows("first-token")
    assert not tokens.knows("f")
    assert len(compared) == 4
    lengths = {len(value) for call in compared for value in call}
    assert lengths == {hashlib.sha256().digest_size}


def test_a_login_that_is_not_there_costs_as_much_as_one_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = accounts.hash_password("a long enough passphrase")
    checked: list[str] = []
    genuine = type(accounts._HASHER).verify

    def counted(self: Any, stored: str, password: str) -> Any:
        checked.append(stored.rpartition("$")[0].rpartition("$")[0])  # the parameters, which set the cost
        return genuine(self, stored, password)

    monkeypatch.setattr(type(accounts._HASHER), "verify", counted)
    assert not accounts.verify(None, "wrong")
    assert not accounts.verify(hashed, "wrong")
    assert len(checked) == 2
    assert checked[0] == checked[1]


def _count(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[tuple[Any, ...]]:
    """Every call of a function, which works as before."""
    calls: list[tuple[Any, ...]] = []
    genuine = getattr(module, name)

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return genuine(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


# -- on by default ---------------------------------------------------------------------------------

LEAST = """
library: {name: 市立図書館, branches: [{id: main, name: 本館}]}
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.library.example.jp}
relay: {host: mail.example.jp}
intake: {lmtp: {}, imap: {host: imap.example.jp, username: bounce}}
alerts: {relay: {host: mail2.example.jp}}
"""


@pytest.fixture
def least(tmp_path: Path) -> Settings:
    """The settings of a library that named no more than it must."""
    return parse(LEAST, base=tmp_path, env={"TODOKU_IMAP_PASSWORD": "x"})


def test_connections_are_encrypted_and_verified_unless_told_otherwise(least: Settings) -> None:
    assert (least.relay.tls, least.relay.verify_tls) == ("starttls", True)
    assert least.intake.imap is not None
    assert (least.intake.imap.tls, least.intake.imap.verify_tls) == ("implicit", True)
    assert least.alerts.relay is not None
    assert (least.alerts.relay.tls, least.alerts.relay.verify_tls) == ("starttls", True)


def test_nothing_listens_to_other_machines_unless_told_to(least: Settings) -> None:
    assert least.intake.lmtp is not None
    for listen in (least.intake.lmtp.listen, least.desk.listen, least.confirm.listen):
        assert listen.host == "127.0.0.1"


def test_nothing_leaves_unless_told_to(least: Settings) -> None:
    assert least.sending.mode == "off"
    assert least.confirm.base_url is None
    assert least.api.tokens_file is None
