"""`todoku serve` as a process: events by HTTP, prompt mail within seconds, bounces by IMAP, batches by slot."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from holds_core.ledger.models import batches, deliveries, flags
from mailer.clock import SystemClock
from tests.e2e.library import Library, config, library
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port, is_open, wait_until
from tests.servers.postfix import Relay

TOKEN = "api-token-of-the-test-0123456789abcdef"


def todoku(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "mailer.app", "--config", str(folder / "config.yaml"), *arguments]


def write_config(folder: Path, extra: str = "", **values: object) -> int:
    """Writes the settings. Returns the port of the staff side."""
    port = free_port()
    text = config(folder, **values).replace(
        'desk: {listen: "127.0.0.1:0"}',
        f'desk: {{listen: "127.0.0.1:{port}"}}\napi: {{tokens_file: api.tokens}}',
    )
    (folder / "api.tokens").write_text(TOKEN + "\n")
    (folder / "config.yaml").write_text(text + extra)
    return port


@contextlib.asynccontextmanager
async def daemon(
    folder: Path, port: int, env: dict[str, str] | None = None
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The daemon as a process; it must end well on SIGTERM."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(todoku(folder, "serve"), stderr=log, env=os.environ | (env or {}))
    try:
        await wait_until(lambda: is_open(port) or process.poll() is not None, 30, "the daemon to listen")
        assert process.poll() is None, (folder / "log").read_text()
        yield process
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 40) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


async def post(port: int, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Hands events in by the API. Returns the results."""
    now = SystemClock().now().isoformat()
    body = [{"id": f"x{n}-{event['type']}", "at": now} | event for n, event in enumerate(events)]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.post(
            "/api/v1/events", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        )
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


async def one(town: Library, **where: object) -> Any:
    conditions = [deliveries.c[name] == value for name, value in where.items()]
    rows = await town.rows(deliveries, *conditions)
    return rows[0] if rows else None


@pytest.mark.parametrize("mailbox", ["imap", "former_imap"])
async def test_prompt_mail_by_the_api_and_a_bounce_by_imap(
    tmp_path: Path, relay: Relay, dovecot: Dovecot, mailbox: str
) -> None:
    (tmp_path / "imap.password").write_text("bouncepw")
    port = write_config(
        tmp_path,
        RELAY_PORT=relay.port,
        RETURN_PATH="plus",
        RETURN_DOMAIN="library.example",
    )
    text = (tmp_path / "config.yaml").read_text()
    imap = f'{{host: localhost, port: {dovecot.imaps_port}, ca_file: "{dovecot.cert}", username: bounces, '
    imap += "password_file: imap.password, done_folder: 処理済み, poll: 2s}"
    (tmp_path / "config.yaml").write_text(
        text.replace('intake: {lmtp: {listen: "127.0.0.1:0"}}', f"intake: {{{mailbox}: {imap}}}")
    )
    async with daemon(tmp_path, port), library(tmp_path, RELAY_PORT=relay.port) as town:
        results = await post(
            port,
            {"type": "patron", "patron_id": "P1", "email": "anna@good.example", "name": "図書 花子"},
            {"type": "patron", "patron_id": "P2", "email": "gone@late.example"},
            {"type": "hold.placed", "hold_id": "H1", "patron_id": "P1", "title": "吾輩は猫である"},
            {"type": "hold.placed", "hold_id": "H2", "patron_id": "P2", "title": "羅生門"},
        )
        assert [result["outcome"] for result in results] == ["applied"] * 4
        [raw] = await dovecot.arrived("anna", timeout=20)
        assert b"X-Todoku-Notice:" in raw

        async def bounced() -> bool:
            row = await one(town, patron_id="P2")
            return row is not None and row.finding == "bounced"

        await wait_until(bounced, 30, "the bounce to be read from the mailbox")
        await wait_until(lambda: dovecot.mailbox("bounces") == [], 20, "the mailbox to be cleared")
        report = subprocess.run(
            todoku(tmp_path, "report", "--format", "json"), capture_output=True, check=True, timeout=60
        )
        [line] = json.loads(report.stdout)
        assert (line["patron_id"], line["kind"], line["reason"]) == ("P2", "hold_placed", "userunknown")
        told = subprocess.run(
            todoku(tmp_path, "explain", "patron:P2", "--json"), capture_output=True, check=True, timeout=60
        )
        story = json.loads(told.stdout)
        assert story["subject"] == "patron:P2"
        types = [moment["type"] for moment in story["events"]]
        assert types.index("event.patron") < types.index("attempt.ended") < types.index("evidence.bounced")


async def test_a_second_daemon_on_the_same_file_is_refused(tmp_path: Path, relay: Relay) -> None:
    port = write_config(tmp_path, RELAY_PORT=relay.port)
    async with daemon(tmp_path, port):
        second = await asyncio.to_thread(
            subprocess.run, todoku(tmp_path, "serve"), capture_output=True, timeout=60, check=False
        )
        assert second.returncode == 1
        assert "another `todoku serve`" in second.stderr.decode()


async def test_two_daemons_on_one_postgresql_run_a_slot_once(
    tmp_path: Path, relay: Relay, postgres_url: str, dovecot: Dovecot
) -> None:
    url = postgres_url.replace("+asyncpg", "")
    now = SystemClock().now().astimezone(ZoneInfo("Asia/Tokyo"))
    due = now + timedelta(minutes=1, seconds=5 if now.second < 50 else 15)
    slot = f'batches: [{{name: 便, at: "{due:%H:%M}"}}]\n'
    folders = [tmp_path / "a", tmp_path / "b"]
    ports = []
    for folder in folders:
        folder.mkdir()
        ports.append(write_config(folder, slot, RELAY_PORT=relay.port, DATABASE_URL=url))
    async with library(folders[0], RELAY_PORT=relay.port, DATABASE_URL=url) as town:
        for n in range(40):
            await town.ready_hold(n, f"two{n}@discard.example")
        async with daemon(folders[0], ports[0]), daemon(folders[1], ports[1]):

            async def all_sent() -> bool:
                rows = await town.rows(deliveries)
                return all(row.state == "handed_over" for row in rows)

            await wait_until(all_sent, 100, "the batch to be sent")
        rows = await town.rows(deliveries)
        assert len(rows) == 40
        assert {row.tries for row in rows} == {1}
        [ran] = await town.rows(batches, batches.c.outcome == "run")
        assert ran.released == 40
        assert not await town.rows(flags, flags.c.name.startswith("daemon:"))
    log = relay.log()
    assert sum("client=" in line for line in log.splitlines() if "smtpd" in line) == 40


async def test_pause_stops_and_resume_lets_go(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    port = write_config(tmp_path, RELAY_PORT=relay.port)

    async def command(*arguments: str) -> None:
        await asyncio.to_thread(
            subprocess.run, todoku(tmp_path, *arguments), check=True, timeout=60, capture_output=True
        )

    async with daemon(tmp_path, port), library(tmp_path, RELAY_PORT=relay.port) as town:
        await command("pause", "--why", "test")
        await post(
            port,
            {"type": "patron", "patron_id": "P1", "email": "pause@good.example"},
            {"type": "hold.placed", "hold_id": "H1", "patron_id": "P1", "title": "本"},
        )
        await asyncio.sleep(2.5)
        assert (await one(town, patron_id="P1")).state == "pending"
        await command("resume")
        assert len(await dovecot.arrived("pause", timeout=20)) == 1


async def test_systemd_is_told_and_sighup_reads_the_settings_again(tmp_path: Path, relay: Relay) -> None:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(tmp_path / "notify"))
    channel.settimeout(20)
    port = write_config(tmp_path, RELAY_PORT=relay.port)
    said: list[str] = []

    def hear(word: str) -> None:
        while not any(word in message for message in said):
            said.append(channel.recv(4096).decode())

    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    with contextlib.closing(channel):
        async with daemon(tmp_path, port, env) as process:
            await asyncio.to_thread(hear, "READY=1")
            await asyncio.to_thread(hear, "WATCHDOG=1")
            text = (tmp_path / "config.yaml").read_text()
            (tmp_path / "config.yaml").write_text(text + "library: twice\n")
            said.clear()
            process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(hear, "READY=1")
            assert "reload_refused" in (tmp_path / "log").read_text()
            (tmp_path / "config.yaml").write_text(text)
            said.clear()
            process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(hear, "READY=1")
            assert "event=reloaded" in (tmp_path / "log").read_text()
        said.clear()
        await asyncio.to_thread(hear, "STOPPING=1")
