"""Deadlines: each library's wording as a row, then what must hold for any rule."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holds_core.calendar import (
    Calendar,
    ClosedRules,
    DateRange,
    MonthlyDay,
    OnHoliday,
    Substitute,
    Weekday,
    YearlyRange,
)
from holds_core.deadline import (
    Count,
    DeadlineRule,
    Extension,
    From,
    OnClosing,
    Standstill,
    Start,
    after_closing,
    deadline,
    ends,
    extended,
    has_passed,
    reminder_day,
    shifted,
)
from holds_core.errors import BadInput

JST = ZoneInfo("Asia/Tokyo")
ALWAYS = Calendar(ClosedRules())
# closed in October 2024: 3, 7, 15, 21, 28
TOSU = Calendar(
    ClosedRules(
        weekly=frozenset({Weekday.MONDAY}),
        monthly=(MonthlyDay(Weekday.THURSDAY, 1),),
        holidays=OnHoliday.OPEN,
        substitute=Substitute.NEXT_NON_HOLIDAY,
        yearly=(YearlyRange.parse("12-29..01-03"),),
    )
)
WEEK = DeadlineRule(7)
SEVEN_OPEN = DeadlineRule(7, Count.OPEN)


def oct_(day: int) -> date:
    return date(2024, 10, 1) + timedelta(day - 1)


def jst(day: int, hour: int = 10) -> datetime:
    return datetime(2024, 10, 1, hour, tzinfo=JST) + timedelta(day - 1)


@pytest.mark.parametrize(
    ("wording", "rule", "sent", "ready", "last"),
    [
        ("鳥栖: メールによる連絡後1週間", WEEK, 1, 1, 8),
        ("鳥栖: the 15th is closed, so the 16th", WEEK, 8, 8, 16),
        ("鳥栖: over the year's turn", WEEK, 83, 83, 96),  # 22 December to 4 January
        ("新宮: 連絡した日を含む8日間", DeadlineRule(8, start=Start.SEND_DAY), 1, 1, 8),
        ("三島: メール送信後8日間(送信日含む)", DeadlineRule(8, start=Start.SEND_DAY), 4, 2, 11),
        ("江東: 1週間", WEEK, 9, 8, 16),
        ("宇都宮: 連絡後10日以内", DeadlineRule(10), 1, 1, 11),
        ("世田谷: 連絡日から1週間後", WEEK, 10, 1, 17),
        ("西宮: 発信した翌日から7開館日", SEVEN_OPEN, 1, 1, 10),
        ("西宮, 連絡不要: 確保できた翌日から", DeadlineRule(7, Count.OPEN, Start.READY_NEXT_DAY), 9, 1, 10),
        ("船橋: 連絡日の翌日から休館日を除いた7日間", SEVEN_OPEN, 8, 8, 16),
        ("名古屋: 7開館日, the day itself counted", DeadlineRule(7, Count.OPEN, Start.SEND_DAY), 8, 8, 14),
        ("川崎: 用意できた後10日間", DeadlineRule(10, start=Start.READY_NEXT_DAY), 9, 1, 11),
        ("ready day itself counted", DeadlineRule(8, start=Start.READY_DAY), 9, 1, 8),
        ("not pushed off", DeadlineRule(7, push_off_closed=False), 8, 8, 15),
        ("one day from a closed day", DeadlineRule(1, Count.OPEN, Start.SEND_DAY), 3, 3, 4),
        ("today only", DeadlineRule(1, start=Start.SEND_DAY), 1, 1, 1),
    ],
)
def test_what_libraries_write(wording: str, rule: DeadlineRule, sent: int, ready: int, last: int) -> None:
    assert deadline(rule, TOSU, sent_on=oct_(sent), ready_on=oct_(ready)) == oct_(last), wording


any_rule = st.builds(
    DeadlineRule,
    days=st.integers(1, 40),
    count=st.sampled_from(Count),
    start=st.sampled_from(Start),
    push_off_closed=st.booleans(),
)
any_day = st.dates(date(2010, 1, 1), date(2040, 1, 1))
calendars = st.sampled_from([TOSU, ALWAYS])


@settings(max_examples=200, deadline=None)
@given(any_rule, calendars, any_day, st.integers(0, 20), st.integers(0, 20))
def test_a_later_mail_never_gives_an_earlier_deadline(
    rule: DeadlineRule, calendar: Calendar, ready: date, wait: int, more: int
) -> None:
    sent = ready + timedelta(wait)
    first = deadline(rule, calendar, sent_on=sent, ready_on=ready)
    later = deadline(rule, calendar, sent_on=sent + timedelta(more), ready_on=ready)
    assert ready <= first <= later
    if rule.push_off_closed or rule.count is Count.OPEN:
        assert calendar.is_open(first)
    if rule.start in (Start.SEND_DAY, Start.NEXT_DAY):
        assert first >= sent + timedelta(rule.days - 1)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), any_day)
def test_where_every_day_is_open_both_counts_agree(days: int, sent: date) -> None:
    counts = {deadline(DeadlineRule(days, c), ALWAYS, sent_on=sent, ready_on=sent) for c in Count}
    assert counts == {sent + timedelta(days)}


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 30), any_day)
def test_the_patron_has_all_promised_open_days(days: int, sent: date) -> None:
    last = deadline(DeadlineRule(days, Count.OPEN), TOSU, sent_on=sent, ready_on=sent)
    assert TOSU.open_days(sent + timedelta(1), last) == days


KOTO = DeadlineRule(7, extension=Extension(3))
HIRATSUKA = DeadlineRule(7, extension=Extension(7, counts_from=From.REQUEST, only_if_nobody_waits=False))
OFTEN = DeadlineRule(7, Count.OPEN, extension=Extension(2, times=None))


@pytest.mark.parametrize(
    ("rule", "current", "asked", "used", "waiting", "expected"),
    [
        (KOTO, 9, 8, 0, 0, 12),
        (KOTO, 12, 8, 0, 0, 16),  # the 15th is closed
        (KOTO, 9, 9, 0, 0, 12),
        (KOTO, 9, 10, 0, 0, None),
        (KOTO, 9, 8, 1, 0, None),
        (KOTO, 9, 8, 0, 1, None),
        (HIRATSUKA, 9, 5, 0, 2, 12),
        (HIRATSUKA, 20, 5, 0, 0, 20),  # asked long before: no day is lost by asking
        (OFTEN, 12, 8, 5, 0, 14),
        (OFTEN, 13, 8, 5, 0, 16),
        (WEEK, 9, 8, 0, 0, None),
    ],
)
def test_extensions(
    rule: DeadlineRule, current: int, asked: int, used: int, waiting: int, expected: int | None
) -> None:
    found = extended(rule, TOSU, oct_(current), asked_on=oct_(asked), used=used, waiting=waiting)
    assert found == (expected and oct_(expected))


@pytest.mark.parametrize(
    ("on_closing", "count", "closing", "expected"),
    [
        (OnClosing.ADDS, Count.CALENDAR, (4, 6), 12),  # three open days lost: 9 + 3
        (OnClosing.ADDS, Count.CALENDAR, (6, 8), 11),  # the 7th was closed anyway
        (OnClosing.ADDS, Count.CALENDAR, (9, 19), 20),  # the last day is lost, the reopening day given
        (OnClosing.ADDS, Count.CALENDAR, (7, 7), 9),
        (OnClosing.ADDS, Count.CALENDAR, (10, 19), 9),
        (OnClosing.ADDS, Count.OPEN, (4, 6), 12),
        (OnClosing.ADDS, Count.OPEN, (9, 19), 20),
        (OnClosing.NOTHING, Count.CALENDAR, (4, 6), 9),
        (OnClosing.NOTHING, Count.CALENDAR, (9, 10), 11),
        (OnClosing.RESTARTS, Count.CALENDAR, (4, 6), 16),  # reopens on the 8th: day 7 is the 14th …
        (OnClosing.RESTARTS, Count.OPEN, (4, 6), 14),
        (OnClosing.RESTARTS, Count.CALENDAR, (10, 12), 9),
    ],
)
def test_an_unforeseen_closing(
    on_closing: OnClosing, count: Count, closing: tuple[int, int], expected: int
) -> None:
    rule = DeadlineRule(8 if expected == 16 else 7, count, on_closing=on_closing)
    span = DateRange(oct_(closing[0]), oct_(closing[1]))
    assert after_closing(rule, TOSU, oct_(9), span) == oct_(expected)


@settings(max_examples=100, deadline=None)
@given(any_rule, any_day, st.integers(0, 10), st.integers(0, 20), st.sampled_from(OnClosing))
def test_no_closing_takes_days_away(
    rule: DeadlineRule, sent: date, ahead: int, length: int, on_closing: OnClosing
) -> None:
    rule = DeadlineRule(rule.days, rule.count, rule.start, on_closing=on_closing)
    current = deadline(rule, TOSU, sent_on=sent, ready_on=sent)
    span = DateRange(sent + timedelta(ahead), sent + timedelta(ahead + length))
    after = after_closing(rule, TOSU, current, span)
    assert after >= current
    assert TOSU.with_closing(span).is_open(after)
    if on_closing is OnClosing.ADDS and rule.count is Count.OPEN:
        assert TOSU.with_closing(span).open_days(sent, after) == TOSU.open_days(sent, current)


def still(since: datetime, until: datetime | None = None) -> Standstill:
    return Standstill(since, until)


UNTIL_TWO_DAYS = DeadlineRule(7, stands_still_at_most=2)


@pytest.mark.parametrize(
    ("rule", "standstills", "now", "expected"),
    [
        (WEEK, [], 20, 8),
        (WEEK, [still(jst(3), jst(5))], 20, 10),
        (WEEK, [still(jst(3, 0), jst(3, 23))], 20, 8),  # found and mended on one day
        (WEEK, [still(jst(3))], 3, 8),
        (WEEK, [still(jst(3))], 6, 11),
        (WEEK, [still(jst(3))], 60, 65),  # and so it never lapses
        # 15:30 UTC on the 2nd is the 3rd in Japan; 14:30 UTC is still the 5th
        (
            WEEK,
            [still(datetime(2024, 10, 2, 15, 30, tzinfo=UTC), datetime(2024, 10, 5, 14, 30, tzinfo=UTC))],
            20,
            10,
        ),
        # two addresses fail at the same time: a day is lost once
        (WEEK, [still(jst(4), jst(7)), still(jst(3), jst(5))], 20, 12),
        (WEEK, [still(jst(3), jst(9)), still(jst(4), jst(5))], 20, 14),
        (WEEK, [still(jst(3), jst(4)), still(jst(6), jst(8))], 20, 11),
        # on the last day it counts, after it the hold has lapsed
        (WEEK, [still(jst(8), jst(10))], 20, 10),
        (WEEK, [still(jst(9), jst(12))], 20, 8),
        # the second failure falls into the time won by the first
        (WEEK, [still(jst(3), jst(6)), still(jst(10), jst(12))], 20, 13),
        (WEEK, [still(jst(5), jst(3))], 20, 8),  # clocks that disagree
        (UNTIL_TWO_DAYS, [still(jst(3))], 60, 10),
        (UNTIL_TWO_DAYS, [still(jst(3), jst(4)), still(jst(6), jst(9))], 60, 10),
        (DeadlineRule(7, stands_still=False), [still(jst(3))], 60, 8),
        (DeadlineRule(7, stands_still_at_most=0), [still(jst(3))], 60, 8),
    ],
)
def test_the_clock_stands_still(
    rule: DeadlineRule, standstills: list[Standstill], now: int, expected: int
) -> None:
    assert shifted(rule, ALWAYS, oct_(8), standstills, tz=JST, now=jst(now)) == oct_(expected)


@pytest.mark.parametrize(
    ("rule", "since", "until", "expected"),
    [
        (SEVEN_OPEN, 2, 5, 12),  # the 2nd and 4th were open: two more open days after the 10th
        (SEVEN_OPEN, 3, 4, 10),  # a closed day is no loss
        (WEEK, 2, 7, 16),  # 10 + 5 is the 15th, closed
        (WEEK, 3, 3, 10),
    ],
)
def test_standing_still_on_a_real_calendar(rule: DeadlineRule, since: int, until: int, expected: int) -> None:
    found = shifted(rule, TOSU, oct_(10), [still(jst(since), jst(until))], tz=JST, now=jst(30))
    assert found == oct_(expected)


def test_a_feeds_deadline_on_a_closed_day_is_left_alone_without_a_loss() -> None:
    same_day, closed_day = [still(jst(3, 9), jst(3, 18))], [still(jst(3), jst(4))]
    assert shifted(WEEK, TOSU, oct_(15), same_day, tz=JST, now=jst(30)) == oct_(15)
    assert shifted(SEVEN_OPEN, TOSU, oct_(15), closed_day, tz=JST, now=jst(30)) == oct_(15)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([WEEK, SEVEN_OPEN, DeadlineRule(14)]),
    calendars,
    any_day,
    st.integers(0, 24 * 6),
    st.integers(0, 24 * 60),
    st.integers(0, 24 * 10),
)
def test_an_undelivered_hold_never_lapses_by_itself(
    rule: DeadlineRule, calendar: Calendar, sent: date, known: int, passed: int, more: int
) -> None:
    current = deadline(rule, calendar, sent_on=sent, ready_on=sent)
    since = datetime.combine(sent, time(10), JST) + timedelta(hours=known)
    now = since + timedelta(hours=passed)
    first = shifted(rule, calendar, current, [still(since)], tz=JST, now=now)
    later = shifted(rule, calendar, current, [still(since)], tz=JST, now=now + timedelta(hours=more))
    assert current <= first <= later
    assert not has_passed(rule, first, tz=JST, now=now)


def test_a_deadline_ends_at_midnight_or_at_closing_time() -> None:
    seven = DeadlineRule(7, ends_at=time(19))
    assert ends(WEEK, oct_(8), JST) == datetime(2024, 10, 9, tzinfo=JST)
    assert ends(seven, oct_(8), JST) == datetime(2024, 10, 8, 10, tzinfo=UTC)
    assert ends(WEEK, oct_(8), JST).tzinfo is JST
    for rule, last_moment in ((WEEK, jst(8, 23)), (seven, jst(8, 18))):
        assert not has_passed(rule, oct_(8), tz=JST, now=last_moment)
        assert has_passed(rule, oct_(8), tz=JST, now=(last_moment + timedelta(hours=1)).astimezone(UTC))


@pytest.mark.parametrize("tz", [JST, UTC, timezone(timedelta(hours=-11))])
def test_no_deadline_at_all_never_passes(tz: ZoneInfo) -> None:
    now = datetime(2999, 1, 1, tzinfo=UTC)
    assert not has_passed(WEEK, date.max, tz=tz, now=now)


def test_a_reminder_is_counted_in_calendar_days() -> None:
    assert reminder_day(oct_(8), 2) == oct_(6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 0},
        {"days": -1},
        {"days": 367},
        {"days": 7, "ends_at": time(19, tzinfo=UTC)},
        {"days": 7, "stands_still_at_most": -1},
    ],
)
def test_rules_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        DeadlineRule(**wrong)  # type: ignore[arg-type]


def test_extensions_and_times_that_cannot_be_meant() -> None:
    with pytest.raises(BadInput):
        Extension(0)
    with pytest.raises(BadInput):
        Extension(3, times=0)
    naive = jst(3).replace(tzinfo=None)
    with pytest.raises(ValueError, match="aware"):
        Standstill(naive)
    with pytest.raises(ValueError, match="aware"):
        Standstill(jst(1), naive)
