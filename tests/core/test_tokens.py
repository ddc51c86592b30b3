"""Return path tokens: what was signed reads back, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.errors import BadInput
from holds_core.tokens import (
    MAX_DELIVERY_ID,
    MAX_TOKEN_LENGTH,
    MIN_KEY_LENGTH,
    Purpose,
    ReturnPathMode,
    TokenKeys,
    return_path,
)

OLD, NEW, OTHER = b"o" * MIN_KEY_LENGTH, b"n" * MIN_KEY_LENGTH, b"x" * MIN_KEY_LENGTH
KEYS = TokenKeys([NEW, OLD])

ids = st.integers(1, MAX_DELIVERY_ID)
purposes = st.sampled_from(Purpose)


@given(ids, purposes)
def test_a_token_reads_back_and_is_short(delivery_id: int, purpose: Purpose) -> None:
    token = KEYS.make(delivery_id, purpose)
    assert KEYS.read(token, purpose) == delivery_id
    assert len(token) <= MAX_TOKEN_LENGTH <= 32
    assert token == token.lower()
    assert token.isalnum()


@given(ids, st.data())
def test_any_changed_character_is_refused(delivery_id: int, data: st.DataObject) -> None:
    token = KEYS.make(delivery_id)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters().filter(lambda c: c.lower() != token[place]))
    assert KEYS.read(token[:place] + letter + token[place + 1 :]) is None


@given(ids, st.data())
def test_a_lost_or_added_character_is_refused(delivery_id: int, data: st.DataObject) -> None:
    token = KEYS.make(delivery_id)
    place = data.draw(st.integers(0, len(token) - 1))
    assert KEYS.read(token[:place] + token[place + 1 :]) is None
    assert KEYS.read(token[:place] + "a" + token[place:]) is None


@given(ids, st.lists(st.booleans(), min_size=MAX_TOKEN_LENGTH, max_size=MAX_TOKEN_LENGTH))
def test_case_does_not_matter(delivery_id: int, upper: list[bool]) -> None:
    token = KEYS.make(delivery_id)
    changed = "".join(c.upper() if up else c for c, up in zip(token, upper, strict=False))
    assert KEYS.read(changed) == delivery_id


@given(ids)
def test_purposes_are_separate(delivery_id: int) -> None:
    for made in Purpose:
        token = KEYS.make(delivery_id, made)
        assert [p for p in Purpose if KEYS.read(token, p) is not None] == [made]


@given(st.text())
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert KEYS.read(text) is None
    assert KEYS.find(text) is None


def test_letters_that_only_lower_to_ascii_are_refused() -> None:
    numbers = (KEYS.make(n) for n in range(1, 1000))
    token = next(t for t in numbers if "k" in t)
    assert KEYS.read(token.replace("k", "\N{KELVIN SIGN}")) is None


def test_the_first_key_signs_and_all_verify() -> None:
    assert KEYS.make(7) == TokenKeys([NEW]).make(7) != TokenKeys([OLD]).make(7)
    assert KEYS.read(TokenKeys([OLD]).make(7)) == 7
    assert KEYS.read(TokenKeys([OTHER]).make(7)) is None
    assert TokenKeys([OLD]).read(KEYS.make(7)) is None


@pytest.mark.parametrize("delivery_id", [0, -1, MAX_DELIVERY_ID + 1])
def test_only_delivery_numbers_are_signed(delivery_id: int) -> None:
    with pytest.raises(ValueError, match="delivery number"):
        KEYS.make(delivery_id)


def test_a_key_file() -> None:
    text = f"# made on 1 April\n{NEW.decode()}\r\n\n  {OLD.decode()}  \n"
    assert TokenKeys.parse(text).make(7) == KEYS.make(7)
    assert TokenKeys.parse(text).read(TokenKeys([OLD]).make(7)) == 7


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "at least one key"),
        ("# only a remark\n\n", "at least one key"),
        ("secret\n", "key 1 has 6 bytes"),
        (f"{NEW.decode()}\nsecret\n", "key 2 has 6 bytes"),
    ],
)
def test_a_bad_key_file_is_refused_without_showing_a_key(text: str, error: str) -> None:
    with pytest.raises(BadInput, match=error) as caught:
        TokenKeys.parse(text)
    assert "secret" not in str(caught.value)
    assert "n" * 8 not in repr(KEYS)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (ReturnPathMode.VERP, "{token}@bounce.library.example"),
        (ReturnPathMode.PLUS, "yoyaku+{token}@bounce.library.example"),
        (ReturnPathMode.FIXED, "yoyaku@bounce.library.example"),
    ],
)
def test_return_paths(mode: ReturnPathMode, expected: str) -> None:
    token = KEYS.make(12345)
    address = return_path(mode, token, "bounce.library.example", "yoyaku")
    assert address == expected.format(token=token)
    found = None if mode is ReturnPathMode.FIXED else 12345
    for seen in (address, f"<{address}>", address.upper(), f" {address}"):
        assert KEYS.find(seen) == found
        assert KEYS.find(seen, domain="Bounce.Library.Example.") == found
        assert KEYS.find(seen, domain="elsewhere.example") is None


def test_a_return_path_needs_its_mailbox_and_a_short_one() -> None:
    token = KEYS.make(MAX_DELIVERY_ID)
    with pytest.raises(BadInput, match="needs a mailbox"):
        return_path(ReturnPathMode.PLUS, token, "library.example")
    with pytest.raises(BadInput, match="64 octets"):
        return_path(ReturnPathMode.PLUS, token, "library.example", "m" * 40)
    longest = return_path(ReturnPathMode.PLUS, token, "library.example", "m" * 34)
    assert len(longest.partition("@")[0]) == 64


@pytest.mark.parametrize("address", ["", "<>", "@", "plain", "a@b", "yoyaku+@library.example"])
def test_addresses_without_a_token(address: str) -> None:
    assert KEYS.find(address) is None
