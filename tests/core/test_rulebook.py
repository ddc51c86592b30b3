"""From config.yaml to the rules that the pure modules take."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from holds_core.calendar import DateRange, OnHoliday, Substitute, Weekday
from holds_core.config import parse
from holds_core.deadline import Count, OnClosing, Start
from holds_core.limits import (
    BOTH,
    WEB_ONLY,
    Availability,
    LimitRules,
    VolumeOrder,
)
from holds_core.notices import Kind, Result
from holds_core.refusals import Limit
from holds_core.retry import next_try
from holds_core.rulebook import Closing, Days, Rulebook
from mailer.app.services import event_rules

TOKYO = ZoneInfo("Asia/Tokyo")
MINIMAL = """
library:
  name: とどく市立図書館
  branches:
    - {id: main, name: 中央図書館, closed: {weekly: [月]}}
    - {id: north, name: 北分館, closed: {weekly: [月, 火], dates: [2026-11-25]}}
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
"""


def rulebook(extra: str = "", text: str = MINIMAL) -> Rulebook:
    return Rulebook.of(parse(text + extra, base=Path("/"), env={}))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=TOKYO).astimezone(UTC)


def test_closed_days_of_each_kind() -> None:
    book = rulebook(
        text="""
library:
  name: L
  branches:
    - id: main
      name: 中央
      closed:
        weekly: [mon]
        nth: [{weekday: thu, week: 1}]
        last: [fri]
        public_holidays: closed
        substitute: next_weekday
        yearly: [12-29..01-03]
        dates: [2026-10-05..2026-10-09]
        open_dates: [2026-10-07]
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
"""
    )
    rules = book.calendar("main").rules
    assert rules.weekly == {Weekday.MONDAY}
    assert [(day.weekday, day.nth) for day in rules.monthly] == [
        (Weekday.THURSDAY, 1),
        (Weekday.FRIDAY, -1),
    ]
    assert (rules.holidays, rules.substitute) == (OnHoliday.CLOSED, Substitute.NEXT_WEEKDAY)
    calendar = book.calendar("main")
    for day, is_open in [
        (date(2026, 11, 26), True),
        (date(2026, 11, 2), False),  # a Monday
        (date(2026, 11, 24), False),  # for Monday, which is a holiday
        (date(2026, 11, 5), False),  # the first Thursday
        (date(2026, 11, 27), False),  # the last Friday
        (date(2026, 12, 30), False),
        (date(2027, 1, 3), False),
        (date(2026, 10, 6), False),
        (date(2026, 10, 7), True),  # an explicit date wins
    ]:
        assert calendar.is_open(day) is is_open, day


def test_a_branch_that_the_settings_do_not_know_is_always_open() -> None:
    assert all(rulebook().calendar("west").is_open(date(2026, 11, 23) + timedelta(days=n)) for n in range(7))


def test_a_day_is_closed_when_no_branch_is_open() -> None:
    book = rulebook()
    assert book.all_closed(date(2026, 11, 30))  # Monday
    assert not book.all_closed(date(2026, 11, 24))  # Tuesday: the main branch is open
    no_branches = MINIMAL.replace("  branches:", "  templates_folder: null\n  branches: []\n#")
    lines = [line for line in no_branches.splitlines() if not line.startswith("    - {id")]
    assert not rulebook(text="\n".join(lines)).all_closed(date(2026, 11, 30))


@pytest.mark.parametrize(
    ("settings", "sent", "ready", "expected"),
    [
        # Tosu: one week after the mail, pushed off Monday
        ("deadline: {days: 7}", "2026-11-24 09:10", date(2026, 11, 20), date(2026, 12, 1)),
        ("deadline: {days: 6}", "2026-11-24 09:10", None, date(2026, 12, 1)),
        ("deadline: {days: 6, push_off_closed: false}", "2026-11-24 09:10", None, date(2026, 11, 30)),
        ("deadline: {days: 8, start: send_day}", "2026-11-24 09:10", None, date(2026, 12, 1)),
        ("deadline: {days: 3, start: ready_day}", "2026-11-24 09:10", date(2026, 11, 20), date(2026, 11, 22)),
        ("deadline: {days: 3, start: ready_day}", "2026-11-24 09:10", None, date(2026, 11, 26)),
        ("deadline: {days: 6, count: open}", "2026-11-24 09:10", None, date(2026, 12, 1)),
        # 23:30 UTC on the 23rd is the 24th in Tokyo
        ("deadline: {days: 7}", "2026-11-24 08:30", None, date(2026, 12, 1)),
    ],
)
def test_the_deadline_formula(settings: str, sent: str, ready: date | None, expected: date) -> None:
    book = rulebook(settings)
    sent_on = book.local(at(sent)).date()
    assert book.deadline("main", sent_on=sent_on, ready_on=ready) == expected
    assert book.deadline("main", sent_on=sent_on, ready_on=ready) == expected  # remembered


def test_branches_have_deadlines_of_their_own() -> None:
    book = rulebook("deadline: {days: 7}")
    sent = date(2026, 11, 24)
    assert book.deadline("main", sent_on=sent, ready_on=None) == date(2026, 12, 1)
    assert book.deadline("north", sent_on=sent, ready_on=None) == date(2026, 12, 2)


def test_deadline_rule_from_settings() -> None:
    rule = rulebook(
        "deadline: {days: 10, count: open, start: ready_day, push_off_closed: false}"
    ).deadline_rule
    assert (rule.days, rule.count, rule.start, rule.push_off_closed) == (
        10,
        Count.OPEN,
        Start.READY_DAY,
        False,
    )


@pytest.mark.parametrize(
    ("settings", "kind", "branch", "ends"),
    [
        ("", Kind.REGISTRATION_CHANGED, "", "2026-11-25 12:00"),
        ("", Kind.HOLD_READY, "main", "2026-11-27 12:00"),
        ("", Kind.HOLD_PLACED, "main", None),
        ("", Kind.REGISTRATION_CHANGED_OLD, "", None),
        ("confirmation: {windows: {hold_ready: 36h}}", Kind.HOLD_READY, "main", "2026-11-26 00:00"),
        # over Monday
        ("confirmation: {open_days: true, windows: {hold_ready: 6d}}", Kind.HOLD_READY, "main", "2026-12-01 12:00"),
        ("confirmation: {open_days: true}", Kind.HOLD_READY, "north", "2026-11-28 12:00"),
        ("confirmation: {open_days: true, windows: {hold_ready: 36h}}", Kind.HOLD_READY, "north", "2026-11-27 00:00"),
        # parts of a day are not counted by the calendar
        ("confirmation: {open_days: true, windows: {hold_ready: 6h}}", Kind.HOLD_READY, "main", "2026-11-24 18:00"),
    ],
)  # fmt: skip
def test_until_when_a_sign_is_awaited(settings: str, kind: Kind, branch: str, ends: str | None) -> None:
    found = rulebook(settings).window_end(kind, branch, at("2026-11-24 12:00"))
    assert found == (at(ends) if ends else None)


@pytest.mark.parametrize(
    ("settings", "deadline", "ends"),
    [
        ("", "2026-12-05", "2026-11-27 12:00"),
        # Saturday the 5th: Thursday morning is the last that helps, hence Wednesday noon
        ("confirmation: {windows: {hold_ready: 10d}}", "2026-12-05", "2026-12-02 12:00"),
        # two days before is a Monday, closed; the Sunday before it is the last
        ("confirmation: {windows: {hold_ready: 10d}}", "2026-12-02", "2026-11-28 12:00"),
        ("confirmation: {open_days: true, windows: {hold_ready: 6d}}", "2026-12-02", "2026-11-28 12:00"),
        # a deadline so near that no window fits: something is awaited all the same
        ("", "2026-11-25", "2026-11-25 12:00"),
        ("confirmation: {windows: {hold_ready: 6h}}", "2026-11-25", "2026-11-24 18:00"),
        # what a feed may say, beyond all that a calendar knows
        ("", "1926-11-25", "2026-11-25 12:00"),
        ("", "0001-01-01", "2026-11-25 12:00"),
        ("", "9999-12-31", "2026-11-27 12:00"),
        ("confirmation: {windows: {hold_ready: 10d}}", "2150-12-31", "2026-12-04 12:00"),
    ],
)
def test_a_window_ends_while_a_call_still_helps(settings: str, deadline: str, ends: str) -> None:
    noon = at("2026-11-24 12:00")
    found = rulebook(settings).window_end(Kind.HOLD_READY, "main", noon, date.fromisoformat(deadline))
    assert found == at(ends)
    other = rulebook(settings).window_end(Kind.REGISTRATION_CHANGED, "", noon, date.fromisoformat(deadline))
    assert other == at("2026-11-25 12:00")


def test_quiet_hours() -> None:
    assert rulebook().quiet() == (time(21), time(8))
    assert rulebook('sending: {quiet_hours: {from: "22:30", to: "07:00"}}').quiet() == (time(22, 30), time(7))
    start, end = rulebook("sending: {quiet_hours: null}").quiet()
    assert start == end


def test_retries_as_the_settings_have_them() -> None:
    rule = rulebook("sending: {retry_delays: [2m, 10m], give_up_after: 1h}").retry
    now = at("2026-11-24 12:00")

    def after(
        tries: int, result: Result = Result.DEFERRED, later: timedelta = timedelta()
    ) -> datetime | None:
        return next_try(rule, result, tries=tries, first_try=now, now=now + later, jitter=0)

    assert after(1) == now + timedelta(minutes=2)
    assert after(2) == now + timedelta(minutes=10)
    assert after(9) == now + timedelta(minutes=10)
    assert after(9, later=timedelta(hours=1)) is None
    assert after(50, Result.NOT_STARTED, timedelta(days=9)) is not None


def test_the_first_branch_is_the_default() -> None:
    assert rulebook().default_branch() == "main"


# -- closed days as the settings write them ----------------------------------------------------------

CLOSED = """
library:
  name: L
  branches:
    - {{id: main, name: 本館, closed: {{{0}}}}}
    - {{id: east, name: 東分館{1}, closed: {{{0}}}}}
sender: {{address: noreply@library.example, return_path_domain: bounce.library.example}}
relay: {{host: 127.0.0.1}}
"""


def closed_in(text: str, year: int, month: int, *, branch: str = "main", east: str = "") -> list[int]:
    calendar = rulebook(text=CLOSED.format(text, east)).calendar(branch)
    days = (date(year, month, 1) + timedelta(number) for number in range(31))
    return [day.day for day in days if day.month == month and not calendar.is_open(day)]


@pytest.mark.parametrize(
    ("text", "year", "month", "closed"),
    [
        # Tosu, as its newsletter printed
        (
            "weekly: [mon], nth: [{week: 1, weekday: thu}], public_holidays: open, "
            "substitute: next_non_holiday, yearly: ['12-29..01-03']",
            *(2024, 10, [3, 7, 15, 21, 28]),
        ),
        # the other way round: never a Saturday or Sunday. Thursday 3 November 2022 was a holiday
        (
            "weekly: [thu], public_holidays: open, substitute: next_weekday",
            *(2022, 11, [4, 10, 17, 24]),
        ),
        ("weekly: [sat], public_holidays: open, substitute: next_weekday", 2024, 11, [2, 9, 16, 25, 30]),
        ("weekly: [sat], public_holidays: open, substitute: next_non_holiday", 2024, 11, [2, 9, 16, 24, 30]),
        ("weekly: [mon], public_holidays: open", 2024, 10, [7, 21, 28]),
        ("weekly: [mon], public_holidays: as_usual", 2024, 10, [7, 14, 21, 28]),
        ("public_holidays: as_usual", 2024, 11, []),
        ("public_holidays: closed", 2024, 11, [3, 4, 23]),
        ("weekly: [mon], public_holidays: closed, substitute: next_weekday", 2024, 10, [7, 14, 15, 21, 28]),
        ("last: [fri]", 2024, 10, [25]),
        ("nth: [{week: 5, weekday: thu}]", 2024, 10, [31]),
        ("month_end: true", 2024, 2, [29]),
        ("month_end: false", 2024, 2, []),
        # 31 March 2024 is a Sunday
        ("weekly: [sun], month_end: earlier", 2024, 3, [3, 10, 17, 24, 30, 31]),
        ("weekly: [sun], month_end: later", 2024, 4, [1, 7, 14, 21, 28, 30]),
        ("yearly: ['12-29..01-03']", 2024, 12, [29, 30, 31]),
        ("yearly: ['12-29..01-03']", 2025, 1, [1, 2, 3]),
        ("yearly: ['12-29..01-03'], open_yearly: ['01-02']", 2025, 1, [1, 3]),
        (
            "weekly: [mon], open_dates: [2024-10-07], dates: [2024-10-08..2024-10-09]",
            2024,
            10,
            [8, 9, 21, 28],
        ),
        ("yearly: ['12-29..01-03'], open_dates: [2024-12-30]", 2024, 12, [29, 31]),
        ("dates: [2024-10-10], open_dates: [2024-10-10]", 2024, 10, []),
    ],
)
def test_closed_days_as_the_settings_write_them(text: str, year: int, month: int, closed: list[int]) -> None:
    assert closed_in(text, year, month) == closed


@pytest.mark.parametrize(("east", "open_one"), [("", "main"), (", main: true", "east")])
def test_only_the_main_library_opens_on_holidays(east: str, open_one: str) -> None:
    for branch in ("main", "east"):
        closed = closed_in("public_holidays: main_only", 2024, 11, branch=branch, east=east)
        assert closed == ([] if branch == open_one else [3, 4, 23])


def test_the_whole_rule_of_a_deadline() -> None:
    rule = rulebook(
        "deadline: {days: 8, count: open, start: ready_next_day, push_off_closed: false, "
        "while_undelivered: runs_on, on_closure: restart}"
    ).deadline_rule
    assert (rule.days, rule.count, rule.start) == (8, Count.OPEN, Start.READY_NEXT_DAY)
    assert (rule.push_off_closed, rule.stands_still, rule.on_closing) == (False, False, OnClosing.RESTARTS)
    default = rulebook().deadline_rule
    assert (default.stands_still, default.on_closing) == (True, OnClosing.NOTHING)


def test_closings_are_taken_while_others_hold_the_calendar() -> None:
    book = rulebook()
    calendars = book.calendars
    day = date(2026, 12, 2)
    assert book.calendar("main").is_open(day)
    book.take(Days((Closing("", DateRange(day, day)), Closing("west", DateRange(day, day)))))
    assert calendars is book.calendars
    assert not any(book.calendar(branch).is_open(day) for branch in ("main", "north", "west"))
    book.take(Days())
    assert book.calendar("main").is_open(day)


# -- quiet hours, and the watch after a change of the sender -----------------------------------------


@pytest.mark.parametrize(
    ("moment", "quiet", "leaves"),
    [
        ("2026-11-24 20:59", False, "2026-11-24 20:59"),
        ("2026-11-24 21:00", True, "2026-11-25 08:00"),
        ("2026-11-25 02:00", True, "2026-11-25 08:00"),
        ("2026-11-25 08:00", False, "2026-11-25 08:00"),
    ],
)
def test_what_quiet_hours_do(moment: str, quiet: bool, leaves: str) -> None:
    assert rulebook().is_quiet(at(moment)) is quiet
    assert rulebook().may_leave(at(moment)) == at(leaves)


def test_without_quiet_hours_only_nightly_feeds_wait_for_the_morning() -> None:
    book = rulebook("sending: {quiet_hours: null}")
    assert not book.is_quiet(at("2026-11-25 02:00"))
    assert book.may_leave(at("2026-11-25 02:00")) == at("2026-11-25 08:00")
    rules = event_rules(book, nightly=True)
    assert (rules.quiet_from, rules.quiet_to) == (time(8), time(8))


def test_after_a_change_of_the_sender_silence_is_noticed_in_half_the_time() -> None:
    text = MINIMAL.replace(
        "return_path_domain: bounce.library.example}",
        "return_path_domain: bounce.library.example, "
        "changes: [{since: 2026-12-01, address: new@city.example, watch: 10d}]}",
    )
    book = rulebook(text=text)
    for sent, span in [
        ("2026-11-30 23:59", timedelta(days=3)),
        ("2026-12-01 00:00", timedelta(hours=36)),
        ("2026-12-10 23:59", timedelta(hours=36)),
        ("2026-12-11 00:00", timedelta(days=3)),
    ]:
        assert book.window_end(Kind.HOLD_READY, "main", at(sent)) == at(sent) + span
        registration = book.window_end(Kind.REGISTRATION_CHANGED, "main", at(sent))
        assert registration == at(sent) + timedelta(hours=24)


def test_the_rules_of_requests_and_who_decides() -> None:
    rules = event_rules(
        rulebook(
            """
holds:
  reception: next_open_morning
  default_contact: post
  limits:
    - {at_most: 3, materials: [CD, DVD], name: 視聴覚資料, name_en: audio-visual items}
    - {at_most: 10, unit: 冊}
  limits_bind: [web]
  overdue_blocks: [web]
  on_loan_only: [web]
  email_required: [web, desk]
  never: [newest_issue]
  card_pattern: "000[0-9]{6}"
  volumes: {web: any, desk: in_order, except: [漫画]}
""",
            text=MINIMAL.replace("library:\n", "library:\n  authority: todoku\n"),
        )
    )
    assert (rules.binding, rules.waits, rules.default_contact) == (True, True, "post")
    assert rules.limits == LimitRules(
        limits=(
            Limit(3, frozenset({"CD", "DVD"}), "視聴覚資料", "audio-visual items"),
            Limit(10, unit_ja="冊"),
        ),
        limits_bind=WEB_ONLY,
        overdue_blocks=WEB_ONLY,
        on_loan_only=WEB_ONLY,
        email_required=BOTH,
        never=frozenset({Availability.NEWEST_ISSUE}),
        card_pattern="000[0-9]{6}",
        volumes_except=frozenset({"漫画"}),
        desk_order=VolumeOrder.IN_ORDER,
    )
    assert rules.last_day is not None
    assert rules.last_day("main", date(2026, 11, 22), date(2026, 11, 20)) == date(2026, 11, 29)


def test_as_shipped_the_library_system_decides() -> None:
    rules = event_rules(rulebook())
    assert (rules.binding, rules.waits, rules.default_contact) == (False, False, "email")
    assert rules.limits == LimitRules()
