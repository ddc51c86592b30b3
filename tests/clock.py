"""A clock that tests move by hand: nothing waits for real time, and nothing patches it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)  # 12:00 in Tokyo, a Tuesday


class HandClock:
    """`mailer.clock.Clock`: the time stands still until `advance`; who sleeps wakes when it is reached."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        due = self._now + timedelta(seconds=seconds)
        if due <= self._now:
            await asyncio.sleep(0)
            return
        sleeper = (due, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    @property
    def sleepers(self) -> int:
        """How many wait for this clock."""
        return len(self._sleepers)

    def advance(self, by: timedelta) -> None:
        """Moves the time on and wakes whom it concerns."""
        self.set(self._now + by)

    def set(self, to: datetime) -> None:
        """Moves the time to a moment, also backwards, as a wrong machine clock does."""
        self._now = to
        for due, sleeper in self._sleepers:
            if due <= to and not sleeper.done():
                sleeper.set_result(None)

    async def asleep(self, count: int = 1) -> None:
        """Returns when at least `count` wait for this clock."""
        async with asyncio.timeout(30):
            while self.sleepers < count:
                await asyncio.sleep(0.001)
