"""Empty mail that confirms (空メール): a read mail and the library's confirmation addresses -> what it answers.

Each notice has an address of its own, `kakunin+token@library`, where the mail system knows address
extensions; whoever writes to it has read the notice, whatever address they write from. Without the token only
the sender's address is left, which anyone can forge: a weak sign, never proof. What a program wrote, an
out-of-office reply first of all, confirms nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bounces.parse import MailKind, Report
from bounces.replies import without_signature
from holds_core.evidence import Sign
from holds_core.tokens import Purpose, TokenKeys

_SIGNS: dict[Purpose, Literal[Sign.CONFIRMED, Sign.NOT_ME]] = {
    Purpose.CONFIRM: Sign.CONFIRMED,
    Purpose.NOT_ME: Sign.NOT_ME,
}


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What an empty mail says. Without `delivery_id` the sender's address must tell whom it is from.

    `words` is what the person wrote beside the phone's signature: they belong to staff.
    """

    sign: Literal[Sign.CONFIRMED, Sign.WROTE, Sign.NOT_ME]
    delivery_id: int | None
    sender: str
    words: str


def confirmation(
    report: Report, recipients: Iterable[str], addresses: Iterable[str], keys: TokenKeys
) -> Confirmation | None:
    """The answer in a mail to one of `addresses`; None if it is no such mail, or no person wrote it.

    `recipients` are the envelope's; those that the mail's head names count as well, because a mailbox keeps
    no envelope. Subject and text may be anything, nothing above all.
    """
    if not report.person or report.kind not in (MailKind.NONE, MailKind.HUMAN_REPLY):
        return None
    words = without_signature(report.text)
    to_us = False
    for recipient in (*recipients, *report.to_addresses):
        extension = _extension(recipient, addresses)
        if extension is None:
            continue
        to_us = True
        for purpose, sign in _SIGNS.items():
            if (delivery_id := keys.read(extension, purpose)) is not None:
                return Confirmation(sign, delivery_id, report.from_address, words)
    return Confirmation(Sign.WROTE, None, report.from_address, words) if to_us else None


def _extension(recipient: str, addresses: Iterable[str]) -> str | None:
    """What follows `local+` if the recipient is one of the addresses; "" for the bare address."""
    local, _, domain = recipient.strip().strip("<>").lower().rpartition("@")
    local = local.strip('"')
    for address in addresses:
        our_local, _, our_domain = address.lower().rpartition("@")
        if domain != our_domain:
            continue
        if local == our_local:
            return ""
        if local.startswith(our_local + "+"):
            return local[len(our_local) + 1 :]
    return None
