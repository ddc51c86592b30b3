"""Claims, starts and ends of attempts, on both databases."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa

from holds_core.errors import IllegalTransition
from holds_core.ledger import outbox, sending
from holds_core.ledger.models import deliveries, holds
from holds_core.ledger.session import Ledger
from holds_core.notices import Kind, Result, Transmission
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import (
    KEYS,
    LEASE,
    batch,
    bounced,
    claim,
    delivery,
    finish,
    hand_over,
    observe,
    ready,
    record,
    recover,
    rows,
    start,
    tries,
)

LATER = NOON + timedelta(minutes=30)


async def test_what_is_claimed_is_leased_once(ledger: Ledger, feed: Feed) -> None:
    for number in range(1, 4):
        await ready(feed, number)
    assert await claim(ledger) == []  # no batch has let them go
    await batch(ledger)
    first = await claim(ledger, "one", limit=2)
    second = await claim(ledger, "two")
    assert (len(first), len(second)) == (2, 1)
    assert {item.patron_id for item in first + second} == {"P1", "P2", "P3"}
    assert await claim(ledger, "one") == []
    assert {row.lease_owner for row in await rows(ledger, deliveries)} == {"one", "two"}


async def test_a_claim_tells_all_that_a_mail_needs(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="坊っちゃん", deadline="2026-12-01")
    await batch(ledger)
    [item] = await claim(ledger)
    assert (item.kind, item.patron_id, item.patron_name, item.address) == (
        Kind.HOLD_READY,
        "P1",
        "図書 花子",
        "p1@example.jp",
    )
    assert (item.branch, item.domain, item.standing) == ("main", "example.jp", "unproven")
    assert (item.state, item.tries, item.doubts) == (Transmission.PENDING, 0, 0)
    assert [(line.hold_id, line.title, line.deadline, line.state) for line in item.holds] == [
        ("H1", "吾輩は猫である", None, "ready"),
        ("H2", "坊っちゃん", date(2026, 12, 1), "ready"),
    ]
    assert KEYS.read(item.token) == item.delivery_id


async def test_the_token_is_made_once(ledger: Ledger, feed: Feed) -> None:
    """Greylisting keys on the return path."""
    await ready(feed)
    await batch(ledger)
    [first] = await claim(ledger)
    async with ledger.write() as connection:
        await outbox.unlease(connection, "one")
        [second] = await sending.claim(
            connection, "two", NOON, NOON + LEASE, 9, lambda number: f"other{number}"
        )
    assert second.token == first.token


async def test_prompt_mail_goes_before_a_batch(ledger: Ledger, feed: Feed) -> None:
    feed.now = NOON - timedelta(hours=1)
    for number in range(1, 4):
        await ready(feed, number)
    await batch(ledger, now=feed.now)
    feed.now = NOON
    await feed.ok("patron.password_changed", patron_id="P3")
    taken = [(await claim(ledger, limit=1))[0].kind for _ in range(4)]
    assert taken == [Kind.REGISTRATION_CHANGED, *[Kind.HOLD_READY] * 3]


async def test_the_longest_due_goes_first(ledger: Ledger, feed: Feed) -> None:
    for number in (1, 2, 3):
        await ready(feed, number)
    await batch(ledger)
    times = {"P1": NOON, "P2": NOON - timedelta(hours=2), "P3": NOON + timedelta(seconds=1)}
    async with ledger.write() as connection:
        for patron_id, at in times.items():
            await connection.execute(
                sa.update(deliveries).where(deliveries.c.patron_id == patron_id).values(next_at=at)
            )
    taken = [item.patron_id for _ in range(3) for item in await claim(ledger, limit=1)]
    assert taken == ["P2", "P1"]


async def test_the_attempt_is_recorded_before_and_after(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    assert await record(ledger, [start(item, deadline=date(2026, 12, 1))]) == {item.delivery_id}
    row = await delivery(ledger)
    assert (row.state, row.tries, row.first_attempt_at) == ("sending", 1, NOON)
    [attempt] = await tries(ledger)
    assert (attempt.number, attempt.started_at, attempt.finished_at) == (1, NOON, None)
    done = finish(item, Result.HANDED_OVER, LATER, deadline=date(2026, 12, 1))
    assert await record(ledger, finishes=[done]) == frozenset()
    row = await delivery(ledger)
    assert (row.state, row.handed_over_at, row.deadline, row.lease_owner, row.next_at) == (
        "handed_over",
        LATER,
        date(2026, 12, 1),
        None,
        None,
    )
    [attempt] = await tries(ledger)
    assert (attempt.finished_at, attempt.result, attempt.phase, attempt.code) == (
        LATER,
        "handed_over",
        "data",
        250,
    )


async def test_ends_and_starts_share_one_record(ledger: Ledger, feed: Feed) -> None:
    for number in (1, 2, 3):
        await ready(feed, number)
    await batch(ledger)
    one, two, three = await claim(ledger)
    await record(ledger, [start(one), start(two)])
    accepted = await record(
        ledger,
        [start(three)],
        [finish(one, Result.HANDED_OVER), finish(two, Result.DEFERRED, next_at=LATER)],
    )
    assert accepted == {three.delivery_id}
    states = {row.patron_id: (row.state, row.next_at) for row in await rows(ledger, deliveries)}
    assert states == {"P1": ("handed_over", None), "P2": ("retrying", LATER), "P3": ("sending", NOON)}
    [again] = await claim(ledger, now=LATER)
    assert (again.patron_id, again.tries, again.first_attempt_at) == ("P2", 1, NOON)


async def test_the_deadline_is_in_force_at_hand_over(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", deadline="2026-12-24")
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    await record(ledger, finishes=[finish(item, Result.HANDED_OVER, deadline=date(2026, 12, 1))])
    found = {row.hold_id: (row.deadline, row.deadline_source) for row in await rows(ledger, holds)}
    # the library system's own word beats the formula
    assert found == {"H1": (date(2026, 12, 1), "mail"), "H2": (date(2026, 12, 24), "feed")}


@pytest.mark.parametrize("result", [Result.DEFERRED, Result.REFUSED, Result.UNCERTAIN])
async def test_no_deadline_runs_before_hand_over(ledger: Ledger, feed: Feed, result: Result) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    await record(ledger, finishes=[finish(item, result, deadline=date(2026, 12, 1))])
    assert [row.deadline for row in await rows(ledger, holds)] == [None]


async def _collected(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("hold.collected", hold_id="H1")


async def _readdressed(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron.email_changed", patron_id="P1", email="new@example.jp")


async def _lease_lost(ledger: Ledger, feed: Feed) -> None:
    await recover(ledger, alive=["two"])
    assert len(await claim(ledger, "two")) == 1


async def _lease_given_back(ledger: Ledger, feed: Feed) -> None:
    async with ledger.write() as connection:
        await outbox.unlease(connection, "one")


async def _one_of_two_collected(ledger: Ledger, feed: Feed) -> None:
    """The mail would still list it."""
    await feed.ok("hold.collected", hold_id="H2")


@pytest.mark.parametrize(
    "meanwhile", [_collected, _readdressed, _lease_lost, _lease_given_back, _one_of_two_collected]
)
async def test_a_start_is_refused_when_the_claim_is_no_longer_true(
    ledger: Ledger, feed: Feed, meanwhile: object
) -> None:
    await ready(feed)
    if meanwhile is _one_of_two_collected:
        await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="坊っちゃん")
    await batch(ledger)
    [item] = await claim(ledger)
    await meanwhile(ledger, feed)  # type: ignore[operator]
    assert await record(ledger, [start(item)]) == frozenset()
    assert await tries(ledger) == []
    row = (await rows(ledger, deliveries, deliveries.c.delivery_id == item.delivery_id))[0]
    assert (row.tries, row.state in ("pending", "cancelled")) == (0, True)


async def test_an_end_that_comes_too_late_changes_no_state(ledger: Ledger, feed: Feed) -> None:
    """Another daemon has taken this one for dead."""
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    assert await recover(ledger, alive=["two"]) == [item.delivery_id]
    await record(ledger, finishes=[finish(item, Result.HANDED_OVER, LATER)])
    assert (await delivery(ledger)).state == "uncertain"
    assert (await tries(ledger))[0].result == "handed_over"


async def test_an_illegal_end_raises_and_changes_nothing(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    with pytest.raises(IllegalTransition):
        await record(ledger, finishes=[finish(item, Result.HANDED_OVER, state=Transmission.WITHHELD)])
    assert (await delivery(ledger)).state == "sending"


# -- after a crash ---------------------------------------------------------------------------------


async def test_what_a_dead_owner_was_sending_is_uncertain_and_tried_once_more(
    ledger: Ledger, feed: Feed
) -> None:
    for number in (1, 2, 3):
        await ready(feed, number)
    await batch(ledger)
    one, two, _claimed_only = await claim(ledger, "one", limit=3)
    await record(ledger, [start(one)])
    await record(ledger, [start(two)])
    await record(ledger, finishes=[finish(two, Result.HANDED_OVER)])
    assert await recover(ledger, alive=["one"]) == []
    assert await recover(ledger, alive=["two"]) == [one.delivery_id]
    states = {row.patron_id: (row.state, row.lease_owner) for row in await rows(ledger, deliveries)}
    assert states == {"P1": ("uncertain", None), "P2": ("handed_over", None), "P3": ("pending", None)}
    # what was only claimed may be claimed at once, what is in doubt after its wait
    assert [item.patron_id for item in await claim(ledger, "two")] == ["P3"]
    [again] = await claim(ledger, "two", now=LATER)
    assert (again.patron_id, again.state, again.doubts) == ("P1", Transmission.UNCERTAIN, 1)


async def test_twice_in_doubt_counts_as_handed_over(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    now = NOON
    for _ in range(2):
        [item] = await claim(ledger, "one", now=now)
        assert await record(ledger, [start(item, now)]) == {item.delivery_id}
        await recover(ledger, now)
        now += timedelta(minutes=30)
    row = await delivery(ledger)
    assert (row.state, row.reason, row.tries) == ("handed_over", "uncertain", 2)
    assert row.window_ends_at is not None
    assert await claim(ledger, "one", now=now + timedelta(days=30)) == []


async def test_evidence_settles_a_doubt_before_it_is_sent_again(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    await recover(ledger)
    await observe(ledger, bounced(item.delivery_id))
    row = await delivery(ledger)
    assert (row.state, row.finding) == ("handed_over", "bounced")
    assert await claim(ledger, now=LATER) == []


# -- several daemons -------------------------------------------------------------------------------


async def test_two_owners_never_get_the_same_delivery(ledger: Ledger, ledger_url: str, feed: Feed) -> None:
    for number in range(1, 31):
        await ready(feed, number)
    await batch(ledger)
    other = Ledger.open(ledger_url)
    taken: dict[str, list[int]] = {"one": [], "two": []}

    async def work(owner: str, at: Ledger) -> None:
        while items := await claim(at, owner, limit=3):
            accepted = await record(at, [start(item) for item in items], owner=owner)
            assert accepted == {item.delivery_id for item in items}
            taken[owner] += sorted(accepted)
            await record(at, finishes=[finish(item, Result.HANDED_OVER) for item in items], owner=owner)

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(work("one", ledger), work("two", other))
    finally:
        await other.close()
    assert len(taken["one"] + taken["two"]) == 30
    assert not set(taken["one"]) & set(taken["two"])
    assert {row.state for row in await rows(ledger, deliveries)} == {"handed_over"}
    assert len(await tries(ledger)) == 30


async def test_pacing_gives_a_claim_back_until_its_time(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    async with ledger.write() as connection:
        await outbox.postpone(connection, [(item.delivery_id, LATER)], "two")  # not its owner
        await outbox.postpone(connection, [(item.delivery_id, LATER)], "one")
    assert await claim(ledger, "two") == []
    assert [found.delivery_id for found in await claim(ledger, "two", now=LATER)] == [item.delivery_id]


async def test_hand_over_is_not_delivery(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    await hand_over(ledger)
    row = await delivery(ledger)
    assert (row.state, row.finding) == ("handed_over", "waiting")


async def test_prompt_mail_that_was_delayed_into_the_night_waits_for_the_morning(feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("patron.email_changed", patron_id="P1", email="b@example.jp")
    await ready(feed, 2)
    await batch(feed.ledger)
    night = NOON + timedelta(hours=14)  # 2:00 in Tokyo
    morning = NOON + timedelta(hours=20)

    async def claimed(now: datetime, quiet_until: datetime | None) -> list[str]:
        async with feed.ledger.write() as connection:
            items = await sending.claim(
                connection, "one", now, now + LEASE, 9, KEYS.make, quiet_until=quiet_until
            )
        return sorted(item.patron_id for item in items)

    assert await claimed(night, morning) == ["P2"]
    assert await claimed(morning - timedelta(minutes=1), None) == []
    assert await claimed(morning, None) == ["P1"]


async def test_holds_of_one_mail_keep_the_days_that_it_promised_each(feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="坊っちゃん")
    await batch(feed.ledger)
    [item] = await claim(feed.ledger)
    early, late = date(2026, 12, 1), date(2026, 12, 3)
    promised = (("H1", early), ("H2", late))
    await record(feed.ledger, [start(item, deadline=early)])
    done = finish(item, Result.HANDED_OVER, deadline=early, promised=promised)
    await record(feed.ledger, finishes=[done])
    found = {row.hold_id: row.deadline for row in await rows(feed.ledger, holds)}
    assert found == {"H1": early, "H2": late}


async def test_how_much_of_a_title_a_patron_wants_to_be_shown(feed: Feed) -> None:
    await ready(feed)
    await feed.ok("patron", patron_id="P1", title_policy="none")
    await batch(feed.ledger)
    [item] = await claim(feed.ledger)
    assert item.title_policy == "none"
