"""Policy into the outbox: what each event owes, to whom, and when it may leave."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.errors import IllegalTransition
from holds_core.evidence import Sign
from holds_core.ledger import observations, outbox, slots
from holds_core.ledger.models import cases, deliveries, holds, notice_holds, notices
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.notices import TRANSMISSION, Kind, Transmission
from tests.core.ledger.conftest import NOON, Feed


async def mail(ledger: Ledger, **where: object) -> list[Any]:
    """Deliveries in order of creation, with what the test wants to know of them."""
    async with ledger.read() as connection:
        query = sa.select(deliveries, notices.c.branch).join(notices)
        for name, value in where.items():
            query = query.where(deliveries.c[name] == value)
        return list((await connection.execute(query.order_by(deliveries.c.delivery_id))).all())


async def kinds(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [(row.kind, row.address, row.state) for row in await mail(ledger)]


async def state_of(ledger: Ledger, hold_id: str) -> str:
    async with ledger.read() as connection:
        return str(await connection.scalar(sa.select(holds.c.state).where(holds.c.hold_id == hold_id)))


async def open_case(ledger: Ledger, patron_id: str) -> list[str] | None:
    async with ledger.read() as connection:
        found = await connection.scalar(
            sa.select(cases.c.reasons).where(cases.c.patron_id == patron_id, cases.c.state == "open")
        )
        return None if found is None else list(found)


async def hand_over(ledger: Ledger, delivery_id: int) -> None:
    async with ledger.write() as connection:
        await outbox.step(connection, delivery_id, Transmission.SENDING, tries=1)
        await outbox.step(connection, delivery_id, Transmission.HANDED_OVER, handed_over_at=NOON)


async def bounce(ledger: Ledger, delivery_id: int, *, severity: str = "hard") -> None:
    item = Observation(
        NOON,
        Sign.BOUNCED,
        "lmtp",
        f"b{delivery_id}",
        delivery_id,
        "",
        None,
        "userunknown",
        "patron",
        severity,
    )
    async with ledger.write() as connection:
        assert await observations.observe(connection, item, NOON)


async def test_a_first_patron_event_is_a_baseline_and_owes_nothing(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp", contact="email")
    assert await mail(ledger) == []


async def test_a_changed_address_is_told_at_once_and_the_proven_former_one_too(
    ledger: Ledger, feed: Feed
) -> None:
    await feed.ok("patron", patron_id="P1", email="old@example.jp", contact="email", name="図書 花子")
    async with ledger.write() as connection:
        works = Observation(NOON, Sign.STAFF_WORKS, "staff", "w", None, "old@example.jp", "P1")
        await observations.observe(connection, works, NOON)
    await feed.ok("patron", patron_id="P1", email="new@example.jp")
    assert await kinds(ledger) == [
        ("registration_changed", "new@example.jp", "pending"),
        ("registration_changed_old", "old@example.jp", "pending"),
    ]
    assert [row.next_at for row in await mail(ledger)] == [NOON, NOON]


@pytest.mark.parametrize("sign", [None, Sign.BOUNCED, Sign.STAFF_MISTYPED, Sign.NOT_ME])
async def test_a_former_address_that_may_be_a_strangers_is_not_told(
    ledger: Ledger, feed: Feed, sign: Sign | None
) -> None:
    await feed.ok("patron", patron_id="P1", email="old@example.jp")
    async with ledger.write() as connection:
        for number, item in enumerate(filter(None, [sign and Sign.STAFF_WORKS, sign])):
            seen = Observation(
                NOON + timedelta(seconds=number),
                item,
                "staff",
                f"s{number}",
                None,
                "old@example.jp",
                "P1",
                "userunknown",
                "patron",
                "hard",
            )
            await observations.observe(connection, seen, NOON)
    await feed.ok("patron.email_changed", patron_id="P1", email="new@example.jp")
    assert [kind for kind, *_ in await kinds(ledger)] == ["registration_changed"]


async def test_a_provisional_address_gets_no_mail_and_never_counts_as_former(
    ledger: Ledger, feed: Feed
) -> None:
    await feed.ok("patron", patron_id="P1", email="kari@example.jp", provisional=True)
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    assert await kinds(ledger) == [("hold_ready", "", "withheld")]
    assert await open_case(ledger, "P1") == ["provisional"]
    await feed.ok("patron.email_changed", patron_id="P1", email="new@example.jp")
    assert await kinds(ledger) == [
        ("hold_ready", "", "cancelled"),
        ("registration_changed", "new@example.jp", "pending"),
        ("hold_ready", "new@example.jp", "pending"),
    ]
    assert await open_case(ledger, "P1") is None


async def test_a_password_change_is_told_to_the_address_in_force(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("patron.password_changed", patron_id="P1")
    assert await kinds(ledger) == [("registration_changed", "a@example.jp", "pending")]


async def test_ready_holds_of_a_patron_at_a_branch_share_one_mail(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    for hold_id, branch in [("H1", "main"), ("H2", "main"), ("H3", "north")]:
        await feed.ok("hold.shelved", hold_id=hold_id, patron_id="P1", title="本", branch=branch)
    rows = await mail(ledger)
    assert [(row.kind, row.branch, row.next_at) for row in rows] == [
        ("hold_ready", "main", None),
        ("hold_ready", "north", None),
    ]
    async with ledger.read() as connection:
        pairs = await connection.execute(sa.select(notice_holds.c.hold_id).order_by(notice_holds.c.hold_id))
        assert [row.hold_id for row in pairs] == ["H1", "H2", "H3"]


async def test_a_batch_releases_what_waits_and_runs_once(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    async with ledger.write() as connection:
        assert await slots.run(connection, "2026-11-24 朝", NOON, NOON) == 1
    async with ledger.write() as connection:
        assert await slots.run(connection, "2026-11-24 朝", NOON, NOON) is None
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="本")
    assert [row.slot for row in await mail(ledger)] == ["2026-11-24 朝", None]


async def test_a_hold_that_left_the_shelf_is_not_announced(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="本")
    await feed.ok("hold.collected", hold_id="H1")
    assert [row.state for row in await mail(ledger)] == ["pending"]
    await feed.ok("hold.cancelled", hold_id="H2", by="patron")
    assert [row.state for row in await mail(ledger, kind="hold_ready")] == ["cancelled"]


@pytest.mark.parametrize(
    ("contact", "state", "reasons"),
    [("phone", "withheld", ["contact_phone"]), ("post", "withheld", ["contact_post"]), ("none", None, None)],
)
async def test_patrons_who_want_no_mail(
    ledger: Ledger, feed: Feed, contact: str, state: str | None, reasons: list[str] | None
) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp", contact=contact)
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title="本")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    assert [row.state for row in await mail(ledger)] == ([state] if state else [])
    assert await open_case(ledger, "P1") == reasons


async def test_an_unreachable_patron_goes_to_the_call_list_and_a_new_address_brings_them_back(
    ledger: Ledger, feed: Feed
) -> None:
    await feed.ok("patron", patron_id="P1", email="dead@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    [first] = await mail(ledger)
    await hand_over(ledger, first.delivery_id)
    await bounce(ledger, first.delivery_id)
    assert await open_case(ledger, "P1") == ["bounced"]
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="本")
    assert await kinds(ledger) == [
        ("hold_ready", "dead@example.jp", "handed_over"),
        ("hold_ready", "", "withheld"),
    ]
    await feed.ok("patron.email_changed", patron_id="P1", email="new@example.jp")
    rows = await mail(ledger, address="new@example.jp")
    assert [row.kind for row in rows] == ["registration_changed", "hold_ready"]
    async with ledger.read() as connection:
        listed = await connection.scalars(
            sa.select(notice_holds.c.hold_id)
            .where(notice_holds.c.notice_id == rows[1].notice_id)
            .order_by(notice_holds.c.hold_id)
        )
        assert list(listed) == ["H1", "H2"]
    assert await open_case(ledger, "P1") is None


async def test_one_bad_address_of_two_is_not_unreachable(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", emails=["good@example.jp", "dead@example.jp"])
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    _, second = await mail(ledger)
    await hand_over(ledger, second.delivery_id)
    await bounce(ledger, second.delivery_id)
    assert await open_case(ledger, "P1") is None
    await feed.ok("hold.shelved", hold_id="H2", patron_id="P1", title="本", branch="north")
    assert [row.address for row in await mail(ledger, state="pending")] == ["good@example.jp"] * 2


async def test_an_address_that_cannot_exist_is_kept_but_gets_no_mail(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="taro＠example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    assert await kinds(ledger) == [("hold_ready", "", "withheld")]
    assert await open_case(ledger, "P1") == ["unreachable", "address_impossible"]


async def test_a_hold_may_come_before_its_patron(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P9", title="本")
    assert await open_case(ledger, "P9") == ["patron_unknown"]
    await feed.ok("patron", patron_id="P9", email="a@example.jp")
    assert await kinds(ledger) == [
        ("hold_ready", "", "cancelled"),
        ("hold_ready", "a@example.jp", "pending"),
    ]
    assert await open_case(ledger, "P9") is None


async def test_prompt_notices_in_quiet_hours_wait_for_the_morning(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    feed.now = NOON + timedelta(hours=14)  # 02:00 in Tokyo
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title="本")
    [row] = await mail(ledger)
    assert row.next_at == NOON + timedelta(hours=20)  # 08:00


async def test_old_events_change_the_state_and_owe_no_prompt_notice(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    old = (NOON - timedelta(days=2)).isoformat()
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title="本", at=old)
    assert await state_of(ledger, "H1") == "placed"
    assert await mail(ledger) == []


async def test_too_many_prompt_notices_wait_for_a_person(ledger: Ledger) -> None:
    feed = Feed(ledger, max_prompt=0)
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    report = await feed("hold.placed", hold_id="H1", patron_id="P1", title="本")
    assert report.held == 1
    assert [(row.slot, row.next_at) for row in await mail(ledger)] == [("held", None)]
    async with ledger.write() as connection:
        assert await outbox.release_held(connection, NOON) == 1
    assert [row.next_at for row in await mail(ledger)] == [NOON]


async def test_cancellation_of_a_shelved_hold_is_refused(ledger: Ledger) -> None:
    feed = Feed(ledger, binding=True)
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    await feed.ok("hold.cancel_requested", hold_id="H1", patron_id="P1")
    assert await state_of(ledger, "H1") == "ready"
    assert [kind for kind, *_ in await kinds(ledger)] == ["hold_ready", "cancel_refused"]


async def test_only_legal_steps_change_a_delivery(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title="本")
    [row] = await mail(ledger)
    for source, wanted in itertools.product(Transmission, Transmission):
        async with ledger.write() as connection:
            await connection.execute(sa.update(deliveries).values(state=source))
        if TRANSMISSION.allows(source, wanted):
            async with ledger.write() as connection:
                await outbox.step(connection, row.delivery_id, wanted)
            assert [item.state for item in await mail(ledger)] == [wanted]
        else:
            with pytest.raises(IllegalTransition):
                async with ledger.write() as connection:
                    await outbox.step(connection, row.delivery_id, wanted)
            assert [item.state for item in await mail(ledger)] == [source]


async def test_no_hold_mail_is_of_a_prompt_kind(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    await feed.ok("hold.lapsed", hold_id="H1")
    assert [(row.kind, row.prompt) for row in await mail(ledger)] == [
        (Kind.HOLD_READY, False),
        (Kind.HOLD_LAPSED, True),
    ]


async def test_not_me_opens_a_case_until_the_address_is_another(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("patron.email_changed", patron_id="P1", email="stranger@example.jp")
    [row] = await mail(ledger, address="stranger@example.jp")
    await hand_over(ledger, row.delivery_id)
    async with ledger.write() as connection:
        denied = Observation(NOON, Sign.NOT_ME, "web", "n1", row.delivery_id)
        assert await observations.observe(connection, denied, NOON)
    assert await open_case(ledger, "P1") == ["not_me"]
    await feed.ok("patron.email_changed", patron_id="P1", email="mine@example.jp")
    assert await open_case(ledger, "P1") is None


async def test_a_reply_opens_a_case_that_staff_close(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title="本")
    [row] = await mail(ledger)
    await hand_over(ledger, row.delivery_id)
    async with ledger.write() as connection:
        reply = Observation(NOON, Sign.REPLIED, "lmtp", "r1", row.delivery_id, text="ありがとう")
        assert await observations.observe(connection, reply, NOON)
    assert await open_case(ledger, "P1") == ["replied"]
    async with ledger.write() as connection:
        await connection.execute(cases.update().values(state="closed", closed_at=NOON, closed_why="staff"))
    await feed.ok("patron", patron_id="P1", overdue=True)
    assert await open_case(ledger, "P1") is None
