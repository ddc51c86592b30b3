"""The drop folder: complete files are taken in and put away, unfinished ones are left alone."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from holds_core.config import parse
from holds_core.errors import BadInput
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.ledger.models import audit, deliveries, holds
from holds_core.settings.secrets import read_secrets
from mailer.app.dropfolder import SETTLED_AFTER, DropFolder, import_snapshot
from mailer.app.services import Services
from tests.clock import HandClock

CONFIG = """
library: {name: 市立図書館, branches: [{id: main, name: 本館}]}
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.library.example.jp}
relay: {host: 127.0.0.1, tls: none}
feeds: {snapshots: [{name: nightly, folder: incoming}]}
"""
PATRONS = "patron_id,name,email\nP1,佐藤 花子,hanako@docomo.ne.jp\n"
HOLDS = "hold_id,patron_id,state\n"


class Folder:
    """A library with a watched folder, and a clock to be moved."""

    def __init__(self, base: Path) -> None:
        (base / "token.keys").write_text("k" * 64, "ascii")
        (base / "token.keys").chmod(0o600)
        self.path = base / "incoming"
        self.path.mkdir()
        settings = parse(CONFIG, base=base, env={})
        self.clock = HandClock()
        self.services = Services.build(
            settings, read_secrets(settings, {}), clock=self.clock, jitter=lambda: 0.5, owner="test"
        )
        self.told: list[SnapshotReport] = []
        self.drop = DropFolder(self.services, self.told.append)
        self.stop = asyncio.Event()

    def put(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text, "utf-8")
        at = self.clock.now().timestamp()
        os.utime(path, (at, at))
        return path

    async def look(self) -> int:
        return await self.drop.look(self.stop)

    async def settle(self) -> int:
        """Looks twice, long enough apart."""
        await self.look()
        self.clock.advance(SETTLED_AFTER)
        return await self.look()

    def names(self, below: str = "") -> list[str]:
        folder = self.path / below
        return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []

    async def states(self) -> dict[str, str]:
        async with self.services.ledger.read() as connection:
            rows = await connection.execute(sa.select(holds.c.hold_id, holds.c.state))
            return {row.hold_id: row.state for row in rows}


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    folder = Folder(tmp_path)
    await folder.services.ledger.upgrade()
    yield folder
    await folder.services.close()


async def test_a_file_that_still_grows_is_not_read(folder: Folder) -> None:
    folder.put("holds.csv", HOLDS + "H1,P1,placed\n")
    assert await folder.look() == 0
    folder.clock.advance(SETTLED_AFTER - timedelta(seconds=1))
    folder.put("holds.csv", HOLDS + "H1,P1,placed\nH2,P1,placed\n")
    assert await folder.look() == 0
    folder.clock.advance(SETTLED_AFTER - timedelta(seconds=1))
    assert await folder.look() == 0
    folder.clock.advance(timedelta(seconds=1))
    assert await folder.look() == 1
    assert await folder.states() == {"H1": "placed", "H2": "placed"}
    assert (folder.names(), folder.names("done")) == ([], ["holds.csv"])


async def test_a_file_that_is_said_to_be_complete_is_read_at_once(folder: Folder) -> None:
    folder.put("holds.csv", HOLDS + "H1,P1,placed\n")
    folder.put("holds.csv.done", "")
    assert await folder.look() == 1
    assert (folder.names(), folder.names("done")) == ([], ["holds.csv"])


async def test_what_is_not_for_us_is_left_alone(folder: Folder) -> None:
    left = [".holds.csv", "holds.csv.part", "notes.txt"]
    for name in left:
        folder.put(name, HOLDS)
    (folder.path / "holds-link.csv").symlink_to(folder.path / "notes.txt")
    assert await folder.settle() == 0
    assert folder.names() == sorted([*left, "holds-link.csv"])


async def test_patrons_come_before_holds_and_older_before_newer(folder: Folder) -> None:
    folder.put("holds_20261123_0210.csv", HOLDS + "H1,P1,placed\n")
    folder.put("holds_20261124_0210.csv", HOLDS + "H1,P1,ready\n")
    folder.put("patrons_20261123_0230.csv", PATRONS)
    assert await folder.settle() == 3
    assert [report.file for report in folder.told] == [
        "patrons_20261123_0230.csv",
        "holds_20261123_0210.csv",
        "holds_20261124_0210.csv",
    ]
    async with folder.services.ledger.read() as connection:
        rows = (await connection.execute(sa.select(deliveries.c.kind, deliveries.c.address))).all()
    assert [tuple(row) for row in rows] == [("hold_ready", "hanako@docomo.ne.jp")]


async def test_a_refused_file_is_kept_with_a_report_and_can_be_forced(folder: Folder) -> None:
    many = HOLDS + "".join(f"H{number},P1,placed\n" for number in range(100))
    folder.put("holds.csv", many)
    await folder.settle()
    folder.put("holds.csv", many[: len(many) // 3].rpartition("\n")[0] + "\n")
    await folder.settle()
    assert (folder.names(), folder.names("failed")) == ([], ["holds.csv", "holds.csv.report.txt"])
    said = (folder.path / "failed" / "holds.csv.report.txt").read_text("utf-8")
    assert "取り込みませんでした" in said
    assert "--force" in said
    assert set((await folder.states()).values()) == {"placed"}

    report = await import_snapshot(
        folder.services, folder.path / "failed" / "holds.csv", "nightly", force=True, who="cli:yamada"
    )
    assert not report.failed
    assert "ended" in (await folder.states()).values()
    async with folder.services.ledger.read() as connection:
        assert await connection.scalar(sa.select(audit.c.who)) == "cli:yamada"


async def test_a_file_with_bad_rows_is_done_and_reported(folder: Folder) -> None:
    folder.put("holds.csv", HOLDS + "H1,P1,placed\nH2,P1,破損\nH3,P1,placed\n")
    await folder.settle()
    assert folder.names("done") == ["holds.csv", "holds.csv.report.txt"]
    assert await folder.states() == {"H1": "placed", "H3": "placed"}
    said = (folder.path / "done" / "holds.csv.report.txt").read_text("utf-8")
    assert "holds.csv: 3行目 3列目「state」: 「破損」は予約状態の対応表にありません。" in said


async def test_files_of_one_name_do_not_replace_each_other(folder: Folder) -> None:
    for _ in range(3):
        folder.put("patrons.csv", PATRONS)
        await folder.settle()
    assert folder.names("done") == ["patrons.2.csv", "patrons.3.csv", "patrons.csv"]


async def test_a_daemon_that_stops_leaves_the_file_for_the_next(folder: Folder) -> None:
    folder.put("holds.csv", HOLDS + "H1,P1,placed\n")
    await folder.look()
    folder.clock.advance(SETTLED_AFTER)
    waiting = folder.drop._complete()
    folder.stop.set()
    assert not await folder.drop._deal(waiting[0], folder.stop)
    assert folder.names() == ["holds.csv"]
    folder.stop.clear()
    assert await folder.look() == 1
    assert await folder.states() == {"H1": "placed"}


async def test_a_file_that_cannot_be_read_is_left_until_it_changes(folder: Folder) -> None:
    path = folder.put("holds.csv", HOLDS + "H1,P1,placed\n")
    await folder.look()
    folder.clock.advance(SETTLED_AFTER)
    # a folder where `done` should be cannot be made: its name is taken
    (folder.path / "done").write_text("", "ascii")
    assert await folder.look() == 0
    assert await folder.look() == 0
    assert path.exists()
    (folder.path / "done").unlink()
    folder.put("holds.csv", HOLDS + "H1,P1,placed\nH2,P1,placed\n")
    assert await folder.settle() == 1


async def test_it_runs_until_it_is_told_to_stop(folder: Folder) -> None:
    folder.put("holds.csv", HOLDS + "H1,P1,placed\n")
    running = asyncio.create_task(folder.drop.run(folder.stop))
    for _ in range(4):
        await folder.clock.asleep()
        folder.clock.advance(timedelta(seconds=5))
        await asyncio.sleep(0)
    await folder.clock.asleep()
    folder.stop.set()
    await asyncio.wait_for(running, 30)
    assert folder.names("done") == ["holds.csv"]


async def test_a_feed_that_is_not_configured_is_named(folder: Folder) -> None:
    path = folder.put("holds.csv", HOLDS)
    with pytest.raises(BadInput, match=r"feeds\.snapshots has no nighty; it has nightly"):
        await import_snapshot(folder.services, path, "nighty")
