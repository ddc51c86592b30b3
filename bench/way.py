"""One run of the whole way: claim, commit the attempt, render, build, send, commit the outcome.

`python -m bench.way PORT COUNT [--connections N] [--dsn] [--naive]` prints one JSON line. Filling the
outbox, starting the interpreter and opening the ledger are not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import smtplib
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import sqlalchemy as sa
import uvloop

from holds_core.config import parse
from holds_core.ledger import sending
from holds_core.ledger.models import addresses, deliveries, holds, notice_holds, notices, patrons
from holds_core.ledger.session import Ledger
from holds_core.notices import Outcome, Phase, Result, Transmission
from holds_core.settings.secrets import read_secrets
from mailer import maillog
from mailer.app.services import Services
from mailer.clock import SystemClock
from mailer.compose import Composed
from mailer.outcome import finished

TITLES = ("吾輩は猫である／夏目漱石", "銀河鉄道の夜／宮沢賢治", "羅生門・鼻／芥川龍之介")
CONFIG = """
library:
  name: とどく市立図書館
  phone: 03-5550-0100
  opac_url: https://opac.library.example/
  branches:
    - id: main
      name: 中央図書館
      phone: 03-5550-0101
      hours: |
        火曜~金曜 9時30分~19時
        土曜・日曜・祝日 9時30分~17時
sender: {address: noreply@library.example, return_path_domain: bounce.library.example, token_keys_file: token.keys}
sending: {mode: "on", dsn: DSN}
relay: {host: 127.0.0.1, port: PORT, tls: none, connections: CONNECTIONS}
providers: [{domain: DOMAIN, per_minute: 100000}]
intake: {lmtp: {listen: "127.0.0.1:8024"}}
database: {url: "sqlite:///todoku.db"}
confirm: {base_url: "https://library.example"}
"""


def services(folder: Path, port: int, connections: int, domain: str, *, dsn: bool) -> Services:
    (folder / "token.keys").write_text("0123456789abcdef" * 4)
    text = CONFIG
    values = {"DSN": str(dsn).lower(), "PORT": port, "CONNECTIONS": connections, "DOMAIN": domain}
    for name, value in values.items():
        text = text.replace(name, str(value))
    settings = parse(text, base=folder, env={})
    jitter = random.Random(1).random
    maillog.setup(json=False, level="info")  # as shipped: a line per mail
    return Services.build(
        settings, read_secrets(settings, {}), clock=SystemClock(), jitter=jitter, owner="bench"
    )


async def fill(ledger: Ledger, count: int, domain: str) -> None:
    """An outbox of `count` hold-ready notices with three holds each, due now."""
    now = datetime.now(UTC)
    for start in range(0, count, 5000):
        numbers = range(start + 1, min(start + 5000, count) + 1)
        async with ledger.write() as connection:
            for table, rows in _rows(numbers, domain, now).items():
                await connection.execute(sa.insert(table), rows)


def _rows(numbers: Sequence[int], domain: str, now: datetime) -> dict[sa.Table, list[dict[str, object]]]:
    return {
        patrons: [
            {
                "patron_id": f"P{n}",
                "name": f"図書 花子{n}",
                "contact": "email",
                "phones": [],
                "provisional": False,
                "overdue": False,
                "feed_emails": [],
                "event_at": now,
            }
            for n in numbers
        ],
        addresses: [
            {
                "address_key": f"p{n}@{domain}",
                "domain": domain,
                "standing": "unproven",
                "reasons": [],
                "since": now,
                "proven": False,
                "mistyped": False,
            }
            for n in numbers
        ],
        holds: [
            {
                "hold_id": f"H{n}-{k}",
                "patron_id": f"P{n}",
                "branch": "main",
                "title": title,
                "state": "ready",
                "event_at": now,
                "ready_on": now.date(),
            }
            for n in numbers
            for k, title in enumerate(TITLES)
        ],
        notices: [
            {
                "notice_id": f"N{n}",
                "kind": "hold_ready",
                "patron_id": f"P{n}",
                "branch": "main",
                "created_at": now,
            }
            for n in numbers
        ],
        notice_holds: [{"notice_id": f"N{n}", "hold_id": f"H{n}-{k}"} for n in numbers for k in range(3)],
        deliveries: [
            {
                "notice_id": f"N{n}",
                "kind": "hold_ready",
                "patron_id": f"P{n}",
                "address": f"p{n}@{domain}",
                "address_key": f"p{n}@{domain}",
                "domain": domain,
                "state": Transmission.PENDING,
                "finding": "waiting",
                "slot": "bench",
                "next_at": now,
                "prompt": False,
                "created_at": now,
            }
            for n in numbers
        ],
    }


async def whole_way(found: Services, count: int) -> None:
    """Sends until `count` mails are handed over; more may wait in the outbox."""
    stop = asyncio.Event()
    running = asyncio.create_task(found.sender.run(stop, until_idle=True))
    while not running.done() and found.sender.state.sent < count:
        await asyncio.sleep(0.005)
    stop.set()
    await running


async def naive(found: Services) -> None:
    """What one writes first: claim one, EmailMessage, a connection and a commit per mail."""
    port = found.settings.relay.port
    while True:
        now = found.clock.now()
        async with found.ledger.write() as connection:
            items = await sending.claim(connection, "bench", now, now, 1, found.keys.make)
        if not items:
            return
        item = items[0]
        mail = found.composer.compose(item, now)
        assert isinstance(mail, Composed)
        start = sending.Start(item.delivery_id, 1, now, mail.deadline, now)
        async with found.ledger.write() as connection:
            await sending.record(connection, "bench", [start], [])
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = (
            "noreply@library.example",
            item.address,
            mail.subject,
        )
        message.set_content(mail.data.decode("ascii"))
        with smtplib.SMTP("127.0.0.1", port, local_hostname="library.example") as client:
            client.sendmail(mail.sender, [mail.recipient], message.as_bytes())
        outcome = Outcome(Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", "ok", "bench")
        finish = finished(found.rulebook, item, start, outcome, found.clock.now(), 0.0)
        async with found.ledger.write() as connection:
            await sending.record(connection, "bench", [], [finish])


async def measure(arguments: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="todoku-bench-") as name:
        found = services(
            Path(name), arguments.port, arguments.connections, arguments.domain, dsn=arguments.dsn
        )
        try:
            await found.ledger.upgrade()
            await fill(found.ledger, max(arguments.count, arguments.pending), arguments.domain)
            before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            await (naive(found) if arguments.naive else whole_way(found, arguments.count))
            wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
            async with found.ledger.read() as connection:
                sent = await connection.scalar(
                    sa.select(sa.func.count()).where(deliveries.c.state == Transmission.HANDED_OVER)
                )
            assert sent is not None
            assert sent >= arguments.count, f"{sent} of {arguments.count} handed over"
        finally:
            await found.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"mails": sent, "wall": wall, "cpu": cpu, "rss_mb": after.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--domain", default="sink.example")
    parser.add_argument("--dsn", action="store_true")
    parser.add_argument("--naive", action="store_true")
    parser.add_argument(
        "--pending", type=int, default=0, help="how many wait in the outbox, if more than COUNT"
    )
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(measure(arguments))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
