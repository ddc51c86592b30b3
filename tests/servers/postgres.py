"""A private PostgreSQL with its usual durability (fsync on), and fresh databases in it."""

import itertools
import os
import signal
import subprocess
from pathlib import Path

import asyncpg

from tests.servers.ports import HOST, free_port, wait_port
from tests.servers.workplace import Workplace

_USER = "todoku"


class Postgres:
    """One server on `port`; any local client may be its superuser `todoku` without a password."""

    def __init__(self) -> None:
        self._binaries = _newest_binaries()
        # It refuses to run as root; Debian's package has a user for it.
        self._owner = "postgres" if os.geteuid() == 0 else None
        self.port = free_port()
        self._workplace = Workplace("postgres")
        self._home = self._workplace.directory("home", self._owner, self._owner)
        self._data = self._home / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._initialise()

    def _initialise(self) -> None:
        options = ["-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
        # Only the making of the template goes unsynced; the server itself syncs.
        subprocess.run(
            [self._binaries / "initdb", "-D", self._data, *options, "--no-sync"],
            user=self._owner,
            group=self._owner,
            extra_groups=None if self._owner is None else [],
            cwd=self._home,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(f"listen_addresses = '{HOST}'\nport = {self.port}\n")
            settings.write(f"unix_socket_directories = '{self._home}'\n")

    def start(self) -> None:
        """Starts it and returns when it takes connections; nothing if it runs."""
        if self._process is not None:
            return
        self._process = self._workplace.run(
            self._binaries / "postgres",
            *("-D", self._data),
            output=self._workplace.path / "postgres.log",
            # Fast shutdown: clients are disconnected.
            stop_signal=signal.SIGINT,
            user=self._owner,
        )
        wait_port(self.port, timeout=30, gave_up=self._ended)
        self._wait_ready()

    def _wait_ready(self) -> None:
        command = [str(self._binaries / "pg_isready"), "-h", HOST, "-p", str(self.port), "-q"]
        while subprocess.run(command, check=False).returncode != 0:
            if reason := self._ended():
                raise RuntimeError(f"PostgreSQL did not start: {reason}")

    def _ended(self) -> str:
        assert self._process is not None
        return "" if self._process.poll() is None else self.log()[-2000:]

    def stop(self) -> None:
        """Stops it, clients are disconnected; the databases stay."""
        if self._process is not None:
            self._workplace.end(self._process)
            self._process = None

    def close(self) -> None:
        """Stops it and removes everything."""
        self._process = None
        self._workplace.close()

    def log(self) -> str:
        """All that it logged."""
        path = self._workplace.path / "postgres.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def new_database(self, template: str = "") -> str:
        """Makes a database, empty or a copy of the one with the URL `template`, which nobody may be using.
        Returns its URL as SQLAlchemy's asyncpg dialect takes it."""
        name = f"test_{next(self._numbers)}"
        like = f' TEMPLATE "{template.rpartition("/")[2]}"' if template else ""
        await self._execute(f'CREATE DATABASE "{name}"{like}')
        return f"postgresql+asyncpg://{_USER}@{HOST}:{self.port}/{name}"

    async def drop_database(self, url: str) -> None:
        """Removes a database of `new_database`, ending whoever is still connected to it."""
        await self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host=HOST, port=self.port, user=_USER, database="postgres", ssl=False
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _newest_binaries() -> Path:
    """The newest version's folder: Debian keeps versions side by side and none of them in PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not found:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return max(found, key=lambda path: int(path.parent.name))
