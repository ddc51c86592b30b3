"""How fast the bounce reader is, beside the standard library's parser and, if it is there, Sisimai.

    python -m bench.bounces [FOLDER] [--rounds N] [--sisimai LIB]

FOLDER holds mails (default: the project's own samples). Each round reads all of them once with each
reader, in turn, so that a busy machine slows all alike; the median of the rounds counts. Printed are
mails a second, the ratio to compat32 parsing, and the slowest mail.
"""

from __future__ import annotations

import argparse
import email
import statistics
import subprocess
import time
from collections.abc import Callable
from email.policy import compat32
from pathlib import Path

from bounces.parse import read

SAMPLES = Path(__file__).resolve().parents[1] / "tests" / "bounces" / "mails"


def timed(reader: Callable[[bytes], object], mails: list[bytes]) -> float:
    """Mails a second of one pass."""
    start = time.perf_counter()
    for raw in mails:
        reader(raw)
    return len(mails) / (time.perf_counter() - start)


def slowest(mails: dict[str, bytes]) -> tuple[float, str]:
    """(milliseconds, name) of the mail that takes longest, each at its best of three."""
    worst = (0.0, "")
    for name, raw in mails.items():
        best = min(1 / timed(read, [raw]) for _ in range(3))
        worst = max(worst, (best * 1000, name))
    return worst


def sisimai(folder: Path, library: str) -> float:
    """Mails a second of Perl's Sisimai over the folder, its start-up not counted."""
    program = (
        "use Sisimai; use Time::HiRes 'time'; my @f = glob(\"$ARGV[0]/*\"); my $t = time; my $n = 0;"
        "for my $f (@f) { Sisimai->can('rise') ? Sisimai->rise($f) : Sisimai->make($f); $n++ }"
        "print $n / (time - $t);"
    )
    answer = subprocess.run(
        ["perl", "-I", library, "-e", program, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return float(answer.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sisimai", metavar="LIB", help="Perl library folder that holds Sisimai")
    arguments = parser.parse_args()
    mails = {p.name: p.read_bytes() for p in sorted(arguments.folder.iterdir()) if p.is_file()}
    raws = list(mails.values())
    timed(read, raws)
    ours, plain = [], []
    for _ in range(arguments.rounds):
        plain.append(timed(lambda raw: email.message_from_bytes(raw, policy=compat32), raws))
        ours.append(timed(read, raws))
    fast, base = statistics.median(ours), statistics.median(plain)
    print(f"{len(raws)} mails, median of {arguments.rounds} rounds")
    print(f"todoku            {fast:8.0f} mails/s")
    print(f"compat32 parsing  {base:8.0f} mails/s   todoku / compat32 = {fast / base:.2f}")
    if arguments.sisimai:
        perl = sisimai(arguments.folder, arguments.sisimai)
        print(f"sisimai           {perl:8.0f} mails/s   todoku / sisimai  = {fast / perl:.2f}")
    worst, name = slowest(mails)
    print(f"slowest mail      {worst:8.1f} ms        {name}")


if __name__ == "__main__":
    main()
