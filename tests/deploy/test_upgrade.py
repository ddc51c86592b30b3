"""Upgrades: from every released schema on both databases, with a copy first, and never from the future."""

import asyncio
import json
import shutil
import sqlite3
import stat
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from typer.testing import CliRunner

from holds_core.ledger import session
from holds_core.ledger.session import Ledger, SchemaMismatch, differences
from mailer.app.cli import app
from tests.deploy import make_release_schema
from tests.e2e.library import config

SCHEMAS = sorted(make_release_schema.SCHEMAS.glob("*.sql"))
MIGRATIONS = Path(session.__file__).with_name("migrations")

Rows = dict[str, list[dict[str, Any]]]


def load(schema: Path, file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(schema.read_text("utf-8"))
    connection.close()
    file.chmod(0o600)


def rows(file: Path) -> Rows:
    """Every row of a SQLite file, by table."""
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    try:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            name: [dict(found) for found in connection.execute(f"SELECT * FROM {name} ORDER BY rowid")]
            for name in names
            if not name.startswith(("sqlite_", "alembic_"))
        }
    finally:
        connection.close()


def revision(file: Path) -> str:
    connection = sqlite3.connect(file)
    try:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    finally:
        connection.close()


def test_every_migration_but_unreleased_ones_is_kept() -> None:
    """`make_release_schema.py` was run for the newest schema."""
    made = {file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")}
    assert {file.stem for file in SCHEMAS} == made


async def test_a_released_schema_is_what_its_migrations_make(tmp_path: Path) -> None:
    """Who changes a migration that is out makes databases that no upgrade fits. Before a release: run
    `python -m tests.deploy.make_release_schema` again."""
    found = await make_release_schema.fill(tmp_path / "todoku.db")
    kept = (make_release_schema.SCHEMAS / f"{found}.sql").read_text("utf-8")
    assert make_release_schema.dump(tmp_path / "todoku.db") == kept


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.stem)
async def test_a_released_sqlite_file_is_upgraded_whole(schema: Path, tmp_path: Path) -> None:
    file = tmp_path / "todoku.db"
    load(schema, file)
    before = rows(file)
    ledger = Ledger.open(f"sqlite+aiosqlite:///{file}")
    try:
        await ledger.upgrade()
        await ledger.check_schema()
        async with ledger.write() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await ledger.close()
    after = rows(file)
    for table, kept in before.items():
        assert len(after[table]) == len(kept) == make_release_schema.ROWS, table
        for old, new in zip(kept, after[table], strict=True):
            assert {name: new[name] for name in old if name in new} == {
                name: old[name] for name in old if name in new
            }


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.stem)
async def test_a_released_postgresql_database_is_upgraded_whole(
    schema: Path, tmp_path: Path, postgres_url: str
) -> None:
    file = tmp_path / "todoku.db"
    load(schema, file)
    kept = rows(file)
    ledger = Ledger.open(postgres_url)
    try:
        async with ledger.write() as connection:
            await connection.run_sync(_upgrade_to, schema.stem)
            await connection.run_sync(_copy, kept)
        await ledger.upgrade()
        await ledger.check_schema()
        async with ledger.read() as connection:
            assert await connection.run_sync(differences) == []
            counts = await connection.run_sync(_counts)
    finally:
        await ledger.close()
    assert {name: counts[name] for name in kept} == {name: len(found) for name, found in kept.items()}


def _upgrade_to(connection: sa.Connection, wanted: str) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, wanted)


def _copy(connection: sa.Connection, kept: Rows) -> None:
    """SQLite's rows into PostgreSQL's tables of the same schema, as PostgreSQL's own types."""
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        for row in kept.get(table.name, ()):
            values = {name: _typed(table.c[name].type, value) for name, value in row.items()}
            connection.execute(table.insert().values(values))


def _typed(kind: sa.types.TypeEngine[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, sa.Boolean):
        return bool(value)
    if isinstance(kind, sa.DateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(kind, sa.Date):
        return date.fromisoformat(value)
    return json.loads(value) if isinstance(kind, sa.JSON) else value


def _counts(connection: sa.Connection) -> dict[str, int]:
    return {
        name: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(name))) or 0
        for name in sa.inspect(connection).get_table_names()
    }


# A version to come: one that rebuilds a table to which others refer, as SQLite's ALTER TABLE often needs.
NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{next}", "{head}"
def upgrade():
    rebuild = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("notices", recreate=rebuild) as table:
        table.add_column(sa.Column("colour", sa.Text, nullable=False, server_default="blue"))
"""


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The program as it will be after one more migration. Returns its revision."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    head, coming = SCHEMAS[-1].stem, "9000"
    (folder / f"versions/{coming}_next.py").write_text(NEXT.format(next=coming, head=head))
    configuration = Config()
    configuration.set_main_option("script_location", str(folder))
    monkeypatch.setattr(session, "_config", lambda: configuration)
    return coming


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with settings and a database of the newest released schema."""
    (tmp_path / "config.yaml").write_text(config(tmp_path, RELAY_PORT=9))
    load(SCHEMAS[-1], tmp_path / "todoku.db")
    return tmp_path


def todoku(place: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--config", str(place / "config.yaml"), *arguments])
    return done.exit_code, done.output


def test_an_upgrade_copies_first_and_loses_no_row(place: Path, newer: str) -> None:
    before = rows(place / "todoku.db")
    code, said = todoku(place, "db", "upgrade")
    assert code == 0, said
    assert revision(place / "todoku.db") == newer
    after = rows(place / "todoku.db")
    assert {name: len(found) for name, found in after.items()} == {
        name: len(found) for name, found in before.items()
    }
    assert {row["colour"] for row in after["notices"]} == {"blue"}
    [copy] = place.glob("todoku.db.before-upgrade-*")
    assert str(copy) in said
    assert rows(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_without_a_copy_nothing_is_upgraded(place: Path, newer: str) -> None:
    file = place / "todoku.db"
    content = file.read_bytes()
    # a page of the middle is lost: the database opens, and no copy of it is sound
    file.write_bytes(content[:40960] + b"\xff" * 4096 + content[45056:])
    code, _ = todoku(place, "db", "upgrade")
    assert code == 1
    assert revision(file) == SCHEMAS[-1].stem
    assert not list(place.glob("todoku.db.before-*"))


def test_an_upgrade_that_fails_changes_nothing(place: Path, newer: str) -> None:
    [script] = (place / "migrations/versions").glob(f"{newer}_*.py")
    script.write_text(script.read_text() + "    raise RuntimeError('half way')\n")
    before = rows(place / "todoku.db")
    done = CliRunner().invoke(app, ["--config", str(place / "config.yaml"), "db", "upgrade"])
    assert done.exit_code != 0
    assert rows(place / "todoku.db") == before
    assert revision(place / "todoku.db") == SCHEMAS[-1].stem


def test_nothing_is_upgraded_under_a_running_daemon(place: Path, newer: str) -> None:
    from holds_core.config import load as read
    from mailer.app.single import only_one

    with only_one(read(place / "config.yaml", {})):
        code, said = todoku(place, "db", "upgrade")
    assert code == 1
    assert "todoku serve" in said
    assert revision(place / "todoku.db") == SCHEMAS[-1].stem


def test_on_postgresql_a_person_says_that_there_is_a_copy(place: Path, newer: str, postgres_url: str) -> None:
    asyncio.run(_released(postgres_url))
    plain = postgres_url.replace("postgresql+asyncpg://", "postgresql://")
    text = (place / "config.yaml").read_text().replace(f"sqlite:///{place}/todoku.db", plain)
    (place / "config.yaml").write_text(text)
    code, said = todoku(place, "db", "upgrade")
    assert (code, "pg_dump --format=custom" in said) == (1, True)
    code, said = todoku(place, "db", "upgrade", "--backed-up")
    assert (code, newer in said) == (0, True), said


async def _released(url: str) -> None:
    ledger = Ledger.open(url)
    async with ledger.write() as connection:
        await connection.run_sync(_upgrade_to, SCHEMAS[-1].stem)
    await ledger.close()


@pytest.mark.parametrize("command_", [("db", "upgrade"), ("db", "check"), ("report",), ("serve",)])
def test_a_database_from_the_future_is_refused_and_left_alone(place: Path, command_: tuple[str, ...]) -> None:
    connection = sqlite3.connect(place / "todoku.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = rows(place / "todoku.db")
    code, said = todoku(place, *command_)
    assert code == 1, said
    assert "9999" in said
    assert rows(place / "todoku.db") == before
    assert not list(place.glob("todoku.db.before-*"))


def test_a_schema_of_ours_is_known() -> None:
    for schema in SCHEMAS:
        session.check_known(schema.stem)
    with pytest.raises(SchemaMismatch, match="newer version"):
        session.check_known("9999")
