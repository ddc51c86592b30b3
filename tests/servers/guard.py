"""Ends servers, and outlives a test run that was killed to end its servers too.

A process of its own, told on standard input what was started (`process PID SIGNAL`, `directory PATH`,
`gone PATH`). When the other end closes, however the run died, it ends what still runs and removes what
is left. Imported by `workplace.py` for `end_session`, run by it as a script.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

import psutil


def end_session(leader: psutil.Process, stop_signal: int, patience: float = 8) -> None:
    """Ends a process, its descendants and its session: the leader is asked, the rest killed.

    A daemon's children may change their session (PostgreSQL's do) or lose their parent: neither
    list alone is complete.
    """
    members = _members(leader)
    if alive(leader):
        leader.send_signal(stop_signal)
        _wait({leader}, patience)
    left = {member for member in members | _members(leader) if alive(member)}
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _wait(left, 5)


def _members(leader: psutil.Process) -> set[psutil.Process]:
    """Everything below the leader and in its session, the leader included."""
    members = {leader}
    with contextlib.suppress(psutil.NoSuchProcess):
        members.update(leader.children(recursive=True))
    for pid in psutil.pids():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader.pid:
                members.add(psutil.Process(pid))
    return members


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not, it only waits for its parent to look."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(processes: set[psutil.Process], limit: float) -> None:
    deadline = time.monotonic() + limit
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)


def main() -> None:
    """Reads what is started until the test run is over, then cleans up after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes: list[tuple[psutil.Process, int]] = []
    directories: list[str] = []
    for line in sys.stdin:
        word, *rest = line.rstrip("\n").split(" ")
        if word == "process":
            processes = [(process, signum) for process, signum in processes if alive(process)]
            with contextlib.suppress(psutil.NoSuchProcess):
                processes.append((psutil.Process(int(rest[0])), int(rest[1])))
        elif word == "directory":
            directories.append(rest[0])
        elif word == "gone":
            directories.remove(rest[0])
    for process, signum in reversed(processes):
        end_session(process, signum)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
