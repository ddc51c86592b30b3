"""The IMAP mailbox reader: bounces and replies from a mailbox at a provider or on the town's mail server.

In: an IMAP folder, read from the first mail to the last, then watched (IDLE, RFC 2177) and polled. Out:
each mail as `Inbound` to a `Store`, and only after the store has returned is it moved to the done
folder. The folder itself is the queue: nothing is deleted, nothing marked read, and whatever breaks, the
mail is still there. One bad mail waits aside and never stops the rest.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import structlog

from bounces.imap import Broken, Connection, LoginRefused, Secret, SecretSource, mailbox_name
from bounces.intake import MAX_SIZE, Inbound, Store, cut_note, delivery_headers
from holds_core.errors import BadInput

log = structlog.get_logger("bounces.mailbox")

IDLE_LIMIT = 300.0  # seconds; a NAT box or a firewall forgets a connection that stays silent for longer
CHUNK = 100  # mails asked for at once: aioimaplib recurses for each line of a burst and dies at about 1,000
BATCH_OCTETS = 1_048_576  # and at most this much of them in memory
FAILURES_IN_A_ROW = 5  # so many mails not stored one after the other: it is the store, not the mails


@dataclass(frozen=True, slots=True)
class ImapOptions:
    """Where the mailbox is. `secret`, where given, is asked at every login and wins over `password`.
    `ca_file` replaces the system's authorities; `verify` off takes any certificate. `poll` is the longest time between two looks, also where IDLE works; `max_size` is in
    octets, of a longer mail the head is read. BadInput if it cannot work."""

    host: str
    port: int
    tls: Literal["none", "implicit"]
    username: str
    password: str = field(default="", repr=False)
    folder: str = "INBOX"
    done_folder: str = "Todoku"
    verify: bool = True
    ca_file: Path | None = None
    poll: timedelta = timedelta(minutes=2)
    max_size: int = MAX_SIZE
    secret: SecretSource | None = None

    def __post_init__(self) -> None:
        if mailbox_name(self.folder) == mailbox_name(self.done_folder):
            raise BadInput("folder and done_folder must be two folders, or every mail would be read for ever")
        for key, value in (("username", self.username), ("password", self.password)):
            if any(control in value for control in "\0\r\n"):
                raise BadInput(f"{key} must not contain a line end or NUL (RFC 3501 section 9)")


@dataclass(frozen=True, slots=True)
class Pacing:
    """Waiting times in seconds. After a lost connection from `first`, doubled up to `longest`, of which a
    random half is taken off; after a refused login `refused`, since providers lock accounts that try
    again and again, but `refused_token` for a token, which another program may have renewed since; for a mail that could not be stored from `mail_first` to `mail_longest`; `answer` is
    how long the server may be silent when asked."""

    first: float = 1.0
    longest: float = 300.0
    refused: float = 1800.0
    refused_token: float = 300.0
    mail_first: float = 5.0
    mail_longest: float = 900.0
    answer: float = 60.0


class MailboxStatus(StrEnum):
    """What the reader is at."""

    CONNECTING = "connecting"
    READING = "reading"
    LISTENING = "listening"  # everything is read; the server tells of new mail, or we ask again after `poll`
    BROKEN = "broken"  # no connection, or the folder cannot be opened; tried again soon
    REFUSED = "refused"  # the login was refused; a person must mend it, tried again late


@dataclass(frozen=True, slots=True)
class MailboxState:
    """For the system page and doctor. `last_seen` is when the server last answered well, `last_error`
    the last trouble in words ("" once it is over), `waiting` the mails in the folder not yet moved."""

    status: MailboxStatus = MailboxStatus.CONNECTING
    last_seen: datetime | None = None
    last_error: str = ""
    waiting: int = 0

    @property
    def connected(self) -> bool:
        return self.status in (MailboxStatus.READING, MailboxStatus.LISTENING)


def tls_context(
    tls: Literal["none", "implicit"], *, verify: bool, ca_file: Path | None
) -> ssl.SSLContext | None:
    """Made anew for each connection, so that a renewed authority is picked up. OSError without the file."""
    if tls == "none":
        return None
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class _Aside:
    """A mail that could not be fetched or stored: `tries` times until now, next at loop time `due`."""

    tries: int
    due: float
    why: str


@dataclass(slots=True)
class _Memory:
    """What is known of mails by their UIDs, for as long as the folder's UIDVALIDITY stands. Losing it
    loses nothing: a mail is then read once more, and the store counts it once."""

    validity: int = 0
    stored: set[int] = field(default_factory=set)  # but not yet moved
    moved: set[int] = field(default_factory=set)  # as the server says; those still there prove it wrong
    suspects: set[int] = field(default_factory=set)  # the connection broke while they were fetched
    aside: dict[int, _Aside] = field(default_factory=dict)

    def only(self, uids: list[int]) -> None:
        """Forgets mails that are no longer in the folder."""
        there = set(uids)
        self.stored &= there
        self.moved &= there
        self.suspects &= there
        self.aside = {uid: aside for uid, aside in self.aside.items() if uid in there}

    def due(self, uids: list[int], now: float) -> list[int]:
        """The mails to read now: new ones first, then suspects, then those aside whose time has come."""
        known = self.stored | self.moved | self.aside.keys()
        new = [uid for uid in uids if uid not in known]
        new.sort(key=lambda uid: uid in self.suspects)
        return new + [uid for uid, aside in self.aside.items() if aside.due <= now]


class MailboxReader:
    """Reads one mailbox until cancelled.

    `store` keeps each mail; `clock` gives the time in a time zone; `on_state` is told of each change, in
    the loop, and must not block; `jitter` gives numbers from 0 to 1, so that many readers do not come
    back at once.
    """

    def __init__(
        self,
        options: ImapOptions,
        store: Store,
        clock: Callable[[], datetime],
        on_state: Callable[[MailboxState], None],
        *,
        jitter: Callable[[], float],
        pacing: Pacing | None = None,
    ) -> None:
        self._options = options
        self._store = store
        self._clock = clock
        self._on_state = on_state
        self._jitter = jitter
        self._pacing = pacing or Pacing()
        self._state = MailboxState()
        self._memory = _Memory()
        self._broken = 0  # connections in a row that came to nothing
        self._not_stored = 0  # mails in a row
        self._held_until = 0.0  # loop time; the store is not asked before
        self._folder_trouble = ""
        self._by_token = False  # the last login

    async def run(self) -> None:
        """Never returns. Whatever the server does ends in `MailboxState` and another try."""
        logging.getLogger("aioimaplib").setLevel(logging.WARNING)  # below, it writes mails and logins
        self._on_state(self._state)
        while True:
            try:
                await self._session()
            except LoginRefused as error:
                delay = self._pacing.refused_token if self._by_token else self._pacing.refused
                self._show(status=MailboxStatus.REFUSED, last_error=str(error))
            except (Broken, OSError, ValueError) as error:  # beside Broken: authorities, secret unreadable
                delay = self._backoff(self._broken, self._pacing.first, self._pacing.longest)
                self._broken += 1
                said = str(error) or type(error).__name__
                self._show(status=MailboxStatus.BROKEN, last_error=said)
            log.warning("mailbox_left", error=self._state.last_error, retry_in=round(delay, 1))
            await asyncio.sleep(delay)

    async def _session(self) -> None:
        options = self._options
        self._show(status=MailboxStatus.CONNECTING)
        context = tls_context(options.tls, verify=options.verify, ca_file=options.ca_file)
        secret = await options.secret() if options.secret is not None else Secret(options.password)
        self._by_token = secret.is_token
        connection = Connection(options.host, options.port, context, self._pacing.answer)
        try:
            await connection.open(options.username, secret.text, token=secret.is_token)
            validity = await connection.select(options.folder)
            if validity != self._memory.validity or not validity:
                self._memory = _Memory(validity)  # every UID has a new meaning (RFC 3501 section 2.3.1.1)
            self._folder_trouble = await connection.make_folder(options.done_folder)
            log.info("mailbox_opened", idle=connection.can("IDLE"), move=connection.can("MOVE"))
            while True:
                await self._read_all(connection)
                await connection.listen(self._patience())
                self._broken = 0  # only now: a server that throws us out after each look is not pressed
        finally:
            await connection.close()

    async def _read_all(self, connection: Connection) -> None:
        """Reads until the folder holds nothing that is due: mail comes in while mail is read."""
        while True:
            uids = await connection.search()
            self._memory.only(uids)
            self._show(status=MailboxStatus.READING, last_seen=self._clock(), waiting=len(uids))
            left = sorted(self._memory.stored)
            for start in range(0, len(left), CHUNK):
                await self._move(connection, left[start : start + CHUNK])
            due = [] if self._is_held() else self._memory.due(uids, self._now())
            if not due:
                break
            for start in range(0, len(due), CHUNK):
                await self._read(connection, due[start : start + CHUNK])
                if self._is_held():
                    break
        reasons = (aside.why for aside in self._memory.aside.values())
        lie = "the server says that mails are moved, and still shows them" if self._memory.moved else ""
        trouble = self._folder_trouble or lie or next(reasons, "")
        self._show(status=MailboxStatus.LISTENING, last_error=trouble)

    async def _read(self, connection: Connection, uids: list[int]) -> None:
        sizes = await connection.sizes(sorted(uids))
        for uid in uids:
            if uid not in sizes:
                self._set_aside(uid, "the server does not give a mail's size")
        for batch in self._batches([uid for uid in uids if uid in sizes], sizes):
            if not self._is_held():
                await self._take(connection, batch, sizes)

    def _batches(self, uids: list[int], sizes: dict[int, int]) -> Iterator[list[int]]:
        """Groups of mails to fetch at once, suspects alone."""
        batch: list[int] = []
        octets = 0
        for uid in uids:
            size = min(sizes[uid], self._options.max_size)
            alone = uid in self._memory.suspects or uid in self._memory.aside
            if batch and (alone or octets + size > BATCH_OCTETS):
                yield batch
                batch, octets = [], 0
            batch.append(uid)
            octets = octets + size if not alone else BATCH_OCTETS + 1
        if batch:
            yield batch

    async def _take(self, connection: Connection, uids: list[int], sizes: dict[int, int]) -> None:
        """Fetches, stores and moves a batch. A mail that breaks the connection (it happens: a damaged
        index, a parser's limit) is first read alone, and then set aside for longer and longer."""
        suspects = self._memory.suspects
        try:
            bodies = await connection.bodies(sorted(uids), self._options.max_size)
        except Broken:
            if len(uids) == 1 and uids[0] in suspects:
                self._set_aside(uids[0], "the connection breaks when a mail is read")
            suspects.update(uids)
            raise
        suspects.difference_update(uids)
        for uid in uids:
            if uid in bodies:
                await self._keep(uid, bodies[uid], sizes[uid])
            elif len(uids) == 1:
                self._set_aside(uid, "the server does not give a mail")
        await self._move(connection, [uid for uid in sorted(uids) if uid in self._memory.stored])
        if len(uids) > 1:
            for uid in uids:
                if uid not in bodies:
                    await self._take(connection, [uid], sizes)

    async def _keep(self, uid: int, raw: bytes, size: int) -> None:
        """Stores one mail, or sets it aside. When mail after mail fails, the store is left in peace."""
        if self._is_held():
            return
        sender, recipients = delivery_headers(raw)
        cut = size > len(raw) >= self._options.max_size
        note = cut_note(len(raw), size) if cut else ""
        try:
            await self._store(Inbound(raw, "imap", sender, recipients, self._clock(), cut, note))
        except Exception as error:
            # by its type only: a database error's text holds the mail and its addresses
            log.error("mail_not_stored", source="imap", uid=uid, error=type(error).__name__)
            self._set_aside(uid, f"a mail could not be stored: {type(error).__name__}")
            self._not_stored += 1
            self._hold()
            return
        self._not_stored = 0
        self._memory.aside.pop(uid, None)
        self._memory.stored.add(uid)
        log.info("mail_stored", source="imap", uid=uid, octets=len(raw), truncated=cut)

    async def _move(self, connection: Connection, uids: list[int]) -> None:
        """Moves stored mails. Those that cannot be moved stay known as stored, and are moved later."""
        if not uids:
            return
        done = self._options.done_folder
        trouble = await connection.move(uids, done)
        if "[TRYCREATE]" in trouble.upper():  # someone deleted the folder (RFC 3501 section 6.4.7)
            trouble = await connection.make_folder(done) or await connection.move(uids, done)
        self._folder_trouble = trouble
        if not trouble:
            self._memory.stored.difference_update(uids)
            self._memory.moved.update(uids)
            log.info("mails_moved", count=len(uids))

    def _hold(self) -> None:
        over = self._not_stored - FAILURES_IN_A_ROW
        if over >= 0:
            wait = self._backoff(over, self._pacing.mail_first, self._pacing.mail_longest)
            self._held_until = self._now() + wait

    def _set_aside(self, uid: int, why: str) -> None:
        before = self._memory.aside.get(uid)
        tries = before.tries if before else 0
        wait = self._backoff(tries, self._pacing.mail_first, self._pacing.mail_longest)
        self._memory.aside[uid] = _Aside(tries + 1, self._now() + wait, why)
        log.warning("mail_set_aside", source="imap", uid=uid, why=why, retry_in=round(wait, 1))

    def _patience(self) -> float:
        """Seconds until the next look: the poll, or earlier if a mail aside or the store wants a try."""
        wanted = min((aside.due for aside in self._memory.aside.values()), default=float("inf"))
        if self._is_held():
            wanted = self._held_until
        longest = min(self._options.poll.total_seconds(), IDLE_LIMIT)
        return min(longest, max(wanted - self._now(), 0.01))

    def _backoff(self, tries: int, first: float, longest: float) -> float:
        return min(longest, first * 2.0 ** min(tries, 30)) * (1 - self._jitter() / 2)

    def _is_held(self) -> bool:
        return self._now() < self._held_until

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _show(self, **changes: Any) -> None:
        state = replace(self._state, **changes)
        if state != self._state:
            self._state = state
            self._on_state(state)
