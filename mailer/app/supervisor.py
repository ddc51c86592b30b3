"""Runs the daemon's tasks: one that dies is restarted with backoff and logged, the others go on.

Knows nothing of mail. A task is a coroutine function that takes the stop event and returns once it is set.
Each has a stop event of its own, so that one can be taken out, or another put in its place, while all run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class _Kept:
    """A task under supervision; `running` is None before the supervisor runs."""

    state: TaskState
    task: Task
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[None] | None = None


class Supervisor:
    """Add tasks, then `run`. While it runs, tasks can be added, replaced and taken out."""

    def __init__(self, clock: Clock, stop_within_s: float = STOP_WITHIN_S) -> None:
        self._clock, self._stop_within_s = clock, stop_within_s
        self._kept: dict[str, _Kept] = {}
        self._leaving: set[_Kept] = set()
        self._runs = False

    @property
    def states(self) -> list[TaskState]:
        return [kept.state for kept in self._kept.values()]

    def add(self, name: str, task: Task) -> None:
        """Takes a task in. One of this name is told to stop; the new one begins when it has ended."""
        before = self._kept.get(name)
        kept = self._kept[name] = _Kept(before.state if before else TaskState(name), task)
        if before is not None:
            self._dismiss(before)
        if self._runs:
            self._start(kept, before)

    def remove(self, name: str) -> None:
        """Tells a task to stop and forgets it. Raises KeyError."""
        self._dismiss(self._kept.pop(name))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then waits for the tasks, but no longer than `stop_within_s`."""
        self._runs = True
        for kept in self._kept.values():
            self._start(kept, None)
        await stop.wait()
        self._runs = False
        running = self._tell_all()
        _, late = await asyncio.wait(running, timeout=self._stop_within_s) if running else (set(), set())
        for task in late:
            maillog.event("task_cut_off", task=task.get_name())
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _tell_all(self) -> list[asyncio.Task[None]]:
        everyone = [*self._kept.values(), *self._leaving]
        for kept in everyone:
            kept.stop.set()
        return [kept.running for kept in everyone if kept.running is not None]

    def _dismiss(self, kept: _Kept) -> None:
        kept.stop.set()
        if kept.running is not None:
            self._leaving.add(kept)

    def _start(self, kept: _Kept, before: _Kept | None) -> None:
        kept.running = asyncio.create_task(self._follow(kept, before), name=kept.state.name)
        kept.running.add_done_callback(lambda _: self._leaving.discard(kept))

    async def _follow(self, kept: _Kept, before: _Kept | None) -> None:
        """However long the one before takes: two senders, or two readers of a folder, must not meet."""
        if before is not None and before.running is not None:
            await asyncio.wait({before.running})
        await self._keep(kept.state, kept.task, kept.stop)

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
