"""`make bench`: what Todoku's way of sending costs, as ratios against rivals in the same run.

    python -m bench [--mails 5000] [--rounds 5]

Rivals: Postfix's own load generator (`smtp-source -s 8 -d`), smtplib on one reused connection, and a naive
sender (claim one, EmailMessage, a connection and a commit per mail), all into the same servers. The rounds
are interleaved, so that whatever else the machine does hits all alike; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import PostfixPair
from tests.servers.sink import Sink, smtp_source
from tests.servers.tls import Certificate

NAIVE_SHARE = 0.06
"""Of the mails that the others send: the naive sender is slow enough to be measured on few."""
CONNECTIONS = 32


@dataclass(frozen=True)
class Run:
    """One measured run: mails a second, processor microseconds a mail (0: not measured), memory in MB."""

    rate: float
    cpu_us: float = 0.0
    rss_mb: float = 0.0


def way(port: int, mails: int, *options: str) -> Run:
    command = [sys.executable, "-m", "bench.way", str(port), str(mails), "--connections", str(CONNECTIONS)]
    done = subprocess.run(
        [*command, *options], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    said = json.loads(done.stdout)
    return Run(said["mails"] / said["wall"], said["cpu"] / said["mails"] * 1e6, said["rss_mb"])


def source(port: int, mails: int, file: Path, recipient: str) -> Run:
    return Run(mails / smtp_source(port, mails, 8, file, recipient=recipient))


def smtplib_reused(port: int, mails: int, file: Path) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "bench.reused", str(port), str(mails), str(file)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = json.loads(done.stdout)
    return Run(mails / said["wall"], said["cpu"] / mails * 1e6)


@contextlib.contextmanager
def servers() -> Iterator[tuple[PostfixPair, Sink, Path]]:
    """A private Postfix, a sink, and a mail such as the whole way sends."""
    with tempfile.TemporaryDirectory(prefix="todoku-bench-") as folder, contextlib.ExitStack() as stack:
        file = Path(folder) / "mail.eml"
        subprocess.run([sys.executable, "-m", "bench.reused", "--write", str(file)], check=True)
        certificate = Certificate()
        stack.callback(certificate.close)
        dovecot = Dovecot(certificate)
        stack.callback(dovecot.close)
        dovecot.start()
        pair = PostfixPair(dovecot, certificate)
        stack.callback(pair.close)
        pair.start()
        sink = Sink(keep=False, count_mails=False)
        stack.callback(sink.close)
        yield pair, sink, file


def measure(mails: int, rounds: int, console: Console) -> dict[str, list[Run]]:
    """All runs by name."""
    found: dict[str, list[Run]] = defaultdict(list)
    with servers() as (pair, sink, file):
        relay = pair.relay
        few = max(50, int(mails * NAIVE_SHARE))
        into_postfix = ("--domain", "discard.example")
        runs: dict[str, Callable[[], Run]] = {
            "sink: smtp-source -s 8 -d": lambda: source(sink.port, mails * 4, file, "u@sink.example"),
            "sink: smtplib, one connection": lambda: smtplib_reused(sink.port, mails, file),
            "sink: whole way": lambda: way(sink.port, mails),
            "sink: whole way, 100,000 pending": lambda: way(sink.port, mails, "--pending", "100000"),
            "postfix: smtp-source -s 8 -d": lambda: source(relay.port, mails, file, "u@discard.example"),
            "postfix: whole way": lambda: way(relay.port, mails, *into_postfix),
            "postfix: whole way, DSN requested": lambda: way(relay.port, mails, *into_postfix, "--dsn"),
            "postfix: naive": lambda: way(relay.port, few, *into_postfix, "--naive"),
        }
        for number in range(rounds):
            for name, run in runs.items():
                console.print(f"round {number + 1} of {rounds}: {name}", end="\r", soft_wrap=True)
                found[name].append(run())
                asyncio.run(relay.queue_empty(300))
    return found


def show(found: dict[str, list[Run]], console: Console) -> None:
    rate = {name: statistics.median(run.rate for run in runs) for name, runs in found.items()}
    cpu = {name: statistics.median(run.cpu_us for run in runs) for name, runs in found.items()}
    memory = {name: max(run.rss_mb for run in runs) for name, runs in found.items()}
    table = Table("run", "mails/s", "CPU µs/mail", "memory MB", title="medians", title_justify="left")
    for name in found:
        table.add_row(
            name,
            f"{rate[name]:,.0f}",
            f"{cpu[name]:,.0f}" if cpu[name] else "",
            f"{memory[name]:,.0f}" if memory[name] else "",
        )
    console.print(table)
    ratios = [
        (
            "Postfix: whole way / smtp-source",
            "postfix: whole way",
            "postfix: smtp-source -s 8 -d",
            "≥ .45",
            rate,
        ),
        ("Postfix: whole way / naive", "postfix: whole way", "postfix: naive", "≥ 4", rate),
        (
            "Postfix: with DSN / smtp-source",
            "postfix: whole way, DSN requested",
            "postfix: smtp-source -s 8 -d",
            "",
            rate,
        ),
        ("sink: whole way / smtp-source", "sink: whole way", "sink: smtp-source -s 8 -d", "≥ .08", rate),
        ("sink: CPU of whole way / smtplib", "sink: whole way", "sink: smtplib, one connection", "≤ 3", cpu),
        ("sink: 100,000 pending / 5,000", "sink: whole way, 100,000 pending", "sink: whole way", "", rate),
    ]
    verdict = Table("ratio", "found", "mark")
    for title, above, below, mark, figures in ratios:
        verdict.add_row(title, f"{figures[above] / figures[below]:.3f}", mark)
    verdict.add_row(
        "memory with 100,000 pending", f"{memory['sink: whole way, 100,000 pending']:.0f} MB", "< 200 MB"
    )
    console.print(verdict)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    console = Console()
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    show(measure(arguments.mails, arguments.rounds, console), console)


main()
