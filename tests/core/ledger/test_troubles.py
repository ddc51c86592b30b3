"""What IT was told, whose turn it is, and the ledger's own signs of trouble, on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import sqlalchemy as sa

from holds_core.alerts import Known, Trouble
from holds_core.ledger import daemons, slots, troubles
from holds_core.ledger.models import deliveries, inbound, provider_alerts
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import ready

MINUTE = timedelta(minutes=1)


async def test_what_is_kept_comes_back_and_what_is_not_is_forgotten(ledger: Ledger) -> None:
    one = Known(Trouble.RELAY_DOWN, "", NOON, {"host": "relay:25", "said": "接続できません"}, NOON, None)
    two = Known(Trouble.BATCH_MISSED, "2026-11-24 朝", NOON + MINUTE, {"slot": "x"})
    async with ledger.write() as connection:
        await troubles.keep(connection, [one, two])
        assert await troubles.known(connection) == [one, two]
    gone = Known(Trouble.RELAY_DOWN, "", NOON, {}, NOON, NOON + MINUTE)
    async with ledger.write() as connection:
        await troubles.keep(connection, [gone])
        await troubles.keep(connection, [gone])
    async with ledger.read() as connection:
        assert await troubles.known(connection) == [gone]


async def test_one_daemon_has_the_turn_until_it_ends_it_or_dies(ledger: Ledger, ledger_url: str) -> None:
    async def take(one: Ledger, owner: str, minutes: float = 0) -> bool:
        async with one.write() as connection:
            return await troubles.take_turn(connection, owner, NOON + minutes * MINUTE)

    others = [Ledger.open(ledger_url) for _ in range(3)]
    try:
        first = await asyncio.gather(*(take(one, str(n)) for n, one in enumerate([ledger, *others])))
    finally:
        for other in others:
            await other.close()
    assert sorted(first) == [False, False, False, True]
    assert not await take(ledger, "late", 4)
    assert await take(ledger, "heir", 5), "it died"
    assert await take(ledger, "yesterday", -24 * 60), "the clock was set back"
    async with ledger.write() as connection:
        await troubles.end_turn(connection)
    assert await take(ledger, "next", -24 * 60)


async def test_mails_of_the_last_hour_are_remembered(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        for minute in (0, 30, 61):
            await troubles.add_sent(connection, NOON + minute * MINUTE)
        assert await troubles.sent(connection) == [NOON + 30 * MINUTE, NOON + 61 * MINUTE]


async def test_signs_of_an_empty_ledger(ledger: Ledger) -> None:
    async with ledger.read() as connection:
        found = await troubles.signs(connection, NOON, ["2026-11-24 朝"])
    assert (found.began, found.missed, found.slots, found.heard_at) == (None, (), frozenset(), None)
    assert (found.prompt_due_since, found.unread_since, found.quarantined) == (None, None, 0)
    assert found.providers == ()


async def test_signs(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.placed", hold_id="H9", patron_id="P1", title="羅生門")
    async with ledger.write() as connection:
        await daemons.began(connection, NOON - timedelta(days=9))
        await slots.run(connection, "ran", NOON, NOON)
        await slots.run(connection, "late", NOON - timedelta(hours=8), NOON, "missed")
        await slots.run(connection, "long ago", NOON - timedelta(days=4), NOON - timedelta(days=3), "missed")
        await slots.run(connection, "closed", NOON, NOON, "closed")
        for number, (state, hours) in enumerate(
            [("quarantined", 1), ("quarantined", 30), ("new", 2), ("new", 1)]
        ):
            await connection.execute(
                sa.insert(inbound).values(
                    received_at=NOON - timedelta(hours=hours), source="lmtp", envelope_from="", envelope_to=[],
                    truncated=False, digest=str(number), state=state,
                )
            )  # fmt: skip
        alert = {
            "opened_at": NOON, "since": NOON, "sent": 40, "shown": 10, "expected": 0.8, "loss_before": 0.1,
            "loss_now": 0.7, "suspect": "provider", "changed_at": NOON,
        }  # fmt: skip
        for domain, closed in (("outlook.jp", None), ("docomo.ne.jp", NOON)):
            await connection.execute(
                sa.insert(provider_alerts).values(**alert, domain=domain, closed_at=closed)
            )
    async with ledger.read() as connection:
        found = await troubles.signs(connection, NOON + MINUTE, ["ran", "late", "never"])
        due = await connection.scalar(
            sa.select(deliveries.c.next_at).where(deliveries.c.kind == "hold_placed")
        )
    assert found.began == NOON - timedelta(days=9)
    assert [slot for slot, _ in found.missed] == ["late"]
    assert found.slots == {"ran", "late"}
    assert found.heard_at == NOON
    assert found.prompt_due_since == due
    assert found.quarantined == 1
    assert found.unread_since == NOON - timedelta(hours=2)
    [change] = found.providers
    assert (change.domain, change.mails, change.observed, change.expected) == ("outlook.jp", 40, 0.25, 0.8)
