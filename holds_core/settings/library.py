"""Settings of the library itself: names, branches, days of closing. Read by rules and templates."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import PlainValidator, ValidationInfo
from pydantic import field_validator as check

from holds_core.settings.base import Section, unique
from holds_core.settings.days import DateRange, Dates, Day, Weekday, Yearly, covers_year
from holds_core.settings.values import (
    FilePath,
    Flag,
    Line,
    Paragraph,
    WebPage,
    Zone,
    choice,
    expected,
    whole,
)


class Language(StrEnum):
    """A language that mail and pages are written in."""

    JA = "ja"
    EN = "en"


class Authority(StrEnum):
    """Who decides about holds: the library system, or Todoku's own rules."""

    ILS = "ils"
    TODOKU = "todoku"


class TitlePolicy(StrEnum):
    """How much of a title stands in a mail's text. Never any of it in the Subject."""

    FULL = "full"
    SHORT = "short"
    NONE = "none"


class PublicHolidays(StrEnum):
    """What a branch does on public holidays. `as_usual`: nothing else than on other days."""

    OPEN = "open"
    CLOSED = "closed"
    AS_USUAL = "as_usual"
    MAIN_ONLY = "main_only"


class Substitute(StrEnum):
    """What follows when a weekly or nth closed day is a public holiday on which the branch is open."""

    NONE = "none"
    NEXT_NON_HOLIDAY = "next_non_holiday"
    NEXT_WEEKDAY = "next_weekday"


class MonthEnd(StrEnum):
    """Whether a branch is closed at the end of the month, and where that goes if the day is closed anyway."""

    OPEN = "open"
    LAST_DAY = "last_day"
    EARLIER = "earlier"
    LATER = "later"


def _month_end(value: object) -> MonthEnd:
    """Yes and no are said too: the last day as it falls, or none."""
    plain = {"true": MonthEnd.LAST_DAY, "yes": MonthEnd.LAST_DAY, "false": MonthEnd.OPEN, "no": MonthEnd.OPEN}
    if isinstance(value, str) and value.lower() in plain:
        return plain[value.lower()]
    if isinstance(value, str) and value in list(MonthEnd):
        return MonthEnd(value)
    raise expected("false / true / earlier / later のいずれか", "one of false, true, earlier, later")


class NthWeekday(Section):
    """The nth such weekday of every month; the fifth exists in some months only."""

    week: Annotated[int, PlainValidator(whole(1, 5))]
    weekday: Day


class Closed(Section):
    """When a branch is closed. `open_dates`, then `dates`, win over every rule."""

    weekly: tuple[Day, ...] = ()
    nth: tuple[NthWeekday, ...] = ()
    last: tuple[Day, ...] = ()
    month_end: Annotated[MonthEnd, PlainValidator(_month_end)] = MonthEnd.OPEN
    public_holidays: Annotated[PublicHolidays, PlainValidator(choice(PublicHolidays))] = PublicHolidays.OPEN
    substitute: Annotated[Substitute, PlainValidator(choice(Substitute))] = Substitute.NONE
    yearly: tuple[Yearly, ...] = ()
    open_yearly: tuple[Yearly, ...] = ()
    dates: tuple[Dates, ...] = ()
    open_dates: tuple[Dates, ...] = ()

    @check("substitute")
    @classmethod
    def _something_to_move(cls, substitute: Substitute, info: ValidationInfo) -> Substitute:
        if substitute is not Substitute.NONE and info.data.get("public_holidays") is PublicHolidays.AS_USUAL:
            raise expected(
                "none (public_holidays: as_usual では振り替える日がありません)",
                "none (public_holidays is as_usual, which moves no closed day)",
            )
        return substitute

    @check("open_dates")
    @classmethod
    def _open_some_day(cls, dates: tuple[DateRange, ...], info: ValidationInfo) -> tuple[DateRange, ...]:
        """A branch that never opens would push every deadline off for ever."""
        if info.data.get("open_yearly"):
            return dates
        holidays_too = info.data.get("public_holidays") in (PublicHolidays.CLOSED, PublicHolidays.AS_USUAL)
        every_week = set(info.data.get("weekly", ())) == set(Weekday) and holidays_too
        if not dates and (every_week or covers_year(info.data.get("yearly", ()))):
            raise expected(
                "開館する日 (ほかの規則では開館日が1日もありません)",
                "some day on which it is open (by the other rules it never is)",
            )
        return dates


class Branch(Section):
    """A place where holds are picked up. `id` is the library system's own code, text even if digits.

    `main` says which one opens under `public_holidays: main_only`; if none says so, the first one is.
    """

    id: Line
    name: Line
    main: Flag | None = None
    name_en: Line | None = None
    phone: Line | None = None
    hours: Paragraph | None = None
    hours_en: Paragraph | None = None
    closed: Closed


class Wording(Section):
    """The library's own names of things that mail speaks of; None leaves the template's word."""

    account_menu: Line | None = None
    address_menu: Line | None = None
    card_name: Line | None = None


class Library(Section):
    """The library and its branches."""

    name: Line
    name_en: Line | None = None
    timezone: Zone = ZoneInfo("Asia/Tokyo")
    language: Annotated[Language, PlainValidator(choice(Language))] = Language.JA
    url: WebPage | None = None
    opac_url: WebPage | None = None
    phone: Line | None = None
    authority: Annotated[Authority, PlainValidator(choice(Authority))] = Authority.ILS
    title_policy: Annotated[TitlePolicy, PlainValidator(choice(TitlePolicy))] = TitlePolicy.FULL
    templates_folder: FilePath | None = None
    holidays_file: FilePath | None = None
    wording: Wording
    branches: tuple[Branch, ...] = ()

    def branch(self, branch_id: str) -> Branch | None:
        """The branch with this code, or None: a feed may name one that the configuration lacks."""
        return next((branch for branch in self.branches if branch.id == branch_id), None)

    def is_main(self, branch: Branch) -> bool:
        """Whether this is the main library (or one of several)."""
        named = [one for one in self.branches if one.main]
        return branch in (named or self.branches[:1])

    @check("branches")
    @classmethod
    def _branch_ids(cls, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
        unique(branches, "id", "ほかの館と重ならないコード", "a code that no other branch has")
        return branches
