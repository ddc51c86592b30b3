"""Empty mail that confirms (空メール): whose sign it is, what it is worth, and what proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bounces.ingest import Ingest
from bounces.intake import Inbound
from bounces.replies import without_signature
from bounces.why import Why, tell
from holds_core.ledger.answers import VALID_FOR
from holds_core.ledger.inbox import MailState
from holds_core.tokens import Purpose, TokenKeys, answer_address
from tests.bounces.test_ingest import LATER, Library, dsn, library
from tests.core.ledger.helpers import KEYS, delivery, open_case, standing

ADDRESS = "kakunin@bounce.example"
FORMER = "lib+kakunin@former.example"


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Library]:
    async with library(tmp_path) as made:
        made.ingest = Ingest(made.ledger, KEYS, made.log, (ADDRESS, FORMER))
        yield made


def asked(number: int, purpose: Purpose = Purpose.CONFIRM, address: str = ADDRESS) -> str:
    """The address that stands in the mail of this delivery."""
    return answer_address(address, KEYS.make(number, purpose))


def mail(*headers: str, body: str = "", sender: str = "p1@example.jp") -> bytes:
    """What a phone sends: hardly a header, no words."""
    return "\r\n".join([f"From: {sender}", *headers, "", body]).encode()


HTML = """<html><head></head><body dir="auto"><br><br><div dir="ltr">iPhoneから送信</div></body></html>"""
MULTIPART = """--b\r
Content-Type: text/plain; charset=utf-8\r
\r
\r
\r
--b\r
Content-Type: text/html; charset=utf-8\r
\r
<div dir="auto"></div>\r
--b--\r
"""
MIXED = ("MIME-Version: 1.0", 'Content-Type: multipart/alternative; boundary="b"')
EMPTY = {
    "no subject, no text": mail(),
    "empty subject": mail("Subject: ", "To: <kakunin@bounce.example>"),
    "a subject": mail("Subject: =?utf-8?B?56m644Oh44O844Or?="),
    "a reply": mail("Subject: Re:", "In-Reply-To: <x@bounce.example>"),
    "the maker's line": mail(body="iPhoneから送信\r\n"),
    "a signature": mail(body="\r\n-- \r\n図書 花子\r\n090-0000-0000\r\n"),
    "in English": mail(body="\r\n\r\nSent from my Galaxy\r\n"),
    "HTML": mail("MIME-Version: 1.0", "Content-Type: text/html; charset=utf-8", body=HTML),
    "both forms": mail(*MIXED, body=MULTIPART),
    "full-width blanks": mail("Content-Type: text/plain; charset=utf-8", body="\u3000\u3000\r\n"),
}


@pytest.mark.parametrize("raw", EMPTY.values(), ids=EMPTY)
async def test_an_empty_mail_confirms_the_notice_that_its_address_names(town: Library, raw: bytes) -> None:
    found = await town.take(raw, asked(town.number), "p1@example.jp")
    assert (found.state, found.kind, found.delivery_id) == (MailState.USED, "confirmation", town.number)
    [item] = await town.evidence()
    assert (item.kind, item.delivery_id, item.text) == ("confirmed", town.number, "")
    assert (item.inbound_id, item.patron_id) == (found.inbound_id, "P1")
    assert (await delivery(town.ledger, delivery_id=town.number)).finding == "confirmed"
    assert await standing(town.ledger, "p1@example.jp") == "reachable"
    assert await open_case(town.ledger, "P1") is None
    assert town.log.lines == [("received", "confirmation", town.number, "confirm_address")]


@pytest.mark.parametrize(
    "to",
    [
        asked(1).upper(),  # case does not survive every phone
        f"<{asked(1)}>",
        asked(1, address=FORMER),  # the sender changed since; its own "+" stays
    ],
)
async def test_however_the_address_is_written(town: Library, to: str) -> None:
    await town.take(mail(), to)
    # LMTP's null sender says that no person wrote it
    assert await town.evidence() == []
    await town.take(mail("Subject: x"), to, "p1@example.jp")
    assert [item.kind for item in await town.evidence()] == ["confirmed"]


async def test_a_mailbox_keeps_no_envelope_and_the_head_tells(town: Library) -> None:
    raw = mail(f"To: {asked(town.number)}", "Return-Path: <p1@example.jp>")
    await town.ingest.store(Inbound(raw, "imap", "p1@example.jp", (), LATER, False, ""))
    await town.ingest.read_all()
    [item] = await town.evidence()
    assert (item.kind, item.source, item.delivery_id) == ("confirmed", "imap", town.number)


async def test_the_token_counts_from_whatever_address_it_comes(town: Library) -> None:
    """Who reads the mail on a computer may answer from the phone."""
    await town.take(mail(sender="elsewhere@example.org"), asked(town.number), "elsewhere@example.org")
    [item] = await town.evidence()
    assert (item.kind, item.address_key) == ("confirmed", "p1@example.jp")


async def test_confirming_twice_counts_once(town: Library) -> None:
    for subject in ("one", "two"):
        found = await town.take(mail(f"Subject: {subject}"), asked(town.number), "p1@example.jp")
        assert found.state is MailState.USED
    assert [item.kind for item in await town.evidence()] == ["confirmed"]


async def test_words_beside_it_are_a_reply_that_staff_see(town: Library) -> None:
    text = "届きました。木曜日にうかがいます。\r\n\r\niPhoneから送信\r\n"
    raw = mail("Content-Type: text/plain; charset=utf-8", body=text)
    await town.take(raw, asked(town.number), "p1@example.jp")
    found = {item.kind: item.text for item in await town.evidence()}
    assert found == {"confirmed": "", "replied": "届きました。木曜日にうかがいます。"}
    assert await open_case(town.ledger, "P1") == ["replied"]


async def test_not_me_without_a_link(town: Library) -> None:
    await town.take(mail(), asked(town.number, Purpose.NOT_ME), "p1@example.jp")
    assert [item.kind for item in await town.evidence()] == ["not_me"]
    assert await standing(town.ledger, "p1@example.jp") == "unreachable"
    assert await open_case(town.ledger, "P1") == ["not_me"]


# -- without the token -----------------------------------------------------------------------------

BARE = [ADDRESS, f"kakunin+{'a' * 18}@bounce.example"]


@pytest.mark.parametrize("to", BARE, ids=["bare", "mangled"])
async def test_without_the_token_the_senders_address_is_a_weak_sign(town: Library, to: str) -> None:
    await town.take(mail(sender="図書 花子 <P1@Example.jp>"), to, "p1@example.jp")
    [item] = await town.evidence()
    assert (item.kind, item.delivery_id) == ("wrote", town.number)
    assert (await delivery(town.ledger, delivery_id=town.number)).finding == "confirmed"
    assert await standing(town.ledger, "p1@example.jp") == "reachable"
    assert town.log.lines == [("received", "confirmation", town.number, "sender")]


async def test_a_weak_sign_undoes_no_bounce(town: Library) -> None:
    """The sender's address can be forged, a bounce with our token cannot."""
    await town.take(dsn())
    await town.take(mail(), ADDRESS, "p1@example.jp")
    assert (await delivery(town.ledger, delivery_id=town.number)).finding == "bounced"
    assert await standing(town.ledger, "p1@example.jp") == "unreachable"


async def test_words_without_the_token_reach_staff_and_prove_nothing_more(town: Library) -> None:
    raw = mail("Content-Type: text/plain; charset=utf-8", body="取り消してください")
    await town.take(raw, ADDRESS, "p1@example.jp")
    [item] = await town.evidence()
    assert (item.kind, item.text) == ("wrote", "取り消してください")
    assert await open_case(town.ledger, "P1") == ["replied"]


# -- what proves nothing ---------------------------------------------------------------------------

STRANGER = "stranger@example.org"
FORGED = [
    (ADDRESS, STRANGER),
    (f"kakunin+{'a' * 18}@bounce.example", STRANGER),
    (answer_address(ADDRESS, TokenKeys([b"x" * 40]).make(1, Purpose.CONFIRM)), STRANGER),
    (answer_address(ADDRESS, KEYS.make(1)), STRANGER),  # a return path's token confirms nothing
]


@pytest.mark.parametrize(("to", "sender"), FORGED)
async def test_a_forged_one_from_a_stranger_changes_nothing(town: Library, to: str, sender: str) -> None:
    before = await town.known()
    found = await town.take(mail(sender=sender), to, sender)
    assert (found.state, found.why) == (MailState.QUARANTINED, tell(Why.UNKNOWN_WRITER))
    assert await town.known() == before


async def test_a_token_of_no_delivery_changes_nothing(town: Library) -> None:
    before = await town.known()
    found = await town.take(mail(), asked(999_999), "p1@example.jp")
    assert (found.state, found.why) == (MailState.QUARANTINED, tell(Why.UNTIED))
    assert await town.known() == before


async def test_a_confirmation_that_comes_too_late_says_nothing(town: Library) -> None:
    before = await town.known()
    much_later = LATER + VALID_FOR
    to = (asked(town.number),)
    await town.ingest.store(Inbound(mail(), "lmtp", "p1@example.jp", to, much_later, False, ""))
    await town.ingest.read_all()
    assert (await town.mail()).why == tell(Why.TOO_LATE)
    bare = Inbound(mail("Subject: x"), "lmtp", "p1@example.jp", (ADDRESS,), much_later, False, "")
    await town.ingest.store(bare)
    await town.ingest.read_all()
    assert (await town.mail()).why == tell(Why.UNKNOWN_WRITER)
    assert await town.known() == before


MACHINES = {
    "vacation": (mail("Subject: Re: x", "Auto-Submitted: auto-replied"), "p1@example.jp"),
    "vacation by its subject": (mail("Subject: Automatic reply: hold"), "p1@example.jp"),
    "vacation by its header": (mail("Subject: x", "X-Autoreply: yes"), "p1@example.jp"),
    "null sender": (mail("Subject: x"), ""),
    "list": (mail("Subject: x", "List-Id: <a.example>"), "p1@example.jp"),
    "bulk": (mail("Precedence: bulk"), "p1@example.jp"),
    "generated": (mail("Auto-Submitted: auto-generated"), "p1@example.jp"),
    "bounce": (dsn(), ""),
    "our own": (mail("X-Todoku-Notice: abc"), "p1@example.jp"),
}


@pytest.mark.parametrize(("raw", "sender"), MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("to", [asked(1), ADDRESS], ids=["token", "bare"])
async def test_what_a_program_writes_confirms_nothing(
    town: Library, raw: bytes, sender: str, to: str
) -> None:
    await town.take(raw, to, sender)
    assert {item.kind for item in await town.evidence()} <= {"auto_reply"}
    assert (await delivery(town.ledger, delivery_id=town.number)).finding == "waiting"


async def test_without_a_confirmation_address_nothing_is_one(town: Library) -> None:
    town.ingest = Ingest(town.ledger, KEYS, town.log)
    found = await town.take(mail(), asked(town.number), "p1@example.jp")
    assert (found.state, found.kind) == (MailState.QUARANTINED, "none")


async def test_the_latest_mails_are_answered_where_none_is_named(town: Library) -> None:
    """Nothing of the last days: then the last one of all."""
    late = Inbound(mail(), "lmtp", "p1@example.jp", (ADDRESS,), LATER + timedelta(days=20), False, "")
    await town.ingest.store(late)
    await town.ingest.read_all()
    assert [item.delivery_id for item in await town.evidence()] == [town.number]


SIGNATURES = [
    ("", ""),
    ("届きました", "届きました"),
    ("届きました\n\nAndroidから送信", "届きました"),
    ("\nYahoo!メールアプリから送信\n", ""),
    ("Get Outlook for iOS", ""),
    ("\n-- \n図書館 太郎", ""),
    ("------------------\n図書 花子\n", ""),
    ("iPhoneが壊れました", "iPhoneが壊れました"),
    ("\u200b\u3000\xa0", ""),
]


@pytest.mark.parametrize(("text", "left"), SIGNATURES)
def test_a_phones_line_is_no_word_of_a_person(text: str, left: str) -> None:
    assert without_signature(text) == left
