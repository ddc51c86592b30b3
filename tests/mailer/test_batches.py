"""When the day's batches are due, and that each runs once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from holds_core.calendar import DateRange
from holds_core.config import parse
from holds_core.ledger import campaign, closures
from holds_core.ledger.models import batches, deliveries, holds
from holds_core.ledger.session import Ledger
from holds_core.rulebook import Rulebook
from holds_core.settings import Batch
from mailer.app.days import DayKeeper
from mailer.batches import Batches, Slot, slots_between
from tests.clock import HandClock
from tests.core.ledger.conftest import Feed
from tests.core.ledger.helpers import ready, rows

TOKYO = ZoneInfo("Asia/Tokyo")
BERLIN = ZoneInfo("Europe/Berlin")
TWO = (Batch(name="朝", at=time(9, 10)), Batch(name="夕", at=time(16, 10)))
CONFIG = """
library: {name: L, timezone: Asia/Tokyo, branches: [{id: main, name: 中央図書館, closed: {weekly: [mon]}}]}
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
"""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def tokyo(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=TOKYO).astimezone(UTC)


def due(slots: tuple[Batch, ...], zone: ZoneInfo, after: str, until: str) -> list[tuple[str, str]]:
    found = slots_between(slots, zone, utc(after), utc(until))
    return [(f"{slot.due_at.astimezone(UTC):%m-%d %H:%M}", slot.key) for slot in found]


def test_slots_of_two_days_in_tokyo() -> None:
    assert due(TWO, TOKYO, "2026-11-24 00:10", "2026-11-25 07:10") == [
        ("11-24 07:10", "2026-11-24 夕"),
        ("11-25 00:10", "2026-11-25 朝"),
        ("11-25 07:10", "2026-11-25 夕"),
    ]
    assert due(TWO, TOKYO, "2026-11-24 00:10", "2026-11-24 00:10") == []
    assert due((), TOKYO, "2026-11-24 00:10", "2026-11-26 00:10") == []


@pytest.mark.parametrize(
    ("at", "after", "until", "expected"),
    [
        # clocks go forward: 02:30 does not exist on 29 March 2026
        (time(2, 30), "2026-03-28 12:00", "2026-03-30 12:00", ["03-29 01:30", "03-30 00:30"]),
        # clocks go back: 02:30 comes twice on 25 October 2026
        (time(2, 30), "2026-10-24 12:00", "2026-10-26 12:00", ["10-25 00:30", "10-26 01:30"]),
        (time(9, 10), "2026-03-28 07:00", "2026-03-29 12:00", ["03-28 08:10", "03-29 07:10"]),
        (time(0, 5), "2026-10-24 12:00", "2026-10-26 12:00", ["10-24 22:05", "10-25 23:05"]),
    ],
)
def test_a_clock_change_neither_skips_nor_repeats_a_slot(
    at: time, after: str, until: str, expected: list[str]
) -> None:
    found = due((Batch(name="x", at=at),), BERLIN, after, until)
    assert [moment for moment, _ in found] == expected
    assert len({key for _, key in found}) == len(found)


moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments, st.lists(st.timedeltas(timedelta(), timedelta(days=3)), min_size=2, max_size=5))
def test_looking_often_finds_the_same_slots_as_looking_once(start: datetime, naps: list[timedelta]) -> None:
    slots = (*TWO, Batch(name="夜", at=time(2, 30)))
    once = list(slots_between(slots, BERLIN, start, start + sum(naps, timedelta())))
    often: list[Slot] = []
    now = start
    for nap in naps:
        often += slots_between(slots, BERLIN, now, now + nap)
        now += nap
    assert [slot.key for slot in often] == [slot.key for slot in once]


class Place:
    """A ledger with a batch loop whose clock the test moves."""

    def __init__(self, ledger: Ledger, now: datetime) -> None:
        self.ledger = ledger
        self.clock = HandClock(now)
        self.feed = Feed(ledger)
        self.began = now

    def batches(self, extra: str = "") -> Batches:
        book = Rulebook.of(parse(CONFIG + extra, base=Path("/"), env={}))
        return Batches(self.ledger, book, self.clock, self.began)

    async def hold(self, number: int) -> None:
        self.feed.now = self.clock.now()
        await ready(self.feed, number)

    async def outcomes(self) -> list[tuple[str, str, int]]:
        return [(row.slot, row.outcome, row.released) for row in await rows(self.ledger, batches)]

    async def waiting(self) -> list[Any]:
        return [row for row in await rows(self.ledger, deliveries) if row.next_at is None]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path}/todoku.db")
    await ledger.upgrade()
    yield Place(ledger, tokyo("2026-11-24 09:00"))  # a Tuesday
    await ledger.close()


async def test_a_slot_runs_when_it_is_due_and_not_before(place: Place) -> None:
    loop = place.batches()
    await place.hold(1)
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-11-24 09:10"))
    assert await loop.tick() == ["2026-11-24 朝"]
    assert await loop.tick() == []
    assert await place.waiting() == []
    await place.hold(2)
    place.clock.set(tokyo("2026-11-24 16:10"))
    assert await loop.tick() == ["2026-11-24 夕"]
    assert await place.outcomes() == [("2026-11-24 夕", "run", 1), ("2026-11-24 朝", "run", 1)]


async def test_two_loops_run_a_slot_once(place: Place) -> None:
    one, two = place.batches(), place.batches()
    await place.hold(1)
    place.clock.set(tokyo("2026-11-24 09:11"))
    ran = await asyncio.gather(one.tick(), two.tick(), one.tick())
    assert sorted(ran) == [[], [], ["2026-11-24 朝"]]
    # and one that is started anew
    assert await place.batches().tick() == []


async def test_a_missed_slot_is_caught_up_within_the_limit(place: Place) -> None:
    await place.hold(1)
    place.clock.set(tokyo("2026-11-24 15:10"))  # six hours late
    assert await place.batches().tick() == ["2026-11-24 朝"]


async def test_a_slot_missed_for_too_long_waits_for_the_next(place: Place) -> None:
    loop = place.batches("batch_rules: {catch_up: 1h}")
    await place.hold(1)
    place.clock.set(tokyo("2026-11-24 10:12"))
    assert await loop.tick() == []
    assert await place.outcomes() == [("2026-11-24 朝", "missed", 0)]
    assert len(await place.waiting()) == 1
    place.clock.set(tokyo("2026-11-24 16:10"))
    assert await loop.tick() == ["2026-11-24 夕"]
    assert await place.waiting() == []


async def test_after_a_long_stop_no_more_than_a_week_is_looked_at(place: Place) -> None:
    await place.hold(1)
    place.clock.set(tokyo("2026-12-24 09:10"))
    assert await place.batches().tick() == ["2026-12-24 朝"]
    outcomes = await place.outcomes()
    assert {outcome for _, outcome, _ in outcomes[:-1]} == {"missed"}
    assert outcomes[0][0] >= "2026-12-16"


async def test_slots_before_the_ledger_began_are_nobodys(place: Place) -> None:
    place.clock.set(tokyo("2026-11-24 09:05"))
    assert await place.batches().tick() == []
    assert await place.outcomes() == []


@pytest.mark.parametrize(("rule", "runs"), [("wait", False), ("send", True)])
async def test_a_closed_day(place: Place, rule: str, runs: bool) -> None:
    place.clock.set(tokyo("2026-11-30 09:00"))  # Monday
    place.began = place.clock.now()
    loop = place.batches(f"batch_rules: {{on_closed_days: {rule}}}")
    await place.hold(1)
    place.clock.set(tokyo("2026-11-30 09:10"))
    assert bool(await loop.tick()) is runs
    assert (await place.waiting() == []) is runs
    place.clock.set(tokyo("2026-12-01 09:10"))
    ran = await loop.tick()
    assert "2026-12-01 朝" in ran
    assert await place.waiting() == []


async def test_without_batches_everything_goes_at_once(place: Place) -> None:
    loop = place.batches("batches: []")
    assert await loop.tick() == []
    await place.hold(1)
    assert len(await loop.tick()) == 1
    assert await place.waiting() == []
    assert await loop.tick() == []


async def test_without_batches_nothing_leaves_at_night_or_on_a_day_that_waits(place: Place) -> None:
    loop = place.batches("batches: []\nbatch_rules: {on_closed_days: wait}")
    await place.hold(1)
    place.clock.set(tokyo("2026-11-24 21:30"))
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-11-30 12:00"))  # Monday
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-12-01 08:00"))
    assert len(await loop.tick()) == 1


async def test_what_was_missed_in_the_day_is_not_caught_up_with_at_night(place: Place) -> None:
    loop = place.batches("batch_rules: {catch_up: 20h}")
    await place.hold(1)
    place.clock.set(tokyo("2026-11-24 21:05"))
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-11-25 03:00"))
    assert await loop.tick() == []
    assert len(await place.waiting()) == 1
    place.clock.set(tokyo("2026-11-25 08:00"))
    assert await loop.tick() == ["2026-11-24 夕"]  # the morning slot is too late by now
    assert await place.waiting() == []


async def test_a_slot_that_the_library_put_into_the_night_runs(place: Place) -> None:
    loop = place.batches('batches: [{name: 夜, at: "22:10"}]')
    await place.hold(1)
    place.clock.set(tokyo("2026-11-24 22:10"))
    assert await loop.tick() == ["2026-11-24 夜"]


async def test_a_closing_entered_today_makes_todays_batch_wait(place: Place) -> None:
    book = Rulebook.of(parse(CONFIG + "batch_rules: {on_closed_days: wait}", base=Path("/"), env={}))
    loop = Batches(place.ledger, book, place.clock, place.began)
    await place.hold(1)
    days = DateRange(date(2026, 11, 24), date(2026, 11, 25))
    async with place.ledger.write() as connection:
        await closures.add(connection, "", days, "停電", "desk", place.clock.now())
    assert await DayKeeper(place.ledger).refresh(book)
    place.clock.set(tokyo("2026-11-24 09:10"))
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-11-25 16:10"))
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-11-26 09:10"))
    assert await loop.tick() == ["2026-11-26 朝"]
    assert await place.waiting() == []


async def test_a_batch_takes_reminders_and_the_next_part_of_an_announcement_with_it(place: Place) -> None:
    loop = place.batches("deadline: {remind_before: 2}")
    await place.hold(1)
    await place.hold(2)
    async with place.ledger.write() as connection:
        await connection.execute(
            sa.update(deliveries).values(state="handed_over", handed_over_at=place.began, slot="x")
        )
        await connection.execute(
            sa.update(holds)
            .where(holds.c.hold_id == "H1")
            .values(deadline=date(2026, 11, 26), deadline_source="mail")
        )
        await campaign.start(connection, date(2027, 4, 1), 1, "test", place.clock.now())
    place.clock.set(tokyo("2026-11-25 09:10"))
    await loop.tick()
    kinds = [
        (row.kind, row.patron_id)
        for row in await rows(place.ledger, deliveries)
        if row.slot == "2026-11-25 朝"
    ]
    assert sorted(kinds) == [("hold_expiring", "P1"), ("sender_migration", "P1")]
    place.clock.set(tokyo("2026-11-25 16:10"))
    await loop.tick()
    kinds = [
        (row.kind, row.patron_id)
        for row in await rows(place.ledger, deliveries)
        if row.slot == "2026-11-25 夕"
    ]
    assert kinds == [("sender_migration", "P2")]


async def test_a_new_timetable_is_taken_up(place: Place) -> None:
    loop = place.batches()
    await place.hold(1)
    loop.reload(Rulebook.of(parse(CONFIG + 'batches: [{name: 昼, at: "12:10"}]', base=Path("/"), env={})))
    place.clock.set(tokyo("2026-11-24 12:10"))
    assert await loop.tick() == ["2026-11-24 昼"]


async def test_a_clock_set_back_runs_nothing_twice(place: Place) -> None:
    loop = place.batches()
    place.clock.set(tokyo("2026-11-24 09:10"))
    assert await loop.tick() == ["2026-11-24 朝"]
    place.clock.set(tokyo("2026-11-24 09:00"))
    assert await loop.tick() == []
    place.clock.set(tokyo("2026-11-24 09:10"))
    assert await loop.tick() == []


async def test_the_loop_sleeps_until_the_slot_and_stops_when_told(place: Place) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(place.batches().run(stop))
    await place.hold(1)
    async with asyncio.timeout(30):
        while await place.waiting():
            await place.clock.asleep()
            place.clock.advance(timedelta(seconds=30))
            await asyncio.sleep(0.001)
        assert tokyo("2026-11-24 09:10") <= place.clock.now()
        stop.set()
        await running
    assert place.clock.sleepers == 0
