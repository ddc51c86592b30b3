"""A reason as the patron may read it: a code and a language in, one sentence out. Pure.

Feeds' own words never pass: they are staff's shorthand.
"""

from __future__ import annotations

import re
from datetime import date

from holds_core.notices import Kind
from holds_core.refusals import Refusal, RefusalCode, Spoilt
from mailer.view import day


def is_english(language: str) -> bool:
    """`en`, and `en-GB` as a library system may say."""
    return language.partition("-")[0].lower() == "en"


_SPOILT: dict[Spoilt, tuple[str, str, str]] = {
    Spoilt.MISSING: (
        "資料の所在を確認できなくなったためです。",
        "The item cannot be found.",
        "その ものが みつからなくなりました。",
    ),
    Spoilt.LOST: ("資料が失われたためです。", "The item has been lost.", "その ものが なくなりました。"),
    Spoilt.SOILED: (
        "資料が汚れ、貸出しができなくなったためです。",
        "The item is soiled and cannot be lent.",
        "よごれて、かすことが できなくなりました。",
    ),
    Spoilt.DAMAGED: (
        "資料が傷み、貸出しができなくなったためです。",
        "The item is damaged and cannot be lent.",
        "こわれて、かすことが できなくなりました。",
    ),
}
"""Why the library cancels a hold that it had accepted: Japanese, English, やさしい日本語."""


def sentence(kind: Kind, reason: str, language: str) -> str:
    """A feed's reason as the patron may read it, or "" if there is none.

    A reason that is not ours is staff's shorthand, never meant for patrons: a refusal gets the general
    sentence, the other notices say enough without one.
    """
    spoken = "en" if is_english(language) else language if language == "ja-easy" else "ja"
    if kind is Kind.HOLD_CANCELLED_BY_LIBRARY:
        spoilt = Spoilt.of(reason)
        return _SPOILT[spoilt][{"en": 1, "ja-easy": 2}.get(spoken, 0)] if spoilt else ""
    if kind is Kind.DEADLINE_CHANGED:
        return _closure(reason, language)
    refusal = Refusal.noted(reason)
    if not reason.strip() or (refusal.code is RefusalCode.OTHER and kind is not Kind.HOLD_REFUSED):
        return ""
    return refusal.sentence(spoken)


_CLOSURE = re.compile(r"closure:(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)")


def _closure(reason: str, language: str) -> str:
    """Why a deadline changed: an unforeseen closing, as `mailer.app.closing` names it; "" for an extension."""
    found = _CLOSURE.fullmatch(reason)
    if found is None:
        return ""
    first, last = (day(date.fromisoformat(text), language) for text in found.groups())
    if is_english(language):
        return (
            f"The library will be closed on {first}."
            if first == last
            else f"The library will be closed from {first} to {last}."
        )
    if language == "ja-easy":
        return f"{first}は おやすみです。" if first == last else f"{first}から {last}まで おやすみです。"
    return (
        f"{first}に臨時休館するためです。"
        if first == last
        else f"{first}から{last}まで臨時休館するためです。"
    )
