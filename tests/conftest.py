"""Fixtures: the real servers of `tests/servers`, one set per run, started when a test first asks.

A server that cannot start fails the test with the reason; none is skipped. After each test that used the
mail servers, mailboxes and queues are empty and what it stopped runs again.
"""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import structlog
from structlog._config import BoundLoggerLazyProxy

from holds_core.ledger.session import Ledger
from tests.servers.dovecot import Dovecot
from tests.servers.greylist import Greylist
from tests.servers.postfix import Far, PostfixPair, Relay
from tests.servers.postgres import Postgres
from tests.servers.sink import Sink
from tests.servers.tls import Certificate


def pytest_configure() -> None:
    """Ends a terminated run as Ctrl-C does, so that fixtures are torn down."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@pytest.fixture(scope="session")
def certificate() -> Iterator[Certificate]:
    """The servers' TLS certificate."""
    certificate = Certificate()
    yield certificate
    certificate.close()


@pytest.fixture(scope="session")
def dovecot(certificate: Certificate) -> Iterator[Dovecot]:
    """Mailboxes: IMAP, IMAPS, LMTP."""
    dovecot = Dovecot(certificate)
    try:
        dovecot.start()
        yield dovecot
    finally:
        dovecot.close()


@pytest.fixture(scope="session")
def postfix_pair(dovecot: Dovecot, certificate: Certificate) -> Iterator[PostfixPair]:
    """The library's relay and the far side."""
    pair = PostfixPair(dovecot, certificate)
    try:
        pair.start()
        yield pair
    finally:
        pair.close()


@pytest.fixture(scope="session")
def relay(postfix_pair: PostfixPair) -> Relay:
    """The library's relay."""
    return postfix_pair.relay


@pytest.fixture(scope="session")
def far(postfix_pair: PostfixPair) -> Far:
    """Every provider."""
    return postfix_pair.far


@pytest.fixture(scope="session")
def greylist(postfix_pair: PostfixPair) -> Greylist:
    """The far side's greylist."""
    return postfix_pair.greylist


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    """A command that a test runs in this process sets the log up for good: undone for the next test."""
    yield
    if not structlog.is_configured():
        return
    structlog.reset_defaults()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("mailer", "bounces"):
            for value in vars(module).values():
                if isinstance(value, BoundLoggerLazyProxy):
                    vars(value).pop("bind", None)  # what cache_logger_on_first_use keeps


@pytest.fixture(autouse=True)
def _fresh_mail(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "postfix_pair" in request.fixturenames:
        request.getfixturevalue("postfix_pair").clear()
    if "dovecot" in request.fixturenames:
        dovecot: Dovecot = request.getfixturevalue("dovecot")
        dovecot.start()
        dovecot.empty()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.close()


@pytest.fixture
async def postgres_url(postgres: Postgres) -> AsyncIterator[str]:
    """An empty database of this test's own."""
    url = await postgres.new_database()
    yield url
    await postgres.drop_database(url)


@pytest.fixture
def smtp_sink() -> Iterator[Callable[..., Sink]]:
    """Makes smtp-sinks: `smtp_sink(*options, port=None)`; they end with the test."""
    sinks: list[Sink] = []

    def make(*options: str, port: int | None = None) -> Sink:
        sinks.append(Sink(*options, port=port))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/todoku.db"
    return str(request.getfixturevalue("postgres_url"))


async def _migrate(url: str) -> None:
    ledger = Ledger.open(url)
    await ledger.upgrade()
    await ledger.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger with the schema, to be copied: migrating for each test would cost more than the test."""
    file = tmp_path_factory.mktemp("migrated") / "todoku.db"
    asyncio.run(_migrate(f"sqlite+aiosqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The same on PostgreSQL."""
    url = asyncio.run(postgres.new_database())
    asyncio.run(_migrate(url))
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, with the schema."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "todoku.db")
        yield f"sqlite+aiosqlite:///{tmp_path}/todoku.db"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = asyncio.run(postgres.new_database(request.getfixturevalue("migrated_postgres")))
    yield url
    asyncio.run(postgres.drop_database(url))


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.open(ledger_url)
    yield ledger
    await ledger.close()
