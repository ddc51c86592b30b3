"""`todoku doctor --probe`: the return path tried with real servers, and what the arrived mail shows of DKIM."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bounces.ingest import Ingest
from bounces.lmtp import LmtpListener
from holds_core.ledger.models import inbound
from holds_core.tokens import TokenKeys
from mailer import maillog
from mailer.app.doctor import Probe
from mailer.dkim import Signer, load
from tests.mailer.doctor.conftest import Bench
from tests.mailer.test_dkim import pem
from tests.servers.dns import txt
from tests.servers.dovecot import Dovecot
from tests.servers.ports import HOST, free_port
from tests.servers.postfix import Relay as PostfixRelay
from tests.servers.sink import Sink

LIBRARY = {"address": "yoyaku@library.example.jp", "return_path_domain": "lmtp.library.example"}


def by_lmtp(relay: PostfixRelay) -> dict[str, Any]:
    return {
        "relay": {"port": relay.port, "tls": "none", "host": HOST},
        "sender": LIBRARY,
        "intake": {"lmtp": {"listen": f"{HOST}:{relay.our_lmtp_port}"}},
    }


async def test_by_lmtp_before_the_daemon_runs(bench: Bench, relay: PostfixRelay) -> None:
    found = await bench.check("return_path_probe", probe=Probe(30), **by_lmtp(relay))
    assert found.status == "ok", found
    assert "LMTP" in found.message.en


@contextlib.asynccontextmanager
async def daemon(bench: Bench, port: int) -> AsyncIterator[Ingest]:
    """The part of a running daemon that mail comes in by."""
    async with bench.ledger() as ledger:
        ingest = Ingest(ledger, TokenKeys([b"k" * 64]), maillog)
        listener = LmtpListener(HOST, port, ingest.store, lambda: datetime.now(UTC))
        await listener.start()
        reading = asyncio.create_task(ingest.run())
        try:
            yield ingest
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await listener.stop()


async def test_by_a_running_daemon_and_it_is_nobodys_work(bench: Bench, relay: PostfixRelay) -> None:
    async with daemon(bench, relay.our_lmtp_port), bench.ledger() as ledger:
        found = await bench.check("return_path_probe", probe=Probe(30), **by_lmtp(relay))
        assert found.status == "ok", found
        assert "daemon" in found.message.en
        async with ledger.read() as connection:
            rows = (await connection.execute(sa.select(inbound.c.state))).scalars().all()
    assert rows == ["dismissed"], "not in quarantine"


async def test_by_imap(bench: Bench, relay: PostfixRelay, dovecot: Dovecot) -> None:
    (bench.folder / "imap.password").write_text("bouncepw")
    imap = {
        "host": "localhost",
        "port": dovecot.imaps_port,
        "ca_file": str(dovecot.cert),
        "username": "bounces",
        "password_file": "imap.password",
    }
    sender = {
        "address": "yoyaku@library.example.jp",
        "return_path": "plus",
        "return_path_domain": "library.example",
        "return_path_mailbox": "bounces",
    }
    found = await bench.check(
        "return_path_probe",
        probe=Probe(30),
        relay={"port": relay.port, "tls": "none", "host": HOST},
        sender=sender,
        intake={"lmtp": None, "imap": imap},
    )
    assert found.status == "ok", found
    assert "IMAP" in found.message.en
    assert dovecot.mailbox("bounces") == [], "moved to where read mail goes"


async def test_a_relay_that_does_not_know_where_it_goes(bench: Bench, relay: PostfixRelay) -> None:
    given = by_lmtp(relay) | {"sender": LIBRARY | {"return_path_domain": "nosuch.example"}}
    found = await bench.check("return_path_probe", probe=Probe(30), **given)
    assert found.status == "failed"
    assert "550" in found.message.en


async def test_it_never_comes(bench: Bench, smtp_sink: type[Sink]) -> None:
    sink = smtp_sink()
    found = await bench.check(
        "return_path_probe",
        probe=Probe(2),
        relay={"port": sink.port, "tls": "none", "host": HOST},
        intake={"lmtp": {"listen": f"{HOST}:{free_port()}"}},
    )
    assert found.status == "failed"
    assert "--probe-wait" in found.todo.en
    assert sink.count() == 1


async def test_not_tried_unless_asked(bench: Bench) -> None:
    found = await bench.check("return_path_probe")
    assert found.status == "not_checked"
    assert "--probe" in found.todo.ja


# DKIM ---------------------------------------------------------------------------------------------


def own_keys(bench: Bench, **keys: Any) -> dict[str, Any]:
    """Our keys in files, and their public halves in DNS."""
    for selector, key in keys.items():
        file = bench.folder / f"{selector}.pem"
        file.touch(0o600)
        file.write_bytes(pem(key))
        name = f"{selector}._domainkey.library.example.jp"
        bench.dns.records |= {(name, "TXT"): [txt(load(selector, pem(key)).record)]}
    listed = [{"selector": selector, "key_file": f"{selector}.pem"} for selector in keys]
    return {
        "sender": {
            "address": "yoyaku@library.example.jp",
            "return_path_domain": "bounce.library.example.jp",
            "dkim": {"keys": listed},
        }
    }


async def test_our_own_signature_holds_by_the_keys_in_dns(bench: Bench) -> None:
    rsa_key, ed_key = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    found = await bench.check("dkim", **own_keys(bench, r1=rsa_key, e1=ed_key))
    assert found.status == "ok", found
    assert "r1._domainkey.library.example.jp, e1._domainkey.library.example.jp" in found.message.en


async def test_a_short_key_of_our_own(bench: Bench) -> None:
    found = await bench.check("dkim", **own_keys(bench, r1=rsa.generate_private_key(65537, 1024)))
    assert found.status == "warning"


async def test_another_key_in_dns_than_ours(bench: Bench) -> None:
    given = own_keys(bench, e1=ed25519.Ed25519PrivateKey.generate())
    other = load("e1", pem(ed25519.Ed25519PrivateKey.generate()))
    bench.dns.records |= {("e1._domainkey.library.example.jp", "TXT"): [txt(other.record)]}
    found = await bench.check("dkim", **given)
    assert found.status == "failed"
    assert "does not belong" in found.message.en


async def test_a_key_that_is_not_published(bench: Bench) -> None:
    given = own_keys(bench, e1=ed25519.Ed25519PrivateKey.generate())
    bench.dns.records |= {("e1._domainkey.library.example.jp", "TXT"): []}
    assert (await bench.check("dkim", **given)).status == "failed"


async def test_a_domain_that_is_not_froms(bench: Bench) -> None:
    given = own_keys(bench, e1=ed25519.Ed25519PrivateKey.generate())
    given["sender"]["dkim"]["domain"] = "example.org"
    records = bench.dns.records
    records["e1._domainkey.example.org", "TXT"] = records["e1._domainkey.library.example.jp", "TXT"]
    found = await bench.check("dkim", **given)
    assert found.status == "warning"
    assert "aligned" in found.message.en


async def test_a_key_file_that_is_no_key(bench: Bench) -> None:
    given = own_keys(bench, e1=ed25519.Ed25519PrivateKey.generate())
    (bench.folder / "e1.pem").write_text("not a key")
    assert (await bench.check("dkim", **given)).status == "failed"


@contextlib.asynccontextmanager
async def signing_relay(
    lmtp_port: int, signer: Signer | None = None, received: bytes = b""
) -> AsyncIterator[int]:
    """A relay that signs what it is given, if it can, and hands it to our LMTP port.

    `received` stands for the lines that servers on the way put on top.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay ESMTP\r\n")
        recipient = b""
        while line := await reader.readline():
            if line[:4] == b"RCPT":
                recipient = line
            if line[:4] == b"DATA":
                writer.write(b"354 go on\r\n")
                data = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
                if signer is not None:
                    data = signer.sign(data, datetime.now(UTC))
                await deliver(lmtp_port, recipient, received + data)
            writer.write(b"250 ok\r\n")
            if line[:4] == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def deliver(port: int, recipient: bytes, data: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    await reader.readline()
    for command in (b"LHLO relay\r\n", b"MAIL FROM:<>\r\n", recipient, b"DATA\r\n", data + b".\r\n"):
        writer.write(command)
        while (await reader.readline())[3:4] == b"-":
            pass
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("signer", "published", "status"),
    [("right", True, "ok"), ("right", False, "failed"), ("wrong", True, "failed"), ("", True, "warning")],
)
async def test_what_the_relay_signs_is_seen_in_the_probes_mail(
    bench: Bench, signer: str, published: bool, status: str
) -> None:
    keys = {name: load("e1", pem(ed25519.Ed25519PrivateKey.generate())) for name in ("right", "wrong")}
    if published:
        name = "e1._domainkey.library.example.jp"
        bench.dns.records |= {(name, "TXT"): [txt(keys["right"].record)]}
    port = free_port()
    async with signing_relay(port, Signer([keys[signer]]) if signer else None) as relay_port:
        found = await bench.check(
            "dkim",
            probe=Probe(20),
            selector="",
            relay={"host": HOST, "port": relay_port, "tls": "none"},
            intake={"lmtp": {"listen": f"{HOST}:{port}"}},
        )
    assert found.status == status, found


HOPS = (
    b"Received: from localhost (localhost [127.0.0.1]) by mx2.example.jp; Tue, 24 Nov 2026 12:00:03 +0900\r\n"
    b"Received: from gw.example.jp (gw.example.jp [IPv6:2400:4000::25])\r\n\tby mx.example.jp [9.9.9.9];\r\n"
    b"\tTue, 24 Nov 2026 12:00:02 +0900\r\n"
    b"Received: from relay (relay [8.8.8.8]) by gw.example.jp; Tue, 24 Nov 2026 12:00:01 +0900\r\n"
)


@pytest.mark.parametrize(
    ("allowed", "status"), [("ip6:2400:4000::/32", "ok"), ("ip4:8.8.8.8 ip4:9.9.9.9", "failed")]
)
async def test_spf_is_judged_by_the_address_that_the_probe_came_from(
    bench: Bench, allowed: str, status: str
) -> None:
    bench.dns.records |= {("library.example.jp", "TXT"): [txt(f"v=spf1 {allowed} -all")]}
    port = free_port()
    async with signing_relay(port, received=HOPS) as relay_port:
        found = await bench.check(
            "spf_from",
            probe=Probe(20),
            outgoing=None,
            relay={"host": HOST, "port": relay_port, "tls": "none"},
            intake={"lmtp": {"listen": f"{HOST}:{port}"}},
        )
    assert found.status == status, found
    assert "2400:4000::25" in found.message.en


async def test_a_probe_that_is_lost_tells_nothing_of_signatures(bench: Bench, smtp_sink: type[Sink]) -> None:
    found = await bench.check(
        "dkim",
        probe=Probe(1),
        selector="",
        relay={"host": HOST, "port": smtp_sink().port, "tls": "none"},
        intake={"lmtp": {"listen": f"{HOST}:{free_port()}"}},
    )
    assert found.status == "not_checked"


# Alerts -------------------------------------------------------------------------------------------


async def test_nobody_is_told(bench: Bench) -> None:
    assert (await bench.check("alerts")).status == "warning"


@pytest.mark.parametrize(
    ("main", "second", "status"),
    [(True, True, "ok"), (False, True, "ok"), (True, False, "warning"), (False, False, "failed")],
)
async def test_ways_to_tell(
    bench: Bench, smtp_sink: type[Sink], main: bool, second: bool, status: str
) -> None:
    ports = [smtp_sink().port if there else free_port() for there in (main, second)]
    found = await bench.check(
        "alerts",
        relay={"host": HOST, "port": ports[0], "tls": "none"},
        alerts={"to": ["it@city.example"], "relay": {"host": HOST, "port": ports[1], "tls": "none"}},
    )
    assert found.status == status, found
