"""A library that is well, for tests to spoil: its configuration, its DNS, and one check at a time."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from holds_core.config import parse
from holds_core.ledger.session import Ledger
from holds_core.settings.secrets import read_secrets
from mailer.app.doctor import Check, Probe, Site, examine
from mailer.app.doctor.names import Names
from tests.servers.dns import DnsServer, Records, txt
from tests.servers.ports import HOST
from tests.servers.postfix import Relay as PostfixRelay

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
RELAY = "192.0.2.25"
OTHER = "198.51.100.1"

KEY_2048 = "A" * 392  # 294 octets in base 64, as an RSA key of 2048 bits takes
KEY_1024 = "A" * 216

GOOD: Records = {
    ("library.example.jp", "TXT"): [txt("v=spf1 ip4:192.0.2.0/24 -all"), txt("another text")],
    ("library.example.jp", "MX"): ["10 mx.example.jp."],
    ("bounce.library.example.jp", "TXT"): [txt("v=spf1 include:library.example.jp -all")],
    ("bounce.library.example.jp", "MX"): ["20 mx2.example.jp.", "10 mx.example.jp."],
    ("mx.example.jp", "A"): [RELAY],
    ("25.2.0.192.in-addr.arpa", "PTR"): ["mx.example.jp."],
    ("_dmarc.library.example.jp", "TXT"): [txt("v=DMARC1; p=reject; rua=mailto:d@library.example.jp")],
    ("s1._domainkey.library.example.jp", "TXT"): [txt(f"v=DKIM1; k=rsa; p={KEY_2048}")],
}


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer(GOOD).run() as server:
        yield server


class Bench:
    """Makes a site in a folder; sections of `given` are laid over a configuration that is well."""

    def __init__(self, folder: Path, dns: DnsServer) -> None:
        self.folder, self.dns = folder, dns
        self.now = NOW
        self.synchronised: bool | None = None
        keys = folder / "token.keys"
        keys.write_text("k" * 64)
        keys.chmod(0o600)

    def config(self, **given: Mapping[str, Any]) -> str:
        config: dict[str, dict[str, Any]] = {
            "library": {"name": "図書館", "branches": [{"id": "1", "name": "本館"}]},
            "sender": {
                "address": "yoyaku@library.example.jp",
                "return_path_domain": "bounce.library.example.jp",
            },
            "sending": {"mode": "on"},
            "relay": {"host": HOST, "tls": "none", "port": 9},
            "intake": {"lmtp": {"listen": f"{HOST}:9"}},
            "confirm": {"base_url": "https://todoku.example.jp"},
        }
        for name, section in given.items():
            config[name] = config.get(name, {}) | dict(section)
        return yaml.safe_dump(config, allow_unicode=True)

    @property
    def url(self) -> str:
        return f"sqlite+aiosqlite:///{self.folder}/todoku.db"

    async def check(
        self,
        name: str,
        *,
        outgoing: str | None = RELAY,
        selector: str = "s1",
        resolver: str | None = None,
        probe: Probe | None = None,
        **given: Any,
    ) -> Check:
        """The outcome of one check."""
        settings = parse(self.config(**given), base=self.folder, env={})
        file = settings.database.sqlite_file
        there = file is None or Path(file).exists()
        ledger = Ledger.open(settings.database.async_url) if there else None
        site = Site(
            settings=settings,
            secrets=read_secrets(settings, {}),
            faults=(),
            ledger=ledger,
            names=Names(resolver or self.dns.address),
            now=self.now,
            outgoing=(ipaddress.ip_address(outgoing),) if outgoing else (),
            selector=selector,
            probe=probe,
            synchronised=self.synchronised,
        )
        try:
            (found,) = [check async for check in examine(site, [name])]
        finally:
            if ledger is not None:
                await ledger.close()
            await asyncio.sleep(
                0.1
            )  # a TLS session that failed says goodbye; the test's loop must not end first
        assert found.message.ja
        assert found.message.en
        assert bool(found.todo.ja) == bool(found.todo.en)
        if found.status in ("warning", "failed"):
            assert found.todo.ja, "what should one do?"
        return found

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = Ledger.open(self.url)
        await ledger.upgrade()
        try:
            yield ledger
        finally:
            await ledger.close()


@pytest.fixture
def bench(tmp_path: Path, dns: DnsServer) -> Bench:
    return Bench(tmp_path, dns)


def submission(relay: PostfixRelay, folder: Path, **changes: Any) -> dict[str, Any]:
    password = folder / "password"
    password.write_text(changes.pop("password", "mailerpw"))
    password.chmod(0o600)
    found = {"tls": "starttls", "port": relay.submission_port, "ca_file": str(relay.cert)}
    return found | {"username": "mailer", "password_file": str(password)} | changes
