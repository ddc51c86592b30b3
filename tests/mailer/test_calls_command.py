"""`todoku calls`, as it is typed: the desk's list, in a pipe and as JSON."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holds_core.feeds.intake import EventIntake, Parsed
from holds_core.feeds.wire import parse
from holds_core.ledger import silence
from holds_core.ledger.models import notices
from holds_core.ledger.session import Ledger
from holds_core.ledger.silence import Weighed
from holds_core.silence import Risk
from holds_core.silence_reasons import RiskReason
from mailer import maillog
from mailer.app.cli import app
from mailer.app.services import event_rules
from tests.core.ledger.helpers import rows
from tests.core.test_rulebook import rulebook

CONFIG = """
library:
  name: とどく市立図書館
  branches: [{id: main, name: 本館}]
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
database: {url: "sqlite:///todoku.db"}
case: {calls_per_day: 1}
"""
NOW = datetime.now(UTC)


async def fill(folder: Path) -> None:
    """Three patrons without an address; the model knows two of them."""
    ledger = Ledger.open(f"sqlite+aiosqlite:///{folder}/todoku.db")
    await ledger.upgrade()
    intake = EventIntake(ledger, event_rules(rulebook()), lambda: NOW, 200)
    events = []
    for number in (1, 2, 3):
        patron = {"patron_id": f"P{number}", "at": NOW.isoformat()}
        events += [
            {"id": f"p{number}", "type": "patron", "name": "図書 花子", "contact": "phone", **patron},
            {"id": f"h{number}", "type": "hold.shelved", "hold_id": f"H{number}", "branch": "main", **patron},
        ]
    await intake.run([Parsed(n, parse(event)) for n, event in enumerate(events)], "test")
    notice = {row.patron_id: row.notice_id for row in await rows(ledger, notices)}
    ends = NOW + timedelta(days=2, hours=12)
    found = [
        Weighed(Risk(notice["P1"], 0.35, 1.0, (RiskReason.NOT_SENT, RiskReason.FREQUENT_VISITOR)), ends),
        Weighed(Risk(notice["P2"], 0.85, 1.0, (RiskReason.NOT_SENT,)), ends),
    ]
    await silence.store(ledger, found, NOW, 0.3)
    await ledger.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(maillog, "setup", lambda **options: None)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def test_the_list_has_the_desks_order_and_says_which_calls_are_todays(place: Path) -> None:
    asyncio.run(fill(place))
    done = CliRunner().invoke(app, ["calls", "--json"])
    assert done.exit_code == 0, done.output
    listed = json.loads(done.stdout)
    assert next((row["patron_id"], row["rank"], row["today"]) for row in listed) == ("P2", 1, True)
    assert [row["today"] for row in listed] == [True, False, False]
    assert {row["patron_id"]: row["risk"] for row in listed} == {"P1": 0.35, "P2": 0.85, "P3": None}
    assert listed[0]["risk_reasons"] == ["not_sent"]
    plain = CliRunner().invoke(app, ["calls"])
    first = plain.stdout.splitlines()[0].split("\t")
    assert first[:3] == ["1", "P2", "図書 花子"]
    assert first[4] == "高い 85%"


def test_an_empty_ledger_has_an_empty_list(place: Path) -> None:
    async def empty() -> None:
        ledger = Ledger.open(f"sqlite+aiosqlite:///{place}/todoku.db")
        await ledger.upgrade()
        await ledger.close()

    asyncio.run(empty())
    done = CliRunner().invoke(app, ["calls", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
