"""A mail is tied to a delivery only by what this library signed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounces.match import By, Match, best, matches
from bounces.parse import OWN_HEADER, MailKind, Report
from holds_core.tokens import Purpose, ReturnPathMode, TokenKeys, return_path

KEYS = TokenKeys([b"new-key-" * 5, b"old-key-" * 5])
OLD = TokenKeys([b"old-key-" * 5])
STRANGER = TokenKeys([b"no-key--" * 5])
TOKEN = KEYS.make(17)
EMPTY = Report(MailKind.HARD)


def report(**fields: object) -> Report:
    return dataclasses.replace(EMPTY, **fields)  # type: ignore[arg-type]


WAYS: list[tuple[By, Report, tuple[str, ...]]] = [
    (By.RETURN_PATH, EMPTY, (f"{TOKEN}@bounce.example",)),
    (By.RETURN_PATH, EMPTY, (f"<{TOKEN}@bounce.example>",)),
    (By.RETURN_PATH, EMPTY, (f"{TOKEN.upper()}@BOUNCE.EXAMPLE",)),
    (By.RETURN_PATH, EMPTY, (f"bounces+{TOKEN}@library.example",)),
    (By.RETURN_PATH, EMPTY, (f'"bounces+{TOKEN}"@library.example',)),
    (By.RETURN_PATH, EMPTY, ("other@library.example", f"{TOKEN}@bounce.example")),
    (By.RETURN_PATH, report(to_addresses=("x@y", f"{TOKEN}@bounce.example")), ()),
    (By.ENVELOPE_ID, report(envelope_id=TOKEN), ()),
    (By.ENVELOPE_ID, report(envelope_id=f" {TOKEN.upper()} "), ("bounces@library.example",)),
    (By.MESSAGE_ID, report(original_message_id=f"{TOKEN}@bounce.example"), ()),
    (By.MESSAGE_ID, report(original_message_id=f"<{TOKEN}@bounce.example>"), ()),
    (By.OWN_HEADER, report(original_headers=((OWN_HEADER, f" {TOKEN}"),)), ()),
    (By.REPLY, report(in_reply_to=f"{TOKEN}@bounce.example"), ()),
    (By.REPLY, report(references=("a@b", f"{TOKEN}@bounce.example", "c@d")), ()),
]


@pytest.mark.parametrize(("by", "mail", "to"), WAYS)
def test_each_way(by: By, mail: Report, to: tuple[str, ...]) -> None:
    assert best(mail, to, KEYS) == Match(17, by)


@pytest.mark.parametrize(("by", "mail", "to"), WAYS)
def test_a_token_that_we_did_not_sign_ties_nothing(by: By, mail: Report, to: tuple[str, ...]) -> None:
    assert best(mail, to, STRANGER) is None


def test_a_key_that_was_replaced_still_verifies() -> None:
    assert best(EMPTY, [f"{OLD.make(5)}@bounce.example"], KEYS) == Match(5, By.RETURN_PATH)


@pytest.mark.parametrize("purpose", [Purpose.CONFIRM, Purpose.NOT_ME])
def test_the_token_of_a_link_is_no_return_path(purpose: Purpose) -> None:
    """A mail quotes its links: they must not let a reader bounce it."""
    assert best(report(envelope_id=KEYS.make(17, purpose)), [], KEYS) is None


def test_a_recipient_alone_is_no_proof() -> None:
    mail = report(to_addresses=("bounces@library.example",), from_address="mailer-daemon@docomo.ne.jp")
    assert best(mail, ["bounces@library.example"], KEYS) is None


def test_all_ways_are_tried_strongest_first() -> None:
    """The first one may name a delivery that was erased."""
    mail = report(
        envelope_id=KEYS.make(2), original_message_id=f"{KEYS.make(3)}@x", in_reply_to=f"{KEYS.make(4)}@x"
    )
    found = list(matches(mail, [f"forged+{'a' * 20}@x", f"{KEYS.make(1)}@x"], KEYS))
    assert found == [
        Match(1, By.RETURN_PATH),
        Match(2, By.ENVELOPE_ID),
        Match(3, By.MESSAGE_ID),
        Match(4, By.REPLY),
    ]


@given(
    st.integers(1, 2**63 - 1),
    st.sampled_from(ReturnPathMode),
    st.sampled_from(["bounce.example", "LIBRARY.example"]),
)
def test_every_return_path_we_write_is_recognised(number: int, mode: ReturnPathMode, domain: str) -> None:
    address = return_path(mode, KEYS.make(number), domain, "bounces")
    expected = None if mode is ReturnPathMode.FIXED else Match(number, By.RETURN_PATH)
    assert best(EMPTY, [address], KEYS) == expected
    assert best(EMPTY, [address.swapcase()], KEYS) == expected


texts = st.text(max_size=60) | st.sampled_from([TOKEN, f"{TOKEN}@x", f"a+{TOKEN}@x", f"<{TOKEN}@x>"])


@given(st.lists(texts, max_size=3), texts, texts, texts, st.lists(texts, max_size=3), texts)
def test_no_text_raises_and_only_a_token_matches(
    to: list[str], envelope_id: str, message_id: str, reply: str, references: list[str], own: str
) -> None:
    mail = report(
        to_addresses=tuple(to),
        envelope_id=envelope_id,
        original_message_id=message_id,
        in_reply_to=reply,
        references=tuple(references),
        original_headers=((OWN_HEADER, own),),
    )
    found = list(matches(mail, to, KEYS))
    assert {match.delivery_id for match in found} <= {17}
    said = " ".join([*to, envelope_id, message_id, reply, *references, own]).lower()
    assert not found or TOKEN in said


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_letter_changed_is_a_forgery(place: int, letter: str) -> None:
    forged = TOKEN[:place] + letter + TOKEN[place + 1 :]
    assert (best(EMPTY, [f"{forged}@x"], KEYS) is None) is (forged != TOKEN)
