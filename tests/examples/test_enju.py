"""Two nights of a library on Next-L Enju: its TSV as it writes it, misspelt heading and all."""

from __future__ import annotations

from pathlib import Path

from holds_core.config import load
from holds_core.ledger import desk
from tests.examples.stage import EXAMPLES, Stage, staged, subjects

SLOT = "2026-11-24 09:30"


def test_the_settings_can_be_used_as_they_are() -> None:
    settings = load(EXAMPLES / "enju.yaml", {})
    (feed,) = settings.feeds.snapshots
    assert feed.delimiter.character == "\t"
    # what Enju writes there is the time of the last change
    assert feed.holds.columns.deadline is None


async def test_two_nights(tmp_path: Path) -> None:
    async with staged("enju", tmp_path, "2026-11-23 02:30") as stage:
        await first_night(stage)
        await second_night(stage)


async def first_night(stage: Stage) -> None:
    """The baseline: three patrons, three holds, nobody is told."""
    for file in ("users_20261123_0205.tsv", "reserves_20261123_0210.tsv"):
        report = await stage.snapshot(file)
        assert (report.baseline, report.applied, report.notices) == (True, 3, 0)
    assert await stage.states("1", "2", "3") == {"1": "placed", "2": "placed", "3": "ready"}
    hold = await stage.hold("1")
    assert (hold.patron_id, hold.title, hold.branch, hold.deadline) == ("0001", "門", "hachioji", None)


async def second_night(stage: Stage) -> None:
    """One is ready, one cancelled, one lent, one new; and one address has changed."""
    assert await stage.until("2026-11-24 02:30") == []
    users = await stage.snapshot("users_20261124_0205.tsv")
    reserves = await stage.snapshot("reserves_20261124_0210.tsv")
    assert (users.counts.changed, reserves.counts.added, reserves.counts.changed) == (1, 1, 3)
    states = await stage.states("1", "2", "3", "4")
    assert states == {"1": "ready", "2": "cancelled", "3": "collected", "4": "placed"}
    async with stage.services.ledger.read() as connection:
        assert await desk.data_as_of(connection) == stage.at("2026-11-24 02:10")
    told = subjects(await stage.until(SLOT))
    assert sorted(told) == [
        ("hanako.s@gmail.com", "予約資料がご用意できました"),
        ("hanako.s@gmail.com", "登録情報変更のお知らせ"),
        ("taro@example.jp", "予約完了"),
    ]
