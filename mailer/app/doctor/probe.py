"""The return path tried out: a mail to ourselves through the relay, and the wait for it to come back.

Enters the site; leaves the mail as it arrived, or why it did not. It is looked for where bounces come in:
by LMTP (we listen ourselves while the daemon does not run), in the IMAP folder, and in the ledger, where a
running daemon puts it. It names no delivery, and is put away when it is found, so that it stays nobody's
work. Whatever else comes by LMTP meanwhile is left to the mail server, to be brought again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets as entropy
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from bounces.imap import Broken, Connection
from bounces.intake import Inbound
from bounces.lmtp import LmtpListener
from holds_core.ledger import upkeep
from holds_core.ledger.upkeep import LedgerDown
from holds_core.notices import Outcome, Result
from holds_core.settings import Imap
from holds_core.tokens import ReturnPathMode, TokenKeys, return_path
from mailer.app.doctor.check import CannotCheck, Said
from mailer.app.doctor.site import Site
from mailer.app.mailboxes import secret_of
from mailer.app.services import relay_options, signing
from mailer.clock import SystemClock
from mailer.message import Letter, Letterhead, build
from mailer.smtp import Relay

PATIENCE_S = 10.0
LOOK_EVERY_S = 0.5
NOBODYS = 2**62
"""A delivery number that is never given: the token is genuine, as bounces' are, and stands for no mail."""


@dataclass(frozen=True, slots=True)
class Came:
    """`raw` arrived after `seconds` by `way`: lmtp, imap, or the ledger of a running daemon."""

    raw: bytes
    way: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """It did not come: what the relay said if that refused it, else None."""

    refused: Outcome | None
    waited: float


class Probe:
    """One mail for all checks that want to see it; `wait` is how long it may take, in seconds."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self._task: asyncio.Task[Came | Lost] | None = None

    async def result(self, site: Site) -> Came | Lost:
        """Sends it when first asked. Raises CannotCheck where there is nothing to send or to wait for."""
        if self._task is None:
            self._task = asyncio.create_task(_try(site, self.wait))
        return await asyncio.shield(self._task)


async def _try(site: Site, wait: float) -> Came | Lost:
    marker = f"probe.{entropy.token_hex(12)}"
    intake = site.settings.intake
    if intake.lmtp is None and intake.imap is None:
        raise CannotCheck(
            Said("不達メールを受け取る方法がありません。", "There is no way for bounces to come in.")
        )
    finder = _Finder(site, marker.encode())
    await finder.begin()
    async with finder.listening():
        began = time.monotonic()
        outcome = await _send(site, marker)
        if outcome.result not in (Result.HANDED_OVER, Result.UNCERTAIN):
            return Lost(outcome, 0.0)
        while (waited := time.monotonic() - began) < wait:
            if (found := await finder.look()) is not None:
                return Came(found[1], found[0], waited)
            await asyncio.sleep(LOOK_EVERY_S)
        return Lost(None, waited)


async def _send(site: Site, marker: str) -> Outcome:
    """By the relay, as patrons' mail goes, signed if we sign."""
    settings, known = site.settings, site.known_secrets()
    sender = settings.sender
    token = TokenKeys(known.token_keys).make(NOBODYS)
    mode = ReturnPathMode(sender.return_path.value)
    address = return_path(mode, token, site.envelope_domain, sender.return_path_mailbox)
    now = SystemClock().now()
    letter = Letter(
        to=address,
        subject="Todoku: test of the return path",
        body="「todoku doctor --probe」の試験メールです。\nA test mail of `todoku doctor --probe`.\n",
        date=now.astimezone(settings.library.timezone),
        message_id=f"<{marker}@{site.envelope_domain}>",
        token="probe",  # noqa: S106 - names no delivery, and is no secret
    )
    data = build(Letterhead("Todoku", site.identity.address), letter)
    if (sign := signing(settings, known)) is not None:
        data = sign(data, now)
    options = relay_options(settings, known)
    relay = Relay(replace(options, timeout=min(options.timeout, PATIENCE_S), dot_timeout=60.0))
    try:
        return await relay.send("", address, data, dsn=False)
    finally:
        await relay.close()


class _Finder:
    """Looks in all places at once."""

    def __init__(self, site: Site, marker: bytes) -> None:
        self._site, self._marker = site, marker
        self._heard: bytes | None = None
        self._newest = 0

    async def begin(self) -> None:
        """Remembers what is in the ledger already."""
        if self._site.ledger is not None:
            try:
                self._newest = await upkeep.newest_mail(self._site.ledger)
            except LedgerDown as error:
                raise CannotCheck(
                    Said("データベースを読めませんでした。", "The database could not be read.")
                ) from error

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Our own listener, if the daemon does not have the place."""
        lmtp = self._site.settings.intake.lmtp
        listener = None
        if lmtp is not None:
            listener = LmtpListener(lmtp.listen.host, lmtp.listen.port, self._store, SystemClock().now)
            try:
                await listener.start()
            except OSError:
                listener = None
        try:
            yield
        finally:
            if listener is not None:
                await listener.stop()

    async def _store(self, mail: Inbound) -> None:
        if self._marker not in mail.raw:
            # answered 451: the mail server keeps it for the daemon
            raise OSError("only the doctor listens")
        self._heard = mail.raw

    async def look(self) -> tuple[str, bytes] | None:
        """(way, mail) if it has come."""
        if self._heard is not None:
            return "lmtp", self._heard
        if self._site.ledger is not None:
            with contextlib.suppress(LedgerDown):
                if raw := await upkeep.put_away(self._site.ledger, self._newest, self._marker):
                    return "daemon", raw
        imap = self._site.settings.intake.imap
        if imap is not None:
            with contextlib.suppress(Broken, OSError, ValueError):
                if raw := await self._in_folder(imap):
                    return "imap", raw
        return None

    async def _in_folder(self, imap: Imap) -> bytes | None:
        """Among the newest mails of the folder; found, it is moved to where read mail goes."""
        secret = await secret_of(imap, self._site.known_secrets().imap_password)
        connection = Connection(imap.host, imap.port, _context(imap), PATIENCE_S)
        try:
            await connection.open(imap.username, secret.text, token=secret.is_token)
            await connection.select(imap.folder)
            newest = (await connection.search())[-20:]
            bodies = await connection.bodies(newest, 65_536) if newest else {}
            for uid, raw in bodies.items():
                if self._marker in raw:
                    await connection.make_folder(imap.done_folder)
                    await connection.move([uid], imap.done_folder)
                    return raw
            return None
        finally:
            await connection.close()


def _context(imap: Imap) -> ssl.SSLContext | None:
    if imap.tls == "none":
        return None
    context = ssl.create_default_context(cafile=imap.ca_file)
    if not imap.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
