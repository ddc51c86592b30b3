"""The schema: migrations equal the models, on both databases; and who may open what."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from holds_core.ledger.models import metadata, patrons
from holds_core.ledger.session import Ledger, SchemaMismatch, differences
from tests.core.ledger.conftest import NOON


async def test_all_migrations_together_equal_the_models(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_empty_database_is_set_up_once(empty_url: str) -> None:
    ledger = Ledger.open(empty_url)
    try:
        found, wanted = await ledger.schema()
        assert found is None
        with pytest.raises(SchemaMismatch, match="the database has schema none, this program needs"):
            await ledger.check_schema()
        await ledger.upgrade()
        assert await ledger.schema() == (wanted, wanted)
        await ledger.check_schema()
        await ledger.upgrade()
        async with ledger.read() as connection:
            tables = set(await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()))
        assert tables == {*metadata.tables, "alembic_version"}
    finally:
        await ledger.close()


async def test_a_newer_database_is_refused_and_left_alone(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        SchemaMismatch, match=r"schema 9999, which this program does not know .* newer version"
    ):
        await ledger.upgrade()
    with pytest.raises(SchemaMismatch):
        await ledger.check_schema()
    assert (await ledger.schema())[0] == "9999"


async def test_the_reader_cannot_write(ledger: Ledger) -> None:
    values = {"patron_id": "P1", "contact": "email", "phones": [], "provisional": False, "overdue": False}
    row = values | {"feed_emails": [], "event_at": NOON}
    with pytest.raises(sa.exc.DBAPIError):
        async with ledger.read() as connection:
            await connection.execute(sa.insert(patrons).values(**row))
    async with ledger.write() as connection:
        await connection.execute(sa.insert(patrons).values(**row))
    async with ledger.read() as connection:
        assert (await connection.execute(sa.select(patrons.c.event_at))).scalar_one() == NOON


async def test_a_block_that_raises_writes_nothing(ledger: Ledger) -> None:
    async def fails() -> None:
        async with ledger.write() as connection:
            await connection.execute(
                sa.text("INSERT INTO flags (name, value, at) VALUES ('x', '1', '2026-01-01')")
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    async with ledger.read() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM flags"))).scalar_one() == 0


async def test_a_naive_time_never_reaches_the_ledger(ledger: Ledger) -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(sa.exc.StatementError, match="a time without a time zone"):
        async with ledger.write() as connection:
            await connection.execute(sa.update(patrons).values(event_at=naive))


async def test_the_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    """It says who borrows what."""
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path}/todoku.db")
    try:
        await ledger.upgrade()
        files = sorted(tmp_path.iterdir())
        assert "todoku.db" in {file.name for file in files}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        await ledger.close()


async def test_sqlite_commits_are_on_disk_and_keys_are_checked(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite+aiosqlite:///{tmp_path}/todoku.db")
    try:
        for opened in (ledger.write, ledger.read):
            async with opened() as connection:

                async def pragma(name: str) -> object:
                    return (await connection.execute(sa.text(f"PRAGMA {name}"))).scalar_one()

                assert await pragma("synchronous") == 2  # FULL
                assert await pragma("foreign_keys") == 1
                assert await pragma("journal_mode") == "wal"
    finally:
        await ledger.close()
