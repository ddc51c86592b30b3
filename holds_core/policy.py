"""Policy: what a library event owes whom. Pure: records in, decisions out; it stores and sends nothing.

A decision is an `Owed`: one notice, its recipients, and whether it may leave. The ledger writes it into the
outbox in the same transaction as the event, so that no event is applied without its mail, nor mailed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from holds_core.holds import Hold
from holds_core.notices import Kind
from holds_core.standing import Standing


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """One address of a patron with what is known of it. `key` is its normal form."""

    address: str
    key: str
    standing: Standing = Standing.UNPROVEN
    proven: bool = False
    provisional: bool = False
    mistyped: bool = False


@dataclass(frozen=True, slots=True)
class PatronRecord:
    """The patron as the ledger knows them, with the addresses in force."""

    patron_id: str
    contact: str
    addresses: tuple[AddressRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Owed:
    """One notice owed to a patron. Without recipients it is withheld, `why` says for what reason."""

    kind: Kind
    recipients: tuple[AddressRecord, ...]
    hold_ids: tuple[str, ...] = ()
    why: str = ""
    reason: str = ""
    excluded: tuple[AddressRecord, ...] = field(default=())


def mailable(patron: PatronRecord) -> tuple[AddressRecord, ...]:
    """Addresses that hold mail may use: several all receive; provisional ones never do.

    One bad address of two is not "unreachable": the good one receives alone.
    """
    return tuple(
        record
        for record in patron.addresses
        if not record.provisional and not record.mistyped and record.standing is not Standing.UNREACHABLE
    )


def withheld_because(patron: PatronRecord) -> str:
    """Why a patron without a mailable address has none."""
    if not patron.addresses:
        return "no_address"
    if all(record.provisional for record in patron.addresses):
        return "provisional"
    return "unreachable"


HOLD_NOTICE: dict[Hold, Kind] = {
    Hold.PLACED: Kind.HOLD_PLACED,
    Hold.REFUSED: Kind.HOLD_REFUSED,
    Hold.READY: Kind.HOLD_READY,
    Hold.LAPSED: Kind.HOLD_LAPSED,
}
"""The notice a hold's new state owes. Cancellations depend on who cancelled, see `hold_notice`."""


def hold_notice(before: Hold | None, after: Hold, *, by: str | None) -> Kind | None:
    """The notice owed for a hold that went from `before` to `after`, or None.

    `by` is who cancelled: patron or library. A cancellation that a shelving overtook is refused.
    """
    if after is Hold.CANCELLED:
        if by == "library":
            return Kind.HOLD_CANCELLED_BY_LIBRARY
        return (
            Kind.CANCEL_DONE if before in (Hold.CANCEL_REQUESTED, Hold.WITHDRAWN) or by == "patron" else None
        )
    if before is Hold.ENDED and after is not Hold.READY and after is not Hold.LAPSED:
        return None  # listed again after a bad snapshot: the patron knew all the time
    if before is Hold.CANCEL_REQUESTED and after is Hold.PLACED:
        return Kind.CANCEL_REFUSED
    if before is Hold.READY and after is Hold.PLACED:
        return None  # unshelved: nothing was promised that the patron could act on
    return HOLD_NOTICE.get(after)


def hold_owed(
    kind: Kind, patron: PatronRecord, hold_id: str, *, contact: str | None, reason: str = ""
) -> Owed | None:
    """The notice about one hold, by the hold's own contact method or the patron's.

    Contact "none" owes nothing. Phone and post patrons get no mail: only `hold_ready` puts them on the
    call list, as a withheld notice.
    """
    method = contact or patron.contact
    if method == "none":
        return None
    if method in ("phone", "post"):
        if kind is not Kind.HOLD_READY:
            return None
        return Owed(kind, (), (hold_id,), why=f"contact_{method}", reason=reason)
    recipients = mailable(patron)
    if not recipients and kind is not Kind.HOLD_READY:
        return None  # nobody phones about a placed hold; the address itself has its case
    return Owed(
        kind, recipients, (hold_id,), why="" if recipients else withheld_because(patron), reason=reason
    )


def registration_owed(
    after: PatronRecord, former: Sequence[AddressRecord], *, changed: str = "email"
) -> tuple[Owed, ...]:
    """Notices for a change of address or password: to the addresses now, and to the former ones.

    The former address is told without name or new address, and only if it was proven to be the
    patron's: one that bounced, was never proven, is provisional or mistyped may be a stranger's.
    The new address is told even if it is unreachable: this mail is how it is tested again. `changed` is
    email or password and becomes the notice's reason.
    """
    owed: list[Owed] = []
    now = tuple(record for record in after.addresses if not record.provisional and not record.mistyped)
    if now:
        owed.append(Owed(Kind.REGISTRATION_CHANGED, now, reason=changed))
    kept = {record.key for record in after.addresses}
    old = tuple(record for record in former if record.key not in kept and may_tell_former(record))
    if old:
        owed.append(Owed(Kind.REGISTRATION_CHANGED_OLD, old))
    return tuple(owed)


def may_tell_former(record: AddressRecord) -> bool:
    return (
        record.proven
        and not record.provisional
        and not record.mistyped
        and record.standing is not Standing.UNREACHABLE
    )


def prompt_at(
    received_at: datetime,
    *,
    nightly: bool,
    quiet_from: time,
    quiet_to: time,
    zone: ZoneInfo,
) -> datetime:
    """When a prompt notice may leave: at once, or in the morning.

    Phones must not ring at 02:00: in quiet hours, and from a nightly feed outside the day, the notice
    waits for `quiet_to`. Quiet hours may run over midnight.
    """
    local = received_at.astimezone(zone)
    clock = local.time()
    if quiet_from <= quiet_to:
        quiet = quiet_from <= clock < quiet_to
    else:
        quiet = clock >= quiet_from or clock < quiet_to
    if not quiet and not (nightly and clock < quiet_to):
        return received_at
    morning = local.replace(hour=quiet_to.hour, minute=quiet_to.minute, second=0, microsecond=0)
    if morning <= local:
        morning += timedelta(days=1)
    return morning.astimezone(received_at.tzinfo)
