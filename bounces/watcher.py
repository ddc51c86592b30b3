"""Silence needs a clock: notices whose window passes without any sign become `unanswered`. A loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from bounces.log import BounceLog
from holds_core.ledger import observations
from holds_core.ledger.session import Ledger

LOOK_EVERY_S = 60.0


class Watcher:
    """`now` and `sleep` are the daemon's clock."""

    def __init__(
        self,
        ledger: Ledger,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
        log: BounceLog,
    ) -> None:
        self._ledger, self._now, self._sleep, self._log = ledger, now, sleep, log

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.tick()
            await self._sleep(LOOK_EVERY_S)

    async def tick(self) -> int:
        """Looks once. Returns how many deliveries became unanswered."""
        count = 0
        while True:
            async with self._ledger.write() as connection:
                passed = await observations.windows_passed(connection, self._now())
            count += len(passed)
            if not passed:
                self._log.windows_passed(count)
                return count
