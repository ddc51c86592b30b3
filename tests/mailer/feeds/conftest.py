"""A library with a live feed: its services on SQLite, a Koha or FOLIO on loopback, a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.config import parse
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.ledger import polls
from holds_core.ledger.models import deliveries, holds, patron_addresses, patrons
from holds_core.settings.secrets import read_secrets
from mailer.app.feeds.live import pollers
from mailer.app.feeds.poller import Poller
from mailer.app.services import Services
from mailer.app.web.serve import WebServer
from tests.clock import HandClock
from tests.mailer.web.conftest import serving
from tests.servers.folio import FakeFolio
from tests.servers.koha import FakeKoha

CONFIG = """
library: {name: 市立図書館, branches: [{id: main, name: 本館}]}
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.library.example.jp}
relay: {host: 127.0.0.1, tls: none}
"""
THEN = datetime(2020, 4, 1, tzinfo=UTC)
"""When records were changed: long before now, which is what the servers' own Date says."""
ENV = {"TODOKU_KOHA_SECRET": "s3cret", "TODOKU_FOLIO_PASSWORD": "s3cret"}


def at(minutes: float) -> datetime:
    return THEN + timedelta(minutes=minutes)


def services_of(base: Path, feeds: str) -> Services:
    keys = base / "token.keys"
    keys.write_text("k" * 64, "ascii")
    keys.chmod(0o600)
    settings = parse(CONFIG + feeds, base=base, env=ENV)
    return Services.build(
        settings, read_secrets(settings, ENV), clock=HandClock(), jitter=lambda: 0.5, owner="test"
    )


@dataclass
class Library:
    """One live feed, asked by hand."""

    services: Services
    poller: Poller
    told: list[SnapshotReport]

    @property
    def clock(self) -> HandClock:
        assert isinstance(self.services.clock, HandClock)
        return self.services.clock

    async def poll(self, **options: Any) -> list[SnapshotReport]:
        """Asks, then five minutes pass."""
        reports = await self.poller.poll(**options)
        self.clock.advance(timedelta(minutes=5))
        return reports

    async def full(self) -> list[SnapshotReport]:
        """Asks for all that is open, as it happens every hour."""
        self.clock.advance(timedelta(hours=1))
        return await self.poll()

    async def states(self) -> dict[str, str]:
        return {row.hold_id: row.state for row in await self.rows(holds)}

    async def rows(self, table: sa.Table) -> list[Any]:
        async with self.services.ledger.read() as connection:
            return list(await connection.execute(sa.select(table)))

    async def mail(self) -> list[tuple[str, str]]:
        return [(row.kind, row.address) for row in await self.rows(deliveries)]

    async def addresses(self) -> list[str]:
        return [row.address for row in await self.rows(patron_addresses) if row.until is None]

    async def patrons(self) -> list[Any]:
        return await self.rows(patrons)

    async def stands(self) -> polls.Poll:
        async with self.services.ledger.read() as connection:
            return await polls.poll_of(connection, self.poller.name)


@pytest.fixture
async def koha() -> FakeKoha:
    return FakeKoha()


@pytest.fixture
async def folio() -> FakeFolio:
    return FakeFolio()


async def library_at(base: Path, feeds: str) -> AsyncIterator[Library]:
    services = services_of(base, feeds)
    await services.ledger.upgrade()
    told: list[SnapshotReport] = []
    (poller,) = pollers(services)
    try:
        yield Library(services, poller, told)
    finally:
        await services.close()


@pytest.fixture
async def koha_options() -> str:
    """More settings of the feed; a test's own fixture of this name wins."""
    return ""


@pytest.fixture
async def with_koha(tmp_path: Path, koha: FakeKoha, koha_options: str) -> AsyncIterator[Library]:
    async with serving(WebServer(koha.app(), "127.0.0.1", 0)) as url:
        feeds = f"feeds: {{koha: {{url: '{url}', client_id: todoku, page_size: 3{koha_options}}}}}\n"
        async for library in library_at(tmp_path, feeds):
            yield library


@pytest.fixture
async def with_folio(tmp_path: Path, folio: FakeFolio) -> AsyncIterator[Library]:
    async with serving(WebServer(folio.app(), "127.0.0.1", 0)) as url:
        feeds = f"feeds: {{folio: {{url: '{url}', tenant: diku, username: todoku, page_size: 2}}}}\n"
        async for library in library_at(tmp_path, feeds):
            yield library
