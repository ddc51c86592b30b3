"""Time: the machine's clock is set wrong and right again, and a restart falls on a slot's very minute."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from holds_core.ledger.models import attempts, batches, deliveries
from mailer.batches import Batches
from tests.clock import START, HandClock
from tests.e2e.library import Library, library
from tests.servers.sink import Sink

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EVENING = START + timedelta(hours=4, minutes=10)
"""START is 12:00 in Tokyo on a Tuesday; the batches are at 09:10 and 16:10."""
MAILS = 3


class Day:
    """A library with two batches a day whose clock the test sets, and the relay its mail goes to."""

    def __init__(self, town: Library, clock: HandClock, sink: Sink) -> None:
        self.town, self.clock, self.sink = town, clock, sink
        self.loop = self.started()

    def started(self) -> Batches:
        """The batch loop as a start of the daemon makes it; the ledger began yesterday."""
        services = self.town.services
        return Batches(services.ledger, services.rulebook, self.clock, START - DAY)

    async def look(self) -> list[str]:
        """The batch loop looks at the clock, and what is due leaves. Returns the slots that ran."""
        ran = await self.loop.tick()
        sending = asyncio.create_task(self.town.send())
        while not sending.done():
            self.clock.advance(timedelta(milliseconds=5))
            await asyncio.sleep(0.001)
        await sending
        return ran

    async def ran(self) -> Counter[str]:
        """How often each slot ran."""
        return Counter(row.slot for row in await self.town.rows(batches, batches.c.outcome == "run"))

    async def left(self) -> int:
        """How many mails were handed over; each by one recorded attempt and one mail at the relay."""
        states = Counter(row.state for row in await self.town.rows(deliveries))
        assert states.keys() <= {"pending", "handed_over"}
        assert len(await self.town.rows(attempts)) == self.sink.count() == states["handed_over"]
        return states["handed_over"]

    async def holds(self, first: int = 0) -> None:
        for n in range(first, first + MAILS):
            await self.town.ready_hold(n, f"p{n}@far.example")


@pytest.fixture
async def day(tmp_path: Path, smtp_sink: Callable[..., Sink]) -> AsyncIterator[Day]:
    """Noon: the morning's batch is over, three holds wait for the evening's."""
    sink, clock = smtp_sink(), HandClock(START)
    async with library(tmp_path, clock, RELAY_PORT=sink.port) as town:
        day = Day(town, clock, sink)
        await day.look()
        await day.holds()
        yield day


@pytest.mark.parametrize("jump", [-DAY, -HOUR, HOUR, DAY], ids=["-1d", "-1h", "+1h", "+1d"])
async def test_a_clock_that_jumps_and_comes_back_sends_nothing_twice_and_loses_nothing(
    day: Day, jump: timedelta
) -> None:
    """Ten minutes of wrong time around a batch. Whatever ran too early does not run again."""
    day.clock.set(EVENING - 5 * MINUTE + jump)
    await day.look()
    day.clock.advance(10 * MINUTE)
    await day.look()
    day.clock.set(EVENING + 5 * MINUTE)
    await day.look()
    assert await day.left() == MAILS

    await day.holds(first=MAILS)
    for hours in range(1, 49):
        day.clock.set(EVENING + hours * HOUR)
        await day.look()
    assert await day.left() == 2 * MAILS
    ran = await day.ran()
    assert set(ran.values()) == {1}
    assert {"2026-11-25 夕", "2026-11-26 朝"} <= ran.keys()
    # a day ahead, this evening's slot is long missed: its mail left with what the wrong clock took for due
    assert ("2026-11-24 夕" in ran) == (jump != DAY)


@pytest.mark.parametrize("jump", [-DAY, -HOUR], ids=["-1d", "-1h"])
async def test_a_clock_that_stays_behind_delays_until_its_slot(day: Day, jump: timedelta) -> None:
    day.clock.set(EVENING + jump)
    await day.look()
    assert await day.left() == 0
    while day.clock.now() < EVENING:
        day.clock.advance(HOUR)
        await day.look()
    assert await day.left() == MAILS


@pytest.mark.parametrize("away", [MINUTE, HOUR, 5 * HOUR])
async def test_a_restart_across_a_slot_catches_up_once(day: Day, away: timedelta) -> None:
    """Down from a minute before the slot, for as long as `batch_rules.catch_up` and the night allow."""
    day.clock.set(EVENING - MINUTE)
    await day.look()
    day.clock.advance(away + MINUTE)
    for _ in range(3):  # and restarted again and again, with the slot behind it
        day.loop = day.started()
        await day.look()
    await day.left()
    assert (await day.ran())["2026-11-24 夕"] == 1
    assert await day.left() == MAILS
