"""The way back: the town's mail servers hand reports and answers to the library by LMTP.

What the relay accepted enters; bounces, receipts and answers leave, hours later by the town's clock, through
the daemon's own LMTP listener. What arrived is passed to the reader.
"""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable

from mailer.app.demo import letters
from mailer.app.demo.clock import Agenda, TownClock
from mailer.app.demo.letters import Mail
from mailer.app.demo.town import Fate, Manner, Patron, Town

GONE = "550 5.1.1 The mailbox no longer exists"
TIMEOUT_S = 20


class Post:
    """Carries mail back to `host`:`port`; `arrives` is called for what reached its reader."""

    def __init__(
        self,
        town: Town,
        clock: TownClock,
        agenda: Agenda,
        listener: tuple[str, int],
        arrives: Callable[[Patron, Mail], None],
    ) -> None:
        self._town, self._clock, self._agenda = town, clock, agenda
        self._listener, self._arrives = listener, arrives

    def accepted(self, patron: Patron, mail: Mail, fate: Fate) -> None:
        """The relay has taken a mail: sees to what follows."""
        provider = self._town.providers[patron.domain]
        chance = self._town.chance(patron.patron_id, mail.message_id)
        if fate is Fate.BOUNCED:
            self._agenda.after(chance.randint(20, 240), lambda: self._bounce(patron, mail))
            return
        # nobody sees a mail vanish: the receipt, where there is one, is the same
        if provider.receipt:
            self._agenda.after(chance.randint(1, 5), lambda: self._receipt(mail, provider.receipt))
        if fate is Fate.VANISHED:
            self._town.score.vanished += 1
            return
        self._arrives(patron, mail)
        if patron.manner is Manner.AWAY:
            self._agenda.after(5, lambda: self._vacation(patron, mail))
        elif patron.manner is Manner.ANSWERS and mail.ready:
            self._agenda.after(chance.randint(60, 300), lambda: self._reply(patron, mail))

    async def _bounce(self, patron: Patron, mail: Mail) -> None:
        self._town.score.bounced += 1
        now = self._clock.now()
        await self._deliver(
            "", mail.sender, letters.report(mail, "failed", "5.1.1", GONE, now, f"mx.{patron.domain}")
        )

    async def _receipt(self, mail: Mail, action: str) -> None:
        remote = "mx." + mail.recipient.rpartition("@")[2]
        now = self._clock.now()
        await self._deliver(
            "", mail.sender, letters.report(mail, action, "2.0.0", "250 2.0.0 Ok", now, remote)
        )

    async def _vacation(self, patron: Patron, mail: Mail) -> None:
        await self._deliver("", mail.sender, letters.vacation(mail, patron.name, self._clock.now()))

    async def _reply(self, patron: Patron, mail: Mail) -> None:
        await self._deliver(patron.email, mail.author, letters.reply(mail, patron.name, self._clock.now()))

    async def _deliver(self, sender: str, recipient: str, raw: bytes) -> None:
        """Returns once the listener has stored it. Raises OSError or SMTPException if it did not."""
        await asyncio.to_thread(self._hand_in, sender, recipient, raw)

    def _hand_in(self, sender: str, recipient: str, raw: bytes) -> None:
        with smtplib.LMTP(*self._listener, local_hostname=letters.RELAY_NAME, timeout=TIMEOUT_S) as client:
            client.sendmail(sender, [recipient], raw)
