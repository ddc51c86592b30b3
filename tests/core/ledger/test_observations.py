"""Evidence: accepted in every state, counted once, and what follows from it at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from holds_core.evidence import Sign
from holds_core.ledger import observations
from holds_core.ledger.models import addresses, cases, deliveries
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.notices import Result, Transmission
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import (
    batch,
    bounced,
    claim,
    delivery,
    finish,
    hand_over,
    observe,
    open_case,
    ready,
    record,
    recover,
    rows,
    signs,
    standing,
    start,
)

LATER = NOON + timedelta(days=4)


def sign(which: Sign, delivery_id: int | None = None, fingerprint: str = "s") -> Observation:
    return Observation(NOON, which, "test", fingerprint, delivery_id)


async def passed(ledger: Ledger, now: object = LATER) -> list[int]:
    async with ledger.write() as connection:
        return await observations.windows_passed(connection, now)  # type: ignore[arg-type]


async def sent(ledger: Ledger, feed: Feed, number: int = 1) -> int:
    await ready(feed, number)
    await batch(ledger, f"s{number}")
    [item] = await hand_over(ledger)
    return item.delivery_id


async def test_a_bounce_may_come_before_the_send_is_committed(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    assert await observe(ledger, bounced(item.delivery_id))
    row = await delivery(ledger)
    assert (row.state, row.finding, await standing(ledger, "p1@example.jp")) == (
        "sending",
        "bounced",
        "unreachable",
    )
    assert await open_case(ledger, "P1") == ["bounced"]
    await record(ledger, finishes=[finish(item, Result.HANDED_OVER)])
    row = await delivery(ledger)
    assert (row.state, row.finding) == ("handed_over", "bounced")
    assert await open_case(ledger, "P1") == ["bounced"]
    assert await passed(ledger) == []


@pytest.mark.parametrize("state", Transmission)
async def test_evidence_is_accepted_in_every_state(ledger: Ledger, feed: Feed, state: Transmission) -> None:
    await ready(feed)
    async with ledger.write() as connection:
        await connection.execute(sa.update(deliveries).values(state=state))
    number = (await delivery(ledger)).delivery_id
    assert await observe(ledger, bounced(number))
    row = await delivery(ledger)
    settled = Transmission.HANDED_OVER if state is Transmission.UNCERTAIN else state
    assert (row.state, row.finding, row.reason, row.fault) == (settled, "bounced", "userunknown", "patron")


async def test_what_is_handed_in_twice_counts_once(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    full = replace(bounced(number), severity="soft", reason="mailboxfull")
    assert await observe(ledger, full)
    assert not await observe(ledger, full)
    assert not await observe(ledger, replace(full, severity="hard", reason="userunknown"))
    assert await signs(ledger) == ["bounced"]
    assert await standing(ledger, "p1@example.jp") == "doubtful"


async def test_a_fingerprint_of_any_length_counts_once(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    long = "x" * 400
    assert await observe(ledger, bounced(number, long))
    assert not await observe(ledger, bounced(number, long))
    assert await observe(ledger, bounced(number, long + "y"))


@pytest.mark.parametrize(
    ("which", "settles"),
    [
        (Sign.DELIVERED, True),
        (Sign.RELAYED, True),
        (Sign.DELAYED, True),
        (Sign.BOUNCED, True),
        (Sign.CONFIRMED, True),
        (Sign.REPLIED, True),
        (Sign.SEEN, False),
        (Sign.CANARY_INBOX, False),
    ],
)
async def test_a_report_about_a_mail_in_doubt_settles_the_doubt(
    ledger: Ledger, feed: Feed, which: Sign, settles: bool
) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    await recover(ledger)
    await observe(ledger, sign(which, item.delivery_id))
    row = await delivery(ledger)
    assert row.state == ("handed_over" if settles else "uncertain")
    assert (row.handed_over_at, row.next_at is None) == ((NOON, True) if settles else (None, False))


async def test_a_receipt_confirms_nothing_and_a_person_does(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    await observe(ledger, sign(Sign.DELIVERED, number, "r"))
    assert ((await delivery(ledger)).finding, await standing(ledger, "p1@example.jp")) == (
        "waiting",
        "unproven",
    )
    await observe(ledger, sign(Sign.CONFIRMED, number, "c"))
    assert ((await delivery(ledger)).finding, await standing(ledger, "p1@example.jp")) == (
        "confirmed",
        "reachable",
    )


@pytest.mark.parametrize("fault", ["us", "provider"])
async def test_our_fault_marks_no_patron_but_the_hold_still_needs_a_call(
    ledger: Ledger, feed: Feed, fault: str
) -> None:
    number = await sent(ledger, feed)
    await observe(ledger, bounced(number, fault=fault))
    assert (await delivery(ledger)).finding == "bounced"
    assert await standing(ledger, "p1@example.jp") == "unproven"
    assert await open_case(ledger, "P1") == ["bounced"]


async def test_a_shared_address_is_judged_once_for_all_who_share_it(ledger: Ledger, feed: Feed) -> None:
    """The standing belongs to the address, a case to the patron."""
    await ready(feed, 1, "family@example.jp")
    await ready(feed, 2, '"Family"@EXAMPLE.JP')
    await batch(ledger)
    one, _ = await hand_over(ledger)
    await observe(ledger, bounced(one.delivery_id))
    assert await standing(ledger, "family@example.jp") == "unreachable"
    assert len(await rows(ledger, addresses)) == 1
    assert (await open_case(ledger, "P1"), await open_case(ledger, "P2")) == (["bounced"], None)


# -- windows ---------------------------------------------------------------------------------------


async def test_a_window_that_passes_without_a_sign_makes_it_unanswered(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    just_before = NOON + timedelta(days=3) - timedelta(seconds=1)
    assert await passed(ledger, just_before) == []
    assert await passed(ledger, NOON + timedelta(days=3)) == [number]
    assert (await delivery(ledger)).finding == "unanswered"
    assert await open_case(ledger, "P1") == ["unanswered"]
    assert await passed(ledger) == []
    assert await signs(ledger) == ["unanswered"]


async def test_an_answer_after_the_window_still_counts(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    await passed(ledger)
    await observe(ledger, sign(Sign.CONFIRMED, number), LATER)
    assert (await delivery(ledger)).finding == "confirmed"
    assert await open_case(ledger, "P1") is None
    [case] = await rows(ledger, cases)
    assert (case.state, case.closed_at, case.closed_why) == ("closed", LATER, "resolved")


async def test_windows_are_settled_in_portions(ledger: Ledger, feed: Feed) -> None:
    for number in (1, 2, 3):
        await sent(ledger, feed, number)
    async with ledger.write() as connection:
        first = await observations.windows_passed(connection, LATER, limit=2)
        second = await observations.windows_passed(connection, LATER, limit=2)
        third = await observations.windows_passed(connection, LATER, limit=2)
    assert (len(first), len(second), third) == (2, 1, [])


async def test_a_window_set_anew_by_a_second_attempt_ends_too(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    await passed(ledger)
    async with ledger.write() as connection:
        await connection.execute(sa.update(deliveries).values(finding="waiting"))
    assert await passed(ledger) == [number]
    assert (await delivery(ledger)).finding == "unanswered"
    assert await passed(ledger) == []


# -- the patron comes by ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "counts"),
    [(timedelta(hours=1), True), (timedelta(days=31), False), (timedelta(hours=-1), False)],
)
async def test_a_visit_is_a_weak_sign_for_recent_mail(
    ledger: Ledger, feed: Feed, after: timedelta, counts: bool
) -> None:
    await sent(ledger, feed)
    feed.now = NOON + max(after, timedelta())
    await feed.ok("patron.seen", patron_id="P1", at=(NOON + after).isoformat())
    assert await signs(ledger) == (["seen"] if counts else [])
    assert (await delivery(ledger)).finding == "waiting"


@pytest.mark.parametrize(
    ("event", "kind", "finding", "stands"),
    [
        ("hold.collected", "collected", "confirmed", "reachable"),
        ("hold.lapsed", "lapsed", "waiting", "doubtful"),
    ],
)
async def test_how_a_hold_ends_says_something_of_its_mail(
    ledger: Ledger, feed: Feed, event: str, kind: str, finding: str, stands: str
) -> None:
    await sent(ledger, feed)
    feed.now = NOON + timedelta(days=1)
    await feed.ok(event, hold_id="H1")
    assert await signs(ledger) == [kind]
    row = await delivery(ledger, kind="hold_ready")
    assert (row.finding, await standing(ledger, "p1@example.jp")) == (finding, stands)


async def test_a_hold_collected_before_its_mail_says_nothing(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.collected", hold_id="H1")
    assert await signs(ledger) == []
    assert (await delivery(ledger)).state == "cancelled"


async def test_a_stranger_who_says_so_opens_the_case_at_once(ledger: Ledger, feed: Feed) -> None:
    number = await sent(ledger, feed)
    await observe(ledger, sign(Sign.NOT_ME, number))
    assert await standing(ledger, "p1@example.jp") == "unreachable"
    assert await open_case(ledger, "P1") == ["not_me"]


async def test_a_stranger_at_one_of_two_addresses_is_a_case_of_its_own(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", emails=["a@example.jp", "b@example.jp"])
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1")
    await batch(ledger)
    one, two = await hand_over(ledger)
    await observe(ledger, sign(Sign.NOT_ME, one.delivery_id))
    assert await open_case(ledger, "P1") == ["not_me"]
    await observe(ledger, bounced(two.delivery_id))
    assert await open_case(ledger, "P1") == ["bounced", "not_me"]


async def test_news_of_one_address_in_two_transactions_at_once_is_all_counted(
    ledger: Ledger, ledger_url: str, feed: Feed
) -> None:
    """The later one must see what the earlier one found, or the standing forgets it."""
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    for number in range(1, 4):
        await feed.ok("hold.shelved", hold_id=f"H{number}", patron_id="P1", branch=f"b{number}")
    await batch(ledger)
    items = await hand_over(ledger)
    one, two, three = [
        replace(bounced(item.delivery_id, f"f{item.delivery_id}"), severity="soft", reason="mailboxfull")
        for item in items
    ]
    other = Ledger.open(ledger_url)
    try:
        async with ledger.write() as connection:
            for item in (one, two):
                await observations.observe(connection, item, NOON)
            later = asyncio.create_task(observe(other, three))
            await _waits_for_a_lock(ledger)
        assert await asyncio.wait_for(later, 30)
    finally:
        await other.close()
    assert await standing(ledger, "a@example.jp") == "unreachable"
    assert await open_case(ledger, "P1") == ["bounced"]


async def test_two_transactions_open_one_case(ledger: Ledger, ledger_url: str, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", emails=["a@example.jp", "b@example.jp"])
    for number in (1, 2):
        await feed.ok("hold.shelved", hold_id=f"H{number}", patron_id="P1", branch=f"b{number}")
    await batch(ledger)
    items = await hand_over(ledger)
    first = [bounced(item.delivery_id, f"f{item.delivery_id}") for item in items if item.branch == "b1"]
    second = [bounced(item.delivery_id, f"f{item.delivery_id}") for item in items if item.branch == "b2"]
    other = Ledger.open(ledger_url)
    try:
        for item in (first[0], second[1]):  # of different addresses: they do not wait for each other
            await observe(ledger, item)
        async with ledger.write() as connection:
            await observations.observe(connection, first[1], NOON)
            later = asyncio.create_task(observe(other, second[0]))
            await _waits_for_a_lock(ledger)
        assert await asyncio.wait_for(later, 30)
    finally:
        await other.close()
    assert [row.reasons for row in await rows(ledger, cases, cases.c.state == "open")] == [["bounced"]]


async def _waits_for_a_lock(ledger: Ledger) -> None:
    """Returns when another transaction of this database waits. On SQLite they take turns anyway."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(30):
        while ledger.dialect == "postgresql":
            async with ledger.read() as connection:
                if await connection.scalar(waiting):
                    return
            await asyncio.sleep(0.005)
