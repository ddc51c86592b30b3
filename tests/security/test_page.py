"""docs/security.md names every threat there is, and only tests that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")
TESTS = re.findall(r"^- `(tests/[\w/]+\.py)(?:::(\w+))?`$", PAGE, re.M)

THREATS = (
    "Forged bounces",
    "Forged confirmations",
    "Header injection",
    "Template injection",
    "CSV injection",
    "SMTP smuggling and oversized mail at LMTP",
    "An IMAP server that lies",
    "API without token",
    "Path traversal in feeds",
    "YAML tricks",
    "Session theft",
    "Timing",
)


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name or file for file, name in TESTS])
def test_a_named_test_is_there(file: str, name: str) -> None:
    assert (ROOT / file).is_file()
    assert not name or name in functions(ROOT / file)


@pytest.mark.parametrize("threat", THREATS)
def test_every_threat_has_a_defence_and_a_test(threat: str) -> None:
    section = re.search(rf"^\*\*{threat}[^\n]*\n(.*?)(?=^\*\*|^## |\Z)", PAGE, re.M | re.S)
    assert section is not None, threat
    assert re.search(r"^- `tests/", section[1], re.M), threat


def test_no_line_of_tests_is_overlooked() -> None:
    assert len(TESTS) == len(re.findall(r"^- `", PAGE, re.M))


def test_every_test_of_this_folder_is_named() -> None:
    """A defence that was tested and is not told would not be missed."""
    named = {name for _, name in TESTS}
    here = functions(Path(__file__).with_name("test_threats.py"))
    assert {name for name in here if name.startswith("test_")} <= named
