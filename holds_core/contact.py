"""By which means staff reach a patron whom mail does not: a call, a letter, or a word at the counter. Pure.

Enters what the library does (`case.phone_fallback`), what the patron asked for and the days that are left;
leaves the means that the list proposes. Staff may do otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Means(StrEnum):
    """How to reach a patron."""

    CALL = "call"
    LETTER = "letter"
    COUNTER = "counter"  # tell them when they come: a note on their record or on the shelf slip


NAMES: dict[Means, tuple[str, str]] = {
    Means.CALL: ("電話する", "Call"),
    Means.LETTER: ("手紙を出す", "Send a letter"),
    Means.COUNTER: ("来館時に伝える", "Tell at the counter"),
}

LETTER_TAKES = 3
"""Days in which a letter arrives: since 2021 Japan Post delivers ordinary mail on weekdays, in two or three."""


def means_of(
    reasons: Collection[str], *, contact: str, phones: bool, has_phone: bool, days_left: int | None
) -> Means:
    """What to do about a case. `phones`: whether this library phones at all (Tosu does not), and has
    not done so in vain often enough.

    A patron who asked for letters gets one even where it may come late.
    """
    if "contact_post" in reasons or (contact == "post" and "contact_phone" not in reasons):
        return Means.LETTER
    if phones and has_phone:
        return Means.CALL
    in_time = days_left is None or days_left >= LETTER_TAKES
    return Means.LETTER if in_time else Means.COUNTER
