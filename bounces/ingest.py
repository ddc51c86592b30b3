"""Mail that came back -> evidence. Stored first, then read, matched and recorded; never dropped.

`store` is what LMTP and IMAP call: when it returns, the bytes are committed and may be acknowledged. `run`
reads what was stored. What cannot be read or matched goes to quarantine with the reason, where staff can
look at it and have it read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from bounces.confirmation import Confirmation, confirmation
from bounces.intake import Inbound
from bounces.log import BounceLog
from bounces.match import By, Match, canary_of, matches
from bounces.parse import MailKind, Recipient, Report, read
from bounces.why import Why, tell
from holds_core.errors import IllegalTransition
from holds_core.evidence import Sign
from holds_core.ledger import answers, canaries, inbox, observations
from holds_core.ledger.canaries import Fate
from holds_core.ledger.inbox import MailState, Stored
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import REFUSED, Ledger, Transaction
from holds_core.patrons import address_key
from holds_core.tokens import TokenKeys

LIKELY_WITHIN = timedelta(days=7)
BIG = 200_000
"""Octets above which a mail is read in a thread, so that the loop goes on."""

_SIGNS = {
    MailKind.HARD: Sign.BOUNCED,
    MailKind.SOFT: Sign.BOUNCED,
    MailKind.DELAYED: Sign.DELAYED,
    MailKind.FEEDBACK: Sign.COMPLAINT,
    MailKind.AUTO_REPLY: Sign.AUTO_REPLY,
    MailKind.HUMAN_REPLY: Sign.REPLIED,
}


_FEEDBACK = {"not-spam": Sign.SEEN}
"""Feedback types that are no complaint (RFC 6430: the reader took it out of the junk folder)."""
_FOR_IT = frozenset({"auth-failure", "virus"})
"""Those that speak of our server and not of the patron (RFC 6591; RFC 5965 section 7.3)."""

_CONFIRMATION = "confirmation"
"""The kind of an empty mail that confirms, beside the reader's kinds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mail."""

    state: MailState
    kind: str
    why: str = ""
    match: Match | None = None


class Ingest:
    """Reads inbound mail for one ledger. `keys` verify our tokens; mail to one of `confirm_addresses` is an
    empty mail that confirms (空メール)."""

    def __init__(
        self, ledger: Ledger, keys: TokenKeys, log: BounceLog, confirm_addresses: Sequence[str] = ()
    ) -> None:
        self._ledger, self._keys, self._log = ledger, keys, log
        self._confirm_addresses = tuple(confirm_addresses)
        self._new = asyncio.Event()
        self._new.set()  # what an earlier process stored and did not read

    def reload(self, keys: TokenKeys, confirm_addresses: Sequence[str]) -> None:
        """Takes others for the mail that is read from now on."""
        self._keys, self._confirm_addresses = keys, tuple(confirm_addresses)

    async def store(self, mail: Inbound) -> None:
        """Commits the bytes. A mail handed in twice is kept once. Raises if it could not be kept."""
        async with self._ledger.write() as connection:
            await inbox.store(
                connection,
                raw=mail.raw,
                source=mail.source,
                envelope_from=mail.envelope_from,
                envelope_to=mail.envelope_to,
                received_at=mail.received_at,
                truncated=mail.truncated,
            )
        self._new.set()

    async def run(self) -> None:
        """Reads new mail until cancelled."""
        while True:
            await self._new.wait()
            self._new.clear()
            try:
                await self.read_all()
            except BaseException:
                self._new.set()  # whoever runs this again must find what is left
                raise

    async def read_all(self) -> int:
        """Reads everything that waits. Returns how many mails that was."""
        count = 0
        while True:
            async with self._ledger.read() as connection:
                waiting = await inbox.waiting(connection)
            if not waiting:
                return count
            for inbound_id in waiting:
                with contextlib.suppress(IllegalTransition):  # another daemon has read it since
                    await self.read_one(inbound_id)
                    count += 1

    async def read_one(self, inbound_id: int) -> Verdict:
        """Reads one stored mail (also one from quarantine, which is a replay) and records what it says."""
        async with self._ledger.read() as connection:
            mail = await inbox.get(connection, inbound_id)
        report = await self.report_of(mail)
        try:
            async with self._ledger.write() as connection:
                verdict = await self._settle(connection, mail, await self._judge(connection, mail, report))
        except (*REFUSED, ValueError) as error:
            # its own content is what cannot be recorded: it must not stand in the way of the others
            verdict = _quarantined(report.kind.value, Why.UNRECORDED, type(error).__name__)
            async with self._ledger.write() as connection:
                await self._settle(connection, mail, verdict)
        self._tell(mail, verdict)
        return verdict

    async def report_of(self, mail: Stored) -> Report:
        """What a stored mail says. Of a big one in a thread: reading it takes longer than a turn of the loop."""
        raw = _as_delivered(mail)
        return await asyncio.to_thread(read, raw) if len(raw) > BIG else read(raw)

    async def _settle(self, connection: Transaction, mail: Stored, verdict: Verdict) -> Verdict:
        await inbox.settle(
            connection,
            mail.inbound_id,
            verdict.state,
            kind=verdict.kind,
            why=verdict.why,
            delivery_id=verdict.match.delivery_id if verdict.match else None,
        )
        return verdict

    async def _judge(self, connection: Transaction, mail: Stored, report: Report) -> Verdict:
        kind = report.kind.value
        if mail.raw is None:
            return _quarantined(mail.kind, Why.ERASED)
        said = confirmation(report, mail.envelope_to, self._confirm_addresses, self._keys)
        if said is not None:
            return await _confirm(connection, mail, said)
        if (why := _unusable(report)) is not None:
            return _quarantined("loop" if report.loop else kind, why)
        if (canary := canary_of(report, mail.envelope_to, self._keys)) is not None:
            if report.is_bounce and report.kind is not MailKind.DELAYED:
                await canaries.settle(connection, canary, Fate.BOUNCED, mail.received_at)
            return Verdict(MailState.USED, kind)  # the library's own mailbox: nothing of a patron's
        match = await self._match(connection, mail, report)
        if match is None:
            return _quarantined(kind, Why.UNTIED)
        if match.by is By.LIKELY:
            return _quarantined(kind, Why.LIKELY, match.delivery_id, match)
        for item in evidence_of(report, match, mail):
            await observations.observe(connection, item, mail.received_at)
        return Verdict(MailState.USED, kind, match=match)

    async def _match(self, connection: Transaction, mail: Stored, report: Report) -> Match | None:
        for match in matches(report, mail.envelope_to, self._keys):
            if await inbox.target(connection, match.delivery_id) is not None:
                return match
        for recipient in report.recipients:
            for address in (recipient.original_recipient, recipient.address):
                since = mail.received_at - LIKELY_WITHIN
                if address and (
                    found := await inbox.likely(connection, address_key(address), since, mail.received_at)
                ):
                    return Match(found.delivery_id, By.LIKELY)
        return None

    def _tell(self, mail: Stored, verdict: Verdict) -> None:
        if verdict.state is MailState.QUARANTINED:
            self._log.quarantined(mail.inbound_id, mail.source, verdict.why)
        else:
            delivery = verdict.match.delivery_id if verdict.match else None
            by = verdict.match.by.value if verdict.match else ""
            self._log.received(mail.inbound_id, mail.source, verdict.kind, delivery, by)


async def _confirm(connection: Transaction, mail: Stored, said: Confirmation) -> Verdict:
    """Records an empty mail as evidence about what it answers."""
    found = await _answered(connection, mail, said)
    if isinstance(found, Why):
        return _quarantined(_CONFIRMATION, found)
    for match in found:
        for item in _confirmed(mail, match, said):
            await observations.observe(connection, item, mail.received_at)
    return Verdict(MailState.USED, _CONFIRMATION, match=found[0])


async def _answered(connection: Transaction, mail: Stored, said: Confirmation) -> list[Match] | Why:
    now = mail.received_at
    if said.delivery_id is None:
        sender = address_key(said.sender)
        found = await answers.written_to(connection, sender, now) if said.sender else []
        return [Match(delivery_id, By.SENDER) for delivery_id in found] or Why.UNKNOWN_WRITER
    asked = await answers.asked(connection, said.delivery_id)
    if asked is None:
        return Why.UNTIED
    if now > asked.created_at + answers.VALID_FOR:
        return Why.TOO_LATE
    return [Match(said.delivery_id, By.CONFIRM_ADDRESS)]


def _confirmed(mail: Stored, match: Match, said: Confirmation) -> list[Observation]:
    """The sign, counted once however often the patron confirms; words beside it are a reply, which staff
    must see. Words that only a sender's address vouches for stay with the weak sign."""
    item = Observation(
        at=mail.received_at,
        sign=said.sign,
        source=mail.source,
        fingerprint=f"wrote:{mail.inbound_id}:{match.delivery_id}",
        delivery_id=match.delivery_id,
        inbound_id=mail.inbound_id,
    )
    if said.sign is Sign.WROTE:
        return [replace(item, text=said.words)]
    signs = [replace(item, fingerprint=answers.fingerprint(said.sign, match.delivery_id))]
    if said.words:
        reply = f"mail:{mail.inbound_id}:0"
        signs.append(replace(item, sign=Sign.REPLIED, fingerprint=reply, text=said.words))
    return signs


def _as_delivered(mail: Stored) -> bytes:
    """The mail as it would lie in a mailbox. LMTP keeps the null sender apart, final delivery writes it on
    top (RFC 5321 section 4.4); without it an unmarked automatic answer would pass for a person's."""
    null_sender = mail.source == "lmtp" and not mail.envelope_from
    return (b"Return-Path: <>\r\n" if null_sender else b"") + (mail.raw or b"")


def _quarantined(kind: str, why: Why, detail: object = "", match: Match | None = None) -> Verdict:
    return Verdict(MailState.QUARANTINED, kind, tell(why, detail), match)


def _unusable(report: Report) -> Why | None:
    """Why a mail proves nothing, whatever it may be tied to; None if it may."""
    if report.loop:
        return Why.LOOP
    if report.forwarded:
        return Why.FORWARDED
    if report.kind is MailKind.NONE:
        return Why.UNREADABLE if report.detector == "unreadable" else Why.NOTHING
    if report.kind is MailKind.FEEDBACK and any(item.text in _FOR_IT for item in report.recipients):
        return Why.FOR_IT
    return None


def evidence_of(report: Report, match: Match, mail: Stored) -> list[Observation]:
    """What a matched mail proves about its delivery: one observation per recipient it speaks of.

    Judged by action, not by status: a final failure may carry 4.x.x (RFC 3464 section 2.3.3).
    """
    if not report.recipients:
        sign = _SIGNS.get(report.kind)
        return [_observation(sign, match, mail, report, None, 0)] if sign else []
    return [
        _observation(sign, match, mail, report, recipient, number)
        for number, recipient in enumerate(report.recipients)
        if (sign := _sign(report, recipient)) is not None
    ]


def _sign(report: Report, recipient: Recipient) -> Sign | None:
    if report.kind is MailKind.FEEDBACK:
        return _FEEDBACK.get(recipient.text, Sign.COMPLAINT)
    if report.kind in (MailKind.AUTO_REPLY, MailKind.HUMAN_REPLY):
        return _SIGNS[report.kind]
    if recipient.kind is MailKind.DELIVERED:
        return {
            "delivered": Sign.DELIVERED,
            "displayed": Sign.SEEN,  # a read receipt: often sent by a program, so a weak sign
        }.get(recipient.action, Sign.RELAYED)
    return _SIGNS.get(recipient.kind)


def _observation(
    sign: Sign, match: Match, mail: Stored, report: Report, recipient: Recipient | None, number: int
) -> Observation:
    reason = recipient.reason if recipient else None
    failed = sign is Sign.BOUNCED
    return Observation(
        at=mail.received_at,
        sign=sign,
        source=mail.source,
        fingerprint=f"mail:{mail.inbound_id}:{number}",
        delivery_id=match.delivery_id,
        reason=reason.value if reason else "",
        fault=recipient.fault.value if recipient and failed else "",
        severity=("hard" if recipient.kind is MailKind.HARD else "soft") if recipient and failed else "",
        code=recipient.code if recipient else None,
        status=recipient.status if recipient else "",
        # a person's own words belong to the case
        text=report.text if sign is Sign.REPLIED or recipient is None else recipient.text,
        inbound_id=mail.inbound_id,
    )
