"""docs/security.md names every threat there is, and only tests that are there and that something is known to fail."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.security.mutate import mutated
from tests.security.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")

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
"""Those that nobody may drop from the page."""

SECTIONS = dict(re.findall(r"^\*\*([^*\n]+)\.\*\*(.*?)(?=^\*\*|^## |\Z)", PAGE, re.M | re.S))
EACH = [(threat, mutation) for threat, mutations in MUTATIONS.items() for mutation in mutations]


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in nodes)


def named(threat: str) -> list[str]:
    """The tests that the page names for a threat."""
    return re.findall(r"^- `(tests/[\w/]+\.py::\w+)`$", SECTIONS[threat], re.M)


def test_every_threat_is_there() -> None:
    assert all(any(heading.startswith(threat) for heading in SECTIONS) for threat in THREATS)


@pytest.mark.parametrize("threat", SECTIONS)
def test_a_threat_says_who_from_where_and_what_stops_them(threat: str) -> None:
    assert re.search(r"\*Who:\* \S.+\*What stops them:\* \S", SECTIONS[threat])


@pytest.mark.parametrize("threat", SECTIONS)
def test_each_test_on_the_page_has_a_defence_without_which_it_fails(threat: str) -> None:
    assert named(threat)
    assert named(threat) == list(dict.fromkeys(mutation.test for mutation in MUTATIONS[threat]))


def test_no_line_of_tests_is_overlooked() -> None:
    assert set(MUTATIONS) == set(SECTIONS)
    assert sum(len(named(threat)) for threat in SECTIONS) == len(re.findall(r"^- ", PAGE, re.M))


@pytest.mark.parametrize("mutation", [mutation for _, mutation in EACH], ids=range(len(EACH)))
def test_a_defence_stands_where_the_table_looks_for_it(mutation: Mutation) -> None:
    file, _, name = mutation.test.partition("::")
    assert name in functions(file)
    for edit in mutation.edits:
        text = (ROOT / edit.file).read_text("utf-8")
        without = mutated(text, edit)
        assert without != text
        if edit.file.endswith(".py"):  # or its test would fail for the wrong reason
            ast.parse(without)


@pytest.mark.parametrize("file", ["test_threats.py", "test_web.py", "test_terminal.py", "test_secrets.py"])
def test_every_test_of_this_folder_is_named(file: str) -> None:
    """A defence that was tested and is not told would not be missed. Those that show that a rule hinders
    nobody are no defence."""
    here = {name for name in functions(f"tests/security/{file}") if name.startswith("test_")}
    harmless = {"test_a_caller_with_one_is_read", "test_in_a_pipe_a_mail_is_as_it_came"}
    assert here - harmless <= {mutation.test.rpartition(":")[2] for _, mutation in EACH}
