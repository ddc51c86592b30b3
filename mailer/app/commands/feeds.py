"""`todoku feed`: the feeds of the library system, asked and looked at."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from holds_core.errors import BadInput
from holds_core.feeds.mapping import Kind
from holds_core.feeds.snapshot_report import SnapshotReport
from mailer.app.commands import common
from mailer.app.feeds.http import FeedDown
from mailer.app.feeds.live import Lag, lags, pollers
from mailer.app.feeds.poller import Poller
from mailer.app.services import Services
from mailer.clock import SystemClock

app = typer.Typer(no_args_is_help=True)

Name = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="取り込み元の名前 (省略するとすべて) / its name (default: all)"),
]


@app.command()
def check(
    name: Name = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON で出力 / as JSON")] = False,
) -> None:
    """取り込み元に接続できるか、どこまで取り込んだかを確かめる / can the feeds be asked, and how late are they?"""
    found = common.run(_check(name))
    if as_json:
        common.print_json([_as_json(lag, said) for lag, said in found])
    else:
        for lag, said in found:
            typer.echo(_line(lag, said))
    if any(lag.late or said for lag, said in found):
        raise typer.Exit(1)


async def _check(name: str | None) -> list[tuple[Lag, str]]:
    async with common.open_services() as services:
        live = {poller.name: poller for poller in pollers(services)}
        async with services.ledger.read() as connection:
            found = await lags(connection, services.settings, SystemClock().now())
        if name is not None:
            found = [lag for lag in found if lag.feed == name]
            if not found:
                raise _unknown(name, live)
        return [(lag, await _said(live.get(lag.feed))) for lag in found]


async def _said(poller: Poller | None) -> str:
    """What is wrong with a live feed that is asked right now; empty if nothing is."""
    if poller is None:
        return ""
    try:
        await poller.probe()
    except FeedDown as error:
        return str(error)
    return ""


def _as_json(lag: Lag, said: str) -> dict[str, object]:
    return {
        "feed": lag.feed,
        "as_of": lag.as_of.isoformat() if lag.as_of else None,
        "lag_seconds": round(lag.lag.total_seconds()) if lag.lag else None,
        "late": lag.late,
        "failures": lag.failures,
        "error": said,
    }


def _line(lag: Lag, said: str) -> str:
    state = "接続できません / cannot be asked" if said else "遅れています / late" if lag.late else "正常 / ok"
    zone = common.settings().library.timezone
    as_of = (
        f"{lag.as_of.astimezone(zone):%Y-%m-%d %H:%M} 現在 / as of"
        if lag.as_of
        else "まだ取り込んでいません / nothing taken in yet"
    )
    return f"{lag.feed}: {state} · {as_of}" + (f" · {said}" if said else "")


@app.command()
def pull(
    name: Name = None,
    once: Annotated[
        bool, typer.Option("--once", help="1回だけ取り込む (既定) / takes in once and ends (the default)")
    ] = True,
    full: Annotated[
        bool, typer.Option("--full", help="全件を読み直す / reads all again, not only what changed")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="何も保存しない / keeps nothing")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="件数の確認を省く / takes in what the guard refuses")
    ] = False,
) -> None:
    """Koha・FOLIO から今すぐ取り込む / asks the live feeds now and takes in what they say."""
    failed = False
    for report in common.run(_pull(name, full=full or force, dry_run=dry_run, force=force)):
        for line in report.lines():
            typer.echo(line)
        failed = failed or report.failed
    if failed:
        raise typer.Exit(1)


async def _pull(name: str | None, *, full: bool, dry_run: bool, force: bool) -> list[SnapshotReport]:
    async with common.open_services() as services:
        chosen = _chosen(services, name)
        reports = []
        for poller in chosen:
            reports += await poller.poll(
                full=full, dry_run=dry_run, force_by=f"cli:{getpass.getuser()}" if force else ""
            )
        return sorted(reports, key=lambda report: (report.feed, report.kind is Kind.HOLDS))


def _chosen(services: Services, name: str | None) -> list[Poller]:
    live = {poller.name: poller for poller in pollers(services)}
    if name is not None and name not in live:
        raise _unknown(name, live)
    if not live:
        raise BadInput(
            "feeds.koha も feeds.folio も設定されていません / neither feeds.koha nor feeds.folio is set"
        )
    return [live[name]] if name is not None else list(live.values())


def _unknown(name: str, live: dict[str, Poller]) -> BadInput:
    names = ", ".join(live) or "-"
    return BadInput(
        f"「{name}」という取り込み元は設定にありません (あるもの: {names}) / there is no feed {name}; there is {names}"
    )
