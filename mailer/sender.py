"""The sender: claims due deliveries, gives them to a few reused connections, records what became of them.

Each connection is owned by one task. The order is always the same: the attempt is committed, then the relay
is dialled, then the outcome is committed, together with the connection's next attempt. Stopping drains what
is in flight. Clock, randomness and the connection's maker are passed in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holds_core.errors import TodokuError
from holds_core.ledger import breaker, cases, outbox, sending
from holds_core.ledger.models import deliveries
from holds_core.ledger.sending import Claimed, Finish, Start
from holds_core.ledger.session import UNAVAILABLE, Ledger, Transaction
from holds_core.notices import BATCHED, Outcome, Result, Transmission
from holds_core.retry import next_try
from holds_core.rulebook import Rulebook
from holds_core.settings import Mode
from holds_core.tokens import TokenKeys
from mailer import maillog
from mailer.clock import Clock, wait
from mailer.compose import Composed, Composer, Dropped
from mailer.courtesy import Courtesy
from mailer.fuse import Fuse, shown
from mailer.outcome import finished
from mailer.pacing import Pacer, interval
from mailer.recorder import Recorder
from mailer.render import TemplateFault
from mailer.smtp import Relay

PAUSED = "paused"
"""The ledger's flag that stops all mail: `{"by": who, "why": text}`."""

LEASE = timedelta(minutes=20)
"""Longer than the wait after a final dot (RFC 5321 section 4.5.3.2.6: 10 minutes) and a slow mail's way."""
CHUNK = 200
LOW_WATER = CHUNK // 2
POLL_S = 1.0
TEMPLATE_WAIT = timedelta(minutes=10)
_RELAY = ""
HORIZON = timedelta(seconds=2)
"""A delivery that pacing holds back longer than this goes back to the ledger until its time."""


@dataclass(slots=True)
class SenderState:
    """What the system page and the metrics show."""

    relay_up: bool | None = None
    relay_error: str = ""
    paused: str = ""
    sent: int = 0
    refused: int = 0
    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(mail domain, result, whose fault) -> attempts."""
    in_flight: set[int] = field(default_factory=set)


class Sender:
    """One per process. `owner` names this process in leases; it is new with every start."""

    def __init__(
        self,
        ledger: Ledger,
        rulebook: Rulebook,
        composer: Composer,
        keys: TokenKeys,
        connect: Callable[[], Relay],
        clock: Clock,
        jitter: Callable[[], float],
        owner: str,
        courtesy: Courtesy,
    ) -> None:
        self._ledger, self.rulebook, self._composer = ledger, rulebook, composer
        self._courtesy = courtesy
        self._keys, self._connect, self._clock, self._jitter = keys, connect, clock, jitter
        self._owner = owner
        self._pacer = Pacer()
        self._ready: asyncio.Queue[Claimed | None] = asyncio.Queue()
        self._hungry = asyncio.Event()
        self._connections = rulebook.settings.relay.connections
        self._backoff_until: datetime | None = None
        self._failures = 0
        self._busy = 0
        self._claims = 0
        self._workers: list[asyncio.Task[None]] = []
        self._fuse = Fuse(ledger, clock, owner, rulebook.settings)
        self.recorder = Recorder(ledger, owner, clock)
        self.state = SenderState()

    def reload(self, rulebook: Rulebook, composer: Composer) -> None:
        """Takes new rules and texts for the mails that are composed from now on."""
        self.rulebook, self._composer = rulebook, composer
        self._fuse.reload(rulebook.settings)

    def reconnect(self, keys: TokenKeys, connect: Callable[[], Relay]) -> None:
        """Takes other keys for tokens made from now on; the relay and the number of connections by `rulebook`
        come with the next `run`."""
        self._keys, self._connect = keys, connect
        self._connections = self.rulebook.settings.relay.connections

    @property
    def idle(self) -> bool:
        """Nothing is claimed that is not sent or given back; the last outcomes may be about to be recorded."""
        return not self._busy and self._ready.empty()

    def hurry(self) -> None:
        """Tries a relay that was down again at once."""
        self._backoff_until = None

    # -- running -----------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, *, until_idle: bool = False) -> None:
        """Sends until `stop` is set, or with `until_idle` until nothing is due. Drains before it returns.

        Every connection finishes the mail it is sending; what was claimed and not begun goes back.
        """
        workers_gone = asyncio.Event()
        recorder = asyncio.create_task(self.recorder.run(workers_gone))
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._connections)]
        watcher = asyncio.create_task(self._wake_at(stop))
        try:
            await self._feed(stop, until_idle=until_idle)
        finally:
            watcher.cancel()
            self._empty_queue()
            for _ in self._workers:
                self._ready.put_nowait(None)
            await asyncio.gather(*self._workers, return_exceptions=True)
            workers_gone.set()
            self.recorder.stop()
            await recorder
            with contextlib.suppress(*UNAVAILABLE):
                async with self._ledger.write() as connection:
                    await outbox.unlease(connection, self._owner)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._hungry.set()

    def _empty_queue(self) -> None:
        """Takes out what is claimed; the word to end, which may be there already, stays."""
        waiting = [self._ready.get_nowait() for _ in range(self._ready.qsize())]
        for item in waiting:
            if item is None:
                self._ready.put_nowait(None)

    async def _feed(self, stop: asyncio.Event, *, until_idle: bool) -> None:
        """Keeps the queue filled with what is due, paused or backed off where that is called for."""
        while not stop.is_set():
            self._raise_if_one_died()
            full = self._ready.qsize() > LOW_WATER
            claimed = 0
            allowed = await self._may_send()
            if not allowed:
                await self._give_back()
            elif not full:
                claimed = await self._claim(min(CHUNK, allowed))
                if allowed == 1 and not claimed and await self._fuse.nothing_to_test():
                    claimed = await self._claim(1)
            if until_idle and not (claimed or full) and self.idle:
                return
            self._hungry.clear()
            if not stop.is_set():
                await wait(self._clock, self._hungry, 0.05 if until_idle else POLL_S)

    def _raise_if_one_died(self) -> None:
        for worker in self._workers:
            if worker.done():
                worker.result()

    async def _give_back(self) -> None:
        """What is claimed and not begun goes back to the ledger, so that a pause is a pause at once."""
        if self._ready.empty():
            return
        self._empty_queue()
        async with self._ledger.write() as connection:
            await outbox.unlease(connection, self._owner)

    async def _may_send(self) -> int:
        """How many mails may be claimed now; 0 while sending is off, stopped or backed off."""
        if self.rulebook.settings.sending.mode is Mode.OFF:
            self.state.paused = "sending.mode: off"
            return 0
        async with self._ledger.read() as connection:
            paused, state = await breaker.gate(connection, PAUSED)
        if paused:
            self.state.paused = paused.get("why") or "paused"
            return 0
        if self._backoff_until is not None and self._clock.now() < self._backoff_until:
            return 0
        allowed = await self._fuse.allowed(state, idle=self.idle)
        self.state.paused = "" if self._fuse.closed else shown(state)
        return allowed

    async def _claim(self, most: int) -> int:
        now = self._clock.now()
        quiet_until = self.rulebook.may_leave(now) if self.rulebook.is_quiet(now) else None
        self._claims += 1

        async def work(connection: Transaction) -> tuple[list[Claimed], dict[int, datetime]]:
            items = await sending.claim(
                connection,
                self._owner,
                now,
                now + LEASE,
                most,
                self._keys.make,
                self._claims,
                quiet_until=quiet_until,
            )
            later = self._hold_back(items, now)
            await outbox.postpone(connection, list(later.items()), self._owner)
            return items, later

        items, later = await self._ledger.write_many(work)
        for item in items:
            if item.delivery_id not in later:
                self._ready.put_nowait(item)
        return len(items)

    def _hold_back(self, items: Sequence[Claimed], now: datetime) -> dict[int, datetime]:
        """Those among `items` whose provider is not ready for them, with the time to claim them again."""
        rate = self.rulebook.settings.relay.rate or 0
        waiting: Counter[str] = Counter()
        later: dict[int, datetime] = {}
        for item in items:
            mailbox = self._composer.mailbox(item.domain)
            paces = [(mailbox.pace, mailbox.per_minute), (_RELAY, rate)]
            at = max(self._pacer.earliest(name, now) for name, _ in paces)
            if at <= now + HORIZON and not waiting[mailbox.pace]:
                for name, per_minute in paces:
                    self._pacer.take(name, per_minute, now)
                continue
            slowest = min(per_minute for _, per_minute in paces if per_minute > 0)
            waiting[mailbox.pace] += 1
            later[item.delivery_id] = max(at, now) + interval(slowest) * waiting[mailbox.pace]
        return later

    # -- one connection ----------------------------------------------------------------------------

    async def _work(self) -> None:
        relay = self._connect()
        finish: Finish | None = None
        try:
            while True:
                if finish is not None and self._ready.empty():
                    await self.recorder.submit(None, finish)
                    finish = None
                item = await self._ready.get()
                if self._ready.qsize() == LOW_WATER:
                    self._hungry.set()
                if item is None:
                    break
                if self._courtesy.called_for:
                    await self._courtesy.give_way()
                self._busy += 1
                self.recorder.connections = self._busy
                try:
                    finish = await self._one(relay, item, finish)
                finally:
                    self._busy -= 1
                    self.recorder.connections = self._busy
        finally:
            if finish is not None:
                await self.recorder.submit(None, finish)
            await relay.close()

    async def _one(self, relay: Relay, item: Claimed, before: Finish | None) -> Finish | None:
        """One delivery. Returns how it ended, to be recorded with the connection's next start."""
        mail = await self._composed(item)
        if mail is None or self._fuse.stops or not await self._connected(relay):
            if before is not None:
                await self.recorder.submit(None, before)
            return None
        now = self._clock.now()
        start = Start(
            item.delivery_id,
            item.tries + 1,
            now,
            mail.deadline,
            now + LEASE,
            item.lease_number,
            mail.promised,
        )
        if not await self.recorder.submit(start, before):
            maillog.not_sent(item.delivery_id, item.notice_id, item.state, "changed")
            return None
        self.state.in_flight.add(item.delivery_id)
        try:
            outcome = await relay.send(
                mail.sender,
                mail.recipient,
                mail.data,
                envid=mail.envid,
                dsn=self.rulebook.settings.sending.dsn,
            )
        finally:
            self.state.in_flight.discard(item.delivery_id)
        finish = finished(self.rulebook, item, start, outcome, self._clock.now(), self._jitter())
        self._tell(item, finish)
        return finish

    async def _composed(self, item: Claimed) -> Composed | None:
        """The mail, or None: it is not sent now, and the ledger says why."""
        now = self._clock.now()
        try:
            mail = self._composer.compose(item, now)
        except TemplateFault as error:
            # our own fault, mended by whoever mends the template: the mail waits
            maillog.compose_failed(item.delivery_id, item.notice_id, error)
            async with self._ledger.write() as connection:
                await outbox.postpone(connection, [(item.delivery_id, now + TEMPLATE_WAIT)], self._owner)
            return None
        except TodokuError as error:
            maillog.compose_failed(item.delivery_id, item.notice_id, error)
            mail = Dropped(Transmission.WITHHELD, "cannot_be_written")
        if isinstance(mail, Composed):
            return mail
        await self._drop(item, mail, now)
        return None

    async def _drop(self, item: Claimed, why: Dropped, now: datetime) -> None:
        async with self._ledger.write() as connection:
            mine = deliveries.c.delivery_id == item.delivery_id
            if item.state is Transmission.UNCERTAIN:
                # it left once, perhaps: there is nothing to take back
                await outbox.move(
                    connection, mine, Transmission.HANDED_OVER, reason="uncertain", next_at=None
                )
            else:
                await outbox.move(connection, mine, why.state, reason=why.reason, next_at=None)
                await cases.review(connection, item.patron_id, now)
        maillog.not_sent(item.delivery_id, item.notice_id, why.state, why.reason)

    async def _connected(self, relay: Relay) -> bool:
        """Opens the connection before an attempt is recorded: a relay that is down costs no attempt."""
        if relay.is_connected:
            return True
        failure = await relay.connect()
        if failure is None:
            if self.state.relay_up is False:
                maillog.relay_back(relay.remote)
            self.state.relay_up, self.state.relay_error, self._failures = True, "", 0
            self._backoff_until = None
            return True
        await self._relay_failed(failure)
        return False

    async def _relay_failed(self, failure: Outcome) -> None:
        """Gives everything claimed back and waits, longer each time, before the relay is tried again."""
        now = self._clock.now()
        if self._backoff_until is None or now >= self._backoff_until:
            self._failures += 1
            again = next_try(
                self.rulebook.retry,
                Result.NOT_STARTED,
                tries=self._failures,
                first_try=now,
                now=now,
                jitter=self._jitter(),
            )
            assert again is not None  # a relay that is down is never given up
            self._backoff_until = again
            maillog.relay_down(failure.remote, failure, (again - now).total_seconds())
        self.state.relay_up, self.state.relay_error = False, f"{failure.phase}: {failure.text}"
        self._empty_queue()
        async with self._ledger.write() as connection:
            await outbox.unlease(connection, self._owner)

    def _tell(self, item: Claimed, finish: Finish) -> None:
        shown = self._composer.mailbox(item.domain).shown
        maillog.attempt_ended(item.delivery_id, item.notice_id, shown, finish.outcome, finish.state)
        self.state.ended[item.domain, finish.outcome.result, finish.fault] += 1
        if self._fuse.note(finish):
            self._empty_queue()
            self._hungry.set()
        if finish.state is Transmission.HANDED_OVER:
            self.state.sent += 1
            allowed = self.rulebook.settings.sending.prompt_within
            if item.kind in BATCHED or item.tries or finish.at - item.created_at <= allowed:
                return
            # what came at night had to wait for the morning
            waited = finish.at - self.rulebook.may_leave(item.created_at)
            if waited > allowed:
                maillog.prompt_late(
                    item.delivery_id, item.notice_id, waited.total_seconds(), allowed.total_seconds()
                )
        elif finish.state is Transmission.REFUSED:
            self.state.refused += 1
