"""判別できないメール: what came back and could not be used, why, and what a person makes of it.

Staff see that it is there; an admin reads it, has it read again, ties it to a mail by hand, or puts it away.
A mail that only a person tied to ours counts as evidence from then on, and the audit trail says who did.
"""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bounces.ingest import evidence_of
from bounces.match import By, Match
from bounces.why import in_language
from holds_core.errors import BadInput
from holds_core.ledger import inbox, observations
from holds_core.ledger.inbox import MailState, Stored
from mailer.app.web.desk.pages import Part
from mailer.app.web.desk.visit import Visit, number_of

MOST = 200
HEAD = 16_000
"""Octets of a mail that are looked at for its sender and subject."""

_LIKELY = re.compile(r"may be delivery (\d+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One mail in quarantine. `likely` is the delivery it may be about by recipient and time, or 0."""

    mail: Stored
    sender: str
    subject: str
    why: str
    likely: int


class Quarantine(Part):
    """The quarantine's handlers."""

    def routes(self) -> list[Route]:
        return [
            self.get("/quarantine", self.show),
            self.post("/quarantine/{inbound_id:int}/replay", self.replay, admin=True),
            self.post("/quarantine/{inbound_id:int}/dismiss", self.dismiss, admin=True),
            self.post("/quarantine/{inbound_id:int}/attach", self.attach, admin=True),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            mails = await inbox.quarantine(connection, MOST)
        lines = [_line(mail, visit) for mail in mails]
        return await self._desk.render(visit, "quarantine.html", lines=lines, said=visit.said("said"))

    async def replay(self, request: Request, visit: Visit) -> Response:
        """Reads it again, with whatever this program has learned since."""
        inbound_id = number_of(request, "inbound_id")
        async with self._services.ledger.write() as connection:
            await inbox.settle(connection, inbound_id, MailState.NEW)
        verdict = await self._services.ingest.read_one(inbound_id)
        await self.note(visit, "mail.replay", f"mail:{inbound_id}", state=verdict.state)
        return self.to(visit, "/quarantine", said="used" if verdict.state is MailState.USED else "still")

    async def dismiss(self, request: Request, visit: Visit) -> Response:
        inbound_id = number_of(request, "inbound_id")
        async with self._services.ledger.write() as connection:
            mail = await inbox.get(connection, inbound_id)
            await inbox.settle(
                connection, inbound_id, MailState.DISMISSED, why=mail.why, delivery_id=mail.delivery_id
            )
        await self.note(visit, "mail.dismiss", f"mail:{inbound_id}")
        return self.to(visit, "/quarantine", said="dismissed")

    async def attach(self, request: Request, visit: Visit) -> Response:
        """Ties a mail to one of ours, on an admin's word. Raises BadInput."""
        inbound_id, number = number_of(request, "inbound_id"), visit.said("delivery", 15)
        if not number.isdecimal():
            raise BadInput("お知らせの送信番号を数字で入力してください。 Enter the number of the mail.")
        delivery_id = int(number)
        async with self._services.ledger.write() as connection:
            mail = await inbox.get(connection, inbound_id)
            if await inbox.target(connection, delivery_id) is None:
                raise BadInput(
                    f"送信番号 {delivery_id} はありません。 There is no mail {delivery_id} of ours."
                )
            report = await self._services.ingest.report_of(mail)
            found = evidence_of(report, Match(delivery_id, By.LIKELY), mail)
            if not found:
                raise BadInput(
                    "このメールからは、到着も不達も読み取れません。 It says neither that a mail came nor that it did not."
                )
            for item in found:
                await observations.observe(connection, item, visit.now)
            why = f"attached by {visit.account.login}"
            await inbox.settle(connection, inbound_id, MailState.USED, why=why, delivery_id=delivery_id)
        await self.note(visit, "mail.attach", f"mail:{inbound_id}", delivery_id=delivery_id)
        return self.to(visit, "/quarantine", said="used")


def _line(mail: Stored, visit: Visit) -> Line:
    sender = subject = ""
    if mail.raw:
        head = email.message_from_bytes(mail.raw[:HEAD], policy=email.policy.compat32)
        sender, subject = _decoded(head.get("From")), _decoded(head.get("Subject"))
    likely = _LIKELY.search(mail.why)
    return Line(
        mail=mail,
        sender=sender or mail.envelope_from or "<>",
        subject=subject,
        why=in_language(mail.why, visit.language),
        likely=int(likely[1]) if likely else 0,
    )


def _decoded(header: object) -> str:
    """A header as people read it, whatever is in it."""
    if header is None:
        return ""
    try:
        made = str(email.header.make_header(email.header.decode_header(str(header))))
    except (LookupError, ValueError):
        made = str(header)
    return "".join(c if c.isprintable() else " " for c in made)[:200]
