"""`todoku reception`, `todoku provisional`, and the warnings of `todoku import`, from the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailer.app.cli import app
from mailer.app.commands import common

CONFIG = """
library:
  name: みなみ市立図書館
  authority: AUTHORITY
  branches: [{id: main, name: 本館}]
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.example.jp, token_keys_file: keys}
relay: {host: 127.0.0.1, tls: none}
database: {url: "sqlite:///todoku.db"}
holds: {reception: next_open_morning, limits: [{at_most: 1, name: 本}]}
"""


class Library:
    """A folder with settings, and the command line on it."""

    def __init__(self, folder: Path, authority: str) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(CONFIG.replace("AUTHORITY", authority), "utf-8")
        (folder / "keys").write_text("k" * 64)
        (folder / "keys").chmod(0o600)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(self.config), *arguments])

    def events(self, *events: dict[str, object]) -> Result:
        now = datetime.now(UTC) - timedelta(minutes=5)
        lines = [
            json.dumps({"id": f"e{number}", "at": (now + timedelta(seconds=number)).isoformat()} | event)
            for number, event in enumerate(events)
        ]
        file = self.folder / "events.jsonl"
        file.write_text("\n".join(lines), "utf-8")
        return self.run("import", str(file))


@pytest.fixture(autouse=True)
def _config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "options", common.Options())


def requests() -> list[dict[str, object]]:
    asked: dict[str, object] = {"type": "hold.requested", "patron_id": "P", "branch": "main", "via": "web"}
    return [
        {"type": "patron", "patron_id": "P", "email": "kari@example.ne.jp", "provisional": True},
        *({"hold_id": f"H{number}"} | asked for number in range(2)),
    ]


def test_what_waits_is_taken_by_hand_once(tmp_path: Path) -> None:
    library = Library(tmp_path, "todoku")
    assert library.events(*requests()).exit_code == 0
    waiting = json.loads(library.run("reception", "list", "--json").stdout)
    assert [item["hold_id"] for item in waiting["waiting"]] == ["H0", "H1"]
    assert waiting["runs"] == []
    [run] = json.loads(library.run("reception", "run", "--again", "--json").stdout)
    assert (run["branch"], run["placed"], run["refused"]) == ("main", 1, 1)
    assert run["by"].startswith("cli:")
    shown = library.run("reception", "list").stdout
    assert "予約 placed 1 · 受付不可 refused 1" in shown
    assert "受付待ち waiting 0" in shown
    assert "nothing to run" in library.run("reception", "run").stdout


def test_under_ils_there_is_no_run_and_imports_show_the_warnings(tmp_path: Path) -> None:
    library = Library(tmp_path, "ils")
    result = library.events(*requests())
    assert result.exit_code == 0
    assert "警告 warning: 予約点数の上限 / limit of holds" in result.output
    refused = library.run("reception", "run")
    assert refused.exit_code == 1
    assert "authority" in refused.output


def test_who_has_a_provisional_address(tmp_path: Path) -> None:
    library = Library(tmp_path, "ils")
    library.events(*requests())
    [line] = json.loads(library.run("provisional", "--json").stdout)
    assert (line["patron_id"], line["address"], line["used_at"] is not None) == (
        "P",
        "kari@example.ne.jp",
        True,
    )
    assert "利用あり used" in library.run("provisional").stdout
