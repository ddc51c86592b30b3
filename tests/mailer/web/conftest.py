"""Real services on SQLite, and both web applications on real sockets."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from holds_core.config import parse
from holds_core.feeds import wire
from holds_core.feeds.intake import Parsed
from holds_core.ledger.session import Ledger
from holds_core.settings.secrets import read_secrets
from mailer.app.services import Services
from mailer.app.web.app import patron_app, staff_app
from mailer.app.web.serve import WebServer

NOON = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)  # 12:00 in Tokyo, a Tuesday
TOKEN = "a-token-for-the-library-system-0123456789"

CONFIG = """
library:
  name: みなみ市立図書館
  name_en: Minami City Library
  phone: 0993-00-0000
  url: https://library.example.jp/
  branches: [{id: main, name: 本館}]
sender:
  address: yoyaku@library.example.jp
  return_path_domain: bounce.library.example.jp
  token_keys_file: token-keys
relay: {host: 127.0.0.1, tls: none}
sending: {mode: "on"}
database: {url: "sqlite:///todoku.db"}
confirm: {base_url: "https://todoku.library.example.jp"}
"""


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


MakeServices = Callable[..., Services]


@pytest.fixture
async def make_services(tmp_path: Path, clock: HandClock) -> AsyncIterator[MakeServices]:
    """`make_services(old="", new="", tokens=TOKEN)`: parts wired from CONFIG with `old` replaced by `new`,
    closed with the test."""
    (tmp_path / "token-keys").write_text("k" * 64 + "\n")
    (tmp_path / "token-keys").chmod(0o600)
    made: list[Services] = []

    def make(old: str = "", new: str = "", tokens: str = TOKEN) -> Services:
        assert old in CONFIG
        env = {"TODOKU_API_TOKENS": tokens} if tokens else {}
        settings = parse(CONFIG.replace(old, new) if old else CONFIG, base=tmp_path, env=env)
        services = Services.build(
            settings, read_secrets(settings, env), clock=clock, jitter=lambda: 0.5, owner="test"
        )
        made.append(services)
        return services

    yield make
    for services in made:
        await services.close()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("ledger") / "todoku.db"

    async def make() -> None:
        ledger = Ledger.open(f"sqlite+aiosqlite:///{path}")
        await ledger.upgrade()
        await ledger.close()

    asyncio.run(make())
    return path


@pytest.fixture
def services(make_services: MakeServices, empty_ledger: Path, tmp_path: Path) -> Services:
    shutil.copy(empty_ledger, tmp_path / "todoku.db")
    return make_services()


@contextlib.asynccontextmanager
async def serving(server: WebServer) -> AsyncIterator[str]:
    """The server's address while it runs; it must end by itself when told."""
    server.bind()
    stop = asyncio.Event()
    task = asyncio.create_task(server.run(stop))
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        stop.set()
        await task


@pytest.fixture
async def staff(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the staff side with a good token."""
    async with (
        serving(WebServer(staff_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
    ):
        yield client


@pytest.fixture
async def patron(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the patrons' side."""
    async with (
        serving(WebServer(patron_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield client


_serial = iter(range(10**9))


def event(type_: str, **fields: object) -> dict[str, object]:
    """An event as the contract writes it, with an id of its own, at NOON."""
    return {"id": f"e{next(_serial)}", "at": NOON.isoformat(), "type": type_} | fields


async def take_in(services: Services, *items: dict[str, object]) -> None:
    """Hands events in past the web side."""
    parsed = [Parsed(number, wire.parse(item)) for number, item in enumerate(items, start=1)]
    report = await services.intake().run(parsed, "test")
    assert not report.failed, report.failed
    assert not report.conflicts, report.conflicts


SECRETS = ("佐藤", "花子", "hanako", "p-1", "h-1", "坊っちゃん", "example.ne.jp")
"""Words that must show on no page for patrons and in no metric."""


async def notify(services: Services) -> tuple[int, int]:
    """A patron who changed their address and has a hold ready: (registration's delivery, hold's)."""
    await take_in(
        services,
        event("patron", patron_id="p-1", name="佐藤 花子", email="hanako.old@example.ne.jp"),
        event("patron.email_changed", patron_id="p-1", email="hanako@example.ne.jp"),
        event("hold.shelved", hold_id="h-1", patron_id="p-1", title="坊っちゃん", branch="main"),
    )
    found = {kind: number for number, kind in await deliveries_of(services)}
    return found["registration_changed"], found["hold_ready"]


async def deliveries_of(services: Services) -> list[tuple[int, str]]:
    import sqlalchemy as sa

    from holds_core.ledger.models import deliveries

    async with services.ledger.read() as connection:
        rows = await connection.execute(sa.select(deliveries.c.delivery_id, deliveries.c.kind))
        return [(row.delivery_id, row.kind) for row in rows]
