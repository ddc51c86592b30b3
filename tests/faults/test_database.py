"""The database: no room on its disk, restarted in mid-batch, all its connections in use. Locked: `tests/e2e`."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from holds_core.ledger.models import attempts, deliveries
from tests.e2e.library import Library, library
from tests.servers.ports import wait_until
from tests.servers.postgres import Postgres
from tests.servers.sink import Sink

MAILS = 300


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 megabytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a disk of its own")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextlib.asynccontextmanager
async def sending(town: Library) -> AsyncIterator[None]:
    """The sender as the daemon runs it; at the end it must stop well."""
    stop = asyncio.Event()
    running = asyncio.create_task(town.services.sender.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 180)


async def states(town: Library) -> Counter[str]:
    return Counter(row.state for row in await town.rows(deliveries))


async def sent_once(town: Library, sink: Sink, mails: int) -> None:
    """All are handed over, by one recorded attempt each, and the relay has each of them once."""

    async def all_gone() -> bool:
        with contextlib.suppress(Exception):  # the database may not be back yet
            return await states(town) == {"handed_over": mails}
        return False

    await wait_until(all_gone, 60, "all mails to be recorded as handed over")
    assert len(await town.rows(attempts)) == mails
    assert sink.count() == mails


async def test_a_full_disk_delays_and_loses_no_outcome(
    tmp_path: Path, small_disk: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    async with library(
        tmp_path, RELAY_PORT=sink.port, DATABASE_URL=f"sqlite:///{small_disk}/todoku.db"
    ) as town:
        for n in range(100):
            await town.ready_hold(n, f"p{n}@far.example")
        await town.batch()
        with contextlib.closing(sqlite3.connect(small_disk / "todoku.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log gives its room back
        ballast = small_disk / "ballast"
        async with sending(town):
            await wait_until(lambda: sink.count() > 0, 20, "the first mail")
            fill_up(ballast)
            stood = await standing_still(sink)
            assert stood < 100, "the disk was full too late to prove anything"
            ballast.unlink()
            await sent_once(town, sink, 100)


def fill_up(ballast: Path) -> None:
    """Takes what room is left, to the last byte."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


async def standing_still(sink: Sink) -> int:
    """Returns how many mails left once no more do: without a record nothing is dialled."""
    while True:
        before = sink.count()
        await asyncio.sleep(1.5)
        if sink.count() == before:
            return before


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server of the test's own, for it is stopped."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


async def test_a_postgresql_restarted_in_mid_batch_loses_nothing(
    tmp_path: Path, own_postgres: Postgres, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    url = (await own_postgres.new_database()).replace("+asyncpg", "")
    async with library(tmp_path, RELAY_PORT=sink.port, DATABASE_URL=url) as town:
        for n in range(MAILS):
            await town.ready_hold(n, f"p{n}@far{n % 9}.example")
        await town.batch()
        async with sending(town):
            await wait_until(lambda: sink.count() > MAILS // 20, 30, "the batch to be under way")
            await asyncio.to_thread(own_postgres.stop)
            assert sink.count() < MAILS, "stopped too late to prove anything"
            await asyncio.to_thread(own_postgres.start)
            await sent_once(town, sink, MAILS)


async def test_with_every_connection_in_use_work_waits_its_turn(
    tmp_path: Path, postgres_url: str, smtp_sink: Callable[..., Sink]
) -> None:
    """Twelve are the pool's most: others hold them all while a batch wants to begin."""
    sink = smtp_sink()
    url = postgres_url.replace("+asyncpg", "")
    async with library(tmp_path, RELAY_PORT=sink.port, DATABASE_URL=url) as town:
        for n in range(20):
            await town.ready_hold(n, f"p{n}@far.example")
        await town.batch()
        async with contextlib.AsyncExitStack() as held:
            for _ in range(12):
                await held.enter_async_context(town.services.ledger.read())
            stop = asyncio.Event()
            running = asyncio.create_task(town.services.sender.run(stop))
            await asyncio.sleep(1)
            assert sink.count() == 0, "nothing leaves without a record"
        await sent_once(town, sink, 20)
        stop.set()
        await asyncio.wait_for(running, 180)
