"""One commit for many connections: starts and ends of attempts are gathered and recorded together.

A connection hands in how its last attempt ended and which one it wants to begin, and waits; it dials only
after the commit. So a crash leaves at most as many mails in doubt as there are connections, and an fsync is
shared by all that are waiting for one. An outcome is never dropped: while the ledger cannot be written
(locked, disk full), the recorder tries again and nothing new is dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from holds_core.errors import TodokuError
from holds_core.ledger import cases, observations, outbox
from holds_core.ledger.sending import Finish, Start, record
from holds_core.ledger.session import REFUSED, UNAVAILABLE, Ledger, Transaction
from holds_core.notices import Transmission
from mailer import maillog
from mailer.clock import Clock

RETRY_S = 1.0
LINGER_S = 0.004
"""A commit waits this long for connections that are about to hand something in: an fsync costs as much."""


@dataclass(slots=True)
class _Entry:
    start: Start | None
    finish: Finish | None
    done: asyncio.Future[bool]


class Recorder:
    """Run `run` as a task; connections call `submit`."""

    def __init__(self, ledger: Ledger, owner: str, clock: Clock) -> None:
        self._ledger, self._owner, self._clock = ledger, owner, clock
        self.connections = 0
        """How many connections are at work: when all of them wait for the commit, it need not linger."""
        self._full = asyncio.Event()
        self._entries: list[_Entry] = []
        self._kick = asyncio.Event()

    async def submit(self, start: Start | None, finish: Finish | None) -> bool:
        """Waits until both are committed. Returns whether `start` may be dialled.

        A caller that is cancelled does not take its outcome with it: what was handed in is recorded.
        """
        entry = _Entry(start, finish, asyncio.get_running_loop().create_future())
        self._entries.append(entry)
        self._kick.set()
        if len(self._entries) >= self.connections:
            self._full.set()
        return await entry.done

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set and nothing is left to record."""
        while True:
            await self._kick.wait()
            self._kick.clear()
            await self._linger()
            if entries := self._take():
                await self._commit(entries)
            elif stop.is_set():
                return

    async def _linger(self) -> None:
        """Lets the other connections join this commit. Real time: it is the disk that is being spared."""
        if 0 < len(self._entries) < self.connections:
            self._full.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), LINGER_S)

    def stop(self) -> None:
        """Wakes `run` so that it sees that it may end."""
        self._kick.set()

    def _take(self) -> list[_Entry]:
        entries, self._entries = self._entries, []
        return entries

    async def _commit(self, entries: Sequence[_Entry]) -> None:
        """Records the entries together; if one of them cannot be recorded at all, each by itself."""
        try:
            accepted = await self._written(entries)
        except (*REFUSED, TodokuError) as error:
            if len(entries) > 1:
                for entry in entries:
                    await self._commit([entry])
                return
            # its delivery stays "sending" and is in doubt at the next start: better than no mail at all
            maillog.not_recorded(error)
            accepted = frozenset()
        for entry in entries:
            if not entry.done.done():
                entry.done.set_result(entry.start is not None and entry.start.delivery_id in accepted)

    async def _written(self, entries: Sequence[_Entry]) -> frozenset[int]:
        """Tries until the ledger can be written. Raises what it says of values it will never take."""
        starts = [entry.start for entry in entries if entry.start is not None]
        finishes = [entry.finish for entry in entries if entry.finish is not None]
        while True:
            try:
                return await self._ledger.write_many(
                    lambda connection: self._record(connection, starts, finishes)
                )
            except REFUSED:
                raise
            except UNAVAILABLE as error:
                maillog.ledger_busy(error, RETRY_S)
                await self._clock.sleep(RETRY_S)

    async def _record(
        self, connection: Transaction, starts: Sequence[Start], finishes: Sequence[Finish]
    ) -> frozenset[int]:
        """One commit's work. Refusals are evidence, and twice in doubt is taken for handed over."""
        accepted = await record(connection, self._owner, starts, finishes)
        for item in finishes:
            if item.evidence is not None:
                await observations.observe(connection, item.evidence, item.at)
            elif item.state is Transmission.EXPIRED:
                await cases.review(connection, item.patron_id, item.at)
        if any(item.state is Transmission.UNCERTAIN and item.doubts > 1 for item in finishes):
            await outbox.settle_doubts(connection, max(item.at for item in finishes))
        return accepted
