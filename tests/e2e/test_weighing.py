"""The lookout's own process: it weighs, is watched over, and never outlives the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from holds_core.ledger import silence
from tests.e2e.library import Library, library
from tests.e2e.test_daemon import daemon, todoku, write_config
from tests.servers.ports import wait_until
from tests.servers.sink import Sink


def weighers(served: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of this daemon that weigh."""
    try:
        found = psutil.Process(served.pid).children()
        return [process for process in found if "mailer.app.weighing" in process.cmdline()]
    except psutil.NoSuchProcess:
        return []


async def weighs(served: subprocess.Popen[bytes]) -> psutil.Process:
    await wait_until(lambda: len(weighers(served)) == 1, 60, "the weighing process")
    return weighers(served)[0]


async def weighed(town: Library) -> None:
    async def done() -> bool:
        async with town.services.ledger.read() as connection:
            return await silence.weighed_at(connection) is not None

    await wait_until(done, 60, "everything to be weighed")


async def test_it_weighs_what_the_daemon_has_and_ends_with_it(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    port = write_config(tmp_path, RELAY_PORT=sink.port)
    async with library(tmp_path, RELAY_PORT=sink.port) as town:
        async with daemon(tmp_path, port) as served:
            process = await weighs(served)
            await weighed(town)
            assert process.nice() > psutil.Process(served.pid).nice()
        assert not process.is_running()
        async with town.services.ledger.read() as connection:
            held = await silence.get_flag(connection, silence.LEASE)
    assert held["owner"] is None, "another daemon need not wait for its turn"
    assert "silence_weighed" in (tmp_path / "log").read_text()


async def test_one_that_dies_is_followed_by_another(tmp_path: Path, smtp_sink: Callable[..., Sink]) -> None:
    port = write_config(tmp_path, RELAY_PORT=smtp_sink().port)
    async with daemon(tmp_path, port) as served:
        first = await weighs(served)
        first.kill()
        await wait_until(lambda: not first.is_running(), 30, "the first to be gone")
        assert (await weighs(served)).pid != first.pid
    assert "task_failed" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("at_once", [True, False], ids=["while-it-starts", "while-it-waits"])
async def test_none_is_left_behind_by_a_daemon_that_was_killed(
    tmp_path: Path, smtp_sink: Callable[..., Sink], at_once: bool
) -> None:
    sink = smtp_sink()
    write_config(tmp_path, RELAY_PORT=sink.port)
    async with library(tmp_path, RELAY_PORT=sink.port) as town:
        with (tmp_path / "log").open("ab") as log:
            served = subprocess.Popen(todoku(tmp_path, "serve"), stderr=log)
        try:
            process = await weighs(served)
            if not at_once:
                await weighed(town)
            os.kill(served.pid, signal.SIGKILL)
            await asyncio.to_thread(served.wait)
            await wait_until(lambda: not process.is_running(), 60, "the orphan to end")
        finally:
            served.kill()
            served.wait()
