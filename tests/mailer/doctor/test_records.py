"""What the doctor says of DNS records, and of DNS that cannot be asked: nothing holds it up."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from holds_core.errors import BadInput
from mailer.app.doctor.names import Names
from tests.mailer.doctor.conftest import GOOD, KEY_1024, KEY_2048, OTHER, RELAY, Bench
from tests.servers.dns import txt
from tests.servers.ports import HOST, free_port


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([f"v=DKIM1; k=rsa; p={KEY_2048}"], "ok"),
        ([f"p={KEY_2048[:200]} {KEY_2048[200:]}"], "ok"),
        (["v=DKIM1; k=ed25519; p=" + "A" * 43 + "="], "ok"),
        ([f"v=DKIM1; p={KEY_1024}"], "warning"),
        (["v=DKIM1; p="], "failed"),  # revoked (RFC 6376 section 3.6.1)
        (["v=DKIM1; p=???"], "failed"),
        (["v=DKIM2; p=" + KEY_2048], "failed"),
        (["p=" + KEY_2048, "p=" + KEY_1024], "failed"),
        ([], "failed"),
    ],
)
async def test_dkim_keys(bench: Bench, records: list[str], status: str) -> None:
    bench.dns.records |= {("s1._domainkey.library.example.jp", "TXT"): [txt(record) for record in records]}
    assert (await bench.check("dkim")).status == status


async def test_dkim_without_a_selector(bench: Bench) -> None:
    assert (await bench.check("dkim", selector="")).status == "not_checked"


@pytest.mark.parametrize(("since", "asked"), [("2013-04-01", True), ("2099-04-01", False)])
async def test_after_a_change_the_sender_of_today_is_looked_at(bench: Bench, since: str, asked: bool) -> None:
    change = {
        "since": since,
        "address": "yoyaku@city.example.jp",
        "return_path_domain": "bounce.city.example.jp",
    }
    for name in ("spf_from", "spf_return_path", "dmarc"):
        found = await bench.check(name, sender={"changes": [change]})
        assert ("city.example.jp" in found.message.ja) is asked, found.message.ja


@pytest.mark.parametrize(
    ("policies", "envelope", "selector", "status"),
    [
        ({"library.example.jp": ["v=DMARC1; p=none"]}, "bounce.library.example.jp", "", "ok"),
        ({"library.example.jp": ["v=DMARC1; p=reject"]}, "library.example.jp", "", "ok"),
        ({"example.jp": ["v=DMARC1; p=reject"]}, "bounce.example.jp", "", "ok"),
        ({"library.example.jp": ["v=DMARC1;p=reject;aspf=s"]}, "library.example.jp", "", "ok"),
        # not aligned: only a signature can pass
        ({"library.example.jp": ["v=DMARC1;p=reject;aspf=s"]}, "bounce.library.example.jp", "", "failed"),
        ({"library.example.jp": ["v=DMARC1;p=reject;aspf=s"]}, "bounce.library.example.jp", "s1", "warning"),
        ({"library.example.jp": ["v=DMARC1; p=none"]}, "bounce.provider.example", "", "warning"),
        ({"library.example.jp": ["v=DMARC1; p=quarantine"]}, "bounce.provider.example", "", "failed"),
        # the registry's own record makes no organisation of all that is below it
        ({"jp": ["v=DMARC1; p=none; psd=y"]}, "other.jp", "", "warning"),
        ({"library.example.jp": ["v=DMARC1; p=none; psd=n"], "example.jp": ["v=DMARC1; p=none"]},
         "bounce.example.jp", "", "warning"),
        # broken
        ({"library.example.jp": ["v=DMARC1; p=refuse"]}, "library.example.jp", "", "failed"),
        ({"library.example.jp": ["v=DMARC1"]}, "library.example.jp", "", "failed"),
        ({"library.example.jp": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}, "library.example.jp", "", "failed"),
        ({"library.example.jp": ["v=dmarc2; p=none"]}, "library.example.jp", "", "warning"),
        ({}, "library.example.jp", "", "warning"),
    ],
)  # fmt: skip
async def test_dmarc(
    bench: Bench, policies: dict[str, list[str]], envelope: str, selector: str, status: str
) -> None:
    del bench.dns.records["_dmarc.library.example.jp", "TXT"]
    bench.dns.records |= {(f"_dmarc.{at}", "TXT"): [txt(text) for text in of] for at, of in policies.items()}
    found = await bench.check("dmarc", selector=selector, sender={"return_path_domain": envelope})
    assert found.status == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "ok"),
        ({("25.2.0.192.in-addr.arpa", "PTR"): []}, "failed"),
        ({("mx.example.jp", "A"): [OTHER]}, "failed"),
        ({("25.2.0.192.in-addr.arpa", "PTR"): ["old.example.", "mx.example.jp."]}, "ok"),
    ],
)
async def test_ptr_and_forward(bench: Bench, changes: dict[tuple[str, str], list[str]], status: str) -> None:
    bench.dns.records |= changes
    assert (await bench.check("ptr")).status == status


@pytest.mark.parametrize(
    ("check", "domain"),
    [("from_domain", "library.example.jp"), ("return_path_mx", "bounce.library.example.jp")],
)
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "ok"),
        ({"MX": ["10 gone.example."]}, "failed"),
        ({"MX": ["0 ."]}, "failed"),  # the null MX
        ({"MX": []}, "failed"),
        ({"MX": [], "A": [RELAY]}, "ok"),
        ({"MX": [], "AAAA": ["2001:db8::1"]}, "ok"),
    ],
)
async def test_domains_that_take_mail(
    bench: Bench, check: str, domain: str, changes: dict[str, list[str]], status: str
) -> None:
    bench.dns.records |= {(domain, kind): records for kind, records in changes.items()}
    assert (await bench.check(check)).status == status


# DNS that cannot be asked -------------------------------------------------------------------------

DNS_CHECKS = ("spf_return_path", "spf_from", "dkim", "dmarc", "ptr", "from_domain", "return_path_mx")


@pytest.mark.parametrize("check", DNS_CHECKS)
async def test_a_failing_name_server_is_no_verdict(bench: Bench, check: str) -> None:
    bench.dns.failing = {name for name, _ in GOOD} | {"_dmarc.library.example.jp"}
    found = await bench.check(check)
    assert found.status == "not_checked"
    assert "--resolver" in found.todo.en


async def test_a_silent_name_server_holds_nothing_up(bench: Bench) -> None:
    """Many checks, many look-ups each, all unanswered: one patience, not the sum of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        resolver = f"{HOST}:{silent.getsockname()[1]}"
        begun = time.monotonic()
        found = await asyncio.gather(*(bench.check(check, resolver=resolver) for check in DNS_CHECKS))
        # a limit against hanging, not a measure of speed
        assert time.monotonic() - begun < 20
    assert {check.status for check in found} == {"not_checked"}


async def test_no_name_server_at_all(bench: Bench) -> None:
    found = await bench.check("spf_from", resolver=f"{HOST}:{free_port()}")
    assert found.status == "not_checked"


async def test_long_records_come_by_tcp(bench: Bench) -> None:
    filler = " ".join(f"ip4:198.51.100.{n}" for n in range(60))
    bench.dns.records |= {("library.example.jp", "TXT"): [txt(f"v=spf1 {filler} ip4:192.0.2.25 -all")]}
    assert (await bench.check("spf_from")).status == "ok"
    assert ("library.example.jp", "TXT", "tcp") in bench.dns.asked


@pytest.mark.parametrize(
    "text", ["dns.example", "dns.example:53", "192.0.2.1:", "192.0.2.1:0", "::1:x", "1.2.3.4:99999"]
)
def test_resolvers_that_are_none(text: str) -> None:
    with pytest.raises(BadInput):
        Names(text)


@pytest.mark.parametrize("text", ["192.0.2.1", "192.0.2.1:5353", "::1", "[::1]:5353"])
def test_resolvers(text: str) -> None:
    Names(text)
