"""The circuit breaker's state for all daemons, and the mails that get another chance, on both databases."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import sqlalchemy as sa

from holds_core.breaker import Limit, Position, State, Window
from holds_core.evidence import Sign
from holds_core.ledger import breaker
from holds_core.ledger.models import deliveries
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.notices import Finding, Result, Transmission
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import (
    batch,
    claim,
    delivery,
    finish,
    hand_over,
    observe,
    open_case,
    ready,
    record,
    rows,
    standing,
    start,
)

LIMIT = Limit(probe_after=timedelta(minutes=10))


def window(since: datetime = NOON) -> Window:
    found = Window(LIMIT)
    for _ in range(5):
        found.note(since, ours=True)
    return found


async def open_(ledger: Ledger, now: datetime = NOON) -> State:
    async with ledger.write() as connection:
        return await breaker.open_(connection, LIMIT, now, window(), "authfailure", "550 5.7.1")


async def state(ledger: Ledger) -> State:
    async with ledger.read() as connection:
        return await breaker.read(connection)


async def begin_test(ledger: Ledger, now: datetime) -> bool:
    async with ledger.write() as connection:
        return await breaker.begin_test(connection, now)


async def end_test(ledger: Ledger, now: datetime, *, passed: bool | None) -> State:
    async with ledger.write() as connection:
        return await breaker.end_test(connection, LIMIT, now, passed=passed)


async def refuse(ledger: Ledger, fault: str, now: datetime = NOON) -> None:
    """All that is due is refused for good, by whose fault ever."""
    items = await claim(ledger, now=now)
    await record(ledger, [start(item, now) for item in items])
    reason = {"us": "authfailure", "patron": "userunknown"}[fault]
    ends = [finish(item, Result.REFUSED, now, reason=reason, fault=fault) for item in items]
    await record(ledger, finishes=ends)
    for item in ends:
        seen = Observation(
            now, Sign.REFUSED, "smtp", f"refused:{item.delivery_id}:{item.number}", item.delivery_id,
            reason=reason, fault=fault, severity="hard" if fault == "patron" else "soft",
        )  # fmt: skip
        await observe(ledger, seen, now)


async def test_closed_until_opened_and_kept_as_it_was(ledger: Ledger) -> None:
    assert await state(ledger) == State()
    opened = await open_(ledger)
    assert opened.position is Position.OPEN
    assert (opened.reason, opened.code, opened.since) == ("authfailure", "550 5.7.1", NOON)
    assert await state(ledger) == opened, "every field survives the ledger"
    assert await open_(ledger, NOON + timedelta(minutes=1)) == opened, "another daemon came later"


async def test_of_many_daemons_one_tests(ledger: Ledger, ledger_url: str) -> None:
    await open_(ledger)
    at = NOON + timedelta(minutes=10)
    others = [Ledger.open(ledger_url) for _ in range(3)]
    try:
        may = await asyncio.gather(*(begin_test(one, at) for one in (ledger, *others)))
    finally:
        for other in others:
            await other.close()
    assert sorted(may) == [False, False, False, True]
    assert (await state(ledger)).position is Position.TESTING


async def test_no_test_while_closed_or_before_its_time(ledger: Ledger) -> None:
    assert not await begin_test(ledger, NOON)
    await open_(ledger)
    assert not await begin_test(ledger, NOON + timedelta(minutes=9))


async def test_what_our_fault_refused_is_sent_again_when_it_closes(ledger: Ledger, feed: Feed) -> None:
    await ready(feed, 1)
    await batch(ledger, "朝")
    await hand_over(ledger)
    for number in (2, 3):
        await ready(feed, number)
    await batch(ledger, "昼")
    await refuse(ledger, "us")
    await ready(feed, 4)
    await batch(ledger, "夕")
    await refuse(ledger, "patron")
    assert await standing(ledger, "p2@example.jp") != "unreachable", "the patron did nothing wrong"
    assert await open_case(ledger, "P2") == ["bounced"]
    token = (await delivery(ledger, patron_id="P2")).token

    await open_(ledger)
    at = NOON + timedelta(minutes=10)
    assert await begin_test(ledger, at)
    assert (await end_test(ledger, at, passed=True)).lets_mail_through
    found = await delivery(ledger, patron_id="P2")
    assert (found.state, found.finding, found.reason, found.fault) == ("pending", "waiting", "", "")
    assert (found.token, found.tries) == (token, 1)
    assert await open_case(ledger, "P2") is None, "there is nobody to phone"
    assert (await delivery(ledger, patron_id="P1")).state == "handed_over"
    assert (await delivery(ledger, patron_id="P4")).state == "refused"
    assert await open_case(ledger, "P4") == ["bounced"]

    items = await claim(ledger, now=at)
    assert {item.patron_id for item in items} == {"P2", "P3"}
    await record(ledger, [start(item, at) for item in items])
    await record(ledger, finishes=[finish(item, Result.HANDED_OVER, at) for item in items])
    seen = Observation(at, Sign.RELAYED, "lmtp", "relayed", found.delivery_id)
    await observe(ledger, seen, at)
    found = await delivery(ledger, patron_id="P2")
    assert found.finding == Finding.WAITING, "the refusal that was our fault is forgotten"
    assert await open_case(ledger, "P2") is None


async def test_a_mail_that_is_refused_again_stays_refused(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    await refuse(ledger, "us")
    await open_(ledger)
    async with ledger.write() as connection:
        assert await breaker.resume(connection, NOON) == 1
    assert await state(ledger) == State()
    await refuse(ledger, "us", NOON + timedelta(minutes=1))
    found = await delivery(ledger)
    assert (found.state, found.finding, found.tries) == (Transmission.REFUSED, Finding.BOUNCED, 2)
    assert await open_case(ledger, "P1") == ["bounced"]


async def test_what_was_refused_before_the_trouble_began_stays(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    await refuse(ledger, "us")
    later = NOON + timedelta(hours=1)
    async with ledger.write() as connection:
        await breaker.open_(connection, LIMIT, later, window(later), "authfailure", "550 5.7.1")
    async with ledger.write() as connection:
        assert await breaker.resume(connection, NOON) == 0
        assert await breaker.resume(connection, NOON) == 0, "nothing to resume"
    [row] = await rows(ledger, deliveries)
    assert row.state == Transmission.REFUSED


async def test_a_failed_test_gives_nothing_back(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    await refuse(ledger, "us")
    await open_(ledger)
    at = NOON + timedelta(minutes=10)
    assert await begin_test(ledger, at)
    after = await end_test(ledger, at, passed=False)
    assert (after.position, after.tests) == (Position.OPEN, 1)
    async with ledger.read() as connection:
        count = await connection.scalar(
            sa.select(sa.func.count()).where(deliveries.c.state == Transmission.PENDING)
        )
    assert count == 0
