"""SPF as receivers read it, and what the doctor makes of it."""

from __future__ import annotations

import ipaddress

import pytest

from mailer.app.doctor.names import Names
from mailer.app.doctor.spf import Report, Spf, evaluate
from tests.mailer.doctor.conftest import RELAY, Bench
from tests.servers.dns import DnsServer, Records, txt

A_LONG_WAY: Records = {
    ("d.example", "TXT"): [txt("v=spf1 " + " ".join(f"include:i{n}.example" for n in range(11)) + " -all")],
    **{(f"i{n}.example", "TXT"): [txt("v=spf1 ip4:198.51.100.7 -all")] for n in range(11)},
}


@pytest.mark.parametrize(
    ("record", "result", "lookups"),
    [
        ("v=spf1 ip4:192.0.2.25 -all", Spf.PASS, 0),
        ("V=SPF1 IP4:192.0.2.0/24 -ALL", Spf.PASS, 0),
        ("v=spf1 ip4:192.0.2.0/28 -all", Spf.FAIL, 0),
        ("v=spf1 ip4:192.0.2.0/28 ~all", Spf.SOFTFAIL, 0),
        ("v=spf1 ip4:192.0.2.0/28", Spf.NEUTRAL, 0),
        ("v=spf1 ?all", Spf.NEUTRAL, 0),
        ("v=spf1 -ip4:192.0.2.25 +all", Spf.FAIL, 0),
        ("v=spf1 ip6:2001:db8::/32 all", Spf.PASS, 0),
        ("v=spf1 a:mx.example.jp -all", Spf.PASS, 1),
        ("v=spf1 a:mx.example.jp/24 mx:library.example.jp -all", Spf.PASS, 1),
        ("v=spf1 mx:bounce.library.example.jp -all", Spf.PASS, 1),
        ("v=spf1 include:library.example.jp -all", Spf.PASS, 1),
        ("v=spf1 include:deny.example a:mx.example.jp -all", Spf.PASS, 2),
        ("v=spf1 redirect=library.example.jp", Spf.PASS, 1),
        ("v=spf1 redirect=library.example.jp ~all", Spf.SOFTFAIL, 0),
        ("v=spf1 exists:mx.example.jp -all", Spf.PASS, 1),
        ("v=spf1 ptr exp=why.example -all", Spf.FAIL, 1),
        ("v=spf1 unknown=modifier ip4:192.0.2.25 -all", Spf.PASS, 0),
        # broken (RFC 7208 sections 4.6 and 5)
        ("v=spf1 ipv4:192.0.2.25 -all", Spf.PERMERROR, 0),
        ("v=spf1 ip4:192.0.2.25 nonsense", Spf.PERMERROR, 0),
        ("v=spf1 ip4:mx.example.jp -all", Spf.PERMERROR, 0),
        ("v=spf1 include: -all", Spf.PERMERROR, 0),
        ("v=spf1 include:nospf.example -all", Spf.PERMERROR, 1),
        ("v=spf1 redirect=nospf.example", Spf.PERMERROR, 1),
        ("v=spf1 include:d.example -all", Spf.PERMERROR, 11),
        ("v=spf1 include:loop.example -all", Spf.PERMERROR, 11),
        ("v=spf1 a:v1.example a:v2.example a:v3.example -all", Spf.PERMERROR, 3),
        ("v=spf2.0/pra ip4:192.0.2.25", Spf.NONE, 0),
        ("v=spf10 ip4:192.0.2.25", Spf.NONE, 0),
    ],
)
async def test_spf_as_receivers_read_it(dns: DnsServer, record: str, result: Spf, lookups: int) -> None:
    dns.records |= A_LONG_WAY | {
        ("t.example", "TXT"): [txt(record)],
        ("deny.example", "TXT"): [txt("v=spf1 -all")],
        ("loop.example", "TXT"): [txt("v=spf1 include:loop.example -all")],
    }
    found = await evaluate(Names(dns.address), "t.example", ipaddress.ip_address(RELAY))
    assert (found.result, found.lookups) == (result, lookups)
    assert bool(found.why) == (result is Spf.PERMERROR)


async def test_spf_of_ipv6_senders(dns: DnsServer) -> None:
    dns.records |= {
        ("t.example", "TXT"): [txt("v=spf1 ip4:192.0.2.25 a:six.example//64 -all")],
        ("six.example", "AAAA"): ["2001:db8::1"],
    }
    sender = ipaddress.ip_address("2001:db8::99")
    assert await evaluate(Names(dns.address), "t.example", sender) == Report(Spf.PASS, "", 1, False)


async def test_all_look_ups_of_a_record_are_counted_without_a_sender(dns: DnsServer) -> None:
    dns.records |= {
        ("t.example", "TXT"): [txt("v=spf1 a:mx.example.jp include:library.example.jp ip4:192.0.2.25 mx")]
    }
    found = await evaluate(Names(dns.address), "t.example", None)
    assert (found.result, found.lookups) == (Spf.NEUTRAL, 3)


@pytest.mark.parametrize("check", ["spf_return_path", "spf_from"])
@pytest.mark.parametrize(
    ("records", "status", "words"),
    [
        (["v=spf1 ip4:192.0.2.25 -all"], "ok", "allows 192.0.2.25"),
        (["v=spf1 ip4:198.51.100.1 -all"], "failed", "does not allow"),
        (["v=spf1 ip4:198.51.100.1 ~all"], "failed", "softfail"),
        (["google-site-verification=x"], "failed", "no SPF record"),
        (["v=spf1 -all", "v=spf1 ip4:192.0.2.25 -all"], "failed", "2 SPF records"),
        (["v=spf1 include:d.example -all"], "failed", "more than 10"),
        (["v=spf1 ip4:192.0.2.25 include:d.example -all"], "warning", "more than 10"),
        (["v=spf1 exists:%{i}.example -all"], "not_checked", "macros"),
    ],
)
async def test_spf_of_both_domains(
    bench: Bench, check: str, records: list[str], status: str, words: str
) -> None:
    domain = "bounce.library.example.jp" if check == "spf_return_path" else "library.example.jp"
    bench.dns.records |= A_LONG_WAY | {(domain, "TXT"): [txt(record) for record in records]}
    found = await bench.check(check)
    assert found.status == status
    assert words in found.message.en
    assert domain in found.message.ja


async def test_a_guessed_sender_that_spf_does_not_allow_is_a_warning(bench: Bench) -> None:
    """Without --outgoing the relay's own address is taken for the one that it sends from."""
    bench.dns.records |= {("smtp.provider.example", "A"): ["8.8.8.8"]}
    found = await bench.check("spf_from", outgoing=None, relay={"host": "smtp.provider.example"})
    assert found.status == "warning"
    assert "8.8.8.8" in found.message.en
    assert "--outgoing" in found.todo.en


async def test_a_relay_with_a_private_address_needs_outgoing(bench: Bench) -> None:
    found = await bench.check("ptr", outgoing=None, relay={"host": "10.1.2.3"})
    assert found.status == "not_checked"
    assert "--outgoing" in found.todo.ja
    assert (await bench.check("spf_from", outgoing=None, relay={"host": "10.1.2.3"})).status == "not_checked"
    bench.dns.records |= {("library.example.jp", "TXT"): [txt("v=spf1 nonsense")]}
    assert (await bench.check("spf_from", outgoing=None, relay={"host": "10.1.2.3"})).status == "failed"
