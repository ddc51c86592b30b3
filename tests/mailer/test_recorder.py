"""One commit for many connections; an outcome is never lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.evidence import Sign
from holds_core.ledger.models import deliveries
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.notices import Result
from mailer.recorder import Recorder
from tests.clock import HandClock
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import batch, claim, finish, open_case, ready, rows, standing, start, tries

_SECOND = timedelta(seconds=1)


class Place:
    """Three deliveries claimed, and a recorder that runs."""

    def __init__(self, ledger: Ledger, file: Path) -> None:
        self.ledger, self.file = ledger, file
        self.clock = HandClock(NOON)
        self.recorder = Recorder(ledger, "one", self.clock)
        self.commits = 0
        """Of this process, readers' too."""
        self.items: list[Any] = []

    async def states(self) -> list[str]:
        return [row.state for row in await rows(self.ledger, deliveries)]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    file = tmp_path / "todoku.db"
    ledger = Ledger.open(f"sqlite+aiosqlite:///{file}")
    await ledger.upgrade()
    feed = Feed(ledger)
    for number in (1, 2, 3):
        await ready(feed, number)
    await batch(ledger)
    made = Place(ledger, file)
    made.items = await claim(ledger)

    def count(_connection: object) -> None:
        made.commits += 1

    sa.event.listen(sa.Engine, "commit", count)
    stop = asyncio.Event()
    running = asyncio.create_task(made.recorder.run(stop))
    yield made
    stop.set()
    made.recorder.stop()
    async with asyncio.timeout(30):
        while not running.done():
            made.clock.advance(_SECOND)
            await asyncio.sleep(0.01)
    await running
    sa.event.remove(sa.Engine, "commit", count)
    await ledger.close()


async def test_what_is_handed_in_together_shares_a_commit(place: Place) -> None:
    before = place.commits
    accepted = await asyncio.gather(*(place.recorder.submit(start(item), None) for item in place.items))
    assert accepted == [True, True, True]
    assert place.commits == before + 1
    assert await place.states() == ["sending"] * 3


async def test_an_end_and_the_next_start_share_a_commit(place: Place) -> None:
    one, two, _ = place.items
    before = place.commits
    assert await place.recorder.submit(start(one), None)
    assert await place.recorder.submit(start(two), finish(one, Result.HANDED_OVER))
    assert place.commits == before + 2
    assert await place.states() == ["handed_over", "sending", "pending"]
    assert not await place.recorder.submit(None, finish(two, Result.HANDED_OVER))


async def test_each_caller_learns_of_its_own_start(place: Place) -> None:
    one, two, three = place.items
    async with place.ledger.write() as connection:
        await connection.execute(
            sa.update(deliveries).where(deliveries.c.delivery_id == two.delivery_id).values(state="cancelled")
        )
    accepted = await asyncio.gather(*(place.recorder.submit(start(item), None) for item in (one, two, three)))
    assert accepted == [True, False, True]


async def test_a_refusal_becomes_evidence_in_the_same_commit(place: Place) -> None:
    [one, *_] = place.items
    await place.recorder.submit(start(one), None)
    said = Observation(
        NOON, Sign.REFUSED, "smtp", "r", one.delivery_id, "", None, "userunknown", "patron", "hard"
    )
    before = place.commits
    await place.recorder.submit(None, finish(one, Result.REFUSED, evidence=said))
    assert place.commits == before + 1
    assert await standing(place.ledger, "p1@example.jp") == "unreachable"
    assert await open_case(place.ledger, "P1") == ["bounced"]


async def test_twice_in_doubt_is_taken_for_handed_over(place: Place) -> None:
    [one, *_] = place.items
    await place.recorder.submit(start(one), None)
    await place.recorder.submit(None, finish(one, Result.UNCERTAIN, doubts=2))
    assert (await place.states())[0] == "handed_over"


async def test_an_outcome_outlives_its_caller(place: Place) -> None:
    """A connection's task is cancelled while it waits for the commit."""
    [one, *_] = place.items
    await place.recorder.submit(start(one), None)
    caller = asyncio.create_task(place.recorder.submit(None, finish(one, Result.HANDED_OVER)))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with asyncio.timeout(30):
        while (await place.states())[0] != "handed_over":
            await asyncio.sleep(0.01)
    assert (await tries(place.ledger))[0].result == "handed_over"


async def test_a_locked_ledger_loses_no_outcome(place: Place) -> None:
    """Another program holds the lock for longer than the busy timeout."""
    await place.ledger.write_many(lambda connection: connection.execute(sa.text("PRAGMA busy_timeout = 50")))
    [one, two, _] = place.items
    await place.recorder.submit(start(one), None)
    with contextlib.closing(sqlite3.connect(place.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ended = asyncio.create_task(place.recorder.submit(start(two), finish(one, Result.HANDED_OVER)))
        await place.clock.asleep()  # it could not write, and waits to try again
        assert not ended.done()
        place.clock.advance(_SECOND)
        await place.clock.asleep()
        assert not ended.done()
        other.execute("ROLLBACK")
    place.clock.advance(_SECOND)
    assert await asyncio.wait_for(ended, 30)
    assert await place.states() == ["handed_over", "sending", "pending"]
    assert len(await tries(place.ledger)) == 2


async def test_what_was_handed_in_before_the_stop_is_recorded(place: Place) -> None:
    stop = asyncio.Event()
    recorder = Recorder(place.ledger, "one", place.clock)
    waiting = [asyncio.create_task(recorder.submit(start(item), None)) for item in place.items]
    await asyncio.sleep(0)
    stop.set()
    recorder.stop()
    running = asyncio.create_task(recorder.run(stop))
    assert await asyncio.wait_for(asyncio.gather(*waiting), 30) == [True] * 3
    recorder.stop()
    await asyncio.wait_for(running, 30)
