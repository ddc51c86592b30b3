"""`todoku closure`, `todoku holidays` and `todoku campaign`, as they are typed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jpholiday
import pytest
import sqlalchemy as sa
from click.testing import Result
from typer.testing import CliRunner

from holds_core.ledger.models import audit, deliveries, holds, patron_addresses, patrons
from holds_core.ledger.session import Ledger
from mailer import maillog
from mailer.app.cli import app

CONFIG = """
library:
  name: とどく市立図書館
  branches:
    - {id: main, name: 本館, closed: {weekly: [mon], public_holidays: closed}}
sender:
  address: old@library.example
  return_path_domain: bounce.library.example
  changes: [{since: SINCE, address: new@city.example}]
batches: [{name: 朝, at: "09:10"}, {name: 夕, at: "16:10"}]
batch_rules: {on_closed_days: wait}
relay: {host: 127.0.0.1}
database: {url: "sqlite:///todoku.db"}
"""
TODAY = datetime.now(ZoneInfo("Asia/Tokyo")).date()
SINCE = TODAY + timedelta(days=20)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # the logger would keep this test's standard error, which is closed after it
    monkeypatch.setattr(maillog, "setup", lambda **options: None)
    keys = tmp_path / "token.keys"
    keys.touch(0o600)
    keys.write_text("0123456789abcdef" * 4)
    (tmp_path / "config.yaml").write_text(CONFIG.replace("SINCE", SINCE.isoformat()))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def ledger(place: Path, *statements: sa.Executable) -> list[Any]:
    """Runs statements and returns the rows of the last one."""

    async def work() -> list[Any]:
        opened = Ledger.open(f"sqlite+aiosqlite:///{place}/todoku.db")
        try:
            found = []
            async with opened.write() as connection:
                for statement in statements:
                    result = await connection.execute(statement)
                    found = list(result.all()) if result.returns_rows else []
            return found
        finally:
            await opened.close()

    return asyncio.run(work())


def people(place: Path, number: int) -> None:
    assert run("db", "upgrade").exit_code == 0
    now = datetime.now(UTC)
    ledger(
        place,
        *(
            statement
            for each in range(number)
            for statement in (
                sa.insert(patrons).values(
                    patron_id=f"P{each}", contact="email", phones=[], provisional=False, overdue=False,
                    feed_emails=[], event_at=now,
                ),
                sa.insert(patron_addresses).values(
                    patron_id=f"P{each}", address=f"p{each}@example.jp", address_key=f"p{each}@example.jp",
                    position=0, source="feed", provisional=False, since=now,
                ),
            )
        ),
    )  # fmt: skip


def open_day(start: int) -> date:
    """A day from `start` days on that the branch would be open."""
    day = TODAY + timedelta(start)
    while day.weekday() == 0 or jpholiday.is_holiday(day):
        day += timedelta(1)
    return day


def test_a_closing_is_shown_entered_listed_and_taken_back(place: Path) -> None:
    people(place, 1)
    day = open_day(8)
    ledger(
        place,
        sa.insert(holds).values(
            hold_id="H1", patron_id="P0", branch="main", state="ready", event_at=datetime.now(UTC),
            deadline=day, deadline_source="mail",
        ),
    )  # fmt: skip
    shown = said("closure", "add", "main", day.isoformat(), "--dry-run")
    [hold] = shown["holds"]
    assert (hold["hold_id"], hold["deadline"], hold["contact"], hold["told"]) == (
        *("H1", day.isoformat()),
        "email",
        False,
    )
    assert date.fromisoformat(hold["moves_to"]) > day
    assert [slot["waits"] for slot in shown["batches"]] == [True, True]
    assert said("closure", "list") == []
    done = said("closure", "add", "main", day.isoformat(), "--reason", "停電", "--tell")
    assert (done["moved"], len(done["notices"])) == (["H1"], 1)
    [listed] = said("closure", "list")
    assert (listed["branch"], listed["first"], listed["last"], listed["reason"]) == (
        *("main", day.isoformat()),
        *(day.isoformat(), "停電"),
    )
    [moved] = ledger(place, sa.select(holds.c.deadline))
    assert moved.deadline.isoformat() == hold["moves_to"]
    assert "臨時休館 1" in run("closure", "remove", "1").output
    assert said("closure", "list") == []
    assert run("closure", "remove", "1").exit_code == 1
    lines = ledger(place, sa.select(audit.c.what).order_by(audit.c.audit_id))
    assert [line.what for line in lines] == ["closure.add", "closure.remove"]


@pytest.mark.parametrize("words", [("main", "2020-01-01"), ("west", "2099-01-01"), ("main", "tomorrow")])
def test_a_closing_that_cannot_be_meant(place: Path, words: tuple[str, ...]) -> None:
    assert run("closure", "add", *words).exit_code in (1, 2)
    assert said("closure", "list") == []


def test_all_branches_and_plain_output(place: Path) -> None:
    first, last = TODAY + timedelta(3), TODAY + timedelta(4)
    done = run("closure", "add", "all", first.isoformat(), "--until", last.isoformat())
    assert done.exit_code == 0
    assert "臨時休館 1 を登録" in done.output
    assert "全館" in run("closure", "list").output


def official_list(year: int) -> bytes:
    """A list like the Cabinet Office's, with a day that no calculation knows."""
    days = dict(jpholiday.year_holidays(year)) | {date(year, 6, 12): "臨時の祝日"}
    lines = [f"{day.year}/{day.month}/{day.day},{name}" for day, name in sorted(days.items())]
    return "\r\n".join(["国民の祝日・休日月日,国民の祝日・休日名称", *lines, ""]).encode("cp932")


def test_the_cabinet_offices_list_is_taken_in_and_forgotten(place: Path) -> None:
    (place / "syukujitsu.csv").write_bytes(official_list(2030))
    done = said("holidays", "import", "syukujitsu.csv")
    assert (done["first"], done["last"]) == (2030, 2030)
    assert done["differs"] == [{"day": "2030-06-12", "list": "臨時の祝日", "calculation": None}]
    assert {"day": "2030-06-12", "name": "臨時の祝日"} in said("holidays", "show", "2030")
    assert "臨時の祝日" not in run("holidays", "show", "2031").output
    assert run("holidays", "drop").exit_code == 0
    assert "臨時の祝日" not in run("holidays", "show", "2030").output


def test_a_list_that_is_none_changes_nothing(place: Path) -> None:
    (place / "cut.csv").write_bytes(official_list(2030)[:100])
    done = run("holidays", "import", "cut.csv")
    assert done.exit_code == 1
    assert len(said("holidays", "show", "2030")) >= 15


def test_a_file_named_in_the_settings_counts_too(place: Path) -> None:
    config = place / "config.yaml"
    config.write_text(config.read_text().replace("library:\n", "library:\n  holidays_file: own.csv\n"))
    done = run("closure", "add", "main", TODAY.isoformat(), "--dry-run")
    assert done.exit_code == 1
    assert "own.csv" in done.output
    (place / "own.csv").write_bytes(official_list(2030))
    assert {"day": "2030-06-12", "name": "臨時の祝日"} in said("holidays", "show", "2030")


def test_a_campaign_is_planned_started_stopped_and_goes_on(place: Path) -> None:
    people(place, 7)
    plan = said("campaign", "sender-change", "--dry-run")
    assert (plan["switch_on"], plan["addresses"], plan["started"]) == (SINCE.isoformat(), 7, False)
    assert plan["per_batch"] * plan["batches"] >= 7
    assert said("campaign", "list") == []
    said("campaign", "sender-change", "--per-batch", "5")
    assert run("campaign", "sender-change").exit_code == 1  # it is running
    assert run("batch").exit_code == 0  # sending is off: released, not sent
    [item] = said("campaign", "list")
    assert (item["queued"], item["left"], item["running"]) == (5, 2, True)
    assert "sender-change" in run("campaign", "stop", item["campaign"]).output
    said("campaign", "sender-change", "--per-batch", "5")
    run("batch")
    [item] = said("campaign", "list")
    assert (item["queued"], item["left"], item["ended_why"]) == (7, 0, "done")
    assert len(ledger(place, sa.select(deliveries.c.delivery_id))) == 7


def test_a_campaign_that_would_be_late_is_refused(place: Path) -> None:
    people(place, 100)
    done = run("campaign", "sender-change", "--per-batch", "1")
    assert done.exit_code == 1
    assert "100" in done.output
    assert said("campaign", "list") == []


def test_before_the_change_nobody_can_have_gone_silent(place: Path) -> None:
    assert run("campaign", "silent").exit_code == 1
    assert said("campaign", "silent", "--since", "2020-01-01") == []
