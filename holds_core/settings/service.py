"""Settings of the rules about holds and confirmation, of what is kept, and of pages and logs."""

from __future__ import annotations

from datetime import time, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import PlainValidator, ValidationInfo, field_validator

from holds_core.settings.base import Section, unique
from holds_core.settings.feeds import Share, Snapshot
from holds_core.settings.live_feeds import Folio, Koha
from holds_core.settings.values import (
    Address,
    BaseUrl,
    Clock,
    Complaint,
    FilePath,
    Flag,
    HeaderName,
    Listen,
    ListenAddress,
    Network,
    choice,
    duration,
    expected,
    refused,
    whole,
)

_Window = Annotated[timedelta, PlainValidator(duration("10m", "30d"))]


class Windows(Section):
    """How long to wait for a sign that a mail was read before it counts as unanswered."""

    registration_changed: _Window = timedelta(hours=24)
    hold_ready: _Window = timedelta(days=3)


class Way(StrEnum):
    """By what a mail asks for a confirmation: the page's link, an address for an empty mail (空メール), both."""

    LINK = "link"
    REPLY = "reply"
    BOTH = "both"
    NONE = "none"

    def __bool__(self) -> bool:
        return self is not Way.NONE

    @property
    def link(self) -> bool:
        return self in (Way.LINK, Way.BOTH)

    @property
    def reply(self) -> bool:
        return self in (Way.REPLY, Way.BOTH)


def _way(value: object) -> Way:
    """`true` and `false` are understood too: they are what most keys take."""
    spelt = {"true": "both", "yes": "both", "false": "none", "no": "none"}
    return choice(Way)(spelt.get(str(value).lower(), value))


_Way = Annotated[Way, PlainValidator(_way)]


class Ask(Section):
    """Which notices ask for a confirmation, and how. A way that the library does not have is left out."""

    registration_changed: _Way = Way.BOTH
    hold_ready: _Way = Way.BOTH


class Confirmation(Section):
    """Asking patrons whether mail arrives. With `open_days` whole days are counted by the calendar."""

    windows: Windows
    ask: Ask
    open_days: Flag = False


class Count(StrEnum):
    """Which days a deadline counts."""

    CALENDAR = "calendar"
    OPEN = "open"


class Start(StrEnum):
    """The first counted day: that of the mail, the one after it, or that of the shelving."""

    SEND_DAY = "send_day"
    NEXT_DAY = "next_day"
    READY_DAY = "ready_day"
    READY_NEXT_DAY = "ready_next_day"


class WhileUndelivered(StrEnum):
    """What the deadline's clock does while the notice is known not to have arrived (authority todoku)."""

    STANDS_STILL = "stands_still"
    RUNS_ON = "runs_on"


class OnClosure(StrEnum):
    """What an unforeseen closing does to deadlines that are running: at most pushed off the closed days,
    or the lost open days are added, or the period begins anew on the day of reopening."""

    PUSH = "push"
    ADD = "add"
    RESTART = "restart"


class Deadline(Section):
    """How long a hold waits on the shelf. `remind_before` in days, 0 for no reminder."""

    days: Annotated[int, PlainValidator(whole(1, 60))] = 7
    count: Annotated[Count, PlainValidator(choice(Count))] = Count.CALENDAR
    start: Annotated[Start, PlainValidator(choice(Start))] = Start.NEXT_DAY
    push_off_closed: Flag = True
    while_undelivered: Annotated[WhileUndelivered, PlainValidator(choice(WhileUndelivered))] = (
        WhileUndelivered.STANDS_STILL
    )
    on_closure: Annotated[OnClosure, PlainValidator(choice(OnClosure))] = OnClosure.PUSH
    remind_before: Annotated[int, PlainValidator(whole(0, 30))] = 0
    tell_extended: Flag = False

    @field_validator("remind_before")
    @classmethod
    def _within_the_period(cls, before: int, info: ValidationInfo) -> int:
        days = info.data.get("days")
        if days is not None and before >= days:
            raise expected(
                f"0〜{days - 1}の整数 (取置期間 days より短い日数)",
                f"a whole number from 0 to {days - 1} (less than days)",
            )
        return before


class Feeds(Section):
    """What comes from the library system."""

    max_age: Annotated[timedelta, PlainValidator(duration("1m", "1y"))] = timedelta(hours=24)
    max_prompt_per_run: Annotated[int, PlainValidator(whole(0, 1_000_000))] = 200
    notice_new_rows: Flag = False
    snapshots: tuple[Snapshot, ...] = ()
    koha: Koha | None = None
    folio: Folio | None = None

    @field_validator("snapshots")
    @classmethod
    def _feeds_differ(cls, snapshots: tuple[Snapshot, ...]) -> tuple[Snapshot, ...]:
        unique(snapshots, "name", "ほかの取り込み元と重ならない名前", "a name that no other feed has")
        return snapshots

    @field_validator("koha", "folio")
    @classmethod
    def _a_name_of_its_own(cls, feed: Koha | Folio | None, info: ValidationInfo) -> Koha | Folio | None:
        others = {snapshot.name for snapshot in info.data.get("snapshots") or ()}
        if isinstance(before := info.data.get("koha"), Koha) and isinstance(feed, Folio):
            others.add(before.name)
        if feed is not None and feed.name in others:
            ja, en = "ほかの取り込み元と重ならない名前", "a name that no other feed has"
            raise refused(Complaint(ja, en, ("name",)))
        return feed


_Kept = Annotated[timedelta, PlainValidator(duration("1d", "20y"))]


class Retention(Section):
    """How long things are kept before they are erased."""

    titles: _Kept = timedelta(days=30)
    raw_mail: _Kept = timedelta(days=30)
    events: _Kept = timedelta(days=400)
    audit: _Kept = timedelta(days=3 * 365)


class PhoneFallback(StrEnum):
    """Whether staff phone patrons whom mail does not reach."""

    ALWAYS = "always"
    NEVER = "never"


class Case(Section):
    """The staff's list. `calls_per_day` is how many calls they can make; 0 still lists.

    `call_limit`: calls without an answer after which a letter is the way. `open_from`: the risk from which
    a case opens before the window for an answer has passed. `weigh_at`: when all risks are worked out anew
    each morning; `weigh_every`: how often news is added in between.
    """

    calls_per_day: Annotated[int, PlainValidator(whole(0, 10_000))] = 10
    phone_fallback: Annotated[PhoneFallback, PlainValidator(choice(PhoneFallback))] = PhoneFallback.ALWAYS
    call_limit: Annotated[int, PlainValidator(whole(1, 20))] = 3
    open_from: Share = 0.3
    weigh_at: Clock = time(7, 30)
    weigh_every: Annotated[timedelta, PlainValidator(duration("1m", "1d"))] = timedelta(minutes=15)


# Pages and logs ---------------------------------------------------------------------------------------


class SummaryWhen(StrEnum):
    """On which mornings staff get the summary mail: never, always, or only if there is something in it."""

    OFF = "off"
    ALWAYS = "always"
    IF_ANY = "if_any"


class Summary(Section):
    """The mail that tells staff each morning, in numbers only, what waits for them."""

    when: Annotated[SummaryWhen, PlainValidator(choice(SummaryWhen))] = SummaryWhen.OFF
    at: Clock = time(8, 30)
    to: tuple[Address, ...] = ()

    @field_validator("to")
    @classmethod
    def _somewhere(cls, to: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not to and info.data.get("when", SummaryWhen.OFF) is not SummaryWhen.OFF:
            raise expected("職員のメールアドレスの一覧", "a list of the staff's mail addresses")
        return to


class Proxy(Section):
    """A reverse proxy in front of the desk that has logged the person in. Without `trusted` there is none."""

    trusted: tuple[Network, ...] = ()
    header: HeaderName = "X-Remote-User"


class Desk(Section):
    """Staff pages and the API."""

    listen: ListenAddress = Listen("127.0.0.1", 8080)
    secure_cookies: Flag = False
    summary: Summary
    proxy: Proxy


class Confirm(Section):
    """The patrons' confirmation page. Without `base_url` mail carries no link.

    `trusted_proxies` may say whom they speak for (X-Forwarded-For); this machine always may.
    """

    listen: ListenAddress = Listen("127.0.0.1", 8081)
    base_url: BaseUrl | None = None
    trusted_proxies: tuple[Network, ...] = ()


class Api(Section):
    """The HTTP API; without tokens it refuses every call."""

    tokens_file: FilePath | None = None


class LogFormat(StrEnum):
    """How log lines look."""

    KEYVALUE = "keyvalue"
    JSON = "json"


class Level(StrEnum):
    """The least severe log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Logging(Section):
    """Logs, written to standard error."""

    format: Annotated[LogFormat, PlainValidator(choice(LogFormat))] = LogFormat.KEYVALUE
    level: Annotated[Level, PlainValidator(choice(Level))] = Level.INFO
