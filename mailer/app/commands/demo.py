"""The command `todoku demo`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from holds_core.errors import BadInput, TodokuError
from mailer.app.commands import common
from mailer.app.demo.run import Plan
from mailer.app.demo.run import demo as play

WIDE = 200
"""Columns in a pipe, where nobody's terminal says how many there are."""


def add_to(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command()(demo)


def demo(
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=60, help="この日数で終わる / ends after so many days (default: 14, then it stays up)"
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="待たずに進める / as fast as the work allows")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="残すフォルダー (空のもの) / an empty folder to keep (default: a temporary one)"),
    ] = None,
    seed: Annotated[int, typer.Option(help="町の種 / makes another town")] = 1,
) -> None:
    """見本の町で動かしてみる / plays two weeks in a sandbox town; no configuration, no mail leaves the machine."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=WIDE)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(play(Plan(days, fast, folder, seed), out, common.errors))
    except TodokuError as error:
        common.fail(error, 2 if isinstance(error, BadInput) else None)
    except KeyboardInterrupt:
        # before the daemon listens for it, or a second time
        common.errors.print("中止しました / stopped")
