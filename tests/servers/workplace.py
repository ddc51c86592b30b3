"""Where a server lives during a test: its temporary directory and its processes.

What is started here is ended by pid, with everything below it, and the directory goes; a guard process
does the same should the test run be killed. Knows nothing of the servers themselves.
"""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.servers import guard

CONF = Path(__file__).parent / "conf"
# Not the caller's TMPDIR: the servers run as several users, each of which must be able to walk
# there, and the path of a Unix socket ends at 107 bytes.
_PARENT = Path("/tmp")


def need_root(server: str) -> None:
    """Raises RuntimeError unless run by root: never a silent skip."""
    if os.geteuid() != 0:
        raise RuntimeError(f"{server} drops privileges itself and can only be started by root: run as root")


def find_program(name: str, package: str) -> str:
    """The path of a system program; raises RuntimeError naming the Debian package that has it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: apt-get install {package}")
    return found


def render(template: str, values: dict[str, object]) -> str:
    """A template of `conf/` with every @NAME@ replaced; KeyError for a name that has no value."""
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), (CONF / template).read_text())


class Workplace:
    """One temporary directory (mode 755) and the processes started in it."""

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"todoku-{name}-", dir=_PARENT))
        self.path.chmod(0o755)
        _tell_guard(f"directory {self.path}")
        self._running: dict[int, tuple[subprocess.Popen[bytes], int]] = {}

    def directory(
        self, name: str, owner: str | None = None, group: str | None = None, mode: int = 0o755
    ) -> Path:
        """Makes a directory below this one; without a group it gets its owner's."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            shutil.chown(path, owner, group or owner)
        path.chmod(mode)
        return path

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> Path:
        """Writes a file below this directory."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def run(
        self,
        *command: str | Path,
        output: Path,
        stop_signal: int = signal.SIGTERM,
        user: str | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a server that stays in the foreground, in a session of its own.

        `output` gets what it prints; `stop_signal` is what `end` and the guard ask it with.
        """
        with output.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.path,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                env=None if env is None else os.environ | env,
            )
        _tell_guard(f"process {process.pid} {stop_signal}")
        self._running[process.pid] = (process, stop_signal)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ends one process with all that it started; nothing if that was done before."""
        if process.pid not in self._running:
            return
        _, stop_signal = self._running.pop(process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            guard.end_session(psutil.Process(process.pid), stop_signal)
        process.wait(5)

    def close(self) -> None:
        """Ends all processes and removes the directory."""
        for process, _ in list(self._running.values()):
            self.end(process)
        shutil.rmtree(self.path)
        _tell_guard(f"gone {self.path}")


_guard: subprocess.Popen[str] | None = None


def _tell_guard(line: str) -> None:
    global _guard
    if _guard is None:
        # -P: the servers' modules must not stand in for others' of the same name.
        command = [sys.executable, "-P", guard.__file__]
        _guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )
        atexit.register(_dismiss_guard)
    assert _guard.stdin is not None
    _guard.stdin.write(line + "\n")


def _dismiss_guard() -> None:
    if _guard is not None and _guard.stdin is not None:
        _guard.stdin.close()
        _guard.wait(30)
