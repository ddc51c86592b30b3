"""The reasons that staff read beside a mail in quarantine."""

import re

import pytest

from bounces.why import Why, in_language, tell

JAPANESE = re.compile(r"[ぁ-ん]")


@pytest.mark.parametrize("why", Why)
def test_each_reason_is_one_sentence_in_each_language_japanese_first(why: Why) -> None:
    text = tell(why, 12)
    japanese, english = in_language(text, "ja"), in_language(text, "en")
    assert text == f"{japanese} {english}"
    assert JAPANESE.search(japanese)
    assert not JAPANESE.search(english)
    assert (japanese.count("。"), japanese[-1]) == (1, "。")
    assert (english.count("."), english[-1]) == (1, ".")
    assert "{" not in text


@pytest.mark.parametrize(("why", "detail"), [(Why.LIKELY, 815), (Why.UNRECORDED, "DataError")])
def test_the_detail_stands_in_both_languages(why: Why, detail: object) -> None:
    text = tell(why, detail)
    assert str(detail) in in_language(text, "ja")
    assert str(detail) in in_language(text, "en")


def test_no_two_reasons_read_alike() -> None:
    assert len({tell(why) for why in Why}) == len(Why)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_other_text_is_left_alone(language: str) -> None:
    assert in_language("attached by hanako", language) == "attached by hanako"
