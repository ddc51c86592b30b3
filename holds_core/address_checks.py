"""Address checks at registration: a patron's address in, what is probably wrong with it out.

An address that cannot exist, a domain that is one letter away from a well-known one, a mail service that has
ended, a domain that takes no mail: each with a sentence for staff and, where it can be guessed, what was
meant. Pure: what DNS says is an argument (`MailDomain`), and nothing is changed or refused here. A doubt is a
warning; a person's sign from the address ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holds_core.patrons import SENTENCES, AddressFault, AddressNote, Refusal, check_address
from holds_core.providers import ProviderKind, Providers


class MailDomain(StrEnum):
    """What DNS says of a domain's mail."""

    OK = "ok"
    NO_DOMAIN = "no_domain"  # NXDOMAIN: there is no such name
    NO_MX = "no_mx"  # neither MX nor an address (RFC 5321 section 5.1)
    NULL_MX = "null_mx"  # the domain says that it takes no mail (RFC 7505)
    UNKNOWN = "unknown"  # no answer: says nothing


_DNS: dict[MailDomain, tuple[str, str]] = {
    MailDomain.NO_DOMAIN: (
        "「@」の後ろのドメインが存在しません。",
        'There is no such domain as the one after the "@".',
    ),
    MailDomain.NO_MX: (
        "「@」の後ろのドメインには、メールの受け取り先がありません。",
        'The domain after the "@" has no server that takes mail.',
    ),
    MailDomain.NULL_MX: (
        "「@」の後ろのドメインは、メールを受け取らないと宣言しています。",
        'The domain after the "@" says that it takes no mail.',
    ),
}

UNDELIVERABLE = frozenset(_DNS)

ADVICE: dict[ProviderKind, tuple[str, str]] = {
    ProviderKind.FREEMAIL: (
        "フリーメールは、お知らせが迷惑メールフォルダーに入ったり、届かないまま消えたりすることがあります。"
        "受信設定のご案内と、ほかの連絡先の登録をお勧めします。",
        "Free mail may put our notices into the spam folder, or lose them without a word. "
        "Hand out the slip on receiving mail, and suggest another address or phone number.",
    ),
    ProviderKind.CARRIER: (
        "携帯電話会社のアドレスは、受信設定により図書館のメールが届かないことがあります。受信設定のご案内をお渡しください。",
        "Phone companies' filters may keep our mail out. Hand out the slip on receiving mail.",
    ),
    ProviderKind.DISPOSABLE: (
        "使い捨てのアドレスは、お知らせをお送りするころには使えなくなっているおそれがあります。",
        "A disposable address may be gone by the time of the next notice.",
    ),
}
"""What to tell a patron at the counter, by the kind of mailbox; the others need no word."""

CASES: dict[str, str] = {
    AddressNote.NEAR_MISS: "address_mistyped",
    AddressNote.DEAD_PROVIDER: "address_dead",
    **dict.fromkeys(UNDELIVERABLE, "address_no_mail"),
}
"""The case's reason for a doubt; `IMPOSSIBLE` for every other one."""

IMPOSSIBLE = "address_impossible"


@dataclass(frozen=True, slots=True)
class AddressDoubt:
    """Why an address probably does not work. `code` is an AddressFault, AddressNote or MailDomain value;
    `suggestion` the whole address that was probably meant, or ""."""

    address: str
    code: str
    suggestion: str = ""

    @property
    def sentence(self) -> tuple[str, str]:
        """Japanese and English."""
        return sentence(self.code)

    def as_json(self) -> dict[str, Any]:
        """As a warning in an API result: never an error, the address is kept as it was given."""
        ja, en = self.sentence
        said = {"decision": "warned", "reason": self.code, "sentence": en, "sentence_ja": ja}
        return said | {"address": self.address} | ({"suggestion": self.suggestion} if self.suggestion else {})

    def __str__(self) -> str:
        """For the log of an import: no address, only what to do about it."""
        ja, en = self.sentence
        return f"警告 warning: {ja} / {en}"


def sentence(code: str) -> tuple[str, str]:
    """What a doubt's code says, Japanese and English; the code itself if it is none of ours."""
    for kind in (AddressFault, AddressNote):
        if code in list(kind):
            return SENTENCES[kind(code)]
    return _DNS[MailDomain(code)] if code in UNDELIVERABLE else (code, code)


def doubt_of(text: str, providers: Providers, domain: MailDomain = MailDomain.UNKNOWN) -> AddressDoubt | None:
    """The heaviest doubt about an address as it was given; None if nothing speaks against it.

    What cannot be an address comes first, then a slip (its suggestion helps more than what DNS says of the
    slip), a dead service, and DNS.
    """
    checked = check_address(text, providers, allow_special_domains=True)
    if isinstance(checked, Refusal):
        return AddressDoubt(text, checked.fault.value, checked.suggestion)
    for note in (AddressNote.NEAR_MISS, AddressNote.DEAD_PROVIDER):
        if note in checked.notes:
            return AddressDoubt(text, note.value, checked.suggestion)
    return AddressDoubt(text, domain.value) if domain in UNDELIVERABLE else None
