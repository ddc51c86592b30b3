"""What must survive: a relay that is down, a daemon that is killed, a database that is locked."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from holds_core.ledger import outbox
from holds_core.ledger.models import deliveries
from mailer.clock import SystemClock
from mailer.outcome import DOUBT_WAIT
from tests.e2e.library import config, library
from tests.servers.ports import wait_until
from tests.servers.postfix import Relay
from tests.servers.sink import Sink

MAILS = 400


async def test_a_relay_that_is_down_costs_no_attempt_and_loses_nothing(tmp_path: Path, relay: Relay) -> None:
    async with library(tmp_path, RELAY_PORT=relay.port) as town:
        patrons = [await town.ready_hold(n, f"p{n}@discard.example") for n in range(1, 21)]
        await asyncio.to_thread(relay.stop)
        await town.batch()
        stop = asyncio.Event()
        running = asyncio.create_task(town.services.sender.run(stop))
        await wait_until(lambda: town.services.sender.state.relay_up is False, 20, "the failure")
        for patron in patrons:
            row = await town.delivery(patron)
            assert (row.state, row.tries, row.lease_owner) == ("pending", 0, None)
        await asyncio.to_thread(relay.start)
        town.services.sender.hurry()

        async def all_gone() -> bool:
            return all([(await town.delivery(patron)).state == "handed_over" for patron in patrons])

        await wait_until(all_gone, 40, "all mails to leave")
        stop.set()
        await running
        assert all([(await town.delivery(patron)).tries == 1 for patron in patrons])


async def test_a_connection_lost_after_the_dot_is_in_doubt_and_resent_once(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink("-q", ".")
    async with library(tmp_path, RELAY_PORT=sink.port) as town:
        patron = await town.ready_hold(1, "p@far.example")
        await town.batch()
        await town.send()
        row = await town.delivery(patron)
        assert (row.state, row.doubts, row.reason) == ("uncertain", 1, "interrupted")
        assert row.next_at - row.first_attempt_at >= DOUBT_WAIT
        token = row.token
        async with town.services.ledger.write() as connection:
            await connection.execute(deliveries.update().values(next_at=row.first_attempt_at))
        await town.send()
        row = await town.delivery(patron)
        assert (row.state, row.doubts, row.tries, row.token) == ("handed_over", 2, 2, token)
        assert row.window_ends_at is not None
    mails = sink.messages()
    assert len(mails) == 2
    ids = [line for mail in mails for line in mail.splitlines() if line.startswith(b"Message-ID:")]
    assert len(set(ids)) == 1, "the same mail, so that a mailbox can tell"


async def test_a_deferred_mail_is_retried_with_the_same_return_path(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    busy = smtp_sink("-r", "RCPT", "-b", "452 4.2.2 over quota")
    async with library(tmp_path, RELAY_PORT=busy.port) as town:
        patron = await town.ready_hold(1, "p@far.example")
        await town.batch()
        await town.send()
        row = await town.delivery(patron)
        assert (row.state, row.tries, row.reason) == ("retrying", 1, "mailboxfull")
        token = row.token
        busy.stop()
        calm = smtp_sink(port=busy.port)
        await asyncio.sleep(1.3)
        await town.send()
        row = await town.delivery(patron)
        assert (row.state, row.tries, row.token) == ("handed_over", 2, token)
        assert calm.count() == 1


async def test_a_locked_database_delays_and_loses_no_outcome(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    async with library(tmp_path, RELAY_PORT=sink.port) as town:
        patrons = [await town.ready_hold(n, f"p{n}@far.example") for n in range(1, 31)]
        await town.batch()
        running = asyncio.create_task(town.send())
        await wait_until(lambda: sink.count() > 0, 20, "the first mail")
        await asyncio.to_thread(lock_for_a_while, tmp_path / "todoku.db")
        await running
        for patron in patrons:
            row = await town.delivery(patron)
            assert (row.state, row.tries) == ("handed_over", 1)
    assert sink.count() == len(patrons)


def lock_for_a_while(file: Path) -> None:
    """Another program holds the write lock for a second."""
    other = sqlite3.connect(file, isolation_level=None, timeout=20)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(1)
    other.execute("COMMIT")
    other.close()


@pytest.fixture
def daemon_folder(tmp_path: Path, smtp_sink: Callable[..., Sink]) -> Iterator[tuple[Path, Sink]]:
    sink = smtp_sink()
    (tmp_path / "config.yaml").write_text(config(tmp_path, RELAY_PORT=sink.port))
    return tmp_path, sink


def todoku(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "mailer.app.cli", "--config", str(folder / "config.yaml"), *arguments]


def fill(folder: Path, count: int) -> None:
    """Events of `count` patrons with a hold each, imported by the command."""
    lines = []
    at = SystemClock().now().isoformat()
    for n in range(count):
        lines.append(
            {"id": f"p{n}", "at": at, "type": "patron", "patron_id": f"P{n}", "email": f"p{n}@far.example"}
        )
        lines.append(
            {
                "id": f"h{n}",
                "at": at,
                "type": "hold.shelved",
                "hold_id": f"H{n}",
                "patron_id": f"P{n}",
                "title": "本",
            }
        )
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run(
        todoku(folder, "import", str(folder / "events.jsonl")), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


async def test_a_daemon_killed_in_mid_batch_loses_nothing(daemon_folder: tuple[Path, Sink]) -> None:
    folder, sink = daemon_folder
    await asyncio.to_thread(fill, folder, MAILS)
    async with library(folder, RELAY_PORT=sink.port) as town:
        await town.batch()
        daemon = subprocess.Popen(todoku(folder, "serve"), stderr=subprocess.PIPE)
        try:
            await wait_until(lambda: sink.count() > MAILS // 10, 30, "the batch to be under way")
            os.kill(daemon.pid, signal.SIGKILL)
        finally:
            daemon.kill()
            daemon.communicate()
        states = Counter(row.state for row in await town.rows(deliveries))
        in_flight = states.get("sending", 0)
        assert in_flight <= 4, "at most one mail in doubt for each connection"
        assert states.keys() <= {"pending", "sending", "handed_over"}
        assert 0 < states["handed_over"] < MAILS, "killed too late or too early to prove anything"

        async with town.services.ledger.write() as connection:
            now = town.services.clock.now()
            doubtful = await outbox.recover(connection, now, timedelta(), alive=["test"])
        assert len(doubtful) == in_flight
        await town.send()
        rows = await town.rows(deliveries)
        assert {row.state for row in rows} == {"handed_over"}
        assert len(rows) == MAILS
        twice = [row for row in rows if row.tries > 1]
        assert {row.delivery_id for row in twice} == set(doubtful), (
            "nothing is sent twice but what was in doubt"
        )
    assert MAILS <= sink.count() <= MAILS + in_flight


async def test_sigterm_drains_and_stops(daemon_folder: tuple[Path, Sink]) -> None:
    folder, sink = daemon_folder
    await asyncio.to_thread(fill, folder, MAILS)
    async with library(folder, RELAY_PORT=sink.port) as town:
        await town.batch()
        daemon = subprocess.Popen(todoku(folder, "serve"), stderr=subprocess.PIPE)
        try:
            await wait_until(lambda: sink.count() > MAILS // 10, 30, "the batch to be under way")
            daemon.send_signal(signal.SIGTERM)
            _, log = await asyncio.to_thread(daemon.communicate, timeout=40)
        finally:
            daemon.kill()
        assert daemon.returncode == 0, log.decode()
        rows = await town.rows(deliveries)
        assert {row.state for row in rows} <= {"pending", "handed_over"}
        assert all(row.lease_owner is None for row in rows)
        assert sink.count() == sum(row.state == "handed_over" for row in rows)
        assert b"far.example" not in log.replace(b"domain=far.example", b""), "no address in the log"


async def test_a_dry_run_shows_what_would_go_and_keeps_nothing(daemon_folder: tuple[Path, Sink]) -> None:
    folder, sink = daemon_folder
    await asyncio.to_thread(fill, folder, 3)
    shown = await asyncio.to_thread(
        subprocess.run,
        todoku(folder, "batch", "--dry-run", "--json"),
        capture_output=True,
        timeout=60,
        check=True,
    )
    rows = json.loads(shown.stdout)
    assert [(row["to"], row["action"], row["hold_ids"]) for row in rows] == [
        (f"p{n}@far.example", "send", [f"H{n}"]) for n in range(3)
    ]
    assert all("ご用意できました" in row["subject"] and row["deadline"] for row in rows)
    async with library(folder, RELAY_PORT=sink.port) as town:
        assert {(row.state, row.token) for row in await town.rows(deliveries)} == {("pending", None)}
    sent = await asyncio.to_thread(
        subprocess.run, todoku(folder, "batch"), capture_output=True, timeout=60, check=True
    )
    assert "handed over 3" in sent.stdout.decode()
    assert sink.count() == 3
