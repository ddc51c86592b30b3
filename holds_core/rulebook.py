"""The library's settings as the rule objects that the pure modules take. Pure: settings in, rules out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    Shift,
    Substitute,
    Weekday,
    YearlyRange,
)
from holds_core.deadline import Count, DeadlineRule, OnClosing, Start, deadline
from holds_core.identities import watched
from holds_core.limits import LimitRules
from holds_core.notices import Kind
from holds_core.policy import prompt_at
from holds_core.refusals import Limit
from holds_core.retry import Backoff, RetryRule

_LAST = -1
_DEADLINES_KEPT = 10_000
_TIME_TO_COME = timedelta(days=2)
"""Between a call and the last day on the shelf."""
_SHORTEST_WINDOW = timedelta(hours=12)
_LONGEST_CLOSING = 31
_LONG_AFTER = timedelta(days=_LONGEST_CLOSING + 3)
"""A last day so far behind the window does not shorten it, whatever is closed in between."""
_MORNING = time(8, 0)
"""When a nightly feed's prompt notices leave where no quiet hours say it."""
_ALWAYS_OPEN = Calendar(ClosedRules())


@dataclass(frozen=True, slots=True)
class Closing:
    """An unforeseen closing (臨時休館) of one branch, or with "" of all."""

    branch: str
    days: DateRange


@dataclass(frozen=True, slots=True)
class Days:
    """What the settings do not say about days: it was entered while the daemon ran."""

    closings: tuple[Closing, ...] = ()
    holidays: Mapping[date, str] = field(default_factory=dict)
    """The Cabinet Office's list, as `calendar.read_official` returns it; it wins over the settings' file."""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What a library's settings decide about days and windows.

    `calendars` has one calendar per branch id; a branch that the settings do not know is always open. All
    who hold a rulebook share it: `take` puts unforeseen closings into it while they go on working.
    """

    settings: st.Settings
    calendars: dict[str, Calendar]
    deadline_rule: DeadlineRule
    retry: RetryRule
    holidays: Holidays = field(default_factory=Holidays)
    _deadlines: dict[tuple[str, date, date | None], date] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, settings: st.Settings, holidays: Holidays | None = None, days: Days | None = None
    ) -> Rulebook:
        """Raises BadInput for closed days that contradict each other."""
        rules = deadline_rule(settings.deadline)
        book = cls(settings, {}, rules, retry_rule(settings.sending), holidays or Holidays())
        book.take(days or Days())
        return book

    def take(self, days: Days) -> None:
        """From now on the calendars have these closings and holidays, and no others than the settings'."""
        known = self.holidays
        if days.holidays:
            known = Holidays({**known.official, **days.holidays}, known.extra)
        library = self.settings.library
        calendars = {
            branch.id: Calendar(closed_rules(branch.closed), known, main=library.is_main(branch))
            for branch in library.branches
        }
        for closing in days.closings:
            for branch in [closing.branch] if closing.branch else list(calendars):
                calendars[branch] = calendars.get(branch, _ALWAYS_OPEN).with_closing(closing.days)
        self.calendars.clear()
        self.calendars.update(calendars)
        self._deadlines.clear()

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

    def window_end(
        self, kind: Kind, branch: str, handed_over_at: datetime, deadline: date | None = None
    ) -> datetime | None:
        """Until when a sign of life is awaited; None for kinds that nobody answers.

        Whatever the settings say, it is over by the last morning on which a call helps before `deadline`.
        """
        end = self._window_end(kind, branch, handed_over_at)
        if end is None or deadline is None or kind is not Kind.HOLD_READY:
            return end
        if deadline > end.date() + _LONG_AFTER:
            return end
        # one that is over leaves no time, whatever day it was: a feed may tell one of long ago
        last = self._last_call(branch, max(deadline, handed_over_at.date()))
        # by whole days: mails of one batch keep one window, so that one statement records them
        while end > last and end - handed_over_at >= _SHORTEST_WINDOW + timedelta(days=1):
            end -= timedelta(days=1)
        return end

    def _last_call(self, branch: str, deadline: date) -> datetime:
        """The morning of the last open day on which a patron who is phoned has time to come."""
        day = deadline - _TIME_TO_COME
        calendar = self.calendar(branch)
        for _ in range(_LONGEST_CLOSING):
            if calendar.is_open(day):
                break
            day -= timedelta(days=1)
        return datetime.combine(day, _MORNING, self.settings.library.timezone)

    def _window_end(self, kind: Kind, branch: str, handed_over_at: datetime) -> datetime | None:
        windows = self.settings.confirmation.windows
        span = {
            Kind.REGISTRATION_CHANGED: windows.registration_changed,
            Kind.HOLD_READY: windows.hold_ready,
        }.get(kind)
        if span is None:
            return None
        if kind is Kind.HOLD_READY and watched(self.settings.sender, self.local(handed_over_at).date()):
            span /= 2  # a patron who lists the former sender only must be found in time to be phoned
        if not self.settings.confirmation.open_days or span < timedelta(days=1):
            return handed_over_at + span
        local = self.local(handed_over_at)
        day = self.calendar(branch).add_open_days(local.date(), span.days)
        end = datetime.combine(day, local.timetz()) + (span - timedelta(days=span.days))
        return end.astimezone(handed_over_at.tzinfo)

    def all_closed(self, day: date) -> bool:
        """Whether no branch is open on a day."""
        return bool(self.calendars) and not any(item.is_open(day) for item in self.calendars.values())

    def is_quiet(self, moment: datetime) -> bool:
        """Whether phones must not ring at this moment."""
        start, end = self.quiet()
        clock = self.local(moment).time()
        return start <= clock < end if start <= end else clock >= start or clock < end

    def may_leave(self, moment: datetime) -> datetime:
        """When a prompt notice owed at `moment` may leave at the latest: then, or in the morning."""
        start, end = self.quiet()
        zone = self.settings.library.timezone
        return prompt_at(moment, nightly=True, quiet_from=start, quiet_to=end, zone=zone)

    def quiet(self) -> tuple[time, time]:
        """Quiet hours as (from, to); equal times mean none, and the morning of nightly feeds."""
        hours = self.settings.sending.quiet_hours
        return (hours.start, hours.end) if hours else (_MORNING, _MORNING)


def closed_rules(closed: st.Closed) -> ClosedRules:
    """One branch's closed days as the calendar takes them."""
    return ClosedRules(
        weekly=frozenset(Weekday(day.number) for day in closed.weekly),
        monthly=(
            *(MonthlyDay(Weekday(rule.weekday.number), rule.week) for rule in closed.nth),
            *(MonthlyDay(Weekday(day.number), _LAST) for day in closed.last),
        ),
        month_end=_month_end(closed.month_end),
        holidays=OnHoliday(closed.public_holidays.value),
        substitute=Substitute(closed.substitute.value),
        yearly=tuple(_yearly(closed.yearly)),
        open_yearly=tuple(_yearly(closed.open_yearly)),
        closed_ranges=tuple(DateRange(item.first, item.last) for item in closed.dates),
        open_dates=frozenset(_days(closed.open_dates)),
    )


def _month_end(said: st.MonthEnd) -> MonthEnd | None:
    shifts = {st.MonthEnd.EARLIER: Shift.EARLIER, st.MonthEnd.LATER: Shift.LATER}
    return None if said is st.MonthEnd.OPEN else MonthEnd(shift=shifts.get(said, Shift.NONE))


def _yearly(ranges: Iterable[st.YearlyRange]) -> Iterable[YearlyRange]:
    for first, last in ranges:
        yield YearlyRange((first.month, first.day), (last.month, last.day))


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
        on_closing=_ON_CLOSING[said.on_closure],
        stands_still=said.while_undelivered is st.WhileUndelivered.STANDS_STILL,
    )


_ON_CLOSING = {
    st.OnClosure.PUSH: OnClosing.NOTHING,
    st.OnClosure.ADD: OnClosing.ADDS,
    st.OnClosure.RESTART: OnClosing.RESTARTS,
}


def limit_rules(said: st.Holds) -> LimitRules:
    """What a patron may ask for, and where each rule binds."""
    return LimitRules(
        limits=tuple(
            Limit(item.at_most, frozenset(item.materials), item.name, item.name_en, item.unit)
            for item in said.limits
        ),
        limits_bind=frozenset(said.limits_bind),
        overdue_blocks=frozenset(said.overdue_blocks),
        on_loan_only=frozenset(said.on_loan_only),
        email_required=frozenset(said.email_required),
        never=frozenset(said.never),
        card_pattern=said.card_pattern,
        volumes=said.volumes.web,
        volumes_except=frozenset(said.volumes.besides),
        desk_order=said.volumes.desk,
    )


def retry_rule(sending: st.Sending) -> RetryRule:
    """The deferred pace as the settings have it; a relay that is down keeps its own pace."""
    return RetryRule(deferred=Backoff(sending.retry_delays, sending.give_up_after))
