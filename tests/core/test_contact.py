"""A call, a letter, or a word at the counter."""

from __future__ import annotations

import pytest

from holds_core.contact import NAMES, Means, means_of

PHONES, DOES_NOT = True, False


@pytest.mark.parametrize(
    ("reasons", "contact", "phones", "has_phone", "days_left", "means"),
    [
        (["bounced"], "email", PHONES, True, 1, Means.CALL),
        (["bounced"], "email", PHONES, True, None, Means.CALL),
        # nothing to ring: a letter while it still arrives
        (["bounced"], "email", PHONES, False, 5, Means.LETTER),
        (["bounced"], "email", PHONES, False, 2, Means.COUNTER),
        # Tosu: 電話での連絡は原則行っておりません
        (["bounced"], "email", DOES_NOT, True, 5, Means.LETTER),
        (["bounced"], "email", DOES_NOT, True, 0, Means.COUNTER),
        (["contact_phone"], "phone", DOES_NOT, True, None, Means.LETTER),
        (["contact_phone"], "phone", PHONES, True, 0, Means.CALL),
        # asked for letters, or for one about this hold
        (["contact_post"], "post", PHONES, True, 0, Means.LETTER),
        (["contact_post"], "email", PHONES, True, None, Means.LETTER),
        # letters as a rule, but a call about this hold
        (["contact_phone"], "post", PHONES, True, 3, Means.CALL),
    ],
)
def test_means(
    reasons: list[str], contact: str, phones: bool, has_phone: bool, days_left: int | None, means: Means
) -> None:
    assert (
        means_of(reasons, contact=contact, phones=phones, has_phone=has_phone, days_left=days_left) is means
    )


def test_each_has_a_name() -> None:
    assert set(NAMES) == set(Means)
