"""A slot runs once, whoever asks and however many ask at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from holds_core.ledger import slots
from holds_core.ledger.models import batches, deliveries
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import batch, hand_over, ready, rows


async def test_concurrent_callers_run_a_slot_once(ledger: Ledger, ledger_url: str, feed: Feed) -> None:
    for number in range(1, 4):
        await ready(feed, number)
    others = [Ledger.open(ledger_url) for _ in range(2)]
    try:
        async with asyncio.timeout(60):
            ran = await asyncio.gather(*(batch(one) for one in [ledger, *others] * 3))
    finally:
        for other in others:
            await other.close()
    assert sorted(ran, key=str) == [3, *[None] * 8]
    [row] = await rows(ledger, batches)
    assert (row.slot, row.released, row.outcome) == ("朝", 3, "run")
    assert {row.slot for row in await rows(ledger, deliveries)} == {"朝"}


async def test_a_slot_that_is_passed_over_releases_nothing_and_never_runs(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    async with ledger.write() as connection:
        assert await slots.run(connection, "朝", NOON, NOON, "missed") == 0
    assert await batch(ledger) is None
    assert [row.next_at for row in await rows(ledger, deliveries)] == [None]
    assert await batch(ledger, "夕") == 1


async def test_an_empty_slot_has_run_too(ledger: Ledger) -> None:
    assert await batch(ledger) == 0
    assert await batch(ledger) is None


async def test_only_what_waits_for_a_batch_is_released(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.placed", hold_id="H2", patron_id="P1")
    await feed.ok("patron", patron_id="P2")
    await feed.ok("hold.shelved", hold_id="H3", patron_id="P2")
    async with ledger.read() as connection:
        assert len(await slots.waiting(connection)) == 1
    assert await batch(ledger) == 1
    assert [(row.kind, row.slot) for row in await rows(ledger, deliveries)] == [
        ("hold_ready", "朝"),
        ("hold_placed", None),
        ("hold_ready", None),
    ]


async def test_what_is_known_and_recent(ledger: Ledger) -> None:
    for number in range(3):
        await batch(ledger, f"s{number}", NOON + timedelta(hours=number))
    async with ledger.read() as connection:
        assert await slots.known(connection, ["s0", "s2", "s9"]) == {"s0", "s2"}
        recent = await slots.recent(connection, limit=2)
    assert [(item.slot, item.due_at, item.outcome) for item in recent] == [
        ("s2", NOON + timedelta(hours=2), "run"),
        ("s1", NOON + timedelta(hours=1), "run"),
    ]


async def test_a_batch_is_finished_when_its_last_mail_has_left(ledger: Ledger, feed: Feed) -> None:
    for number in range(1, 4):
        await ready(feed, number)
    await batch(ledger, "朝")
    await batch(ledger, "空")

    async def finish(minutes: float) -> list[str]:
        async with ledger.write() as connection:
            return sorted(await slots.finish(connection, NOON + timedelta(minutes=minutes)))

    assert await finish(0.5) == [], "the empty one may still get its first mail"
    assert await finish(2) == ["空"], "the other one waits"
    await hand_over(ledger, NOON + timedelta(minutes=3))
    assert await finish(3.5) == []
    assert await finish(4) == ["朝"]
    assert await finish(5) == []
    async with ledger.read() as connection:
        assert not await slots.unfinished(connection, NOON + timedelta(minutes=5))
        found = {item.slot: item.finished_at for item in await slots.recent(connection)}
    assert found == {"朝": NOON + timedelta(minutes=3), "空": NOON}


async def test_a_slot_that_was_passed_over_is_never_finished(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        await slots.run(connection, "昨日", NOON, NOON, "missed")
        assert not await slots.unfinished(connection, NOON)
        assert await slots.finish(connection, NOON + timedelta(hours=1)) == []
