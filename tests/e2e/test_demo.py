"""`todoku demo` as a stranger runs it: a process of its own, judged by the truth that it writes down."""

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bounces.report import COLUMNS
from holds_core.labels import FINDINGS, say
from holds_core.ledger.queries import Undelivered
from mailer.app.demo.clock import TownClock
from mailer.app.demo.judge import compare
from mailer.app.demo.town import Fate, Town, Trouble

TODOKU = (sys.executable, "-c", "from mailer.app.cli import main; main()")
PATIENCE = timedelta(days=2)
"""How long the demo's configuration waits for a sign."""
LONGEST_S = 240
COLUMN = {name: ja for ja, name in COLUMNS}


def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def todoku(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TODOKU, *arguments],
        env=environment(temporary),
        cwd=temporary,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )


@dataclass
class Played:
    """Three days of the town: what was printed, and what lies in its folder."""

    folder: Path
    output: str
    progress: str

    @property
    def as_of(self) -> datetime:
        return datetime.fromisoformat(self._truth["as_of"])

    @property
    def truth(self) -> list[dict[str, Any]]:
        return list(self._truth["patrons"])

    @property
    def _truth(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "truth.json").read_text("utf-8")))

    @property
    def report(self) -> list[dict[str, str]]:
        text = (self.folder / "report.csv").read_bytes().decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text)))

    def named(self, finding: str = "") -> set[str]:
        """Patrons in the report, all or those of one finding."""
        wanted = say(FINDINGS, finding)
        return {row[COLUMN["patron_id"]] for row in self.report if wanted in ("", row[COLUMN["finding"]])}

    def whose_mail(self, *fates: str) -> set[str]:
        return {row["patron_id"] for row in self.truth if any(row["fates"].get(fate) for fate in fates)}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    base = tmp_path_factory.mktemp("demo")
    folder = base / "town"
    done = todoku(base, "demo", "--fast", "--days", "3", "--folder", str(folder))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in base.iterdir()] == ["town"]
    return Played(folder, done.stdout, done.stderr)


def test_every_way_of_losing_a_mail_is_played(played: Played) -> None:
    for fate in ("refused", "bounced", "deferred", "vanished", "arrived"):
        assert played.whose_mail(fate), fate


def test_refused_and_bounced_patrons_are_named(played: Played) -> None:
    assert played.whose_mail("refused", "bounced") <= played.named("bounced")


def test_patrons_whose_mail_arrived_are_never_said_to_have_bounced(played: Played) -> None:
    arrived = played.whose_mail("arrived") - played.whose_mail("refused", "bounced", "deferred", "vanished")
    assert arrived
    assert not arrived & played.named("bounced")


def test_the_silent_providers_patrons_are_named_once_their_time_is_over(played: Played) -> None:
    over = {
        row["patron_id"]
        for row in played.truth
        if row["fates"].get("vanished")
        and not row["came_anyway"]
        and datetime.fromisoformat(row["lost_at"]) < played.as_of - PATIENCE
    }
    assert over
    assert over <= played.named("unanswered")


def test_both_branches_of_the_way_back_are_used(played: Played) -> None:
    """The button by HTTP, reports by LMTP; nothing is left in quarantine."""
    log = (played.folder / "todoku.log").read_text("utf-8")
    for event in ("reader_answered", "mail_received", "batch_released", "imported", "unanswered"):
        assert f"event={event}" in log
    assert "task_failed" not in log
    assert "mail_quarantined" not in log


def test_it_tells_each_day_and_compares_with_the_truth(played: Played) -> None:
    days = [line for line in played.progress.splitlines() if " 便 " in line]
    assert len(days) == 3
    assert "見落とし" in played.output
    assert str(played.folder / "config.yaml") in played.output


def test_the_other_commands_work_in_the_folder_it_leaves(played: Played, tmp_path: Path) -> None:
    config = ("--config", str(played.folder / "config.yaml"))
    # the town's days end in the past: until now further windows may have passed
    report = todoku(tmp_path, *config, "report", "--json", "--as-of", played.as_of.isoformat())
    assert {line["patron_id"] for line in json.loads(report.stdout)} == played.named()
    patron = sorted(played.whose_mail("bounced"))[0]
    story = todoku(tmp_path, *config, "explain", f"patron:{patron}", "--json")
    assert {"attempt.ended", "evidence.bounced"} <= {
        item["type"] for item in json.loads(story.stdout)["events"]
    }


def test_the_silent_provider_is_found_within_a_week(tmp_path: Path) -> None:
    done = todoku(tmp_path, "demo", "--fast", "--days", "6")
    assert done.returncode == 0, done.stderr
    found = done.stdout.partition("what Todoku found by itself")[2]
    assert "hiroba.example" in found
    # the providers that deliver are not blamed
    assert not any(
        f"{name}.example:" in found for name in ("minato", "kawabe", "yamabiko", "gakuen", "keitai")
    )
    assert "先に電話するとよい利用者" in found


def test_a_folder_in_use_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    done = todoku(tmp_path, "demo", "--fast", "--days", "1", "--folder", str(tmp_path))
    assert done.returncode == 2
    assert "--folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_interrupted_it_reports_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*TODOKU, "demo", "--fast"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        day = next(line for line in process.stderr if " 便 " in line)
        assert "送信処理済み" in day
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LONGEST_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "見落とし" in output
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_the_towns_clock_stands_until_it_is_moved_and_waits_for_who_it_woke() -> None:
    clock = TownClock(NOON)
    seen: list[datetime] = []

    async def loop() -> None:
        while True:
            await clock.sleep(60)
            await asyncio.sleep(0.02)  # real work, during which the clock stands
            seen.append(clock.now())

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    clock.move_to(NOON + timedelta(seconds=59))
    await clock.settled()
    assert seen == []
    clock.move_to(NOON + timedelta(hours=3))
    clock.move_to(NOON)  # never backwards
    await clock.settled()
    assert seen == [NOON + timedelta(hours=3)]
    task.cancel()


def test_the_same_seed_makes_the_same_town() -> None:
    one, same, other = (Town(seed, ("main",), NOON) for seed in (4, 4, 5))
    assert one.patrons == same.patrons
    assert one.patrons != other.patrons


@pytest.mark.parametrize(
    ("fate", "finding", "came", "hours_ago", "list_"),
    [
        (Fate.REFUSED, "bounced", False, 1, "named"),
        (Fate.VANISHED, "unanswered", False, 60, "named"),
        (Fate.VANISHED, None, True, 60, "came"),
        (Fate.VANISHED, None, False, 40, "waiting"),
        (Fate.VANISHED, None, False, 50, "missed"),
        (Fate.BOUNCED, None, False, 50, "missed"),
    ],
)
def test_the_comparison_puts_each_loss_where_it_belongs(
    fate: Fate, finding: str | None, came: bool, hours_ago: int, list_: str
) -> None:
    town = Town(1, ("main",), NOON)
    patron = next(found for found in town.patrons.values() if found.trouble is Trouble.NONE)
    town.record(patron, Fate.ARRIVED, NOON - timedelta(days=9))
    town.record(patron, fate, NOON - timedelta(hours=hours_ago))
    town.told[patron.patron_id].came_anyway = came
    lines = [line_of(patron.patron_id, finding)] if finding else []
    verdict = compare(town, lines, NOON, PATIENCE)
    assert getattr(verdict.rows[fate], list_) == [patron.patron_id]
    assert verdict.judged == 1
    assert not verdict.wronged


@pytest.mark.parametrize(("finding", "list_"), [("bounced", "wronged"), ("unanswered", "quiet")])
def test_the_comparison_tells_who_is_named_for_nothing(finding: str, list_: str) -> None:
    town = Town(1, ("main",), NOON)
    patron = next(iter(town.patrons.values()))
    town.record(patron, Fate.ARRIVED, NOON)
    verdict = compare(town, [line_of(patron.patron_id, finding)], NOON, PATIENCE)
    assert (verdict.arrived, getattr(verdict, list_)) == (1, [patron.patron_id])


def line_of(patron_id: str, finding: str) -> Undelivered:
    return Undelivered(
        notice_id="N1",
        patron_id=patron_id,
        address="a@b.example",
        kind="hold_ready",
        state="handed_over",
        finding=finding,
        reason="",
        fault="",
        sent_at=None,
        deadline=None,
        hold_ids=(),
    )
