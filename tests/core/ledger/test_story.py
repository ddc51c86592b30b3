"""The whole story of one thing, in order, with the reasons."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from holds_core.errors import NotFound
from holds_core.evidence import Sign
from holds_core.ledger import story
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.ledger.story import Story
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import batch, bounced, hand_over, observe, ready

LATER = NOON + timedelta(hours=1)


async def tell(ledger: Ledger, name: str) -> Story:
    async with ledger.read() as connection:
        return await story.tell(connection, name)


async def lived(ledger: Ledger, feed: Feed) -> str:
    """A patron whose mail bounced and who is listed for a call. Returns the notice's id."""
    await ready(feed)
    await batch(ledger, now=NOON)
    [item] = await hand_over(ledger, NOON + timedelta(minutes=1))
    late = bounced(item.delivery_id)
    await observe(
        ledger,
        Observation(
            LATER,
            late.sign,
            "lmtp",
            "b",
            item.delivery_id,
            "",
            None,
            "userunknown",
            "patron",
            "hard",
            status="5.1.1",
        ),
        LATER,
    )
    feed.now = LATER + timedelta(hours=1)
    await feed.ok("hold.collected", hold_id="H1")
    return item.notice_id


async def test_a_notice(ledger: Ledger, feed: Feed) -> None:
    notice_id = await lived(ledger, feed)
    told = await tell(ledger, notice_id)
    assert told.subject == f"notice:{notice_id}"
    assert [moment.type for moment in told.moments] == [
        "notice.owed",
        "delivery.queued",
        "attempt.started",
        "attempt.ended",
        "evidence.bounced",
        "evidence.collected",
    ]
    owed, queued, _, ended, bounce, _ = [moment.detail for moment in told.moments]
    assert (owed["kind"], owed["holds"], owed["because"]) == ("hold_ready", ["H1"], "e2")
    assert (queued["address"], queued["slot"]) == ("p1@example.jp", "朝")
    assert (ended["result"], ended["code"]) == ("handed_over", 250)
    assert (bounce["reason"], bounce["fault"], bounce["status"]) == ("userunknown", "patron", "5.1.1")


async def test_a_hold(ledger: Ledger, feed: Feed) -> None:
    await lived(ledger, feed)
    told = await tell(ledger, "H1")
    assert told.subject == "hold:H1"
    assert [moment.type for moment in told.moments] == [
        "event.hold.shelved",
        "hold.ready",
        "delivery.queued",
        "attempt.started",
        "attempt.ended",
        "evidence.bounced",
        "event.hold.collected",
        "hold.collected",
        "evidence.collected",
    ]


async def test_a_patron(ledger: Ledger, feed: Feed) -> None:
    await lived(ledger, feed)
    told = await tell(ledger, "P1")
    assert told.subject == "patron:P1"
    types = [moment.type for moment in told.moments]
    assert types[:4] == ["event.patron", "event.hold.shelved", "address.registered", "delivery.queued"]
    # also the event of the patron's hold that did not name the patron
    assert {"event.hold.collected", "case.opened", "case.closed", "evidence.bounced"} <= set(types)


async def test_an_address_and_what_staff_said_of_it(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="Taro@Example.JP")
    wrong = Observation(LATER, Sign.STAFF_MISTYPED, "staff", "w", None, "taro@example.jp", "P1")
    await observe(ledger, wrong, LATER)
    for name in ("taro@example.jp", "address:Taro@example.jp", '"taro"@EXAMPLE.jp'):
        told = await tell(ledger, name)
        assert told.subject == "address:taro@example.jp"
        assert [moment.type for moment in told.moments] == [
            "address.registered",
            "address.standing",
            "evidence.staff_mistyped",
        ]
        assert told.moments[1].detail["reasons"] == ["mistyped"]
    assert "evidence.staff_mistyped" in [moment.type for moment in (await tell(ledger, "P1")).moments]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notice:N1", "there is no notice N1"),
        ("hold:P1", "there is no hold P1"),
        ("address:no@example.jp", "there is no address no@example.jp"),
        ("X9", "there is no notice, hold, patron or address X9"),
        ("", "there is no notice, hold, patron or address "),
        ("patron:", "there is no notice, hold, patron or address patron:"),
    ],
)
async def test_what_is_not_known(ledger: Ledger, feed: Feed, name: str, text: str) -> None:
    await ready(feed)
    with pytest.raises(NotFound) as caught:
        await tell(ledger, name)
    assert str(caught.value) == text


async def test_one_id_may_name_two_things_and_a_prefix_chooses(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="17", email="a@example.jp")
    await feed.ok("hold.placed", hold_id="17", patron_id="17")
    assert (await tell(ledger, "17")).subject == "hold:17"
    assert (await tell(ledger, "patron:17")).subject == "patron:17"


async def test_it_is_json_in_order_of_time(ledger: Ledger, feed: Feed) -> None:
    await lived(ledger, feed)
    for name in ("P1", "H1", "p1@example.jp"):
        told = json.loads(json.dumps((await tell(ledger, name)).as_json()))
        assert set(told) == {"subject", "events"}
        assert all(set(moment) == {"at", "type", "detail"} for moment in told["events"])
        times = [moment["at"] for moment in told["events"]]
        assert times == sorted(times)
