"""Mail that the town sends back: delivery reports (RFC 3464), a vacation reply (RFC 3834), a person's words.

Pure: a mail of ours as the town's relay saw it enters, the bytes of an answer leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime

RELAY_NAME = "mx.sandbox.example"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail of ours. `header` is its header section as it came; `link` the confirmation page's or ""."""

    sender: str
    recipient: str
    envid: str
    author: str
    message_id: str
    subject: str
    header: str
    link: str
    ready: bool
    """Whether it announces holds on the shelf."""


def report(mail: Mail, action: str, status: str, diagnostic: str, now: datetime, remote: str) -> bytes:
    """A delivery status notification. `action`: failed, relayed, delivered (RFC 3464 section 2.3.3)."""
    failed = action == "failed"
    whole = MIMEMultipart("report", policy=policy.SMTP, report_type="delivery-status")
    whole["From"] = f"Mail Delivery System <MAILER-DAEMON@{RELAY_NAME}>"
    whole["To"] = mail.sender
    whole["Subject"] = "Undelivered Mail Returned to Sender" if failed else "Successful Mail Delivery Report"
    whole["Date"] = format_datetime(now)
    whole["Auto-Submitted"] = "auto-replied"
    said = "could not be delivered" if failed else f"was {action}"
    whole.attach(MIMEText(f"Your message to <{mail.recipient}> {said}: {diagnostic}\n", policy=policy.SMTP))
    whole.attach(_status(mail, action, status, diagnostic, remote))
    original = Message(policy=policy.compat32)
    original["Content-Type"] = "text/rfc822-headers"
    original.set_payload(mail.header)
    whole.attach(original)
    return bytes(whole)


def _status(mail: Mail, action: str, status: str, diagnostic: str, remote: str) -> Message:
    """The machine's part: one block about the message, one about the recipient."""
    part = Message(policy=policy.compat32)
    part["Content-Type"] = "message/delivery-status"
    part.attach(_block({"Reporting-MTA": f"dns; {RELAY_NAME}", "Original-Envelope-Id": mail.envid}))
    part.attach(
        _block(
            {
                "Final-Recipient": f"rfc822; {mail.recipient}",
                "Original-Recipient": f"rfc822; {mail.recipient}",
                "Action": action,
                "Status": status,
                "Remote-MTA": f"dns; {remote}",
                "Diagnostic-Code": f"smtp; {diagnostic}",
            }
        )
    )
    return part


def _block(fields: dict[str, str]) -> Message:
    block = Message(policy=policy.compat32)
    for name, value in fields.items():
        if value:
            block[name] = value
    return block


def vacation(mail: Mail, name: str, now: datetime) -> bytes:
    """To the return path, as RFC 3834 section 4 asks."""
    answer = _answer(mail, name, now, f"自動返信: {mail.subject}", mail.sender)
    answer["Auto-Submitted"] = "auto-replied (vacation)"
    answer.set_content("ただいま旅行中です。戻りましたら拝見します。\n")
    return bytes(answer)


def reply(mail: Mail, name: str, now: datetime) -> bytes:
    """To the author, though the mail says that nobody reads it: people do that."""
    answer = _answer(mail, name, now, f"Re: {mail.subject}", mail.author)
    answer.set_content(
        "ご連絡ありがとうございます。土曜日に取りに伺います。\n\n"
        f"> {mail.subject}\n> このメールは送信専用です。\n"
    )
    return bytes(answer)


def _answer(mail: Mail, name: str, now: datetime, subject: str, to: str) -> EmailMessage:
    answer = EmailMessage(policy=policy.SMTP)
    answer["From"] = f"{name} <{mail.recipient}>"
    answer["To"] = to
    answer["Subject"] = subject
    answer["Date"] = format_datetime(now)
    answer["Message-ID"] = f"<{now:%Y%m%d%H%M%S}.{mail.recipient}>"
    answer["In-Reply-To"] = mail.message_id
    answer["References"] = mail.message_id
    return answer
