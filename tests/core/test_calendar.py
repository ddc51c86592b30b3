"""Closed days: each library's own rule against the days it printed, the holiday list, and hostile rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import jpholiday
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holds_core.calendar import (
    HORIZON,
    Calendar,
    ClosedRules,
    DateRange,
    Holidays,
    MonthEnd,
    MonthlyDay,
    OnHoliday,
    Shift,
    Substitute,
    Weekday,
    WhyClosed,
    YearlyRange,
)
from holds_core.errors import BadInput
from holds_core.holiday_list import read_official

MONDAY = frozenset({Weekday.MONDAY})
NEW_YEAR = (YearlyRange.parse("12-29..01-03"),)

TOSU = ClosedRules(
    weekly=MONDAY,
    monthly=(MonthlyDay(Weekday.THURSDAY, 1),),
    holidays=OnHoliday.OPEN,
    substitute=Substitute.NEXT_NON_HOLIDAY,
    yearly=NEW_YEAR,
)
HIROSHIMA = ClosedRules(
    weekly=MONDAY,
    holidays=OnHoliday.OPEN,
    after_holiday=Substitute.NEXT_WEEKDAY,
    month_end=MonthEnd(
        frozenset({1, 3, 5, 7, 9, 11}),
        Shift.EARLIER,
        frozenset({Weekday.SATURDAY, Weekday.SUNDAY, Weekday.MONDAY}),
    ),
    yearly=(YearlyRange.parse("12-29..01-04"),),
    open_yearly=(YearlyRange.parse("08-06"),),
)
SUKUMO = ClosedRules(
    weekly=MONDAY,
    monthly=(MonthlyDay(Weekday.FRIDAY, -1),),
    holidays=OnHoliday.CLOSED,
    substitute=Substitute.NEXT_NON_HOLIDAY,
    yearly=NEW_YEAR,
)
AISAI = ClosedRules(
    weekly=MONDAY,
    monthly=(MonthlyDay(Weekday.THURSDAY, 2),),
    holidays=OnHoliday.OPEN,
    substitute=Substitute.NEXT_WEEKDAY,
    monthly_substitute=Substitute.NONE,
)
STUBBORN = ClosedRules(weekly=MONDAY)  # closed on Mondays, holiday or not
MONTH_ENDS = ClosedRules(month_end=MonthEnd())


def closed_in(rules: ClosedRules, year: int, month: int) -> list[int]:
    calendar = Calendar(rules)
    first = date(year, month, 1)
    days = (first + timedelta(n) for n in range(31))
    return [day.day for day in days if day.month == month and not calendar.is_open(day)]


@pytest.mark.parametrize(
    ("rules", "year", "month", "closed"),
    [
        # as its newsletter printed: the 14th open, the 15th in its place, the 3rd for tidying
        (TOSU, 2024, 10, [3, 7, 15, 21, 28]),
        # Monday 6 May is a substitute holiday and open: Tuesday in its place
        (TOSU, 2024, 5, [2, 7, 13, 20, 27]),
        # Golden Week 2026: the 4th, 5th and 6th are holidays, Monday's closing goes to Thursday the 7th
        (TOSU, 2026, 5, [7, 11, 18, 25]),
        # Thursday 4 May 2023 is a holiday: the monthly closing goes past the 5th to Saturday the 6th
        (TOSU, 2023, 5, [1, 6, 8, 15, 22, 29]),
        # the year's turn is closed, holidays in it included
        (TOSU, 2023, 1, [1, 2, 3, 5, 10, 16, 23, 30]),
        (TOSU, 2024, 12, [2, 5, 9, 16, 23, 29, 30, 31]),
        # holiday Saturday 23 November: past Sunday and Monday to Tuesday the 26th; the 30th is a Saturday
        (HIROSHIMA, 2024, 11, [5, 11, 18, 25, 26, 29]),
        # 6 August 2029 is a Monday and open; after the 11th (Saturday) comes Tuesday the 14th
        (HIROSHIMA, 2029, 8, [13, 14, 20, 27]),
        (HIROSHIMA, 2024, 9, [2, 9, 17, 24, 27, 30]),
        # closed on the holiday, and on the day after instead of Monday
        (SUKUMO, 2024, 10, [7, 14, 15, 21, 25, 28]),
        (SUKUMO, 2024, 11, [3, 4, 5, 11, 18, 23, 25, 29]),
        # Thursday 11 February 2021 is a holiday: that month has no monthly closing
        (AISAI, 2021, 2, [1, 8, 15, 22]),
        (AISAI, 2024, 10, [7, 10, 15, 21, 28]),
        (STUBBORN, 2024, 10, [7, 14, 21, 28]),
        (MONTH_ENDS, 2024, 2, [29]),
        (MONTH_ENDS, 2023, 2, [28]),
        # 29 and 30 April 2019 were holidays, 31 December lies in the yearly range
        (ClosedRules(month_end=MonthEnd(shift=Shift.EARLIER)), 2019, 4, [28]),
        (ClosedRules(month_end=MonthEnd(shift=Shift.EARLIER), yearly=NEW_YEAR), 2024, 12, [28, 29, 30, 31]),
        (ClosedRules(), 2024, 1, []),
        (ClosedRules(monthly=(MonthlyDay(Weekday.FRIDAY, 5),)), 2024, 10, []),
        (ClosedRules(monthly=(MonthlyDay(Weekday.FRIDAY, 5),)), 2024, 11, [29]),
        (ClosedRules(monthly=(MonthlyDay(Weekday.THURSDAY, -1),)), 2024, 10, [31]),
    ],
)
def test_the_days_a_library_closes(rules: ClosedRules, year: int, month: int, closed: list[int]) -> None:
    assert closed_in(rules, year, month) == closed


def test_a_month_end_shifted_later_falls_into_the_next_month() -> None:
    rules = ClosedRules(weekly=MONDAY, month_end=MonthEnd(shift=Shift.LATER))
    # 30 September 2024 is a Monday: closed anyway, so the month's end is kept on Tuesday 1 October
    assert Calendar(rules).why_closed(date(2024, 10, 1)) is WhyClosed.MONTH_END
    assert closed_in(rules, 2024, 10) == [1, 7, 14, 21, 28, 31]


@pytest.mark.parametrize("main", [True, False])
def test_main_only(main: bool) -> None:
    calendar = Calendar(ClosedRules(holidays=OnHoliday.MAIN_ONLY), main=main)
    showa = date(2017, 4, 29)  # Izumisano: only the main library was open
    assert calendar.is_open(showa) is main
    assert calendar.is_open(showa - timedelta(1))


@pytest.mark.parametrize(
    ("day", "why"),
    [
        (date(2024, 10, 1), None),
        (date(2024, 10, 3), WhyClosed.MONTHLY),
        (date(2024, 10, 7), WhyClosed.WEEKLY),
        (date(2024, 10, 14), None),
        (date(2024, 10, 15), WhyClosed.SUBSTITUTE),
        (date(2025, 1, 3), WhyClosed.YEARLY),
    ],
)
def test_why_closed(day: date, why: WhyClosed | None) -> None:
    assert Calendar(TOSU).why_closed(day) is why


def test_the_other_reasons_and_their_words() -> None:
    assert Calendar(SUKUMO).why_closed(date(2024, 11, 23)) is WhyClosed.HOLIDAY
    assert Calendar(HIROSHIMA).why_closed(date(2024, 11, 5)) is WhyClosed.AFTER_HOLIDAY
    assert Calendar(HIROSHIMA).why_closed(date(2024, 11, 29)) is WhyClosed.MONTH_END
    assert WhyClosed("substitute").ja == "振替休館日"
    assert all(why.ja and why.en.isascii() for why in WhyClosed)
    assert len({why.ja for why in WhyClosed}) == len(WhyClosed)


def test_explicit_dates_win_and_open_wins_over_closed() -> None:
    period = DateRange(date(2024, 10, 8), date(2024, 10, 13))
    opened, both = date(2024, 10, 7), date(2024, 10, 9)
    rules = replace(
        TOSU,
        closed_ranges=(period,),
        closed_dates=frozenset({date(2024, 10, 2), both}),
        open_dates=frozenset({opened, both}),
        open_yearly=(YearlyRange.parse("10-10"),),
    )
    calendar = Calendar(rules)
    assert calendar.is_open(opened)
    assert calendar.is_open(both)
    assert calendar.why_closed(date(2024, 10, 2)) is WhyClosed.TEMPORARY
    assert calendar.why_closed(date(2024, 10, 10)) is WhyClosed.PERIOD  # explicit beats the yearly opening
    assert closed_in(rules, 2024, 10) == [2, 3, 8, 10, 11, 12, 13, 15, 21, 28]


def test_an_unforeseen_closing_also_takes_back_open_dates() -> None:
    opened = date(2024, 10, 7)
    before = Calendar(replace(TOSU, open_dates=frozenset({opened})))
    after = before.with_closing(DateRange(opened, opened + timedelta(1)))
    assert before.is_open(opened)
    assert before.is_open(opened + timedelta(1))
    assert after.why_closed(opened) is WhyClosed.PERIOD
    assert after.next_open(opened) == date(2024, 10, 9)


@pytest.mark.parametrize(
    ("day", "inclusive", "expected"),
    [
        (date(2024, 10, 14), True, date(2024, 10, 14)),
        (date(2024, 10, 14), False, date(2024, 10, 16)),
        (date(2024, 10, 15), True, date(2024, 10, 16)),
        (date(2024, 12, 29), True, date(2025, 1, 4)),
    ],
)
def test_next_open(day: date, inclusive: bool, expected: date) -> None:
    assert Calendar(TOSU).next_open(day, inclusive=inclusive) == expected


@pytest.mark.parametrize(
    ("day", "number", "expected"),
    [
        (date(2024, 10, 1), 0, date(2024, 10, 1)),
        (date(2024, 10, 3), 0, date(2024, 10, 4)),
        (date(2024, 10, 1), 1, date(2024, 10, 2)),
        (date(2024, 10, 1), 2, date(2024, 10, 4)),
        (date(2024, 10, 12), 3, date(2024, 10, 16)),
        (date(2024, 12, 28), 1, date(2025, 1, 4)),
    ],
)
def test_add_open_days(day: date, number: int, expected: date) -> None:
    assert Calendar(TOSU).add_open_days(day, number) == expected


def test_open_days_are_counted_with_both_ends() -> None:
    calendar = Calendar(TOSU)
    assert calendar.open_days(date(2024, 10, 1), date(2024, 10, 31)) == 26
    assert calendar.open_days(date(2024, 10, 3), date(2024, 10, 3)) == 0
    assert calendar.open_days(date(2024, 10, 3), date(2024, 10, 1)) == 0


def test_negative_open_days_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Calendar(TOSU).add_open_days(date(2024, 10, 1), -1)


days = st.dates(date(2000, 1, 1), date(2040, 1, 1))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([TOSU, HIROSHIMA, SUKUMO, AISAI, MONTH_ENDS]), days, st.integers(0, 12))
def test_open_days_add_up(rules: ClosedRules, day: date, number: int) -> None:
    calendar = Calendar(rules)
    there = calendar.add_open_days(day, number)
    assert calendar.is_open(there)
    # between the two lie exactly as many open days as were added
    assert calendar.open_days(day + timedelta(1), there) == number + (number == 0 and there > day)


@settings(max_examples=60, deadline=None)
@given(st.integers(2000, 2040))
def test_tosus_ordinance_read_forwards(year: int) -> None:
    # The calendar looks back from a day; the ordinance looks forward from each closing. They must agree.
    def taken(day: date) -> date:
        return day if jpholiday.is_holiday_name(day) is None else taken(day + timedelta(1))

    calendar = Calendar(replace(TOSU, monthly=(), yearly=()))
    days = [date(year, 1, 15) + timedelta(n) for n in range(330)]
    mondays = [day for day in days if day.weekday() == 0]
    closed = {day for day in days if not calendar.is_open(day) and day >= mondays[0]}
    assert closed - {max(closed)} == {taken(day) for day in mondays} - {max(closed)}


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("12-29..01-03", [(12, 29), (12, 31), (1, 1), (1, 3)], [(12, 28), (1, 4), (7, 1)]),
        ("08-06", [(8, 6)], [(8, 5), (8, 7)]),
        (" 3-1..3-7 ", [(3, 1), (3, 7)], [(2, 29), (3, 8)]),
        ("02-29", [(2, 29)], [(2, 28), (3, 1)]),
        ("02-28..03-01", [(2, 28), (2, 29), (3, 1)], [(2, 27), (3, 2)]),
    ],
)
def test_yearly_ranges(text: str, inside: list[tuple[int, int]], outside: list[tuple[int, int]]) -> None:
    span = YearlyRange.parse(text)
    assert all(date(2024, *day) in span for day in inside)
    assert not any(date(2024, *day) in span for day in outside)


@pytest.mark.parametrize(
    "text",
    ["", "12-29..", "13-01", "02-30", "0-1", "12/29..01/03", "12-29...01-03", "１２-２９", "1-1..1-2..1-3"],
)
def test_yearly_ranges_that_are_none(text: str) -> None:
    with pytest.raises(BadInput):
        YearlyRange.parse(text)


WHOLE_YEAR = (YearlyRange.parse("04-01..12-31"), YearlyRange.parse("01-01..03-31"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"weekly": frozenset(Weekday)},
        {"weekly": frozenset(Weekday), "holidays": OnHoliday.CLOSED},
        {"yearly": WHOLE_YEAR},
        {"weekly": MONDAY, "substitute": Substitute.NEXT_WEEKDAY},
        {"weekly": MONDAY, "monthly_substitute": Substitute.NEXT_WEEKDAY},
    ],
)
def test_rules_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        ClosedRules(**wrong)  # type: ignore[arg-type]


def test_parts_of_rules_that_cannot_be_meant() -> None:
    for wrong in (
        lambda: MonthlyDay(Weekday.MONDAY, 0),
        lambda: MonthlyDay(Weekday.MONDAY, 6),
        lambda: MonthEnd(frozenset()),
        lambda: MonthEnd(frozenset({0, 1})),
        lambda: DateRange(date(2024, 1, 2), date(2024, 1, 1)),
    ):
        with pytest.raises(BadInput):
            wrong()


def test_a_bookmobile_opens_on_its_dates_only() -> None:
    visits = frozenset({date(2024, 10, 8), date(2024, 10, 22)})
    calendar = Calendar(ClosedRules(weekly=frozenset(Weekday), open_dates=visits))
    assert calendar.next_open(date(2024, 10, 9)) == date(2024, 10, 22)
    with pytest.raises(BadInput, match=str(HORIZON)):
        calendar.next_open(date(2024, 10, 23))


def test_the_search_ends_when_nothing_opens() -> None:
    closed = Calendar(ClosedRules()).with_closing(DateRange(date(2024, 1, 1), date(2099, 12, 31)))
    with pytest.raises(BadInput, match="no open day"):
        closed.add_open_days(date(2024, 5, 1), 3)


def test_a_list_where_every_day_is_a_holiday_ends_too() -> None:
    every = {date(2020, 1, 1) + timedelta(n): "毎日" for n in range(4000)}
    calendar = Calendar(TOSU, Holidays(extra=every))
    assert calendar.is_open(date(2025, 6, 2))


@pytest.mark.parametrize("day", [date.min, date(1949, 12, 31), date(2151, 1, 1), date.max])
def test_days_out_of_reach(day: date) -> None:
    calendar = Calendar(TOSU)
    for ask in (calendar.is_open, calendar.next_open, lambda d: calendar.add_open_days(d, 1)):
        with pytest.raises(BadInput, match="years 1950 to 2150"):
            ask(day)


def test_the_last_days_of_reach_are_answered() -> None:
    assert Calendar(HIROSHIMA).is_open(date(2150, 12, 27)) is True
    assert Calendar(TOSU).why_closed(date(1950, 1, 1)) is WhyClosed.YEARLY


def test_a_datetime_is_not_a_day() -> None:
    with pytest.raises(TypeError):
        Calendar(TOSU).is_open(datetime(2024, 10, 1, tzinfo=UTC))


# The Cabinet Office's list as published (days only; a plain 休日 there is a substitute or bridged holiday).
OFFICIAL = {
    2019: "1/1 1/14 2/11 3/21 4/29 4/30 5/1 5/2 5/3 5/4 5/5 5/6 7/15 8/11 8/12 9/16 9/23 10/14 10/22 11/3 11/4 "
    "11/23",
    2020: "1/1 1/13 2/11 2/23 2/24 3/20 4/29 5/3 5/4 5/5 5/6 7/23 7/24 8/10 9/21 9/22 11/3 11/23",
    2021: "1/1 1/11 2/11 2/23 3/20 4/29 5/3 5/4 5/5 7/22 7/23 8/8 8/9 9/20 9/23 11/3 11/23",
    2022: "1/1 1/10 2/11 2/23 3/21 4/29 5/3 5/4 5/5 7/18 8/11 9/19 9/23 10/10 11/3 11/23",
    2023: "1/1 1/2 1/9 2/11 2/23 3/21 4/29 5/3 5/4 5/5 7/17 8/11 9/18 9/23 10/9 11/3 11/23",
    2024: "1/1 1/8 2/11 2/12 2/23 3/20 4/29 5/3 5/4 5/5 5/6 7/15 8/11 8/12 9/16 9/22 9/23 10/14 11/3 11/4 11/23",
    2025: "1/1 1/13 2/11 2/23 2/24 3/20 4/29 5/3 5/4 5/5 5/6 7/21 8/11 9/15 9/23 10/13 11/3 11/23 11/24",
    2026: "1/1 1/12 2/11 2/23 3/20 4/29 5/3 5/4 5/5 5/6 7/20 8/11 9/21 9/22 9/23 10/12 11/3 11/23",
    2027: "1/1 1/11 2/11 2/23 3/21 3/22 4/29 5/3 5/4 5/5 7/19 8/11 9/20 9/23 10/11 11/3 11/23",
}


def official_csv(years: dict[int, str], newline: str = "\r\n") -> str:
    lines = [f"{year}/{day},休日" for year, listed in years.items() for day in listed.split()]
    return newline.join(["国民の祝日・休日月日,国民の祝日・休日名称", *lines, ""])


@pytest.mark.parametrize("year", OFFICIAL)
def test_holidays_against_the_cabinet_offices_list(year: int) -> None:
    listed = {date(year, *map(int, day.split("/"))) for day in OFFICIAL[year].split()}
    counted = {date(year, 1, 1) + timedelta(n) for n in range(366)}
    found = {day for day in counted if day.year == year and Holidays().name(day)}
    assert found == listed
    assert set(read_official(official_csv({year: OFFICIAL[year]}).encode("cp932"))) == listed


@pytest.mark.parametrize("encoding", ["cp932", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_the_official_list_is_read(encoding: str, newline: str) -> None:
    days = read_official(official_csv(OFFICIAL, newline).encode(encoding))
    assert len(days) == sum(len(listed.split()) for listed in OFFICIAL.values())
    assert days[date(2026, 5, 6)] == "休日"


def test_other_ways_to_write_the_list() -> None:
    text = official_csv({2026: OFFICIAL[2026]}, "\n").replace("2026/1/1,", "2026-01-01,") + ",\n\n"
    assert date(2026, 1, 1) in read_official(text.encode("cp932"))


def test_the_official_list_overrides_a_whole_year() -> None:
    moved = OFFICIAL[2026].replace("10/12", "10/9")  # as for the Olympic Games, when days moved by law
    holidays = Holidays(read_official(official_csv({2026: moved}).encode("cp932")))
    assert holidays.name(date(2026, 10, 9)) == "休日"
    assert holidays.name(date(2026, 10, 12)) is None
    assert holidays.name(date(2027, 10, 11)) == "スポーツの日"  # the list does not reach that far
    assert Calendar(TOSU, holidays).why_closed(date(2026, 10, 12)) is WhyClosed.WEEKLY
    assert Calendar(TOSU).is_open(date(2026, 10, 12))


def test_a_holiday_of_the_librarys_own() -> None:
    own = Holidays(extra={date(2024, 10, 7): "県民の日"})
    assert Calendar(TOSU, own).is_open(date(2024, 10, 7))
    assert Calendar(TOSU, own).why_closed(date(2024, 10, 8)) is WhyClosed.SUBSTITUTE
    assert not jpholiday.is_holiday(date(2024, 10, 7))


GOOD = official_csv({2026: OFFICIAL[2026]}, "\n")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "line 1: expected the header"),
        ("月日,名称\n2026/1/1,元日\n".encode("cp932"), "line 1: expected the header"),
        (GOOD.encode("utf-8"), "line 1: not readable as cp932|line 1: expected the header"),
        (GOOD.encode("cp932").replace(b"2026/2/11,", b"2026/2/11,\x81\x7f"), "line 4: not readable as cp932"),
        (GOOD.replace("2026/2/11", "2026/2/30").encode("cp932"), "line 4: expected date"),
        (GOOD.replace("2026/2/11", "令和8年2月11日").encode("cp932"), "line 4: expected date"),
        (GOOD.replace("2026/2/11,休日", "2026/2/11,").encode("cp932"), "line 4: expected date"),
        (GOOD.replace("2026/2/11,休日", "2026/2/11").encode("cp932"), "line 4: expected date"),
        (GOOD.replace("2026/2/11,休日", "2026/2/11,休日,x").encode("cp932"), "line 4: expected date"),
        (GOOD.replace("2026/2/11", "2026/1/1").encode("cp932"), "line 4: 2026-01-01 stands there twice"),
        (GOOD.split("2026/1/1,")[0].encode("cp932"), "holds no day"),
        (GOOD.split("2026/5/3,")[0].encode("cp932"), "2026 has 6 day.*cut"),
        (GOOD.replace("2026/1/1,休日\n", "").encode("cp932"), "2026 has 17 day.*cut"),
        (b"x" * 2_000_000, "too long"),
    ],
)
def test_a_list_that_cannot_be_used(data: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_official(data)


@settings(max_examples=150)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: GOOD.encode("cp932") + tail))
def test_any_bytes_are_a_list_or_bad_input(data: bytes) -> None:
    try:
        days = read_official(data)
    except BadInput:
        return
    assert date(2026, 1, 1) in days
