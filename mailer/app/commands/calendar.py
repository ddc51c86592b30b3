"""`todoku closure` and `todoku holidays`: days that the settings could not foresee.

What is entered here a running daemon uses within seconds.
"""

from __future__ import annotations

import getpass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from holds_core.calendar import Holidays
from holds_core.errors import BadInput
from holds_core.holiday_list import read_official
from holds_core.ledger import accounts, closures
from holds_core.ledger.closures import Closure
from mailer.app import closing
from mailer.app.closing import Entered, Preview, TakenBack
from mailer.app.commands import common

app = typer.Typer(help="臨時休館 / unforeseen closings", no_args_is_help=True)
holidays = typer.Typer(help="国民の祝日 / public holidays", no_args_is_help=True)

ALL = ("all", "全館")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        common.fail(BadInput(f"{text}: 2026-12-01 のような日付を。 Expected a date such as 2026-12-01."), 2)


def _who() -> str:
    return f"cli:{getpass.getuser()}"


@app.command()
def add(
    branch: Annotated[str, typer.Argument(help="館コード、全館は all / branch code, or all")],
    day: Annotated[str, typer.Argument(metavar="DATE", help="休館日 / the (first) day")],
    until: Annotated[str | None, typer.Option(help="最終日 / the last day")] = None,
    reason: Annotated[str, typer.Option(help="理由 / why")] = "",
    tell: Annotated[
        bool, typer.Option("--tell", help="変わった期限を利用者に知らせる / tells patrons the new last day")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="影響だけを示す / only shows whom it touches")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """臨時休館を登録する / enters a closing; shows the holds and batches that it touches."""
    first = _day(day)
    last = _day(until) if until else first
    where = "" if branch in ALL else branch
    done = common.run(_add(where, first, last, reason, tell=tell, dry_run=dry_run))
    found = done.preview if isinstance(done, Entered) else done
    if as_json:
        common.print_json(_as_json(done))
        return
    for item in found.holds:
        moves_to = item.moves_to.isoformat() if item.moves_to else "図書館システムで延長 extend there"
        cells = (item.hold_id, item.patron_id, item.branch, f"{item.deadline} -> {moves_to}", item.contact)
        typer.echo("\t".join(cells))
    for slot in found.batches:
        typer.echo(f"便 batch {slot.key}: {'次の開館日まで待つ waits' if slot.waits else '送信する is sent'}")
    if isinstance(done, Entered):
        typer.echo(
            f"臨時休館 {done.closure.closure_id} を登録 entered · 期限変更 moved {len(done.moved)}"
            f" · お知らせ notices {len(done.notices)}"
        )


async def _add(
    branch: str, first: date, last: date, reason: str, *, tell: bool, dry_run: bool
) -> Entered | Preview:
    async with common.open_services() as services:
        today = services.rulebook.local(services.clock.now()).date()
        days = closures.check(services.rulebook, branch, first, last, today)
        if dry_run:
            return await closing.preview(services, branch, days)
        return await closing.enter(services, branch, days, reason, _who(), tell=tell)


def _as_json(done: Entered | Preview) -> dict[str, object]:
    found = done.preview if isinstance(done, Entered) else done
    said: dict[str, object] = {
        "holds": closing.as_json(found.holds),
        "batches": [{"slot": slot.key, "waits": slot.waits} for slot in found.batches],
    }
    if isinstance(done, Entered):
        said |= {"closure": _closure(done.closure), "moved": list(done.moved), "notices": list(done.notices)}
    return said


def _closure(item: Closure) -> dict[str, object]:
    return {
        "id": item.closure_id,
        "branch": item.branch or "all",
        "first": item.first.isoformat(),
        "last": item.last.isoformat(),
        "reason": item.reason,
        "entered_at": item.entered_at.isoformat(),
        "entered_by": item.entered_by,
    }


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """登録されている臨時休館 / the closings in force."""
    found = common.run(_listed())
    if as_json:
        common.print_json([_closure(item) for item in found])
        return
    for item in found:
        cells = (str(item.closure_id), item.branch or "全館 all", f"{item.first}..{item.last}", item.reason)
        typer.echo("\t".join(cells))


async def _listed() -> list[Closure]:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        return await closures.listed(connection)


@app.command()
def remove(number: Annotated[int, typer.Argument(help="番号 / its number")]) -> None:
    """臨時休館を取り消す。まだ知らせていない期限は元に戻します / takes a closing back; last days that patrons were told stay."""
    done = common.run(_remove(number))
    item = done.closure
    typer.echo(
        f"臨時休館 {item.closure_id} を取り消しました / closing {item.first}..{item.last} was taken back"
        f" · 期限を戻した moved back {len(done.back)} · お知らせ済みなどでそのまま kept {len(done.kept)}"
    )
    for hold_id in done.kept:
        typer.echo(f"{hold_id}: 期限はそのまま / its last day stays")


async def _remove(number: int) -> TakenBack:
    async with common.open_services() as services:
        return await closing.take_back(services, number, _who())


@holidays.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """内閣府の祝日一覧 (CSV、CP932) を取り込む / takes the Cabinet Office's list in place of the calculation."""
    official = common.run(_import(file.name, file.read_bytes()))
    first, last = min(official).year, max(official).year
    differs = _differences(official)
    if as_json:
        common.print_json({"days": len(official), "first": first, "last": last, "differs": differs})
        return
    for line in differs:
        typer.echo(f"計算と異なる日 differs from the calculation\t{line['day']}\t{line['list'] or '-'}")
    typer.echo(
        f"祝日 {len(official)}日 ({first}〜{last}年) を取り込みました / {len(official)} holidays taken in"
    )


async def _import(name: str, data: bytes) -> dict[date, str]:
    official = read_official(data)
    async with common.open_services() as services, services.ledger.write() as connection:
        now = services.clock.now()
        await closures.put_holidays(connection, official, name, now)
        detail = {"file": name, "days": len(official)}
        await accounts.record(connection, _who(), "holidays.import", name, detail, now)
    return official


def _differences(official: dict[date, str]) -> list[dict[str, str | None]]:
    """Days that are a holiday in one of the two only, from the list's first year on."""
    calculated, days = Holidays(), set(official)
    for year in {day.year for day in official}:
        days |= calculated.of_year(year).keys()
    return [
        {"day": day.isoformat(), "list": official.get(day), "calculation": calculated.name(day)}
        for day in sorted(days)
        if (day in official) is (calculated.name(day) is None)
    ]


@holidays.command("show")
def show(
    year: Annotated[int, typer.Argument(min=1950, max=2150, help="年 / the year")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """その年の祝日 / the public holidays of a year, as they are used."""
    found = common.run(_show(year))
    if as_json:
        common.print_json([{"day": day.isoformat(), "name": name} for day, name in sorted(found.items())])
        return
    for day, name in sorted(found.items()):
        typer.echo(f"{day.isoformat()}\t{name}")


async def _show(year: int) -> dict[date, str]:
    async with common.open_services() as services:
        official = {**services.rulebook.holidays.official, **services.days.known.holidays}
        return dict(Holidays(official).of_year(year))


@holidays.command("drop")
def drop() -> None:
    """取り込んだ一覧を使わない / forgets the imported list."""
    common.run(_drop())
    typer.echo("取り込んだ祝日一覧を削除しました / the imported list is forgotten")


async def _drop() -> None:
    async with common.open_services() as services, services.ledger.write() as connection:
        now = services.clock.now()
        await closures.drop_holidays(connection, now)
        await accounts.record(connection, _who(), "holidays.drop", "", {}, now)
