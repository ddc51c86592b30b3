"""Who the library's mail is from on a given day. Settings and a local day in, one identity out. Pure.

A change begins at midnight in the library's time zone. What came from a former identity stays ours: tokens,
Message-IDs and confirmation addresses are understood whichever domain they were sent from.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from holds_core.settings import Sender, SenderChange


@dataclass(frozen=True, slots=True)
class Identity:
    """One sender. `since` is None for the first one; names are None where the library's name serves."""

    address: str
    name: str | None
    name_en: str | None
    return_path_domain: str
    reply_confirm_address: str | None
    since: date | None = None


def identities(sender: Sender) -> tuple[Identity, ...]:
    """All senders in order of their days; what a change leaves out stays as it was."""
    now = Identity(
        address=sender.address,
        name=sender.name,
        name_en=sender.name_en,
        return_path_domain=sender.return_path_domain or sender.address.rpartition("@")[2],
        reply_confirm_address=sender.reply_confirm_address,
    )
    found = [now]
    for change in sender.changes:
        now = Identity(
            address=change.address,
            name=change.name or now.name,
            name_en=change.name_en or now.name_en,
            return_path_domain=change.return_path_domain or now.return_path_domain,
            reply_confirm_address=change.reply_confirm_address or now.reply_confirm_address,
            since=change.since,
        )
        found.append(now)
    return tuple(found)


def identity_on(known: tuple[Identity, ...], day: date) -> Identity:
    """The sender of mail whose first attempt is made on the local day `day`."""
    return next((one for one in reversed(known) if one.since is not None and one.since <= day), known[0])


def coming_change(sender: Sender, day: date) -> SenderChange | None:
    """The next change after `day`, or None."""
    return next((change for change in sender.changes if change.since > day), None)


def last_change(sender: Sender, day: date) -> SenderChange | None:
    """The change that made the sender of `day`, or None if it is the first one."""
    return next((change for change in reversed(sender.changes) if change.since <= day), None)


def watched(sender: Sender, day: date) -> SenderChange | None:
    """The change whose silent addresses are looked at more closely on `day`, or None."""
    if not sender.changes:
        return None
    change = last_change(sender, day)
    return change if change is not None and day < change.since + change.watch else None


def switch_moment(change: SenderChange, zone: ZoneInfo) -> datetime:
    """The first moment of the new sender: local midnight, aware."""
    return datetime.combine(change.since, time(), zone)
