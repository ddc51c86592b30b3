"""What every way in hands over: one mail as it came, and the promise that it is kept.

In: octets from the LMTP listener, the IMAP reader or a file. Out: `Inbound`, given to a `Store`.
Nothing here reads what a mail means; that is for the parser, later and from the stored octets.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

MAX_SIZE = 262_144
"""Octets kept of one mail. A delivery report comes before the mail it returns (RFC 3462), so the head
of a longer one still tells everything."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One mail as it came in.

    `raw` is the mail with its CRLF line ends, cut to the intake's limit if `truncated`; `note` then says
    how much is missing. `envelope_from` is "" for the null sender of a bounce (RFC 5321 section 4.5.5)
    and `envelope_to` the addresses it was handed in for, as written. A mailbox has no envelope left:
    there they are what the delivering server noted (`delivery_headers`), possibly nothing.
    `received_at` is when Todoku took it, with a time zone; ValueError without one.
    """

    raw: bytes
    source: Literal["lmtp", "imap", "file"]
    envelope_from: str
    envelope_to: tuple[str, ...]
    received_at: datetime
    truncated: bool
    note: str

    def __post_init__(self) -> None:
        if self.received_at.tzinfo is None:
            raise ValueError("received_at needs a time zone")


Store = Callable[[Inbound], Awaitable[None]]
"""Keeps one mail. When the awaitable returns, the octets are committed; when it raises, they are not.
The same mail may be handed in again after a broken connection: a store counts it once."""


def cut_note(kept: int, size: int) -> str:
    """What `Inbound.note` says of a mail of which only `kept` of `size` octets were kept."""
    return f"first {kept} of {size} octets kept"


_HEADER_LIMIT = 65_536
_MAX_RECIPIENTS = 20
_TRACE_FIELD = re.compile(
    rb"^(return-path|x-original-to|delivered-to|envelope-to|x-envelope-to)[ \t]*:(.*(?:\r?\n[ \t].*)*)",
    re.IGNORECASE | re.MULTILINE,
)


def delivery_headers(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Envelope sender and recipients as the delivering server wrote them into the mail's head.

    Return-Path is RFC 5321 section 4.4; the recipient fields are habits: X-Original-To (Postfix),
    Delivered-To (Postfix, Dovecot, qmail), Envelope-To (Exim). Each is a stranger's word as much as any
    header is: only a valid token in them counts. Returns ("", ()) where there are none; never raises.
    """
    head = re.split(rb"\r?\n\r?\n", raw[:_HEADER_LIMIT], maxsplit=1)[0]
    sender: str | None = None
    recipients: dict[str, None] = {}
    for name, value in _TRACE_FIELD.findall(head):
        address = b"".join(value.split()).strip(b"<>").decode("utf-8", "replace").replace("\0", "")
        if name.lower() != b"return-path":
            recipients[address] = None
        elif sender is None:  # the last server's word is on top
            sender = address
    recipients.pop("", None)
    return sender or "", tuple(recipients)[:_MAX_RECIPIENTS]
