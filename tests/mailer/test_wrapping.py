"""Lines made to fit: nothing is lost, nothing may begin or end a line that custom forbids."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.wrapping import columns, wrap

WORDS = st.text(st.sampled_from("あ字ｱー。、「」()abc 　/:.@-\n…🈳́"), max_size=120)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 20, [""]),
        ("短い行", 20, ["短い行"]),
        (
            "ご予約の資料がご用意できましたので、お越しください。",
            20,
            ["ご予約の資料がご用意", "できましたので、お越", "しください。"],
        ),
        # the comma does not begin a line, the bracket does not end one
        ("ああああああああああ、いい", 20, ["あああああああああ", "あ、いい"]),
        ("あああああああああ「いい」", 20, ["あああああああああ", "「いい」"]),
        (" ■見出しのある長い長い行です", 20, [" ■見出しのある長い", " 長い行です"]),
        (
            "https://opac.library.example/a/very/long/address を",
            20,
            ["https://opac.library.example/a/very/long/address", "を"],
        ),
        (
            "Please collect it by Sunday 29 November",
            20,
            ["Please collect it by", "Sunday 29 November"],
        ),
    ],
)
def test_lines_made_to_fit(text: str, width: int, lines: list[str]) -> None:
    assert wrap(text, width).split("\n") == lines


@given(WORDS, st.integers(20, 60))
def test_nothing_is_lost_and_what_may_be_broken_fits(text: str, width: int) -> None:
    wrapped = wrap(text, width)
    squeeze = re.compile(r"\s+")
    assert squeeze.sub("", wrapped) == squeeze.sub("", text)
    assert wrap(wrapped, width) == wrapped
    for line in wrapped.split("\n"):
        assert columns(line) <= width or not re.search(r"[あ字][あ字]", line.strip()[width // 2 + 2 :])


@given(WORDS)
def test_lines_that_fit_are_left_alone(text: str) -> None:
    assert wrap(text, 1000) == text
