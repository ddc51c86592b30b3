"""Copies of the whole ledger: one is made while it is in use, and one takes its place when it is not.

Knows SQLite files only; PostgreSQL has pg_dump and pg_restore. A copy is complete and checked, or there is
none; what it replaces is kept beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from holds_core.errors import BadInput, TodokuError
from holds_core.ledger.session import check_known


class CopyFailed(TodokuError):  # noqa: N818
    """The copy could not be made or is not sound; nothing was left behind."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A finished copy. `octets` is its size, `schema` the version of its tables."""

    file: Path
    octets: int
    schema: str


def backup(database: Path, target: Path) -> Copy:
    """Copies the ledger to `target`, mode 0600. Blocks; writers of the database go on meanwhile.

    The copy shows one moment: SQLite's backup reads it in a single step, within one transaction. It is
    made beside its target and takes its name only when it is whole, checked and on disk. Raises BadInput
    if `target` exists or `database` does not, CopyFailed.
    """
    if target.exists():
        raise BadInput(f"{target} exists already; name a new file")
    if not database.exists():
        raise BadInput(f"there is no database {database}")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        schema = _copy(database, unfinished)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        # unlike rename, link never replaces a file that came meanwhile
        os.link(unfinished, target)
        _sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise CopyFailed(f"{target}: the copy failed ({error})") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return Copy(target, target.stat().st_size, schema)


def _copy(database: Path, target: Path) -> str:
    """Fills `target`; returns its schema. Raises CopyFailed if the copy is not sound."""
    with _opened(database, "ro") as source, _opened(target, "rw") as copy:
        source.backup(copy)
        # one file, without -wal and -shm beside it; the daemon switches back by itself
        copy.execute("PRAGMA journal_mode = DELETE")
        return _checked(copy, database)


def _checked(copy: sqlite3.Connection, name: Path) -> str:
    """The schema of a sound ledger. Raises CopyFailed for any other file."""
    for check in ("integrity_check", "foreign_key_check"):
        found = copy.execute(f"PRAGMA {check}").fetchall()
        if found not in ([], [("ok",)]):
            raise CopyFailed(f"{name}: the copy fails SQLite's {check} ({len(found)} findings)")
    row = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise CopyFailed(f"{name}: no ledger of Todoku's")
    return str(row[0])


def beside(database: Path, why: str, now: datetime) -> Path:
    """The name under which the database is kept beside itself: `todoku.db.before-upgrade-20270401T013000`."""
    return database.with_name(f"{database.name}.{why}-{now:%Y%m%dT%H%M%S}")


@dataclass(frozen=True, slots=True)
class Restored:
    """`kept` is what the database was until now, None if there was none; `schema` that of the copy."""

    kept: Path | None
    schema: str


def restore(copy: Path, database: Path, now: datetime) -> Restored:
    """Puts a copy in the database's place, with its owner and mode 0600; what was there is kept.

    The caller sees to it that nobody uses the database. Raises BadInput without a copy, CopyFailed for one
    that is not sound, SchemaMismatch for one of a newer program; then nothing has changed.
    """
    if not copy.is_file():
        raise BadInput(f"there is no file {copy}")
    unfinished = database.with_name(f".{database.name}.{os.getpid()}.part")
    try:
        with _opened(copy, "ro") as source:
            schema = _checked(source, copy)
        check_known(schema)
        _write_out(copy, unfinished)
        kept = beside(database, "before-restore", now) if database.exists() else None
        if kept is not None:
            owner = database.stat()
            os.chown(unfinished, owner.st_uid, owner.st_gid)
            # a second name first: at no moment is there no database, which would begin anew
            os.link(database, kept)
            for tail in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{database}{tail}").rename(f"{kept}{tail}")
        unfinished.replace(database)
        _sync_folder(database.parent)
    except (OSError, sqlite3.Error) as error:
        raise CopyFailed(f"{copy}: it cannot be restored ({error})") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return Restored(kept, schema)


def _write_out(source: Path, target: Path) -> None:
    handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as out, source.open("rb") as file:
        shutil.copyfileobj(file, out)
        out.flush()
        os.fsync(out.fileno())


@contextlib.contextmanager
def _opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=15)
    try:
        yield connection
    finally:
        connection.close()


def _sync_folder(folder: Path) -> None:
    """The name too is on disk (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
