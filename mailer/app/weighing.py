"""The lookout in a process of its own, which the daemon starts, watches over and ends.

A whole weighing of a big library's year is minutes of plain computing. In the daemon's process each page and each
mail would wait for it, thread or not: one interpreter does one thing at a time. The process reads the same
configuration, writes the same ledger and the same log, and ends when its standard input does, so that none is
left behind however the daemon ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from holds_core.errors import TodokuError
from mailer.app.commands import common
from mailer.app.supervisor import Task
from mailer.app.watch import lookout

ENDS_WITHIN_S = 10.0
NICENESS = 10
"""Mail and pages come first on a machine with one processor, too."""


class ProcessEnded(TodokuError):  # noqa: N818
    """The weighing process ended though nobody had told it to. The supervisor starts another one."""


def apart(config: Path, owner: str) -> Task:
    """The task that keeps the process running. `owner` is the daemon's name in leases."""
    command = [sys.executable, "-P", "-m", __name__, str(config.absolute()), owner]

    async def run(stop: asyncio.Event) -> None:
        await _keep(command, stop)

    return run


async def _keep(command: Sequence[str], stop: asyncio.Event) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    ended, told = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            raise ProcessEnded(f"the weighing process ended with status {process.returncode}")
    finally:
        told.cancel()
        await _end(process, ended)


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait({ended}, timeout=ENDS_WITHIN_S)
    if not ended.done():
        process.kill()
        await ended


# -- inside the process ----------------------------------------------------------------------------


async def _weigh(owner: str) -> int:
    """Until standard input ends. Returns the exit status."""
    services = dataclasses.replace(common.new_services(), owner=owner)
    try:
        await services.refresh_days()
        told = await _input_ended()
        tasks = [
            asyncio.create_task(lookout(services, lambda: services.rulebook).run()),
            asyncio.create_task(services.days.run(services.clock, lambda: (services.rulebook,), told)),
        ]
        stopped = asyncio.create_task(told.wait())
        await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        failed = not told.is_set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=not failed)
        return int(failed)
    finally:
        await services.close()


async def _input_ended() -> asyncio.Event:
    """An event that is set when nobody holds the other end of standard input any more."""
    reader, over = asyncio.StreamReader(), asyncio.Event()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def read() -> None:
        await reader.read()
        over.set()

    _KEPT.add(asyncio.create_task(read()))
    return over


_KEPT: set[asyncio.Task[None]] = set()


async def _main(owner: str) -> None:
    status = await _weigh(owner)
    # a thread in mid-thought would hold the interpreter's end up for a minute, and what it thinks is not wanted
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    # who stops the service tells every process of it; the daemon tells us when it is our turn
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    common.options.config = Path(sys.argv[1])
    try:
        asyncio.run(_main(sys.argv[2]))
    except TodokuError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
