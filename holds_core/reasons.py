"""Why a mail was not taken: from code, status, phase and words to one reason, a fault and a severity.

In goes what a server said, at SMTP time or in a bounce; out comes a `Verdict`. Both go through the same
tables (`reason_tables`), so that a refusal on the wire and the same words in a report count alike.
Pure: no I/O, no clock, never raises on any input; work is bounded by `MAX_TEXT`.
The reason names are those that Sisimai publishes (https://libsisimai.org/en/reason/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from holds_core.notices import Phase
from holds_core.reason_tables import (
    CODE_RANGES,
    CODES,
    COX,
    FACEBOOK,
    GODADDY,
    IUA,
    ORANGE,
    PROVIDERS,
    STATUS,
    STATUS_SUBJECT,
    SURELY_UNKNOWN,
    TEMPORARY_STATUS,
    UNKNOWN_USER,
    WORDS,
    Rules,
)

MAX_TEXT = 4000
"""Characters of an answer that are read; no server says more that matters."""
MAX_GAP = 120
"""How much `*` in a phrase may stand for."""


class Reason(StrEnum):
    """Why. A closed list; `undefined` is an honest "the mail does not tell"."""

    AUTHFAILURE = "authfailure"
    BADREPUTATION = "badreputation"
    BLOCKED = "blocked"
    CONTENTERROR = "contenterror"
    DELIVERED = "delivered"
    EMAILTOOLARGE = "emailtoolarge"
    EXPIRED = "expired"
    FAILEDSTARTTLS = "failedstarttls"
    FEEDBACK = "feedback"
    FILTERED = "filtered"
    HASMOVED = "hasmoved"
    HOSTUNKNOWN = "hostunknown"
    MAILBOXFULL = "mailboxfull"
    MAILERERROR = "mailererror"
    NETWORKERROR = "networkerror"
    NORELAYING = "norelaying"
    NOTACCEPT = "notaccept"
    NOTCOMPLIANTRFC = "notcompliantrfc"
    ONHOLD = "onhold"
    POLICYVIOLATION = "policyviolation"
    RATELIMITED = "ratelimited"
    REJECTED = "rejected"
    REQUIREPTR = "requireptr"
    SECURITYERROR = "securityerror"
    SPAMDETECTED = "spamdetected"
    SUPPRESSED = "suppressed"
    SUSPEND = "suspend"
    SYNTAXERROR = "syntaxerror"
    SYSTEMERROR = "systemerror"
    SYSTEMFULL = "systemfull"
    UNDEFINED = "undefined"
    USERUNKNOWN = "userunknown"
    VACATION = "vacation"
    VIRUSDETECTED = "virusdetected"


class Fault(StrEnum):
    """Who has to act. Only `patron` may ever count against an address."""

    PATRON = "patron"
    PROVIDER = "provider"
    US = "us"


class Severity(StrEnum):
    """`hard`: the address will not work again by waiting. `soft`: everything else."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer of a server means."""

    reason: Reason
    fault: Fault
    severity: Severity


_R = Reason

MEANING: dict[Reason, tuple[str, str]] = {
    _R.AUTHFAILURE: (
        "送信元の認証(SPF・DKIM・DMARC)に失敗しました",
        "Our mail failed SPF, DKIM or DMARC",
    ),
    _R.BADREPUTATION: (
        "送信元サーバーの評価が低いため断られました",
        "The sending server has a poor reputation there",
    ),
    _R.BLOCKED: ("送信元サーバーが受信側で拒まれています", "The sending server is blocked there"),
    _R.CONTENTERROR: ("メールの形式が受け付けられませんでした", "The form of the mail was not accepted"),
    _R.DELIVERED: ("受信側のサーバーに渡りました", "The next server took the mail"),
    _R.EMAILTOOLARGE: ("メールが大きすぎます", "The mail is too large"),
    _R.EXPIRED: (
        "期限までに配送できませんでした(再送中を含みます)",
        "It could not be delivered in time, or is still being retried",
    ),
    _R.FAILEDSTARTTLS: ("暗号化通信(STARTTLS)に失敗しました", "The encrypted connection failed"),
    _R.FEEDBACK: ("迷惑メールとして報告されました", "The recipient reported the mail as spam"),
    _R.FILTERED: (
        "受信者の設定(指定受信など)により受け取られませんでした",
        "The recipient's own settings refuse the mail",
    ),
    _R.HASMOVED: ("メールアドレスが移転しています", "The mailbox has moved"),
    _R.HOSTUNKNOWN: ("メールアドレスのドメインが存在しません", "The domain of the address does not exist"),
    _R.MAILBOXFULL: ("受信者のメールボックスがいっぱいです", "The mailbox is full"),
    _R.MAILERERROR: (
        "受信側の配送プログラムでエラーが起きました",
        "A program at the receiving side failed",
    ),
    _R.NETWORKERROR: ("ネットワークまたはDNSの障害です", "A network, routing or DNS failure"),
    _R.NORELAYING: ("サーバーが中継を断りました", "The server refuses to relay"),
    _R.NOTACCEPT: ("受信側のドメインはメールを受け取っていません", "The domain accepts no mail at all"),
    _R.NOTCOMPLIANTRFC: ("メールが標準規格(RFC)に沿っていません", "The mail breaks a mail standard"),
    _R.ONHOLD: ("原因の手がかりがわずかしかありません", "The report gives hardly any reason"),
    _R.POLICYVIOLATION: ("受信側の方針により断られました", "The receiving side's policy forbids the mail"),
    _R.RATELIMITED: ("短時間に送りすぎたため断られました", "Too many mails or connections in a short time"),
    _R.REJECTED: ("送信元アドレスが受信側で断られました", "The sender address was refused"),
    _R.REQUIREPTR: (
        "送信元サーバーの逆引きDNSが正しくありません",
        "The sending server lacks a valid reverse DNS record",
    ),
    _R.SECURITYERROR: ("受信側の安全上の理由で断られました", "Refused for a security reason"),
    _R.SPAMDETECTED: ("迷惑メールと判定されました", "The mail was taken for spam"),
    _R.SUPPRESSED: (
        "中継サービスの配信停止リストに載っています",
        "The address is on the relay service's suppression list",
    ),
    _R.SUSPEND: ("受信者のメールボックスは停止中です", "The mailbox is suspended or inactive"),
    _R.SYNTAXERROR: ("SMTPの手順が受け付けられませんでした", "The SMTP command was not understood"),
    _R.SYSTEMERROR: ("受信側のシステムに障害があります", "The receiving system has a fault"),
    _R.SYSTEMFULL: ("受信側のシステムの容量がいっぱいです", "The receiving system's disk is full"),
    _R.UNDEFINED: ("原因は読み取れませんでした", "No reason could be read"),
    _R.USERUNKNOWN: ("宛先のメールアドレスが存在しません", "The address does not exist"),
    _R.VACATION: ("不在通知が届きました", "An out-of-office reply"),
    _R.VIRUSDETECTED: ("ウイルスと判定されました", "The mail was taken for a virus"),
}
"""One line per reason: (Japanese, English)."""

HARD = frozenset({_R.USERUNKNOWN, _R.HOSTUNKNOWN, _R.HASMOVED, _R.NOTACCEPT})
"""Reasons that waiting does not cure. `notaccept` with a 4xx answer is soft: a server in maintenance."""

FAULT: dict[Reason, Fault] = {
    # The address, or what its owner set up, is the cause.
    **dict.fromkeys(
        (_R.USERUNKNOWN, _R.HOSTUNKNOWN, _R.HASMOVED, _R.NOTACCEPT, _R.MAILBOXFULL, _R.FILTERED), Fault.PATRON
    ),
    **dict.fromkeys((_R.SUSPEND, _R.VACATION, _R.FEEDBACK, _R.DELIVERED), Fault.PATRON),
    # Their servers or the way there.
    **dict.fromkeys(
        (_R.EXPIRED, _R.NETWORKERROR, _R.MAILERERROR, _R.SYSTEMERROR, _R.SYSTEMFULL), Fault.PROVIDER
    ),
    # Not known whose: never held against the patron, and no alarm for us either.
    **dict.fromkeys((_R.ONHOLD, _R.UNDEFINED), Fault.PROVIDER),
    # Our server, our domain's records, our text or our pace.
    **dict.fromkeys(
        (_R.AUTHFAILURE, _R.BADREPUTATION, _R.BLOCKED, _R.CONTENTERROR, _R.EMAILTOOLARGE, _R.FAILEDSTARTTLS),
        Fault.US,
    ),
    **dict.fromkeys((_R.NORELAYING, _R.NOTCOMPLIANTRFC, _R.POLICYVIOLATION, _R.RATELIMITED), Fault.US),
    **dict.fromkeys((_R.REJECTED, _R.REQUIREPTR, _R.SECURITYERROR, _R.SPAMDETECTED), Fault.US),
    **dict.fromkeys((_R.SUPPRESSED, _R.SYNTAXERROR, _R.VIRUSDETECTED), Fault.US),
}


def verdict(reason: Reason, *, temporary: bool = False) -> Verdict:
    """The verdict that a reason carries. `temporary`: the server said 4xx, so even `notaccept` is soft."""
    hard = reason in HARD and not (temporary and reason is Reason.NOTACCEPT)
    return Verdict(reason, FAULT[reason], Severity.HARD if hard else Severity.SOFT)


_R50 = frozenset(range(500, 505))
_ORANGE = re.compile(r"\b(?:ofr|lpn|lpnaaa|ouk|wbx|sfr)\w{0,6}?[_-]([0-9]{3})\b")
_GODADDY = re.compile(r"\bib([0-9]{3})\b")
_COX = re.compile(r"\baup#([a-z]+)\b")
_FACEBOOK = re.compile(r"\b((?:rcp|int|pol|msg|dns|con)-[pt]\d)\b")
_IUA = re.compile(r"mail\.i\.ua/err/(\d{1,2})\b")
_PROVIDER_CODES: tuple[tuple[str, re.Pattern[str], Mapping[str, str]], ...] = (
    # (a word that must be there, where the code stands, its meanings): the word saves the search
    ("_", _ORANGE, ORANGE),
    ("ib", _GODADDY, GODADDY),
    ("aup#", _COX, COX),
    ("-", _FACEBOOK, FACEBOOK),
    ("i.ua/err/", _IUA, IUA),
)
_BEFORE_MAIL = frozenset({Phase.CONNECT, Phase.HELLO})


def classify(
    *,
    phase: Phase | None,
    code: int | None,
    status: str,
    text: str,
    remote: str = "",
    recipient: str = "",
) -> Verdict:
    """What one answer of a server means.

    `phase` is None where it is not known; `code` is the SMTP reply code; `status` RFC 3463's code or "";
    `text` the server's words, codes included or not; `remote` the server's name; `recipient` the address.
    """
    words = " ".join(text[:MAX_TEXT].lower().replace("\u2019", "'").split())
    temporary = status.startswith("4") or (not status and code is not None and 400 <= code < 500)
    reason = (
        _by_code(status, words)
        or _by_provider(words, remote.lower(), recipient.lower())
        or _first(_WORDS, words)
        or _unknown_user(phase, status, words, temporary)
        or _by_status(status, temporary)
        or _by_phase(phase, words)
        or _last_resort(phase, code, status, words)
    )
    return verdict(Reason(reason), temporary=temporary)


def _by_code(status: str, words: str) -> str:
    """Codes that leave no doubt: enhanced codes of their own meaning, and providers' own numbers."""
    detail = status[2:]
    if detail in CODES:
        return CODES[detail]
    if len(detail) == 5:
        for prefix, low, high, reason in CODE_RANGES:
            if detail.startswith(prefix) and low <= int(detail[2:]) <= high:
                return reason
    if not words:
        return ""
    for mark, pattern, table in _PROVIDER_CODES:
        if mark in words and (match := pattern.search(words)) and match.group(1) in table:
            return table[match.group(1)]
    return ""


def _by_provider(words: str, remote: str, recipient: str) -> str:
    """Words that one provider uses in a sense of its own; known by its server's name or the domain."""
    hosts = remote + " " + recipient
    for name, rules in _PROVIDER_RULES:
        if name in hosts:
            return _first(rules, words)
    return ""


def _unknown_user(phase: Phase | None, status: str, words: str, temporary: bool) -> str:
    """That the user is unknown, in its hundred spellings.

    Refused at RCPT, or with a status that says so, the address does not exist. After the data the server
    knew it and a filter spoke: docomo, au and others use the same words for both. Where the report tells
    neither, the milder reading counts.
    """
    if not words:
        return ""
    if any(phrase in words for phrase in SURELY_UNKNOWN):
        return "filtered" if phase is Phase.DATA and not status.startswith("5.1.") else "userunknown"
    if not _any(_UNKNOWN_USER, words):
        return ""
    if phase is Phase.MAIL:
        return "rejected"
    if status == "5.5.0":  # Outlook.com: "550 5.5.0 Requested action not taken: mailbox unavailable"
        return "userunknown"
    said = _by_status(status, temporary)
    if said in _OF_ITS_OWN:
        return said
    return "userunknown" if said == "userunknown" or phase is Phase.RCPT else "filtered"


_OF_ITS_OWN = frozenset(
    {"mailboxfull", "hostunknown", "notaccept", "suspend", "expired", "rejected", "emailtoolarge"}
)
"""What a status may say against the words "user unknown" beside it."""


def _by_status(status: str, temporary: bool) -> str:
    detail = status[2:]
    if temporary and detail in TEMPORARY_STATUS:
        return TEMPORARY_STATUS[detail]
    return STATUS.get(detail, "")


def _by_phase(phase: Phase | None, words: str) -> str:
    """A refusal before MAIL is about our server, one at MAIL about our address."""
    if phase in _BEFORE_MAIL:
        return "blocked"
    if phase is Phase.MAIL or ("address rejected" in words and "recipient address rejected" not in words):
        return "rejected"
    return ""


def _last_resort(phase: Phase | None, code: int | None, status: str, words: str) -> str:
    if reason := STATUS_SUBJECT.get(status[2:3], ""):
        return reason
    if code in _R50:
        return "syntaxerror"
    return "onhold" if words else "undefined"


Phrase = str | re.Pattern[str]
_Rules = tuple[tuple[str, tuple[str, ...], tuple[re.Pattern[str], ...]], ...]


def _compile(rules: Rules) -> _Rules:
    """Splits phrases into plain ones, which `in` finds fastest, and those with a gap."""
    return tuple((reason, *_split(phrases)) for reason, phrases in rules)


def _split(phrases: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    gap = f".{{0,{MAX_GAP}}}?"
    wild = tuple(re.compile(gap.join(map(re.escape, p.split("*")))) for p in phrases if "*" in p)
    return tuple(p for p in phrases if "*" not in p), wild


def _any(compiled: tuple[tuple[str, ...], tuple[re.Pattern[str], ...]], words: str) -> bool:
    plain, wild = compiled
    return any(phrase in words for phrase in plain) or any(pattern.search(words) for pattern in wild)


def _first(rules: _Rules, words: str) -> str:
    if not words:
        return ""
    for reason, plain, wild in rules:
        for phrase in plain:
            if phrase in words:
                return reason
        for pattern in wild:
            if pattern.search(words):
                return reason
    return ""


_WORDS = _compile(WORDS)
_PROVIDER_RULES = tuple((name, _compile(rules)) for name, rules in PROVIDERS.items())
_UNKNOWN_USER = _split(UNKNOWN_USER)
