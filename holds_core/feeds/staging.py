"""The rows of one file, sorted and each key once, on disk: a snapshot of any size in flat memory.

Enters a file; leaves pages of rows in order of their keys. The store is a temporary SQLite database without a
name, which the system forgets with the process: personal data is left nowhere. Blocks; run it in a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holds_core.errors import BadInput
from holds_core.feeds.changes import Change, Known
from holds_core.feeds.csv import Encoding, Record, records
from holds_core.feeds.faults import Fault, Faults
from holds_core.feeds.mapping import Kind, Mapper, Reading, Row, check_delimiter, kind_of
from holds_core.settings.feeds import Snapshot

_SAY_EVERY = 5000
_BRANCHES = 1000

_SCHEMA = (
    "CREATE TABLE staged (key TEXT PRIMARY KEY, line INTEGER, mark TEXT, until TEXT, digest TEXT, fields TEXT,"
    " bad INTEGER) WITHOUT ROWID",
    # what differs from the last snapshot; NULL: the row is new
    "CREATE TABLE changed (key TEXT PRIMARY KEY, mark TEXT, until TEXT, digest TEXT) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order of their keys. `unread` are keys of damaged rows, `last` is the last key of both."""

    rows: list[Row]
    unread: list[str]
    last: str
    full: bool


@dataclass(slots=True)
class Tally:
    """What was read. `nameless` rows are damaged so badly that nobody knows whose they were."""

    rows: int = 0
    good: int = 0
    unread: int = 0
    nameless: int = 0
    odd: int = 0
    branches: set[str] = field(default_factory=set)
    """Codes of branches that the rows name; no more than `_BRANCHES` of them: beyond, the column is another."""
    faults: Faults = field(default_factory=Faults)


class Staging:
    """Reads one file into the store; then `page` gives it back. Close it."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._key = (0, "")
        # no name: on disk beyond the cache, unlinked from the start; the threads take turns
        self._store = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16000"):
            self._store.execute(f"PRAGMA {pragma}")
        for table in _SCHEMA:
            self._store.execute(table)
        self._store.execute("BEGIN")

    def close(self) -> None:
        self._store.close()

    def read(
        self,
        path: Path,
        snapshot: Snapshot,
        kind: Kind | None,
        default_contact: str,
        progress: Callable[[int], None],
    ) -> Kind:
        """Stages the whole file. `kind` None: the heading says it. Returns what the rows are.

        Raises BadInput for what makes the file as a whole useless: no heading, a column that is missing.
        """
        encoding = Encoding(snapshot.encoding.value)
        lines = records(path, encoding, snapshot.delimiter.character)
        heading = _heading(lines)
        check_delimiter(heading)
        kind = kind or kind_of(snapshot, heading)
        if kind is None:
            raise BadInput(
                "1行目: 見出しに予約番号も利用者番号もありません。feeds.snapshots の columns を確かめてください。 / "
                "line 1: the heading has neither hold nor patron ids; see columns in feeds.snapshots"
            )
        mapper = Mapper(snapshot, kind, heading, default_contact)
        self._key = mapper.key
        for record in lines:
            self._take(record, mapper.read(record))
            self.tally.rows += 1
            if self.tally.rows % _SAY_EVERY == 0:
                progress(self.tally.rows)
        progress(self.tally.rows)
        return kind

    def _take(self, record: Record, reading: Reading) -> None:
        if reading.row is not None:
            self.put(reading.row, odd=reading.odd)
            if reading.branch and len(self.tally.branches) < _BRANCHES:
                self.tally.branches.add(reading.branch)
        else:
            self.set_aside(reading.key, reading.faults, record.line)

    def set_aside(self, key: str, faults: Iterable[Fault], line: int = 0) -> None:
        """A row that cannot be used. With an empty `key` nobody knows whose it was."""
        for fault in faults:
            self.tally.faults.add(fault)
        self.tally.unread += 1
        if not key:
            self.tally.nameless += 1
            return
        self._store.execute(
            "INSERT INTO staged VALUES (?, ?, '', '', '', '', 1) ON CONFLICT DO NOTHING", (key, line)
        )

    def put(self, row: Row, *, odd: bool) -> None:
        """One row. Of two with the same key and other values neither counts."""
        values = (row.key, row.line, row.mark, row.until, row.digest, row.fields)
        # a damaged row may have been taken for this one: the good row is the better witness
        new = self._store.execute(
            "INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (key) DO UPDATE SET line = excluded.line,"
            " mark = excluded.mark, until = excluded.until, digest = excluded.digest, fields = excluded.fields,"
            " bad = 0 WHERE bad = 1",
            values,
        ).rowcount
        if new:
            self.tally.good += 1
            self.tally.odd += odd
        else:
            self._repeated(row)

    def put_latest(self, row: Row) -> None:
        """One row; of two with the same key the later counts: a list that changes while it is paged through
        may show a record twice.
        """
        values = (row.key, row.line, row.mark, row.until, row.digest, row.fields)
        new = self._store.execute(
            "INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING", values
        )
        if new.rowcount:
            self.tally.good += 1
        else:
            self._store.execute("REPLACE INTO staged VALUES (?, ?, ?, ?, ?, ?, 0)", values)

    def _repeated(self, row: Row) -> None:
        """A second row of one id. If both say the same the first counts, else neither does."""
        line, *said = self._store.execute(
            "SELECT line, mark, until, digest FROM staged WHERE key = ?", (row.key,)
        ).fetchone()
        self.tally.unread += 1
        if said == [row.mark, row.until, row.digest]:
            fault = (f"{line}行目と同じ行です。", f"the same as line {line}")
        else:
            # bad = 2: a third row of this id is no better witness than these two
            self._store.execute("UPDATE staged SET bad = 2 WHERE key = ?", (row.key,))
            fault = (
                f"{line}行目と番号が同じで内容が違います。どちらも使いません。",
                f"the same id as line {line} with other values; neither is used",
            )
        self.tally.faults.add(Fault(row.line, *self._key, *fault))

    def reword(self, rows: Iterable[Row]) -> None:
        """Gives rows that are there already other fields; what is compared stays."""
        self._store.executemany(
            "UPDATE staged SET fields = ? WHERE key = ?", [(row.fields, row.key) for row in rows]
        )

    def page(self, after: str, limit: int) -> Page:
        """The next rows whose keys come after `after`, to be compared: without their fields."""
        found = self._store.execute(
            "SELECT key, line, mark, until, digest, '', bad FROM staged WHERE key > ? ORDER BY key LIMIT ?",
            (after, limit),
        ).fetchall()
        rows = [Row(*values) for *values, bad in found if not bad]
        unread = [key for key, *_, bad in found if bad]
        return Page(rows, unread, found[-1][0] if found else "", len(found) == limit)

    def note(self, changes: Iterable[Change]) -> None:
        """Keeps what differs, to be applied once all of it is known."""
        self._store.executemany(
            "INSERT INTO changed VALUES (?, ?, ?, ?)",
            (
                (change.key, change.old.mark, change.old.until, change.old.digest)
                if change.old
                else (change.key, None, None, None)
                for change in changes
            ),
        )

    def changes(self, after: str, limit: int) -> list[Change]:
        """The next differences whose keys come after `after`, with all that the new rows say."""
        found = self._store.execute(
            "SELECT changed.key, changed.mark, changed.until, changed.digest,"
            " line, staged.mark, staged.until, staged.digest, fields"
            " FROM changed LEFT JOIN staged ON staged.key = changed.key"
            " WHERE changed.key > ? ORDER BY changed.key LIMIT ?",
            (after, limit),
        )
        return [
            Change(
                key,
                None if mark is None else Known(key, mark, until, digest),
                None if new[0] is None else Row(key, *new),
            )
            for key, mark, until, digest, *new in found
        ]


def _heading(lines: Iterator[Record]) -> list[str]:
    first = next(lines, None)
    if first is None:
        raise BadInput("ファイルが空です。 / the file is empty")
    if first.fault is not None:
        raise BadInput(str(first.fault))
    return first.cells
