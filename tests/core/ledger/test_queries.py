"""The undelivered-mail report: the contract's shape, what is in it, and as of when."""

from __future__ import annotations

import json
from datetime import date, timedelta

import sqlalchemy as sa

from holds_core.evidence import Sign
from holds_core.ledger import observations, queries
from holds_core.ledger.models import deliveries, notices
from holds_core.ledger.observations import Observation
from holds_core.ledger.queries import Undelivered
from holds_core.ledger.session import Ledger
from holds_core.notices import Result
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import (
    batch,
    bounced,
    claim,
    delivery,
    finish,
    hand_over,
    observe,
    ready,
    record,
    start,
)

DAY = timedelta(days=1)


async def report(ledger: Ledger, as_of: object = NOON + 30 * DAY, since: object = None) -> list[Undelivered]:
    async with ledger.read() as connection:
        return await queries.undelivered(connection, as_of, since)  # type: ignore[arg-type]


async def test_a_line_has_the_contracts_fields(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", deadline="2026-11-30")
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    await record(ledger, finishes=[finish(item, Result.HANDED_OVER, deadline=date(2026, 12, 1))])
    await observe(ledger, bounced(item.delivery_id))
    [line] = await report(ledger)
    assert json.loads(json.dumps(line.as_json())) == {
        "notice_id": item.notice_id,
        "patron_id": "P1",
        "address": "p1@example.jp",
        "kind": "hold_ready",
        "state": "handed_over",
        "finding": "bounced",
        "reason": "userunknown",
        "fault": "patron",
        "sent_at": NOON.isoformat(),
        "deadline": "2026-11-30",
        "hold_ids": ["H1", "H2"],
    }
    assert (line.patron_name, line.open) == ("図書 花子", True)


async def test_what_never_left_has_no_time_and_no_deadline(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1")
    [line] = await report(ledger)
    said = line.as_json()
    assert (said["state"], said["finding"], said["reason"], said["address"]) == (
        "withheld",
        "waiting",
        "no_address",
        "",
    )
    assert (said["sent_at"], said["deadline"], said["hold_ids"]) == (None, None, ["H1"])


async def test_mail_on_its_way_or_confirmed_is_not_in_it(ledger: Ledger, feed: Feed) -> None:
    for number in range(1, 5):
        await ready(feed, number)
    assert await report(ledger) == []
    await batch(ledger)
    items = await hand_over(ledger)
    within = NOON + DAY
    assert await report(ledger, within) == []
    confirmed = Observation(NOON, Sign.CONFIRMED, "page", "c", items[0].delivery_id)
    await observe(ledger, confirmed)
    late = NOON + 4 * DAY
    assert sorted((line.patron_id, line.finding, line.reason) for line in await report(ledger, late)) == [
        (f"P{number}", "unanswered", "no_sign") for number in (2, 3, 4)
    ]


async def test_as_of_tells_what_was_known_then(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await hand_over(ledger)
    async with ledger.write() as connection:
        await observations.windows_passed(connection, NOON + 3 * DAY)
        late = Observation(NOON + 5 * DAY, Sign.CONFIRMED, "page", "c", item.delivery_id)
        await observations.observe(connection, late, late.at)
    found = {
        day: [line.finding for line in await report(ledger, NOON + day * DAY)] for day in (0, 2, 3, 4, 5)
    }
    assert found == {0: [], 2: [], 3: ["unanswered"], 4: ["unanswered"], 5: []}
    assert await report(ledger, NOON - DAY) == []


async def test_a_refusal_is_not_known_before_it_was_said(ledger: Ledger, feed: Feed) -> None:
    await ready(feed)
    await batch(ledger)
    [item] = await claim(ledger)
    await record(ledger, [start(item)])
    refused = Observation(
        NOON + DAY, Sign.REFUSED, "smtp", "r", item.delivery_id, "", None, "userunknown", "patron", "hard"
    )
    await record(ledger, finishes=[finish(item, Result.REFUSED, NOON + DAY)])
    await observe(ledger, refused, NOON + DAY)
    assert (await delivery(ledger)).state == "refused"
    assert await report(ledger, NOON + DAY - timedelta(seconds=1)) == []
    assert [(line.state, line.finding) for line in await report(ledger, NOON + DAY)] == [
        ("refused", "bounced")
    ]


async def test_the_most_urgent_first_and_what_is_over_last(ledger: Ledger, feed: Feed) -> None:
    for number, deadline in ((1, "2026-12-03"), (2, "2026-12-01"), (3, "2026-11-28"), (4, None)):
        await feed.ok("patron", patron_id=f"P{number}")
        more = {"deadline": deadline} if deadline else {}
        await feed.ok("hold.shelved", hold_id=f"H{number}", patron_id=f"P{number}", **more)
    await ready(feed, 5)
    await batch(ledger)
    await hand_over(ledger)
    await ready(feed, 6)
    await batch(ledger, "夕")
    await hand_over(ledger)
    feed.now = NOON + DAY
    for hold_id in ("H5", "H6"):
        await feed.ok("hold.cancelled", hold_id=hold_id)
    lines = await report(ledger)
    assert [line.patron_id for line in lines if line.open] == ["P3", "P2", "P1", "P4"]
    assert [line.patron_id for line in lines if not line.open] == ["P6", "P5"]


async def test_a_span_of_its_own(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1")
    assert len(await report(ledger, NOON + 34 * DAY)) == 1
    assert await report(ledger, NOON + 36 * DAY) == []
    assert len(await report(ledger, NOON + 36 * DAY, NOON)) == 1


async def test_a_long_report(ledger: Ledger, feed: Feed) -> None:
    """More lines than a database takes values in one question."""
    async with ledger.write() as connection:
        ids = [f"N{number:04}" for number in range(1_200)]
        common = {"kind": "hold_ready", "patron_id": "P1", "created_at": NOON}
        await connection.execute(sa.insert(notices), [common | {"notice_id": name} for name in ids])
        row = common | {
            "address": "",
            "address_key": "",
            "domain": "",
            "state": "withheld",
            "finding": "waiting",
        }
        await connection.execute(
            sa.insert(deliveries), [row | {"notice_id": name, "prompt": False} for name in ids]
        )
    assert [line.notice_id for line in await report(ledger)] == ids[::-1]
