"""Canaries: with each batch one mail to every mailbox of the library's own, then a look where it lies.

Enters batches that ran; leaves canary mails, written and sent as notices are but kept apart from them, and
what became of each. Optional: nothing waits for it, and whatever goes wrong is a line in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from bounces.canary import CanaryBox, look
from bounces.imap import Broken
from holds_core.errors import TodokuError
from holds_core.holds import Hold
from holds_core.ledger import canaries
from holds_core.ledger.canaries import Fate, Line
from holds_core.ledger.sending import Claimed, HoldLine
from holds_core.ledger.sql import get_flag
from holds_core.notices import Kind, Outcome, Result, Transmission
from holds_core.patrons import address_key
from holds_core.settings import Canary, Mode
from holds_core.tokens import MAX_DELIVERY_ID, Purpose
from mailer import maillog
from mailer.app.mailboxes import secret_of
from mailer.app.services import Services, relay_options
from mailer.clock import wait
from mailer.compose import Composed
from mailer.sender import PAUSED
from mailer.smtp import Relay

LOOK_S = 20.0
"""Between two looks for a batch that ran."""
FRESH = timedelta(hours=2)
"""A batch of longer ago gets no canary any more: it would show another day's filter."""
GIVE_UP = timedelta(days=3)
"""After `missing_after`: a mailbox that cannot be opened for so long says nothing."""


class Canaries:
    """The background task of one process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looked: dict[str, datetime] = {}

    @property
    def _boxes(self) -> dict[str, Canary]:
        """Those of the settings in force: a reload changes them."""
        return {box.address: box for box in self._services.settings.canaries.mailboxes}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            await self.send()
            await self.look()
            await wait(self._services.clock, stop, LOOK_S)

    # -- out ---------------------------------------------------------------------------------------

    async def send(self) -> int:
        """Sends the canaries that the last batch owes. Returns how many left."""
        services = self._services
        now = services.clock.now()
        if services.settings.sending.mode is not Mode.ON:
            return 0
        async with services.ledger.read() as connection:
            if await get_flag(connection, PAUSED):
                return 0
            owed = await canaries.unserved(connection, list(self._boxes), now - FRESH, now)
        if not owed:
            return 0
        relay = Relay(relay_options(services.settings, services.secrets))
        try:
            return sum([await self._send(relay, slot, address) for slot, address in owed])
        finally:
            await relay.close()

    async def _send(self, relay: Relay, slot: str, address: str) -> bool:
        services = self._services
        now = services.clock.now()
        async with services.ledger.write() as connection:
            number = await canaries.begin(connection, slot, address, now)
        if number is None:
            return False
        outcome = await self._outcome(relay, number, address, now)
        gone = outcome is not None and outcome.result in (Result.HANDED_OVER, Result.UNCERTAIN)
        async with services.ledger.write() as connection:
            if gone:
                await canaries.sent(connection, number, services.clock.now())
            else:
                said = f"{outcome.code or ''} {outcome.text}".strip() if outcome else "not written"
                await canaries.settle(connection, number, Fate.UNSENT, services.clock.now(), said)
        maillog.event("canary_sent" if gone else "canary_unsent", canary=number, slot=slot)
        return gone

    async def _outcome(self, relay: Relay, number: int, address: str, now: datetime) -> Outcome | None:
        """What the relay said; None if no mail could be written."""
        try:
            mail = self._services.composer.compose(self._claimed(number, address, now), now)
        except TodokuError:
            return None
        if not isinstance(mail, Composed):
            return None
        return await relay.send(mail.sender, mail.recipient, mail.data, envid=mail.envid, dsn=False)

    def _claimed(self, number: int, address: str, now: datetime) -> Claimed:
        """A hold-ready notice of nobody: a filter must see what it sees in patrons' mail."""
        branches = self._services.settings.library.branches
        today = self._services.rulebook.local(now).date()
        line = HoldLine("", "", None, Hold.READY, today, None, None)
        return Claimed(
            # no delivery has this number: its links confirm nothing
            delivery_id=MAX_DELIVERY_ID - number,
            notice_id=f"canary-{number}",
            kind=Kind.HOLD_READY,
            patron_id="",
            patron_name="",
            language="",
            branch=branches[0].id if branches else "",
            reason="",
            address=address,
            domain=address_key(address).rpartition("@")[2],
            token=self._token(number),
            state=Transmission.SENDING,
            tries=0,
            doubts=0,
            created_at=now,
            first_attempt_at=None,
            standing="unproven",
            holds=(line,),
        )

    def _token(self, number: int) -> str:
        return self._services.keys.make(number, Purpose.CANARY)

    # -- and back ----------------------------------------------------------------------------------

    async def look(self) -> int:
        """Looks into each mailbox that is due. Returns how many canaries were settled."""
        return sum([await self._look(box) for box in self._boxes.values() if self._is_due(box)])

    def _is_due(self, box: Canary) -> bool:
        looked = self._looked.get(box.address)
        poll = self._services.settings.canaries.poll
        return looked is None or self._services.clock.now() - looked >= poll

    async def _look(self, box: Canary) -> int:
        services = self._services
        async with services.ledger.read() as connection:
            waiting = await canaries.waiting(connection, box.address)
        if not waiting:
            return 0
        self._looked[box.address] = services.clock.now()
        wanted = {f"{self._token(line.canary_id)}@": line for line in waiting}
        try:
            # any of the library's domains: the sender may have changed since
            found = await look(_box(box), self._message_ids(wanted))
        except (Broken, OSError, ValueError, TodokuError, TimeoutError) as error:
            maillog.event(
                "canary_mailbox_closed", host=box.host, error=f"{type(error).__name__}: {error}"[:300]
            )
            return await self._settle(waiting, lambda line: self._unseen(line, Fate.UNKNOWN, GIVE_UP))
        places = {
            line.canary_id: Fate(place.value)
            for message_id, place in found.items()
            for start, line in wanted.items()
            if message_id.startswith(f"<{start}")
        }
        return await self._settle(
            waiting,
            lambda line: places.get(line.canary_id) or self._unseen(line, Fate.MISSING, timedelta()),
        )

    def _message_ids(self, starts: Iterable[str]) -> list[str]:
        sender = self._services.settings.sender
        domains = [sender.return_path_domain, *(change.return_path_domain for change in sender.changes)]
        known = [domain for domain in dict.fromkeys(domains) if domain]
        return [f"<{start}{domain}>" for start in starts for domain in known]

    def _unseen(self, line: Line, fate: Fate, patience: timedelta) -> Fate | None:
        """What not being seen means by now; None: it may still come."""
        assert line.sent_at is not None
        waited = self._services.clock.now() - line.sent_at
        return fate if waited > self._services.settings.canaries.missing_after + patience else None

    async def _settle(self, waiting: Sequence[Line], fate_of: Callable[[Line], Fate | None]) -> int:
        services = self._services
        settled = 0
        for line in waiting:
            if (fate := fate_of(line)) is None:
                continue
            async with services.ledger.write() as connection:
                settled += await canaries.settle(connection, line.canary_id, fate, services.clock.now())
            maillog.event("canary_found", canary=line.canary_id, domain=line.domain, fate=fate.value)
        return settled


def _box(canary: Canary) -> CanaryBox:
    return CanaryBox(
        host=canary.host,
        port=canary.port,
        tls="implicit" if canary.tls.value == "implicit" else "none",
        username=canary.login,
        secret=lambda: secret_of(canary),
        inbox=canary.inbox,
        junk=canary.junk,
        verify=canary.verify_tls,
        ca_file=canary.ca_file,
    )
