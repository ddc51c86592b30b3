"""What patrons type: addresses accepted, flagged and refused; keys; names and titles."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holds_core.errors import BadInput
from holds_core.patrons import (
    SENTENCES,
    Address,
    AddressFault,
    AddressNote,
    Refusal,
    address_key,
    check_address,
    clean_text,
    family_name,
)
from holds_core.providers import Providers

PROVIDERS = Providers.load()
F, N = AddressFault, AddressNote


def accepted(text: str, *, special: bool = False) -> Address:
    result = check_address(text, PROVIDERS, allow_special_domains=special)
    assert isinstance(result, Address), result
    return result


def refused(text: str) -> Refusal:
    result = check_address(text, PROVIDERS)
    assert isinstance(result, Refusal), result
    return result


@pytest.mark.parametrize(
    ("typed", "text", "key"),
    [
        ("taro@gmail.com", "taro@gmail.com", "taro@gmail.com"),
        ("Taro.Sato+lib@GMAIL.com", "Taro.Sato+lib@gmail.com", "taro.sato+lib@gmail.com"),
        ("o'neill@city.tosu.lg.jp", "o'neill@city.tosu.lg.jp", "o'neill@city.tosu.lg.jp"),
        ("taro@図書館.jp", "taro@xn--lcss68aj21b.jp", "taro@xn--lcss68aj21b.jp"),
        ("taro@abc.ocn.ne.jp", "taro@abc.ocn.ne.jp", "taro@abc.ocn.ne.jp"),
        # an ordinary free mail that is one letter from another
        ("taro@ymail.com", "taro@ymail.com", "taro@ymail.com"),
        ("taro@yahoo.com", "taro@yahoo.com", "taro@yahoo.com"),
        ("taro@yahoo.co.uk", "taro@yahoo.co.uk", "taro@yahoo.co.uk"),
    ],
)
def test_ordinary_addresses(typed: str, text: str, key: str) -> None:
    address = accepted(typed)
    assert (address.text, address.key, address.notes, address.suggestion) == (text, key, (), "")
    assert address.provider == PROVIDERS.of(text)


@pytest.mark.parametrize("local", ["a..b", "a.", ".a", "a...b.", "-.-"])
@pytest.mark.parametrize("domain", ["docomo.ne.jp", "ezweb.ne.jp", "t.vodafone.ne.jp"])
def test_illegal_dots_at_carriers_are_real_people(local: str, domain: str) -> None:
    for typed in (f"{local}@{domain}", f'"{local}"@{domain}'):
        address = accepted(typed)
        assert address.text == address.key == f"{local}@{domain}"
        assert address.dot_anomaly is (local != "-.-")


@pytest.mark.parametrize(
    ("typed", "note", "suggestion"),
    [
        ("taro@gmial.com", N.NEAR_MISS, "taro@gmail.com"),
        ("taro@gmail.con", N.NEAR_MISS, "taro@gmail.com"),
        ("taro@gmail.co.jp", N.NEAR_MISS, "taro@gmail.com"),
        ("taro@gmail.ne.jp", N.NEAR_MISS, "taro@gmail.com"),
        ("taro@docomo.co.jp", N.NEAR_MISS, "taro@docomo.ne.jp"),
        ("taro@docomo.ne.jo", N.NEAR_MISS, "taro@docomo.ne.jp"),
        ("taro@docmo.ne.jp", N.NEAR_MISS, "taro@docomo.ne.jp"),
        ("taro@dokomo.ne.jp", N.NEAR_MISS, "taro@docomo.ne.jp"),
        ("taro@ezweb.co.jp", N.NEAR_MISS, "taro@ezweb.ne.jp"),
        ("taro@ezwed.ne.jp", N.NEAR_MISS, "taro@ezweb.ne.jp"),
        ("taro@au.ne.jp", N.NEAR_MISS, "taro@au.com"),
        ("taro@yahoo.co.jo", N.NEAR_MISS, "taro@yahoo.co.jp"),
        ("taro@yahooo.co.jp", N.NEAR_MISS, "taro@yahoo.co.jp"),
        ("taro@hotmail.co", N.NEAR_MISS, "taro@hotmail.com"),
        ("taro@hotmail.ne.jp", N.NEAR_MISS, "taro@hotmail.co.jp"),
        ("taro@outlook.co.jp", N.NEAR_MISS, "taro@outlook.jp"),
        ("taro@otmail.jp", N.NEAR_MISS, "taro@hotmail.jp"),
        ("taro@softbank.jp", N.NEAR_MISS, "taro@softbank.ne.jp"),
        ("taro@i.softbank.ne.jp", N.NEAR_MISS, "taro@i.softbank.jp"),
        ("taro@icloud.co.jp", N.NEAR_MISS, "taro@icloud.com"),
        ("taro@goo.jp", N.DEAD_PROVIDER, ""),
        ("taro@EXCITE.co.jp", N.DEAD_PROVIDER, ""),
        ("taro@sute.jp", N.DISPOSABLE, ""),
    ],
)
def test_addresses_to_be_careful_about(typed: str, note: AddressNote, suggestion: str) -> None:
    address = accepted(typed)
    assert (address.notes, address.suggestion) == ((note,), suggestion)


@pytest.mark.parametrize(
    ("typed", "fault", "suggestion"),
    [
        ("", F.EMPTY, ""),
        (" 　", F.EMPTY, ""),
        ("taro@gmail.com ", F.SPACE, "taro@gmail.com"),
        ("　taro@gmail.com", F.SPACE, "taro@gmail.com"),
        ("ta ro@gmail.com", F.SPACE, "taro@gmail.com"),
        ("taro@gmail.com\u200b", F.SPACE, "taro@gmail.com"),
        ("taro@gmail.com\r\nBcc: x", F.SPACE, ""),
        ("ｔａｒｏ＠ｇｍａｉｌ．ｃｏｍ", F.FULL_WIDTH, "taro@gmail.com"),
        ("taro＠gmail.com", F.FULL_WIDTH, "taro@gmail.com"),
        ("taro@gmail。com", F.FULL_WIDTH, "taro@gmail.com"),
        ("ta＿ro@docomo.ne.jp", F.FULL_WIDTH, "ta_ro@docomo.ne.jp"),
        ("taーro@docomo.ne.jp", F.LONG_VOWEL, "ta-ro@docomo.ne.jp"),
        ("ta－ro@docomo.ne.jp", F.LONG_VOWEL, "ta-ro@docomo.ne.jp"),
        ("ta‐ro@docomo.ne.jp", F.LONG_VOWEL, "ta-ro@docomo.ne.jp"),
        ("ｔａーｒｏ＠docomo.ne.jp ", F.LONG_VOWEL, "ta-ro@docomo.ne.jp"),
        ("abc@docomo,ne.jp", F.COMMA, "abc@docomo.ne.jp"),
        ("abc@docomo.ne,jp", F.COMMA, "abc@docomo.ne.jp"),
        ("abc@docomo、ne.jp", F.COMMA, "abc@docomo.ne.jp"),
        ("taro@gmail.com,", F.COMMA, "taro@gmail.com"),
        ("taro@gmail.com.", F.END_DOT, "taro@gmail.com"),
        ("taro.gmail.com", F.NO_AT, ""),
        ("090-1234-5678", F.NO_AT, ""),
        ("taro@@gmail.com", F.TWO_ATS, "taro@gmail.com"),
        ("taro@gmail@com", F.TWO_ATS, ""),
        ("a@gmail.com,b@gmail.com", F.SEVERAL, ""),
        ("a@gmail.com b@gmail.com", F.SEVERAL, ""),
        ("a@gmail.com、b＠gmail.com", F.SEVERAL, ""),
        ("a@gmail.com;b@gmail.com", F.SEVERAL, ""),
        ("佐藤 太郎 <taro@gmail.com>", F.DECORATED, "taro@gmail.com"),
        ("mailto:taro@gmail.com", F.DECORATED, "taro@gmail.com"),
        ("a..b@gmail.com", F.DOTS, "a.b@gmail.com"),
        (".a@gmail.com", F.DOTS, "a@gmail.com"),
        # the dots may be right, the domain is not
        ("a..b@docomo.co.jp", F.DOTS, "a..b@docomo.ne.jp"),
        (".@docomo.ne.jp", F.DOTS, ""),
        ("太郎@gmail.com", F.NOT_ASCII, ""),
        ("taro@gmail", F.NO_ENDING, "taro@gmail.com"),
        ("taro@docomo", F.NO_ENDING, "taro@docomo.ne.jp"),
        ("taro@localdomain", F.NO_ENDING, ""),
        ("taro@", F.NO_ENDING, ""),
        ("taro@library.example", F.SPECIAL_DOMAIN, ""),
        ("taro@example.com", F.SPECIAL_DOMAIN, ""),
        ("@gmail.com", F.SYNTAX, ""),
        ("taro@gmail..com", F.SYNTAX, ""),
        ("taro@-gmail.com", F.SYNTAX, ""),
        ("a(b)@gmail.com", F.SYNTAX, ""),
        ('"a b"@gmail.com', F.SPACE, "ab@gmail.com"),
        ("taro@[192.0.2.1]", F.SYNTAX, ""),
        ("x" * 65 + "@gmail.com", F.SYNTAX, ""),
        # a slip and a near miss at once
        ("taro＠gmail.co.jp", F.FULL_WIDTH, "taro@gmail.com"),
        ("taro@gmail,co", F.COMMA, "taro@gmail.com"),
    ],
)
def test_refused_with_a_reason_and_a_guess(typed: str, fault: AddressFault, suggestion: str) -> None:
    assert refused(typed) == Refusal(fault, suggestion)


@pytest.mark.parametrize(
    "domain", ["good.example", "example", "mail.test", "nobody.invalid", "localhost", "example.com"]
)
def test_reserved_domains_only_when_asked_for(domain: str) -> None:
    assert refused(f"taro@{domain}").fault is F.SPECIAL_DOMAIN
    address = accepted(f"Taro@{domain.upper()}", special=True)
    assert (address.text, address.key) == (f"Taro@{domain}", f"taro@{domain}")


def test_every_reason_has_its_sentences() -> None:
    assert set(SENTENCES) == {*AddressFault, *AddressNote}
    for japanese, english in SENTENCES.values():
        assert japanese.endswith("。")
        assert not japanese.isascii()
        assert english.isascii()
        assert english.endswith(".")
    assert refused("x").sentence == SENTENCES[F.NO_AT]


typed_addresses = st.one_of(
    st.text(),
    st.emails(),
    st.text("ab.@ー－＠．、, <>\"'gmail.comdocomo.ne.jp", max_size=30),
    st.builds(
        "{}@{}".format,
        st.text("a.-_\"' あ", max_size=8),
        st.sampled_from([r.pattern for r in PROVIDERS.rows]),
    ),
)


@given(typed_addresses)
@example('"."@docomo.ne.jp')
@example("a@\ud800.jp")
def test_whatever_is_typed_what_comes_out_is_sound(typed: str) -> None:
    result = check_address(typed, PROVIDERS)
    if isinstance(result, Address):
        assert result.text.isascii()
        assert not set(result.text) & set(' \r\n<>,"')
        assert address_key(result.text) == result.key == address_key(typed)
        again = accepted(result.text)
        assert again == result
    if result.suggestion:
        assert accepted(result.suggestion).text == result.suggestion != typed


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ('"taro."@docomo.ne.jp', "taro.@docomo.ne.jp"),
        ('"a..b"@DOCOMO.NE.JP', "a..b@docomo.ne.jp"),
        (" Taro@Gmail.com. ", "taro@gmail.com"),
        ("taro@図書館.JP", "taro@xn--lcss68aj21b.jp"),
        ('"a b"@x.jp', '"a b"@x.jp'),
        ('"a@b"@x.jp', '"a@b"@x.jp'),
        ("no address", "no address"),
    ],
)
def test_keys(spelling: str, key: str) -> None:
    assert address_key(spelling) == key


@given(st.one_of(st.text(), st.emails(), typed_addresses))
def test_a_key_is_its_own_key(text: str) -> None:
    assert address_key(address_key(text)) == address_key(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  吾輩は猫である \r\n　夏目漱石\t著 ", "吾輩は猫である 　夏目漱石 著"),
        ("a\0b\x1b[31mc\x7f", "ab[31mc"),
        ("a\u2028b\x85c", "a b c"),
        ("\u202eabc\u2066\ufeff", "abc"),
        ("葛\U000e0100飾区", "葛\U000e0100飾区"),
        ("", ""),
        ("\n\t ", ""),
    ],
)
def test_clean_text(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


def test_long_text_is_shortened_between_characters() -> None:
    assert clean_text("あ" * 300) == "あ" * 300
    assert clean_text("あ" * 301) == "あ" * 299 + "…"
    assert clean_text("ab cd", 4) == "ab…"
    assert clean_text("abか\u3099cd", 4) == "ab…"
    assert clean_text("abc", 1) == "…"
    assert clean_text("abc", 0) == ""


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="surrogate"):
        clean_text(text)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 40))
def test_cleaned_text_is_clean(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)
    assert len(cleaned) <= limit
    assert clean_text(cleaned, limit) == cleaned
    assert cleaned.isprintable() or not cleaned.isascii()
    assert len(cleaned.splitlines()) <= 1


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("佐藤 花子", "佐藤"),
        ("佐藤　花子", "佐藤"),
        (" 佐藤\t花子 ", "佐藤"),
        ("佐\x00藤 花子", "佐藤"),
        ("佐々木 マリア 花子", "佐々木"),
        ("𠮷田 花子", "𠮷田"),
        ("サトウ ハナコ", "サトウ"),
        ("ｻﾄｳ ﾊﾅｺ", "ｻﾄｳ"),
        ("さとう はなこ", "さとう"),
        ("김 철수", "김"),
        # nothing says where the family name ends
        ("佐藤花子", "佐藤花子"),
        ("ジョン・スミス ジュニア", "ジョン・スミス ジュニア"),
        ("ｼﾞｮﾝ･ｽﾐｽ Jr", "ｼﾞｮﾝ･ｽﾐｽ Jr"),
        # Latin letters: by the comma, by capitals, or not at all
        ("Sato, Hanako", "Sato"),
        ("佐藤，花子", "佐藤"),
        ("Hanako SATO", "SATO"),
        ("SATO Hanako", "SATO"),
        ("John F SMITH", "SMITH"),
        ("José GARCÍA", "GARCÍA"),
        ("Hanako Sato", "Hanako Sato"),
        ("HANAKO SATO", "HANAKO SATO"),
        ("José García", "José García"),
        ("Madonna", "Madonna"),
        (", Hanako", ", Hanako"),
        # organisations have no family
        ("株式会社 佐藤商店", "株式会社 佐藤商店"),
        ("NPO法人 本の森", "NPO法人 本の森"),
        ("市立第一小学校 図書委員会", "市立第一小学校 図書委員会"),
        ("おはなしの会 たんぽぽ", "おはなしの会 たんぽぽ"),
        ("", ""),
        (" 　", ""),
    ],
)
def test_family_name(name: str, family: str) -> None:
    assert family_name(name) == family
