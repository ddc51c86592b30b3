"""Library events: facts from the library system, as frozen records. Pure.

The outside's formats (JSON Lines, HTTP, snapshots) are read by `holds_core.feeds`; what reaches the rest
of the program is one of these. Each has `id` (unique; a repeat is ignored), `at` (aware) and `type`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, Literal, TypeAlias

from holds_core.holds import Hold

Contact: TypeAlias = Literal["email", "phone", "post", "none"]
TitlePolicy: TypeAlias = Literal["full", "short", "none", ""]
"""How much of a title a patron's mail shows; empty: as the library has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patron:
    """The patron's record as it is from now on. `emails` empty: the patron has no address.

    None means that the event does not say; what is known stays.
    """

    type: ClassVar[str] = "patron"
    id: str
    at: datetime
    patron_id: str
    emails: tuple[str, ...] | None = None
    name: str | None = None
    name_kana: str | None = None
    contact: Contact | None = None
    phones: tuple[str, ...] | None = None
    phone_note: str | None = None
    guardian_id: str | None = None
    branch: str | None = None
    language: str | None = None
    title_policy: TitlePolicy | None = None
    provisional: bool | None = None
    overdue: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChanged:
    """The patron's address was changed. Always owes a notice, to the new address and the former ones."""

    type: ClassVar[str] = "patron.email_changed"
    id: str
    at: datetime
    patron_id: str
    emails: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordChanged:
    """The patron's password was changed. The password itself is never accepted."""

    type: ClassVar[str] = "patron.password_changed"
    id: str
    at: datetime
    patron_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PatronSeen:
    """The patron looked at the OPAC or came by: a weak sign that an earlier mail was read."""

    type: ClassVar[str] = "patron.seen"
    id: str
    at: datetime
    patron_id: str
    via: str = "opac"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEvent:
    """One step of a hold. `type` names it; STATE_AFTER gives the state it shows.

    `deadline` is the last day of the shelf (hold.shelved, hold.extended). `ready_on` is the day of the
    shelving where it was another than that of `at` (a snapshot may tell late). `by` is patron or library.
    """

    type: str
    id: str
    at: datetime
    hold_id: str
    patron_id: str | None = None
    title: str | None = None
    material: str | None = None
    branch: str | None = None
    via: Literal["web", "desk"] | None = None
    availability: str | None = None
    set_id: str | None = None
    volume: int | None = None
    contact: Contact | None = None
    reason: str = ""
    by: Literal["patron", "library"] | None = None
    deadline: date | None = None
    ready_on: date | None = None


Event: TypeAlias = Patron | EmailChanged | PasswordChanged | PatronSeen | HoldEvent

STATE_AFTER: dict[str, Hold] = {
    "hold.requested": Hold.REQUESTED,
    "hold.placed": Hold.PLACED,
    "hold.refused": Hold.REFUSED,
    "hold.cancel_requested": Hold.CANCEL_REQUESTED,
    "hold.cancelled": Hold.CANCELLED,
    "hold.shelved": Hold.READY,
    "hold.collected": Hold.COLLECTED,
    "hold.lapsed": Hold.LAPSED,
    # only snapshots show these two: a state of the library system's, and a hold that is no longer listed
    "hold.withdrawn": Hold.WITHDRAWN,
    "hold.ended": Hold.ENDED,
}
"""The state each hold event shows. `hold.extended` shows no state, only a deadline."""

HOLD_TYPES = (*STATE_AFTER, "hold.extended")
