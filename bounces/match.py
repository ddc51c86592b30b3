"""Ties a mail that came back to the delivery it is about. Pure.

Only what this library signed counts: the token in the return path, in ENVID, in the Message-ID we gave, or
in our header inside the attached original. Anyone can write a bounce about any address (RFC 3464 section 4);
nobody without our mail in hand can write one of these. A recipient and a time alone are no proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from bounces.parse import OWN_HEADER, Report
from holds_core.tokens import Purpose, TokenKeys


class By(StrEnum):
    """What tied a mail to its delivery, strongest first."""

    RETURN_PATH = "return_path"
    ENVELOPE_ID = "envelope_id"
    MESSAGE_ID = "message_id"
    OWN_HEADER = "own_header"
    REPLY = "reply"
    CONFIRM_ADDRESS = "confirm_address"  # an empty mail to the address that only this delivery named
    SENDER = "sender"  # an empty mail from the address that it was sent to: anyone can write that sender
    LIKELY = "likely"  # recipient and time only: shown to staff, changes nothing


@dataclass(frozen=True, slots=True)
class Match:
    delivery_id: int
    by: By


def matches(report: Report, envelope_to: Iterable[str], keys: TokenKeys) -> Iterator[Match]:
    """Every delivery that the mail names with a token of ours, strongest way first."""
    for by, token in _tokens(report, envelope_to):
        number = keys.read(token)
        if number is not None:
            yield Match(number, by)


def canary_of(report: Report, envelope_to: Iterable[str], keys: TokenKeys) -> int | None:
    """The number of the canary mail that the mail is about, or None. Signed as a delivery's is."""
    numbers = (keys.read(token, Purpose.CANARY) for _, token in _tokens(report, envelope_to))
    return next((number for number in numbers if number is not None), None)


def best(report: Report, envelope_to: Iterable[str], keys: TokenKeys) -> Match | None:
    """The strongest match, or None: then the mail changes no address."""
    return next(matches(report, envelope_to, keys), None)


def _tokens(report: Report, envelope_to: Iterable[str]) -> Iterator[tuple[By, str]]:
    for address in (*envelope_to, *report.to_addresses):
        yield By.RETURN_PATH, _local_token(address)
    yield By.ENVELOPE_ID, report.envelope_id.strip()
    yield By.MESSAGE_ID, _id_token(report.original_message_id)
    yield By.OWN_HEADER, report.original_header(OWN_HEADER).strip()
    for reference in (report.in_reply_to, *reversed(report.references)):
        yield By.REPLY, _id_token(reference)


def _local_token(address: str) -> str:
    """`bounce+token@domain` or `token@domain` -> token."""
    local = address.strip().strip("<>").rpartition("@")[0].strip('"')
    return local.rpartition("+")[2]


def _id_token(message_id: str) -> str:
    """`<token@domain>` -> token."""
    return message_id.strip().strip("<>").partition("@")[0]
