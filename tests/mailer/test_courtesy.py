"""Staff pages go first, and a batch goes on all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from mailer.courtesy import Courtesy
from tests.e2e.library import library
from tests.servers.sink import Sink


async def test_work_waits_until_no_page_is_being_made() -> None:
    courtesy, done = Courtesy(), []

    async def work() -> None:
        await courtesy.give_way()
        done.append("work")

    with courtesy.page():
        with courtesy.page():
            assert courtesy.called_for
            working = asyncio.create_task(work())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        done.append("pages")
    assert not courtesy.called_for
    await working
    assert done == ["pages", "work"]


async def test_without_a_page_nobody_waits() -> None:
    courtesy = Courtesy()
    waiting = asyncio.ensure_future(courtesy.give_way())
    await asyncio.sleep(0)
    assert waiting.done()


async def test_a_page_that_fails_holds_nobody_up() -> None:
    courtesy = Courtesy()
    try:
        with courtesy.page():
            raise RuntimeError
    except RuntimeError:
        pass
    assert not courtesy.called_for
    async with asyncio.timeout(30):
        await courtesy.give_way()


async def test_a_desk_that_is_never_quiet_stops_no_batch(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    async with library(tmp_path, RELAY_PORT=sink.port) as town:
        for number in range(6):
            await town.ready_hold(number, f"p{number}@far.example")
        await town.batch()
        with town.services.courtesy.page():
            await town.send()
            assert sink.count() == 6
