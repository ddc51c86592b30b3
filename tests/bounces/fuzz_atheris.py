"""The bounce reader under libFuzzer (atheris), which mutates mails towards code that none has reached.

Run it as libFuzzer programs are run, from the checkout's root; `tests/bounces/mails` are the seeds:

    python -m tests.bounces.fuzz_atheris FOUND tests/bounces/mails -runs=1000000 -max_len=16384

Inputs that reach new code are kept in the folder FOUND. What breaks a promise ends the run with status 77,
its traceback, and the input in a file `crash-…`: the test to write. `test_atheris.py` runs it in CI.
"""

from __future__ import annotations

import json
import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["bounces", "holds_core.reasons"]):
    from bounces.parse import examine

from tests.bounces.test_fuzz import check, cpu

YARDSTICK = cpu(lambda: sum(n & 1 for n in range(1_000_000)))
LONGEST = 5 * YARDSTICK
"""Processor time one mail may take: the same bound as for the bombs, though every branch is counted here."""


def one(raw: bytes) -> None:
    """`examine`, not `read`: the net under it would hide what this is for."""
    report = examine(raw)
    check(report)
    # in UTF-8, as the ledger and the API keep it: a lone surrogate would be refused there
    json.dumps(report.as_json("x"), ensure_ascii=False).encode()


def target(raw: bytes) -> None:
    if cpu(lambda: one(raw), times=1) > LONGEST:
        # once may be the machine's fault, the best of three is the reader's
        taken = cpu(lambda: one(raw))
        assert taken <= LONGEST, f"{taken / YARDSTICK:.1f} times the yardstick"


def main() -> None:
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
