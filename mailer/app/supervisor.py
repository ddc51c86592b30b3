"""Runs the daemon's tasks: one that dies is restarted with backoff and logged, the others go on.

Knows nothing of mail. A task is a coroutine function that takes the stop event and returns once it is set.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from mailer import maillog
from mailer.clock import Clock, wait

Task = Callable[[asyncio.Event], Awaitable[None]]

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
HEALTHY_AFTER_S = 300.0
STOP_WITHIN_S = 30.0
"""After this a task that does not end is cut off; what it was sending is uncertain at the next start."""


@dataclass(slots=True)
class TaskState:
    """What the system page and the metrics show of a task."""

    name: str
    running: bool = False
    restarts: int = 0
    last_error: str = ""
    failed_at: datetime | None = None


class Supervisor:
    """Add tasks, then `run`."""

    def __init__(self, clock: Clock, stop_within_s: float = STOP_WITHIN_S) -> None:
        self._clock, self._stop_within_s = clock, stop_within_s
        self._tasks: list[tuple[TaskState, Task]] = []

    @property
    def states(self) -> list[TaskState]:
        return [state for state, _ in self._tasks]

    def add(self, name: str, task: Task) -> None:
        self._tasks.append((TaskState(name), task))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then waits for the tasks, but no longer than `stop_within_s`."""
        running = [
            asyncio.create_task(self._keep(state, task, stop), name=state.name) for state, task in self._tasks
        ]
        await stop.wait()
        _, late = await asyncio.wait(running, timeout=self._stop_within_s) if running else (set(), set())
        for task in late:
            maillog.event("task_cut_off", task=task.get_name())
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep(self, state: TaskState, task: Task, stop: asyncio.Event) -> None:
        pause = FIRST_WAIT_S
        while not stop.is_set():
            begun = self._clock.now()
            state.running = True
            try:
                await task(stop)
                error: BaseException | None = None if stop.is_set() else RuntimeError("it ended by itself")
            except Exception as failure:
                error = failure
            state.running = False
            if error is None:
                return
            if (self._clock.now() - begun).total_seconds() > HEALTHY_AFTER_S:
                pause = FIRST_WAIT_S
            state.restarts += 1
            state.last_error, state.failed_at = type(error).__name__, self._clock.now()
            maillog.task_failed(state.name, error, pause)
            await wait(self._clock, stop, pause)
            pause = min(LONGEST_WAIT_S, pause * 2)
