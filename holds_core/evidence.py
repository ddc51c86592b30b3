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
    CONFIRMED = "confirmed"  # the button was pressed, or an empty mail came to the mail's own address
    WROTE = "wrote"  # an empty mail without that address, from the patron's: its sender can be forged
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


WEIGHTS: dict[Sign, tuple[str, str]] = {
    Sign.INVALID: (
        "確実:この形のアドレスには送信できません",
        "certain: no mail can be sent to such an address",
    ),
    Sign.REFUSED: ("確実:受信側が断りました", "certain: the receiving side said no"),
    Sign.BOUNCED: ("確実:届かなかったとの通知です", "certain: a report says that it failed"),
    Sign.DELAYED: ("判断しません:まだ送信を続けています", "none: it is still being tried"),
    Sign.DELIVERED: (
        "弱い:この通知のあとに消えたメールもあります",
        "weak: mail has vanished after such a report",
    ),
    Sign.RELAYED: (
        "弱い:次のサーバーが受け取っただけです",
        "weak: the next server took it, no more",
    ),
    Sign.COMPLAINT: ("中くらい:届いた先で迷惑メールとされました", "medium: it arrived and was called spam"),
    Sign.AUTO_REPLY: (
        "弱い:アドレスは使われていますが、読まれたとは限りません",
        "weak: the mailbox exists, nobody need have read it",
    ),
    Sign.CONFIRMED: ("強い:本人がこのメールを読みました", "strong: a person read this mail"),
    Sign.WROTE: (
        "中くらい:差出人は偽れるため、不達の通知は取り消しません",
        "medium: a sender can be forged, so it undoes no bounce",
    ),
    Sign.REPLIED: ("強い:本人がこのメールに返信しました", "strong: a person answered this mail"),
    Sign.SEEN: (
        "弱い:来訪は、メールを読んだためとは限りません",
        "weak: a visit need not follow from the mail",
    ),
    Sign.COLLECTED: (
        "中くらい:期限内の来館は、メールを読んだためと思われます",
        "medium: who comes in time has probably read it",
    ),
    Sign.LAPSED: (
        "中くらい:取りに来られないのは、届かなかったためかもしれません",
        "medium: it may have lapsed because the mail was not seen",
    ),
    Sign.UNANSWERED: (
        "弱い:読んでも知らせない方もいます",
        "weak: many read and do not answer",
    ),
    Sign.CANARY_INBOX: ("メール会社についての手がかりです", "about the provider, not about a patron"),
    Sign.CANARY_JUNK: ("メール会社についての手がかりです", "about the provider, not about a patron"),
    Sign.CANARY_MISSING: ("メール会社についての手がかりです", "about the provider, not about a patron"),
    Sign.STAFF_WORKS: ("強い:本人が届いていると話しました", "strong: the patron said that mail arrives"),
    Sign.STAFF_NEVER_GOT: (
        "強い:本人が届いていないと話しました",
        "strong: the patron said that it never came",
    ),
    Sign.STAFF_MISTYPED: ("確実:アドレスが誤っていました", "certain: the address was wrong"),
    Sign.NOT_ME: ("確実:別の方が受け取っています", "certain: somebody else reads this mailbox"),
}
"""What each sign is worth as to whether mail reaches the patron, Japanese and English."""


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
    A positive report confirms nothing. Collecting in time counts as an answer unless the mail bounced, and
    so does an empty mail that only its sender ties to this one.
    """
    signs = {item.sign for item in evidence}
    if signs & PERSONAL:
        return Finding.CONFIRMED
    if signs & FAILURES:
        return Finding.BOUNCED
    if signs & {Sign.COLLECTED, Sign.WROTE}:
        return Finding.CONFIRMED
    if Sign.UNANSWERED in signs or (window_ends_at is not None and window_ends_at <= now):
        return Finding.UNANSWERED
    return Finding.WAITING
