"""Who wrote this mail, a machine or a person; and what words alone tell of reports in no known format."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from bounces.formats import ALONE_OR_COLON, MAX_ROWS, MAX_SAID, TRANSCRIPT, Format, extract
from bounces.letter import ADDRESS, Draft, Finding, Letter, find_addresses


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_SERVER = _any_of(
    r"mailer.?(?:daemon|deamon)",
    r"maildaemon",
    r"post.?master",
    r"mail.?deliver",
    r"delivery[ .]?(?:sub)?system",
    r"mail.?system",
    r"system administrator",
    r"smtp.?mail",
    r"^<?>?$",
    r"\bndr@",
)
"""From fields that only mail servers use."""

_UNATTENDED = _any_of(
    r"no-?reply", r"do-?not-?reply", r"bounce[sd]?[@+-]", r"interscan", r"anti.?virus", r"mail.?gateway"
)
"""From fields of machines of any kind: shops and newsletters as well as au's and Amazon's mail servers."""

_BOUNCE_SUBJECT = _any_of(
    r"undeliver",
    r"non-?deliver",
    r"not delivered",
    r"could not be delivered",
    r"deliver[a-z]* (?:status|fail|problem|report|notif|error|delay)",
    r"deliver[a-z]* .{0,30}fail",
    r"fail[a-z]* .{0,30}deliver",
    r"failure notice",
    r"failed mail",
    r"mail (?:delivery )?(?:failed|failure|error)",
    r"mail system error",
    r"returned? (?:mail|to sender|message|e-?mail)",
    r"returning message",
    r"error (?:in|sending|during) .{0,20}(?:mail|deliver)",
    r"message delayed",
    r"delayed (?:mail|message)",
    r"warning: (?:message|could not send)",
    r"loop alert",
    r"unzustellbar",
    r"non remis",
    r"impossible de",
    r"配信(?:でき|不能|エラー|失敗|に失敗|されません)",
    r"送信(?:できません|エラー|失敗)",
    r"配送(?:でき|不能|エラー|失敗)",
    r"不達|エラー通知|未送达|退信|反送|доставлен",
)

_BOUNCE_WORDS = _any_of(
    r"not (?:be |been |yet been )?(?:delivered|sent)",
    r"undeliver",
    r"deliver[a-z]* (?:has |have )?(?:fail|problem)",
    r"unable to (?:deliver|send)",
    r"could ?n[o']t (?:be )?deliver",
    r"did not reach",
    r"returned (?:because|mail|to)",
    r"permanent error",
    r"failed permanently",
    r"<<< [45]\d\d",
    r"said: [45]\d\d",
    r"non remis",
    r"n'a pas pu",
    r"no pudo ser entregado",
    r"(?:配信|送信|配送)(?:でき|に失敗|不能)",
    r"届けることができ|不達",
)

_QUOTED_BOUNCE = _any_of(
    # what no notice of ours says, so that an answer that quotes it is not taken for a forward
    r"mailer-daemon",
    r"mail delivery (?:sub)?system",
    r"<<< [45]\d\d",
    r"said: [45]\d\d",
    r"[45]\d\d[ -][45]\.\d\.\d",
    r"permanent error",
    r"failed permanently",
    r"delivery (?:has )?failed",
    r"not be delivered",
    r"unable to deliver",
    r"undeliver",
    r"did not reach",
)
_ATTACHED_BOUNCE = re.compile(
    r"^(?:from:.*(?:mailer-daemon|postmaster|mail delivery)|return-path: *<>|"
    r"content-type: *multipart/report)",
    re.IGNORECASE | re.MULTILINE,
)
_REPLY_PREFIX = re.compile(
    r"^\s*(?:(?:re|fwd?|fw|aw|wg|sv|tr|rv|enc|i|res)\s*(?:\[\d+\])?\s*[:：]|転送|返信|\[fwd)", re.IGNORECASE
)
MAX_WORDS: Final = 8192
"""Characters in which words of failure are looked for."""

_LIST_STARTS: Final = (
    "could not be delivered",
    "couldn't be delivered",
    "cannot be delivered",
    "can not be delivered",
    "was not delivered",
    "not been delivered",
    "unable to deliver",
    "undeliverable",
    "delivery failed",
    "delivery has failed",
    "failed to deliver",
    "did not reach",
    "following address",
    "following recipient",
    "following user",
    "failed addresses",
    "failed recipients",
    "intended recipient",
    "mailbox is full",
    "送信できませんでした",
    "配信できません",
    "配送できません",
    "届けることができません",
    "送信に失敗",
    "失敗しました",
)
_INLINE = re.compile(
    r"(?:(?:delivered|deliver(?:ing)?|sent|undeliverable|address(?:ed)?|recipients?|mailbox|user|to|for|"
    r"failed|is full|delivre a|following user|宛先|アドレス)\b[ \t]*[:：,]?[ \t\n]*(?:\"[^\"\n]*\"[ \t]*)?)"
    rf"[<\"'(\[]{{0,2}}(?P<a>{ADDRESS})",
    re.IGNORECASE,
)
_SERVICE: Final = ("postmaster@", "mailer-daemon@", "abuse@", "hostmaster@")
"""Addresses that a report names for help; they are never what it is about, unless they are all it names."""
_STOP: Final = (
    "original message",
    "--- original",
    "additional information",
    "for further assistance",
    "元のメッセージ",
)


def is_server(letter: Letter) -> bool:
    """Whether a mail server wrote the mail: by sender, null return path, report type or headers of servers;
    a telling subject counts if it is no reply or forward."""
    headers = letter.headers
    if _SERVER.search(letter.sender) or letter.top.type == "multipart/report":
        return True
    if "x-failed-recipients" in headers or headers.get("return-path").strip() == "<>":
        return True
    if is_reply(letter) or "list-unsubscribe" in headers or _PASSED_ON.search(letter.body_text[:MAX_WORDS]):
        return False  # a shop's parcel, or a person who passes a bounce on
    return bool(_BOUNCE_SUBJECT.search(letter.subject))


_PASSED_ON = re.compile(
    r"^(?:-{3,} ?(?:Forwarded message|転送メッセージ|転送されたメッセージ) ?-{3,}|Begin forwarded message:)",
    re.IGNORECASE | re.MULTILINE,
)
"""What Gmail, Thunderbird and Apple's mail put above what a person forwards."""


def is_machine(letter: Letter) -> bool:
    """Whether no person wrote the mail. Enough for a known format; words alone need `is_server`."""
    return is_server(letter) or bool(_UNATTENDED.search(letter.sender))


def is_reply(letter: Letter) -> bool:
    """A reply or forward by its subject; some phones write `Ｒｅ：` in full width."""
    return bool(_REPLY_PREFIX.match(unicodedata.normalize("NFKC", letter.subject[:20])))


def is_forward(letter: Letter) -> bool:
    """Whether a person passes a bounce on: attached, or quoted in the text."""
    attached = (part.body[:16384] for part in letter.leaves if part.type == "message/rfc822")
    if any(_ATTACHED_BOUNCE.search(mail) for mail in attached):
        return True
    if is_reply(letter) and _BOUNCE_SUBJECT.search(letter.subject) and not says_bounce(letter):
        return True
    quoted = "\n".join(line for line in letter.body_text.split("\n") if line.startswith((">", "|")))
    return bool(_QUOTED_BOUNCE.search(quoted))


def says_bounce(letter: Letter) -> bool:
    """Whether the mail itself, not what it quotes, says that mail was not delivered."""
    text = letter.notice[:MAX_WORDS]
    if "\n>" in text:
        text = "\n".join(line for line in text.split("\n") if not line.startswith(">"))
    return bool(_BOUNCE_WORDS.search(text))


def failed_header(letter: Letter) -> Finding | None:
    """X-Failed-Recipients: Exim and Gmail name every failed recipient there."""
    addresses = find_addresses(letter.headers.get("x-failed-recipients"))
    said = letter.notice[:MAX_SAID]
    drafts = [Draft(address, action="failed", text=said) for address in addresses[:MAX_ROWS]]
    return Finding("x-failed-recipients", drafts) if drafts else None


_GENERIC = Format("generic", (), ALONE_OR_COLON, _LIST_STARTS, _STOP)
_GENERIC_TRANSCRIPT = Format("generic", (), TRANSCRIPT)
_GENERIC_INLINE = Format("generic", (), _INLINE, (), _STOP)


def generic(letter: Letter) -> Finding | None:
    """Recipients listed behind words that say that mail failed, in no format that is known by name."""
    if not (says_bounce(letter) or _BOUNCE_SUBJECT.search(letter.subject)):
        return None
    notice, lower = letter.notice, letter.lower_notice
    own = set(find_addresses(letter.headers.get("to"))) | {letter.from_address}
    for fmt in (_GENERIC, _GENERIC_TRANSCRIPT, _GENERIC_INLINE):
        found = [d for d in extract(fmt, notice, lower) if d.address not in own]
        drafts = [d for d in found if not d.address.startswith(_SERVICE)]
        if drafts or found:
            return Finding("generic", drafts or found)
    return None


def original_recipient(letter: Letter) -> Finding | None:
    """The To of the attached mail, where the report itself names nobody."""
    original = letter.original
    if original is None or not (says_bounce(letter) or _BOUNCE_SUBJECT.search(letter.subject)):
        return None
    for name in ("x-envelope-to", "x-rcpt-to", "to"):
        addresses = find_addresses(original.headers.get(name))
        if addresses:
            said = letter.notice[:MAX_SAID]
            return Finding("original-to", [Draft(a, action="failed", text=said) for a in addresses[:20]])
    return None


def wrapped_bounce(letter: Letter) -> Letter | None:
    """The bounce inside a report that adds nothing of its own: gateways (InterScan, OCN's) wrap the report
    of an inner server. Only one level, and never in a mail that a person sends."""
    if letter.top.depth or letter.original is None:
        return None
    inner = Letter(letter.original)
    inner.top.depth = 1
    return inner if is_machine(inner) else None
