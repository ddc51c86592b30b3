"""What patrons type: is it an address, what did they mean, and the forms in which we keep it.

In: an address, a name, a title, as a library system or a person gave it. Out: an `Address` or a
`Refusal` with a reason in Japanese and English and, where it can be guessed, what was meant; the key
under which addresses are matched; cleaned text. Pure, and the only module that knows email-validator.
It never asks the network, and never changes an address by itself: a guess is shown, a person decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from email_validator import EmailSyntaxError, validate_email

from holds_core.errors import BadInput
from holds_core.providers import Provider, ProviderKind, Providers, normal_domain

# --- addresses ---------------------------------------------------------------------------------------


class AddressFault(StrEnum):
    """Why something cannot be used as an address."""

    EMPTY = "empty"
    SEVERAL = "several"
    DECORATED = "decorated"
    FULL_WIDTH = "full_width"
    LONG_VOWEL = "long_vowel"
    SPACE = "space"
    COMMA = "comma"
    NO_AT = "no_at"
    TWO_ATS = "two_ats"
    END_DOT = "end_dot"
    DOTS = "dots"
    NOT_ASCII = "not_ascii"
    NO_ENDING = "no_ending"
    SPECIAL_DOMAIN = "special_domain"
    SYNTAX = "syntax"


class AddressNote(StrEnum):
    """What staff should know of an address that can be used."""

    DOT_ANOMALY = "dot_anomaly"
    NEAR_MISS = "near_miss"
    DEAD_PROVIDER = "dead_provider"
    DISPOSABLE = "disposable"


SENTENCES: dict[AddressFault | AddressNote, tuple[str, str]] = {
    AddressFault.EMPTY: ("メールアドレスが入力されていません。", "There is no address."),
    AddressFault.SEVERAL: (
        "一つの欄に複数のメールアドレスが入力されています。一つずつ登録してください。",
        "There is more than one address in the field. Please enter them one by one.",
    ),
    AddressFault.DECORATED: (
        "メールアドレス以外の文字(お名前やかっこなど)が含まれています。",
        "There is more than the address, for example a name or brackets.",
    ),
    AddressFault.FULL_WIDTH: (
        "全角文字が含まれています。半角で入力してください。",
        "It has full-width letters. Please use half-width ones.",
    ),
    AddressFault.LONG_VOWEL: (
        "ハイフン(-)のかわりに長音記号(ー)などが入力されています。",
        "A long vowel mark or a dash stands in the place of a hyphen.",
    ),
    AddressFault.SPACE: ("空白が含まれています。", "It has a space in it or around it."),
    AddressFault.COMMA: (
        "ピリオド(.)のかわりにカンマ(,)が入力されています。",
        "A comma stands in the place of a full stop.",
    ),
    AddressFault.NO_AT: ("「@」がありません。", 'The "@" is missing.'),
    AddressFault.TWO_ATS: ("「@」が二つ以上あります。", 'There is more than one "@".'),
    AddressFault.END_DOT: (
        "末尾に余分なピリオド(.)があります。",
        "There is a full stop too many at the end.",
    ),
    AddressFault.DOTS: (
        "「@」の前のピリオド(.)の位置が正しくありません。",
        'A full stop before the "@" is in a place where it cannot be.',
    ),
    AddressFault.NOT_ASCII: (
        "メールアドレスに使えない文字が含まれています。",
        "It has letters that an address cannot have.",
    ),
    AddressFault.NO_ENDING: (
        "「@」の後ろが途中で終わっています。",
        'What follows the "@" is not complete.',
    ),
    AddressFault.SPECIAL_DOMAIN: (
        "試験用のドメインのため、メールを送信できません。",
        "The domain is reserved for tests; mail cannot be sent there.",
    ),
    AddressFault.SYNTAX: ("メールアドレスの形式が正しくありません。", "This is not the form of an address."),
    AddressNote.DOT_ANOMALY: (
        "規格外のピリオド(.)を含む携帯電話のメールアドレスです。そのまま送信します。",
        "A mobile phone address with dots that the standard forbids. Mail is sent to it as it is.",
    ),
    AddressNote.NEAR_MISS: (
        "「@」の後ろに入力間違いの可能性があります。ご確認ください。",
        'What follows the "@" may be mistyped. Please check it.',
    ),
    AddressNote.DEAD_PROVIDER: (
        "すでに終了したメールサービスのアドレスです。",
        "The mail service of this address has ended.",
    ),
    AddressNote.DISPOSABLE: (
        "使い捨てメールサービスのアドレスです。",
        "This is an address of a disposable mail service.",
    ),
}
"""What to tell people, in Japanese and in English."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address that mail can be sent to.

    `text` is ASCII and goes into envelopes and headers; `key` is what it is matched by. `suggestion` is
    the whole address that was perhaps meant, or "": it comes with the note NEAR_MISS.
    """

    text: str
    key: str
    provider: Provider
    notes: tuple[AddressNote, ...] = ()
    suggestion: str = ""

    @property
    def dot_anomaly(self) -> bool:
        return AddressNote.DOT_ANOMALY in self.notes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that is not an address; `suggestion` is the address that was probably meant, or ""."""

    fault: AddressFault
    suggestion: str = ""

    @property
    def sentence(self) -> tuple[str, str]:
        """The reason in Japanese and in English."""
        return SENTENCES[self.fault]


def check_address(
    text: str, providers: Providers, *, allow_special_domains: bool = False
) -> Address | Refusal:
    """Whether mail can be sent to what was typed; and if so, what to be careful about.

    Accepted is what RFC 5321 allows, in ASCII, and at Japanese carriers also dots in forbidden places:
    docomo and au gave out such addresses until 2009, and their owners still have them.
    `allow_special_domains` lets names pass that RFC 2606 reserves for tests (.example, .test, .invalid).
    """
    for fault, found, _ in _SLIPS:
        if found(text):
            return Refusal(fault, _meant(text, providers, allow_special_domains))
    return _check_clean(text, providers, allow_special_domains)


def address_key(text: str) -> str:
    """The form in which two spellings of one address are equal: for matching, never for sending.

    Lower case, domain in ASCII, and without the quotes that Postfix puts around `taro.` in `"taro."@`.
    RFC 5321 section 2.4 lets a host tell Taro from taro; none that patrons use does.
    """
    local, at, domain = text.strip().rpartition("@")
    if not at:
        return text.strip().lower()
    return f"{_unquoted(local).lower()}@{normal_domain(domain)}"


def same_entry(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether what was typed twice for confirmation is the same, address by address."""
    return [address_key(text) for text in first] == [address_key(text) for text in second]


def _check_clean(text: str, providers: Providers, special: bool) -> Address | Refusal:
    """`check_address` for a text without slips: one "@", no spaces, nothing full-width."""
    local, _, domain = text.rpartition("@")
    local, domain = _unquoted(local), normal_domain(domain)
    provider = providers.of(domain)
    notes = []
    tidy = _tidy_dots(local)
    if tidy != local:
        if provider.kind is not ProviderKind.CARRIER or not tidy:
            return _refusal_of_dots(local, domain, provider, providers, special)
        notes.append(AddressNote.DOT_ANOMALY)
    better = _near_miss(domain, provider)
    if fault := _fault_of(tidy, domain, special):
        unfinished = fault is AddressFault.NO_ENDING and better
        return Refusal(fault, _if_good(f"{local}@{better}", providers, special) if unfinished else "")
    if provider.is_dead:
        notes.append(AddressNote.DEAD_PROVIDER)
    if better:
        notes.append(AddressNote.NEAR_MISS)
    elif provider.kind is ProviderKind.DISPOSABLE:
        notes.append(AddressNote.DISPOSABLE)
    suggestion = f"{local}@{better}" if better else ""
    address = f"{local}@{domain}"
    return Address(address, address_key(address), provider, tuple(notes), suggestion)


def _fault_of(local: str, domain: str, special: bool) -> AddressFault | None:
    """What email-validator has against `local@domain`, in our words."""
    if not (local + domain).isascii():
        return AddressFault.NOT_ASCII
    if "." not in domain and domain not in _SPECIAL_DOMAINS:
        return AddressFault.NO_ENDING
    if any(domain == name or domain.endswith("." + name) for name in _SPECIAL_DOMAINS):
        if not special:
            return AddressFault.SPECIAL_DOMAIN
        domain += ".jp"  # some of these names cannot be made acceptable to email-validator
    try:
        # strict: a local part of at most 64 octets
        validate_email(f"{local}@{domain}", allow_smtputf8=False, check_deliverability=False, strict=True)
    except EmailSyntaxError:
        return AddressFault.SYNTAX
    return None


_SPECIAL_DOMAINS = frozenset(
    {
        *("test", "example", "invalid", "localhost"),  # RFC 2606 section 2, RFC 6761
        *("example.com", "example.net", "example.org"),  # RFC 2606 section 3
        *("example.jp", "example.co.jp", "example.ne.jp"),  # the same by JPRS
    }
)


def _refusal_of_dots(
    local: str, domain: str, provider: Provider, providers: Providers, special: bool
) -> Refusal:
    tidy = _tidy_dots(local)
    if not tidy:
        return Refusal(AddressFault.DOTS)
    domain = _near_miss(domain, provider) or domain
    at_carrier = providers.of(domain).kind is ProviderKind.CARRIER  # a..b@docomo.co.jp: the dots are right
    meant = f"{local if at_carrier else tidy}@{domain}"
    return Refusal(AddressFault.DOTS, _if_good(meant, providers, special))


def _if_good(text: str, providers: Providers, special: bool) -> str:
    """A guess as it would be accepted, or "" if it is no address either."""
    result = _check_clean(text, providers, special)
    return result.text if isinstance(result, Address) else ""


def _tidy_dots(local: str) -> str:
    return re.sub(r"\.{2,}", ".", local).strip(".")


def _unquoted(local: str) -> str:
    """A local part without quotes that only its dots made necessary (RFC 5321 section 4.1.2)."""
    found = _NEEDLESS_QUOTES.fullmatch(local)
    return found[1] if found else local


_NEEDLESS_QUOTES = re.compile(r"\"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+)\"")

# --- slips of the keyboard -----------------------------------------------------------------------------

_DASHES = "ーｰ－‐‑‒–—―−"
_SPACES = "\\s\u200b\ufeff"
_SEPARATORS = re.compile(rf"[{_SPACES},，、;；/／]+")
_AT = re.compile("[@＠]")


def _is_several(text: str) -> bool:
    return sum(bool(_AT.search(part)) for part in _SEPARATORS.split(text)) > 1


def _has(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: bool(compiled.search(text))


def _replacing(pattern: str, by: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(by, text)


def _unchanged(text: str) -> str:
    return text


def _half_width(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("。", ".")


_Slip = tuple[AddressFault, Callable[[str], bool], Callable[[str], str]]

_SLIPS: list[_Slip] = [
    (AddressFault.EMPTY, lambda text: not text.strip(), _unchanged),
    # before the comma: "a@x.jp,b@y.jp" are two addresses, "a@x,jp" is one
    (AddressFault.SEVERAL, _is_several, _unchanged),
    # copied from a mail or a web page: "Taro <taro@x.jp>", "mailto:taro@x.jp"
    (AddressFault.DECORATED, _has(r"[<>＜＞]|^mailto:"), _replacing(r"^.*[<＜]|[>＞].*$|^mailto:", "")),
    # before full width, as NFKC leaves the long vowel alone and makes odd dashes of the others
    (AddressFault.LONG_VOWEL, _has(f"[{_DASHES}]"), _replacing(f"[{_DASHES}]", "-")),
    # only letters that have a half-width form: kanji are no slip of the keyboard
    (AddressFault.FULL_WIDTH, _has("[\uff01-\uff5e。｡．]"), _half_width),
    (AddressFault.SPACE, _has(f"[{_SPACES}]"), _replacing(f"[{_SPACES}]+", "")),
    (AddressFault.COMMA, _has("[,、，]"), _replacing("[,、，]", ".")),
    (AddressFault.NO_AT, lambda text: "@" not in text, _unchanged),
    (AddressFault.TWO_ATS, lambda text: text.count("@") > 1, _replacing("@{2,}", "@")),
    (AddressFault.END_DOT, lambda text: text.endswith("."), lambda text: text.rstrip(".")),
]
"""Each fault, how it is seen, how it is mended. The first one seen names the refusal; the guess at what
was meant mends them all, in this order."""


def _meant(text: str, providers: Providers, special: bool) -> str:
    """The address that was probably meant, or ""."""
    for _, found, mend in _SLIPS:
        if found(text):
            text = mend(text)
    if any(found(text) for _, found, _ in _SLIPS):  # a slip that cannot be mended, or a new one
        return ""
    result = _check_clean(text, providers, special)
    return result.suggestion or result.text if isinstance(result, Address) else result.suggestion


# --- near misses ---------------------------------------------------------------------------------------

_OFTEN_MEANT = (
    "gmail.com",
    "yahoo.co.jp",
    "docomo.ne.jp",
    "ezweb.ne.jp",
    "softbank.ne.jp",
    "i.softbank.jp",
    "icloud.com",
    "hotmail.com",
    "hotmail.co.jp",
    "outlook.com",
    "outlook.jp",
    "ymobile.ne.jp",
    "yahoo.ne.jp",
    "uqmobile.jp",
    "nifty.com",
)
"""Domains that are worth comparing with; long enough that one letter's difference means something."""

_MEANT_BY_NAME = {
    "gmail": "gmail.com",
    "yahoo": "yahoo.co.jp",
    "docomo": "docomo.ne.jp",
    "ezweb": "ezweb.ne.jp",
    "au": "au.com",
    "softbank": "softbank.ne.jp",
    "i.softbank": "i.softbank.jp",
    "isoftbank": "i.softbank.jp",
    "icloud": "icloud.com",
    "hotmail": "hotmail.com",
    "outlook": "outlook.jp",
    "ymobile": "ymobile.ne.jp",
    "uqmobile": "uqmobile.jp",
    "nifty": "nifty.com",
}
"""The domain people mean when they know the name and guess the ending: gmail.co.jp, docomo.co.jp."""

_BY_ENDING = {
    ("hotmail", True): "hotmail.co.jp",
    ("outlook", False): "outlook.com",
}
"""Services with a Japanese and an international form: (name, whether a Japanese ending was guessed)."""

_GUESSED_ENDINGS = ("", ".jp", ".co.jp", ".ne.jp", ".or.jp", ".com", ".com.jp", ".net", ".co", ".ne")

_ALWAYS_MEANT = {
    "otmail.jp": "hotmail.jp",  # a disposable mail service, but patrons who have it forgot a letter
}


def _near_miss(domain: str, provider: Provider) -> str:
    """The well-known domain that was perhaps meant, or "" if `domain` is known itself or like none."""
    if domain in _ALWAYS_MEANT:
        return _ALWAYS_MEANT[domain]
    if provider.kind is not ProviderKind.OWN:
        return ""
    for name, meant in _MEANT_BY_NAME.items():
        ending = domain.removeprefix(name)
        if domain.startswith(name) and ending in _GUESSED_ENDINGS:
            return _BY_ENDING.get((name, "jp" in ending or ending == ".ne"), meant)
    return next((meant for meant in _OFTEN_MEANT if _one_slip(domain, meant)), "")


def _one_slip(typed: str, meant: str) -> bool:
    """One letter added, left out or wrong, or two neighbours swapped (Damerau's distance 1)."""
    if typed == meant or abs(len(typed) - len(meant)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b), None)
    if start is None:
        return True  # one is the other's beginning
    rest, wanted = typed[start:], meant[start:]
    swapped = rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:]
    return swapped or rest[1:] == wanted[1:] or rest[1:] == wanted or rest == wanted[1:]


# --- names and titles ----------------------------------------------------------------------------------

_LINE_BREAKS = re.compile("[\t\n\x0b\x0c\r\x85\u2028\u2029 ]+")
# controls but the line breaks above, and characters that turn the direction of the text around them
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def clean_text(text: str, limit: int = 300) -> str:
    """A name or a title on one line, without control characters, of at most `limit` characters.

    Ideographic spaces stay; a shortened text ends with "…". Raises BadInput on half of a surrogate
    pair: such text cannot be stored or sent, and its other half is lost already.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("the text has half a character (a lone surrogate)") from None
    text = _LINE_BREAKS.sub(" ", _UNSEEN.sub("", text)).strip()
    if len(text) <= limit:
        return text
    end = max(limit - 1, 0)
    while end and unicodedata.category(text[end])[0] == "M":  # keep a letter and its marks together
        end -= 1
    return (text[:end].rstrip() + "…")[:limit]


_ORGANISATION = re.compile(
    "株式会社|有限会社|合同会社|法人|学校|学園|大学|高校|幼稚園|保育|こども園|図書館|図書室|公民館|病院|医院|役所|役場"
    "|協会|組合|委員会|の会|事務所|商店|センター|クラブ|サークル|文庫|NPO|PTA"
)
_COMMA = re.compile("[,，]")
_DOT = re.compile("[・･]")
_EASTERN = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff々]"
)
"""Kana, Chinese characters, Hangul: who writes a name so puts the family first."""


def family_name(name: str) -> str:
    """The family name where it can be told, else the whole name; for 「佐藤 様」.

    Japanese names come family first with a space between; "Sato, Hanako" says it by the comma, "Hanako SATO" by
    its capitals. All others are left whole, since guessing is rude: names in Latin letters, foreign names
    with a middle dot, organisations.
    """
    name = clean_text(name)
    comma = _COMMA.search(name)
    if comma and (head := name[: comma.start()].strip()):
        return head
    words = name.split()
    if len(words) < 2 or _DOT.search(name) or _ORGANISATION.search(name):
        return name
    if _EASTERN.search(words[0]):
        return words[0]
    capitals = [word for word in words if word.isupper() and len(word) > 1 and word.isalpha()]
    return capitals[0] if len(capitals) == 1 else name
