"""What all commands share: finding the settings, opening the parts, exit codes, output.

Exit 0: done. 1: failed. 2: the command line or the configuration cannot be used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets as entropy
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from holds_core.config import load
from holds_core.errors import TodokuError
from holds_core.ledger.session import Ledger
from holds_core.settings import Settings
from holds_core.settings.problems import ConfigError
from holds_core.settings.secrets import Secrets, read_secrets
from mailer import maillog
from mailer.app.commands import terminal
from mailer.app.services import Services
from mailer.clock import SystemClock

T = TypeVar("T")

errors = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Options:
    """The options that stand before the command."""

    config: Path = Path("config.yaml")


options = Options()


def settings() -> Settings:
    """The settings of `--config`. Raises ConfigError."""
    return load(options.config, os.environ)


def reread() -> tuple[Settings, Secrets]:
    """Settings and secrets as they are now, for a daemon that is told to reload. Raises ConfigError."""
    found = settings()
    return found, read_secrets(found, os.environ)


def new_services(found: Settings | None = None) -> Services:
    """All parts, with the machine's clock. Raises TodokuError."""
    known = found or settings()
    maillog.setup(json=known.logging.format.value == "json", level=known.logging.level.value)
    return Services.build(
        known,
        read_secrets(known, os.environ),
        clock=SystemClock(),
        jitter=random.random,
        owner=f"{os.uname().nodename}:{os.getpid()}:{entropy.token_hex(4)}",
    )


@contextlib.asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """The parts on a database of the right schema; an empty database is set up."""
    services = new_services()
    try:
        await ready(services.ledger)
        await services.refresh_days()
        yield services
    finally:
        await services.close()


@contextlib.asynccontextmanager
async def open_ledger() -> AsyncIterator[Ledger]:
    """Only the ledger, for commands that need no secrets."""
    ledger = Ledger.open(settings().database.async_url)
    try:
        await ready(ledger)
        yield ledger
    finally:
        await ledger.close()


async def ready(ledger: Ledger) -> None:
    """Sets an empty database up; refuses one of another version. Raises SchemaMismatch."""
    found, _ = await ledger.schema()
    if found is None:
        await ledger.upgrade()
    await ledger.check_schema()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's work; a known error ends the process with its text and code."""
    try:
        return asyncio.run(work)
    except TodokuError as error:
        fail(error)


def fail(error: TodokuError | str, code: int | None = None) -> NoReturn:
    """Prints what is wrong and ends the process: 2 for configuration errors, else 1."""
    errors.print(terminal.harmless(str(error)), style="red", markup=False)
    raise typer.Exit(code if code is not None else 2 if isinstance(error, ConfigError) else 1)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write(terminal.in_json(text) + "\n")


@contextlib.contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A progress line on a terminal; nothing in a pipe."""
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as shown:
        shown.add_task(what, total=None)
        yield shown
