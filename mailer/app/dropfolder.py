"""Snapshot files into the ledger: for the command, and from the folders that the daemon watches.

Enters files that a library system drops; they leave for `done` or `failed` beside them, with a report where
there is something to tell. A file that is still being written is not touched, and none is ever deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from holds_core.errors import Conflict
from holds_core.feeds.mapping import Kind
from holds_core.feeds.snapshot import SnapshotIntake
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.sources import choose, kind_by_name, time_of
from holds_core.settings import Snapshot
from mailer import maillog
from mailer.app.services import Services, event_rules
from mailer.clock import wait

LOOK_EVERY_S = 5.0
SETTLED_AFTER = timedelta(seconds=10)
"""A file whose size and time have not changed for so long is taken to be complete."""
FINISHED = ".done"
"""Beside `holds.csv`, a file `holds.csv.done` says that it is complete; it is not waited for then."""
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", FINISHED)


async def import_snapshot(
    services: Services,
    path: Path,
    feed: str | None,
    *,
    dry_run: bool = False,
    force: bool = False,
    who: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> SnapshotReport:
    """Takes one snapshot file in. `feed` None: told by the file's name, see `choose`. With `force` it is taken
    in although the guard would refuse it; `who` decided that, and is recorded.

    Raises BadInput if no feed fits, Conflict if another file of the feed is being taken in, OSError.
    """
    snapshot, kind = choose(services.settings.feeds.snapshots, path.name, feed)
    return await _intake(services).take(
        # a link that a person names is followed, one in a watched folder never
        await asyncio.to_thread(path.resolve),
        snapshot,
        kind,
        dry_run=dry_run,
        force_by=(who or "unknown") if force else "",
        progress=progress,
    )


def _intake(services: Services) -> SnapshotIntake:
    return SnapshotIntake(
        services.ledger, event_rules(services.rulebook), services.settings, services.clock.now
    )


class Stopping(Exception):  # noqa: N818
    """The daemon stops between two chunks; the next start goes on there."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was when it last changed."""

    size: int
    changed_ns: int
    inode: int
    since: datetime


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file that may be taken in."""

    path: Path
    snapshot: Snapshot
    kind: Kind
    as_of: datetime


class DropFolder:
    """Watches the folders of all feeds that have one. `told` hears of every file that was dealt with."""

    def __init__(
        self, services: Services, told: Callable[[SnapshotReport], None] = lambda report: None
    ) -> None:
        self._services, self._told = services, told
        self._seen: dict[Path, _Seen] = {}
        self._stuck: dict[Path, _Seen] = {}
        self._complained: set[Path] = set()

    @property
    def watched(self) -> bool:
        """Whether there is any folder to watch."""
        return any(snapshot.folder for snapshot in self._services.settings.feeds.snapshots)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Files that come while the ledger is away wait for it."""
        while not stop.is_set():
            await self.look(stop)
            await wait(self._services.clock, stop, LOOK_EVERY_S)

    async def look(self, stop: asyncio.Event) -> int:
        """Takes in what is complete, patrons before holds, older files first. Returns how many files."""
        dealt = 0
        for waiting in await asyncio.to_thread(self._complete):
            if stop.is_set():
                break
            dealt += await self._deal(waiting, stop)
        return dealt

    # -- finding -------------------------------------------------------------------------------------

    def _complete(self) -> list[_Waiting]:
        now = self._services.clock.now()
        zone = self._services.settings.library.timezone
        found: list[_Waiting] = []
        there: set[Path] = set()
        for snapshot in self._services.settings.feeds.snapshots:
            for path, kind in self._candidates(snapshot):
                there.add(path)
                if self._is_complete(path, now):
                    found.append(_Waiting(path, snapshot, kind, time_of(path, zone, now)))
        for gone in self._seen.keys() - there:
            del self._seen[gone]
            self._stuck.pop(gone, None)
        return sorted(found, key=lambda item: (item.as_of.date(), item.kind is Kind.HOLDS, item.as_of))

    def _candidates(self, snapshot: Snapshot) -> Iterator[tuple[Path, Kind]]:
        if snapshot.folder is None:
            return
        try:
            paths = sorted(snapshot.folder.iterdir())
        except OSError as error:
            self._complain(snapshot.folder, "snapshot_folder_unreadable", error)
            return
        self._complained.discard(snapshot.folder)
        for path in paths:
            kind = kind_by_name(snapshot, path.name)
            if kind is not None and not path.name.startswith(".") and path.suffix.lower() not in _UNFINISHED:
                yield path, kind

    def _complain(self, path: Path, what: str, error: OSError) -> None:
        """Once, not every few seconds."""
        if path not in self._complained:
            self._complained.add(path)
            maillog.event(what, path=str(path), error=error.strerror or type(error).__name__)

    def _is_complete(self, path: Path, now: datetime) -> bool:
        try:
            found = path.lstat()
        except OSError:
            return False
        if not stat.S_ISREG(found.st_mode):
            return False
        seen = self._seen.get(path)
        state = (found.st_size, found.st_mtime_ns, found.st_ino)
        if seen is None or (seen.size, seen.changed_ns, seen.inode) != state:
            seen = self._seen[path] = _Seen(*state, since=now)
        if self._stuck.get(path) == seen:
            return False
        return _marker(path).exists() or now - seen.since >= SETTLED_AFTER

    # -- dealing with one file -----------------------------------------------------------------------

    async def _deal(self, waiting: _Waiting, stop: asyncio.Event) -> bool:
        def check(done: int) -> None:
            if stop.is_set():
                raise Stopping

        path = waiting.path
        try:
            report = await _intake(self._services).take(path, waiting.snapshot, waiting.kind, progress=check)
            await asyncio.to_thread(_put_away, path, report)
        except Stopping:
            maillog.event("snapshot_interrupted", feed=waiting.snapshot.name, file=path.name)
            return False
        except Conflict:
            maillog.event("snapshot_waits", feed=waiting.snapshot.name, file=path.name)
            return False
        except OSError as error:
            # not ours to read or to move: left alone until it changes
            self._stuck[path] = replace(self._seen[path])
            self._complain(path, "snapshot_file_stuck", error)
            return False
        failed = len(report.refused) or report.tally.faults.count
        maillog.imported(waiting.snapshot.name, report.applied, report.repeats, failed)
        self._told(report)
        return True


def _marker(path: Path) -> Path:
    return path.with_name(path.name + FINISHED)


def _put_away(path: Path, report: SnapshotReport) -> None:
    """Moves the file to `done`, or to `failed` if nothing of it was used; the report goes beside it.

    Whoever may write here must not lead us elsewhere by a link of that name, however quick they are: the
    folder is opened once, and all that follows happens in the one that was opened.
    """
    folder = path.with_name("failed" if report.refused else "done")
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        name = _free(path.name, inside)
        if report.failed or report.conflict_count:
            # before the file: whoever finds the one finds the other
            _write(_free(f"{name}.report.txt", inside), "\n".join(report.lines()) + "\n", inside)
        os.rename(path, name, dst_dir_fd=inside)
    finally:
        os.close(inside)
    _marker(path).unlink(missing_ok=True)


def _write(name: str, text: str, folder: int) -> None:
    """A new file in an open folder, never one that is there already."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)


def _free(name: str, folder: int) -> str:
    """`name`, with a number before its ending if the open folder has such a file already."""
    number, free, parts = 1, name, Path(name)
    while _is_there(free, folder):
        number += 1
        free = f"{parts.stem}.{number}{parts.suffix}"
    return free


def _is_there(name: str, folder: int) -> bool:
    """Whether there is anything of that name, be it a link that leads nowhere."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
