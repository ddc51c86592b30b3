"""A copy of the whole ledger while it is in use: a SQLite file enters, another one leaves.

Knows SQLite only; PostgreSQL has pg_dump. The copy is complete and checked, or there is none.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holds_core.errors import BadInput, TodokuError


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
        for check in ("integrity_check", "foreign_key_check"):
            found = copy.execute(f"PRAGMA {check}").fetchall()
            if found not in ([], [("ok",)]):
                raise CopyFailed(f"{database}: the copy fails SQLite's {check} ({len(found)} findings)")
        row = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0])


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
