"""The last day on which a shelved hold may be picked up: a formula, its extensions, its standing still.

In go a library's rule, a branch's calendar and the days of a hold; out come dates, and the moment at
which a deadline ends. Pure: the day a mail was sent and `now` are arguments. It does not know who decides
(`ils` or `todoku`), nor what a notice is.

All dates are local to the library. A deadline is the last day of the period, the whole of it included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from holds_core.calendar import LAST_YEAR, Calendar, DateRange
from holds_core.errors import BadInput

MAX_DAYS = 366
"""The longest period a rule may give; more is a slip in the configuration."""


SHELF_YEARS = (2000, LAST_YEAR)
"""Years in which a hold may wait on a shelf. Another one is a slip in somebody's data, and no calendar or mail
could do anything sensible with it."""


def shelf_day(day: date) -> date | None:
    """A day of the hold shelf as another system gave it; None for the last date of all, which some systems
    write for "not set". Raises BadInput for one that cannot be meant."""
    if day == date.max:
        return None
    if not SHELF_YEARS[0] <= day.year <= SHELF_YEARS[1]:
        raise BadInput(f"a day on the hold shelf lies in the years {SHELF_YEARS[0]} to {SHELF_YEARS[1]}")
    return day


class Count(StrEnum):
    """Which days count."""

    CALENDAR = "calendar"
    OPEN = "open"  # open days of the pickup branch only (開館日)


class Start(StrEnum):
    """The day that is counted as day 1."""

    SEND_DAY = "send_day"  # 連絡した日を含む8日間 (Shingu)
    NEXT_DAY = "next_day"  # メールによる連絡後1週間 (Tosu), メールを発信した翌日から (Nishinomiya)
    READY_DAY = "ready_day"
    READY_NEXT_DAY = "ready_next_day"  # 用意できた後10日間 (Kawasaki); 連絡不要 (Nishinomiya, Yokohama)


class From(StrEnum):
    """From where an extension counts."""

    DEADLINE = "deadline"
    REQUEST = "request"  # 手続きの日から7日間 (Hiratsuka)


class OnClosing(StrEnum):
    """What an unforeseen closing (臨時休館) does to a running period."""

    NOTHING = "nothing"  # at most it is pushed off the closed days
    ADDS = "adds"  # as many days are added as the patron lost, of those the branch would have been open
    RESTARTS = "restarts"  # 再開した日より1週間 (Joyo): the reopening day is day 1


@dataclass(frozen=True, slots=True)
class Extension:
    """How a patron may have a hold kept longer: by `days`, `times` often (None: no limit)."""

    days: int
    times: int | None = 1
    counts_from: From = From.DEADLINE
    only_if_nobody_waits: bool = True  # 予約が入っていない資料に限り (Koto)

    def __post_init__(self) -> None:
        _check_days("extension", self.days)
        if self.times is not None and self.times < 1:
            raise BadInput(f"extension: times is {self.times}; expected 1 or more, or none for no limit")


@dataclass(frozen=True, slots=True)
class DeadlineRule:
    """How long a hold waits. Raises BadInput for a period outside 1 to `MAX_DAYS` days."""

    days: int
    count: Count = Count.CALENDAR
    start: Start = Start.NEXT_DAY
    push_off_closed: bool = True
    """A deadline on a closed day moves to the next open day."""
    ends_at: time | None = None
    """Local closing time at which the last day ends; None: the day's end."""
    extension: Extension | None = None
    on_closing: OnClosing = OnClosing.ADDS
    stands_still: bool = True
    """The clock stands still while the notice is known to be undelivered."""
    stands_still_at_most: int | None = None
    """Days after which it runs on all the same (Tsushima cancels after two weeks unreached); None: a year."""

    def __post_init__(self) -> None:
        _check_days("deadline", self.days)
        if self.ends_at is not None and self.ends_at.tzinfo is not None:
            raise BadInput("deadline: ends_at is a local time of day, without a time zone")
        if self.stands_still_at_most is not None and self.stands_still_at_most < 0:
            raise BadInput("deadline: stands_still_at_most is negative")


@dataclass(frozen=True, slots=True)
class Standstill:
    """A time in which the notice was known to be undelivered: from the moment that became known until
    the patron was reached (None: not yet). Raises ValueError for naive datetimes."""

    since: datetime
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or (self.until is not None and self.until.tzinfo is None):
            raise ValueError("a standstill needs timezone-aware datetimes")


def deadline(rule: DeadlineRule, calendar: Calendar, *, sent_on: date, ready_on: date) -> date:
    """The last day on which a hold waits.

    `sent_on` is the local day on which the mail is handed over (or the patron was reached otherwise),
    `ready_on` the day on which the hold was put on the shelf. Raises BadInput if the calendar has too few
    open days (`Calendar.next_open`).
    """
    start = ready_on if rule.start in (Start.READY_DAY, Start.READY_NEXT_DAY) else sent_on
    day_one = start if rule.start in (Start.SEND_DAY, Start.READY_DAY) else start + timedelta(1)
    return _nth_day(rule, calendar, day_one)


def extended(
    rule: DeadlineRule, calendar: Calendar, current: date, *, asked_on: date, used: int, waiting: int
) -> date | None:
    """The deadline after the patron asked for an extension on `asked_on`, or None if the rule gives none.

    `used` counts earlier extensions, `waiting` other patrons who wait for the item. A deadline that has
    passed is not extended, and none becomes earlier.
    """
    extension = rule.extension
    if extension is None or asked_on > current:
        return None
    if extension.times is not None and used >= extension.times:
        return None
    if extension.only_if_nobody_waits and waiting > 0:
        return None
    start = current if extension.counts_from is From.DEADLINE else asked_on
    return max(current, _moved(rule, calendar, start, extension.days))


def after_closing(rule: DeadlineRule, calendar: Calendar, current: date, closing: DateRange) -> date:
    """The deadline once the branch has announced an unforeseen closing.

    `calendar` is the branch's from before the closing; `Calendar.with_closing` is applied here. A closing
    that begins after the deadline changes nothing, and none makes a deadline earlier.
    """
    if closing.first > current:
        return current
    closed = calendar.with_closing(closing)
    if rule.on_closing is OnClosing.RESTARTS:
        return max(current, _nth_day(rule, closed, closed.next_open(closing.last, inclusive=False)))
    if rule.on_closing is OnClosing.NOTHING:
        return _pushed(rule, closed, current)
    lost = calendar.open_days(closing.first, min(closing.last, current))
    return _moved(rule, closed, current, lost)


def shifted(
    rule: DeadlineRule,
    calendar: Calendar,
    current: date,
    standstills: Sequence[Standstill],
    *,
    tz: tzinfo,
    now: datetime,
) -> date:
    """The deadline with the time added in which the notice was known to be undelivered.

    Every local day on which a standstill begins or lasts counts as lost, the day on which the patron was
    reached does not; a day lost twice counts once. One still going on counts up to `now`: the result
    then moves on by itself each day. A standstill that began after the deadline it would shift changes
    nothing. Returns `current` where the rule lets the clock run on.
    """
    if not rule.stands_still:
        return current
    allowed = MAX_DAYS if rule.stands_still_at_most is None else rule.stands_still_at_most
    for first, end in _merged(standstills, tz, now):
        if first > current:
            break
        lost = min(allowed, (end - first).days)
        allowed -= lost
        if rule.count is Count.OPEN:
            lost = calendar.open_days(first, first + timedelta(lost - 1))
        if lost:
            current = _moved(rule, calendar, current, lost)
    return current


def reminder_day(current: date, days_before: int) -> date:
    """The day on which `hold_expiring` is due, `days_before` calendar days before the deadline."""
    return current - timedelta(days_before)


def ends(rule: DeadlineRule, day: date, tz: tzinfo) -> datetime:
    """The first moment at which a hold with the deadline `day` is too late, timezone-aware.

    That is the branch's closing time on that day, or midnight after it. The last date of all, which some
    systems write for "no deadline", never passes.
    """
    if day == date.max:
        return datetime.combine(day, time.max, tz)
    if rule.ends_at is None:
        return datetime.combine(day + timedelta(1), time(), tz)
    return datetime.combine(day, rule.ends_at, tz)


def has_passed(rule: DeadlineRule, day: date, *, tz: tzinfo, now: datetime) -> bool:
    """Whether a deadline lies behind `now` (timezone-aware, of any zone)."""
    return now >= ends(rule, day, tz)


def _check_days(what: str, days: int) -> None:
    if not 1 <= days <= MAX_DAYS:
        raise BadInput(f"{what}: {days} days; expected 1 to {MAX_DAYS}")


def _nth_day(rule: DeadlineRule, calendar: Calendar, day_one: date) -> date:
    if rule.count is Count.OPEN:
        return calendar.add_open_days(calendar.next_open(day_one), rule.days - 1)
    return _pushed(rule, calendar, day_one + timedelta(rule.days - 1))


def _moved(rule: DeadlineRule, calendar: Calendar, day: date, days: int) -> date:
    # on by `days` of the rule's own kind; never lands on a closed day that the rule avoids
    if rule.count is Count.OPEN:
        return calendar.add_open_days(day, days)
    return _pushed(rule, calendar, day + timedelta(days))


def _pushed(rule: DeadlineRule, calendar: Calendar, day: date) -> date:
    return calendar.next_open(day) if rule.push_off_closed else day


def _merged(standstills: Sequence[Standstill], tz: tzinfo, now: datetime) -> list[tuple[date, date]]:
    # local days from the first one lost to the day on which it ended, in order and without overlap
    merged: list[tuple[date, date]] = []
    for still in sorted(standstills, key=lambda one: one.since):
        first = still.since.astimezone(tz).date()
        end = (still.until or now).astimezone(tz).date()
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > first:
            merged.append((first, end))
    return merged
