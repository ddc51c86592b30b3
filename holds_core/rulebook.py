"""The library's settings as the rule objects that the pure modules take. Pure: settings in, rules out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from holds_core import settings as st
from holds_core.calendar import (
    Calendar,
    ClosedRules,
    DateRange,
    Holidays,
    MonthEnd,
    MonthlyDay,
    OnHoliday,
    Substitute,
    Weekday,
    YearlyRange,
)
from holds_core.deadline import Count, DeadlineRule, Start, deadline
from holds_core.notices import Kind
from holds_core.retry import Backoff, RetryRule

_LAST = -1
_DEADLINES_KEPT = 10_000
_ALWAYS_OPEN = Calendar(ClosedRules())


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What a library's settings decide about days and windows.

    `calendars` has one calendar per branch id; a branch that the settings do not know is always open.
    """

    settings: st.Settings
    calendars: dict[str, Calendar]
    deadline_rule: DeadlineRule
    retry: RetryRule
    _deadlines: dict[tuple[str, date, date | None], date] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, settings: st.Settings, holidays: Holidays | None = None) -> Rulebook:
        """Raises BadInput for closed days that contradict each other."""
        known = holidays or Holidays()
        calendars = {
            branch.id: Calendar(closed_rules(branch.closed), known) for branch in settings.library.branches
        }
        return cls(settings, calendars, deadline_rule(settings.deadline), retry_rule(settings.sending))

    def calendar(self, branch: str) -> Calendar:
        return self.calendars.get(branch, _ALWAYS_OPEN)

    def default_branch(self) -> str:
        """The branch of a hold whose feed names none: the first one of the settings."""
        branches = self.settings.library.branches
        return branches[0].id if branches else ""

    def local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.settings.library.timezone)

    def deadline(self, branch: str, *, sent_on: date, ready_on: date | None) -> date:
        """The last day a hold waits if its mail is handed over on the local day `sent_on`."""
        key = (branch, sent_on, ready_on)
        if key not in self._deadlines:
            if len(self._deadlines) > _DEADLINES_KEPT:
                self._deadlines.clear()
            self._deadlines[key] = deadline(
                self.deadline_rule, self.calendar(branch), sent_on=sent_on, ready_on=ready_on or sent_on
            )
        return self._deadlines[key]

    def window_end(self, kind: Kind, branch: str, handed_over_at: datetime) -> datetime | None:
        """Until when a sign of life is awaited; None for kinds that nobody answers."""
        windows = self.settings.confirmation.windows
        span = {
            Kind.REGISTRATION_CHANGED: windows.registration_changed,
            Kind.HOLD_READY: windows.hold_ready,
        }.get(kind)
        if span is None:
            return None
        if not self.settings.confirmation.open_days or span < timedelta(days=1):
            return handed_over_at + span
        local = self.local(handed_over_at)
        day = self.calendar(branch).add_open_days(local.date(), span.days)
        end = datetime.combine(day, local.timetz()) + (span - timedelta(days=span.days))
        return end.astimezone(handed_over_at.tzinfo)

    def all_closed(self, day: date) -> bool:
        """Whether no branch is open on a day."""
        return bool(self.calendars) and not any(item.is_open(day) for item in self.calendars.values())

    def quiet(self) -> tuple[time, time]:
        """Quiet hours as (from, to); equal times mean none."""
        hours = self.settings.sending.quiet_hours
        return (hours.start, hours.end) if hours else (time(0), time(0))


def closed_rules(closed: st.Closed) -> ClosedRules:
    """One branch's closed days as the calendar takes them."""
    return ClosedRules(
        weekly=frozenset(Weekday(day.number) for day in closed.weekly),
        monthly=(
            *(MonthlyDay(Weekday(rule.weekday.number), rule.week) for rule in closed.nth),
            *(MonthlyDay(Weekday(day.number), _LAST) for day in closed.last),
        ),
        month_end=MonthEnd() if closed.month_end else None,
        holidays=OnHoliday.OPEN if closed.public_holidays is st.PublicHolidays.OPEN else OnHoliday.CLOSED,
        substitute=Substitute(closed.substitute.value),
        yearly=tuple(
            YearlyRange((first.month, first.day), (last.month, last.day)) for first, last in closed.yearly
        ),
        closed_ranges=tuple(DateRange(item.first, item.last) for item in closed.dates),
        open_dates=frozenset(_days(closed.open_dates)),
    )


def _days(ranges: Iterable[st.DateRange]) -> Iterable[date]:
    for item in ranges:
        for number in range((item.last - item.first).days + 1):
            yield item.first + timedelta(days=number)


def deadline_rule(said: st.Deadline) -> DeadlineRule:
    return DeadlineRule(
        days=said.days,
        count=Count(said.count.value),
        start=Start(said.start.value),
        push_off_closed=said.push_off_closed,
    )


def retry_rule(sending: st.Sending) -> RetryRule:
    """The deferred pace as the settings have it; a relay that is down keeps its own pace."""
    return RetryRule(deferred=Backoff(sending.retry_delays, sending.give_up_after))
