"""The marks that the reader must reach on the published corpus, by the corpus' own scorer."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bounces.parse import read

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
LABELS = SHARED / "corpus" / "labels.jsonl"
SCORER = SHARED / "score" / "bounces.py"

pytestmark = pytest.mark.skipif(
    not (LABELS.is_file() and SCORER.is_file()), reason="needs the published corpus beside the checkout"
)


@cache
def scorer() -> ModuleType:
    # loaded by path: its name is that of our own package
    spec = importlib.util.spec_from_file_location("corpus_scorer", SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def labels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scorer().load(LABELS)
    return found


@cache
def predictions() -> list[dict[str, Any]]:
    folder = LABELS.parent / "mails"
    return [read((folder / label["file"]).read_bytes()).as_json(label["file"]) for label in labels()]


def counts(**wanted: str) -> dict[str, Any]:
    """The scorer's counts over the labels with these fields; twins and forwards only when asked for."""
    chosen = [
        label
        for label in labels()
        if all(label[key] == value for key, value in wanted.items())
        and (label["primary"] or "newline" in wanted)
        and (label["set"] != "negative-forward" or wanted.get("set") == "negative-forward")
    ]
    found: dict[str, Any] = scorer().score(chosen, predictions())["counts"]
    return found


@pytest.mark.parametrize(
    ("wanted", "figure", "mark"),
    [
        ({"set": "sisimai"}, "recipient recall", 0.99),
        ({}, "recipient precision", 0.995),
        ({}, "hard/soft, found recipients", 0.98),
        ({}, "reason, found recipients", 0.95),
        ({"set": "flufl"}, "recipient recall", 0.98),
        ({"newline": "cr"}, "bounce recognised", 0.98),
    ],
)
def test_mark(wanted: dict[str, str], figure: str, mark: float) -> None:
    ratio = counts(**wanted)[figure]
    assert ratio.value() >= mark, f"{figure}: {ratio}"


def test_no_false_alarm() -> None:
    """Ordinary mails, complaints, automatic replies and receipts."""
    assert counts()["false positives: every mail that is no bounce"].hit == 0


def test_forwarded_bounces_are_not_bounces() -> None:
    ratio = counts(set="negative-forward")["false positives: every mail that is no bounce"]
    assert (ratio.hit, ratio.all) == (0, 31)


def test_nothing_is_unreadable() -> None:
    assert [p["file"] for p in predictions() if p["detector"] == "unreadable"] == []
