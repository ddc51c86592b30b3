"""Address checks at registration, as a table: what was typed, what is doubted, what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.address_checks import (
    CASES,
    IMPOSSIBLE,
    UNDELIVERABLE,
    MailDomain,
    doubt_of,
    sentence,
)
from holds_core.ledger.cases import REASONS
from holds_core.patrons import Address, AddressFault, check_address
from holds_core.providers import Providers

PROVIDERS = Providers.load()

MISTYPED = [
    ("gmial.com", "gmail.com"),
    ("gmai.com", "gmail.com"),
    ("gmail.co", "gmail.com"),
    ("gmail.con", "gmail.com"),
    ("gmail.co.jp", "gmail.com"),
    ("gmail.jp", "gmail.com"),
    ("gnail.com", "gmail.com"),
    ("docomo.co.jp", "docomo.ne.jp"),
    ("docomo.ne.jo", "docomo.ne.jp"),
    ("docomo.me.jp", "docomo.ne.jp"),
    ("docom.ne.jp", "docomo.ne.jp"),
    ("yahoo.co.jo", "yahoo.co.jp"),
    ("yahho.co.jp", "yahoo.co.jp"),
    ("yaho.co.jp", "yahoo.co.jp"),
    ("yahoo.cojp", "yahoo.co.jp"),
    ("yahoo.com.jp", "yahoo.co.jp"),
    ("hotmail.com.jp", "hotmail.co.jp"),
    ("hotmail.ne.jp", "hotmail.co.jp"),
    ("hotmail.cojp", "hotmail.co.jp"),
    ("hotmail.con", "hotmail.com"),
    ("hotmail.co", "hotmail.com"),
    ("hotmai.com", "hotmail.com"),
    ("hotmal.co.jp", "hotmail.co.jp"),
    ("hotmial.co.jp", "hotmail.co.jp"),
    ("outlook.co.jp", "outlook.jp"),
    ("outlok.jp", "outlook.jp"),
    ("outlook.con", "outlook.com"),
    ("icloud.co.jp", "icloud.com"),
    ("iclould.com", "icloud.com"),
    ("ezweb.co.jp", "ezweb.ne.jp"),
    ("ezwed.ne.jp", "ezweb.ne.jp"),
    ("softbank.co.jp", "softbank.ne.jp"),
    ("i.sofbank.jp", "i.softbank.jp"),
    ("ymobile.co.jp", "ymobile.ne.jp"),
]


@pytest.mark.parametrize(("typed", "meant"), MISTYPED)
def test_a_likely_slip_has_a_suggestion(typed: str, meant: str) -> None:
    doubt = doubt_of(f"taro.b@{typed}", PROVIDERS)
    assert doubt is not None
    assert (doubt.code, doubt.suggestion) == ("near_miss", f"taro.b@{meant}")


IMPOSSIBLES = [
    ("ｔａｒｏ＠ｇｍａｉｌ．ｃｏｍ", "full_width", "taro@gmail.com"),
    ("taro@gmail．com", "full_width", "taro@gmail.com"),
    ("taroーb@gmail.com", "long_vowel", "taro-b@gmail.com"),
    ("taro@yahoo.co.jp.", "end_dot", "taro@yahoo.co.jp"),
    ("taro@yahoo.co.jp ", "space", "taro@yahoo.co.jp"),
    (" taro@yahoo.co.jp", "space", "taro@yahoo.co.jp"),
    ("taro@yahoo.co.jp　", "space", "taro@yahoo.co.jp"),
    ("taro @yahoo.co.jp", "space", "taro@yahoo.co.jp"),
    ("taro@gmial.com.", "end_dot", "taro@gmail.com"),
    ("taro@yahoo,co.jp", "comma", "taro@yahoo.co.jp"),
    ("taro@gmail", "no_ending", "taro@gmail.com"),
    ("taro.gmail.com", "no_at", ""),
    ("taro@@gmail.com", "two_ats", "taro@gmail.com"),
    ("taro..b@gmail.com", "dots", "taro.b@gmail.com"),
]


@pytest.mark.parametrize(("typed", "code", "meant"), IMPOSSIBLES)
def test_what_cannot_be_an_address(typed: str, code: str, meant: str) -> None:
    doubt = doubt_of(typed, PROVIDERS)
    assert doubt is not None
    assert (doubt.code, doubt.suggestion) == (code, meant)
    assert doubt.address == typed


FINE = [
    "taro@gmail.com",
    "taro@hotmail.com",
    "taro@hotmail.co.jp",
    "taro@hotmail.jp",
    "taro@outlook.jp",
    "taro@outlook.com",
    "taro@yahoo.co.jp",
    "taro@yahoo.ne.jp",
    "taro@ymail.ne.jp",
    "taro@yahoo.com",
    "a..b@docomo.ne.jp",
    "a.@ezweb.ne.jp",
    "taro@au.com",
    "taro@softbank.ne.jp",
    "taro@disney.ne.jp",
    "taro@me.com",
    "taro@city.tosu.lg.jp",
    "taro@kaisha.co.jp",
]


@pytest.mark.parametrize("typed", FINE)
def test_what_is_in_order(typed: str) -> None:
    assert doubt_of(typed, PROVIDERS) is None


@pytest.mark.parametrize(
    "typed", ["taro@goo.jp", "taro@mail.goo.ne.jp", "taro@excite.co.jp", "taro@wm.willcomlive.jp"]
)
def test_a_mail_service_that_has_ended(typed: str) -> None:
    doubt = doubt_of(typed, PROVIDERS)
    assert doubt is not None
    assert doubt.code == "dead_provider"


@pytest.mark.parametrize("said", sorted(MailDomain))
def test_what_dns_says(said: MailDomain) -> None:
    doubt = doubt_of("taro@kaisha.co.jp", PROVIDERS, said)
    assert (doubt.code if doubt else None) == (said if said in UNDELIVERABLE else None)


def test_a_slip_says_more_than_dns() -> None:
    doubt = doubt_of("taro@gmial.com", PROVIDERS, MailDomain.NO_DOMAIN)
    assert doubt is not None
    assert (doubt.code, doubt.suggestion) == ("near_miss", "taro@gmail.com")


def test_a_warning_in_an_api_result() -> None:
    doubt = doubt_of("taro@gmial.com", PROVIDERS)
    assert doubt is not None
    assert doubt.as_json() == {
        "decision": "warned",
        "reason": "near_miss",
        "sentence": 'What follows the "@" may be mistyped. Please check it.',
        "sentence_ja": "「@」の後ろに入力間違いの可能性があります。ご確認ください。",
        "address": "taro@gmial.com",
        "suggestion": "taro@gmail.com",
    }
    assert "taro" not in str(doubt), "the log of an import names no address"


def test_every_code_has_words_and_a_case() -> None:
    codes = [*AddressFault, "near_miss", "dead_provider", *UNDELIVERABLE]
    for code in codes:
        assert all(text and text != code for text in sentence(code)), code
        assert CASES.get(code, IMPOSSIBLE) in REASONS
    assert sentence("no such code") == ("no such code", "no such code")


@given(st.text(max_size=60) | st.emails())
def test_any_text_gets_a_verdict_and_a_suggestion_that_is_one(text: str) -> None:
    doubt = doubt_of(text, PROVIDERS)
    if doubt is not None and doubt.suggestion:
        assert isinstance(check_address(doubt.suggestion, PROVIDERS, allow_special_domains=True), Address)
