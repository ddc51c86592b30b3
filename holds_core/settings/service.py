"""Settings of the rules about holds and confirmation, of what is kept, and of pages and logs."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import PlainValidator, field_validator

from holds_core.settings.base import Section, unique
from holds_core.settings.feeds import Snapshot
from holds_core.settings.values import (
    BaseUrl,
    FilePath,
    Flag,
    Listen,
    ListenAddress,
    choice,
    duration,
    whole,
)

_Window = Annotated[timedelta, PlainValidator(duration("10m", "30d"))]


class Windows(Section):
    """How long to wait for a sign that a mail was read before it counts as unanswered."""

    registration_changed: _Window = timedelta(hours=24)
    hold_ready: _Window = timedelta(days=3)


class Ask(Section):
    """Which notices ask for a confirmation."""

    registration_changed: Flag = True
    hold_ready: Flag = True


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


class Deadline(Section):
    """How long a hold waits on the shelf."""

    days: Annotated[int, PlainValidator(whole(1, 60))] = 7
    count: Annotated[Count, PlainValidator(choice(Count))] = Count.CALENDAR
    start: Annotated[Start, PlainValidator(choice(Start))] = Start.NEXT_DAY
    push_off_closed: Flag = True


class Reception(StrEnum):
    """When a request takes effect."""

    IMMEDIATE = "immediate"
    NEXT_OPEN_MORNING = "next_open_morning"


class Contact(StrEnum):
    """How a patron is told."""

    EMAIL = "email"
    PHONE = "phone"
    POST = "post"
    NONE = "none"


class Holds(Section):
    """Holds. `default_contact` serves patrons whose record names none."""

    reception: Annotated[Reception, PlainValidator(choice(Reception))] = Reception.IMMEDIATE
    default_contact: Annotated[Contact, PlainValidator(choice(Contact))] = Contact.EMAIL


class Feeds(Section):
    """What comes from the library system."""

    max_age: Annotated[timedelta, PlainValidator(duration("1m", "1y"))] = timedelta(hours=24)
    max_prompt_per_run: Annotated[int, PlainValidator(whole(0, 1_000_000))] = 200
    notice_new_rows: Flag = False
    snapshots: tuple[Snapshot, ...] = ()

    @field_validator("snapshots")
    @classmethod
    def _feeds_differ(cls, snapshots: tuple[Snapshot, ...]) -> tuple[Snapshot, ...]:
        unique(snapshots, "name", "ほかの取り込み元と重ならない名前", "a name that no other feed has")
        return snapshots


_Kept = Annotated[timedelta, PlainValidator(duration("1d", "20y"))]


class Retention(Section):
    """How long things are kept before they are erased."""

    titles: _Kept = timedelta(days=30)
    raw_mail: _Kept = timedelta(days=90)
    events: _Kept = timedelta(days=400)
    audit: _Kept = timedelta(days=3 * 365)


class PhoneFallback(StrEnum):
    """Whether staff phone patrons whom mail does not reach."""

    ALWAYS = "always"
    NEVER = "never"


class Case(Section):
    """The staff's list. `calls_per_day` is how many calls they can make; 0 still lists."""

    calls_per_day: Annotated[int, PlainValidator(whole(0, 10_000))] = 10
    phone_fallback: Annotated[PhoneFallback, PlainValidator(choice(PhoneFallback))] = PhoneFallback.ALWAYS


# Pages and logs ---------------------------------------------------------------------------------------


class Desk(Section):
    """Staff pages and the API."""

    listen: ListenAddress = Listen("127.0.0.1", 8080)
    secure_cookies: Flag = False


class Confirm(Section):
    """The patrons' confirmation page. Without `base_url` mail carries no link."""

    listen: ListenAddress = Listen("127.0.0.1", 8081)
    base_url: BaseUrl | None = None


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
