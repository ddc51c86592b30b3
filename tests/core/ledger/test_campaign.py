"""One announcement to everybody: once per address, in parts, restartable; and who went silent after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.errors import Conflict, NotFound
from holds_core.evidence import Sign
from holds_core.ledger import campaign, slots
from holds_core.ledger.models import campaigns, deliveries
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.notices import Kind
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import batch, bounced, hand_over, observe, ready, rows

SWITCH = date(2026, 12, 1)
TODAY = date(2026, 11, 24)
NAME = "sender-change 2026-12-01"


async def begin(ledger: Ledger, per_batch: int = 100) -> campaign.Campaign:
    async with ledger.write() as connection:
        return await campaign.start(connection, SWITCH, per_batch, "test", NOON)


async def part(ledger: Ledger, today: date = TODAY, now: datetime = NOON) -> int:
    async with ledger.write() as connection:
        return await campaign.feed(connection, today, now)


async def told(ledger: Ledger) -> list[str]:
    found = await rows(ledger, deliveries, deliveries.c.kind == Kind.SENDER_MIGRATION)
    return [row.address_key for row in found if row.state != "cancelled"]


async def now_is(ledger: Ledger) -> Any:
    [row] = await rows(ledger, campaigns)
    return row


async def patrons(feed: Feed, *numbers: int, **fields: object) -> None:
    for number in numbers:
        given = {"email": f"p{number}@example.jp", "name": "図書 花子"} | fields
        await feed.ok("patron", patron_id=f"P{number}", **given)


async def test_each_address_once_in_parts_however_often_it_is_interrupted(feed: Feed) -> None:
    await patrons(feed, 1, 2, 3, 4, 5)
    await feed.ok("patron", patron_id="P6", emails=["p6@example.jp", "P3@example.jp"], name="図書 太郎")
    ledger = feed.ledger
    await begin(ledger, per_batch=2)
    parts: list[int] = []
    for number in range(5):
        parts.append(await part(ledger, now=NOON + timedelta(hours=number)))
        async with ledger.write() as connection:
            await slots.run(connection, f"slot {number}", NOON, NOON + timedelta(hours=number))
        await hand_over(ledger, NOON + timedelta(hours=number))
    assert parts == [2, 2, 2, 0, 0]
    assert sorted(await told(ledger)) == sorted(f"p{number}@example.jp" for number in range(1, 7))
    row = await now_is(ledger)
    assert (row.queued, row.ended_why) == (6, "done")
    async with ledger.read() as connection:
        done = await campaign.progress(connection, NAME)
    assert (done.left, done.states) == (0, {"handed_over": 6})


async def test_who_gets_no_announcement(feed: Feed) -> None:
    await patrons(feed, 1)
    await patrons(feed, 2, contact="phone")
    await patrons(feed, 3, contact="none")
    await patrons(feed, 4, provisional=True)
    await patrons(feed, 5, email="nobody at all")
    await ready(feed, 6)
    await batch(feed.ledger)
    [item] = await hand_over(feed.ledger)
    await observe(feed.ledger, bounced(item.delivery_id))
    await begin(feed.ledger)
    assert await part(feed.ledger) == 1
    assert await told(feed.ledger) == ["p1@example.jp"]


async def test_stopped_and_started_again_it_goes_on_and_finds_newcomers(feed: Feed) -> None:
    ledger = feed.ledger
    await patrons(feed, 1, 2, 3)
    await begin(ledger, per_batch=2)
    with pytest.raises(Conflict):
        await begin(ledger)
    assert await part(ledger) == 2
    await batch(ledger)
    await hand_over(ledger)
    assert await part(ledger, now=NOON + timedelta(hours=1)) == 1  # waits for its batch
    async with ledger.write() as connection:
        assert await campaign.stop(connection, NAME, NOON) == 1
    assert await part(ledger) == 0
    await patrons(feed, 0)
    await begin(ledger)
    assert await part(ledger, now=NOON + timedelta(hours=2)) == 2
    assert sorted(await told(ledger)) == [f"p{number}@example.jp" for number in range(4)]
    assert (await now_is(ledger)).ended_why == "done"


async def test_at_the_change_the_old_sender_falls_silent(feed: Feed) -> None:
    await patrons(feed, 1)
    await begin(feed.ledger)
    assert await part(feed.ledger, today=SWITCH) == 0
    assert (await now_is(feed.ledger)).ended_why == "overtaken"
    async with feed.ledger.read() as connection:
        assert await campaign.left(connection, NAME) == 1
        assert [item.running for item in await campaign.listed(connection)] == [False]
        with pytest.raises(NotFound):
            await campaign.get(connection, "sender-change 2000-01-01")


async def test_a_patron_with_more_addresses_than_a_part_is_not_cut_in_two(feed: Feed) -> None:
    many = [f"a{number}@example.jp" for number in range(10)]
    await feed.ok("patron", patron_id="P1", emails=many)
    await patrons(feed, 2)
    await begin(feed.ledger, per_batch=1)
    found = 0
    for number in range(40):
        found += await part(feed.ledger, now=NOON + timedelta(minutes=number))
    assert found == len(set(await told(feed.ledger))) == 11


# -- after the change ------------------------------------------------------------------------------


def sign(kind: Sign, key: str, at: datetime, number: int | None = None) -> Observation:
    return Observation(at, kind, "test", f"{kind}:{key}:{at}", number, address_key=key)


async def test_who_answered_before_and_not_since(feed: Feed) -> None:
    ledger, switch = feed.ledger, NOON - timedelta(hours=3)
    before = switch - timedelta(days=40)
    for number in range(1, 6):
        await ready(feed, number)
    for number in (1, 2, 3, 4):
        key = f"p{number}@example.jp"
        await observe(ledger, sign(Sign.CONFIRMED, key, before), before)
    await batch(ledger)
    items = {item.address: item for item in await hand_over(ledger)}
    later = NOON + timedelta(days=1)
    confirmed = sign(Sign.CONFIRMED, "", later, items["p2@example.jp"].delivery_id)
    await observe(ledger, confirmed, later)
    returned = replace(bounced(items["p3@example.jp"].delivery_id), at=later)
    await observe(ledger, returned, later)
    # p5 never gave a sign: nothing is remarkable about its silence
    async with ledger.write() as connection:
        await connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.address_key == "p4@example.jp")
            .values(handed_over_at=before)
        )
    async with ledger.read() as connection:
        found = await campaign.silent_since(connection, switch)
    assert [(item.patron_id, item.address, item.mails, item.missed) for item in found] == [
        ("P3", "p3@example.jp", 1, 1),
        ("P1", "p1@example.jp", 1, 0),
    ]
    assert found[1].last_sign_at == before
