"""The event format of the contract (JSON Lines and HTTP) -> `holds_core.events`.

What enters is JSON; what leaves is an event or a `BadInput` whose text names every wrong field. Never
stores anything. The models here also make the OpenAPI description.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from holds_core import events as ev
from holds_core.deadline import shelf_day
from holds_core.errors import BadInput
from holds_core.patrons import clean_text, same_entry

MAX_LINE = 64 * 1024


def _identifier(value: str) -> str:
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError("must be 1 to 200 printable characters without blanks at its ends")
    return value


def _clean(limit: int) -> AfterValidator:
    return AfterValidator(lambda text: _cleaned(text, limit))


def _cleaned(text: str, limit: int) -> str:
    try:
        return clean_text(text, limit)
    except BadInput as error:
        # pydantic adds the field's name to a ValueError only
        raise ValueError(str(error)) from None


def _address_list(value: Any) -> Any:
    """An address as one text, or several in a list."""
    return (value,) if isinstance(value, str) else value


def _without_blanks(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """A field without an address in it is a patron without an address, not one whose address is ""."""
    return tuple(address for address in addresses if address)


def _not_a_number(value: Any) -> Any:
    """pydantic would read 20261122 as a count of seconds since 1970."""
    if isinstance(value, (bool, int, float)) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("must be a text such as 2026-11-22T09:10:00+09:00, not a number")
    return value


_NUMBER = re.compile(r"[\s+-]*[\d._]+\s*")
_OLDEST = datetime(1970, 1, 2, tzinfo=UTC)


def _since_1970(at: datetime) -> datetime:
    """Older times are slips, and the very first ones cannot even be turned into UTC."""
    if at < _OLDEST:
        raise ValueError("lies before 1970")
    return at


Identifier = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_identifier)]
Name = Annotated[str, Field(max_length=5000), _clean(200)]
Title = Annotated[str, Field(max_length=20_000), _clean(300)]
Word = Annotated[str, Field(max_length=40), _clean(40)]
Email = Annotated[str, Field(max_length=320), _clean(320)]
Emails = Annotated[
    tuple[Email, ...], BeforeValidator(_address_list), Field(max_length=10), AfterValidator(_without_blanks)
]
Time = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_since_1970)]
Phones = Annotated[tuple[Annotated[str, Field(max_length=40), _clean(40)], ...], Field(max_length=10)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True)

    id: Identifier
    at: Time


class _PatronWire(_Wire):
    patron_id: Identifier


class PatronIn(_PatronWire):
    type: Literal["patron"]
    email: Email | None = None
    emails: Emails | None = None
    name: Name | None = None
    name_kana: Name | None = None
    contact: ev.Contact | None = None
    phones: Phones | None = None
    phone_note: Name | None = None
    guardian_id: Identifier | None = None
    branch: Identifier | None = None
    language: Word | None = None
    title_policy: ev.TitlePolicy | None = None
    provisional: bool | None = None
    overdue: bool | None = None

    @model_validator(mode="after")
    def _one_spelling(self) -> PatronIn:
        if self.email is not None and self.emails is not None:
            raise ValueError("give email or emails, not both")
        return self

    def event(self) -> ev.Patron:
        said = self.model_dump(exclude={"type", "email", "emails"})
        emails = self.emails
        if emails is None and self.model_fields_set & {"email", "emails"}:
            # null and an empty text alike: the patron has none
            emails = (self.email,) if self.email else ()
        return ev.Patron(emails=emails, **said)


class EmailChangedIn(_PatronWire):
    type: Literal["patron.email_changed"]
    email: Emails
    email_again: Emails | None = None
    """What the patron typed the second time, where the form asks twice. Compared, never stored."""

    @model_validator(mode="after")
    def _typed_alike(self) -> EmailChangedIn:
        if self.email_again is not None and not same_entry(self.email, self.email_again):
            raise ValueError("the second entry of the address differs from the first; nothing was changed")
        return self

    def event(self) -> ev.EmailChanged:
        return ev.EmailChanged(id=self.id, at=self.at, patron_id=self.patron_id, emails=self.email)


class PasswordChangedIn(_PatronWire):
    type: Literal["patron.password_changed"]

    def event(self) -> ev.PasswordChanged:
        return ev.PasswordChanged(id=self.id, at=self.at, patron_id=self.patron_id)


class PatronSeenIn(_PatronWire):
    type: Literal["patron.seen"]
    via: Word = "opac"

    def event(self) -> ev.PatronSeen:
        return ev.PatronSeen(id=self.id, at=self.at, patron_id=self.patron_id, via=self.via)


class _HoldWire(_Wire):
    """What every hold event may say; what it must say is narrowed below."""

    hold_id: Identifier
    patron_id: Identifier | None = None
    title: Title | None = None
    material: Word | None = None
    branch: Identifier | None = None
    via: Literal["web", "desk"] | None = None
    availability: Word | None = None
    set_id: Identifier | None = None
    volume: Annotated[int, Field(ge=0, le=100_000)] | None = None
    contact: ev.Contact | None = None
    reason: Name = ""
    by: Literal["patron", "library"] | None = None
    deadline: Annotated[
        date | None,
        BeforeValidator(lambda value: _day(value)),
        AfterValidator(lambda value: value and _shelf_day(value)),
    ] = None

    def event(self) -> ev.HoldEvent:
        return ev.HoldEvent(**self.model_dump())


def _day(value: Any) -> Any:
    """A day, also where the feed gives a time of that day."""
    _not_a_number(value)
    if isinstance(value, str) and "T" in value:
        return datetime.fromisoformat(value).date()
    return value


class HoldNewIn(_HoldWire):
    type: Literal["hold.requested", "hold.shelved"]
    patron_id: Identifier


class HoldStepIn(_HoldWire):
    type: Literal[
        "hold.placed",
        "hold.refused",
        "hold.cancel_requested",
        "hold.cancelled",
        "hold.collected",
        "hold.lapsed",
    ]


class HoldExtendedIn(_HoldWire):
    type: Literal["hold.extended"]
    deadline: Annotated[date, BeforeValidator(_day), AfterValidator(lambda value: _new_day(value))]


def _new_day(value: date) -> date:
    found = _shelf_day(value)
    if found is None:
        raise ValueError("a hold is extended to a day")
    return found


def _shelf_day(value: date) -> date | None:
    try:
        return shelf_day(value)
    except BadInput as error:
        raise ValueError(str(error)) from None


EventIn: TypeAlias = Annotated[
    PatronIn | EmailChangedIn | PasswordChangedIn | PatronSeenIn | HoldNewIn | HoldStepIn | HoldExtendedIn,
    Field(discriminator="type"),
]
_adapter: TypeAdapter[
    PatronIn | EmailChangedIn | PasswordChangedIn | PatronSeenIn | HoldNewIn | HoldStepIn | HoldExtendedIn
] = TypeAdapter(EventIn)


def parse_line(line: bytes) -> ev.Event:
    """One line of JSON (UTF-8, a byte order mark is passed over) -> event.

    Raises BadInput; its text names each wrong field: `patron_id is missing`.
    """
    if len(line) > MAX_LINE:
        raise BadInput(f"the line is longer than {MAX_LINE} bytes")
    try:
        data = json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadInput(f"byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a mere ValueError
        position = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(f"not JSON{position}") from None
    return parse(data)


def _no_constant(name: str) -> Any:
    """RFC 8259 section 6 has no NaN and no Infinity; Python's reader takes them."""
    raise ValueError(name)


def parse(data: Any) -> ev.Event:
    """A decoded JSON object -> event. Raises BadInput."""
    if not isinstance(data, dict):
        raise BadInput("an event is a JSON object with id, at and type")
    if secret := _password_field(data):
        raise BadInput(f"{secret} must not be sent: passwords are never accepted or stored")
    try:
        return _adapter.validate_python(data).event()
    except ValidationError as error:
        raise BadInput("; ".join(dict.fromkeys(_sentences(error)))) from None
    except (BadInput, ValueError, OverflowError) as error:
        raise BadInput(str(error)) from None


_PASSWORD = re.compile(r"pass_?-?(word|wd|phrase|code)|^pwd$|^pin$|パスワード|暗証", re.IGNORECASE)


def _password_field(data: Any) -> str:
    """The first field, however deep, that is called something like a password; "" if there is none.

    A name that is no plain word may hold the password itself by a slip, and is not repeated.
    """
    waiting = [data]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            for name in found:
                if isinstance(name, str) and _PASSWORD.search(name):
                    return name if name in _PLAIN_NAMES else "password"
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return ""


_PLAIN_NAMES = frozenset({"password", "new_password", "old_password", "passwd", "pwd", "pin", "パスワード"})


def _sentences(error: ValidationError) -> list[str]:
    """pydantic's findings as short sentences; values are left out, they may be personal."""
    sentences = []
    for item in error.errors(include_url=False, include_input=False):
        # the first part of the place is the event type that the discriminator chose
        place = ".".join(str(part) for part in item["loc"][1:]) or "the event"
        match item["type"]:
            case "missing":
                sentences.append(f"{place} is missing")
            case "extra_forbidden":
                sentences.append(f"{place} is not a field of {item['loc'][0]}")
            case "union_tag_not_found":
                sentences.append("type is missing")
            case "union_tag_invalid":
                sentences.append("type is not one of " + item["ctx"]["expected_tags"].replace("'", ""))
            case "timezone_aware":
                sentences.append(f"{place} has no UTC offset (write 2026-11-22T09:10:00+09:00)")
            case _:
                sentences.append(f"{place}: {item['msg'].removeprefix('Value error, ')}")
    return sentences
