"""A branch's opening days: rules and public holidays go in, open or closed (and why) comes out.

Pure: no clock, no file. It never decides a deadline (`holds_core.deadline`) and never sends. The only
module that knows jpholiday, whose calculation the Cabinet Office's own list overrides year by year.

Order of force: explicit open date > explicit closed date or range > yearly open day > yearly range >
public holiday > monthly, weekly and moved closings. Rules were collected from the ordinances and pages
of some forty Japanese municipal libraries; the comments name where an odd one comes from.
"""

from __future__ import annotations

import functools
import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import IntEnum, StrEnum

import jpholiday

from holds_core.errors import BadInput

FIRST_YEAR, LAST_YEAR = 1950, 2150
"""Years a calendar answers for: from the first full year of the holiday law to the end of the published
formulas for the equinoxes. Any other year is a slip of the pen in somebody's data."""

HORIZON = 1100
"""Days that a search for an open day goes on: three years, longer than any rebuilding of a library."""

_DAY = timedelta(days=1)


Weekday = IntEnum("Weekday", "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY", start=0)
"""Days of the week, numbered as `date.weekday` does."""

_WEEKEND = frozenset({Weekday.SATURDAY, Weekday.SUNDAY})


class OnHoliday(StrEnum):
    """What a public holiday does to a branch."""

    AS_USUAL = "as_usual"  # nothing: a closed Monday stays closed, an open day stays open
    OPEN = "open"  # opens, also where a weekly or monthly closing falls on it
    CLOSED = "closed"
    MAIN_ONLY = "main_only"  # the main library opens, the branches close (Izumisano)


class Substitute(StrEnum):
    """Where a closing goes when a public holiday takes its day."""

    NONE = "none"
    NEXT_NON_HOLIDAY = "next_non_holiday"  # the nearest following day that is no holiday (Tosu's ordinance)
    NEXT_WEEKDAY = "next_weekday"  # the same, but never Saturday, Sunday or a weekly closed day (Hiroshima)


class Shift(StrEnum):
    """Where a month-end closing goes when its day is closed anyway."""

    NONE = "none"
    EARLIER = "earlier"
    LATER = "later"


class WhyClosed(StrEnum):
    """Why a branch is closed on a day: a code, and its words in Japanese and English."""

    ja: str
    en: str

    def __new__(cls, code: str, ja: str = "", en: str = "") -> WhyClosed:
        member = str.__new__(cls, code)
        member._value_, member.ja, member.en = code, ja, en
        return member

    TEMPORARY = "temporary", "臨時休館日", "closed for the day"
    PERIOD = "period", "休館期間", "closed for a period"
    YEARLY = "yearly", "年末年始等の休館日", "yearly closed period"
    HOLIDAY = "holiday", "祝日・休日の休館日", "public holiday"
    WEEKLY = "weekly", "定休日", "weekly closed day"
    MONTHLY = "monthly", "館内整理日", "monthly closed day"
    MONTH_END = "month_end", "月末の館内整理日", "closed at the end of the month"
    SUBSTITUTE = "substitute", "振替休館日", "closed in place of a public holiday"
    AFTER_HOLIDAY = "after_holiday", "祝日の翌日の休館日", "closed after a public holiday"


@dataclass(frozen=True, slots=True)
class YearlyRange:
    """Days of every year as (month, day), both ends included. A last day before the first one lies in the
    next year; 29 February is met in leap years only. Raises BadInput for a day no year has."""

    first: tuple[int, int]
    last: tuple[int, int]

    def __post_init__(self) -> None:
        for month, day in (self.first, self.last):
            if not 1 <= month <= 12 or not 1 <= day <= monthrange(2000, month)[1]:
                raise BadInput(f"{month:02}-{day:02}: there is no such day of the year")

    @classmethod
    def parse(cls, text: str) -> YearlyRange:
        """From "12-29..01-03", or "08-06" for one day; raises BadInput."""
        found = re.fullmatch(r"([0-9]{1,2})-([0-9]{1,2})(?:\.\.([0-9]{1,2})-([0-9]{1,2}))?", text.strip())
        if not found:
            raise BadInput(f"{text!r}: expected days of the year as MM-DD..MM-DD, such as 12-29..01-03")
        first = int(found[1]), int(found[2])
        return cls(first, (int(found[3]), int(found[4])) if found[3] else first)

    def __contains__(self, day: date) -> bool:
        this = (day.month, day.day)
        inside = this >= self.first, this <= self.last
        return all(inside) if self.first <= self.last else any(inside)


@dataclass(frozen=True, slots=True)
class DateRange:
    """Days from `first` to `last`, both included; raises BadInput when they are the wrong way round."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise BadInput(f"{self.first}..{self.last}: the last day lies before the first")

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class MonthlyDay:
    """The nth such weekday of each month, 1 to 5 (a month without a fifth has none); -1 is the last."""

    weekday: Weekday
    nth: int

    def __post_init__(self) -> None:
        if self.nth not in (1, 2, 3, 4, 5, -1):
            raise BadInput(f"nth weekday of a month: {self.nth} is none of 1 to 5 and -1 (last)")

    def __contains__(self, day: date) -> bool:
        last = day.day + 7 > monthrange(day.year, day.month)[1]
        nth = (day.day - 1) // 7 + 1
        return day.weekday() == self.weekday and (self.nth == nth or (self.nth == -1 and last))


@dataclass(frozen=True, slots=True)
class MonthEnd:
    """The last day of these months. `shift` moves it off holidays, weekly closed days, yearly ranges and
    the weekdays of `avoid` (Hiroshima: odd months; the Friday before if Saturday, Sunday or Monday)."""

    months: frozenset[int] = frozenset(range(1, 13))
    shift: Shift = Shift.NONE
    avoid: frozenset[Weekday] = frozenset()

    def __post_init__(self) -> None:
        if not self.months or not self.months <= frozenset(range(1, 13)):
            raise BadInput("month end: months must be numbers from 1 to 12, one at least")


@dataclass(frozen=True, slots=True)
class ClosedRules:
    """When a branch is closed. An empty set of rules is open every day. Raises BadInput for rules that
    contradict each other or never leave a day open."""

    weekly: frozenset[Weekday] = frozenset()
    monthly: tuple[MonthlyDay, ...] = ()
    month_end: MonthEnd | None = None
    holidays: OnHoliday = OnHoliday.AS_USUAL
    substitute: Substitute = Substitute.NONE  # for weekly and monthly closings that meet a public holiday
    monthly_substitute: Substitute | None = None  # where it differs (Aisai: dropped); None: as `substitute`
    after_holiday: Substitute = Substitute.NONE  # a closing of its own after every holiday (Hiroshima)
    yearly: tuple[YearlyRange, ...] = ()
    open_yearly: tuple[YearlyRange, ...] = ()  # opens even so (Hiroshima: 6 August)
    closed_ranges: tuple[DateRange, ...] = ()
    closed_dates: frozenset[date] = frozenset()
    open_dates: frozenset[date] = frozenset()  # with all weekdays closed they are a bookmobile's round

    def __post_init__(self) -> None:
        moves = {self.substitute, self.monthly_substitute} - {None, Substitute.NONE}
        if self.holidays is OnHoliday.AS_USUAL and moves:
            raise BadInput("a substitute needs holidays: open, closed or main_only (as_usual moves nothing)")
        if self.open_dates or self.open_yearly:
            return
        if self.weekly == frozenset(Weekday) and self.holidays in (OnHoliday.AS_USUAL, OnHoliday.CLOSED):
            raise BadInput("all seven weekdays are closed and no open date is given: it would never open")
        leap_year = (date(2000, 1, 1) + number * _DAY for number in range(366))
        if all(any(day in span for span in self.yearly) for day in leap_year):
            raise BadInput("the yearly ranges close the whole year: it would never open")


@dataclass(frozen=True, slots=True)
class Holidays:
    """Public holidays: the Cabinet Office's list for the years it covers, jpholiday for the others, and
    days of the library's own that count as holidays (a prefecture's day)."""

    official: Mapping[date, str] = field(default_factory=dict)
    """Date -> name, as `holiday_list.read_official` returns it. A year whose New Year's Day is in it is taken from here
    alone, so that a holiday moved by law disappears from its old day."""
    extra: Mapping[date, str] = field(default_factory=dict)

    def name(self, day: date) -> str | None:
        """The holiday's Japanese name, or None on any other day."""
        if day in self.extra:
            return self.extra[day]
        if date(day.year, 1, 1) in self.official:
            return self.official.get(day)
        return _calculated(day.year).get(day)

    def of_year(self, year: int) -> dict[date, str]:
        """All holidays of a year, date -> name, from `FIRST_YEAR` to `LAST_YEAR`."""
        official = date(year, 1, 1) in self.official
        base = self.official if official else _calculated(year)
        return {day: name for day, name in {**base, **self.extra}.items() if day.year == year}


@functools.cache
def _calculated(year: int) -> Mapping[date, str]:
    # 40 ms a year in jpholiday: too slow to ask for every hold; the cache holds two centuries at most
    return dict(jpholiday.year_holidays(year))


@dataclass(frozen=True, slots=True)
class Calendar:
    """One branch's days: its rules, the holidays, and whether it is the main library."""

    rules: ClosedRules
    holidays: Holidays = field(default_factory=Holidays)
    main: bool = True

    def is_open(self, day: date) -> bool:
        """Whether the branch opens on `day`. Raises as `why_closed` does."""
        return self.why_closed(day) is None

    def why_closed(self, day: date) -> WhyClosed | None:
        """The reason in force on `day`, or None if it is open.

        Raises BadInput for a day outside `FIRST_YEAR` to `LAST_YEAR`, TypeError for a datetime (whose
        day depends on a time zone that only the caller knows).
        """
        _check_day(day)
        rules = self.rules
        if day in rules.open_dates:
            return None
        if day in rules.closed_dates:
            return WhyClosed.TEMPORARY
        if any(day in span for span in rules.closed_ranges):
            return WhyClosed.PERIOD
        if any(day in span for span in rules.open_yearly):
            return None
        if any(day in span for span in rules.yearly):
            return WhyClosed.YEARLY
        if rules.holidays is not OnHoliday.AS_USUAL and self.holidays.name(day):
            opens = rules.holidays is OnHoliday.OPEN or (rules.holidays is OnHoliday.MAIN_ONLY and self.main)
            return None if opens else WhyClosed.HOLIDAY
        return self._regularly(day)

    def next_open(self, day: date, *, inclusive: bool = True) -> date:
        """The first open day from `day` on (`inclusive`) or after it.

        Raises BadInput if there is none within `HORIZON` days.
        """
        _check_day(day)
        for ahead in range(0 if inclusive else 1, HORIZON):
            if self.is_open(found := day + ahead * _DAY):
                return found
        raise BadInput(f"the branch has no open day within {HORIZON} days of {day}")

    def add_open_days(self, day: date, number: int) -> date:
        """The `number`-th open day after `day`; 0 is `day` itself if open, else the next open day.

        Raises ValueError for a negative number, BadInput as `next_open` does.
        """
        if number < 0:
            raise ValueError("a number of open days is not negative")
        day = self.next_open(day) if number == 0 else day
        for _ in range(number):
            day = self.next_open(day, inclusive=False)
        return day

    def open_days(self, first: date, last: date) -> int:
        """How many open days lie from `first` to `last`, both included; 0 if `last` is earlier."""
        return sum(self.is_open(first + ahead * _DAY) for ahead in range((last - first).days + 1))

    def with_closing(self, span: DateRange) -> Calendar:
        """The same calendar with an unforeseen closing (臨時休館), which also takes back open dates."""
        kept = frozenset(day for day in self.rules.open_dates if day not in span)
        ranges = (*self.rules.closed_ranges, span)
        return replace(self, rules=replace(self.rules, closed_ranges=ranges, open_dates=kept))

    def _regularly(self, day: date) -> WhyClosed | None:
        rules = self.rules

        def weekly(day: date) -> bool:
            return day.weekday() in rules.weekly

        def monthly(day: date) -> bool:
            return any(day in rule for rule in rules.monthly)

        if weekly(day):
            return WhyClosed.WEEKLY
        if monthly(day):
            return WhyClosed.MONTHLY
        if rules.month_end and self._is_month_end(day, rules.month_end):
            return WhyClosed.MONTH_END
        where = rules.substitute if rules.monthly_substitute is None else rules.monthly_substitute
        if self._moved_here(day, rules.substitute, weekly) or self._moved_here(day, where, monthly):
            return WhyClosed.SUBSTITUTE
        if self._moved_here(day, rules.after_holiday, lambda _: True):
            return WhyClosed.AFTER_HOLIDAY
        return None

    def _moved_here(self, day: date, where: Substitute, loses: Callable[[date], bool]) -> bool:
        # Looks back from `day` over the days that could not take the closing, for a holiday that lost it.
        if where is Substitute.NONE or self._skipped(day, where):
            return False
        for back in range(1, HORIZON):
            earlier = day - back * _DAY
            if not self._skipped(earlier, where):
                return False
            if self.holidays.name(earlier) and loses(earlier):
                return True
        return False

    def _skipped(self, day: date, where: Substitute) -> bool:
        if where is Substitute.NEXT_WEEKDAY and day.weekday() in _WEEKEND | self.rules.weekly:
            return True
        return self.holidays.name(day) is not None

    def _is_month_end(self, day: date, rule: MonthEnd) -> bool:
        this = date(day.year, day.month, monthrange(day.year, day.month)[1])
        before = date(day.year, day.month, 1) - _DAY  # may have been shifted into this month
        return any(end.month in rule.months and self._shifted(end, rule) == day for end in (this, before))

    def _shifted(self, end: date, rule: MonthEnd) -> date:
        step = {Shift.NONE: 0, Shift.EARLIER: -1, Shift.LATER: 1}[rule.shift] * _DAY
        for _ in range(28):
            yearly = any(end in span for span in self.rules.yearly)
            if not (yearly or end.weekday() in self.rules.weekly | rule.avoid or self.holidays.name(end)):
                break
            end += step
        return end


def _check_day(day: date) -> None:
    if isinstance(day, datetime):
        raise TypeError("a calendar is asked about a local date, not a datetime")
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise BadInput(f"{day}: a calendar knows the years {FIRST_YEAR} to {LAST_YEAR} only")
