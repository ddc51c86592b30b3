"""Contact by mail, phone, letter or not at all; children and guardians; provisional addresses; second entries."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.errors import BadInput
from holds_core.feeds.wire import parse
from holds_core.ledger import desk, desk_actions, desk_patrons, registrations
from holds_core.ledger.desk_actions import Ask
from holds_core.ledger.desk_deeds import Action
from holds_core.ledger.models import deliveries, holds
from holds_core.ledger.outbox import Cause
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import open_case, rows


def last_day(branch: str, told_on: date, ready_on: date) -> date:
    return told_on + timedelta(days=7)


@pytest.fixture
def feed(ledger: Ledger) -> Feed:
    return Feed(ledger, last_day=last_day)


async def mails(ledger: Ledger) -> list[tuple[str, str, str]]:
    """(kind, address, state) of each delivery that was not taken back."""
    found = await rows(ledger, deliveries, deliveries.c.state != "cancelled")
    return [(row.kind, row.address, row.state) for row in found]


async def hold(ledger: Ledger, hold_id: str) -> Any:
    [row] = await rows(ledger, holds, holds.c.hold_id == hold_id)
    return row


@pytest.mark.parametrize("whose", ["patron", "hold"])
async def test_none_is_never_called_but_can_be_looked_up(ledger: Ledger, feed: Feed, whose: str) -> None:
    contact = {"contact": "none"}
    await feed.ok("patron", patron_id="P", email="a@example.jp", **(contact if whose == "patron" else {}))
    await feed.ok("hold.shelved", hold_id="H", patron_id="P", **(contact if whose == "hold" else {}))
    assert await mails(ledger) == []
    assert await open_case(ledger, "P") is None
    row = await hold(ledger, "H")
    assert (row.deadline, row.deadline_source) == (date(2026, 12, 1), "shelf")
    async with ledger.read() as connection:
        page = await desk_patrons.page(connection, "P")
        assert await desk.open_cases(connection, NOON.date()) == []
    assert [item.hold_id for item in page.holds] == ["H"]


async def test_a_holds_own_way_of_contact_wins(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P", email="a@example.jp", contact="none")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P", contact="email")
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P", contact="phone")
    assert await mails(ledger) == [
        ("hold_ready", "a@example.jp", "pending"),
        ("hold_ready", "", "withheld"),
    ]
    assert await open_case(ledger, "P") == ["contact_phone"]


@pytest.mark.parametrize(("contact", "action"), [("phone", Action.REACHED), ("post", Action.LETTER)])
async def test_who_is_phoned_or_written_to_is_listed_at_once_and_reaching_starts_the_deadline(
    ledger: Ledger, feed: Feed, contact: str, action: Action
) -> None:
    await feed.ok("patron", patron_id="P", emails=[], contact=contact, phones=["0993-00-0000"])
    await feed.ok("hold.shelved", hold_id="H", patron_id="P")
    assert await open_case(ledger, "P") == [f"contact_{contact}"]
    assert (await hold(ledger, "H")).deadline is None
    now = NOON + timedelta(days=3)
    async with ledger.write() as connection:
        seen = (await desk.versions(connection, ["P"]))["P"]
        action_id = await desk_actions.act(
            connection,
            Ask(action, "P", "kato", seen),
            Cause("", now, now),
            today=now.date(),
            last_day=last_day,
        )
    row = await hold(ledger, "H")
    assert (row.deadline, row.deadline_source) == (now.date() + timedelta(days=7), "reached")
    async with ledger.write() as connection:
        await desk_actions.undo(connection, action_id, "kato", Cause("", now, now))
    row = await hold(ledger, "H")
    assert (row.deadline, row.deadline_source) == (None, None)


async def test_another_way_of_contact_takes_over_what_has_not_left(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P", email="a@example.jp", contact="phone")
    await feed.ok("hold.shelved", hold_id="H", patron_id="P")
    assert await open_case(ledger, "P") == ["contact_phone"]
    await feed.ok("patron", patron_id="P", contact="email")
    assert await mails(ledger) == [("hold_ready", "a@example.jp", "pending")]
    assert await open_case(ledger, "P") is None
    await feed.ok("patron", patron_id="P", contact="none")
    assert await mails(ledger) == []
    assert (await hold(ledger, "H")).deadline_source == "shelf"
    await feed.ok("patron", patron_id="P", contact="phone")
    assert await open_case(ledger, "P") == ["contact_phone"]


async def test_what_left_already_is_not_said_again_another_way(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H", patron_id="P")
    async with ledger.write() as connection:
        await connection.execute(sa.update(deliveries).values(state="handed_over"))
    await feed.ok("patron", patron_id="P", contact="phone")
    assert await mails(ledger) == [("hold_ready", "a@example.jp", "handed_over")]


async def test_a_bounce_is_no_call_for_who_wants_none(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H", patron_id="P")
    async with ledger.write() as connection:
        await connection.execute(sa.update(deliveries).values(state="refused"))
    await feed.ok("patron", patron_id="P", phones=["0993-00-0000"])
    assert await open_case(ledger, "P") == ["bounced"]
    await feed.ok("patron", patron_id="P", contact="none")
    assert await open_case(ledger, "P") is None


async def test_whose_record_names_no_way_gets_the_librarys_own(ledger: Ledger) -> None:
    feed = Feed(ledger, default_contact="phone")
    await feed.ok("patron", patron_id="P", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H", patron_id="P")
    assert await open_case(ledger, "P") == ["contact_phone"]


# -- several addresses, shared ones, children -----------------------------------------------------


async def test_several_addresses_all_receive_and_families_share_one(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", emails=["a@example.jp", "home@example.jp"])
    await feed.ok("patron", patron_id="P2", email="home@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1")
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P2")
    assert sorted(address for _, address, _ in await mails(ledger)) == [
        "a@example.jp",
        "home@example.jp",
        "home@example.jp",
    ]


async def test_a_childs_mail_and_calls_go_to_the_guardian(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="MOTHER", email="mother@example.jp", phones=["0993-00-0000"])
    await feed.ok("patron", patron_id="CHILD", emails=[], guardian_id="MOTHER")
    await feed.ok("hold.shelved", hold_id="H", patron_id="CHILD")
    assert await mails(ledger) == [("hold_ready", "mother@example.jp", "pending")]
    async with ledger.read() as connection:
        assert (await desk.phones(connection, "CHILD")).numbers == ("0993-00-0000",)
    # the guardian's new address is the child's as well
    await feed.ok("patron.email_changed", patron_id="MOTHER", email="new@example.jp")
    ready = [item for item in await mails(ledger) if item[0] == "hold_ready"]
    assert ready == [("hold_ready", "new@example.jp", "pending")]
    # an address of their own wins, and the guardian's is no former one of theirs
    await feed.ok("patron.email_changed", patron_id="CHILD", email="child@example.jp")
    assert [item[:2] for item in await mails(ledger)][-2:] == [
        ("registration_changed", "child@example.jp"),
        ("hold_ready", "child@example.jp"),
    ]
    assert "registration_changed_old" not in [item[0] for item in await mails(ledger)]


# -- the registration -----------------------------------------------------------------------------


async def test_who_has_not_replaced_a_provisional_address(ledger: Ledger, feed: Feed) -> None:
    for number in range(3):
        await feed.ok("patron", patron_id=f"P{number}", email=f"kari{number}@example.jp", provisional=True)
    feed.now += timedelta(hours=1)
    await feed.ok("patron.seen", patron_id="P2", via="opac")
    await feed.ok("patron", patron_id="P0", email="own@example.jp")
    async with ledger.read() as connection:
        found = await registrations.provisional(connection)
    assert [(item.patron_id, item.used_at) for item in found] == [("P2", feed.now), ("P1", None)]
    # the new address is told, the provisional one is nobody's former address
    assert await mails(ledger) == [("registration_changed", "own@example.jp", "pending")]
    await feed.ok("hold.shelved", hold_id="H", patron_id="P1")
    assert (await mails(ledger))[-1] == ("hold_ready", "", "withheld")


def changed(**fields: object) -> dict[str, object]:
    return {
        "id": "e1",
        "at": "2026-11-22T09:10:00+09:00",
        "type": "patron.email_changed",
        "patron_id": "P",
        "email": "taro@example.jp",
    } | fields


def test_a_second_entry_that_differs_is_refused() -> None:
    assert parse(changed(email_again="Taro@example.jp"))
    with pytest.raises(BadInput, match="second entry"):
        parse(changed(email_again="tarou@example.jp"))


@pytest.mark.parametrize(
    "field",
    ["password", "new_password", "Password", "passwd", "pwd", "pin", "パスワード", "user_password_hash"],
)
@pytest.mark.parametrize("deep", [False, True])
def test_no_password_is_accepted_nor_repeated(field: str, deep: bool) -> None:
    secret = {field: "himitsu-1234"}
    with pytest.raises(BadInput, match="must not be sent") as caught:
        parse(changed(**({"name": [secret]} if deep else secret)))
    assert "himitsu" not in str(caught.value)
