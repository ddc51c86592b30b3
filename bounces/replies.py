"""Mail that comes back and is no bounce: complaints, read receipts, automatic replies, people's replies."""

from __future__ import annotations

import re
from typing import Final

from bounces.dsn import typed_address
from bounces.heuristics import is_reply
from bounces.letter import Draft, Finding, Letter, find_address, find_addresses

MAX_FIELD: Final = 200
MAX_CHALLENGE: Final = 4096
MAX_SAID: Final = 1000

_FIELD = re.compile(r"^([A-Za-z][A-Za-z0-9-]{1,40})[ \t]*:[ \t]*(.*)$", re.MULTILINE)


def complaint(letter: Letter) -> Finding | None:
    """A feedback report (RFC 5965), or Microsoft's junk report, which is often plain multipart/mixed and
    names the recipient in X-HmXmrOriginalRecipient of the attached mail."""
    part = letter.leaf("message/feedback-report")
    original = letter.original.headers if letter.original else None
    microsoft = original.get("x-hmxmroriginalrecipient") if original else ""
    if (
        part is None
        and not microsoft
        and letter.top.parameters.get("report-type", "").lower() != "feedback-report"
    ):
        return None
    fields = {name.lower(): value for name, value in reversed(_FIELD.findall(part.text))} if part else {}
    named = (
        fields.get("original-rcpt-to"),
        fields.get("removal-recipient"),
        microsoft,
        fields.get("original-recipient"),
        original.get("to") if original else "",
    )
    address = next((a for a in (typed_address(value or "") for value in named) if a), "")
    kind = fields.get("feedback-type", "abuse").strip().lower()[:MAX_FIELD]
    return Finding("rfc5965", [Draft(address, text=kind)] if address else [])


def receipt(letter: Letter) -> tuple[Finding, str] | None:
    """A disposition notification (RFC 8098): somebody's program says that the mail was shown or deleted.
    Gives the finding and the Original-Message-ID field."""
    part = letter.leaf("message/disposition-notification")
    if part is None:
        return None
    fields = {name.lower(): value for name, value in reversed(_FIELD.findall(part.text))}
    address = typed_address(fields.get("final-recipient", "")) or letter.from_address
    mode, _, what = fields.get("disposition", "").partition(";")
    action = what.strip().lower().split("/")[0].split(",")[0] or "displayed"
    original = typed_address(fields.get("original-recipient", ""))
    said = f"{mode.strip()}; {what.strip()}"[:MAX_FIELD]
    drafts = [Draft(address, original=original, action=action, text=said)] if address else []
    return Finding("rfc8098", drafts), fields.get("original-message-id", "")


def rejection(letter: Letter) -> Finding | None:
    """A refusal that looks like a read receipt: RFC 5429 section 2.2.1 lets a Sieve script refuse by a
    disposition notification that says `deleted`. Dovecot's and Cyrus's words tell it from a "not read"."""
    found = receipt(letter)
    if found is None or "automatically rejected" not in letter.lower_notice:
        return None
    drafts = found[0].drafts
    if not drafts or drafts[0].action != "deleted":
        return None
    refused = Draft(drafts[0].address, drafts[0].original, action="failed", text=letter.notice[:MAX_SAID])
    return Finding("sieve-reject", [refused])


_AUTO_HEADERS: Final = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponse",
    "x-auto-response",
    "x-vacation",
    "x-mail-autoreply",
    "x-autoreply-from",
)
_AUTO_SUBJECT = re.compile(
    r"^\s*(?:auto(?:matic)?[- ]?(?:reply|response|matische antwort)?\s*[:：]|automatic reply|auto-?reply|"
    r"ooo\b|vacation|away from|i am away|abwesen|automatische antwort|absence|réponse automatique|"
    r"respuesta automática|risposta automatica|不在|【自動|\[自動|\(自動|(?:ただいま)?休暇|外出中)|"
    r"out of (?:the )?office|自動(?:返信|応答|回答)",
    re.IGNORECASE,
)


def is_vacation(letter: Letter) -> bool:
    """An answer by a person's own mailbox: headers and subjects that no mail server's report has."""
    headers = letter.headers
    if any(name in headers for name in _AUTO_HEADERS) or _AUTO_SUBJECT.search(letter.subject):
        return True
    if headers.get("x-apple-action").strip().upper() == "VACATION":
        return True
    return headers.get("precedence").strip().lower() in ("auto_reply", "auto-reply")


def auto_reply(letter: Letter) -> bool:
    """An automatic answer that is no bounce (RFC 3834); asked after the bounce formats, because servers
    mark their reports as auto-replied too."""
    headers = letter.headers
    submitted = headers.get("auto-submitted").partition("(")[0].strip().lower()
    if submitted.startswith("auto-replied") or is_vacation(letter):
        return True
    if submitted.startswith("auto-generated") and is_reply(letter):
        return True
    if "list-id" in headers or not ("in-reply-to" in headers or is_reply(letter)):
        return False
    # vacation programs that mark nothing still follow RFC 3834 section 3.3, or BSD vacation's habit
    return headers.get("return-path").strip() == "<>" or headers.get("precedence").strip().lower() in (
        "bulk",
        "junk",
    )


_CHALLENGE = re.compile(
    r"to release your (?:message|mail|e-?mail) for delivery|"  # TMDA
    r"is being held because the address|"
    r"to have it delivered to my inbox|"  # Spam Arrest
    r"using boxbe to|"  # Boxbe
    r"confirm that you (?:are a real|are not a) |"
    r"(?:click|reply|respond|visit)[^.]{0,80} to (?:verify|prove|confirm) (?:that )?you(?:r|'re| are)\b[^.]{0,60}"
    r"(?:sender|human|person|address|mail)",
    re.IGNORECASE,
)
"""What filters say that let nobody in before he has pressed a link; each borrows sentences from bounces."""


def is_challenge(letter: Letter) -> bool:
    """A filter of the recipient's asks the sender to prove himself, so the mail waits. No server's report:
    those have a delivery-status part. It is an automatic answer, which nobody of ours will ever press."""
    return (
        not letter.statuses and _CHALLENGE.search(" ".join(letter.notice[:MAX_CHALLENGE].split())) is not None
    )


def is_bulk(letter: Letter) -> bool:
    """Lists and machines that nobody expects an answer from."""
    headers = letter.headers
    if headers.get("precedence").strip().lower() in ("bulk", "list", "junk"):
        return True
    submitted = headers.get("auto-submitted").strip().lower()
    return "list-id" in headers or "list-unsubscribe" in headers or (bool(submitted) and submitted != "no")


def human_reply(letter: Letter) -> bool:
    """A person's own answer: a reply by its headers or subject, from an address, and nothing automatic."""
    if not letter.from_address or is_bulk(letter):
        return False
    return is_reply(letter) or "in-reply-to" in letter.headers or "references" in letter.headers


_QUOTE_MARK = re.compile(
    r"^(?:-{2,} ?(?:Original Message|Forwarded message|元のメッセージ|Original-Nachricht)|_{10,}|"
    r".{0,200}(?:wrote|のメール|さんは書きました|schrieb|a écrit) ?[:：]|On .{0,200}wrote:|\d{4}年.{0,200}[:：]|差出人[:：])",
    re.IGNORECASE | re.MULTILINE,
)


def own_words(letter: Letter, limit: int) -> str:
    """What the writer says, without what is quoted. Quoted text may hold titles, which are secret."""
    text = letter.body_text
    mark = _QUOTE_MARK.search(text)
    if mark:
        text = text[: mark.start()]
    lines = [line for line in text.split("\n") if not line.startswith((">", "|", "＞"))]
    return "\n".join(lines).strip()[:limit]


_SIGNATURE = re.compile(
    r"^(?:-- ?$|[_\-=―─]{3,}\s*$|"
    r".{0,30}(?:iPhone|iPad|Android|Galaxy|Xperia|スマートフォン|携帯電話?)(?:™|\(TM\))?\s?"
    r"(?:から送信|より送信|デバイスから送信)|"
    r"Sent (?:from|via) |Get Outlook for |Outlook for (?:iOS|Android)|Yahoo!メール ?(?:から|アプリ))",
    re.IGNORECASE | re.MULTILINE,
)
"""Where what a phone or a mail program puts under every mail begins: RFC 3676 section 4.3 has `-- `, a row
of dashes is the Japanese habit, the rest is what makers ship."""


def without_signature(text: str) -> str:
    """The words that a person typed for this mail, "" for an empty mail with a signature."""
    mark = _SIGNATURE.search(text)
    return (text[: mark.start()] if mark else text).strip("\u200b\ufeff\xa0\u3000 \t\r\n")


def sender_draft(letter: Letter) -> list[Draft]:
    address = find_address(letter.headers.get("from")) or next(
        iter(find_addresses(letter.headers.get("reply-to"))), ""
    )
    return [Draft(address)] if address else []
