"""Notices and their delivery: the kinds, the transmission machine, the finding, the outcome of an attempt.

Everything that moves a delivery from one state to another is in `TRANSMISSION`. Pure: no clock, no I/O.
A notice is one mail owed to one patron; it has one delivery per address. Handed over means that the
relay answered 250. It never means delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holds_core.states import Machine


class Kind(StrEnum):
    """What a notice is about. The value is the name of its template folder."""

    HOLD_PLACED = "hold_placed"
    HOLD_REFUSED = "hold_refused"
    HOLD_READY = "hold_ready"
    HOLD_EXPIRING = "hold_expiring"
    DEADLINE_CHANGED = "deadline_changed"
    HOLD_LAPSED = "hold_lapsed"
    CANCEL_DONE = "cancel_done"
    CANCEL_REFUSED = "cancel_refused"
    HOLD_CANCELLED_BY_LIBRARY = "hold_cancelled_by_library"
    REGISTRATION_CHANGED = "registration_changed"
    REGISTRATION_CHANGED_OLD = "registration_changed_old"
    SENDER_MIGRATION = "sender_migration"


BATCHED = frozenset({Kind.HOLD_READY, Kind.HOLD_EXPIRING, Kind.SENDER_MIGRATION})
"""Kinds that wait for the day's next batch; all others are prompt."""


class Transmission(StrEnum):
    """Where a delivery stands between the outbox and the relay."""

    PENDING = "pending"
    SENDING = "sending"
    HANDED_OVER = "handed_over"
    REFUSED = "refused"
    RETRYING = "retrying"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    WITHHELD = "withheld"


_T = Transmission

TRANSMISSION: Machine[Transmission] = Machine(
    "delivery",
    {
        # withheld: unreachable or no address, the hold goes to the call list
        _T.PENDING: frozenset({_T.SENDING, _T.CANCELLED, _T.WITHHELD}),
        # back to pending: the attempt failed before MAIL, so the mail is nowhere
        _T.SENDING: frozenset({_T.HANDED_OVER, _T.REFUSED, _T.RETRYING, _T.UNCERTAIN, _T.PENDING}),
        _T.RETRYING: frozenset({_T.SENDING, _T.EXPIRED, _T.CANCELLED, _T.WITHHELD}),
        # resent once; then taken for handed over, or earlier if evidence says so
        _T.UNCERTAIN: frozenset({_T.SENDING, _T.HANDED_OVER}),
        _T.WITHHELD: frozenset({_T.PENDING, _T.CANCELLED}),
        _T.HANDED_OVER: frozenset(),
        # our own fault, mended since: the patron need not suffer for it (holds_core.breaker)
        _T.REFUSED: frozenset({_T.PENDING}),
        _T.EXPIRED: frozenset(),
        _T.CANCELLED: frozenset(),
    },
)

SENDABLE = (Transmission.PENDING, Transmission.RETRYING, Transmission.UNCERTAIN)
"""States from which a sender may claim a delivery."""

UNSENT = (Transmission.PENDING, Transmission.RETRYING, Transmission.WITHHELD)
"""States in which the mail has certainly not left, so that a notice can still be taken back."""


class Finding(StrEnum):
    """What the evidence says of one delivery, whatever its transmission state."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    BOUNCED = "bounced"
    UNANSWERED = "unanswered"


class Phase(StrEnum):
    """The part of the SMTP conversation that was answered (RFC 5321 section 4.1). Evidence:
    docomo's "550 Unknown user" means one thing after RCPT and another after the data."""

    CONNECT = "connect"
    HELLO = "hello"
    TLS = "tls"
    LOGIN = "login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # the DATA command and the end of the data alike


class Result(StrEnum):
    """How one attempt ended."""

    HANDED_OVER = "handed_over"  # 250 after the final dot
    REFUSED = "refused"  # 5xx to MAIL, RCPT or DATA
    DEFERRED = "deferred"  # 4xx to MAIL, RCPT or DATA, or the connection broke before the final dot
    UNCERTAIN = "uncertain"  # the connection broke after the final dot
    NOT_STARTED = "not_started"  # it failed before MAIL: connection, greeting, TLS or login


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the relay said to one attempt.

    `code` is the SMTP reply code (RFC 5321 section 4.2), `status` the enhanced code (RFC 3463) such as
    "5.1.1" or "" if the reply had none, `text` the reply's own words, `remote` the relay's name.
    """

    result: Result
    phase: Phase
    code: int | None = None
    status: str = ""
    text: str = ""
    remote: str = ""


AFTER: dict[Result, Transmission] = {
    Result.HANDED_OVER: Transmission.HANDED_OVER,
    Result.REFUSED: Transmission.REFUSED,
    Result.DEFERRED: Transmission.RETRYING,
    Result.UNCERTAIN: Transmission.UNCERTAIN,
    Result.NOT_STARTED: Transmission.PENDING,
}
"""The state a delivery takes after an attempt."""
