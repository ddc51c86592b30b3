"""Takes each defence of docs/security.md away, one at a time, and sees that its test fails.

    python -m tests.security.mutate [WORD …] [--list]

Works on a copy of the project in a temporary folder; the project itself is only read. WORD chooses the
mutations with that word in their heading, file or test. First the tests must pass as things are, then each
must fail without its defence. Exit 0: all of them did. It takes minutes and is no part of `make test`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from tests.security.mutations import MUTATIONS, Edit, Mutation

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300
"""For one test; one that hangs without its defence has not failed."""
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "dist", "build")


class Found(StrEnum):
    """What a test did while its defence was away. Only the first is as it should be."""

    FAILED = "failed, as it should"
    PASSED = "PASSED: nobody would notice"
    SKIPPED = "skipped: cannot be told here"
    BROKEN = "BROKEN: it could not even run"
    HUNG = "HUNG"


def chosen(words: list[str]) -> Iterator[tuple[str, Mutation]]:
    """The mutations with one of the words in them; all of them without words."""
    for threat, mutations in MUTATIONS.items():
        for mutation in mutations:
            text = f"{threat} {mutation.file} {mutation.test}".lower()
            if not words or any(word.lower() in text for word in words):
                yield threat, mutation


def mutated(text: str, edit: Edit) -> str:
    """The file's text without the defence. ValueError unless the defence stands there once."""
    count = text.count(edit.old)
    if count != 1:
        raise ValueError(f"{edit.file}: {edit.old!r} stands there {count} times, expected once")
    return text.replace(edit.old, edit.new)


def run(folder: Path, *tests: str) -> Found:
    """What pytest makes of the tests in the copy of the project."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rN", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * max(1, len(tests) // 4),
        )
    except subprocess.TimeoutExpired:
        return Found.HUNG
    said = done.stdout + done.stderr
    if done.returncode == 1 and re.search(r"\d+ failed", said):
        return Found.FAILED
    if done.returncode == 0:
        return Found.PASSED if re.search(r"\d+ passed", said) else Found.SKIPPED
    sys.stderr.write(said[-3000:])
    return Found.BROKEN


def without(folder: Path, mutation: Mutation) -> Found:
    """Takes the defence away in the copy, runs its test, and puts it back."""
    before = {edit.file: (folder / edit.file).read_text("utf-8") for edit in mutation.edits}
    try:
        for edit in mutation.edits:
            file = folder / edit.file
            file.write_text(mutated(file.read_text("utf-8"), edit), "utf-8")
        return run(folder, mutation.test)
    finally:
        for name, text in before.items():
            (folder / name).write_text(text, "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 if every test failed without its defence."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.mutate", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--list", action="store_true", help="only show what would be taken away")
    options = parser.parse_args(arguments)
    wanted = list(chosen(options.words))
    if options.list:
        for threat, mutation in wanted:
            print(f"{threat}: {mutation.file}: {mutation.old!r} -> {mutation.new!r}: {mutation.test}")
        return 0
    with tempfile.TemporaryDirectory(prefix="todoku-mutate-") as place:
        folder = Path(place) / "project"
        shutil.copytree(ROOT, folder, ignore=_LEFT_OUT, symlinks=True)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        if (as_it_is := run(folder, *sorted({mutation.test for _, mutation in wanted}))) is not Found.PASSED:
            print(f"the tests as they are: {as_it_is}")
            return 1
        return 1 if _each(folder, wanted) else 0


def _each(folder: Path, wanted: list[tuple[str, Mutation]]) -> int:
    """Tries every mutation and says how it went. Returns how many went wrong."""
    wrong = 0
    for number, (threat, mutation) in enumerate(wanted, start=1):
        found = without(folder, mutation)
        wrong += found not in (Found.FAILED, Found.SKIPPED)
        print(f"{number}/{len(wanted)} {threat}: {mutation.test.rpartition('/')[2]}: {found}", flush=True)
    print(f"{len(wanted) - wrong} of {len(wanted)} as it should be")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
