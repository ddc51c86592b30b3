"""A machine within this one whose first process is a real systemd: no network, a root that nothing survives.

Needs root and a kernel that lets it make namespaces and overlays; `boot` skips the test where it may not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

NAMESPACES = ("--pid", "--mount", "--cgroup", "--ipc", "--uts", "--net")
PATIENCE_S = 300.0
INTERPRETER = Path(sys.executable).resolve()


class Machine:
    """Runs commands inside, as root. `share` is /srv/share there."""

    def __init__(self, init: int, share: Path, log: Path) -> None:
        self._init, self.share, self._log = init, share, log

    def tries(self, command: str) -> subprocess.CompletedProcess[str]:
        """A shell command, however it ends."""
        inside = ["nsenter", "--target", str(self._init), *NAMESPACES, "--root", "--wd", "env", "-i"]
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*inside, path, "LANG=C.UTF-8", "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def does(self, command: str) -> str:
        """A shell command that must succeed; what it printed."""
        done = self.tries(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit (systemctl(1))."""
        return self.does(f"systemctl show {unit} --property={name} --value").strip()

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"never: {what}\n{self.journal()}"
            time.sleep(0.1)

    def journal(self) -> str:
        return self.tries("journalctl --no-pager --lines=40").stdout + self._log.read_text()[-2000:]


@contextmanager
def boot(programs: Path) -> Iterator[Machine]:
    """A machine with `programs` at /opt/todoku. It and all that runs in it end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="todoku-machine-"))
    share, log = folder / "share", folder / "boot.log"
    share.mkdir()
    script = Path(__file__).with_name("boot.sh")
    with log.open("w") as out:
        outer = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),  # should the test run be killed, so is the machine
                "unshare",
                *NAMESPACES,
                "--fork",
                "--kill-child=KILL",
                "sh",
                script,
                programs,
                INTERPRETER.parents[1],
                share,
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield _booted(outer, share, log)
    finally:
        outer.kill()  # and with it the machine's first process, which takes all others along
        outer.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _booted(outer: subprocess.Popen[bytes], share: Path, log: Path) -> Machine:
    """Once its systemd has reached its target. Skips where no machine can be made."""
    deadline = time.monotonic() + PATIENCE_S
    while outer.poll() is None and time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(outer.pid).children():
                machine = Machine(child.pid, share, log)
                up = child.name() == "systemd" and machine.tries("systemctl is-active default.target")
                if up and up.stdout.strip() == "active":
                    return _usable(machine)
        time.sleep(0.1)
    pytest.skip(f"no systemd can be booted within this machine: {log.read_text()[-500:]}")


def _usable(machine: Machine) -> Machine:
    """Skips where the interpreter cannot be moved to where the service's user may read it."""
    done = machine.tries("runuser -u nobody -- /opt/todoku/bin/python -c 'import ssl, sqlite3'")
    if done.returncode:
        pytest.skip(f"{INTERPRETER} runs nowhere else: {done.stderr[-500:]}")
    return machine


def movable(installed: Path, folder: Path) -> Path:
    """A copy of a virtual environment that runs at /opt/todoku, by the interpreter at /opt/python."""
    programs = folder / "opt"
    shutil.copytree(installed, programs, symlinks=True)
    for command in (programs / "bin").iterdir():
        if command.is_symlink():
            if command.readlink().is_absolute():
                command.unlink()
                command.symlink_to(f"/opt/python/bin/{INTERPRETER.name}")
        elif (head := command.read_bytes()).startswith(b"#!"):
            command.write_bytes(head.replace(str(installed).encode(), b"/opt/todoku"))
    settings = programs / "pyvenv.cfg"
    settings.write_text(settings.read_text().replace(str(INTERPRETER.parent), "/opt/python/bin"))
    return programs
