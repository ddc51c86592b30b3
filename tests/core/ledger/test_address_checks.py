"""What is probably wrong with a new address: kept with it, told to whoever sent it, and a case for staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holds_core.address_checks import MailDomain
from holds_core.evidence import Sign
from holds_core.ledger import mail_domains, story
from holds_core.ledger.models import addresses, deliveries
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import observe, open_case, rows

WEEK = timedelta(days=7)


async def record(ledger: Ledger, domain: str, verdict: MailDomain, days: int = 0) -> int:
    async with ledger.write() as connection:
        return await mail_domains.record(connection, domain, verdict, NOON + timedelta(days=days), WEEK)


async def due(ledger: Ledger, days: int = 0) -> list[str]:
    async with ledger.read() as connection:
        return await mail_domains.due(connection, NOON + timedelta(days=days))


async def doubt(ledger: Ledger, key: str) -> tuple[str, str]:
    [row] = await rows(ledger, addresses, addresses.c.address_key == key)
    return row.doubt, row.suggestion


DOUBTED: list[tuple[str, str, str, str]] = [
    ("taro@gmial.com", "near_miss", "taro@gmail.com", "address_mistyped"),
    ("taro@goo.jp", "dead_provider", "", "address_dead"),
    ("taro＠gmail.com", "full_width", "taro@gmail.com", "address_impossible"),
]


@pytest.mark.parametrize(("typed", "code", "meant", "reason"), DOUBTED)
@pytest.mark.parametrize("type_", ["patron", "patron.email_changed"])
async def test_a_doubtful_address_warns_and_opens_a_case(
    ledger: Ledger, feed: Feed, type_: str, typed: str, code: str, meant: str, reason: str
) -> None:
    if type_ != "patron":
        await feed.ok("patron", patron_id="P1", email="taro.old@example.jp")
    report = await feed(type_, patron_id="P1", email=typed)
    assert (report.applied, report.failed, report.conflicts) == (1, [], [])
    [[warning]] = report.doubts.values()
    assert (warning.address, warning.code, warning.suggestion) == (typed, code, meant)
    [said] = report.objections
    assert said.outcome == "warning"
    assert await open_case(ledger, "P1") == [reason]
    [row] = await rows(ledger, addresses, addresses.c.doubt != "")
    assert (row.doubt, row.suggestion) == (code, meant)


async def test_an_address_in_order_warns_of_nothing(ledger: Ledger, feed: Feed) -> None:
    report = await feed("patron", patron_id="P1", email="a..b@docomo.ne.jp")
    assert (report.doubts, report.objections) == ({}, [])
    assert await open_case(ledger, "P1") is None


async def test_mail_goes_to_a_doubtful_address_all_the_same(ledger: Ledger, feed: Feed) -> None:
    """A domain one letter from a well-known one may be somebody's own."""
    await feed.ok("patron", patron_id="P1", email="taro@gmial.com")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    [row] = await rows(ledger, deliveries)
    assert row.state == "pending"


async def test_a_persons_sign_ends_the_doubt(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="taro@gmial.com")
    works = Observation(NOON, Sign.STAFF_WORKS, "staff", "works", None, "taro@gmial.com", "P1")
    await observe(ledger, works)
    assert await open_case(ledger, "P1") is None


async def test_a_better_address_ends_the_case(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="taro@gmial.com")
    feed.now += timedelta(minutes=1)
    await feed.ok("patron.email_changed", patron_id="P1", email="taro@gmail.com")
    assert await open_case(ledger, "P1") is None


async def test_one_address_that_works_is_enough(ledger: Ledger, feed: Feed) -> None:
    emails = ["hanako@example.jp", "hanako@gmial.com"]
    await feed.ok("patron", patron_id="P1", emails=emails)
    assert await open_case(ledger, "P1") == ["address_mistyped"]
    confirmed = Observation(NOON, Sign.CONFIRMED, "page", "c", None, "hanako@example.jp", "P1")
    await observe(ledger, confirmed)
    assert await open_case(ledger, "P1") is None


@pytest.mark.parametrize("subject", ["patron:P1", "address:taro@gmial.com"])
async def test_explain_says_what_was_found(ledger: Ledger, feed: Feed, subject: str) -> None:
    await feed.ok("patron", patron_id="P1", email="taro@gmial.com")
    async with ledger.read() as connection:
        told = await story.tell(connection, subject)
    [moment] = [item for item in told.moments if item.type == "address.doubted"]
    assert moment.detail["doubt"] == "near_miss"
    assert moment.detail["suggestion"] == "taro@gmail.com"
    assert "入力間違い" in moment.detail["ja"]


# -- DNS -------------------------------------------------------------------------------------------


async def test_domains_are_asked_about_once_in_a_while(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@one.example")
    await feed.ok("patron", patron_id="P2", email="b@one.example")
    await feed.ok("patron", patron_id="P3", email="c@two.example")
    assert await due(ledger) == ["one.example", "two.example"]
    await record(ledger, "one.example", MailDomain.OK)
    assert await due(ledger) == ["two.example"]
    await record(ledger, "two.example", MailDomain.UNKNOWN)
    assert await due(ledger) == []
    assert await due(ledger, days=8) == ["one.example", "two.example"]
    # nobody has such an address any more
    feed.now += timedelta(minutes=1)
    await feed.ok("patron.email_changed", patron_id="P3", email="c@one.example")
    assert await due(ledger, days=8) == ["one.example"]


@pytest.mark.parametrize("verdict", [MailDomain.NO_DOMAIN, MailDomain.NO_MX, MailDomain.NULL_MX])
async def test_a_domain_that_takes_no_mail_opens_cases(
    ledger: Ledger, feed: Feed, verdict: MailDomain
) -> None:
    await feed.ok("patron", patron_id="P1", email="a@one.example")
    await feed.ok("patron", patron_id="P2", email="b@two.example")
    assert await record(ledger, "one.example", verdict) == 1
    assert await open_case(ledger, "P1") == ["address_no_mail"]
    assert await open_case(ledger, "P2") is None
    assert await doubt(ledger, "a@one.example") == (verdict, "")
    # it was mended, or was never broken
    assert await record(ledger, "one.example", MailDomain.OK, days=1) == 1
    assert await open_case(ledger, "P1") is None


async def test_no_answer_changes_nothing_that_was_known(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@one.example")
    await record(ledger, "one.example", MailDomain.NO_MX)
    assert await record(ledger, "one.example", MailDomain.UNKNOWN, days=1) == 0
    assert await open_case(ledger, "P1") == ["address_no_mail"]
    async with ledger.read() as connection:
        assert await mail_domains.known(connection, "one.example") is MailDomain.NO_MX


async def test_a_slip_keeps_its_suggestion_whatever_dns_says(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@gmial.com")
    for verdict in (MailDomain.NO_DOMAIN, MailDomain.OK):
        await record(ledger, "gmial.com", verdict)
        assert await doubt(ledger, "a@gmial.com") == ("near_miss", "a@gmail.com")


async def test_what_is_known_of_a_domain_warns_at_once(ledger: Ledger, feed: Feed) -> None:
    await record(ledger, "one.example", MailDomain.NULL_MX)
    report: Any = await feed("patron", patron_id="P1", email="a@one.example")
    [[warning]] = report.doubts.values()
    assert warning.code == "null_mx"
    assert await open_case(ledger, "P1") == ["address_no_mail"]
