"""The IMAP adapter: one connection to one mailbox, as the reader needs it, over aioimaplib.

In: host, login, folder names, UIDs. Out: UIDs, sizes, octets; or `Broken`, in words that may be shown. It
decides nothing about mails. The only module that knows aioimaplib, and what must be done around it: it
waits for ever on a closed connection, drops what the server tells between commands, quotes nothing but
passwords and reads literals of any length.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aioimaplib

ANSWER_LIMIT = 16 * 1024 * 1024
"""Octets of one answer, the mails asked for not counted: a million UIDs, or a server that does not stop."""
_FRAME = 4096  # octets around each mail of an answer


class Broken(Exception):  # noqa: N818
    """The connection is of no use any more and must be thrown away: aioimaplib queues each later command
    behind the dead one. The text says what the server did."""


class LoginRefused(Broken):
    """User name or password are wrong, the account is closed, or it may not log in without TLS."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What opens a mailbox: a password, or an OAuth 2.0 access token for XOAUTH2."""

    text: str = field(repr=False)
    is_token: bool = False


SecretSource = Callable[[], Awaitable[Secret]]
"""Asked at every login, since tokens live for an hour. Raises OSError and ValueError."""


def mailbox_name(name: str) -> str:
    """A mailbox name as IMAP writes it: modified UTF-7 (RFC 3501 section 5.1.3), quoted. INBOX in any
    case is the same folder (section 5.1)."""
    if name.upper() == "INBOX":
        return '"INBOX"'
    parts = re.split(r"([^\x20-\x7e]+)", name)
    ascii_parts = (part.replace("&", "&-") for part in parts[::2])
    coded = (
        "&" + base64.b64encode(part.encode("utf-16-be"), b"+,").rstrip(b"=").decode("ascii") + "-"
        for part in parts[1::2]
    )
    mixed = [next(coded) if at % 2 else next(ascii_parts) for at in range(len(parts))]
    return quoted("".join(mixed))


def quoted(text: str) -> str:
    """An IMAP quoted string (RFC 3501 section 9); aioimaplib quotes only passwords."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def uid_set(uids: Iterable[int]) -> str:
    """`[1, 2, 3, 7]` as `1:3,7` (RFC 3501 section 9, sequence-set). `uids` must ascend."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in runs)


_FETCH = re.compile(rb"\d+ FETCH \(", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d+)", re.IGNORECASE)
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d+)", re.IGNORECASE)
_SHORT_BODY = re.compile(rb'\bBODY\[\](?:<0>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def fetched(lines: Iterable[bytes | bytearray]) -> Iterator[tuple[int, int | None, bytes | None]]:
    """UID, size and body of each mail in the answer to a FETCH, as aioimaplib gives it: literals are
    bytearrays, all else bytes. What other clients' doings mixed in (no UID) is left out."""
    entries: list[tuple[list[bytes], list[bytes]]] = []
    for line in lines:
        if isinstance(line, bytearray):
            if entries:
                entries[-1][1].append(bytes(line))
        elif _FETCH.match(line):
            entries.append(([line], []))
        elif entries:
            entries[-1][0].append(line)
    for words, literals in entries:
        text = b" ".join(words)
        short = _SHORT_BODY.search(text)
        body = literals[0] if literals else re.sub(rb"\\(.)", rb"\1", short[1]) if short else None
        text = _SHORT_BODY.sub(b"", text)  # whatever it says of UIDs
        uid, size = _UID.search(text), _SIZE.search(text)
        if uid:
            yield int(uid[1]), int(size[1]) if size else None, body


def _words(response: Any) -> str:
    """What the server said last, as one short printable line."""
    text = bytes(response.lines[-1]).decode("utf-8", "replace") if response.lines else ""
    return f"{response.result} {''.join(c if c.isprintable() else ' ' for c in text)[:200]}".strip()


def _admitted(response: Any) -> None:
    """Raises LoginRefused unless the login went well, Broken if it is the server's trouble."""
    if response.result == "OK":
        return
    said = _words(response)
    # RFC 5530 section 3: these are the server's trouble, not the password's
    passing = re.search(r"\[(UNAVAILABLE|INUSE|SERVERBUG|LIMIT)\b", said, re.IGNORECASE)
    raise (Broken if passing else LoginRefused)(f"login: {said}")


_LISTED = re.compile(rb"\((?P<flags>[^)]*)\) (?:\"[^\"]*\"|NIL) (?P<name>.+)", re.IGNORECASE)
_JUNK_NAMES = frozenset({"junk", "spam", "junk e-mail", "junk email", "bulk mail", "bulk", "迷惑メール"})


def plain_name(wire: bytes) -> str:
    """A mailbox name as people write it, from the answer to LIST: the inverse of `mailbox_name`."""
    text = wire.decode("utf-8", "replace").strip()
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        text = re.sub(r"\\(.)", r"\1", text[1:-1])

    def decoded(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        try:
            padded = match[1] + "=" * (-len(match[1]) % 4)
            return base64.b64decode(padded, b"+,").decode("utf-16-be")
        except (ValueError, UnicodeDecodeError):
            return match[0]

    return re.sub(r"&([A-Za-z0-9+,]*)-", decoded, text)


class Connection:
    """One login to one server, through TLS if there is a context.

    Each method raises `Broken` if the connection ends, or if the server is silent for `answer` seconds.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, answer: float) -> None:
        self._answer = answer
        self._idle_refused = False
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # IMAP4_SSL cannot be told whom to call when the connection ends, IMAP4 with a context can
        self._client = aioimaplib.IMAP4(
            host,
            port,
            timeout=2 * answer,  # never reached: ours ends first
            conn_lost_cb=lambda _: None if self._lost.done() else self._lost.set_result(None),
            ssl_context=tls,
        )
        self._protocol = self._client.protocol
        self._most, self._received = ANSWER_LIMIT, 0
        self._count_octets()

    def _count_octets(self) -> None:
        """Ends the connection when an answer is longer than it can be. aioimaplib keeps all that comes: a
        server that announces a small mail and sends without end would fill the memory."""
        receive = self._protocol.data_received

        def counted(data: bytes) -> None:
            self._received += len(data)
            if self._received > self._most:
                self._protocol.transport.abort()
            else:
                receive(data)

        self._protocol.data_received = counted

    async def _first(self, what: str, tasks: set[asyncio.Future[Any]], seconds: float) -> None:
        """Waits until one of `tasks` is done. A command's own time-out of aioimaplib's would not do: it
        leaves the client blocked, and most of its commands wait for ever on a closed connection."""
        try:
            done, _ = await asyncio.wait(
                {*tasks, self._lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        if not done & tasks:
            for task in tasks:
                task.cancel()
            raise Broken(f"{what}: " + ("connection closed" if done else f"no answer in {seconds:g} s"))

    async def _ask(self, what: str, command: Coroutine[Any, Any, Any], most: int = ANSWER_LIMIT) -> Any:
        """Runs one command of aioimaplib and returns its response, whatever the result. `most` octets of
        answer are read."""
        self._most, self._received = most, 0
        task = asyncio.ensure_future(command)
        await self._first(what, {task}, self._answer)
        try:
            return task.result()
        except OSError as error:  # a refused connection, an unknown host, a certificate
            raise Broken(f"{what}: {error}") from error
        except Exception as error:
            # by its type only: aioimaplib puts whole commands into its texts, a password among them
            raise Broken(f"{what}: {type(error).__name__}") from error

    async def _must(self, what: str, command: Coroutine[Any, Any, Any]) -> Any:
        response = await self._ask(what, command)
        if response.result != "OK":
            raise Broken(f"{what}: {_words(response)}")
        return response

    def can(self, capability: str) -> bool:
        return capability in self._protocol.capabilities

    async def open(self, username: str, secret: str, *, token: bool = False) -> None:
        """Greeting, login, and the capabilities that hold after it. With `token` the secret is an OAuth 2.0
        access token, else a password. LoginRefused."""
        await self._ask("connect", self._client.wait_hello_from_server())
        if self._protocol.state == aioimaplib.NONAUTH:
            await (self._authenticate(username, secret) if token else self._login(username, secret))
        # aioimaplib mangles those in the login's answer ("[CAPABILITY", "MOVE]")
        await self._ask("capabilities", self._protocol.capability())

    async def _login(self, username: str, password: str) -> None:
        if self.can("LOGINDISABLED"):
            raise LoginRefused("login: the server allows none without TLS (LOGINDISABLED)")
        response = await self._ask("login", self._protocol.login(quoted(username), password))
        _admitted(response)

    async def _authenticate(self, username: str, token: str) -> None:
        """XOAUTH2. A refusal comes as a challenge with the reasons, which the client must answer with an
        empty line before the server says NO; aioimaplib takes it for a line of the answer and waits."""
        if not self.can("AUTH=XOAUTH2"):
            raise LoginRefused("login: the server knows no XOAUTH2")
        if any(sign in username + token for sign in "\0\1\r\n"):
            raise LoginRefused("login: the user name or the token has control characters")
        self._protocol._continuation = lambda _: self._protocol.transport.write(b"\r\n")
        try:
            _admitted(await self._ask("login", self._protocol.xoauth2(username, token)))
        finally:
            del self._protocol._continuation

    async def junk_folder(self) -> str:
        """The folder that the server marks for junk (RFC 6154), else one with a usual name, else ""."""
        listed = self._protocol.simple_command("LIST", '""', '"*"')
        response = await self._must("list", listed)
        found = [match for line in response.lines if (match := _LISTED.fullmatch(bytes(line)))]
        names = [(match["flags"].lower().split(), plain_name(match["name"])) for match in found]
        marked = [name for flags, name in names if b"\\junk" in flags]
        usual = [name for _, name in names if name.rpartition("/")[2].lower() in _JUNK_NAMES]
        return next(iter([*marked, *usual]), "")

    async def has(self, message_id: str) -> bool:
        """Whether the open folder has a mail of this Message-ID."""
        search = self._protocol.search("HEADER", "Message-ID", quoted(message_id), charset=None, by_uid=True)
        response = await self._must("search", search)
        return any(word.isdigit() for line in response.lines[:-1] for word in line.split())

    async def select(self, folder: str) -> int:
        """Opens the folder and returns its UIDVALIDITY (RFC 3501 section 2.3.1.1), 0 if it has none."""
        response = await self._must(f"folder {folder}", self._protocol.select(mailbox_name(folder)))
        found = re.search(rb"\[UIDVALIDITY (\d+)\]", b" ".join(map(bytes, response.lines)), re.IGNORECASE)
        return int(found[1]) if found else 0

    async def make_folder(self, folder: str) -> str:
        """Makes the folder if there is none. Returns what is wrong, "" if nothing."""
        name = mailbox_name(folder)
        status = self._protocol.simple_command("STATUS", name, "(MESSAGES)")
        if (await self._ask("status", status)).result == "OK":
            return ""
        response = await self._ask("create", self._protocol.simple_command("CREATE", name))
        if response.result != "OK":
            return f"folder {folder} cannot be made: {_words(response)}"
        await self._ask("subscribe", self._protocol.simple_command("SUBSCRIBE", name))
        return ""

    async def search(self) -> list[int]:
        """All UIDs of the folder. Mail that someone marked as deleted is no longer ours to read."""
        response = await self._must("search", self._protocol.search("UNDELETED", charset=None, by_uid=True))
        return sorted({int(word) for line in response.lines[:-1] for word in line.split() if word.isdigit()})

    async def sizes(self, uids: list[int]) -> dict[int, int]:
        """Octets of each mail. First of all, since aioimaplib reads a literal of any length."""
        fetch = self._protocol.fetch(uid_set(uids), "(UID RFC822.SIZE)", by_uid=True)
        response = await self._must("fetch sizes", fetch)
        return {uid: size for uid, size, _ in fetched(response.lines) if size is not None}

    async def bodies(self, uids: list[int], octets: int) -> dict[int, bytes]:
        """The first `octets` of each mail, not marking it read. What the server cannot give is missing."""
        fetch = self._protocol.fetch(uid_set(uids), f"(UID BODY.PEEK[]<0.{octets}>)", by_uid=True)
        response = await self._ask("fetch", fetch, ANSWER_LIMIT + len(uids) * (octets + _FRAME))
        return {uid: body for uid, _, body in fetched(response.lines) if body is not None}

    async def move(self, uids: list[int], folder: str) -> str:
        """Moves mails. Returns what went wrong, "" if nothing; then they are all still in the folder.

        Without MOVE (RFC 6851) they are copied and marked deleted, and expunged only by UID (RFC 4315):
        a plain EXPUNGE would take along what others marked.
        """
        mails, name = uid_set(uids), mailbox_name(folder)
        if self.can("MOVE"):
            response = await self._ask("move", self._protocol.move(mails, name, by_uid=True))
            return "" if response.result == "OK" else f"move to {folder}: {_words(response)}"
        response = await self._ask("copy", self._protocol.copy(mails, name, by_uid=True))
        if response.result != "OK":
            return f"copy to {folder}: {_words(response)}"
        flag = self._protocol.store(mails, "+FLAGS.SILENT", r"(\Deleted)", by_uid=True)
        response = await self._ask("mark", flag)
        if response.result != "OK":
            return f"mark as moved: {_words(response)}"
        if self.can("UIDPLUS"):
            await self._ask("expunge", self._protocol.expunge(mails, by_uid=True))
        return ""

    async def listen(self, seconds: float) -> None:
        """Returns when the server tells of mail, or after `seconds`. Without IDLE it only waits."""
        if not self.can("IDLE") or self._idle_refused:
            await self._pause(seconds)
            return
        self._most, self._received = ANSWER_LIMIT, 0
        told = self._protocol.idle_queue
        while not told.empty():  # told before we last searched
            told.get_nowait()
        idle = asyncio.ensure_future(self._protocol.idle())
        started = asyncio.ensure_future(self._protocol.wait_for_idle_response())
        await self._first("idle", {idle, started}, self._answer)
        if idle.done():  # offered, but not given: from now on the caller's next look is all there is
            started.cancel()
            idle.exception()
            self._idle_refused = True
            return
        try:
            await self._told(told, seconds)
            self._protocol.idle_done()
            await self._first("end of idle", {idle}, self._answer)
        finally:
            idle.cancel()

    async def _told(self, told: asyncio.Queue[list[bytes]], seconds: float) -> None:
        """EXISTS tells of new mail. RECENT too: it comes alone when EXISTS came with the answer to an
        earlier command, where aioimaplib drops it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            push: asyncio.Future[Any] = asyncio.ensure_future(told.get())
            try:
                await asyncio.wait({push, self._lost}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                push.cancel()
            if self._lost.done():
                raise Broken("idle: connection closed")
            if push.done() and any(b"EXISTS" in line or b"RECENT" in line for line in push.result()):
                return

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait({self._lost}, timeout=seconds)
        if self._lost.done():
            raise Broken("pause: connection closed")

    async def close(self) -> None:
        """Ends the connection whatever it is at. Never raises."""
        for task in list(self._protocol.tasks):
            task.cancel()
        if self._protocol.transport is not None:
            self._protocol.transport.abort()
            await asyncio.wait({self._lost}, timeout=1.0)
