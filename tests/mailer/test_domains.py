"""Whether a domain takes mail, asked of a DNS server of the test's own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holds_core.address_checks import MailDomain
from holds_core.ledger.models import cases, mail_domains
from holds_core.ledger.session import Ledger
from holds_core.providers import FEW_PATRONS
from holds_core.settings import AddressChecks, Listen, MxCheck
from mailer.app.domains import DomainChecks, Resolver
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import open_case, rows
from tests.mailer.web.conftest import HandClock
from tests.servers.dns import DnsServer

RECORDS = {
    ("mail.example", "MX"): ["10 mx.mail.example."],
    ("host.example", "A"): ["192.0.2.1"],
    ("six.example", "AAAA"): ["2001:db8::1"],
    ("null.example", "MX"): ["0 ."],
    ("texts.example", "TXT"): ['"nothing of mail"'],
    ("many.example", "MX"): [
        f"{number} mx{number}.a-rather-long-name-of-a-host.many.example." for number in range(30)
    ],
}
TABLE = [
    ("mail.example", MailDomain.OK),
    ("many.example", MailDomain.OK),  # its answer is cut over UDP
    ("host.example", MailDomain.OK),  # RFC 5321 section 5.1: the name's own address
    ("six.example", MailDomain.OK),
    ("null.example", MailDomain.NULL_MX),
    ("texts.example", MailDomain.NO_MX),
    ("nowhere.example", MailDomain.NO_DOMAIN),
    ("failing.example", MailDomain.UNKNOWN),
    ("silent.example", MailDomain.UNKNOWN),
    ("a" * 64 + ".example", MailDomain.NO_DOMAIN),
    ("..", MailDomain.NO_DOMAIN),
    ("日本.example", MailDomain.NO_DOMAIN),
]


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    server = DnsServer(RECORDS)
    server.failing.add("failing.example")
    server.silent.add("silent.example")
    with server.run():
        yield server


def checks(dns: DnsServer) -> AddressChecks:
    return AddressChecks(
        mx=MxCheck.ON, nameserver=Listen("127.0.0.1", dns.port), timeout=timedelta(seconds=1)
    )


@pytest.fixture
async def ledger(migrated_file: Path, tmp_path: Path) -> AsyncIterator[Ledger]:
    shutil.copy(migrated_file, tmp_path / "todoku.db")
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path}/todoku.db")
    yield ledger
    await ledger.close()


@pytest.mark.parametrize(("domain", "verdict"), TABLE)
async def test_the_verdict_on_a_domain(dns: DnsServer, domain: str, verdict: MailDomain) -> None:
    assert await asyncio.wait_for(Resolver(checks(dns)).ask(domain), 20) is verdict


async def test_without_a_server_nothing_is_known(dns: DnsServer) -> None:
    nobody = checks(dns).model_copy(update={"nameserver": Listen("127.0.0.1", 9)})
    assert await Resolver(nobody).ask("mail.example") is MailDomain.UNKNOWN


async def test_new_addresses_are_looked_up_and_answers_kept(dns: DnsServer, ledger: Ledger) -> None:
    feed = Feed(ledger)
    domains = ["mail.example", "null.example", "texts.example", "nowhere.example", "failing.example"]
    for number, domain in enumerate(domains):
        await feed.ok("patron", patron_id=f"P{number}", email=f"taro@{domain}")
    clock = HandClock()
    clock.time = NOON
    task = DomainChecks(ledger, checks(dns), clock)
    crowd = [f"many{number}@nowhere.example" for number in range(FEW_PATRONS)]
    for number, address in enumerate(crowd):
        await feed.ok("patron", patron_id=f"M{number}", email=address)
    with capture_logs() as logs:
        assert await task.look() == 5
    said = [line["domain"] for line in logs if line["event"] == "mail_domain"]
    assert sorted(said) == ["nowhere.example", "other", "other"], "a domain of one patron is not named"
    assert [await open_case(ledger, f"P{number}") for number in range(5)] == [
        None,
        ["address_no_mail"],
        ["address_no_mail"],
        ["address_no_mail"],
        None,
    ]
    dns.asked.clear()
    assert await task.look() == 0
    assert dns.asked == [], "an answer serves for a while"
    clock.time += timedelta(hours=2)
    assert await task.look() == 1, "what nobody answered is asked again soon"
    # the domain's owner mends it
    dns.records["null.example", "MX"] = ["10 mx.null.example."]
    clock.time += timedelta(days=1)
    assert await task.look() == 4
    assert await open_case(ledger, "P1") is None
    clock.time += timedelta(days=7)
    assert await task.look() == 5
    assert {row.domain for row in await rows(ledger, mail_domains)} == set(domains)
    assert len(await rows(ledger, cases)) == 3 + FEW_PATRONS


async def test_the_task_ends_when_told(dns: DnsServer, ledger: Ledger) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(DomainChecks(ledger, checks(dns), HandClock()).run(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 10)
