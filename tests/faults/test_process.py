"""The process: killed twenty times in one batch, and one of two daemons killed on one PostgreSQL."""

import asyncio
import os
import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from holds_core.ledger import outbox
from holds_core.ledger.daemons import DEAD_AFTER
from holds_core.ledger.models import attempts, deliveries, flags
from tests.e2e.library import Library, config, library
from tests.e2e.test_faults import fill, todoku
from tests.servers.ports import wait_until
from tests.servers.sink import Sink

MAILS, KILLS, CONNECTIONS = 2000, 20, 4


async def test_twenty_kills_in_one_batch_lose_nothing_and_hide_nothing(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    hurried = "providers: [{domain: far.example, per_minute: 100000}]\n"
    (tmp_path / "config.yaml").write_text(config(tmp_path, RELAY_PORT=sink.port) + hurried)
    await asyncio.to_thread(fill, tmp_path, MAILS)
    moments = random.Random(20)
    async with library(tmp_path, RELAY_PORT=sink.port) as town:
        await town.batch()
        for _ in range(KILLS):
            await kill_after(tmp_path, sink, sink.count() + moments.randint(1, 60))
        in_hand = Counter(row.state for row in await town.rows(deliveries))
        assert 0 < in_hand["handed_over"] < MAILS, "the kills came too early or too late to prove anything"
        assert in_hand.keys() <= {"pending", "sending", "uncertain", "handed_over"}
        doubtful = await settle(town)
        await town.send()

        rows = await town.rows(deliveries)
        assert Counter(row.state for row in rows) == {"handed_over": MAILS}, "none lost"
        assert len(doubtful) <= CONNECTIONS * KILLS
        assert {row.delivery_id for row in rows if row.tries > 1} <= doubtful
        dialled = Counter(row.delivery_id for row in await town.rows(attempts))
        came = came_for(sink)
        assert came.keys() == {row.address for row in rows}
        for row in rows:
            assert came[row.address] <= dialled[row.delivery_id] == row.tries, "no mail without its attempt"


async def kill_after(folder: Path, sink: Sink, mails: int) -> None:
    """Runs the daemon until the sink has so many mails, then kills it."""
    daemon = subprocess.Popen(todoku(folder, "serve"), stderr=subprocess.DEVNULL)
    try:
        await wait_until(lambda: sink.count() >= mails, 60, "the batch to go on")
        os.kill(daemon.pid, signal.SIGKILL)
    finally:
        daemon.kill()
        daemon.wait()


async def settle(town: Library) -> set[int]:
    """What twenty starts and ours found in doubt, made due now instead of after half an hour."""
    now = town.services.clock.now()
    async with town.services.ledger.write() as connection:
        await outbox.recover(connection, now, timedelta(), alive=["test"])
        await connection.execute(
            deliveries.update().where(deliveries.c.state == "uncertain").values(next_at=now)
        )
    return {row.delivery_id for row in await town.rows(deliveries, deliveries.c.doubts > 0)}


def came_for(sink: Sink) -> Counter[str]:
    """How many mails the relay was given for each address, those cut off in the middle included."""
    found = (re.search(rb"^X-Rcpt-Args: <([^>]+)>", mail, re.MULTILINE) for mail in sink.messages())
    return Counter(match[1].decode() for match in found if match)


async def test_of_two_daemons_on_one_postgresql_the_survivor_finishes_the_batch(
    tmp_path: Path, postgres_url: str, smtp_sink: Callable[..., Sink]
) -> None:
    """The dead one's mails in flight are in doubt, what it had only claimed goes on; nothing else leaves twice."""
    mails = 600
    sink = smtp_sink()
    url = postgres_url.replace("+asyncpg", "")
    hurried = "providers: [{domain: far.example, per_minute: 100000}]\n"
    values = {"RELAY_PORT": sink.port, "DATABASE_URL": url}
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "config.yaml").write_text(config(folder, **values) + hurried)
    async with library(folders[0], **values) as town:
        await asyncio.to_thread(fill, folders[0], mails)
        daemons = [subprocess.Popen(todoku(folder, "serve"), stderr=subprocess.DEVNULL) for folder in folders]
        try:
            await wait_until(lambda: all_alive(town), 60, "both daemons to live")
            await town.batch()
            await wait_until(lambda: sink.count() > mails // 10, 60, "the batch to be under way")
            daemons[0].kill()
            assert sink.count() < mails, "killed too late to prove anything"
            await long_dead(town)

            async def settled() -> bool:
                states = Counter(row.state for row in await town.rows(deliveries))
                return states.keys() <= {"handed_over", "uncertain"}

            await wait_until(settled, 60, "the survivor to send the rest")
        finally:
            for daemon in daemons:
                daemon.kill()
                daemon.wait()
        rows = await town.rows(deliveries)
        assert sum(row.state == "uncertain" for row in rows) <= CONNECTIONS
        assert {row.tries for row in rows} == {1}
        came = came_for(sink)
        assert len(rows) == mails
        for row in rows:
            assert came[row.address] == 1 or (row.state, came[row.address]) == ("uncertain", 0)


async def all_alive(town: Library) -> bool:
    return len(await town.rows(flags, flags.c.name.startswith("daemon:"))) == 2


async def long_dead(town: Library) -> None:
    """Two minutes pass for the dead daemon, which cannot say that it lives; the other one says so every 15 s."""
    async with town.services.ledger.write() as connection:
        now = town.services.clock.now()
        await connection.execute(
            flags.update().where(flags.c.name.startswith("daemon:")).values(at=now - DEAD_AFTER)
        )
