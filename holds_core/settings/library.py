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
    """What a branch does on public holidays."""

    OPEN = "open"
    CLOSED = "closed"


class Substitute(StrEnum):
    """What follows when a weekly or nth closed day is a public holiday on which the branch is open."""

    NONE = "none"
    NEXT_NON_HOLIDAY = "next_non_holiday"
    NEXT_WEEKDAY = "next_weekday"


class NthWeekday(Section):
    """The nth such weekday of every month; the fifth exists in some months only."""

    week: Annotated[int, PlainValidator(whole(1, 5))]
    weekday: Day


class Closed(Section):
    """When a branch is closed. `open_dates`, then `dates`, win over every rule."""

    weekly: tuple[Day, ...] = ()
    nth: tuple[NthWeekday, ...] = ()
    last: tuple[Day, ...] = ()
    month_end: Flag = False
    public_holidays: Annotated[PublicHolidays, PlainValidator(choice(PublicHolidays))] = PublicHolidays.OPEN
    substitute: Annotated[Substitute, PlainValidator(choice(Substitute))] = Substitute.NONE
    yearly: tuple[Yearly, ...] = ()
    dates: tuple[Dates, ...] = ()
    open_dates: tuple[Dates, ...] = ()

    @check("open_dates")
    @classmethod
    def _open_some_day(cls, dates: tuple[DateRange, ...], info: ValidationInfo) -> tuple[DateRange, ...]:
        """A branch that never opens would push every deadline off for ever."""
        holidays_too = info.data.get("public_holidays") is PublicHolidays.CLOSED
        every_week = set(info.data.get("weekly", ())) == set(Weekday) and holidays_too
        if not dates and (every_week or covers_year(info.data.get("yearly", ()))):
            raise expected(
                "開館する日 (ほかの規則では開館日が1日もありません)",
                "some day on which it is open (by the other rules it never is)",
            )
        return dates


class Branch(Section):
    """A place where holds are picked up. `id` is the library system's own code, text even if digits."""

    id: Line
    name: Line
    name_en: Line | None = None
    phone: Line | None = None
    hours: Paragraph | None = None
    hours_en: Paragraph | None = None
    closed: Closed


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
    branches: tuple[Branch, ...] = ()

    def branch(self, branch_id: str) -> Branch | None:
        """The branch with this code, or None: a feed may name one that the configuration lacks."""
        return next((branch for branch in self.branches if branch.id == branch_id), None)

    @check("branches")
    @classmethod
    def _branch_ids(cls, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
        unique(branches, "id", "ほかの館と重ならないコード", "a code that no other branch has")
        return branches
