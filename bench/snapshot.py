"""How long a night's snapshot takes: 200,000 patrons and 100,000 holds, compared and applied; and its memory.

    python -m bench.snapshot [--patrons N] [--holds N] [--churn PERCENT] [--database URL]

Four files in turn, as a library would hand them in: the first of each kind (the baseline, all rows new), then
those of the next night, in which CHURN percent of the holds are new, as many are shelved and as many are
gone, and one patron in five hundred has another address. Printed for each: seconds, seconds of processor time
(on a machine that does other things too, the fairer figure), notices, and the most memory the process ever
had (RSS).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from zoneinfo import ZoneInfo

from holds_core.config import parse
from holds_core.feeds.snapshot import SnapshotIntake
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.session import Ledger

ZONE = ZoneInfo("Asia/Tokyo")
FIRST_NIGHT = datetime(2026, 11, 23, 17, 10, tzinfo=UTC)
CONFIG = """
library: {name: 市立図書館}
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.library.example.jp}
relay: {host: 127.0.0.1, tls: none}
feeds: {max_prompt_per_run: 1000000, snapshots: [{name: bench}]}
"""
DOMAINS = ("docomo.ne.jp", "ezweb.ne.jp", "softbank.ne.jp", "gmail.com", "yahoo.co.jp")


@dataclass(frozen=True)
class Size:
    patrons: int
    holds: int
    churn: float


def patrons(size: Size, night: int) -> Iterator[str]:
    yield "patron_id,name,name_kana,email,phone,branch,contact,overdue\n"
    for number in range(size.patrons):
        moved = "x" if night and number % 500 == 7 else ""
        mail = f"patron{moved}{number}@{DOMAINS[number % len(DOMAINS)]}"
        yield f"{number:08},利用者 {number},リヨウシャ {number},{mail},0900-00-{number % 10000:04},01,,\n"


def holds(size: Size, night: int) -> Iterator[str]:
    """Holds in a rolling window: each night some are gone, some new, and the oldest are on the shelf."""
    yield "hold_id,patron_id,state,title,branch,deadline\n"
    step = int(size.holds * size.churn)
    for number in range(night * step, night * step + size.holds):
        ready = number < (night + 1) * step
        patron = number * 7919 % size.patrons
        deadline = (FIRST_NIGHT + timedelta(days=night + 7)).date() if ready else ""
        state = "お取り置き" if ready else "予約中"
        yield f"{number:010},{patron:08},{state},資料 その{number},01,{deadline}\n"


def rss() -> float:
    """The most memory so far, in MB (Linux counts in KB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def run(size: Size, folder: Path, url: str) -> None:
    ledger = Ledger.open(url)
    await ledger.upgrade()
    settings = parse(CONFIG, base=folder, env={})
    rules = EventRules(ZONE, timedelta(hours=24), clock(21), clock(8), "01")
    try:
        for night in (0, 1):
            now = FIRST_NIGHT + timedelta(days=night)
            intake = SnapshotIntake(ledger, rules, settings, lambda now=now: now)  # type: ignore[misc]
            total = (0.0, 0.0)
            for name, rows in (("patrons", patrons(size, night)), ("holds", holds(size, night))):
                path = folder / f"{name}_{now.astimezone(ZONE):%Y%m%d_%H%M}.csv"
                with path.open("w") as file:
                    file.writelines(rows)
                start, cpu = time.perf_counter(), time.process_time()
                report = await intake.take(path, settings.feeds.snapshots[0])
                spent = (time.perf_counter() - start, time.process_time() - cpu)
                total = (total[0] + spent[0], total[1] + spent[1])
                show(f"night {night} {name}", report, *spent)
            print(f"night {night}: {total[0]:.1f} s in all, processor {total[1]:.1f} s")
    finally:
        await ledger.close()


def show(what: str, report: SnapshotReport, seconds: float, cpu: float) -> None:
    assert not report.failed, list(report.lines())
    print(
        f"{what:16} {report.tally.rows:8,} rows {seconds:6.1f} s (processor {cpu:6.1f} s)  "
        f"applied {report.applied:7,}  conflicts {report.conflict_count}  notices {report.notices:6,}  "
        f"RSS {rss():4.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares and applies snapshots; prints time and memory.")
    parser.add_argument("--patrons", type=int, default=200_000)
    parser.add_argument("--holds", type=int, default=100_000)
    parser.add_argument(
        "--churn", type=float, default=3.0, help="percent of holds new, shelved and gone a night"
    )
    parser.add_argument(
        "--database", default="", help="postgresql+asyncpg://…; a new SQLite file if left out"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite+aiosqlite:///{folder}/todoku.db"
        size = Size(options.patrons, options.holds, options.churn / 100)
        print(f"{size.patrons:,} patrons, {size.holds:,} holds, RSS at the start {rss():.0f} MB")
        asyncio.run(run(size, Path(folder), url))


if __name__ == "__main__":
    main()
