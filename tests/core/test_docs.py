"""The public documents against the program: commands, settings, files, and the examples that they show."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from holds_core.config import parse
from holds_core.feeds import wire
from mailer.app.cli import app

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.ja.md")
MODULE_FOLDERS = ("holds_core", "holds_core/feeds", "holds_core/ledger", "mailer", "bounces")
"""Folders of which ARCHITECTURE.md names every module; of the others it names the folder."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
_PATH = re.compile(r"`([\w./-]+(?:\.(?:py|tsv|toml|yaml|md)|/))`")
_FOLDER = re.compile(r"(- )?`([\w./-]+/)`:")


def document(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    return [(found[1], found[2]) for found in _BLOCK.finditer(document(name))]


def shown_in(language: str) -> str:
    """README.md's blocks in `language`, one after the other."""
    return "".join(text for found, text in blocks("README.md") if found == language)


def documented_output(command: str) -> str:
    """What README.md says that `command` prints."""
    (shown,) = (text for _, text in blocks("README.md") if text.startswith(f"$ {command}\n"))
    return shown.partition("\n")[2]


def commands(group: Any, before: str = "todoku") -> Iterator[str]:
    """All commands below a group, as they are typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}"


COMMANDS = sorted(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("readme", READMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_named(readme: str, command: str) -> None:
    assert f"`{command}`" in document(readme)


@pytest.mark.parametrize("readme", READMES)
def test_no_command_is_promised_that_is_not_there(readme: str) -> None:
    rows = "\n".join(line for line in document(readme).splitlines() if line.startswith("| `todoku "))
    assert sorted(re.findall(r"`(todoku [a-z -]+)`", rows)) == COMMANDS


@pytest.mark.parametrize("readme", READMES)
@pytest.mark.parametrize("section", yaml.safe_load(document("config.yaml")))
def test_every_section_of_the_settings_is_named(readme: str, section: str) -> None:
    assert f"`{section}`" in document(readme)


def test_both_readmes_show_the_same_blocks() -> None:
    english, japanese = map(blocks, READMES)
    assert english == japanese
    assert english


@pytest.mark.parametrize("name", [*READMES, "ARCHITECTURE.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    missing = [link for link in _LINK.findall(document(name)) if not (ROOT / link).exists()]
    assert not missing


def architecture() -> Iterator[tuple[str, Path]]:
    """(name, place) of every file and folder that ARCHITECTURE.md names.

    Below a line that opens with a folder and a colon, names count from that folder; a list item may open a
    folder of its own inside it.
    """
    base = ROOT
    for line in document("ARCHITECTURE.md").splitlines():
        here = base
        if line.startswith("## "):
            base = here = ROOT
        elif (opened := _FOLDER.match(line)) is not None:
            here = base / opened[2] if opened[1] else ROOT / opened[2]
            base = base if opened[1] else here
        for name in _PATH.findall(line):
            inside = base / name if name.endswith("/") and (base / name).exists() else here / name
            yield name, inside if inside.exists() else ROOT / name


def test_architecture_names_files_that_exist() -> None:
    named = list(architecture())
    assert len(named) > 100
    assert [name for name, place in named if not place.exists()] == []


@pytest.mark.parametrize("folder", MODULE_FOLDERS)
def test_architecture_names_every_module(folder: str) -> None:
    named = {place for _, place in architecture()}
    modules = {place for place in (ROOT / folder).glob("*.py") if place.name != "__init__.py"}
    assert {place.name for place in modules - named} == set()


def test_architecture_is_one_page() -> None:
    assert len(document("ARCHITECTURE.md").splitlines()) <= 90


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with the README's configuration and events."""
    (tmp_path / "config.yaml").write_text(shown_in("yaml"), "utf-8")
    (tmp_path / "events.jsonl").write_text(shown_in("jsonl"), "utf-8")
    keys = tmp_path / "token.keys"
    keys.touch(0o600)
    keys.write_text("0123456789abcdef" * 4 + "\n")
    return tmp_path


def test_the_settings_shown_can_be_used(library: Path) -> None:
    settings = parse((library / "config.yaml").read_text("utf-8"), base=library, env={})
    assert settings.sending.mode.value == "off"
    assert settings.sender.return_path_domain == "bounce.library.example.jp"
    assert [snapshot.name for snapshot in settings.feeds.snapshots] == ["nightly"]


def event_types() -> set[str]:
    """All types of the contract."""
    models: tuple[type[BaseModel], ...] = get_args(get_args(wire.EventIn)[0])
    return {name for model in models for name in get_args(model.model_fields["type"].annotation)}


def test_the_events_are_one_of_each_type() -> None:
    shown = [json.loads(line)["type"] for line in shown_in("jsonl").splitlines()]
    assert sorted(shown) == sorted(event_types())


def test_the_events_import_as_shown(library: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mailer.app", "import", "--dry-run", "events.jsonl"],
        cwd=library,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == (
        documented_output("todoku import --dry-run events.jsonl"),
        "",
        0,
    )


def test_the_bounce_reads_as_shown() -> None:
    mail = ROOT / "tests/bounces/mails/docomo-data.eml"
    done = CliRunner().invoke(app, ["bounces", "parse", "--language", "en", str(mail)])
    assert done.exit_code == 0
    assert done.output == documented_output("todoku bounces parse --language en docomo-data.eml") + "\n"
