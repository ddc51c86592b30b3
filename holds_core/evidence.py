"""Evidence: one observation about a delivery or an address, and what a delivery's evidence amounts to.

Append-only and judged in any order: a bounce may come before the send is committed, or weeks later. Pure.
What enters are observations; `finding` says what they mean for one delivery, `holds_core.standing` what
they mean for an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from holds_core.notices import Finding


class Sign(StrEnum):
    """What was observed."""

    INVALID = "invalid"  # no address can look like this: nothing can be sent
    REFUSED = "refused"  # the relay or the next server said 5xx while we were connected
    BOUNCED = "bounced"  # a delivery status notification: failed for good
    DELAYED = "delayed"  # a server is still trying
    DELIVERED = "delivered"  # a positive report; false ones came back from black holes
    RELAYED = "relayed"  # the next server took it, and it says nothing of inboxes
    COMPLAINT = "complaint"  # the patron or the provider called it spam
    AUTO_REPLY = "auto_reply"  # a machine answered: the mailbox exists
    CONFIRMED = "confirmed"  # the button in the mail was pressed
    REPLIED = "replied"  # a person wrote back
    SEEN = "seen"  # the patron looked at the OPAC or came by after the mail
    COLLECTED = "collected"  # the hold was collected in time
    LAPSED = "lapsed"  # the hold was not collected
    UNANSWERED = "unanswered"  # the window passed without any sign
    CANARY_INBOX = "canary_inbox"
    CANARY_JUNK = "canary_junk"
    CANARY_MISSING = "canary_missing"
    STAFF_WORKS = "staff_works"  # staff: the patron says that our mail arrives
    STAFF_NEVER_GOT = "staff_never_got"  # staff: the patron says that it never came
    STAFF_MISTYPED = "staff_mistyped"  # staff: the address is wrong, it may be a stranger's
    NOT_ME = "not_me"  # the reader pressed "not me": the address is a stranger's


PERSONAL = frozenset({Sign.CONFIRMED, Sign.REPLIED, Sign.STAFF_WORKS})
"""Signs that a person read our mail at this address. The only proof there is."""

FAILURES = frozenset({Sign.REFUSED, Sign.BOUNCED})
"""The mail did not reach the mailbox, and somebody said so."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation. `reason`, `fault`, `severity` are `holds_core.reasons` values or empty."""

    at: datetime
    sign: Sign
    delivery_id: int | None = None
    reason: str = ""
    fault: str = ""
    severity: str = ""


def finding(evidence: Iterable[Evidence], window_ends_at: datetime | None, now: datetime) -> Finding:
    """What is known of one delivery at `now`, from all of its evidence, in any order.

    A person's sign outweighs a bounce: forwarders and over-eager filters bounce mail that was read.
    A positive report confirms nothing. Collecting in time counts as an answer unless the mail bounced.
    """
    signs = {item.sign for item in evidence}
    if signs & PERSONAL:
        return Finding.CONFIRMED
    if signs & FAILURES:
        return Finding.BOUNCED
    if Sign.COLLECTED in signs:
        return Finding.CONFIRMED
    if Sign.UNANSWERED in signs or (window_ends_at is not None and window_ends_at <= now):
        return Finding.UNANSWERED
    return Finding.WAITING
