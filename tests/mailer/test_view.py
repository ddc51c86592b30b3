"""Names, titles and days as a mail may show them."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.view import clean, day, show_title


@pytest.mark.parametrize(
    ("policy", "title", "shown"),
    [
        ("full", "吾輩は猫である", "吾輩は猫である"),
        ("full", "  前後の空白　", "前後の空白"),
        ("full", "長" * 300, "長" * 200 + "…"),
        ("short", "一二三四五六七八九十", "一二三四五六七八九十"),
        ("short", "一二三四五六七八九十百", "一二三四五六七八九十…"),
        (
            "short",
            "一二三四五六七八九か\u3099き",
            "一二三四五六七八九か\u3099…",
        ),  # a voiced mark stays with its kana
        ("short", "改\r\n行", "改 行"),
        ("none", "吾輩は猫である", ""),
        ("full", "", ""),
    ],
)
def test_title_policy(policy: str, title: str, shown: str) -> None:
    assert show_title(title, policy) == shown


def test_an_unknown_title_policy_shows_nothing() -> None:
    with pytest.raises(ValueError, match="everything"):
        show_title("題名", "everything")


@given(st.text())
def test_clean_text_is_one_printable_line(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()  # no lone surrogate is left
    assert len(cleaned.splitlines()) <= 1
    assert not any(unicodedata.category(c) in ("Cc", "Co") or c in "\u202e\u2066" for c in cleaned)
    assert clean(cleaned) == cleaned


def test_own_characters_of_a_library_system_become_a_geta_mark() -> None:
    assert clean("渡\ue000") == "渡〓"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ja", "1月3日(月)"),
        ("en", "Monday 3 January 2028"),
        ("ja-easy", "1月3日(月曜日)"),
        ("zh", "1月3日(月)"),
    ],
)
def test_day(language: str, text: str) -> None:
    assert day(date(2028, 1, 3), language) == text
