"""Commands that do something: serve, import, batch, pause, resume, db."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from holds_core.errors import BadInput, TodokuError
from holds_core.feeds.intake import ImportReport, lines_of
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.ledger import breaker, copies, daemons, outbox, sending, slots
from holds_core.ledger.models import audit
from holds_core.ledger.session import Ledger, check_known
from holds_core.ledger.sql import put_flag
from holds_core.settings import Settings
from mailer.app.commands import common, terminal, upkeep
from mailer.app.dropfolder import import_snapshot
from mailer.app.services import Services
from mailer.app.single import AlreadyRunning, only_one
from mailer.batches import before_slot
from mailer.clock import SystemClock
from mailer.compose import Dropped
from mailer.sender import PAUSED

database = typer.Typer(help="データベース / the database", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    for command in (serve, batch, pause, resume):
        app.command()(command)
    app.command("import")(import_)
    app.add_typer(database, name="db")


def serve() -> None:
    """常駐プログラムを動かす / runs the daemon until SIGTERM."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())
    except TodokuError as error:
        common.fail(error)


async def _serve() -> None:
    # here, not above: the web parts take a second to load, and no other command needs them
    from mailer.app.daemon import Daemon
    from mailer.app.notify import Notifier
    from mailer.app.weighing import apart

    known = common.settings()
    with only_one(known):
        services = common.new_services(known)
        try:
            await common.ready(services.ledger)
            for warning in known.warnings:
                common.errors.print(str(warning), style="yellow", markup=False)
            watch = apart(common.options.config, services.owner, known.database.url)
            await Daemon(services, Notifier(), common.reread, watch).run()
        finally:
            await services.close()


def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    feed: Annotated[str | None, typer.Option(help="取り込み元の名前 / name of the feed")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="何も保存しない / keeps nothing")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="件数の確認を省く / takes a snapshot that the guard refuses")
    ] = False,
) -> None:
    """図書館システムのデータを取り込む / takes library data in: events (.jsonl) or a snapshot (.csv)."""
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            _import_events(file, feed or "import", dry_run=dry_run)
        case ".csv" | ".tsv":
            _import_snapshot(file, feed, dry_run=dry_run, force=force)
        case _:
            common.fail(
                BadInput(f"{file.name}: expected events in a .jsonl file or a snapshot in a .csv file"), 2
            )


def _import_events(file: Path, feed: str, *, dry_run: bool) -> None:
    report = common.run(_import(file, feed, dry_run=dry_run))
    for finding in (*report.failed, *report.conflicts):
        colour = "red" if finding.outcome == "failed" else "yellow"
        common.errors.print(terminal.harmless(str(finding)), style=colour, markup=False)
    for objection in report.objections:
        common.errors.print(str(objection), style="yellow", markup=False)
    typer.echo(_summary(report, dry_run=dry_run))
    if report.failed:
        raise typer.Exit(1)


def _import_snapshot(file: Path, feed: str | None, *, dry_run: bool, force: bool) -> None:
    report = common.run(_snapshot(file, feed, dry_run=dry_run, force=force))
    for line in report.lines():
        terminal.say(line)
    if report.failed:
        raise typer.Exit(1)


async def _snapshot(file: Path, feed: str | None, *, dry_run: bool, force: bool) -> SnapshotReport:
    async with common.open_services() as services:
        with common.progress("取り込み / importing") as shown:
            return await import_snapshot(
                services,
                file,
                feed,
                dry_run=dry_run,
                force=force,
                who=_who(),
                progress=lambda done: shown.update(shown.task_ids[0], completed=done),
            )


async def _import(file: Path, feed: str, *, dry_run: bool) -> ImportReport:
    async with common.open_services() as services:
        with file.open("rb") as lines, common.progress("取り込み / importing") as shown:
            return await services.intake().run(
                lines_of(lines),
                feed,
                dry_run=dry_run,
                progress=lambda done: shown.update(shown.task_ids[0], completed=done),
            )


def _summary(report: ImportReport, *, dry_run: bool) -> str:
    kept = "(保存していません / nothing was kept) " if dry_run else ""
    held = f" · 保留 held {report.held} (todoku resume --held)" if report.held else ""
    return (
        f"{kept}取り込み applied {report.applied} · 既知 repeated {report.repeats} · 古い stale {report.stale} · "
        f"要確認 conflicts {len(report.conflicts)} · 失敗 failed {len(report.failed)} · "
        f"通知 notices {report.notices}{held}"
    )


def batch(
    slot: Annotated[str | None, typer.Option(help="便の名前 / name of a batch in the settings")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="送らずに表示 / shows, sends nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """今すぐ便を出す / runs a batch now. Beside a running daemon, the daemon sends it."""
    common.run(_show_batch(slot, as_json=as_json) if dry_run else _run_batch(slot))


def _check_slot(services: Services, name: str | None) -> None:
    names = [item.name for item in services.settings.batches]
    if name is not None and name not in names:
        common.fail(f"--slot {name}: expected one of {', '.join(names) or '(the settings have none)'}", 2)


async def _show_batch(slot: str | None, *, as_json: bool) -> None:
    """Exactly what would go: composed as it would be sent. Every slot takes all that waits."""
    async with common.open_services() as services:
        _check_slot(services, slot)
        now = services.clock.now()
        async with services.ledger.read() as connection:
            numbers = await slots.waiting(connection)
            items = []
            for start in range(0, len(numbers), 500):
                items += await sending.load(connection, numbers[start : start + 500])
        rows = [_would_go(services, item, now) for item in items]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        terminal.say(
            "  ".join(str(row[name]) for name in ("notice_id", "to", "action", "deadline", "subject"))
        )
    going = sum(row["action"] == "send" for row in rows)
    typer.echo(f"送信予定 would be sent {going} · 送信しない would not {len(rows) - going}")


def _would_go(services: Services, item: sending.Claimed, now: datetime) -> dict[str, object]:
    row: dict[str, object] = {
        "notice_id": item.notice_id,
        "kind": item.kind.value,
        "patron_id": item.patron_id,
        "to": item.address,
        "hold_ids": [line.hold_id for line in item.holds],
    }
    # as at the first attempt, but not kept: this only looks
    item = replace(item, token=item.token or services.keys.make(item.delivery_id))
    mail = services.composer.compose(item, now)
    if isinstance(mail, Dropped):
        return row | {"action": mail.state.value, "deadline": "", "subject": mail.reason}
    deadline = mail.deadline.isoformat() if mail.deadline else ""
    return row | {"to": mail.recipient, "action": "send", "deadline": deadline, "subject": mail.subject}


async def _run_batch(name: str | None) -> None:
    async with common.open_services() as services:
        _check_slot(services, name)
        settings = services.settings
        now = services.clock.now()
        local = services.rulebook.local(now)
        key = f"{local.date().isoformat()} {name}" if name else f"{local.isoformat(timespec='seconds')} 手動"
        async with services.ledger.write() as connection:
            await before_slot(connection, services.rulebook, now)
            released = await slots.run(connection, key, now, now)
        if released is None:
            raise BadInput(f"the batch {key} has run already; without --slot what waits goes now")
        typer.echo(f"便 batch {key}: {released}")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(only_one(settings))
            except AlreadyRunning:
                typer.echo("常駐プログラムが送信します / the running daemon sends it")
                return
            if settings.database.sqlite_file is None and await _daemon_alive(services):
                typer.echo("常駐プログラムが送信します / the running daemon sends it")
                return
            with common.progress("送信 / sending"):
                await services.sender.run(asyncio.Event(), until_idle=True)
        state = services.sender.state
        typer.echo(f"送信処理済み handed over {state.sent} · 拒否 refused {state.refused}")
        if state.paused:
            typer.echo(f"送信停止中 / sending is stopped: {state.paused}")
        if state.relay_up is False:
            raise TodokuError(f"the relay could not be reached: {state.relay_error}; the mail waits")


async def _daemon_alive(services: Services) -> bool:
    async with services.ledger.read() as connection:
        return bool(await daemons.alive(connection, services.clock.now()))


def pause(why: Annotated[str, typer.Option(help="理由 / reason")] = "") -> None:
    """すべての送信を止める / stops all mail."""
    common.run(_pause(why))
    typer.echo("送信を止めました / sending is stopped")


async def _pause(why: str) -> None:
    async with common.open_ledger() as ledger:
        await _set_paused(ledger, {"by": _who(), "why": why})


def resume(
    held: Annotated[bool, typer.Option("--held", help="保留した通知も / and lets held notices go")] = False,
) -> None:
    """送信を再開する / lets mail leave again, also where the circuit breaker stopped it."""
    released, again = common.run(_resume(held=held))
    notes = f" · 保留 held {released}" if held else ""
    notes += f" · 再送 sent again {again}" if again else ""
    typer.echo(f"送信を再開しました / sending goes on{notes}")


async def _resume(*, held: bool) -> tuple[int, int]:
    """How many held notices and how many refused mails wait again."""
    async with common.open_ledger() as ledger:
        await _set_paused(ledger, None)
        async with ledger.write() as connection:
            again = await breaker.resume(connection, _now())
            return (await outbox.release_held(connection, _now()) if held else 0), again


async def _set_paused(ledger: Ledger, value: dict[str, str] | None) -> None:
    async with ledger.write() as connection:
        await put_flag(connection, PAUSED, value, _now())
        await connection.execute(
            audit.insert().values(
                at=_now(), who=_who(), what="pause" if value else "resume", detail=value or {}
            )
        )


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _now() -> datetime:
    return SystemClock().now()


@database.command("upgrade")
def upgrade(
    backed_up: Annotated[
        bool, typer.Option("--backed-up", help="PostgreSQL の控えは作った / a copy was made with pg_dump")
    ] = False,
) -> None:
    """この版の形にする / brings the database to this version's schema; a SQLite file is copied first."""
    common.run(_upgrade(backed_up=backed_up))


async def _upgrade(*, backed_up: bool) -> None:
    known = common.settings()
    with only_one(known):
        ledger = Ledger.open(known.database.async_url)
        try:
            before, wanted = await ledger.schema()
            if before is not None and before != wanted:
                check_known(before)
                await _back_up(known, backed_up=backed_up)
            await ledger.upgrade()
            typer.echo(f"{before or '(empty)'} -> {wanted}")
        finally:
            await ledger.close()


async def _back_up(known: Settings, *, backed_up: bool) -> None:
    """A copy to go back to. Raises CopyFailed, and BadInput where somebody else has to make it."""
    file = known.database.sqlite_file
    if file is None:
        if not backed_up:
            raise BadInput(
                "先に控えを作り、--backed-up を付けてください / make a copy first, then add --backed-up:\n"
                f"  {upkeep.pg_dump(known.database.url, Path('todoku.dump'))}"
            )
        return
    copy = copies.beside(Path(file), "before-upgrade", _now())
    await asyncio.to_thread(copies.backup, Path(file), copy)
    typer.echo(f"控え / copy: {copy}")


@database.command("check")
def check() -> None:
    """版が合うか調べる / says whether the schema fits this version; exit 1 if not."""
    common.run(_check())


async def _check() -> None:
    ledger = Ledger.open(common.settings().database.async_url)
    try:
        await ledger.check_schema()
        typer.echo(f"ok: {(await ledger.schema())[1]}")
    finally:
        await ledger.close()
