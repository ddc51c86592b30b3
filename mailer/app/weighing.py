"""The lookout in a process of its own, which the daemon starts, watches over and ends.

A whole weighing of a big library's year is minutes of plain computing. In the daemon's process each page and each
mail would wait for it, thread or not: one interpreter does one thing at a time. The process reads the same
configuration, writes the same ledger and the same log, and ends when its standard input does, so that none is
left behind however the daemon ended. On that input the daemon first says which database it has open: a changed
`database.url` waits for a restart here, too, and what may hold a password stands in no list of processes.
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
from holds_core.settings import Settings
from mailer import loglines
from mailer.app.commands import common
from mailer.app.supervisor import Task
from mailer.app.watch import lookout

ENDS_WITHIN_S = 10.0
NICENESS = 10
"""Mail and pages come first on a machine with one processor, too."""


class ProcessEnded(TodokuError):  # noqa: N818
    """The weighing process ended though nobody had told it to. The supervisor starts another one."""


def apart(config: Path, owner: str, database: str) -> Task:
    """The task that keeps the process running. `owner` is the daemon's name in leases, `database` the URL of
    the ledger that it has open."""
    command = [sys.executable, "-P", "-m", __name__, str(config.absolute()), owner]

    async def run(stop: asyncio.Event) -> None:
        await _keep(command, database, stop)

    return run


async def _keep(command: Sequence[str], database: str, stop: asyncio.Event) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    ended, told = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    assert process.stdin is not None
    process.stdin.write(database.encode() + b"\n")
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
    database, told = await _input()
    services = dataclasses.replace(common.new_services(_on(database, common.settings())), owner=owner)
    try:
        await services.refresh_days()
        tasks = [
            asyncio.create_task(lookout(services, lambda: services.rulebook).run()),
            asyncio.create_task(services.days.run(services.clock, lambda: (services.rulebook,), told)),
        ]
        stopped = asyncio.create_task(told.wait())
        await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # it was to run until it is told: what ended it ends the process
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return int(not told.is_set())
    finally:
        await services.close()


def _on(database: str, settings: Settings) -> Settings:
    return settings.model_copy(update={"database": settings.database.model_copy(update={"url": database})})


async def _input() -> tuple[str, asyncio.Event]:
    """The line on standard input, and an event that is set when nobody holds its other end any more."""
    reader, over = asyncio.StreamReader(), asyncio.Event()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def read() -> None:
        await reader.read()
        over.set()

    line = await reader.readline()
    _KEPT.add(asyncio.create_task(read()))
    return line.decode().strip(), over


_KEPT: set[asyncio.Task[None]] = set()


async def _main(owner: str) -> None:
    status = await _weigh(owner)
    # a thread in mid-thought would hold the interpreter's end up for a minute, and what it thinks is not wanted
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """The process. Its arguments are the configuration's file and the daemon's name."""
    sys.excepthook = loglines.last_words
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
