"""What the risk model is told: facts with a time, and nothing else.

In go the records of a history (`record`, the formats of `todoku backtest`) or facts that the daemon takes
from its ledger; out come frozen observations for `holds_core.silence`. No judgement is made here except
that a refusal's words become a `Failure` through `holds_core.reasons`. Pure; times are timezone-aware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from holds_core.errors import BadInput
from holds_core.notices import Kind, Phase
from holds_core.reasons import Fault, Reason, Severity, Verdict, classify


class Failure(StrEnum):
    """Why a mail certainly did not reach its reader, as far as the risk of the next one goes."""

    UNKNOWN = "unknown"  # no such mailbox or domain
    FILTERED = "filtered"  # the patron's own settings
    SOFT = "soft"  # full, suspended for now, a server in trouble
    OURS = "ours"  # authentication, reputation, pace: says nothing of the address
    UNSENT = "unsent"  # nothing was sent, for want of an address that can be used: nothing of it either


class Ending(StrEnum):
    """How one hold left the shelf."""

    COLLECTED = "collected"
    LAPSED = "lapsed"
    UNKNOWN = "unknown"  # cancelled, or vanished from a snapshot: teaches nothing


@dataclass(frozen=True, slots=True)
class Mailed:
    """One notice was offered to the relay for one address: accepted, or refused for `failure`.

    A notice with several addresses is several of these. `deadline` is when its holds lapse; None for
    kinds that hold nothing on the shelf. `mistyped`: an address check at registration doubts the address.
    `asks`: the mail has a button or an address to answer to; of one that has none, silence says less.
    """

    at: datetime
    notice_id: str
    kind: Kind
    patron_id: str
    address: str
    hold_ids: tuple[str, ...] = ()
    deadline: datetime | None = None
    failure: Failure | None = None
    mistyped: bool = False
    asks: bool = True


@dataclass(frozen=True, slots=True)
class Bounced:
    """A report says that the notice failed for good. `recipient` may be "" if the report names none."""

    at: datetime
    notice_id: str
    failure: Failure
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A person's sign for this notice: button, reply, or staff noting that the mail arrived."""

    at: datetime
    notice_id: str


@dataclass(frozen=True, slots=True)
class NeverGot:
    """The patron told staff that this mail never came."""

    at: datetime
    notice_id: str


@dataclass(frozen=True, slots=True)
class Told:
    """Staff told the patron of what waits: `reached` in person, or else by a message or a letter.

    Who comes after that may come because of it, so that it teaches nothing of the mail. Who was reached
    knows; what a message does is not known.
    """

    at: datetime
    patron_id: str
    reached: bool


@dataclass(frozen=True, slots=True)
class PatronSeen:
    """The patron looked at the web page or came by."""

    at: datetime
    patron_id: str
    via: str = "opac"


@dataclass(frozen=True, slots=True)
class HoldEnded:
    at: datetime
    hold_id: str
    how: Ending


@dataclass(frozen=True, slots=True)
class DeadlineMoved:
    """Staff or the library system extended the hold."""

    at: datetime
    hold_id: str
    deadline: datetime


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """The library's own mailbox at a provider: did today's mail reach its inbox?"""

    at: datetime
    domain: str
    arrived: bool


Observation = (
    Mailed | Bounced | Confirmed | NeverGot | Told | PatronSeen | HoldEnded | DeadlineMoved | CanaryResult
)


def failure_of(verdict: Verdict) -> Failure:
    """What a refusal or bounce means for the risk of this address."""
    return failure(verdict.fault, verdict.severity, verdict.reason)


def failure(fault: str, severity: str, reason: str) -> Failure:
    """The same from the values of a `Verdict`, as evidence keeps them; "" for what is not known."""
    if fault == Fault.US:
        return Failure.OURS
    if severity == Severity.HARD:
        return Failure.UNKNOWN
    return Failure.FILTERED if reason == Reason.FILTERED else Failure.SOFT


class BadField(BadInput):
    """A record cannot be used; `field` names the culprit."""

    def __init__(self, field: str, expected: str) -> None:
        self.field = field
        super().__init__(f"{field}: {expected}")


Record = Mapping[str, Any]
DeadlineRule = Callable[[datetime], datetime]


def _text(record: Record, field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str) or not value:
        raise BadField(field, "expected a text that is not empty")
    return value


def _time(record: Record, field: str) -> datetime:
    try:
        value = datetime.fromisoformat(_text(record, field))
    except ValueError:
        raise BadField(field, "expected a time such as 2025-04-07T09:07:00+09:00") from None
    if value.utcoffset() is None:
        raise BadField(field, "expected a time with an offset from UTC, such as +09:00")
    return value


def _choice(record: Record, field: str, choices: type[StrEnum]) -> str:
    value = _text(record, field)
    if value not in list(choices):
        raise BadField(field, f"expected one of {', '.join(choices)}")
    return value


def _address(record: Record, field: str) -> str:
    value = _text(record, field)
    if "@" not in value[1:-1]:
        raise BadField(field, "expected a mail address")
    return value


def _holds(record: Record) -> tuple[str, ...]:
    value = record.get("hold_ids", [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise BadField("hold_ids", "expected a list of texts")
    return tuple(value)


def _optional(record: Record, field: str, type_: type) -> Any:
    value = record.get(field)
    if value is None:
        return None
    if not isinstance(value, type_) or isinstance(value, bool):
        raise BadField(field, f"expected {'a number' if type_ is int else 'a text'}")
    return value


def _why(record: Record, recipient: str) -> Failure:
    phase = _optional(record, "phase", str)
    if phase is not None:
        _choice(record, "phase", Phase)
    return failure_of(
        classify(
            phase=Phase(phase) if phase else None,
            code=_optional(record, "code", int),
            status=_optional(record, "status", str) or "",
            text=_optional(record, "text", str) or "",
            recipient=recipient,
        )
    )


def _mailed(record: Record, at: datetime, deadline: DeadlineRule, *, refused: bool) -> Mailed:
    kind = Kind(_choice(record, "kind", Kind))
    address = _address(record, "address")
    return Mailed(
        at=at,
        notice_id=_text(record, "notice_id"),
        kind=kind,
        patron_id=_text(record, "patron_id"),
        address=address,
        hold_ids=_holds(record),
        deadline=deadline(at) if kind is Kind.HOLD_READY else None,
        failure=_why(record, address) if refused else None,
    )


def _bounced(record: Record, at: datetime) -> Bounced | None:
    notice_id = _text(record, "notice_id")
    recipient = _optional(record, "recipient", str) or ""
    if _text(record, "action") != "failed":
        return None  # a delay or a positive report: the mail may still arrive
    return Bounced(at, notice_id, _why(record, recipient), recipient)


ENDINGS: dict[str, Ending] = {
    "hold.collected": Ending.COLLECTED,
    "hold.lapsed": Ending.LAPSED,
    "hold.cancelled": Ending.UNKNOWN,
    "hold.ended": Ending.UNKNOWN,
}


def record(fields: Record, deadline: DeadlineRule) -> Observation | None:
    """One line of a history as an observation; None for a type that teaches the model nothing.

    `deadline` gives a hold-ready notice's deadline from its sending time. Raises BadField. A positive
    report (`mail.receipt`) is checked and left out: black holes send them too.
    """
    at = _time(fields, "at")
    type_ = _text(fields, "type")
    if type_ in ("mail.accepted", "mail.refused"):
        return _mailed(fields, at, deadline, refused=type_ == "mail.refused")
    if type_ == "mail.bounced":
        return _bounced(fields, at)
    if type_ in ("mail.confirmed", "mail.replied"):
        return Confirmed(at, _text(fields, "notice_id"))
    if type_ == "mail.receipt":
        _text(fields, "notice_id")
        return None
    if type_ == "patron.seen":
        return PatronSeen(at, _text(fields, "patron_id"), _optional(fields, "via", str) or "opac")
    if type_ in ENDINGS:
        return HoldEnded(at, _text(fields, "hold_id"), ENDINGS[type_])
    if type_ == "hold.extended":
        return DeadlineMoved(at, _text(fields, "hold_id"), _time(fields, "deadline"))
    return None
