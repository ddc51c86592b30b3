"""config.yaml: the shipped file, every kind of error, and text that is no configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from holds_core.config import ConfigError, Problem, load, parse
from holds_core.settings import (
    Mode,
    Settings,
)
from holds_core.settings.base import Section, section_of
from holds_core.settings.text import read

SHIPPED = Path(__file__).resolve().parents[2] / "config.yaml"
BAD = sorted(path for path in (Path(__file__).parent / "bad_configs").iterdir() if path.is_dir())
BASE = Path("/etc/todoku")

MINIMAL = """
library: {name: 市立図書館}
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.library.example.jp}
relay: {host: 127.0.0.1, tls: none}
"""


def settings(more: str = "", env: dict[str, str] | None = None) -> Settings:
    """MINIMAL with sections added or, by name, replaced."""
    replaced = set(re.findall(r"(?m)^(\w+):", more))
    kept = [line for line in MINIMAL.splitlines() if line.partition(":")[0] not in replaced]
    return parse("\n".join([*kept, more]), base=BASE, env=env or {})


def problems(more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(more)
    return [problem.path for problem in caught.value.problems]


# The shipped file -------------------------------------------------------------------------------------


def enabled(text: str) -> str:
    """The shipped file with every unused setting in use: `#key:` becomes `key:`, `# words` stays."""
    return re.sub(r"(?m)^(\s*)#(?=[\w-])", r"\1", text)


def keys_of(section: type[Section], above: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        path = f"{above}{field.alias or name}"
        yield path
        if below := section_of(field):
            yield from keys_of(below, f"{path}.")


def test_shipped_file_loads_and_sends_nothing() -> None:
    found = load(SHIPPED, {})
    assert found.sending.mode is Mode.OFF
    assert found.warnings == ()


def test_shipped_file_with_everything_in_use_loads() -> None:
    found = parse(
        enabled(SHIPPED.read_text("utf-8")),
        base=BASE,
        env={"CREDENTIALS_DIRECTORY": "/run/credentials/todoku"},
    )
    assert found.intake.imap is not None
    assert found.intake.imap.password_file == Path("/run/credentials/todoku/imap-password")
    assert found.providers[0].links is False
    assert found.warnings == ()


def test_shipped_file_names_every_key_and_no_other() -> None:
    document = read(enabled(SHIPPED.read_text("utf-8")), "config.yaml")
    written = {
        ".".join(str(step) for step in path if isinstance(step, str))
        for path in document.lines
        if path and isinstance(path[-1], str)
    }
    assert written == set(keys_of(Settings))


def test_every_key_is_explained_in_japanese_and_english() -> None:
    text = enabled(SHIPPED.read_text("utf-8"))
    lines = text.splitlines()
    for path, number in read(text, "config.yaml").lines.items():
        # the first entry of a list is explained for all
        if not path or isinstance(path[-1], int) or any(isinstance(step, int) and step > 0 for step in path):
            continue
        above = number - 2
        while lines[above].lstrip().startswith("# "):
            above -= 1
        comment = "\n".join(lines[above + 1 : number - 1])
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", comment), f"{path} has no Japanese explanation"
        assert re.search(r"(?m)(?:^\s*# |/ )[ -~]{4,}$", comment), f"{path} has no English explanation"


# What the shipped file shows as an example; all its other values are the defaults.
EXAMPLES = {"library.name_en", "library.branches", "sender.note", "sender.note_en", "intake.lmtp"}


def test_shipped_values_are_the_defaults() -> None:
    def differences(one: object, other: object, path: str = "") -> Iterator[str]:
        if isinstance(one, dict) and isinstance(other, dict):
            for key in one.keys() | other.keys():
                yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
        elif one != other:
            yield path

    shipped = parse(SHIPPED.read_text("utf-8"), base=BASE, env={})
    assert set(differences(shipped.model_dump(), settings().model_dump())) == EXAMPLES


# Errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_configuration(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    with pytest.raises(ConfigError) as caught:
        load(Path("config.yaml"), {})
    assert f"{caught.value}\n" == (case / "expected-error").read_text("utf-8")
    assert "hunter2" not in str(caught.value)


def test_there_are_bad_configurations() -> None:
    assert len(BAD) >= 25


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "config.yaml", {})


def test_a_file_with_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.strip().encode())
    assert load(file, {}).sender.token_keys_file == tmp_path / "token.keys"


def test_errors_of_all_sections_come_at_once() -> None:
    assert problems("sending: {mode: redirect, dsn: perhaps}\ncase: {calls: 1}\ndeadline: {days: 0}") == [
        "sending.redirect_to",
        "sending.dsn",
        "case.calls",
        "deadline.days",
    ]


@pytest.mark.parametrize(
    "section",
    ["relay: {host: mail.example.jp, username: u}", "intake: {imap: {host: imap.example.jp, username: u}}"],
)
def test_a_login_needs_a_password_from_a_file_or_the_environment(section: str) -> None:
    env = {"TODOKU_RELAY_PASSWORD": "a", "TODOKU_IMAP_PASSWORD": "b"}
    assert settings(section, env)
    assert [path.rpartition(".")[2] for path in problems(section)] == ["password_file"]


# Text that is no configuration ------------------------------------------------------------------------


def check_any(text: str) -> None:
    """Settings or ConfigError, and an error that can be printed anywhere."""
    found: tuple[Problem, ...] = ()
    try:
        found = parse(text, base=BASE, env={}).warnings
    except ConfigError as error:
        found = error.problems or (Problem("", None, "", "", ""),)
    assert all(problem.ja and problem.en and str(problem).encode() for problem in found)


@given(st.text())
def test_any_text(text: str) -> None:
    check_any(text)


FRAGMENTS = [
    *sorted(set(keys_of(Settings))),
    *"[]{}:,-?&*!|>'\"%@`#~",
    "\n",
    "  ",
    ": ",
    "- ",
    "&a ",
    "*a",
    "<<",
]
FRAGMENTS += [
    "!!binary ",
    "!x ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "\\U",
    "\\uD800",
    "off",
    "null",
    "9:10",
    "\t",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_any_yaml_like_text(text: str) -> None:
    check_any(text)


@limits(deadline=None)
@given(st.data())
def test_shipped_file_with_a_slip(data: st.DataObject) -> None:
    text = SHIPPED.read_text("utf-8")
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 20))
    check_any(text[:at] + data.draw(st.text(max_size=5)) + text[at + cut :])


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
KEYS = st.sampled_from(sorted({key.rpartition(".")[2] for key in keys_of(Settings)})) | st.text(max_size=5)
TREES = st.recursive(LEAVES, lambda below: st.lists(below) | st.dictionaries(KEYS, below), max_leaves=8)


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), TREES, max_size=4))
def test_any_tree_below_the_known_sections(tree: dict[str, object]) -> None:
    check_any(MINIMAL + yaml.safe_dump({key: value for key, value in tree.items() if key not in MINIMAL}))
    check_any(yaml.safe_dump(tree, allow_unicode=True))
