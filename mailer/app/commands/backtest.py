"""`todoku backtest`: last year's call lists, as the library would have had them.

In goes a history file; out come the call list as JSON Lines on standard output and, if asked, the provider
alerts in a file. Needs no configuration, touches no database. A line that cannot be used is named on
standard error and left out; all others count.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import Progress

from holds_core.backtest import Problem, alert_row, call_row, parse_line, replay
from holds_core.observations import Observation

app = typer.Typer()


@app.command()
def backtest(
    history: Annotated[
        Path,
        typer.Argument(
            metavar="HISTORY.jsonl",
            exists=True,
            dir_okay=False,
            readable=True,
            help="過去の記録(1行に1件のJSON)。 The history, one JSON object a line.",
        ),
    ],
    calls_at: Annotated[
        str,
        typer.Option(
            "--calls-at",
            metavar="HH:MM",
            help="電話連絡リストを作る時刻。 When the morning's call list is made.",
        ),
    ] = "08:30",
    alerts: Annotated[
        Path | None,
        typer.Option(
            "--alerts",
            metavar="FILE",
            dir_okay=False,
            help="メールサービスの異常をこのファイルに書き出します。 Writes provider alerts to this file.",
        ),
    ] = None,
) -> None:
    """過去の記録から、毎朝の電話連絡リストを再現します。 Replays a history: whom it would have told you to phone."""
    at = _time_of_day(calls_at)
    observations, problems = _read(history)
    for problem in problems:
        typer.echo(f"{history}: {problem}", err=True)
    if alerts is None:
        _write(observations, at, sys.stdout, None)
    else:
        with _open(alerts) as out:
            _write(observations, at, sys.stdout, out)
    if problems:
        typer.echo(f"{len(problems)}行を読み飛ばしました。 {len(problems)} lines were left out.", err=True)
        raise typer.Exit(1)


def _time_of_day(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a time of day has no date
    except ValueError:
        raise typer.BadParameter("expected a time such as 08:30", param_hint="--calls-at") from None


def _open(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--alerts") from None


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


def _read(history: Path) -> tuple[list[Observation], list[Problem]]:
    """All observations in time order, and the lines that could not be used."""
    observations: list[Observation] = []
    problems: list[Problem] = []
    with _progress() as progress, history.open("rb") as file:
        task = progress.add_task("読み込み中 Reading", total=history.stat().st_size)
        for number, line in enumerate(file, 1):
            progress.advance(task, len(line))
            if not line.strip():
                continue
            parsed = parse_line(number, line)
            if isinstance(parsed, Problem):
                problems.append(parsed)
            elif parsed is not None:
                observations.append(parsed)
    observations.sort(key=lambda seen: seen.at)
    return observations, problems


def _write(observations: list[Observation], calls_at: time, calls: TextIO, alerts: TextIO | None) -> None:
    if not observations:
        return
    days = (observations[-1].at - observations[0].at).days + 1
    with _progress() as progress:
        task = progress.add_task("計算中 Replaying", total=days)
        for morning in replay(observations, calls_at):
            for call in morning.calls:
                calls.write(_line(call_row(morning.at, call)))
            for alert in morning.alerts if alerts is not None else ():
                assert alerts is not None
                alerts.write(_line(alert_row(alert)))
            progress.advance(task)


def _line(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
