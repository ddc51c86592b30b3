"""The standard library on one reused connection: `python -m bench.reused PORT COUNT FILE` (one JSON line).

`--write FILE` writes a mail as the whole way sends it, with LF line ends as smtp-source wants them.
"""

from __future__ import annotations

import json
import resource
import smtplib
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.way import TITLES, services
from holds_core.ledger.sending import Claimed, HoldLine
from holds_core.notices import Kind, Transmission
from mailer.compose import Composed


def write(file: Path) -> None:
    now = datetime.now(UTC)
    holds = tuple(
        HoldLine(f"H{k}", title, None, "ready", now.date(), None, None) for k, title in enumerate(TITLES)
    )
    with tempfile.TemporaryDirectory() as folder:
        found = services(Path(folder), 1, 1, "sink.example", dsn=False)
        item = Claimed(
            delivery_id=1,
            notice_id="N1",
            kind=Kind.HOLD_READY,
            patron_id="P1",
            patron_name="図書 花子",
            language="",
            branch="main",
            reason="",
            address="p1@sink.example",
            domain="sink.example",
            token=found.keys.make(1),
            state=Transmission.PENDING,
            tries=0,
            doubts=0,
            created_at=now,
            first_attempt_at=None,
            standing="unproven",
            holds=holds,
        )
        mail = found.composer.compose(item, now)
    assert isinstance(mail, Composed)
    file.write_bytes(mail.data.replace(b"\r\n", b"\n"))


def send(port: int, count: int, file: Path) -> dict[str, float]:
    raw = file.read_bytes()
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port, local_hostname="library.example") as client:
        for _ in range(count):
            client.sendmail("bounce@library.example", ["u@sink.example"], raw)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(Path(sys.argv[2]))
    else:
        print(json.dumps(send(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
