"""The coverage-guided fuzzer of `fuzz_atheris.py`, for a fixed number of runs from a fixed seed.

atheris has wheels for Linux on x86_64 and CPython 3.11 to 3.13 only, and `requirements/dev.in` asks for it
there: elsewhere this is skipped and says so; where it should be and is not, this fails.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bounces.test_fuzz import MAILS, PIECES

RUNS = 20_000
HAS_WHEEL = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)
ROOT = Path(__file__).resolve().parents[2]


def dictionary() -> str:
    """What reports are made of, in the form of libFuzzer's `-dict`."""
    words = ("".join(f"\\x{octet:02x}" for octet in piece) for piece in PIECES if len(piece) <= 64)
    return "".join(f'"{word}"\n' for word in words)


@pytest.mark.skipif(not HAS_WHEEL, reason="atheris has no wheel for this Python or machine")
def test_twenty_thousand_mails_mutated_towards_new_code(tmp_path: Path) -> None:
    """No exception, every bound of `check`, text that UTF-8 can hold, and bounded work, for each."""
    found = tmp_path / "found"
    found.mkdir()
    (tmp_path / "words").write_text(dictionary())
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bounces.fuzz_atheris", str(found), str(MAILS)),
            *(f"-runs={RUNS}", "-seed=1", "-max_len=16384"),
            *(f"-dict={tmp_path}/words", f"-artifact_prefix={tmp_path}/"),
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=900,
        check=False,
    )
    said = (ended.stdout + ended.stderr).decode(errors="replace")
    broken = [f"{path.name}: {path.read_bytes()!r}" for path in tmp_path.glob("*-*") if path.is_file()]
    assert ended.returncode == 0, "\n".join([*broken, said[-6000:]])
    assert f"Done {RUNS} runs" in said
    # it was guided: inputs beside the seeds reached code that no seed had
    assert len(list(found.iterdir())) > 50
