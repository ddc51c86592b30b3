"""Silence needs a clock."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

from bounces.watcher import LOOK_EVERY_S, Watcher
from holds_core.ledger.session import Ledger
from tests.bounces.test_ingest import Told, library
from tests.clock import HandClock
from tests.core.ledger.conftest import NOON
from tests.core.ledger.helpers import delivery, open_case


async def test_a_window_is_noticed_when_it_passes(tmp_path: Path) -> None:
    async with library(tmp_path) as town:
        clock, told = HandClock(NOON), Told()
        watcher = Watcher(town.ledger, clock.now, clock.sleep, told)
        running = asyncio.create_task(watcher.run())
        await clock.asleep()
        assert (await delivery(town.ledger)).finding == "waiting"
        clock.set(NOON + timedelta(days=3))
        async with asyncio.timeout(30):
            while ("windows", 1) not in told.lines:
                await asyncio.sleep(0.005)
        assert (await delivery(town.ledger)).finding == "unanswered"
        assert await open_case(town.ledger, "P1") == ["unanswered"]
        await clock.asleep()
        clock.advance(timedelta(seconds=LOOK_EVERY_S))
        await clock.asleep()
        assert await watcher.tick() == 0
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_nothing_to_do(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path}/todoku.db")
    await ledger.upgrade()
    clock = HandClock()
    assert await Watcher(ledger, clock.now, clock.sleep, Told()).tick() == 0
    await ledger.close()
