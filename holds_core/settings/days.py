"""The kinds of value that say when a branch is closed: weekdays, yearly ranges, dates. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import PlainValidator

from holds_core.settings.values import expected


class Weekday(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"

    @property
    def number(self) -> int:
        """0 for Monday to 6 for Sunday, as `date.weekday()`."""
        return list(Weekday).index(self)


_KANJI = dict(zip("月火水木金土日", Weekday, strict=True))


def _weekday(value: object) -> Weekday:
    if isinstance(value, str):
        day = _KANJI.get(re.sub(r"曜日?$", "", value), value.lower()[:3] if value.isascii() else value)
        if day in list(Weekday):
            return Weekday(day)
    raise expected(
        "mon / tue / wed / thu / fri / sat / sun (または 月〜日)", "mon, tue, wed, thu, fri, sat or sun"
    )


class MonthDay(NamedTuple):
    """A day of every year."""

    month: int
    day: int


class YearlyRange(NamedTuple):
    """Days of every year, both ends included; `first` after `last` goes over New Year."""

    first: MonthDay
    last: MonthDay


def covers_year(ranges: Iterable[YearlyRange]) -> bool:
    """Whether no day of the year is left."""
    left = {date(2024, 1, 1) + timedelta(days=number) for number in range(366)}
    for first, last in ranges:
        begin, end = date(2024, *first), date(2024, *last)
        over_new_year = end < begin
        left = {day for day in left if (end < day < begin if over_new_year else not begin <= day <= end)}
    return not left


def _month_day(text: str) -> MonthDay:
    match = re.fullmatch(r"([0-9]{1,2})-([0-9]{1,2})", text.strip())
    if not match:
        raise ValueError(text)
    # 2024 is a leap year, so that 02-29 is a day
    day = date(2024, int(match[1]), int(match[2]))
    return MonthDay(day.month, day.day)


def _yearly(value: object) -> YearlyRange:
    if isinstance(value, YearlyRange):
        return value
    try:
        first, dots, last = str(value).partition("..")
        return YearlyRange(_month_day(first), _month_day(last if dots else first))
    except ValueError:
        raise expected(
            "12-29..01-03 のような毎年の期間 (月-日..月-日)",
            "a yearly range such as 12-29..01-03 (month-day..month-day)",
        ) from None


class DateRange(NamedTuple):
    """Days of one year, both ends included."""

    first: date
    last: date


def _dates(value: object) -> DateRange:
    if isinstance(value, DateRange):
        return value
    try:
        first, dots, last = str(value).partition("..")
        begin = date.fromisoformat(first.strip())
        end = date.fromisoformat(last.strip()) if dots else begin
        if not 0 <= (end - begin).days <= 366:
            raise ValueError(value)
        return DateRange(begin, end)
    except ValueError:
        raise expected(
            "2026-10-05 または 2026-10-05..2026-10-09 のような日付",
            "a date or dates such as 2026-10-05 or 2026-10-05..2026-10-09",
        ) from None


def local_day(value: object) -> date:
    """A converter to one day, which begins at midnight in the library's time zone."""
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value).strip())
    except ValueError:
        raise expected("2026-04-01 のような日付", "a date such as 2026-04-01") from None


Day = Annotated[Weekday, PlainValidator(_weekday)]
Yearly = Annotated[YearlyRange, PlainValidator(_yearly)]
Dates = Annotated[DateRange, PlainValidator(_dates)]
