"""The hold shelf from day to day: reminders, clocks that stand still, lapsed holds, closings, extensions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from holds_core.calendar import DateRange
from holds_core.config import parse
from holds_core.errors import BadInput, Conflict, NotFound
from holds_core.holiday_list import read_official
from holds_core.ledger import closures, shelf
from holds_core.ledger.models import case_actions, cases, deliveries, events, holds, notice_holds, notices
from holds_core.ledger.outbox import Cause
from holds_core.ledger.session import Ledger
from holds_core.ledger.shelf import Round
from holds_core.notices import Kind, Result
from holds_core.rulebook import Closing, Rulebook
from tests.core.ledger.conftest import Feed
from tests.core.ledger.helpers import (
    batch,
    bounced,
    claim,
    finish,
    hand_over,
    observe,
    ready,
    record,
    rows,
    start,
)

TOKYO = ZoneInfo("Asia/Tokyo")
CONFIG = """
library:
  name: L
  timezone: Asia/Tokyo
  authority: AUTHORITY
  branches:
    - {id: main, name: 本館, closed: {weekly: [mon]}}
    - {id: east, name: 東分館, closed: {weekly: [mon]}}
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
deadline: {days: 7DEADLINE}
"""
TUESDAY = date(2026, 11, 24)
LAST = date(2026, 12, 1)  # a week after it


def book(authority: str = "todoku", deadline: str = "") -> Rulebook:
    text = CONFIG.replace("AUTHORITY", authority).replace("DEADLINE", deadline)
    return Rulebook.of(parse(text, base=Path("/"), env={}))


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=TOKYO).astimezone(UTC)


def day(number: int) -> date:
    """The day this many days after the mail's."""
    return TUESDAY + timedelta(number)


async def announced(feed: Feed, number: int = 1, *, deadline: date = LAST, sent: date = TUESDAY) -> None:
    """A hold on the shelf whose mail was handed over, with this deadline in it."""
    feed.now = at(sent)
    await ready(feed, number)
    await batch(feed.ledger, f"{sent} {number}", feed.now)
    items = await claim(feed.ledger, now=feed.now)
    await record(feed.ledger, [start(item, feed.now, deadline=deadline) for item in items])
    done = [finish(item, Result.HANDED_OVER, feed.now, deadline=deadline) for item in items]
    await record(feed.ledger, finishes=done)


async def look(feed: Feed, rules: Rulebook, now: datetime) -> Round:
    async with feed.ledger.write() as connection:
        return await shelf.look(connection, rules, feed.rules, now)


async def hold(ledger: Ledger, number: int = 1) -> Any:
    [row] = await rows(ledger, holds, holds.c.hold_id == f"H{number}")
    return row


async def owed(ledger: Ledger, kind: Kind) -> list[Any]:
    return list(await rows(ledger, deliveries, deliveries.c.kind == kind))


# -- lapsing ---------------------------------------------------------------------------------------


async def test_a_hold_lapses_when_its_last_day_is_over_and_the_patron_is_told(feed: Feed) -> None:
    await announced(feed)
    rules = book()
    assert await look(feed, rules, at(LAST, 23)) == Round()
    midnight = at(LAST, 23) + timedelta(hours=1)
    assert await look(feed, rules, midnight) == Round(lapsed=("H1",))
    assert (await hold(feed.ledger)).state == "lapsed"
    [mail] = await owed(feed.ledger, Kind.HOLD_LAPSED)
    assert mail.prompt
    assert mail.next_at == at(day(8), 8)  # not at midnight: phones must not ring
    assert await look(feed, rules, midnight) == Round()
    [event] = await rows(feed.ledger, events, events.c.feed == shelf.FEED)
    assert (event.event_id, event.outcome) == ("lapse:H1:2026-12-01", "applied")
    async with feed.ledger.read() as connection:
        [down] = await shelf.to_take_down(connection, at(LAST))
    assert (down.hold_id, down.deadline, down.lapsed_at) == ("H1", LAST, midnight)


async def test_under_ils_the_feed_decides(feed: Feed) -> None:
    await announced(feed)
    assert await look(feed, book("ils"), at(day(30))) == Round()
    assert (await hold(feed.ledger)).state == "ready"


async def test_a_hold_that_was_never_announced_has_no_deadline_and_stays(feed: Feed) -> None:
    feed.now = at(TUESDAY)
    await ready(feed)
    assert await look(feed, book(), at(day(60))) == Round()


# -- clocks ----------------------------------------------------------------------------------------


async def bounce(feed: Feed, now: datetime, number: int = 1) -> None:
    [row] = await rows(
        feed.ledger, deliveries, deliveries.c.patron_id == f"P{number}", deliveries.c.kind == Kind.HOLD_READY
    )
    news = replace(bounced(row.delivery_id, f"b{number}"), at=now)
    await observe(feed.ledger, news, now)


async def staff_reached(feed: Feed, now: datetime, undone_at: datetime | None = None) -> None:
    async with feed.ledger.write() as connection:
        await connection.execute(
            sa.insert(case_actions).values(
                patron_id="P1", at=now, who="staff", kind="reached", before={}, after={}, undone_at=undone_at
            )
        )


async def test_the_clock_stands_still_until_staff_reach_the_patron(feed: Feed) -> None:
    await announced(feed)
    await bounce(feed, at(day(2)))
    assert await look(feed, book(), at(day(2))) == Round(stopped=1)
    assert await look(feed, book(), at(day(3))) == Round()
    assert await look(feed, book(), at(day(20))) == Round()  # long after the last day
    assert (await hold(feed.ledger)).state == "ready"
    await staff_reached(feed, at(day(20)))
    assert await look(feed, book(), at(day(20), 13)) == Round(resumed=1)
    row = await hold(feed.ledger)
    # five days were left on the day of the bounce, and five are left now
    assert (row.deadline, row.clock_stopped_at) == (LAST + timedelta(18), None)
    [case] = await rows(feed.ledger, cases, cases.c.state == "open")
    assert case.deadline == row.deadline
    assert await look(feed, book(), at(row.deadline, 20)) == Round()
    assert (await look(feed, book(), at(row.deadline + timedelta(1)))).lapsed == ("H1",)


async def test_a_call_that_was_taken_back_reached_nobody(feed: Feed) -> None:
    await announced(feed)
    await bounce(feed, at(day(2)))
    await staff_reached(feed, at(day(3)), undone_at=at(day(3)))
    assert await look(feed, book(), at(day(3))) == Round(stopped=1)


async def test_another_mail_brings_its_own_deadline(feed: Feed) -> None:
    await announced(feed)
    await bounce(feed, at(day(2)))
    await look(feed, book(), at(day(2)))
    feed.now = at(day(4))
    await feed.ok("patron.email_changed", patron_id="P1", email="new@example.jp")
    await batch(feed.ledger, "later", at(day(4), 16))
    items = await claim(feed.ledger, now=at(day(4), 16))
    await record(feed.ledger, [start(item, at(day(4), 16), deadline=day(11)) for item in items])
    done = [finish(item, Result.HANDED_OVER, at(day(4), 16), deadline=day(11)) for item in items]
    await record(feed.ledger, finishes=done)
    assert await look(feed, book(), at(day(4), 17)) == Round(resumed=1)
    assert ((await hold(feed.ledger)).deadline, (await hold(feed.ledger)).clock_stopped_at) == (day(11), None)


async def test_the_clock_may_run_on(feed: Feed) -> None:
    await announced(feed)
    await bounce(feed, at(day(2)))
    rules = book(deadline=", while_undelivered: runs_on")
    assert await look(feed, rules, at(day(2))) == Round()
    assert await look(feed, rules, at(day(8))) == Round(lapsed=("H1",))


async def test_a_bounce_after_the_patron_confirmed_stops_nothing(feed: Feed) -> None:
    await announced(feed)
    await feed.ok("patron.seen", patron_id="P1", via="opac")
    await bounce(feed, at(day(2)))
    await announced(feed, 2)
    assert await look(feed, book(), at(day(2))) == Round(stopped=1)  # H1 only: a visit is no answer
    assert (await hold(feed.ledger, 2)).clock_stopped_at is None


# -- reminders -------------------------------------------------------------------------------------


async def test_a_reminder_waits_for_the_batch_and_comes_once(feed: Feed) -> None:
    await announced(feed)
    rules = book("ils", ", remind_before: 2")
    assert await look(feed, rules, at(day(4))) == Round()
    assert await look(feed, rules, at(day(5))) == Round(reminded=1)
    assert await look(feed, rules, at(day(5), 13)) == Round()
    [mail] = await owed(feed.ledger, Kind.HOLD_EXPIRING)
    assert (mail.slot, mail.next_at, mail.prompt) == (None, None, False)
    assert await batch(feed.ledger, "reminders", at(day(5), 16)) == 1
    assert len(await hand_over(feed.ledger, at(day(5), 16))) == 1
    assert await look(feed, rules, at(day(6))) == Round()


async def test_reminders_of_one_patron_are_one_mail(feed: Feed) -> None:
    await announced(feed)
    await feed.ok("hold.shelved", hold_id="H9", patron_id="P1", title="坊っちゃん")
    await batch(feed.ledger, "second", at(TUESDAY, 16))
    items = await claim(feed.ledger, now=at(TUESDAY, 16))
    await record(feed.ledger, [start(item, at(TUESDAY, 16), deadline=LAST) for item in items])
    done = [finish(item, Result.HANDED_OVER, at(TUESDAY, 16), deadline=LAST) for item in items]
    await record(feed.ledger, finishes=done)
    assert await look(feed, book("ils", ", remind_before: 2"), at(day(5))) == Round(reminded=2)
    [mail] = await owed(feed.ledger, Kind.HOLD_EXPIRING)
    listed = await rows(feed.ledger, notice_holds, notice_holds.c.notice_id == mail.notice_id)
    assert {row.hold_id for row in listed} == {"H1", "H9"}
    assert await look(feed, book("ils", ", remind_before: 2"), at(day(5), 14)) == Round()


async def test_an_extended_hold_is_reminded_of_again(feed: Feed) -> None:
    await announced(feed)
    rules = book("ils", ", remind_before: 2")
    await look(feed, rules, at(day(5)))
    await batch(feed.ledger, "first", at(day(5), 16))
    await hand_over(feed.ledger, at(day(5), 16))
    feed.now = at(day(6))
    await feed.ok("hold.extended", hold_id="H1", deadline=day(14).isoformat())
    assert await look(feed, rules, at(day(11))) == Round()
    assert await look(feed, rules, at(day(12))) == Round(reminded=1)


@pytest.mark.parametrize("gone", ["hold.collected", "hold.lapsed"])
async def test_nobody_is_reminded_of_what_left_the_shelf(feed: Feed, gone: str) -> None:
    await announced(feed)
    rules = book("ils", ", remind_before: 2")
    await look(feed, rules, at(day(5)))
    feed.now = at(day(5), 13)
    await feed.ok(gone, hold_id="H1")
    [mail] = await owed(feed.ledger, Kind.HOLD_EXPIRING)
    assert mail.state == "cancelled"


async def test_reminders_are_off_as_shipped(feed: Feed) -> None:
    await announced(feed)
    assert await look(feed, book("ils"), at(day(6))) == Round()


async def test_who_was_told_today_or_wants_no_mail_is_not_reminded(feed: Feed) -> None:
    await announced(feed, deadline=day(1))
    assert await look(feed, book("ils", ", remind_before: 2"), at(TUESDAY, 20)) == Round()
    await feed.ok("patron", patron_id="P1", contact="phone")
    await look(feed, book("ils", ", remind_before: 2"), at(day(1)))
    assert await owed(feed.ledger, Kind.HOLD_EXPIRING) == []


# -- extensions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tell", [False, True])
async def test_an_extension_after_the_mail_moves_the_deadline_and_is_told_if_wanted(
    ledger: Ledger, tell: bool
) -> None:
    feed = Feed(ledger, tell_extended=tell)
    await announced(feed)
    feed.now = at(day(3))
    await feed.ok("hold.extended", hold_id="H1", deadline=day(10).isoformat())
    row = await hold(ledger)
    assert (row.deadline, row.deadline_source) == (day(10), "extended")
    told = await owed(ledger, Kind.DEADLINE_CHANGED)
    assert [(mail.prompt, mail.next_at) for mail in told] == ([(True, at(day(3)))] if tell else [])
    assert await look(feed, book(), at(day(10))) == Round()
    assert (await look(feed, book(), at(day(11)))).lapsed == ("H1",)


# -- unforeseen closings ---------------------------------------------------------------------------


async def closed(ledger: Ledger, branch: str, first: date, last: date) -> closures.Closure:
    async with ledger.write() as connection:
        return await closures.add(connection, branch, DateRange(first, last), "停電", "desk", at(day(1)))


async def touches(ledger: Ledger, rules: Rulebook, item: closures.Closure) -> list[closures.Touched]:
    async with ledger.read() as connection:
        return await closures.touched(connection, rules, Closing(item.branch, item.days))


async def test_a_closing_moves_the_last_days_that_fall_into_it(feed: Feed) -> None:
    await announced(feed, 1)  # 1 December
    await announced(feed, 2, deadline=LAST + timedelta(3))
    rules = book("ils")
    item = await closed(feed.ledger, "", LAST, LAST + timedelta(1))
    [touched] = await touches(feed.ledger, rules, item)
    assert (touched.hold_id, touched.deadline, touched.moves_to) == ("H1", LAST, LAST + timedelta(2))
    assert (touched.contact, touched.told) == ("email", True)
    async with feed.ledger.write() as connection:
        moved = await closures.move_deadlines(connection, item.closure_id, [touched], at(day(1)))
        assert moved == ["H1"]
        cause = Cause("closure:1", at(day(1)), at(day(1)))
        [notice_id] = await shelf.tell(connection, Kind.DEADLINE_CHANGED, ["H1"], cause, "closure:x")
    assert (await hold(feed.ledger)).deadline == LAST + timedelta(2)
    [notice] = await rows(feed.ledger, notices, notices.c.notice_id == notice_id)
    assert (notice.kind, notice.patron_id, notice.reason) == ("deadline_changed", "P1", "closure:x")
    assert await touches(feed.ledger, rules, item) == []


async def takes_back(feed: Feed, item: closures.Closure, now: datetime) -> tuple[list[str], list[str]]:
    async with feed.ledger.write() as connection:
        gone = await closures.remove(connection, item.closure_id, "desk", now)
        return await closures.move_back(connection, gone, f"closure:{item.closure_id}", now.date(), now)


async def moved_by_a_closing(feed: Feed) -> closures.Closure:
    """A closing on the last day of H1, of which its patron shall be told in the morning."""
    await announced(feed, 1)
    item = await closed(feed.ledger, "", LAST, LAST)
    found = await touches(feed.ledger, book("ils"), item)
    async with feed.ledger.write() as connection:
        await closures.move_deadlines(connection, item.closure_id, found, item.entered_at)
        cause = Cause(f"closure:{item.closure_id}", item.entered_at, item.entered_at)
        await shelf.tell(connection, Kind.DEADLINE_CHANGED, ["H1"], cause, "closure:x")
    assert (await hold(feed.ledger)).deadline == LAST + timedelta(1)
    return item


async def test_a_closing_taken_back_gives_the_last_day_back_that_nobody_was_told(feed: Feed) -> None:
    item = await moved_by_a_closing(feed)
    assert await takes_back(feed, item, at(day(1))) == (["H1"], [])
    assert (await hold(feed.ledger)).deadline == LAST
    [mail] = await rows(feed.ledger, deliveries, deliveries.c.kind == Kind.DEADLINE_CHANGED)
    assert (mail.state, mail.reason) == ("cancelled", "closing_taken_back")


async def test_a_last_day_that_a_patron_was_told_stays(feed: Feed) -> None:
    item = await moved_by_a_closing(feed)
    async with feed.ledger.write() as connection:
        await connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.kind == Kind.DEADLINE_CHANGED)
            .values(state="handed_over", handed_over_at=at(day(1)) + timedelta(hours=1))
        )
    assert await takes_back(feed, item, at(day(1)) + timedelta(hours=2)) == ([], ["H1"])
    assert (await hold(feed.ledger)).deadline == LAST + timedelta(1)


async def test_a_last_day_is_not_given_back_where_it_is_over_or_was_changed_since(feed: Feed) -> None:
    item = await moved_by_a_closing(feed)
    feed.now = at(day(1)) + timedelta(hours=1)
    assert await takes_back(feed, item, at(LAST)) == ([], ["H1"])
    assert (await hold(feed.ledger)).deadline == LAST + timedelta(1)


async def test_a_closing_taken_back_leaves_what_was_extended_or_collected(feed: Feed) -> None:
    item = await moved_by_a_closing(feed)
    feed.now = at(day(1)) + timedelta(hours=1)
    await feed.ok("hold.extended", hold_id="H1", deadline=(LAST + timedelta(5)).isoformat())
    assert await takes_back(feed, item, feed.now) == ([], [])
    assert (await hold(feed.ledger)).deadline == LAST + timedelta(5)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("", []),
        (", on_closure: add", [("H1", LAST + timedelta(2))]),
        # Thursday to Friday; it opens again on Saturday, and a week counts from there
        (", on_closure: restart", [("H1", day(10))]),
    ],
)
async def test_a_closing_before_the_last_day_by_the_librarys_rule(
    feed: Feed, option: str, expected: list[tuple[str, date]]
) -> None:
    await announced(feed)
    item = await closed(feed.ledger, "main", day(2), day(3))
    found = await touches(feed.ledger, book("ils", option), item)
    assert [(one.hold_id, one.moves_to) for one in found] == expected


async def test_the_library_systems_deadline_is_listed_and_left_to_it(feed: Feed) -> None:
    feed.now = at(TUESDAY)
    await feed.ok("patron", patron_id="P1", email="p1@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="甲", deadline=LAST.isoformat())
    item = await closed(feed.ledger, "main", LAST, LAST)
    [found] = await touches(feed.ledger, book("ils"), item)
    assert (found.hold_id, found.moves_to, found.told) == ("H1", None, False)
    [ours] = await touches(feed.ledger, book("todoku"), item)
    assert ours.moves_to == LAST + timedelta(1)
    assert await touches(feed.ledger, book(), replace(item, branch="east")) == []


@pytest.mark.parametrize("contact", ["none", "phone"])
async def test_a_last_day_by_our_formula_moves_under_ils_too(feed: Feed, contact: str) -> None:
    feed.now = at(TUESDAY)
    await feed.ok("patron", patron_id="P1", contact=contact, phones=["0"])
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="甲")
    async with feed.ledger.write() as connection:
        source = "shelf" if contact == "none" else "reached"
        await connection.execute(sa.update(holds).values(deadline=LAST, deadline_source=source))
    item = await closed(feed.ledger, "main", LAST, LAST)
    [found] = await touches(feed.ledger, book("ils"), item)
    assert (found.moves_to, found.contact) == (LAST + timedelta(1), contact)


async def test_a_rulebook_takes_closings_and_holidays_and_gives_them_back(feed: Feed) -> None:
    rules = book()
    assert rules.deadline("main", sent_on=TUESDAY, ready_on=None) == LAST
    async with feed.ledger.read() as connection:
        before = await closures.stamp(connection)
    item = await closed(feed.ledger, "main", LAST, LAST)
    async with feed.ledger.read() as connection:
        assert await closures.stamp(connection) != before
        rules.take(await closures.in_force(connection))
    assert rules.deadline("main", sent_on=TUESDAY, ready_on=None) == LAST + timedelta(1)
    assert rules.deadline("east", sent_on=TUESDAY, ready_on=None) == LAST
    async with feed.ledger.write() as connection:
        await closures.remove(connection, item.closure_id, "desk", at(day(1)))
        rules.take(await closures.in_force(connection))
        assert await closures.listed(connection) == []
    assert rules.deadline("main", sent_on=TUESDAY, ready_on=None) == LAST


async def test_imported_holidays_win_year_by_year(feed: Feed) -> None:
    # a law moves a holiday: ten days of 2030 with an invented one
    names = ["1/1,元日", "1/14,成人の日", "2/11,建国記念の日", "2/12,休日", "2/23,天皇誕生日", "3/20,春分の日",
             "4/29,昭和の日", "5/3,憲法記念日", "5/4,みどりの日", "5/7,臨時の祝日"]  # fmt: skip
    text = "国民の祝日・休日月日,国民の祝日・休日名称\r\n" + "".join(f"2030/{line}\r\n" for line in names)
    official = read_official(text.encode("cp932"))
    rules = Rulebook.of(
        parse(CONFIG.replace("AUTHORITY", "ils").replace("DEADLINE", "").replace(
            "weekly: [mon]", "public_holidays: closed"), base=Path("/"), env={})
    )  # fmt: skip
    assert rules.calendar("main").is_open(date(2030, 5, 7))
    async with feed.ledger.write() as connection:
        await closures.put_holidays(connection, official, "syukujitsu.csv", at(TUESDAY))
        rules.take(await closures.in_force(connection))
    assert not rules.calendar("main").is_open(date(2030, 5, 7))
    assert rules.calendar("main").is_open(date(2030, 7, 15))  # the list knows no 海の日 in that year
    assert not rules.calendar("main").is_open(date(2031, 7, 21))  # a year that it does not cover
    async with feed.ledger.write() as connection:
        await closures.drop_holidays(connection, at(TUESDAY))
        rules.take(await closures.in_force(connection))
    assert rules.calendar("main").is_open(date(2030, 5, 7))


async def test_closings_that_cannot_be_entered(ledger: Ledger) -> None:
    rules = book()
    for branch, first, last, says in [
        ("west", LAST, LAST, "no such branch"),
        ("main", LAST, TUESDAY, "before the first"),
        ("main", date(2026, 1, 1), date(2026, 1, 2), "are over"),
        ("main", LAST, date(2028, 1, 1), "into the settings"),
    ]:
        with pytest.raises(BadInput, match=says):
            closures.check(rules, branch, first, last, TUESDAY)
    assert closures.check(rules, "", LAST, LAST, TUESDAY) == DateRange(LAST, LAST)
    item = await closed(ledger, "main", LAST, LAST)
    with pytest.raises(Conflict):
        await closed(ledger, "main", LAST, LAST)
    async with ledger.write() as connection:
        await closures.remove(connection, item.closure_id, "desk", at(day(1)))
        with pytest.raises(Conflict):
            await closures.remove(connection, item.closure_id, "desk", at(day(1)))
        with pytest.raises(NotFound):
            await closures.remove(connection, 99, "desk", at(day(1)))
