"""Commands that look after an installation: doctor, purge, backup, forget, export."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import ipaddress
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from holds_core.errors import BadInput
from holds_core.ledger import accounts, personal
from holds_core.ledger import upkeep as ledger_upkeep
from holds_core.ledger.copies import Copy
from holds_core.ledger.copies import backup as copy_database
from holds_core.ledger.session import Ledger
from holds_core.settings import Settings
from holds_core.settings.problems import ConfigError, Problem
from holds_core.settings.secrets import Secrets, read_secrets
from mailer.app import doctor as checks
from mailer.app.commands import common
from mailer.app.doctor.names import Address, Names
from mailer.clock import SystemClock


def add_to(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    for command in (doctor, purge, backup, forget, export):
        app.command()(command)


# doctor -------------------------------------------------------------------------------------------

_MARKS: dict[checks.Status, tuple[str, str, str]] = {
    checks.Status.OK: ("正常", "ok", "green"),
    checks.Status.WARNING: ("注意", "warning", "yellow"),
    checks.Status.FAILED: ("異常", "failed", "bold red"),
    checks.Status.NOT_CHECKED: ("未確認", "not checked", "dim"),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    language: Annotated[str, typer.Option(help="ja, en")] = "ja",
    resolver: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="使う DNS サーバー / the DNS server to ask"),
    ] = None,
    outgoing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="中継サーバーの送信元 IP アドレス / an address that the relay sends from"
        ),
    ] = None,
    dkim_selector: Annotated[
        str,
        typer.Option(metavar="NAME", help="中継サーバーが署名に使うセレクター / the relay's DKIM selector"),
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option(metavar="CHECK", help="この確認だけ / only these checks")
    ] = None,
) -> None:
    """導入の状態を確かめる / is everything well? Exit 1 if a check failed."""
    if language not in ("ja", "en"):
        common.fail(BadInput(f"--language {language}: expected ja or en"), 2)
    if unknown := set(only or ()) - {item.name for item in checks.CHECKS}:
        names = ", ".join(item.name for item in checks.CHECKS)
        common.fail(BadInput(f"--only {', '.join(sorted(unknown))}: expected {names}"), 2)
    try:
        names_, addresses = Names(resolver), _addresses(outgoing or [])
    except BadInput as error:
        common.fail(error, 2)
    found = common.run(_examine(names_, addresses, dkim_selector, only))
    if as_json:
        common.print_json([check.as_json(language) for check in found])
    else:
        _show(found, language)
    if any(check.status is checks.Status.FAILED for check in found):
        raise typer.Exit(1)


def _addresses(given: list[str]) -> tuple[Address, ...]:
    try:
        return tuple(ipaddress.ip_address(text) for text in given)
    except ValueError as error:
        raise BadInput(f"--outgoing: {error}") from None


async def _examine(
    names: Names, outgoing: tuple[Address, ...], selector: str, only: list[str] | None
) -> list[checks.Check]:
    try:
        settings = common.settings()
    except ConfigError as error:
        return checks.unusable(error)
    async with _site(settings, names, outgoing, selector) as site:
        found = []
        with common.progress("確認 / checking") as shown:
            async for check in checks.examine(site, only or ()):
                found.append(check)
                shown.update(shown.task_ids[0], completed=len(found))
        return found


@contextlib.asynccontextmanager
async def _site(
    settings: Settings, names: Names, outgoing: tuple[Address, ...], selector: str
) -> AsyncIterator[checks.Site]:
    secrets: Secrets | None = None
    faults: tuple[Problem, ...] = ()
    try:
        secrets = read_secrets(settings, os.environ)
    except ConfigError as error:
        faults = error.problems
    ledger = Ledger.open(settings.database.async_url) if _is_there(settings) else None
    try:
        yield checks.Site(
            settings=settings,
            secrets=secrets,
            faults=faults,
            ledger=ledger,
            names=names,
            now=SystemClock().now(),
            outgoing=outgoing,
            selector=selector,
        )
    finally:
        if ledger is not None:
            await ledger.close()


def _is_there(settings: Settings) -> bool:
    """Whether there is a database to open. A file is not made here: that is the first start's business."""
    file = settings.database.sqlite_file
    return file is None or Path(file).exists()


def _show(found: list[checks.Check], language: str) -> None:
    """One line for each check, and below it what to do; colours on a terminal only."""
    out = Console(highlight=False, soft_wrap=True)
    for check in found:
        *words, colour = _MARKS[check.status]
        line = Text(f"[{words[language == 'en']}] ", style=colour)
        line.append(f"{check.title.in_(language)}: ", style="bold")
        line.append(check.message.in_(language), style="default")
        out.print(line)
        if check.status is not checks.Status.OK and check.todo.in_(language):
            out.print(Text(f"    → {check.todo.in_(language)}"))


# purge --------------------------------------------------------------------------------------------

_KINDS: dict[str, str] = {
    "titles": "予約の書名",
    "event_titles": "できごとの書名",
    "raw_mail": "戻ってきたメールの原文",
    "inbound": "戻ってきたメールの記録",
    "events": "できごと",
    "mail": "通知と送信の記録",
    "evidence": "到着・不達の記録",
    "evidence_texts": "到着・不達の記録の文言",
    "holds": "終わった予約",
    "cases": "終わった要連絡",
    "former_addresses": "以前のアドレス",
    "addresses": "使われていないアドレス",
    "requests": "済んだ依頼",
    "claims": "期限切れの担当表示",
    "staff_actions": "職員の対応の記録",
    "audit": "職員の操作の記録",
}


def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="消さずに数える / counts, erases nothing")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """保存期間を過ぎたものを消す / erases what is older than `retention`. The daemon does it daily."""
    counts = common.run(_purge(dry_run=dry_run))
    if as_json:
        common.print_json(counts)
        return
    for name, count in counts.items():
        if count:
            typer.echo(f"{_KINDS[name]} ({name}): {count}")
    what = ("消す対象 / to be erased", "消しました / erased")[not dry_run]
    typer.echo(f"{what}: {sum(counts.values())}")


async def _purge(*, dry_run: bool) -> dict[str, int]:
    retention, now = common.settings().retention, SystemClock().now()
    async with common.open_ledger() as ledger:
        if dry_run:
            return await ledger_upkeep.due(ledger, retention, now)
        with common.progress("消去 / erasing"):
            return await ledger_upkeep.purge(ledger, retention, now)


# backup -------------------------------------------------------------------------------------------


def backup(
    file: Annotated[Path, typer.Argument(help="新しいファイル / a new file", dir_okay=False)],
) -> None:
    """データベースの控えを作る / copies the database, also while the daemon runs. The copy is checked.

    戻すには: todoku を止め、データベースのファイルと、名前に -wal と -shm の付くファイルを別の場所へ移し、控えを
    元の名前で置き(所有者は元のまま、モード 0600)、todoku db upgrade のあと todoku を起動します。

    To restore: stop todoku; move the database file and its -wal and -shm files away; put the copy in its
    place under the same name, with the same owner and mode 0600; run todoku db upgrade; start todoku.
    """
    done = common.run(_backup(file))
    typer.echo(f"{done.file}: {done.octets} バイト bytes · 版 schema {done.schema} · 検査 checked")


async def _backup(file: Path) -> Copy:
    settings = common.settings()
    source = settings.database.sqlite_file
    if source is None:
        common.fail(
            BadInput(
                "PostgreSQL の控えは pg_dump で作ります / PostgreSQL has its own tool:\n"
                f"  pg_dump --format=custom --file={file} {_without_password(settings.database.url)}"
            ),
            2,
        )
    with common.progress("控え / copying"):
        return await asyncio.to_thread(copy_database, Path(source), file)


def _without_password(url: str) -> str:
    """The URL as it may be shown; pg_dump finds the password in the file that PGPASSFILE names."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{place}"


# one patron ---------------------------------------------------------------------------------------


def forget(
    patron: Annotated[str, typer.Argument(help="利用者番号 / the patron's id")],
    yes: Annotated[bool, typer.Option("--yes", help="確認しない / does not ask")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """一人の利用者の記録を消す / erases a patron; only numbers without a person stay.

    先に図書館システムから消してください。残っていると、次の取り込みで戻ります。
    Remove the patron from the library system first, or the next import brings the record back.
    """
    if not yes:
        typer.confirm(f"{patron} の記録を消しますか? 元に戻せません / erase for good?", abort=True, err=True)
    counts = common.run(_forget(patron))
    if as_json:
        common.print_json(counts)
        return
    said = " · ".join(f"{name} {count}" for name, count in counts.items() if count)
    typer.echo(f"消しました / forgotten: {said}")


async def _forget(patron: str) -> dict[str, int]:
    async with common.open_ledger() as ledger, ledger.write() as connection:
        return await personal.forget(connection, _bare(patron), _who(), SystemClock().now())


def export(
    patron: Annotated[str, typer.Argument(help="利用者番号 / the patron's id")],
    as_json: Annotated[bool, typer.Option("--json", help="いつも JSON / always so")] = True,
) -> None:
    """一人の利用者について保存しているすべて / all that is kept about a patron, as JSON."""
    del as_json  # there is no other form; the option is every listing's
    if sys.stdout.isatty():
        common.errors.print("個人情報です / personal data", style="yellow")
    common.print_json(common.run(_export(patron)))


async def _export(patron: str) -> dict[str, object]:
    """That it was asked for stands in the audit trail, and so in the export too."""
    name = _bare(patron)
    async with common.open_ledger() as ledger, ledger.write() as connection:
        await accounts.record(connection, _who(), "export", f"patron:{name}", {}, SystemClock().now())
        return await personal.export(connection, name)


def _bare(patron: str) -> str:
    """`patron:P1`, as `todoku explain` takes it, is P1."""
    return patron.removeprefix("patron:")


def _who() -> str:
    return f"cli:{getpass.getuser()}"
