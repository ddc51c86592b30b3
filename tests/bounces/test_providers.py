"""What mailbox providers in Japan answer, as Postfix reports it; and forms that are no bounce, or hardly one.

All mails are made here, after the RFCs and the servers' known words.
"""

from __future__ import annotations

import base64

import pytest

from bounces.parse import MailKind, Report, examine
from holds_core.notices import Phase
from holds_core.reasons import Fault, Reason

R, K, F = Reason, MailKind, Fault

ORIGINAL = """Return-Path: <bounce+k7mq2x4v@library.example>
Message-ID: <k7mq2x4v@library.example>
From: noreply@library.example
To: patron@example.jp
Subject: hold
X-Todoku-Notice: k7mq2x4v

text
"""


def word(text: str) -> str:
    """An encoded word (RFC 2047)."""
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="


def mail(
    sender: str,
    subject: str,
    body: str,
    *headers: str,
    charset: str = "utf-8",
    codec: str = "",
    path: str = "<>",
) -> bytes:
    head = [
        f"Return-Path: {path}",
        f"From: {sender}",
        "To: bounce+k7mq2x4v@library.example",
        f"Subject: {subject}",
        "MIME-Version: 1.0",
        f"Content-Type: text/plain; charset={charset}",
        *headers,
    ]
    return "\n".join(head).encode() + b"\n\n" + body.encode(codec or charset)


def report(
    notice: str, fields: str, *, kind: str = "delivery-status", part: str = "message/delivery-status"
) -> bytes:
    """A multipart/report (RFC 6522) as a mail server sends it."""
    return (
        "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example\nTo: bounce+k7mq2x4v@library.example\n"
        "Subject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n"
        f"Content-Type: multipart/report; report-type={kind}; boundary=B\n\n"
        f"--B\nContent-Type: text/plain; charset=utf-8\n\n{notice}\n"
        f"--B\nContent-Type: {part}\n\n{fields}\n"
        f"--B\nContent-Type: message/rfc822\n\n{ORIGINAL}\n--B--\n"
    ).encode()


def status(final: str, status: str = "5.1.1", said: str = "550 5.1.1 User unknown", **more: str) -> str:
    fields = {
        "Final-Recipient": f"rfc822; {final}",
        "Action": "failed",
        "Status": status,
        "Diagnostic-Code": f"smtp; {said}",
    }
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return "Reporting-MTA: dns; mx.example\n\n" + "\n".join(f"{k}: {v}" for k, v in fields.items()) + "\n"


def refusal(address: str, host: str, code: str, answer: str, command: str) -> bytes:
    """Postfix's report that `host` answered so after `command`."""
    said = f"host {host}[192.0.2.7] said: {answer} (in reply to {command} command)"
    notice = f"This is the mail system at host mx.example.\n\n<{address}>: {said}\n"
    return report(notice, status(address, code, answer, Remote_MTA=f"dns; {host}"))


RCPT, DATA, MAIL = "RCPT TO", "end of DATA", "MAIL FROM"
DOCOMO, AU, SOFTBANK = "mfsmax.docomo.ne.jp", "lsean.ezweb.ne.jp", "mx.softbank.ne.jp"
GMAIL, OUTLOOK, ICLOUD = (
    "gmail-smtp-in.l.google.com",
    "outlook-com.olc.protection.outlook.com",
    "mx01.mail.icloud.com",
)
YAHOO = "mx1.mail.yahoo.co.jp"

REFUSALS = [
    # (address, host, status, answer, command) -> kind, reason, fault
    ("a..b.@docomo.ne.jp", DOCOMO, "5.0.0", "550 Unknown user a..b.@docomo.ne.jp", RCPT, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@docomo.ne.jp", DOCOMO, "5.0.0", "550 Unknown user a@docomo.ne.jp", DATA, K.SOFT, R.FILTERED, F.PATRON),
    ("a@docomo.ne.jp", DOCOMO, "5.0.0", "552 Too much mail data", DATA, K.SOFT, R.MAILBOXFULL, F.PATRON),
    ("a@ezweb.ne.jp", AU, "5.0.0", "550 <a@ezweb.ne.jp>: User unknown", RCPT, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@au.com", AU, "5.0.0", "550 : User unknown", RCPT, K.SOFT, R.FILTERED, F.PATRON),
    ("a@uqmobile.jp", "mx.uqmobile.jp", "5.0.0", "550 : User unknown", DATA, K.SOFT, R.FILTERED, F.PATRON),
    ("a@softbank.ne.jp", SOFTBANK, "5.0.0", "550 Invalid recipient: <a@softbank.ne.jp>", RCPT, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@i.softbank.jp", "mx.i.softbank.jp", "5.0.0", "553 library.example does not exist", MAIL, K.SOFT, R.REJECTED, F.US),
    ("a@yahoo.co.jp", YAHOO, "5.0.0", "554 delivery error: dd This user doesn't have a yahoo.co.jp account (a) [-5]", DATA, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@yahoo.co.jp", YAHOO, "5.0.0", "554 delivery error: dd This account has been disabled or discontinued [#102]", DATA, K.SOFT, R.SUSPEND, F.PATRON),
    ("a@yahoo.com", "mta5.am0.yahoodns.net", "5.0.0", "554 delivery error: dd This account has been temporarily disabled", DATA, K.SOFT, R.SUSPEND, F.PATRON),
    ("a@yahoo.co.jp", YAHOO, "4.7.0", "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", MAIL, K.SOFT, R.BADREPUTATION, F.US),
    ("a@gmail.com", GMAIL, "5.2.2", "552 5.2.2 The recipient's inbox is out of storage space", RCPT, K.SOFT, R.MAILBOXFULL, F.PATRON),
    ("a@gmail.com", GMAIL, "5.7.26", "550 5.7.26 Your email has been blocked because the sender is unauthenticated.", DATA, K.SOFT, R.AUTHFAILURE, F.US),
    ("a@outlook.jp", OUTLOOK, "5.5.0", "550 5.5.0 Requested action not taken: mailbox unavailable", RCPT, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@hotmail.co.jp", OUTLOOK, "5.7.515", "550 5.7.515 Access denied, sending domain LIBRARY.EXAMPLE", DATA, K.SOFT, R.AUTHFAILURE, F.US),
    ("a@icloud.com", ICLOUD, "5.1.1", "550 5.1.1 <a@icloud.com>: user does not exist", RCPT, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@icloud.com", ICLOUD, "5.2.2", "552 5.2.2 <a@icloud.com>: user is over quota", RCPT, K.SOFT, R.MAILBOXFULL, F.PATRON),
    ("a@me.com", ICLOUD, "5.7.1", "554 5.7.1 Your message was rejected due to library.example's DMARC policy.", DATA, K.SOFT, R.AUTHFAILURE, F.US),
    ("a@nifty.com", "mxg.nifty.com", "5.1.1", "550 5.1.1 <a@nifty.com>: Recipient address rejected: User unknown", RCPT, K.HARD, R.USERUNKNOWN, F.PATRON),
    ("a@so-net.ne.jp", "mx.so-net.ne.jp", "5.0.0", "550 メールボックスの容量超過", RCPT, K.SOFT, R.MAILBOXFULL, F.PATRON),
]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "host", "code", "answer", "command", "kind", "reason", "fault"), REFUSALS
)
def test_refusals_of_providers(
    address: str,
    host: str,
    code: str,
    answer: str,
    command: str,
    kind: MailKind,
    reason: Reason,
    fault: Fault,
) -> None:
    found = examine(refusal(address, host, code, answer, command))
    assert [(r.address, r.kind, r.reason, r.fault) for r in found.recipients] == [
        (address, kind, reason, fault)
    ]
    assert found.recipients[0].phase is {RCPT: Phase.RCPT, DATA: Phase.DATA, MAIL: Phase.MAIL}[command]
    assert found.original_message_id == "k7mq2x4v@library.example"


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        ("宛先のメールアドレスは存在しません。", K.HARD, R.USERUNKNOWN),
        ("ユーザーが見つかりません", K.HARD, R.USERUNKNOWN),
        ("宛先不明のため配送できません。", K.HARD, R.USERUNKNOWN),
        ("指定されたドメインが存在しません。", K.HARD, R.HOSTUNKNOWN),
        ("受信者のメールボックスの容量が超過しています。", K.SOFT, R.MAILBOXFULL),
        ("受信者がメールの受信を拒否しています。", K.SOFT, R.FILTERED),
        ("このアカウントは利用停止中です。", K.SOFT, R.SUSPEND),
        ("メールのサイズが大きすぎます。", K.SOFT, R.EMAILTOOLARGE),
        ("迷惑メールと判定されました。", K.SOFT, R.SPAMDETECTED),
        ("添付ファイルからウイルスを検出しました。", K.SOFT, R.VIRUSDETECTED),
        ("相手のサーバーに接続できませんでした。", K.SOFT, R.NETWORKERROR),
        ("期限内に配送できませんでした。", K.SOFT, R.EXPIRED),
        # au's gateway says this of unknown and of refused alike: it decides nothing
        ("送信先メールアドレスが見つからないか、送信先メールサーバの事由により送信できませんでした。", K.SOFT, R.ONHOLD),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("charset", "codec"),
    [("utf-8", ""), ("iso-2022-jp", ""), ("shift_jis", "cp932"), ("iso-2022-jp", "euc-jp")],
)
def test_reports_in_japanese(words: str, kind: MailKind, reason: Reason, charset: str, codec: str) -> None:
    body = f"次の宛先にメールを配信できませんでした。\n\n<taro@example.jp>\n{words}\n"
    found = examine(
        mail("MAILER-DAEMON@mail.example.jp", "Undelivered Mail", body, charset=charset, codec=codec)
    )
    assert [(r.address, r.kind, r.reason) for r in found.recipients] == [("taro@example.jp", kind, reason)]


def test_an_address_that_runs_on_from_japanese_words() -> None:
    body = "メールを送信できませんでした。\n送信先:taro@example.jp\n理由:宛先不明\n".replace(":", "：")
    found = examine(mail("MAILER-DAEMON@mail.example.jp", word("メール配信失敗"), body))
    assert [(r.address, r.reason) for r in found.recipients] == [("taro@example.jp", R.USERUNKNOWN)]


def test_office_365_in_japanese_without_its_status_part() -> None:
    body = "taro@city.example.jp へのメッセージを配信できませんでした。\n\ntaro は city.example.jp で見つかりませんでした。\n"
    found = examine(mail("postmaster@city.example.jp", word("配信不能: 予約"), body))
    assert [(r.address, r.kind, r.reason) for r in found.recipients] == [
        ("taro@city.example.jp", K.HARD, R.USERUNKNOWN)
    ]


@pytest.mark.parametrize(
    ("final", "address"),
    [
        ("utf-8; 太郎@図書.example", "太郎@図書.example"),
        (r"utf-8; \x{592A}\x{90ce}@example.jp", "太郎@example.jp"),
        (r"utf-8; a\x{110000}\x{D800}@example.jp", ""),  # no characters: nothing to be read from them
    ],
)
def test_international_addresses(final: str, address: str) -> None:
    """RFC 6533 section 3: as they are, or in ASCII."""
    fields = status("x@y.example").replace("rfc822; x@y.example", final)
    found = examine(report("text", fields, part="message/global-delivery-status"))
    assert found.is_bounce
    assert not address or [r.address for r in found.recipients] == [address]


def test_an_original_recipient_in_xtext() -> None:
    """RFC 3461 section 4: ORCPT is encoded on its way, and Sendmail reports it as it came."""
    fields = status("new@isp.example", Original_Recipient="rfc822; old+2Bbooks@docomo.ne.jp")
    assert examine(report("text", fields)).recipients[0].addresses == (
        "new@isp.example",
        "old+books@docomo.ne.jp",
    )
    kept = status("new@isp.example", Original_Recipient="rfc822; taro+40@docomo.ne.jp")
    assert examine(report("text", kept)).recipients[0].original_recipient == "taro+40@docomo.ne.jp"


MDN = """Reporting-UA: x
Final-Recipient: rfc822; taro@isp.example
Original-Message-ID: <k7mq2x4v@library.example>
Disposition: automatic-action/MDN-sent-automatically; deleted
"""


@pytest.mark.parametrize(
    ("notice", "reason"),
    [
        ("Your message to <taro@isp.example> was automatically rejected:\nno mail from libraries\n", R.FILTERED),
        ("Your message to <taro@isp.example> was automatically rejected:\nQuota exceeded (mailbox for user is full)\n", R.MAILBOXFULL),
        ("Your message was automatically rejected by Sieve, a mail\nfiltering language.\n\nThe following reason was given:\nno\n", R.FILTERED),
    ],
)  # fmt: skip
def test_a_sieve_script_refuses_by_a_receipt(notice: str, reason: Reason) -> None:
    """RFC 5429 section 2.2.1: no sign of life, though it has the form of one."""
    found = examine(
        report(notice, MDN, kind="disposition-notification", part="message/disposition-notification")
    )
    assert [(r.address, r.kind, r.action, r.reason, r.fault) for r in found.recipients] == [
        ("taro@isp.example", K.SOFT, "failed", reason, F.PATRON)
    ]


def test_outlooks_not_read_is_no_refusal() -> None:
    notice = "Your message was deleted without being read on Sunday."
    found = examine(
        report(notice, MDN, kind="disposition-notification", part="message/disposition-notification")
    )
    assert (found.kind, found.recipients[0].action) == (K.DELIVERED, "deleted")


@pytest.mark.parametrize(
    ("body", "action"),
    [
        ("Your message has been successfully delivered to the following recipients\n\n   taro@isp.example\n", "delivered"),
        ("Your message has been successfully relayed to the following recipients, but the requested delivery "
         "status notifications may not be generated by the destination.\n\n   taro@isp.example\n", "relayed"),
        ("次の宛先に正常に配信されました。\n\n   taro@isp.example\n", "delivered"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "frame", ["", "This is an automatically generated Delivery Status Notification.\n\n"]
)
def test_a_success_in_words_is_no_bounce(frame: str, body: str, action: str) -> None:
    """Exchange writes them in the frame of a failure, and gateways take the status part away."""
    found = examine(mail("postmaster@isp.example", "Delivery Status Notification (Relay)", frame + body))
    assert [(r.address, r.kind, r.action) for r in found.recipients] == [
        ("taro@isp.example", K.DELIVERED, action)
    ]
    assert not found.is_bounce


REPLY = "In-Reply-To: <k7mq2x4v@library.example>"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        # vacation programs
        (mail("taro@isp.example", "Re: hold", "Away until Monday.\n", REPLY, "Auto-Submitted: auto-replied (vacation)"), K.AUTO_REPLY),
        (mail("taro@isp.example", word("自動応答: 予約"), "不在です。\n", "Auto-Submitted: auto-generated"), K.AUTO_REPLY),
        (mail("taro@isp.example", word("【自動返信】不在のお知らせ"), "お届けできません。\n", path="<taro@isp.example>"), K.AUTO_REPLY),
        # those that mark nothing: the null return path, or BSD vacation's precedence, beside a reply
        (mail("taro@isp.example", "Re: hold", "gone fishing\n", REPLY), K.AUTO_REPLY),
        (mail("taro@isp.example", "Re: hold", "gone fishing\n", REPLY, "Precedence: bulk", path="<taro@isp.example>"), K.AUTO_REPLY),
        # a mailing list's member writes: nobody's answer to us
        (mail("taro@isp.example", "Re: hold", "me too\n", REPLY, "Precedence: list", "List-Id: <x.example>", path="<x@x.example>"), K.NONE),
        # filters that ask the sender to prove himself
        (mail("taro@isp.example", "Please confirm your message",
              "This message was created automatically by mail delivery software (TMDA).\n\nYour message attached below "
              "is being held because the address\n<bounce+k7mq2x4v@library.example> has not been verified.\n\nTo release "
              "your message for delivery, please send an empty message\nto the following address:\n\n  "
              "taro-confirm-1@isp.example\n", "X-Delivery-Agent: TMDA/1.1"), K.AUTO_REPLY),
        (mail("verify@spam.example", "Re: hold (verification)",
              "I just received your email. To have it delivered to my inbox please click the link below\n"), K.AUTO_REPLY),
        # people
        (mail("taro@isp.example", "Re: hold", "Thank you.\n", REPLY, path="<taro@isp.example>"), K.HUMAN_REPLY),
        (mail("taro@isp.example", word("Ｒｅ：予約のお知らせ"), "わかりました。\n", path="<taro@isp.example>"), K.HUMAN_REPLY),
        (mail("taro@isp.example", "Re: hold", "Mail delivery failed と出ました。届かないことがありますか。\n", REPLY, path="<taro@isp.example>"), K.HUMAN_REPLY),
        # a person passes a bounce on, as phones do, under the bounce's own subject
        (mail("staff@city.example", "Undelivered Mail Returned to Sender",
              "---------- Forwarded message ---------\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example>\n\n"
              "This is the mail system at host mx.example.\n\n<taro@isp.example>: host x.example[192.0.2.1] said: "
              "550 5.1.1 User unknown (in reply to RCPT TO command)\n", path="<staff@city.example>"), K.NONE),
        # shops and newsletters whose words are those of a bounce
        (mail("News <news@shop.example>", "Delivery failure of your parcel", "We could not deliver your parcel to taro@isp.example.\n",
              "List-Unsubscribe: <mailto:u@shop.example>", path="<news@shop.example>"), K.NONE),
        (mail("no-reply@shop.example", word("【重要】お荷物をお届けできませんでした"), "taro@isp.example 様\n不在のため持ち帰りました。\n", path="<x@shop.example>"), K.NONE),
    ],
)  # fmt: skip
def test_what_is_no_bounce(raw: bytes, kind: MailKind) -> None:
    assert examine(raw).kind is kind


@pytest.mark.parametrize(
    "raw",
    [
        # what gateways do to a report on its way
        report("x", status("taro@isp.example")).replace(b"\n--B--", b""),
        report("x", status("taro@isp.example")).replace(b"message/delivery-status", b"MESSAGE/Delivery-Status"),
        report("x", status("taro@isp.example")).replace(b"multipart/report; report-type=delivery-status;", b"multipart/mixed;"),
        report("x", status("taro@isp.example")).replace(b"boundary=B", b'boundary*0="B"; boundary*1=""'),
        report("x", status("taro@isp.example")).replace(b"charset=utf-8", b"charset=utf-16"),
        report("x", status("taro@isp.example")).replace(b"charset=utf-8", b"charset=no-such-charset"),
        b"\xef\xbb\xbf" + report("x\0\0", status("taro@isp.example")),
        report("x", status("<TARO@ISP.EXAMPLE> (bad)", "5.1.1 (User unknown)", Action="Failed (permanent)")),
        report("x", "\n\n" + status("taro@isp.example").replace("\n\n", "\n\n\n\n")),
        report("<taro@isp.example>: host x[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)\n",
               status("taro@isp.example"), part="application/octet-stream; name=details.txt"),
    ],
)  # fmt: skip
def test_reports_that_suffered_on_their_way(raw: bytes) -> None:
    found: Report = examine(raw)
    assert [(r.address, r.kind, r.reason) for r in found.recipients] == [
        ("taro@isp.example", K.HARD, R.USERUNKNOWN)
    ]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("base64", base64.encodebytes), ("quoted-printable", lambda b: b.replace(b"isp.", b"is=\np."))],
)
def test_status_fields_that_are_encoded(encoding: str, encode: object) -> None:
    """RFC 3464 section 2.1.1 forbids it, and Exchange and Lotus did it."""
    assert callable(encode)
    fields = status("taro@isp.example")
    raw = report("x", fields).replace(fields.encode(), encode(fields.encode()))
    raw = raw.replace(
        b"Content-Type: message/delivery-status",
        b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: " + encoding.encode(),
    )
    assert [(r.address, r.reason) for r in examine(raw).recipients] == [("taro@isp.example", R.USERUNKNOWN)]
