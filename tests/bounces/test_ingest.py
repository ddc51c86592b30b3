"""Mail that came back, from its bytes to evidence or to quarantine; in SQLite, with the real reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bounces.ingest import Ingest
from bounces.intake import Inbound
from bounces.why import Why, tell
from holds_core.errors import IllegalTransition
from holds_core.ledger import inbox
from holds_core.ledger.inbox import MailState
from holds_core.ledger.models import addresses, deliveries, evidence, inbound
from holds_core.ledger.session import Ledger
from holds_core.tokens import TokenKeys
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import KEYS, batch, hand_over, open_case, ready, rows, standing

LATER = NOON + timedelta(hours=1)
MAILS = Path(__file__).parent / "mails"


class Told:
    """`BounceLog` that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def received(self, inbound: int, source: str, kind: str, delivery: int | None, by: str) -> None:
        self.lines.append(("received", kind, delivery, by))

    def quarantined(self, inbound: int, source: str, why: str) -> None:
        self.lines.append(("quarantined", why))

    def windows_passed(self, count: int) -> None:
        self.lines.append(("windows", count))


class Library:
    """A ledger with one hold_ready mail handed over to one patron."""

    def __init__(self, ledger: Ledger, number: int, address: str) -> None:
        self.ledger, self.number, self.address = ledger, number, address
        self.token = KEYS.make(number)
        self.log = Told()
        self.ingest = Ingest(ledger, KEYS, self.log)

    async def take(self, raw: bytes, to: str | None = None, sender: str = "") -> inbox.Stored:
        """One mail by LMTP, read at once."""
        to = f"{self.token}@bounce.example" if to is None else to
        await self.ingest.store(Inbound(raw, "lmtp", sender, (to,), LATER, False, ""))
        await self.ingest.read_all()
        return await self.mail()

    async def mail(self) -> inbox.Stored:
        """The last one."""
        number = (await rows(self.ledger, inbound))[-1].inbound_id
        async with self.ledger.read() as connection:
            return await inbox.get(connection, number)

    async def evidence(self) -> list[Any]:
        return list(await rows(self.ledger, evidence))

    async def known(self) -> tuple[object, ...]:
        """All that a mail could change about patrons."""
        return tuple([await rows(self.ledger, table) for table in (evidence, addresses, deliveries)])


@contextlib.asynccontextmanager
async def library(folder: Path, address: str = "p1@example.jp") -> AsyncIterator[Library]:
    ledger = Ledger.open(f"sqlite+aiosqlite:///{folder}/todoku.db")
    try:
        await ledger.upgrade()
        await ready(Feed(ledger), 1, address)
        await batch(ledger)
        [item] = await hand_over(ledger)
        yield Library(ledger, item.delivery_id, address)
    finally:
        await ledger.close()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Library]:
    async with library(tmp_path) as made:
        yield made


def dsn(
    address: str = "p1@example.jp",
    action: str = "failed",
    status: str = "5.1.1",
    said: str = "550 5.1.1 <p1@example.jp>: User unknown",
    envid: str = "",
) -> bytes:
    """A delivery status notification (RFC 3464)."""
    text = f"""From: MAILER-DAEMON@relay.example (Mail Delivery System)
To: bounces@library.example
Subject: Delivery Status Notification
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

This is the mail system at host relay.example.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example
{f"Original-Envelope-Id: {envid}" if envid else "X-Queue-Id: 1"}

Final-Recipient: rfc822; {address}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {said}

--b--
"""
    return text.replace("\n", "\r\n").encode()


def reply(body: str, *headers: str, sender: str = "p1@example.jp") -> bytes:
    lines = [f"From: <{sender}>", "To: noreply@library.example", "Subject: Re: hold", *headers, "", body, ""]
    return "\r\n".join(lines).encode()


# -- what is recognised ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["return path", "envelope id"])
async def test_a_bounce_that_names_its_delivery_becomes_evidence(town: Library, way: str) -> None:
    by_path = way == "return path"
    raw = dsn() if by_path else dsn(envid=town.token)
    mail = await town.take(raw, None if by_path else "bounces@library.example")
    assert (mail.state, mail.kind, mail.delivery_id) == (MailState.USED, "hard", town.number)
    [item] = await town.evidence()
    assert (item.kind, item.reason, item.fault, item.severity, item.status, item.code) == (
        *("bounced", "userunknown", "patron", "hard", "5.1.1"),
        550,
    )
    assert (item.at, item.inbound_id, item.patron_id) == (LATER, mail.inbound_id, "P1")
    assert await standing(town.ledger, "p1@example.jp") == "unreachable"
    assert await open_case(town.ledger, "P1") == ["bounced"]
    by = "return_path" if by_path else "envelope_id"
    assert town.log.lines == [("received", "hard", town.number, by)]


KINDS = [
    (dsn(action="delayed", status="4.4.1", said="451 4.4.1 timed out"), "delayed", ["delayed"]),
    (dsn(action="relayed", status="2.1.5", said="250 2.1.5 ok"), "delivered", ["relayed"]),
    (dsn(action="delivered", status="2.1.5", said="250 2.1.5 ok"), "delivered", ["delivered"]),
    (dsn(status="5.2.2", said="552 5.2.2 Mailbox full"), "soft", ["bounced"]),
    # a final failure may carry 4.x.x: judged by action (RFC 3464 section 2.3.3)
    (dsn(status="4.4.7", said="delivery time expired"), "soft", ["bounced"]),
    (reply("不在にしております。", "Auto-Submitted: auto-replied"), "auto_reply", ["auto_reply"]),
]


@pytest.mark.parametrize(("raw", "kind", "signs"), KINDS)
async def test_each_kind_of_mail(town: Library, raw: bytes, kind: str, signs: list[str]) -> None:
    mail = await town.take(raw)
    assert (mail.state, mail.kind) == (MailState.USED, kind)
    assert [item.kind for item in await town.evidence()] == signs


async def test_a_person_who_writes_back_reads_our_mail(town: Library) -> None:
    raw = reply("ありがとうございます。明日うかがいます。", f"In-Reply-To: <{town.token}@bounce.example>")
    mail = await town.take(raw, "noreply@library.example", "p1@example.jp")
    assert (mail.state, mail.kind) == (MailState.USED, "human_reply")
    [item] = await town.evidence()
    assert (item.kind, "明日うかがいます" in item.text) == ("replied", True)
    assert await standing(town.ledger, "p1@example.jp") == "reachable"


async def test_our_own_fault_marks_no_patron(town: Library) -> None:
    said = "550 5.7.515 Access denied, sending domain does not meet the required authentication level"
    await town.take(dsn(status="5.7.515", said=said))
    [item] = await town.evidence()
    assert item.fault == "us"
    assert await standing(town.ledger, "p1@example.jp") == "unproven"


async def test_addresses_with_docomos_dots_are_the_same_with_postfixs_quotes(tmp_path: Path) -> None:
    async with library(tmp_path, "a..b@docomo.ne.jp") as town:
        raw = dsn('"a..b"@docomo.ne.jp', said='550 Unknown user "a..b"@docomo.ne.jp')
        mail = await town.take(raw, "bounces@library.example", '"a..b"@docomo.ne.jp')
        assert mail.why == tell(Why.LIKELY, town.number)
        await town.take(raw, sender='"a..b"@docomo.ne.jp')
        assert await standing(town.ledger, "a..b@docomo.ne.jp") == "unreachable"


# -- quarantine ------------------------------------------------------------------------------------

UNUSED: list[tuple[str, bytes, str, Why]] = [
    ("unmatched", dsn("stranger@example.jp"), "x@library.example", Why.UNTIED),
    ("forged", dsn(), f"{'a' * 16}b@bounce.example", Why.LIKELY),
    ("by another's key", dsn(), f"{TokenKeys([b'x' * 40]).make(1)}@bounce.example", Why.LIKELY),
    ("of no delivery", dsn(envid=KEYS.make(999_999)), "x@library.example", Why.LIKELY),
    ("loop", b"X-Todoku-Notice: abc\r\nSubject: x\r\n\r\nbody\r\n", "x@library.example", Why.LOOP),
    ("newsletter", b"From: a@example.jp\r\nList-Id: <x.example>\r\nPrecedence: bulk\r\n\r\nnews\r\n", "x@library.example", Why.NOTHING),
    ("empty", b"", "x@library.example", Why.NOTHING),
    ("bytes", bytes(range(256)) * 50, "x@library.example", Why.NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "to", "why"), [case[1:] for case in UNUSED], ids=[c[0] for c in UNUSED])
async def test_what_proves_nothing_changes_nothing_and_waits_for_staff(
    town: Library, raw: bytes, to: str, why: Why
) -> None:
    before = await town.known()
    mail = await town.take(raw, to)
    assert (mail.state, mail.raw) == (MailState.QUARANTINED, raw)
    assert mail.why == tell(why, town.number if why is Why.LIKELY else "")
    assert await town.known() == before
    async with town.ledger.read() as connection:
        assert [item.inbound_id for item in await inbox.quarantine(connection)] == [mail.inbound_id]
    assert town.log.lines == [("quarantined", mail.why)]


@pytest.mark.parametrize("name", ["forwarded-attached.eml", "forwarded-quoted.eml"])
async def test_a_bounce_that_a_person_passed_on_proves_nothing(town: Library, name: str) -> None:
    before = await town.known()
    mail = await town.take((MAILS / name).read_bytes(), sender="person@example.jp")
    assert (mail.state, mail.why) == (MailState.QUARANTINED, tell(Why.FORWARDED))
    assert await town.known() == before


async def test_what_is_in_quarantine_can_be_read_again_after_a_fix(town: Library) -> None:
    """Here: the keys were missing when it came."""
    keyless = Ingest(town.ledger, TokenKeys([b"x" * 40]), town.log)
    await keyless.store(Inbound(dsn(envid=town.token), "imap", "", (), LATER, False, ""))
    assert await keyless.read_all() == 1
    mail = await town.mail()
    assert (mail.state, await town.evidence()) == (MailState.QUARANTINED, [])
    verdict = await town.ingest.read_one(mail.inbound_id)
    assert (verdict.state, verdict.match and verdict.match.delivery_id) == (MailState.USED, town.number)
    assert [item.kind for item in await town.evidence()] == ["bounced"]
    assert (await town.mail()).why == ""
    # and a second time it is an error, not a second bounce
    with pytest.raises(IllegalTransition):
        await town.ingest.read_one(mail.inbound_id)
    assert len(await town.evidence()) == 1


async def test_a_replay_that_still_finds_nothing_changes_nothing(town: Library) -> None:
    mail = await town.take(dsn("stranger@example.jp"), "x@library.example")
    verdict = await town.ingest.read_one(mail.inbound_id)
    assert verdict.state is MailState.QUARANTINED
    again = await town.mail()
    assert (again.state, again.why) == (MailState.QUARANTINED, mail.why)


async def test_a_mail_whose_bytes_were_erased_cannot_be_read_again(town: Library) -> None:
    mail = await town.take(dsn("stranger@example.jp"), "x@library.example")
    async with town.ledger.write() as connection:
        await connection.execute(sa.update(inbound).values(raw=None, state="new"))
    verdict = await town.ingest.read_one(mail.inbound_id)
    assert (verdict.state, verdict.why) == (MailState.QUARANTINED, tell(Why.ERASED))


# -- never lost, never twice, never in the way -----------------------------------------------------


async def test_a_mail_handed_in_twice_counts_once(town: Library) -> None:
    await town.take(dsn())
    await town.take(dsn())
    assert len(await rows(town.ledger, inbound)) == 1
    assert len(await town.evidence()) == 1


async def test_the_bytes_are_committed_before_they_are_read(town: Library) -> None:
    raw = dsn() + bytes(range(256))
    await town.ingest.store(Inbound(raw, "lmtp", "", ("a@b",), LATER, True, "first 9 of 99 octets kept"))
    mail = await town.mail()
    assert (mail.state, mail.raw, mail.truncated, mail.received_at) == (MailState.NEW, raw, True, LATER)


async def test_a_mail_that_cannot_be_recorded_does_not_stop_the_others(town: Library) -> None:
    """It would be the first of the queue for ever."""
    async with town.ledger.write() as connection:
        await connection.execute(
            sa.text(
                "CREATE TRIGGER refuse BEFORE INSERT ON evidence WHEN NEW.status = '5.2.2' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )
    for raw in (dsn(status="5.2.2", said="552 5.2.2 full"), dsn()):
        to = (f"{town.token}@bounce.example",)
        await town.ingest.store(Inbound(raw, "lmtp", "", to, LATER, False, ""))
    assert await town.ingest.read_all() == 2
    first, second = await rows(town.ledger, inbound)
    assert (first.state, first.why) == ("quarantined", tell(Why.UNRECORDED, "IntegrityError"))
    assert second.state == "used"
    assert [item.status for item in await town.evidence()] == ["5.1.1"]


async def test_a_reader_that_failed_finds_what_is_left_when_it_runs_again(tmp_path: Path) -> None:
    """The ledger could not be read; no new mail comes to wake it."""
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path}/todoku.db")
    ingest = Ingest(ledger, KEYS, Told())
    try:
        with pytest.raises(sa.exc.OperationalError, match="no such table"):
            await asyncio.wait_for(ingest.run(), 30)
        await ledger.upgrade()
        async with ledger.write() as connection:
            await inbox.store(
                connection, raw=b"x", source="imap", envelope_from="", envelope_to=[], received_at=LATER
            )
        running = asyncio.create_task(ingest.run())
        async with asyncio.timeout(30):
            while (await rows(ledger, inbound))[0].state == "new":
                await asyncio.sleep(0.01)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await ledger.close()


async def test_two_readers_of_one_ledger_count_a_mail_once(town: Library) -> None:
    other = Ingest(town.ledger, KEYS, Told())
    to = (f"{town.token}@bounce.example",)
    for number in range(5):
        raw = dsn(said=f"550 5.1.1 unknown {number}")
        await town.ingest.store(Inbound(raw, "lmtp", "", to, LATER, False, ""))
    await asyncio.gather(town.ingest.read_all(), other.read_all())
    assert {row.state for row in await rows(town.ledger, inbound)} == {"used"}
    assert len(await town.evidence()) == 5


async def test_a_big_mail_is_read_all_the_same(town: Library) -> None:
    mail = await town.take(dsn() + b"x" * 76 * 4000)
    assert mail.state is MailState.USED


def feedback(kind: str, token: str) -> bytes:
    """A feedback report (RFC 5965) of one type."""
    return (
        "From: feedback@isp.example\nTo: abuse@library.example\nSubject: report\nMIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
        f"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nUser-Agent: x\nVersion: 1\n\n"
        f"--b\nContent-Type: message/rfc822\n\nX-Todoku-Notice: {token}\nTo: p1@example.jp\n\n\n--b--\n"
    ).encode()


@pytest.mark.parametrize(
    ("kind", "sign", "expected"),
    [
        ("abuse", "complaint", "doubtful"),
        ("fraud", "complaint", "doubtful"),
        ("something-new", "complaint", "doubtful"),
        ("not-spam", "seen", "unproven"),  # RFC 6430: the reader took it out of the junk folder
    ],
)
async def test_what_readers_say_of_our_mail(town: Library, kind: str, sign: str, expected: str) -> None:
    mail = await town.take(feedback(kind, town.token))
    assert mail.state is MailState.USED
    assert [item.kind for item in await town.evidence()] == [sign]
    assert await standing(town.ledger, town.address) == expected


@pytest.mark.parametrize("kind", ["auth-failure", "virus"])
async def test_feedback_about_our_server_is_no_complaint_of_a_patron(town: Library, kind: str) -> None:
    """RFC 6591: it goes to IT's eyes and marks no address."""
    before = await town.known()
    mail = await town.take(feedback(kind, town.token))
    assert (mail.state, mail.why) == (MailState.QUARANTINED, tell(Why.FOR_IT))
    assert await town.known() == before
