"""The bounce reader: the bytes of one mail in, one `Report` out.

Layers, most authoritative first: our own mail come back, delivery status (RFC 3464), complaints
(RFC 5965), read receipts (RFC 8098), automatic replies (RFC 3834), the formats of named servers, words
in general, a person's own reply, and flufl.bounce last. Pure: no I/O, no clock; never raises; time and
memory are bounded for any input (`bounces.mime` holds the limits).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from bounces import mime
from bounces.dsn import read_loose, read_status, untyped
from bounces.fallback import fallback
from bounces.formats import named
from bounces.heuristics import (
    failed_header,
    generic,
    is_forward,
    is_machine,
    is_reply,
    is_server,
    original_recipient,
    says_bounce,
    wrapped_bounce,
)
from bounces.judge import ARRIVED, Judged, judge
from bounces.letter import Draft, Finding, Letter, find_address, find_addresses
from bounces.replies import (
    auto_reply,
    complaint,
    human_reply,
    is_bulk,
    is_challenge,
    is_vacation,
    own_words,
    receipt,
    rejection,
    sender_draft,
)
from bounces.sns import read_event
from holds_core.notices import Phase
from holds_core.reasons import FAULT, Fault, Reason, Severity, Verdict

MAX_HUMAN_TEXT: Final = 4000
MAX_ADDRESSES: Final = 20


class MailKind(StrEnum):
    """What a mail that came back is."""

    HARD = "hard"
    SOFT = "soft"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    FEEDBACK = "feedback"
    AUTO_REPLY = "auto_reply"
    HUMAN_REPLY = "human_reply"
    NONE = "none"


BOUNCES: Final = frozenset({MailKind.HARD, MailKind.SOFT, MailKind.DELAYED})
"""Kinds that say that a mail did not arrive, or not yet."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """What a report says of one recipient.

    `action` is RFC 3464's (failed, delayed, delivered, relayed, expanded), `displayed` for a read
    receipt, or "". `status` is RFC 3463's code or ""; `code` the SMTP reply code; `phase` the SMTP command
    that was refused, if the report tells. `original_recipient` is "" where the report names one address.
    """

    address: str
    kind: MailKind
    original_recipient: str = ""
    action: str = ""
    status: str = ""
    code: int | None = None
    text: str = ""
    reason: Reason = Reason.UNDEFINED
    fault: Fault = Fault.PROVIDER
    remote_mta: str = ""
    detector: str = ""
    phase: Phase | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The address that failed, and the one that the mail was sent to, if that is another."""
        return (self.address, self.original_recipient) if self.original_recipient else (self.address,)

    def as_json(self) -> dict[str, Any]:
        return {
            "recipient": self.address,
            "original_recipient": self.original_recipient,
            "kind": self.kind.value,
            "action": self.action,
            "status": self.status,
            "code": self.code,
            "text": self.text,
            "reason": self.reason.value,
            "fault": self.fault.value,
            "remote_mta": self.remote_mta,
            "detector": self.detector,
            "phase": self.phase.value if self.phase else "",
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What one mail says, and what is needed to find the notice that it is about.

    `to_addresses` are the addresses that the report itself was sent to (To, Delivered-To,
    X-Original-To, Envelope-To): one of them may be the return path with its token.
    `text` is the start of the words of a person or an automatic reply, "" for reports of machines.
    `person`: nothing in the mail says that a program wrote it.
    """

    kind: MailKind
    recipients: tuple[Recipient, ...] = ()
    detector: str = ""
    reporting_mta: str = ""
    envelope_id: str = ""
    subject: str = ""
    from_address: str = ""
    to_addresses: tuple[str, ...] = ()
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    original_message_id: str = ""
    original_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    text: str = ""
    person: bool = False
    forwarded: bool = False
    loop: bool = False

    @property
    def is_bounce(self) -> bool:
        return self.kind in BOUNCES

    def original_header(self, name: str) -> str:
        """The first value of a header of the mail that the report is about, or ""."""
        wanted = name.lower()
        return next((value for key, value in self.original_headers if key == wanted), "")

    def as_json(self, file: str = "") -> dict[str, Any]:
        """One prediction in the form of the scorer, and every other field beside it."""
        human = self.kind is MailKind.HUMAN_REPLY
        return {
            "file": file,
            "is_bounce": self.is_bounce,
            "kind": MailKind.NONE.value if human else self.kind.value,
            "recipients": list(dict.fromkeys(a for r in self.recipients for a in r.addresses)),
            "status": next((r.status for r in self.recipients if r.status), ""),
            "reason": self.recipients[0].reason.value if self.recipients else "",
            "results": [r.as_json() for r in self.recipients],
            "detector": self.detector,
            "human_reply": human,
            "forwarded": self.forwarded,
            "loop": self.loop,
            "reporting_mta": self.reporting_mta,
            "envelope_id": self.envelope_id,
            "subject": self.subject,
            "from_address": self.from_address,
            "to_addresses": list(self.to_addresses),
            "in_reply_to": self.in_reply_to,
            "references": list(self.references),
            "original_message_id": self.original_message_id,
            "text": self.text,
        }


OWN_HEADER: Final = "x-todoku-notice"
"""Every mail of ours carries it; at the top level of an incoming mail it means a loop."""


def read(raw: bytes) -> Report:
    """What the mail `raw` says. Never raises: an error of ours becomes kind `none`, detector `unreadable`,
    so that the mail goes to quarantine instead of stopping the intake."""
    try:
        return examine(raw)
    except Exception:  # the last line of defence; tests call `examine`, which is to raise nothing either
        return Report(MailKind.NONE, detector="unreadable")


def examine(raw: bytes) -> Report:
    """`read` without its safety net."""
    letter = Letter(mime.parse(raw))
    if OWN_HEADER in letter.headers:
        return _report(letter, MailKind.NONE, "loop", loop=True)
    if (event := read_event(letter)) is not None:
        return _from_event(letter, *event)
    if (finding := complaint(letter)) is not None:
        return _no_bounce(letter, MailKind.FEEDBACK, finding, Reason.FEEDBACK)
    if (finding := rejection(letter)) is not None:
        return _bounce(letter, finding, {})
    if (found := receipt(letter)) is not None:
        finding, message_id = found
        report = _no_bounce(letter, MailKind.DELIVERED, finding, Reason.DELIVERED)
        return replace(report, original_message_id=_first_id(message_id) or report.original_message_id)
    machine = is_machine(letter)
    if not machine and is_forward(letter):
        return _report(letter, MailKind.NONE, "forwarded", forwarded=True)
    challenge = is_challenge(letter)
    if not challenge and (bounce := _find_bounce(letter, machine)) is not None:
        return bounce
    if challenge or auto_reply(letter):
        finding = Finding("rfc3834", sender_draft(letter))
        return _no_bounce(letter, MailKind.AUTO_REPLY, finding, Reason.VACATION)
    if says_bounce(letter) and (finding := fallback(raw)) is not None:
        return _bounce(letter, finding, {})
    if not machine and human_reply(letter):
        finding = Finding("human", sender_draft(letter))
        return _no_bounce(letter, MailKind.HUMAN_REPLY, finding, Reason.UNDEFINED)
    person = not machine and not is_bulk(letter)
    return _report(
        letter, MailKind.NONE, "", person=person, text=own_words(letter, MAX_HUMAN_TEXT) if person else ""
    )


def _from_event(letter: Letter, kind: str, finding: Finding) -> Report:
    if kind == "complaint":
        return _no_bounce(letter, MailKind.FEEDBACK, finding, Reason.FEEDBACK)
    return _bounce(letter, finding, {})


def _find_bounce(letter: Letter, machine: bool) -> Report | None:
    """The bounce layers; None if the mail is no bounce."""
    for text in letter.statuses:
        status = read_status(text)
        if status.drafts and (machine or not is_reply(letter)):
            return _bounce(letter, Finding("rfc3464", status.drafts), status.message)
    if not machine:
        return None
    status = read_loose(letter.body_text)
    if status.drafts:
        return _bounce(letter, Finding("rfc3464-text", status.drafts), status.message)
    for detector in (named, failed_header):
        finding = detector(letter)
        if finding is not None:
            return _bounce(letter, finding, {})
    if is_vacation(letter) or not is_server(letter):  # words alone are not enough
        return None
    if (finding := generic(letter)) is not None:
        return _bounce(letter, finding, {})
    if (bounce := _unwrapped(letter)) is not None:
        return bounce
    finding = None if auto_reply(letter) else original_recipient(letter)
    return _bounce(letter, finding, {}) if finding is not None else None


def _unwrapped(letter: Letter) -> Report | None:
    """The report inside a report, addressed as the outer one was: that is where our token stands."""
    inner = wrapped_bounce(letter)
    bounce = _find_bounce(inner, machine=True) if inner is not None else None
    if bounce is None:
        return None
    outer = _report(letter, bounce.kind, bounce.detector)
    addresses = tuple(dict.fromkeys((*outer.to_addresses, *bounce.to_addresses)))
    return replace(
        bounce, to_addresses=addresses[:MAX_ADDRESSES], subject=outer.subject, from_address=outer.from_address
    )


def _no_bounce(letter: Letter, kind: MailKind, finding: Finding, reason: Reason) -> Report:
    recipients = tuple(
        Recipient(
            address=draft.address,
            kind=kind,
            original_recipient=draft.original,
            action=draft.action,
            text=draft.text,
            reason=reason,
            fault=FAULT[reason],
            detector=finding.detector,
        )
        for draft in finding.drafts
    )
    human = kind in (MailKind.AUTO_REPLY, MailKind.HUMAN_REPLY)
    text = own_words(letter, MAX_HUMAN_TEXT) if human else ""
    person = kind is MailKind.HUMAN_REPLY
    return _report(letter, kind, finding.detector, recipients=recipients, text=text, person=person)


_SEVERITY = (MailKind.HARD, MailKind.SOFT, MailKind.DELAYED, MailKind.DELIVERED)


def _bounce(letter: Letter, finding: Finding, message: dict[str, str]) -> Report:
    """A report about deliveries; `message` holds the per-message fields of RFC 3464 section 2.2."""
    reporter = untyped(message.get("reporting-mta", ""))
    alone = len(finding.drafts) == 1
    recipients = tuple(
        _recipient(draft, judge(letter, draft, reporter, alone=alone), finding.detector)
        for draft in finding.drafts
    )
    kinds = {r.kind for r in recipients}
    return _report(
        letter,
        next((k for k in _SEVERITY if k in kinds), MailKind.NONE),
        finding.detector,
        recipients=recipients,
        reporting_mta=reporter,
        envelope_id=message.get("original-envelope-id", ""),
    )


def _recipient(draft: Draft, judged: Judged, detector: str) -> Recipient:
    return Recipient(
        address=draft.address,
        kind=_kind(draft.action, judged.verdict),
        original_recipient=draft.original,
        action=draft.action,
        status=judged.status,
        code=judged.code,
        text=judged.text,
        reason=judged.verdict.reason,
        fault=judged.verdict.fault,
        remote_mta=judged.remote,
        detector=detector,
        phase=judged.phase,
    )


def _kind(action: str, verdict: Verdict) -> MailKind:
    """RFC 3464's Action decides over the status class: a final failure can carry 4.x.x."""
    if action in ARRIVED:
        return MailKind.DELIVERED
    if action == "delayed":
        return MailKind.DELAYED
    return MailKind.HARD if verdict.severity is Severity.HARD else MailKind.SOFT


_TO_HEADERS = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to", "cc")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,400})>")


def _report(letter: Letter, kind: MailKind, detector: str, **fields: Any) -> Report:
    headers = letter.headers
    to = [a for name in _TO_HEADERS for value in headers.all(name)[:10] for a in find_addresses(value)]
    original = letter.original.headers if letter.original else None
    return Report(
        kind=kind,
        detector=detector,
        subject=letter.subject[:500],
        from_address=find_address(headers.get("from")),
        to_addresses=tuple(dict.fromkeys(to))[:MAX_ADDRESSES],
        in_reply_to=_first_id(headers.get("in-reply-to")),
        references=tuple(_MESSAGE_ID.findall(headers.get("references")[:8000])[:20]),
        original_message_id=_first_id(original.get("message-id")) if original else "",
        original_headers=tuple(original.items()) if original else (),
        **fields,
    )


def _first_id(value: str) -> str:
    """A Message-ID without its angle brackets."""
    match = _MESSAGE_ID.search(value[:2000])
    return match.group(1) if match else value.strip()[:400]
