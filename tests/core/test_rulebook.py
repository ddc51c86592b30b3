"""From config.yaml to the rules that the pure modules take."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from holds_core.calendar import OnHoliday, Substitute, Weekday
from holds_core.config import parse
from holds_core.deadline import Count, Start
from holds_core.notices import Kind, Result
from holds_core.retry import next_try
from holds_core.rulebook import Rulebook

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
