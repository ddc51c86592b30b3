"""One daemon for each SQLite file: the lock beside it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from holds_core.errors import TodokuError
from holds_core.settings import Settings


class AlreadyRunning(TodokuError):  # noqa: N818
    """Another daemon works on this SQLite file."""


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Holds the lock beside a SQLite file; several daemons may share a PostgreSQL. Raises AlreadyRunning."""
    name = settings.database.sqlite_file
    if name is None:
        yield
        return
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{file}.lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(
                f"別の todoku serve が {file} を使用中です / another `todoku serve` uses {file}"
            ) from None
        yield
