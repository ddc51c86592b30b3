"""Delivery status fields (RFC 3464): a status text in, drafts out.

Reads what is there, not what should be there: blocks without a blank line between them, fields without
an address type, a missing Status or Action, comments after values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from bounces.letter import Draft, clean_address, find_address

MAX_RECIPIENTS: Final = 100
MAX_STATUS: Final = 96 * 1024
"""Characters of status fields that are read."""
MAX_FIELD: Final = 4000
"""Characters of one line, and of one field where it is folded: an address is looked for at each of them."""

_LINE = re.compile(r"^([A-Za-z][A-Za-z0-9-]{1,40})[ \t]*:[ \t]*(.*)$")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_UNDOTTED = re.compile(r"[^\s<>;,:|/]{1,128}@[^\s<>;,:|/]{1,128}")
_ACTIONS = {
    "failed": "failed",
    "failure": "failed",
    "fail": "failed",
    "expired": "failed",  # some gateways write it for what RFC 3464 calls failed
    "delayed": "delayed",
    "delay": "delayed",
    "deliverable": "delivered",
    "delivered": "delivered",
    "relayed": "relayed",
    "expanded": "expanded",
}


POWERMTA: Final = {
    # PowerMTA's own judgement, which knows the phase that its report leaves out
    "bad-domain": "hostunknown",
    "bad-mailbox": "userunknown",
    "inactive-mailbox": "suspend",
    "message-expired": "expired",
    "no-answer-from-host": "networkerror",
    "policy-related": "policyviolation",
    "quota-issues": "mailboxfull",
    "routing-errors": "systemerror",
    "spam-related": "spamdetected",
}


@dataclass(slots=True)
class StatusReport:
    """The per-message fields (lower-case names) and one draft per recipient."""

    message: dict[str, str] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)


def read_status(text: str) -> StatusReport:
    """Reads all blocks of one delivery-status part."""
    report = StatusReport()
    for block in _blocks(text[:MAX_STATUS]):
        if _is_recipient(block):
            draft = _draft(block)
            if draft is not None:
                report.drafts.append(draft)
            if len(report.drafts) == MAX_RECIPIENTS:
                break
        else:
            for name, value in block.items():
                report.message.setdefault(name, value)
    return report


_LOOSE = re.compile(r"^[ \t]?(?:Final|Original)-Recipient ?:", re.IGNORECASE | re.MULTILINE)
_LOOSE_START = re.compile(r"^[ \t]?(?:Reporting-MTA|Original-Envelope-Id) ?:", re.IGNORECASE | re.MULTILINE)
_LOOSE_END = re.compile(
    r"^(?:[ \t]?--|(?:Received|Return-Path|Message-ID|From|Content-Type: *message/rfc822)\b)",
    re.IGNORECASE | re.MULTILINE,
)


def read_loose(text: str) -> StatusReport:
    """Status fields that stand in running text: the gateway broke the MIME structure, or never made one
    (Amazon WorkMail, PMDF). Only the first run of fields counts; what follows may be a quoted report."""
    first = _LOOSE.search(text)
    if first is None:
        return StatusReport()
    start = _LOOSE_START.search(text, max(0, first.start() - 2000), first.start())
    begin = start.start() if start else max(0, text.rfind("\n\n", 0, first.start()))
    end = _LOOSE_END.search(text, first.start())
    return read_status(text[begin : end.start() if end else len(text)])


def _blocks(text: str) -> list[dict[str, str]]:
    """The field blocks. A second Final-Recipient begins a block of its own, with or without a blank line."""
    blocks: list[dict[str, str]] = [{}]
    last = ""
    for line in text.split("\n"):
        line = line[:MAX_FIELD]
        block = blocks[-1]
        if not line.strip():
            if _is_recipient(block) or "reporting-mta" in block:
                blocks.append({})
            last = ""
        elif line[0] in " \t":
            if last and len(block[last]) < MAX_FIELD:
                block[last] += " " + line.strip()
        elif match := _LINE.match(line):
            last = match.group(1).lower()
            if last == "final-recipient" and last in block:
                block = {}
                blocks.append(block)
            if last in block and last != "diagnostic-code":
                continue
            block[last] = (
                block[last] + " " + match.group(2).strip() if last in block else match.group(2).strip()
            )
    return blocks


def _is_recipient(block: dict[str, str]) -> bool:
    return "final-recipient" in block or "original-recipient" in block or "x-actual-recipient" in block


def _draft(block: dict[str, str]) -> Draft | None:
    final = typed_address(block.get("final-recipient", ""))
    original = typed_address(_from_xtext(block.get("original-recipient", "")))
    address = final or original or typed_address(block.get("x-actual-recipient", ""))
    address = address or _undotted(block.get("final-recipient", ""))
    if not address:
        return None
    status = _STATUS.search(block.get("status", ""))
    action = re.match(r"[a-z]+", block.get("action", "").lower())
    return Draft(
        address=address,
        original=original,
        action=_ACTIONS.get(action.group(), "") if action else "",
        status=status.group(1) if status else "",
        text=untyped(block.get("diagnostic-code", "")),
        remote=_host(block.get("remote-mta", "")),
        hint=POWERMTA.get(block.get("x-powermta-bouncecategory", "").lower(), ""),
    )


def typed_address(value: str) -> str:
    """`rfc822; <a@b>` to `a@b` (RFC 3464 section 2.3.2); "" if there is no mail address in it."""
    return find_address(_embedded(value.partition(";")[2] or value))


_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}", re.IGNORECASE)
_XTEXT = re.compile(r"\+(2B|3D)")


def _embedded(text: str) -> str:
    """`\\x{592A}` to its character: RFC 6533 section 3 writes an international address so in ASCII."""
    if "\\x{" not in text:
        return text
    return _EMBEDDED.sub(lambda found: _character(int(found.group(1), 16)) or found.group(), text)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else ""


def _from_xtext(value: str) -> str:
    """ORCPT is sent as xtext (RFC 3461 section 4), in which "+" is `+2B`; Sendmail reports it as it came.
    Only the two that xtext must encode and addresses hold: any other `+XX` may be a person's own."""
    return _XTEXT.sub(lambda found: chr(int(found.group(1), 16)), value)


def _undotted(value: str) -> str:
    """An address at a host without a dot in its name, as local deliveries have it: `kijitora@mailhub`."""
    match = _UNDOTTED.search(value.partition(";")[2])
    return clean_address(match.group()) if match else ""


def _host(value: str) -> str:
    """The name alone: Gmail and Sun's server put addresses and notes behind it."""
    return untyped(value).partition(" ")[0].rstrip(".")


def untyped(value: str) -> str:
    """The value behind its type: `dns; mx.example` to `mx.example`. `x-unix; 127` keeps it: it says why."""
    kind, semicolon, rest = value.partition(";")
    if semicolon and kind.strip().lower() in (
        "dns",
        "smtp",
        "rfc822",
        "x400",
        "utf-8",
        "lmtp",
        "x-postfix-lmtp",
    ):
        return rest.strip()
    return value.strip()
