"""`todoku backup` and `todoku restore` beside a real daemon: a copy of one moment goes back whole."""

import asyncio
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailer.app.cli import app
from tests.e2e.test_daemon import daemon, post, todoku, write_config

PATRON = {"type": "patron", "patron_id": "P1", "email": "p1@good.example", "name": "図書 花子"}


async def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *todoku(folder, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, said.decode()


def patrons(file: Path) -> list[str]:
    connection = sqlite3.connect(file)
    try:
        return [name for (name,) in connection.execute("SELECT patron_id FROM patrons ORDER BY 1")]
    finally:
        connection.close()


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def everything(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.startswith("todoku.db")}


async def test_there_and_back_with_the_daemon_running(tmp_path: Path) -> None:
    port = write_config(tmp_path, RELAY_PORT=9)
    copy = tmp_path / "copy.db"
    async with daemon(tmp_path, port):
        await post(port, PATRON)
        code, said = await run(tmp_path, "backup", str(copy))
        assert code == 0, said
        await post(port, PATRON | {"id": "second", "patron_id": "P2"})
        # while the daemon has the file, it is not replaced
        code, said = await run(tmp_path, "restore", "--yes", str(copy))
        assert code == 1
        assert "todoku serve" in said
        assert patrons(tmp_path / "todoku.db") == ["P1", "P2"]
    assert patrons(copy) == ["P1"]
    assert mode(copy) == 0o600

    code, said = await run(tmp_path, "restore", "--yes", str(copy))
    assert code == 0, said
    assert patrons(tmp_path / "todoku.db") == ["P1"]
    assert mode(tmp_path / "todoku.db") == 0o600
    [kept] = tmp_path.glob("todoku.db.before-restore-*[0-9]")
    assert str(kept) in said
    assert patrons(kept) == ["P1", "P2"]
    assert mode(kept) == 0o600
    assert patrons(copy) == ["P1"]

    # the daemon goes on from there, and sends nothing until a person says so
    async with daemon(tmp_path, port):
        await post(port, PATRON | {"id": "third", "patron_id": "P3"})
    assert patrons(tmp_path / "todoku.db") == ["P1", "P3"]
    connection = sqlite3.connect(tmp_path / "todoku.db")
    [(value,)] = connection.execute("SELECT value FROM flags WHERE name = 'paused'").fetchall()
    connection.close()
    assert "restore" in value


def run_here(folder: Path, *arguments: str) -> tuple[int, str]:
    """A command in this process: where no daemon runs, that is as good and much quicker."""
    done = CliRunner().invoke(app, ["--config", str(folder / "config.yaml"), *arguments])
    return done.exit_code, done.output


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A folder with settings, a database and `copy.db`; no daemon."""
    write_config(tmp_path, RELAY_PORT=9)
    assert run_here(tmp_path, "db", "upgrade")[0] == 0
    assert run_here(tmp_path, "backup", str(tmp_path / "copy.db"))[0] == 0
    return tmp_path


def _damage(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:8192] + b"\xff" * 4096 + content[12288:])


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def _of_another_program(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE things (a)")
    connection.commit()
    connection.close()


def _from_the_future(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "spoil",
    [_damage, _cut, _of_another_program, _from_the_future, Path.unlink, lambda file: file.write_text("no")],
    ids=["damaged", "cut", "another program's", "newer", "missing", "no database"],
)
def test_what_is_no_good_copy_replaces_nothing(stopped: Path, spoil: object) -> None:
    copy = stopped / "copy.db"
    assert callable(spoil)
    spoil(copy)
    before = everything(stopped)
    code, said = run_here(stopped, "restore", "--yes", str(copy))
    assert code == 1, said
    assert "Traceback" not in said
    assert everything(stopped) == before


def test_without_a_yes_nothing_happens(stopped: Path) -> None:
    before = everything(stopped)
    code, _ = run_here(stopped, "restore", str(stopped / "copy.db"))
    assert code == 1
    assert everything(stopped) == before


def test_a_lost_database_comes_back(stopped: Path) -> None:
    for file in stopped.glob("todoku.db*"):
        file.unlink()
    code, said = run_here(stopped, "restore", "--yes", str(stopped / "copy.db"))
    assert code == 0, said
    assert run_here(stopped, "db", "check")[0] == 0
    assert not list(stopped.glob("todoku.db.before-*"))


def test_what_only_the_log_of_the_former_one_held_is_kept_with_it(stopped: Path) -> None:
    """A daemon that was killed leaves rows in -wal; they belong to the database that is put aside."""
    live, away = stopped / "todoku.db", stopped / "away"
    connection = sqlite3.connect(live)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("INSERT INTO flags (name, value, at) VALUES ('mark', '1', '2026-11-22')")
    connection.commit()
    away.mkdir()
    for file in stopped.glob("todoku.db*"):
        shutil.copy(file, away / file.name)
    connection.close()
    for file in away.iterdir():
        shutil.copy(file, stopped / file.name)
    assert (stopped / "todoku.db-wal").stat().st_size > 0
    code, said = run_here(stopped, "restore", "--yes", str(stopped / "copy.db"))
    assert code == 0, said
    [kept] = stopped.glob("todoku.db.before-restore-*[0-9]")
    connection = sqlite3.connect(kept)
    assert connection.execute("SELECT count(*) FROM flags WHERE name = 'mark'").fetchone() == (1,)
    connection.close()
    connection = sqlite3.connect(live)
    assert connection.execute("SELECT count(*) FROM flags WHERE name = 'mark'").fetchone() == (0,)
    connection.close()
