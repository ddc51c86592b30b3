"""Who decides about requests: our rules, by the library's settings, or the library system with our warning."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core import events as ev
from holds_core.ledger import decisions, reception_runs, registry, story
from holds_core.ledger.models import deliveries, holds, notice_holds, notices
from holds_core.ledger.outbox import Cause
from holds_core.ledger.session import Ledger
from holds_core.limits import NOWHERE, WEB_ONLY, LimitRules, VolumeOrder
from holds_core.refusals import Limit
from tests.core.ledger.conftest import Feed

TOSU = LimitRules(
    limits=(
        Limit(2, frozenset({"book"}), "本", "books"),
        Limit(1, frozenset({"cd"}), "視聴覚資料", "audio-visual items"),
        Limit(2),
    ),
    overdue_blocks=WEB_ONLY,
    on_loan_only=WEB_ONLY,
    email_required=WEB_ONLY,
    card_pattern="000[0-9]{6}",
    desk_order=VolumeOrder.IN_ORDER,
)
P = "000123456"


@pytest.fixture
def tosu(ledger: Ledger) -> Feed:
    return Feed(ledger, binding=True, limits=TOSU)


@pytest.fixture
def warned(ledger: Ledger) -> Feed:
    return Feed(ledger, limits=TOSU)


async def states(ledger: Ledger) -> dict[str, str]:
    async with ledger.read() as connection:
        rows = await connection.execute(sa.select(holds.c.hold_id, holds.c.state).order_by(holds.c.hold_id))
        return {row.hold_id: row.state for row in rows}


async def told(ledger: Ledger) -> list[tuple[str, str, str]]:
    """(kind, hold, reason) of every notice, in the order in which they were owed."""
    async with ledger.read() as connection:
        rows = await connection.execute(
            sa.select(notices.c.kind, notice_holds.c.hold_id, notices.c.reason)
            .join(notice_holds, notice_holds.c.notice_id == notices.c.notice_id)
            .join(deliveries, deliveries.c.notice_id == notices.c.notice_id)
            .order_by(deliveries.c.delivery_id)
        )
        return [tuple(row) for row in rows]


async def decided(ledger: Ledger) -> list[tuple[str, str, str]]:
    async with ledger.read() as connection:
        rows = await decisions.after(connection, 0, 1000)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    return [(row["decision"], row["hold_id"], row["reason"]) for row in rows]


async def asks(feed: Feed, hold_id: str, **more: Any) -> Any:
    """A request of the patron on the web for a book on loan, unless `more` says otherwise."""
    said = {"patron_id": P, "material": "book", "via": "web", "availability": "on_loan"} | more
    return await feed("hold.requested", hold_id=hold_id, **said)


async def test_under_immediate_reception_a_request_is_placed_at_once(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, email="a@example.jp")
    report = await asks(tosu, "H1")
    assert await states(ledger) == {"H1": "placed"}
    assert await told(ledger) == [("hold_placed", "H1", "")]
    assert await decided(ledger) == [("placed", "H1", "")]
    [[verdict]] = report.verdicts.values()
    assert verdict.as_json() == {"decision": "placed"}


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("overdue on the web", {"overdue": True}, {}, "overdue"),
    ("not on loan", {}, {"availability": "在庫"}, "not_on_loan"),
    ("newest issue", {}, {"availability": "雑誌最新刊"}, "newest_issue"),
    ("newest issue at the desk", {}, {"availability": "newest_issue", "via": "desk"}, "newest_issue"),
    ("in the library only", {}, {"availability": "館内閲覧のみ"}, "in_library"),
    ("no address", {"emails": []}, {}, "email_required"),
    ("a provisional address", {"provisional": True}, {}, "email_required"),
]


@pytest.mark.parametrize(
    ("patron", "request_", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
async def test_what_is_refused_has_a_code_and_a_sentence(
    ledger: Ledger, tosu: Feed, patron: dict[str, Any], request_: dict[str, Any], code: str
) -> None:
    await tosu.ok("patron", **{"patron_id": P, "emails": ["a@example.jp"]} | patron)
    report = await asks(tosu, "H1", **request_)
    assert await states(ledger) == {"H1": "refused"}
    assert await decided(ledger) == [("refused", "H1", code)]
    [[verdict]] = report.verdicts.values()
    said = verdict.as_json()
    assert said["reason"] == code
    assert all(said[name] for name in ("rule", "rule_ja", "sentence", "sentence_ja"))
    # who has no address that may be used cannot be told by mail
    expected = [] if code == "email_required" else [("hold_refused", "H1", code)]
    assert await told(ledger) == expected


@pytest.mark.parametrize(
    "request_",
    [
        {"via": "desk", "availability": "在庫"},
        {"via": "desk"},
    ],
)
async def test_web_rules_do_not_bind_the_desk(ledger: Ledger, tosu: Feed, request_: dict[str, Any]) -> None:
    await tosu.ok("patron", patron_id=P, emails=[], overdue=True)
    await asks(tosu, "H1", **request_)
    assert await states(ledger) == {"H1": "placed"}


async def test_a_card_number_of_another_form(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id="123", email="a@example.jp")
    await asks(tosu, "H1", patron_id="123")
    assert await decided(ledger) == [("refused", "H1", "card_number")]


async def test_limits_count_what_the_desk_placed(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, email="a@example.jp")
    await asks(tosu, "H1", via="desk")
    await asks(tosu, "H2", material="cd")
    report = await asks(tosu, "H3", material="cd")
    assert await states(ledger) == {"H1": "placed", "H2": "placed", "H3": "refused"}
    [[verdict]] = report.verdicts.values()
    assert "視聴覚資料1点まで" in verdict.sentence("ja")
    assert "1 audio-visual items" in verdict.sentence("en")
    # one that ended makes room
    await tosu.ok("hold.cancelled", hold_id="H1", by="library", reason="missing")
    await asks(tosu, "H4")
    assert (await states(ledger))["H4"] == "placed"


async def test_a_request_may_come_before_its_patron(ledger: Ledger, tosu: Feed) -> None:
    report = await asks(tosu, "H1")
    assert (report.applied, report.verdicts) == (1, {})
    assert await states(ledger) == {"H1": "requested"}


async def test_cancelling_at_once(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, email="a@example.jp")
    await asks(tosu, "H1")
    await tosu.ok("hold.cancel_requested", hold_id="H1", via="web")
    assert await states(ledger) == {"H1": "cancelled"}
    assert await told(ledger) == [("hold_placed", "H1", ""), ("cancel_done", "H1", "")]
    assert await decided(ledger) == [("placed", "H1", ""), ("cancelled", "H1", "")]


async def test_cancelling_what_is_on_the_shelf_and_cancelling_twice(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, email="a@example.jp")
    await tosu.ok("hold.shelved", hold_id="H1", patron_id=P)
    await tosu.ok("hold.cancel_requested", hold_id="H1")
    assert await states(ledger) == {"H1": "ready"}
    assert await told(ledger) == [("hold_ready", "H1", ""), ("cancel_refused", "H1", "already_shelved")]
    # the branch itself may
    await tosu.ok("hold.cancel_requested", hold_id="H1", via="desk")
    assert await states(ledger) == {"H1": "cancelled"}
    await tosu.ok("hold.cancel_requested", hold_id="H1")
    assert [item[0::2] for item in await decided(ledger)] == [
        ("cancel_refused", "already_shelved"),
        ("cancelled", ""),
        ("cancel_refused", "already_ended"),
    ]
    assert len(await told(ledger)) == 3, "nobody is told twice that a hold is over"


async def test_a_cancellation_on_the_web_needs_an_address_too(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, emails=[])
    await asks(tosu, "H1", via="desk")
    await tosu.ok("hold.cancel_requested", hold_id="H1")
    assert await states(ledger) == {"H1": "placed"}
    assert (await decided(ledger))[-1] == ("cancel_refused", "H1", "email_required")
    await tosu.ok("hold.cancel_requested", hold_id="H1", via="desk")
    assert await states(ledger) == {"H1": "cancelled"}


async def test_the_library_cancels_a_placed_hold(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, email="a@example.jp")
    for number, reason in enumerate(("missing", "soiled", "damaged")):
        await tosu.ok("hold.placed", hold_id=f"H{number}", patron_id=P)
        await tosu.ok("hold.cancelled", hold_id=f"H{number}", reason=reason)
    assert set((await states(ledger)).values()) == {"cancelled"}
    library = [item[2] for item in await told(ledger) if item[0] == "hold_cancelled_by_library"]
    assert library == ["missing", "soiled", "damaged"]


# -- authority: ils -------------------------------------------------------------------------------


async def test_under_ils_the_rules_warn_and_the_feed_decides(ledger: Ledger, warned: Feed) -> None:
    await warned.ok("patron", patron_id=P, email="a@example.jp", overdue=True)
    report = await asks(warned, "H1")
    assert await states(ledger) == {"H1": "requested"}
    assert await told(ledger) == []
    assert await decided(ledger) == [("warned", "H1", "overdue")]
    [found] = report.objections
    assert (found.outcome, found.line) == ("warning", 1)
    assert "延滞資料あり / overdue items" in str(found)
    await warned.ok("hold.placed", hold_id="H1")
    assert await states(ledger) == {"H1": "placed"}
    assert await told(ledger) == [("hold_placed", "H1", "")]
    async with ledger.read() as connection:
        moments = (await story.tell(connection, "hold:H1")).moments
    [warning] = [moment for moment in moments if moment.type == "decision.warned"][:1]
    assert (warning.detail["rule_ja"], warning.detail["binding"]) == ("延滞資料あり", False)
    assert any("overdue" in moment.detail.get("note", "") for moment in moments)


async def test_under_ils_a_cancellation_of_a_shelved_hold_is_the_library_systems_affair(
    ledger: Ledger, warned: Feed
) -> None:
    await warned.ok("patron", patron_id=P, email="a@example.jp")
    await warned.ok("hold.shelved", hold_id="H1", patron_id=P)
    report = await warned("hold.cancel_requested", hold_id="H1")
    assert [verdict.as_json()["reason"] for [verdict] in report.verdicts.values()] == ["already_shelved"]
    assert await states(ledger) == {"H1": "ready"}
    assert await told(ledger) == [("hold_ready", "H1", "")]
    await warned.ok("hold.cancelled", hold_id="H1", by="patron")
    assert await states(ledger) == {"H1": "cancelled"}


async def test_a_feed_that_places_beyond_the_limit_is_warned_of(ledger: Ledger, warned: Feed) -> None:
    await warned.ok("patron", patron_id=P, email="a@example.jp")
    for number in range(3):
        await warned.ok("hold.placed", hold_id=f"H{number}", patron_id=P, material="book", via="desk")
    assert await decided(ledger) == [("warned", "H2", "limit"), ("warned", "H2", "limit")]


async def test_a_shelving_that_overtook_a_cancellation(ledger: Ledger) -> None:
    feed = Feed(ledger, limits=LimitRules(on_loan_only=NOWHERE))
    await feed.ok("patron", patron_id=P, email="a@example.jp")
    await feed.ok("hold.placed", hold_id="H1", patron_id=P)
    await feed.ok("hold.cancel_requested", hold_id="H1")
    assert await states(ledger) == {"H1": "cancel_requested"}
    await feed.ok("hold.shelved", hold_id="H1", patron_id=P)
    assert await states(ledger) == {"H1": "ready"}
    assert await told(ledger) == [
        ("hold_placed", "H1", ""),
        ("hold_ready", "H1", ""),
        ("cancel_refused", "H1", "already_shelved"),
    ]


# -- volumes of a set -----------------------------------------------------------------------------


async def shelve_set(feed: Feed, via: str) -> None:
    await feed.ok("patron", patron_id=P, email="a@example.jp")
    for number in (1, 2):
        await asks(feed, f"V{number}", via=via, set_id="S", volume=number)
    await feed.ok("hold.shelved", hold_id="V2", patron_id=P)


async def test_volumes_asked_for_on_the_web_come_in_any_order(ledger: Ledger, tosu: Feed) -> None:
    await shelve_set(tosu, "web")
    assert ("hold_ready", "V2", "") in await told(ledger)


async def test_volumes_asked_for_at_the_desk_come_in_order(ledger: Ledger, tosu: Feed) -> None:
    await shelve_set(tosu, "desk")
    assert "hold_ready" not in [item[0] for item in await told(ledger)]
    await tosu.ok("hold.shelved", hold_id="V1", patron_id=P)
    ready = [item[1] for item in await told(ledger) if item[0] == "hold_ready"]
    assert ready == ["V1", "V2"]


# -- a hold that a bad snapshot lost --------------------------------------------------------------


@pytest.mark.parametrize("sent", [True, False])
async def test_a_hold_that_is_listed_again_lives(ledger: Ledger, feed: Feed, sent: bool) -> None:
    await feed.ok("patron", patron_id=P, email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id=P, deadline="2026-12-01")
    if sent:
        async with ledger.write() as connection:
            await connection.execute(sa.update(deliveries).values(state="handed_over"))
    for type_ in ("hold.ended", "hold.shelved"):
        feed.now += timedelta(hours=1)
        event = ev.HoldEvent(type=type_, id=f"snapshot:{type_}", at=feed.now, hold_id="H1", patron_id=P)
        async with ledger.write() as connection:
            applied = await registry.apply(connection, event, "nightly", feed.now, feed.rules)
        assert applied.outcome == "applied"
    assert await states(ledger) == {"H1": "ready"}
    async with ledger.read() as connection:
        row = (await connection.execute(sa.select(holds))).one()
        told_of = [moment.detail.get("note") for moment in (await story.tell(connection, "hold:H1")).moments]
    assert row.deadline.isoformat() == "2026-12-01"
    assert "listed again after it had ended without a reason" in told_of
    # what left is not said again; what had not left is
    assert len(await told(ledger)) == (1 if sent else 2)


# -- the run, on both databases -------------------------------------------------------------------


async def test_a_run_takes_what_waits_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_runs, "AT_ONCE", 2)
    feed = Feed(ledger, binding=True, waits=True, limits=LimitRules(limits=(Limit(2),)))
    await feed.ok("patron", patron_id=P, email="a@example.jp")
    for number in range(3):
        await asks(feed, f"H{number}")
    await feed.ok("hold.cancel_requested", hold_id="H0", via="web")
    assert (await states(ledger))["H0"] == "withdrawn"
    day, now = feed.now.date(), feed.now + timedelta(hours=20)
    async with ledger.write() as connection:
        run = await reception_runs.begin(connection, "main", day, now, now, "test")
    assert run is not None
    place, parts = None, 0
    while True:
        cause = Cause(run.id, now, now)
        async with ledger.write() as connection:
            part = await reception_runs.take(connection, run, cause, feed.rules, place)
        if part.reached is None:
            break
        place, parts = part.reached, parts + 1
    async with ledger.write() as connection:
        await reception_runs.finish(connection, run, now)
        assert await reception_runs.begin(connection, "main", day, now, now, "test") is None
        run = await reception_runs.known(connection, run)
        assert await reception_runs.branches(connection) == set()
    assert (parts, run.placed, run.cancelled, run.refused) == (2, 2, 1, 0)
    assert await states(ledger) == {"H0": "cancelled", "H1": "placed", "H2": "placed"}


async def test_deadlines_that_were_given_here_become_decisions_once(ledger: Ledger, tosu: Feed) -> None:
    await tosu.ok("patron", patron_id=P, email="a@example.jp")
    await tosu.ok("hold.shelved", hold_id="H1", patron_id=P)
    for day in (1, 1, 8):
        async with ledger.write() as connection:
            deadline = tosu.now.date() + timedelta(days=day)
            await connection.execute(sa.update(holds).values(deadline=deadline, deadline_source="mail"))
            await decisions.note_deadlines(connection, tosu.now)
    assert await decided(ledger) == [("deadline", "H1", "")] * 2
