"""`todoku batch --slot`, as it is typed: a name that the settings do not have is an error of usage."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailer import maillog
from mailer.app.cli import app

CONFIG = """
library:
  name: とどく市立図書館
  branches: [{id: main, name: 本館}]
sender: {address: noreply@library.example, return_path_domain: bounce.library.example, token_keys_file: keys}
sending: {mode: "on"}
batches: [{name: morning, at: "09:07"}, {name: evening, at: "16:37"}]
relay: {host: 127.0.0.1, tls: none}
database: {url: "sqlite:///todoku.db"}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG, "utf-8")
    (tmp_path / "keys").write_text("k" * 64)
    (tmp_path / "keys").chmod(0o600)
    monkeypatch.setattr(maillog, "setup", lambda **_: None)  # the log stays as the suite has it
    return tmp_path / "config.yaml"


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--dry-run", "--json")])
def test_a_slot_that_is_not_in_the_settings(config: Path, more: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["--config", str(config), "batch", "--slot", "noon", *more])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "noon" in done.stderr
    assert "morning, evening" in done.stderr


def test_a_slot_of_the_settings_may_be_looked_at(config: Path) -> None:
    done = CliRunner().invoke(
        app, ["--config", str(config), "batch", "--slot", "evening", "--dry-run", "--json"]
    )
    assert (done.exit_code, done.stdout.strip()) == (0, "[]")
