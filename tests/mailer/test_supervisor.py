"""A task that dies is restarted, the others go on, and the stop is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from mailer.app.supervisor import FIRST_WAIT_S, HEALTHY_AFTER_S, LONGEST_WAIT_S, Supervisor
from tests.clock import HandClock


class Run:
    """A supervisor that runs, with a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.supervisor = Supervisor(self.clock, stop_within_s=0.05)
        self.stop = asyncio.Event()
        self.running: asyncio.Task[None] | None = None

    def start(self, **tasks: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        for name, task in tasks.items():
            self.supervisor.add(name, task)
        self.running = asyncio.create_task(self.supervisor.run(self.stop))

    async def end(self) -> None:
        self.stop.set()
        if self.running is not None:
            await asyncio.wait_for(self.running, 30)


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    made = Run()
    yield made
    await made.end()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():
            await asyncio.sleep(0.001)


async def patient(stop: asyncio.Event) -> None:
    await stop.wait()


async def test_a_task_that_dies_is_restarted_and_the_others_go_on(run: Run) -> None:
    begun: list[timedelta] = []
    start = run.clock.now()

    async def dying(stop: asyncio.Event) -> None:
        begun.append(run.clock.now() - start)
        raise OSError("the disk is full: a@example.jp")

    with capture_logs() as logs:
        run.start(dying=dying, patient=patient)
        for _ in range(9):
            await run.clock.asleep()
            restarts = len(begun)
            run.clock.advance(timedelta(seconds=LONGEST_WAIT_S))
            await until(lambda before=restarts: len(begun) > before)  # type: ignore[misc]
        await run.clock.asleep()
    dead, alive = run.supervisor.states
    assert (dead.name, dead.running, dead.restarts, dead.last_error) == ("dying", False, 10, "OSError")
    assert (alive.name, alive.running, alive.restarts) == ("patient", True, 0)
    pauses = [line["again_in_s"] for line in logs if line["event"] == "task_failed"]
    assert pauses[:4] == [FIRST_WAIT_S, 2, 4, 8]
    assert pauses[-1] == LONGEST_WAIT_S


async def test_it_is_not_restarted_before_its_pause(run: Run) -> None:
    begun = 0

    async def dying(stop: asyncio.Event) -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError

    run.start(dying=dying)
    await run.clock.asleep()
    run.clock.advance(timedelta(seconds=FIRST_WAIT_S * 0.9))
    await asyncio.sleep(0.01)
    assert begun == 1
    run.clock.advance(timedelta(seconds=FIRST_WAIT_S * 0.1))
    await until(lambda: begun == 2)


async def test_a_task_that_was_well_for_long_is_restarted_soon(run: Run) -> None:
    async def dies_late(stop: asyncio.Event) -> None:
        await run.clock.sleep(HEALTHY_AFTER_S + 1)
        raise RuntimeError

    with capture_logs() as logs:
        run.start(dies_late=dies_late)
        for _ in range(3):
            await run.clock.asleep()
            run.clock.advance(timedelta(seconds=HEALTHY_AFTER_S + 2))
            await until(lambda: run.clock.sleepers > 0)
            run.clock.advance(timedelta(seconds=FIRST_WAIT_S))
            await asyncio.sleep(0.005)
    pauses = [line["again_in_s"] for line in logs if line["event"] == "task_failed"]
    assert pauses
    assert set(pauses) == {FIRST_WAIT_S}


async def test_a_task_that_ends_by_itself_has_failed(run: Run) -> None:
    async def short(stop: asyncio.Event) -> None:
        return

    run.start(short=short)
    await run.clock.asleep()
    [state] = run.supervisor.states
    assert (state.restarts, state.last_error, state.running) == (1, "RuntimeError", False)


async def test_the_stop_waits_for_tasks_that_drain(run: Run) -> None:
    drained = []

    async def draining(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0)
        drained.append(True)

    run.start(draining=draining, patient=patient)
    await until(lambda: all(state.running for state in run.supervisor.states))
    await run.end()
    assert drained == [True]
    assert [state.restarts for state in run.supervisor.states] == [0, 0]


async def test_the_stop_is_bounded(run: Run) -> None:
    async def deaf(stop: asyncio.Event) -> None:
        await asyncio.Event().wait()

    run.start(deaf=deaf, patient=patient)
    await until(lambda: all(state.running for state in run.supervisor.states))
    with capture_logs() as logs:
        await run.end()
    assert [line["task"] for line in logs if line["event"] == "task_cut_off"] == ["deaf"]


async def test_a_stop_does_not_wait_for_a_pause(run: Run) -> None:
    async def dying(stop: asyncio.Event) -> None:
        raise RuntimeError

    run.start(dying=dying)
    await run.clock.asleep()
    await run.end()
    assert run.clock.sleepers == 0


async def test_a_task_that_fails_while_it_drains_ends_the_run_all_the_same(run: Run) -> None:
    async def clumsy(stop: asyncio.Event) -> None:
        await stop.wait()
        raise OSError

    run.start(clumsy=clumsy)
    await until(lambda: run.supervisor.states[0].running)
    await run.end()


async def test_without_tasks_it_waits_for_the_stop(run: Run) -> None:
    run.start()
    await asyncio.sleep(0)
    await run.end()
