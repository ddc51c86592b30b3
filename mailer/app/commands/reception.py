"""Commands of the reception: take the requests that wait, show the runs, and who has a provisional address."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from holds_core.ledger import reception_runs, registrations
from holds_core.ledger.reception_runs import Run
from mailer.app.commands import common, terminal
from mailer.app.reception import ReceptionDesk
from mailer.app.services import event_rules

app = typer.Typer(help="予約の受付処理 / takes the requests that wait", no_args_is_help=True)


def add_to(main: typer.Typer) -> None:
    """Puts the commands on the command line."""
    main.add_typer(app, name="reception")
    main.command()(provisional)


@app.command()
def run(
    branch: Annotated[str | None, typer.Option(help="受取館のコード / one branch only")] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="今日2回目でも、休館日でも / a further run, also on a closed day"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """今すぐ受付処理をする / takes what waits now, instead of at holds.reception_at."""
    done = common.run(_run(branch, again=again))
    if as_json:
        common.print_json([_shown(item) for item in done])
        return
    for item in done:
        typer.echo(_line(item))
    if not done:
        typer.echo("対象の館がありません (本日処理済みか休館日) / nothing to run: done today, or closed")


async def _run(branch: str | None, *, again: bool) -> list[Run]:
    async with common.open_services() as services:
        await services.refresh_days()
        desk = ReceptionDesk(services.ledger, lambda: services.rulebook, event_rules, services.clock)
        return await desk.by_hand(branch, f"cli:{getpass.getuser()}", again=again)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """これまでの受付処理と、待っている申請 / past runs, and what waits."""
    done, waiting = common.run(_list())
    if as_json:
        common.print_json({"runs": [_shown(item) for item in done], "waiting": waiting})
        return
    for item in done:
        typer.echo(_line(item))
    for row in waiting:
        terminal.say("  ".join(str(row[name]) for name in ("asked_at", "branch", "hold_id", "state")))
    typer.echo(f"受付待ち waiting {len(waiting)}")


async def _list() -> tuple[list[Run], list[dict[str, Any]]]:
    async with common.open_services() as services, services.ledger.read() as connection:
        found = await reception_runs.waiting(connection, None, services.clock.now())
        rows = [
            {
                "asked_at": asked_at.isoformat(),
                "branch": row.branch,
                "hold_id": row.hold_id,
                "patron_id": row.patron_id,
                "state": row.state,
            }
            for row, asked_at in found
        ]
        return await reception_runs.recent(connection), rows


def _shown(item: Run) -> dict[str, Any]:
    return {
        "branch": item.branch,
        "day": item.day.isoformat(),
        "until": item.until.isoformat(),
        "finished_at": item.finished_at.isoformat() if item.finished_at else None,
        "by": item.by,
        "placed": item.placed,
        "refused": item.refused,
        "cancelled": item.cancelled,
        "cancel_refused": item.cancel_refused,
    }


def _line(item: Run) -> str:
    return (
        f"{item.day.isoformat()}  {item.branch}  予約 placed {item.placed} · 受付不可 refused {item.refused} · "
        f"取消 cancelled {item.cancelled} · 取消不可 cancellation refused {item.cancel_refused}"
    )


def provisional(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """仮のメールアドレスのままの利用者 / patrons who have not replaced their provisional address."""
    found = common.run(_provisional())
    if as_json:
        common.print_json([item.as_json() for item in found])
        return
    for item in found:
        used = "利用あり used" if item.used_at else "未利用 not used yet"
        terminal.say(
            f"{item.patron_id}  {item.name}  {item.address}  {item.since.date().isoformat()}  {used}"
        )
    typer.echo(f"仮のまま still provisional {len(found)}")


async def _provisional() -> list[registrations.Provisional]:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        return await registrations.provisional(connection)
