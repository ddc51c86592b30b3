"""How each mail asks for a confirmation: by the page's link, by an address for an empty mail, both, or not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from holds_core.config import parse
from holds_core.holds import Hold
from holds_core.ledger.sending import Claimed
from holds_core.notices import Kind
from holds_core.providers import Providers
from holds_core.rulebook import Rulebook
from holds_core.tokens import Purpose, answer_address
from mailer.compose import Composer
from mailer.render import Renderer
from tests.mailer.test_compose import CONFIG, ITEM, KEYS, PROMPT, body, sent

KAKUNIN = "kakunin@bounce.library.example"
PAGE = "https://confirm.library.example/c/"
PHONE = {"address": "hanako@docomo.ne.jp", "domain": "docomo.ne.jp"}
"""A mailbox whose owner may filter mail with links."""


def composer(ask: str = "both", *, page: bool = True, address: bool = True, sender: str = "") -> Composer:
    text = CONFIG if page else re.sub(r"(?m)^confirm:.*$", "", CONFIG)
    if address:
        sender += f", reply_confirm_address: {KAKUNIN}"
    text = text.replace(
        "return_path_domain: bounce.library.example}", f"return_path_domain: bounce.library.example{sender}}}"
    )
    text += f"confirmation: {{ask: {{registration_changed: {ask}, hold_ready: {ask}}}}}\n"
    settings = parse(text, base=Path("/"), env={})
    return Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer())


def token(item: Claimed, purpose: Purpose = Purpose.CONFIRM) -> str:
    return KEYS.make(item.delivery_id, purpose)


# ask, page, address, links allowed -> link, address
TABLE = [
    ("both", True, True, True, True, True),
    ("both", True, False, True, True, False),
    ("both", False, True, True, False, True),
    ("both", False, False, True, False, False),
    ("both", True, True, False, False, True),
    ("link", True, True, True, True, False),
    # where mail may carry no links the address takes the link's place
    ("link", True, True, False, False, True),
    ("link", True, False, False, False, False),
    ("reply", True, True, True, False, True),
    ("reply", True, False, True, False, False),
    ("none", True, True, True, False, False),
    ("true", True, True, True, True, True),
    ("false", True, True, True, False, False),
]


@pytest.mark.parametrize("base", [ITEM, PROMPT], ids=["hold_ready", "registration_changed"])
@pytest.mark.parametrize("language", ["ja", "en", "ja-easy"])
@pytest.mark.parametrize(("ask", "page", "address", "links", "has_link", "has_address"), TABLE)
def test_the_ways_of_a_mail(
    base: Claimed, language: str, ask: str, page: bool, address: bool, links: bool, has_link: bool, has_address: bool
) -> None:  # fmt: skip
    item = replace(base, language=language, **({} if links else PHONE))
    text = body(sent(composer(ask, page=page, address=address), item))
    assert (PAGE + token(item) in text) is has_link
    assert (answer_address(KAKUNIN, token(item)) in text) is has_address
    assert (PAGE in text) is has_link
    assert ("kakunin" in text) is has_address


@pytest.mark.parametrize("language", ["ja", "en", "ja-easy"])
def test_not_me_with_and_without_links(language: str) -> None:
    with_link = body(sent(composer(), replace(PROMPT, language=language)))
    denies = token(PROMPT, Purpose.NOT_ME)
    assert PAGE + denies in with_link
    without = replace(PROMPT, language=language, **PHONE)
    assert answer_address(KAKUNIN, denies) in body(sent(composer(), without))
    hold = body(sent(composer(), replace(ITEM, language=language, **PHONE)))
    assert token(ITEM, Purpose.NOT_ME) not in hold, "only a change of the registration may be a stranger's"


@pytest.mark.parametrize(
    ("sender", "by_token"),
    [
        ("", True),
        (", return_path: plus", True),
        (", return_path: fixed", False),
        (", return_path: fixed, reply_confirm_plus: true", True),
        (", reply_confirm_plus: false", False),
    ],
)
def test_an_address_of_its_own_where_the_mail_system_can(sender: str, by_token: bool) -> None:
    text = body(sent(composer(page=False, sender=sender), PROMPT))
    assert (answer_address(KAKUNIN, token(PROMPT)) in text) is by_token
    assert (f" {KAKUNIN}\r\n" in text) is not by_token
    # without a token the address would confirm what its reader denies
    assert (answer_address(KAKUNIN, token(PROMPT, Purpose.NOT_ME)) in text) is by_token


def test_a_changed_registration_asks_and_a_hold_offers() -> None:
    made = composer()
    assert "■このメールが届いたことをお知らせください" in body(sent(made, PROMPT))
    assert "■よろしければ、届いたことをお知らせください" in body(sent(made, ITEM))


@pytest.mark.parametrize(
    "kind", sorted(set(Kind) - {Kind.REGISTRATION_CHANGED, Kind.HOLD_READY, Kind.SENDER_MIGRATION})
)
def test_other_notices_ask_for_nothing(kind: Kind) -> None:
    lapsed = replace(ITEM.holds[0], state=Hold.LAPSED) if kind is Kind.HOLD_LAPSED else ITEM.holds[0]
    text = body(sent(composer(), replace(ITEM, kind=kind, holds=(lapsed,))))
    assert "kakunin" not in text
    assert PAGE not in text


def test_each_kind_has_its_own_way() -> None:
    text = CONFIG + "confirmation: {ask: {registration_changed: link, hold_ready: none}}\n"
    settings = parse(text, base=Path("/"), env={})
    made = Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer())
    assert PAGE in body(sent(made, PROMPT))
    assert PAGE not in body(sent(made, ITEM))


def test_a_long_local_part_gets_no_token() -> None:
    long = "k" * 50 + "@library.example"
    assert answer_address(long, KEYS.make(1)) == long
    assert len(answer_address("k" * 40 + "@x.jp", KEYS.make(1)).partition("@")[0]) <= 64
