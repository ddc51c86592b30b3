"""Opens the ledger: engines, transactions, migrations. What enters is a database URL.

Writers begin immediate on SQLite: with deferred transactions, two writers that read before they write
silently lose updates or fail when they upgrade their lock. Readers have their own engine and cannot write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from holds_core.errors import TodokuError
from holds_core.ledger import direct
from holds_core.ledger.direct import Work
from holds_core.ledger.models import metadata

T = TypeVar("T")

Transaction: TypeAlias = AsyncConnection
"""What `Ledger.read` and `Ledger.write` hand out; other packages name it by this name only."""

UNAVAILABLE = (SQLAlchemyError, OSError, TimeoutError)
"""What a transaction raises when the database cannot be used just now: locked, full, restarted."""

REFUSED = (DataError, IntegrityError)
"""What a transaction raises for a value that the database will not take."""

BUSY_TIMEOUT_MS = 15_000
_READERS = 4
CACHE_KB = 8192
"""Of pages for each connection: SQLite's own 2 MB are fewer than a batch's indexes have."""


class SchemaMismatch(TodokuError):  # noqa: N818
    """The database was made by another version of the program."""


class Ledger:
    """The ledger's engines. Make one with `Ledger.open`, close it with `close`.

    `write` gives a transaction that commits when the block ends and rolls back when it raises; in one
    process writers on SQLite take turns. `read` gives a consistent view and refuses to write.
    """

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer = writer
        self._reader = reader
        self._turn: asyncio.Lock | None = asyncio.Lock() if writer.dialect.name == "sqlite" else None
        self._plain: sa.Engine | None = None

    @classmethod
    def open(cls, url: str) -> Ledger:
        """`url` as SQLAlchemy writes it: `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`."""
        if make_url(url).get_backend_name() == "sqlite":
            return cls(_sqlite(url, readonly=False), _sqlite(url, readonly=True))
        engine = create_async_engine(
            url, pool_size=8, max_overflow=4, pool_pre_ping=True, hide_parameters=True
        )
        reader = engine.execution_options(postgresql_readonly=True)
        return cls(engine, reader)

    @property
    def dialect(self) -> str:
        return self._writer.dialect.name

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with self._turn or contextlib.nullcontext(), self._writer.begin() as connection:
            yield connection

    async def write_many(self, work: Work[T]) -> T:
        """A transaction like that of `write` around `work`, for hundreds of statements at a time.

        On SQLite it runs in a thread, see `holds_core.ledger.direct`; the work awaits nothing but the
        connection.
        """
        if self._turn is None:
            async with self.write() as connection:
                return await work(connection)
        async with self._turn:
            if self._plain is None:
                self._plain = _plain_sqlite(self._writer.url)
            thread = asyncio.ensure_future(asyncio.to_thread(direct.run, self._plain, work))
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                # the next writer must not begin before this one has ended
                await asyncio.wait([thread])
                raise

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self._reader.begin() as connection:
            yield connection

    async def close(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()
        if self._plain is not None:
            self._plain.dispose()

    async def upgrade(self) -> None:
        """Brings the schema to this program's version.

        Raises SchemaMismatch if the database is newer than the program.
        """
        if self._turn is None:
            async with self.write() as connection:
                await connection.run_sync(_upgrade)
            return
        # SQLite alters a table by making it anew; where references are enforced, dropping the old one would
        # delete all that refers to it (sqlite.org/lang_altertable.html, section 7)
        engine = _sqlite(str(self._writer.url), readonly=False, references=False)
        try:
            async with self._turn, engine.begin() as connection:
                await connection.run_sync(_upgrade)
                await connection.run_sync(_check_references)
        finally:
            await engine.dispose()

    async def schema(self) -> tuple[str | None, str]:
        """(version of the database or None if it is empty, version this program wants)."""
        async with self.read() as connection:
            return await connection.run_sync(_versions)

    async def check_schema(self) -> None:
        """Raises SchemaMismatch unless the database has exactly this program's schema."""
        found, wanted = await self.schema()
        if found != wanted:
            raise SchemaMismatch(
                f"the database has schema {found or 'none'}, this program needs {wanted}: run `todoku db upgrade`"
            )


def _sqlite(url: str, *, readonly: bool, references: bool = True) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=_READERS if readonly else 1,
        max_overflow=0,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "isolation_level": None},
        hide_parameters=True,  # an error's text goes into the log; values are patrons' data
    )
    _prepare(engine.sync_engine, readonly=readonly, references=references)
    return engine


def _plain_sqlite(url: sa.URL) -> sa.Engine:
    """A writer that is used from one thread at a time, whichever it is."""
    engine = sa.create_engine(
        url.set(drivername="sqlite"),
        poolclass=sa.StaticPool,
        connect_args={
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "isolation_level": None,
            "check_same_thread": False,
        },
        hide_parameters=True,
    )
    _prepare(engine, readonly=False)
    return engine


def _prepare(engine: sa.Engine, *, readonly: bool, references: bool = True) -> None:
    @sa.event.listens_for(engine, "do_connect")
    def private(_dialect: object, _record: object, arguments: list[Any], _options: object) -> None:
        # names, addresses and what people borrow: for its owner only; SQLite's -wal and -shm follow it.
        # What cannot be made here, SQLite explains better.
        if arguments[0] == ":memory:":
            return
        with contextlib.suppress(OSError):
            os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    @sa.event.listens_for(engine, "connect")
    def pragmas(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on disk before we dial; NORMAL could forget it after a power cut
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if references else 'OFF'}")
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        if readonly:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @sa.event.listens_for(engine, "invalidate")
    def let_go(connection: Any, _record: object, _error: object) -> None:
        # The pool closes what a cancelled task left. SQLite keeps a closed connection, its transaction and its
        # lock until the last of its statements is collected (sqlite.org/c3ref/close.html): end it first.
        with contextlib.suppress(Exception):
            connection.rollback()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def _versions(connection: Connection) -> tuple[str | None, str]:
    return MigrationContext.configure(connection).get_current_revision(), _newest(
        str(_config().get_main_option("script_location"))
    )


@lru_cache(maxsize=1)
def _newest(migrations: str) -> str:
    """The version that a folder of migrations leads to; to find it, every one of them is read."""
    head = ScriptDirectory(migrations).get_current_head()
    assert head is not None
    return head


def check_known(found: str | None) -> None:
    """Raises SchemaMismatch for a schema that a newer version of the program made."""
    scripts = ScriptDirectory.from_config(_config())
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaMismatch(
            f"the database has schema {found}, which this program does not know (its own is "
            f"{scripts.get_current_head()}): it was made by a newer version; install that version again"
        )


def _upgrade(connection: Connection) -> None:
    config = _config()
    found, _ = _versions(connection)
    check_known(found)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _check_references(connection: Connection) -> None:
    """What was not enforced during the migrations holds after them, or they are undone."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise SchemaMismatch(f"the upgrade would leave {len(broken)} broken references in {tables}")


def differences(connection: Connection) -> list[Any]:
    """What the database has that the models do not, or the other way round. Empty after `upgrade`."""
    from alembic.autogenerate import compare_metadata

    context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
    return list(compare_metadata(context, metadata))
