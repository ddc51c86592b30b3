"""All that comes back to a library, by LMTP and by IMAP, with the real servers' own reports.

Mail leaves through the real relay and lies in real mailboxes. Bounces, delays and receipts are what the
servers make of it; what people, their programs and providers answer is made from our mail as it arrived
(`tests.e2e.answers`) and sent back through the real relay.
"""

import asyncio
import contextlib
import imaplib
import json
import os
import random
import smtplib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bounces.lmtp import LmtpListener
from bounces.mailbox import ImapOptions, MailboxReader, Pacing
from bounces.why import Why, in_language, tell
from holds_core.ledger.models import addresses, cases, deliveries, evidence, inbound
from holds_core.tokens import ReturnPathMode, return_path
from mailer.app.services import Services
from tests.e2e import answers
from tests.e2e.answers import Sent
from tests.e2e.library import Library, config, library, lmtp
from tests.servers.dovecot import Dovecot
from tests.servers.ports import wait_until
from tests.servers.postfix import Relay
from tests.servers.sink import Sink

PATIENCE = 60.0
QUICK = Pacing(first=0.02, longest=0.1)


@contextlib.asynccontextmanager
async def mailbox(services: Services, dovecot: Dovecot) -> AsyncIterator[None]:
    """Our reader on the mailbox `bounces`."""
    options = ImapOptions(
        "127.0.0.1",
        dovecot.imap_port,
        "none",
        "bounces",
        dovecot.accounts["bounces"],
        poll=timedelta(seconds=2),
    )
    reader = MailboxReader(
        options,
        services.ingest.store,
        services.clock.now,
        lambda _: None,
        jitter=random.Random(1).random,
        pacing=QUICK,
    )
    task = asyncio.create_task(reader.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@dataclass(frozen=True, slots=True)
class Town:
    """A library with one way back. `desk` is an address of the library's that no token is part of."""

    library: Library
    relay: Relay
    dovecot: Dovecot
    source: str
    desk: str

    async def arrived(self, mailbox: str) -> Sent:
        [raw] = await self.dovecot.arrived(mailbox)
        return Sent.of(raw)

    async def send_back(self, raw: bytes, to: str, sender: str = "") -> None:
        """Hands a mail to the relay, as the servers of the world do."""

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", self.relay.port) as smtp:
                smtp.sendmail(sender, [to], raw)

        await asyncio.to_thread(send)

    async def quarantined(self, count: int) -> list[str]:
        """Waits until so many mails are in quarantine. Returns why, sorted."""

        async def there() -> bool:
            await self.library.services.ingest.read_all()
            return len(await self.library.quarantined()) >= count

        await wait_until(there, PATIENCE, f"{count} mails in quarantine")
        return sorted(row.why for row in await self.library.quarantined())


WAYS: dict[str, dict[str, object]] = {
    "lmtp": {"RETURN_PATH": "verp", "RETURN_DOMAIN": "lmtp.library.example"},
    "imap": {"RETURN_PATH": "plus", "RETURN_DOMAIN": "library.example"},
}


@contextlib.asynccontextmanager
async def open_town(way: str, folder: Path, relay: Relay, dovecot: Dovecot) -> AsyncIterator[Town]:
    async with library(folder, RELAY_PORT=relay.port, **WAYS[way]) as found:
        entry = (
            lmtp(found.services, relay.our_lmtp_port) if way == "lmtp" else mailbox(found.services, dovecot)
        )
        async with entry:
            yield Town(found, relay, dovecot, way, f"noreply@{WAYS[way]['RETURN_DOMAIN']}")


@pytest.fixture(params=list(WAYS))
async def town(
    request: pytest.FixtureRequest, tmp_path: Path, relay: Relay, dovecot: Dovecot
) -> AsyncIterator[Town]:
    async with open_town(request.param, tmp_path, relay, dovecot) as found:
        yield found


# -- every kind of mail that comes back ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """Mail to `address` gets `answer`, sent to the return path, or to the desk (then only what it holds
    ties it to ours); None: the servers' own. Afterwards the delivery has these signs and this finding."""

    name: str
    address: str
    signs: tuple[str, ...]
    finding: str = "waiting"
    answer: Callable[[Sent, str], bytes] | None = None
    to_desk: bool = False
    sender: str = ""
    standing: str = "unproven"


CASES = [
    Case("bounce", "p@nouser.example", ("bounced",), "bounced", standing="unreachable"),
    Case("bounce by a server that had accepted it", "p@late.example", ("bounced",), "bounced", standing="unreachable"),
    Case("delay, then bounce", "p@full.example", ("delayed", "bounced"), "bounced", standing="doubtful"),
    Case("receipt of a handover", "plain@good.example", ("relayed",)),
    Case("receipt of a delivery", "p@local.example", ("delivered",)),
    Case("complaint", "c1@good.example", ("relayed", "complaint"), answer=answers.complaint, standing="doubtful"),
    Case("complaint, by our mail in it", "c2@good.example", ("relayed", "complaint"), answer=answers.complaint, to_desk=True, standing="doubtful"),
    Case("vacation", "v1@good.example", ("relayed", "auto_reply"), answer=answers.vacation),
    Case("vacation, Microsoft's", "v2@good.example", ("relayed", "auto_reply"), answer=answers.out_of_office, to_desk=True),
    Case("vacation, marked by nothing but its null sender", "v3@good.example", ("relayed", "auto_reply"), answer=answers.unmarked),
    Case("reply", "r1@good.example", ("relayed", "replied"), "confirmed", answers.reply, to_desk=True, sender="r1@good.example", standing="reachable"),
    Case("read receipt", "r2@good.example", ("relayed", "seen"), answer=answers.read_receipt, to_desk=True),
]  # fmt: skip


async def test_every_report_and_answer_is_told_apart_and_finds_its_delivery(town: Town) -> None:
    patrons = {
        case.name: await town.library.ready_hold(n, case.address) for n, case in enumerate(CASES, start=1)
    }
    await town.library.batch()
    await town.library.send()
    for case in CASES:
        if case.answer is not None:
            sent = await town.arrived(case.address.partition("@")[0])
            to = town.desk if case.to_desk else sent.return_path
            await town.send_back(case.answer(sent, to), to, case.sender)
    for case in CASES:
        await town.library.finds(patrons[case.name], *case.signs, timeout=PATIENCE)
    found = {}
    for case in CASES:
        signs = await town.library.signs(patrons[case.name])
        found[case.name] = (sorted(signs), (await town.library.delivery(patrons[case.name])).finding)
    assert found == {case.name: (sorted(case.signs), case.finding) for case in CASES}
    assert not await town.library.quarantined()
    assert {row.source for row in await town.library.rows(inbound)} == {town.source}
    [words] = await town.library.rows(evidence, evidence.c.kind == "replied")
    assert words.text == answers.WORDS, "the person's own words, without the title quoted below"
    standings = {row.address_key: row.standing for row in await town.library.rows(addresses)}
    assert {case.name: standings[case.address] for case in CASES} == {c.name: c.standing for c in CASES}


# -- what proves nothing ---------------------------------------------------------------------------


async def known(town: Library) -> tuple[object, ...]:
    """All that a mail could change about patrons."""
    return tuple([await town.rows(table) for table in (evidence, addresses, deliveries, cases)])


def altered(token: str) -> str:
    """Of the right form, and not signed by us."""
    return ("b" if token[0] == "a" else "a") + token[1:]


async def test_what_nothing_of_ours_proves_changes_nothing_and_says_why(town: Town) -> None:
    """A forged bounce, one of a stranger, a bounce passed on, our own mail, a newsletter."""
    patron = await town.library.ready_hold(1, "p1@good.example")
    await town.library.batch()
    await town.library.send()
    await town.library.finds(patron, "relayed")
    sent = await town.arrived("p1")
    row = await town.library.delivery(patron)
    forged_path = sent.return_path.replace(row.token, altered(row.token))
    assert forged_path != sent.return_path
    before = await known(town.library)
    forged_id = f"<{altered(row.token)}@{sent.message_id.partition('@')[2]}"
    await town.send_back(answers.bounce(forged_path, sent.recipient, message_id=forged_id), forged_path)
    await town.send_back(answers.bounce(town.desk, "stranger@good.example"), town.desk)
    await town.send_back(answers.passed_on(sent, sent.return_path), sent.return_path, sent.recipient)
    await town.send_back(sent.raw.encode().replace(b"\n", b"\r\n"), sent.return_path)
    await town.send_back(answers.newsletter(town.desk), town.desk, "news@shop.example")
    why = await town.quarantined(5)
    assert why == sorted(
        [
            tell(Why.LIKELY, row.delivery_id),
            tell(Why.UNTIED),
            tell(Why.FORWARDED),
            tell(Why.LOOP),
            tell(Why.NOTHING),
        ]
    )
    assert await known(town.library) == before
    [likely] = [mail for mail in await town.library.quarantined() if mail.delivery_id is not None]
    assert (likely.delivery_id, likely.kind) == (row.delivery_id, "hard"), "shown to staff, and no more"


async def test_the_list_tells_staff_why_in_one_sentence(
    tmp_path: Path, relay: Relay, dovecot: Dovecot
) -> None:
    async with open_town("lmtp", tmp_path, relay, dovecot) as town:
        await town.send_back(answers.bounce(town.desk, "stranger@good.example"), town.desk)
        [why] = await town.quarantined(1)
    (tmp_path / "config.yaml").write_text(config(tmp_path, RELAY_PORT=relay.port, **WAYS["lmtp"]))

    def listed(*options: str) -> str:
        command = [sys.executable, "-m", "mailer.app", "--config", str(tmp_path / "config.yaml")]
        ended = subprocess.run(
            [*command, "quarantine", "list", *options],
            capture_output=True,
            check=True,
            timeout=60,
            env=os.environ | {"COLUMNS": "250"},
        )
        return ended.stdout.decode()

    [line] = json.loads(await asyncio.to_thread(listed, "--json"))
    assert (line["kind"], line["source"], line["why"]) == ("hard", "lmtp", why)
    assert in_language(why, "ja") in (await asyncio.to_thread(listed))


# -- the same mail again, and mail out of its time -------------------------------------------------


async def test_a_mail_handed_in_again_counts_once(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    """By LMTP after a lost reply, by IMAP after a lost move, and the same octets by both."""
    async with open_town("lmtp", tmp_path, relay, dovecot) as town, mailbox(town.library.services, dovecot):
        patron = await town.library.ready_hold(1, "p1@blackhole.example")
        await town.library.batch()
        await town.library.send()
        await town.library.finds(patron, "relayed")
        path = f"{(await town.library.delivery(patron)).token}@lmtp.library.example"
        raw = answers.bounce(path, "p1@blackhole.example", trace=f"Delivered-To: {path}\n")

        def by_lmtp() -> None:
            with smtplib.LMTP("127.0.0.1", relay.our_lmtp_port) as client:
                client.sendmail("", [path], raw)

        def by_imap() -> None:
            with imaplib.IMAP4("127.0.0.1", dovecot.imap_port) as client:
                client.login("bounces", dovecot.accounts["bounces"])
                client.append("INBOX", "", "", raw)

        for number, hand_in in enumerate((by_imap, by_lmtp, by_imap, by_lmtp), start=1):
            await asyncio.to_thread(hand_in)
            await town.library.finds(patron, "relayed", "bounced")
            if hand_in is by_imap:
                await dovecot.arrived("bounces", (number + 1) // 2, folder="Todoku")
        await town.library.services.ingest.read_all()
        assert sorted(await town.library.signs(patron)) == ["bounced", "relayed"]
        assert [row.source for row in await town.library.rows(inbound, inbound.c.kind == "hard")] == ["imap"]


async def test_bounces_of_a_mail_that_left_twice_are_about_one_delivery(
    tmp_path: Path, relay: Relay, smtp_sink: Callable[..., Sink]
) -> None:
    """The first copy's reply was lost after the final dot, so it was sent again; both copies bounce."""
    sink = smtp_sink("-q", ".")
    way = WAYS["lmtp"]
    async with library(tmp_path, RELAY_PORT=sink.port, **way) as town:
        patron = await town.ready_hold(1, "p1@late.example")
        await town.batch()
        await town.send()
        row = await town.delivery(patron)
        assert row.state == "uncertain"
        async with town.services.ledger.write() as connection:
            await connection.execute(deliveries.update().values(next_at=row.first_attempt_at))
    [first] = sink.messages()
    async with (
        library(tmp_path, RELAY_PORT=relay.port, **way) as town,
        lmtp(town.services, relay.our_lmtp_port),
    ):
        await town.send()
        path = return_path(ReturnPathMode.VERP, row.token, "lmtp.library.example")
        body = first[first.index(b"Message-ID:") :].replace(b"\n", b"\r\n")

        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", relay.port) as client:
                client.sendmail(path, ["p1@late.example"], body)

        await asyncio.to_thread(submit)

        async def both() -> bool:
            await town.services.ingest.read_all()
            return (await town.signs(patron)).count("bounced") == 2

        await wait_until(both, PATIENCE, "the bounces of both copies")
        found = await town.delivery(patron)
        assert (found.tries, found.finding, found.reason) == (2, "bounced", "userunknown")
        assert await town.open_case(patron) == ["bounced"]
        assert not await town.quarantined()


async def test_a_bounce_that_comes_weeks_later_still_counts(tmp_path: Path, relay: Relay) -> None:
    """Of two that come as late: the one with our token counts, and the one with a patron's address alone
    is no longer even likely."""
    async with library(tmp_path, RELAY_PORT=relay.port, **WAYS["lmtp"]) as town:
        patron = await town.ready_hold(1, "p1@late.example")

        def in_six_weeks() -> datetime:
            return town.services.clock.now() + timedelta(weeks=6)

        listener = LmtpListener("127.0.0.1", relay.our_lmtp_port, town.services.ingest.store, in_six_weeks)
        await listener.start()
        try:
            await town.batch()
            await town.send()
            await town.finds(patron, "bounced")
            row = await town.delivery(patron)
            assert (row.finding, row.reason) == ("bounced", "userunknown")
            [item] = await town.rows(evidence, evidence.c.kind == "bounced")
            assert item.at - row.first_attempt_at > timedelta(weeks=5)

            def forge() -> None:
                to = "noreply@lmtp.library.example"
                with smtplib.LMTP("127.0.0.1", relay.our_lmtp_port) as client:
                    client.sendmail("", [to], answers.bounce(to, "p1@late.example"))

            await asyncio.to_thread(forge)
            await town.services.ingest.read_all()
            assert [mail.why for mail in await town.quarantined()] == [tell(Why.UNTIED)]
        finally:
            await listener.stop()
