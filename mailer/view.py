"""What a template may see: the text of one notice for one patron, made safe to show.

Strings from outside (names, titles, reasons) enter; a `NoticeView` of plain text and dates leaves. It is
everything a template gets: no settings, no ledger, no clock. Pure.
Never here: the templates themselves (`mailer.render`), and who is owed what.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache

from holds_core.notices import Kind

DEFAULT_LANGUAGE = "ja"


class TitlePolicy(StrEnum):
    """How much of a title a mail may show: families share addresses, and what one borrows is secret."""

    FULL = "full"
    SHORT = "short"
    NONE = "none"


# Text from outside

_UNPRINTED = frozenset({"Cc", "Cs"})  # control characters, lone surrogates
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # may make text read backwards
_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
_OWN = re.compile("[\ue000-\uf8ff\U000f0000-\U0010fffd]")  # private use areas
SHORT_TITLE = 10
LONGEST_TITLE = 200
"""Characters of a title under the policies `short` and `full`."""


def clean(text: str) -> str:
    """One line of `text` as it may be shown: line ends and tabs become a space, control characters vanish,
    a library system's own characters (外字) become the customary 〓.

    >>> clean("坊っ\\x00ちゃん\\r\\nBcc: x")
    '坊っちゃん Bcc: x'
    """
    if text.isprintable():
        return text
    text = _OWN.sub("〓", _BREAKS.sub(" ", text))
    return "".join(c for c in text if unicodedata.category(c) not in _UNPRINTED and c not in _BIDI)


def show_title(title: str, policy: str) -> str:
    """The title as the policy (`full`, `short`, `none`) lets it be shown; "" where it may not be.

    `short` is the first ten characters and an ellipsis.
    Raises ValueError for an unknown policy: showing too much must never be the default.
    """
    wanted = TitlePolicy(policy)
    if wanted is TitlePolicy.NONE:
        return ""
    return _cut(clean(title).strip(), SHORT_TITLE if wanted is TitlePolicy.SHORT else LONGEST_TITLE)


def _cut(text: str, length: int) -> str:
    """At most `length` characters and an ellipsis, never between a character and its marks."""
    if len(text) <= length:
        return text
    while length < len(text) and unicodedata.category(text[length]) in ("Mn", "Me", "Mc"):
        length += 1
    return text[:length].rstrip() + "…" if length < len(text) else text


@lru_cache(maxsize=1024)
def day(value: date, language: str = DEFAULT_LANGUAGE) -> str:
    """A day with its weekday, as `language` writes it.

    >>> day(date(2026, 11, 29)), day(date(2026, 11, 29), "en"), day(date(2026, 11, 29), "ja-easy")
    ('11月29日(日)', 'Sunday 29 November 2026', '11月29日(日曜日)')
    """
    if language == "en":
        return f"{_WEEKDAYS_EN[value.weekday()]} {value.day} {_MONTHS_EN[value.month]} {value.year}"
    weekday = "月火水木金土日"[value.weekday()]
    return f"{value.month}月{value.day}日({weekday}{'曜日' if language == 'ja-easy' else ''})"


# By hand: strftime would speak the process's locale.
_WEEKDAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS_EN = (
    *("", "January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


# The view


@dataclass(frozen=True, slots=True)
class HoldLine:
    """One hold in a notice. `title` is what may be shown of it, "" for nothing (see `show_title`);
    `deadline` is given only where it differs from the notice's."""

    title: str = ""
    deadline: date | None = None


@dataclass(frozen=True, slots=True)
class NoticeView:
    """Everything a template may see, under these names. Text is "" and a date None where unknown.

    Links (`*_url`) are "" in the variant for patrons who filter mail with links, see `without_links`.
    """

    kind: Kind
    language: str
    library_name: str
    sender_address: str
    """The From address, for patrons who list the senders they accept."""
    library_phone: str = ""
    library_url: str = ""
    branch_name: str = ""
    """The pickup branch."""
    branch_phone: str = ""
    branch_hours: str = ""
    """Opening hours and closed days in the library's own words; may have several lines."""
    family_name: str = ""
    holds: tuple[HoldLine, ...] = ()
    """Templates also get `titles_shown`: whether any hold shows a title."""
    deadline: date | None = None
    """The last day to collect; with several, the earliest."""
    reason: str = ""
    """A sentence: why a hold or its cancellation was not accepted, or why the library cancelled it."""
    changed: str = "email"
    """What changed in the registration: `email`, `password`, or `both`."""
    changed_on: date | None = None
    opac_url: str = ""
    """The page where patrons see their holds and change their address."""
    account_menu: str = "利用照会"
    address_menu: str = "Eメールアドレスの変更"
    """The library's own names of that page and of the button on it."""
    card_name: str = "貸出券"
    confirm_url: str = ""
    confirm_address: str = ""
    """Where an empty mail confirms that this one arrived (空メール)."""
    not_me_url: str = ""
    """Where someone who is not this patron says so."""
    not_me_address: str = ""
    """The same by an empty mail."""
    send_only_note: str = ""
    """The library's own words instead of the template's statement that nobody reads replies."""
    old_sender: str = ""
    new_sender: str = ""
    switch_on: date | None = None
    """The first day on which mail comes from `new_sender`."""

    def without_links(self) -> NoticeView:
        """The same notice with no web address in it."""
        return replace(self, library_url="", opac_url="", confirm_url="", not_me_url="")
