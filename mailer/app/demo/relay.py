"""The town's relay: an SMTP server on loopback that answers as each recipient's provider would.

Mail of ours enters by SMTP (aiosmtpd in the daemon's own loop); what became of it goes into the town's
books, and what was accepted goes on to `accepted`. It sends nothing by itself and connects nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP

from mailer.app.demo.clock import TownClock
from mailer.app.demo.letters import RELAY_NAME, Mail
from mailer.app.demo.town import Fate, Patron, Town, Trouble, Way

READY_WORDS = "ご用意できました"
"""How a reader knows a hold-ready mail: by its subject."""

_DSN = ("RET", "ENVID", "NOTIFY", "ORCPT")  # RFC 3461 section 4
_LINK = re.compile(r"https?://\S+/c/\S+")


class Relay:
    """Listens on the bound socket it is given, between `start` and `stop`."""

    def __init__(self, town: Town, clock: TownClock, accepted: Callable[[Patron, Mail, Fate], None]) -> None:
        self._town, self._clock, self._accepted = town, clock, accepted
        self._known: set[str] = set()  # recipients that the greylist has let through; at most the patrons
        self._server: asyncio.Server | None = None
        self.transactions = 0
        self.greylisted_at: datetime | None = None

    async def start(self, listener: socket.socket) -> None:
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd writes addresses at info
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self, loop), sock=listener)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # -- aiosmtpd's hooks: a reply each ------------------------------------------------------------

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, hostname: str, responses: Sequence[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-DSN", responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        self.transactions += 1
        patron = self._town.by_address.get(address)
        if patron is None or patron.trouble is Trouble.MISTYPED:
            self._town.score.refused += 1
            if patron is not None:
                self._town.record(patron, Fate.REFUSED, self._clock.now())
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        if patron.trouble is Trouble.FULL:
            return self._deferred(patron, f"452 4.2.2 <{address}>: Mailbox full")
        if self._town.providers[patron.domain].way is Way.GREYLISTS and address not in self._known:
            self._known.add(address)
            self.greylisted_at = self._clock.now()
            return self._deferred(patron, f"450 4.2.0 <{address}>: Recipient address rejected: Greylisted")
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    def _deferred(self, patron: Patron, reply: str) -> str:
        self._town.score.deferred += 1
        # a full mailbox stays full; the greylist lets the second try through
        if patron.trouble is Trouble.FULL:
            self._town.record(patron, Fate.DEFERRED, self._clock.now())
        return reply

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        patron = self._town.by_address[envelope.rcpt_tos[0]]
        mail = _read(envelope)
        fate = self._fate(patron)
        if mail.ready:
            self._town.record(patron, fate, self._clock.now())
        if fate is Fate.REFUSED:
            self._town.score.refused += 1
            return "550 5.7.1 Message rejected by the recipient's filter settings"
        self._town.score.handed_over += 1
        self._accepted(patron, mail, fate)
        return f"250 2.0.0 Ok: queued as {self.transactions:08X}"

    def _fate(self, patron: Patron) -> Fate:
        if patron.trouble is Trouble.FILTER:
            return Fate.REFUSED
        if patron.trouble is Trouble.MOVED:
            return Fate.BOUNCED
        return Fate.VANISHED if self._town.drops(patron.domain, self._clock.now()) else Fate.ARRIVED


class _Session(SMTP):
    """Takes the parameters of RFC 3461, which aiosmtpd refuses."""

    def __init__(self, relay: Relay, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(relay, hostname=RELAY_NAME, ident="Todoku sandbox", loop=loop)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        kept = [param for param in params if param.partition("=")[0] not in _DSN]
        found: dict[str, str | bool] | None = super()._getparams(kept)
        return found


def _read(envelope: Any) -> Mail:
    raw: bytes = envelope.original_content
    message = message_from_bytes(raw, EmailMessage, policy=policy.default)
    link = _LINK.search(str(message.get_content()))
    subject = str(message["Subject"])
    # aiosmtpd hands options over in capitals; our token does not mind its case (RFC 3461 section 4.4 would)
    envid = next((item[6:].lower() for item in envelope.mail_options if item.startswith("ENVID=")), "")
    return Mail(
        sender=envelope.mail_from,
        recipient=envelope.rcpt_tos[0],
        envid=envid,
        author=message["From"].addresses[0].addr_spec,
        message_id=str(message["Message-ID"]),
        subject=subject,
        header=raw.partition(b"\r\n\r\n")[0].decode("ascii", "replace") + "\r\n",
        link=link[0] if link else "",
        ready=READY_WORDS in subject,
    )
