"""The town's clock: it stands while there is work, is moved on when there is none, and can go live.

The daemon's loops sleep on it. Who moves it learns when the loops that were woken have come back to sleep,
so a day is as short as the work allows and never shorter. Reads the machine's clock only once it is live.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

PATIENCE_S = 5.0
"""Real seconds after which a loop that was woken and does not sleep again is no longer waited for."""

GRAIN_S = 300
"""Seconds that the agenda's times are rounded up to, so that one step serves many."""

Work = Callable[[], Awaitable[None]]


class TownClock:
    """A `mailer.clock.Clock` that is moved by hand."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)
        self._live = False
        self._sleepers: dict[asyncio.Future[None], datetime] = {}
        self._awake = 0
        self._asleep = asyncio.Event()
        self._asleep.set()

    def now(self) -> datetime:
        if self._live:
            self._now = max(self._now, datetime.now(UTC))
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._awake = max(0, self._awake - 1)
        if not self._awake:
            self._asleep.set()
        if self._live:
            await asyncio.sleep(seconds)
            return
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = self._now + timedelta(seconds=seconds)
        try:
            await sleeper
        finally:
            self._sleepers.pop(sleeper, None)

    def move_to(self, moment: datetime) -> None:
        """Never backwards. Wakes whose time has come."""
        self._now = max(self._now, moment.astimezone(UTC))
        self._wake([sleeper for sleeper, due in self._sleepers.items() if due <= self._now])

    async def settled(self) -> None:
        """Until every loop that the last move woke sleeps again, or `PATIENCE_S` have passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asleep.wait(), PATIENCE_S)
        self._awake = 0
        self._asleep.set()

    def go_live(self) -> None:
        """From now on this is the machine's clock; all sleepers look anew."""
        self._live = True
        self._wake(list(self._sleepers))

    def _wake(self, sleepers: list[asyncio.Future[None]]) -> None:
        for sleeper in sleepers:
            del self._sleepers[sleeper]
            if not sleeper.done():
                sleeper.set_result(None)
                self._awake += 1
        if self._awake:
            self._asleep.clear()


class Agenda:
    """What will happen in the town, by time. Holds a few entries per patron, never more."""

    def __init__(self, clock: TownClock) -> None:
        self._clock = clock
        self._entries: list[tuple[datetime, int, Work]] = []
        self._serial = 0
        self.done = 0

    def at(self, moment: datetime, work: Work) -> None:
        """`work` at `moment`, or with the next look if that has passed. In order of entry at one moment."""
        self._serial += 1
        rounded = datetime.fromtimestamp(-(-moment.timestamp() // GRAIN_S) * GRAIN_S, UTC)
        heappush(self._entries, (rounded, self._serial, work))

    def after(self, minutes: float, work: Work) -> None:
        self.at(self._clock.now() + timedelta(minutes=minutes), work)

    def next_at(self) -> datetime | None:
        return self._entries[0][0] if self._entries else None

    async def run_due(self) -> None:
        """Does everything whose time has come, one after the other."""
        due: deque[Work] = deque()
        while self._entries and self._entries[0][0] <= self._clock.now():
            due.append(heappop(self._entries)[2])
        while due:
            await due.popleft()()
            self.done += 1
