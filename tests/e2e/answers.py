"""What patrons, their programs and their providers send back to a mail of ours, written after the RFCs.

In: our mail as it lay in the patron's mailbox. Out: the octets of an answer, with CRLF line ends. Servers'
reports are not made here: real servers make them.
"""

from __future__ import annotations

import base64
import email
import email.utils
from dataclasses import dataclass

WORDS = "ありがとうございます。土曜日にうかがいます。"
"""What the person writes who answers."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Our mail as it arrived: the octets, and the headers that answers are made from, raw."""

    raw: str
    return_path: str
    message_id: str
    recipient: str
    subject: str

    @classmethod
    def of(cls, arrived: bytes) -> Sent:
        raw = arrived.replace(b"\r\n", b"\n").decode()
        headers = email.message_from_string(raw)
        return cls(
            raw=raw,
            return_path=headers["Return-Path"].strip("<>"),
            message_id=headers["Message-ID"],
            recipient=email.utils.parseaddr(headers["To"])[1],
            subject=headers["Subject"],
        )


def complaint(sent: Sent, to: str) -> bytes:
    """A provider's feedback loop: the reader pressed "this is spam" (RFC 5965)."""
    return _mail(f"""\
From: <feedback@good.example>
To: <{to}>
Subject: FW: abuse report
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part"

--part
Content-Type: text/plain; charset=us-ascii

This is an email abuse report for a message received from IP 192.0.2.1.

--part
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Feedback/1.0
Version: 1
Original-Mail-From: <{sent.return_path}>
Original-Rcpt-To: <{sent.recipient}>
Source-IP: 192.0.2.1

--part
Content-Type: message/rfc822

{sent.raw}
--part--
""")


def vacation(sent: Sent, to: str) -> bytes:
    """A responder that keeps to RFC 3834 (Sieve's vacation, RFC 5230)."""
    return _mail(f"""\
From: <{sent.recipient}>
To: <{to}>
Subject: Auto: {sent.subject}
In-Reply-To: {sent.message_id}
References: {sent.message_id}
Auto-Submitted: auto-replied (vacation)
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

{_base64("ただいま旅行中です。月曜日に戻ります。")}
""")


def out_of_office(sent: Sent, to: str) -> bytes:
    """Exchange and Microsoft 365 in Japanese: `auto-generated`, and told by its subject and In-Reply-To."""
    return _mail(f"""\
From: =?utf-8?B?{_base64("図書 花子")}?= <{sent.recipient}>
To: <{to}>
Subject: =?utf-8?B?{_base64("自動応答: ")}?= {sent.subject}
Thread-Index: AQHbtest
In-Reply-To: {sent.message_id}
X-MS-Has-Attach:
X-Auto-Response-Suppress: All
auto-submitted: auto-generated
x-ms-exchange-inbox-rules-loop: {sent.recipient}
MIME-Version: 1.0
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: base64

{_base64("<html><body><p>外出しております。</p></body></html>")}
""")


def reply(sent: Sent, to: str) -> bytes:
    """A person answers a no-reply mail from a phone, in ISO-2022-JP, with our mail quoted below."""
    text = f"{WORDS}\n\n2026年4月1日(水) 9:00 とどく市立図書館:\n> 吾輩は猫である\n"
    return _mail(f"""\
From: <{sent.recipient}>
To: <{to}>
Subject: Re: {sent.subject}
In-Reply-To: {sent.message_id}
References: {sent.message_id}
MIME-Version: 1.0
Content-Type: text/plain; charset=iso-2022-jp
Content-Transfer-Encoding: base64

{_base64(text, "iso-2022-jp")}
""")


def read_receipt(sent: Sent, to: str) -> bytes:
    """The reader's program says that the mail was shown (RFC 8098); ours is named by its Message-ID alone."""
    return _mail(f"""\
From: <{sent.recipient}>
To: <{to}>
Subject: Read: {sent.subject}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary="part"

--part
Content-Type: text/plain; charset=us-ascii

Your message was displayed.

--part
Content-Type: message/disposition-notification

Reporting-UA: phone.good.example; Mailer 1.0
Original-Recipient: rfc822;{sent.recipient}
Final-Recipient: rfc822;{sent.recipient}
Original-Message-ID: {sent.message_id}
Disposition: manual-action/MDN-sent-manually; displayed

--part--
""")


def bounce(to: str, recipient: str, *, message_id: str = "<1@forged.example>", trace: str = "") -> bytes:
    """A delivery status notification such as anybody can write about any address (RFC 3464 section 4)."""
    return _mail(f"""\
{trace}From: <MAILER-DAEMON@mx.good.example>
To: <{to}>
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="part"

--part
Content-Type: text/plain; charset=us-ascii

The mail could not be delivered.

--part
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.good.example
Original-Envelope-Id: forged

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{recipient}>: user unknown

--part
Content-Type: text/rfc822-headers

Message-ID: {message_id}
To: <{recipient}>

--part--
""")


def passed_on(sent: Sent, to: str) -> bytes:
    """A person who forwards the bounce that they got, asking what it is."""
    report = bounce(sent.return_path, sent.recipient, message_id=sent.message_id).replace(b"\r\n", b"\n")
    return _mail(f"""\
From: <{sent.recipient}>
To: <{to}>
Subject: Fwd: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

--outer
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

{_base64("これは何でしょうか。")}

--outer
Content-Type: message/rfc822

{report.decode()}
--outer--
""")


def unmarked(sent: Sent, to: str) -> bytes:
    """A responder that only its null sender tells from a person."""
    return _mail(f"""\
From: <{sent.recipient}>
To: <{to}>
Subject: Re: {sent.subject}
In-Reply-To: {sent.message_id}
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

{_base64("お問い合わせを承りました。")}
""")


def newsletter(to: str) -> bytes:
    """Neither a report nor an answer."""
    return _mail(f"""\
From: <news@shop.example>
To: <{to}>
Subject: Spring sale
List-Id: <news.shop.example>
Precedence: bulk

Books from 100 yen.
""")


def _mail(text: str) -> bytes:
    return text.encode().replace(b"\n", b"\r\n")


def _base64(text: str, charset: str = "utf-8") -> str:
    return base64.b64encode(text.encode(charset)).decode()
