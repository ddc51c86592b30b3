"""Commands that look after an installation: doctor, purge, backup, restore, forget, export."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import ipaddress
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.text import Text

from holds_core.errors import BadInput, TodokuError
from holds_core.ledger import accounts, personal
from holds_core.ledger import upkeep as ledger_upkeep
from holds_core.ledger.copies import Copy, Restored
from holds_core.ledger.copies import backup as copy_database
from holds_core.ledger.copies import restore as put_back
from holds_core.ledger.session import Ledger
from holds_core.ledger.sql import put_flag
from holds_core.settings import Settings
from holds_core.settings.problems import ConfigError, Problem
from holds_core.settings.secrets import Secrets, read_secrets
from mailer.app import doctor as checks
from mailer.app.commands import common
from mailer.app.doctor.here import synchronised
from mailer.app.doctor.names import Address, Names
from mailer.app.single import only_one
from mailer.clock import SystemClock
from mailer.sender import PAUSED


def add_to(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    for command in (doctor, purge, backup, restore, forget, export):
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
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="返送先へ試験メールを1通送り、届くのを待つ / sends a mail to the return path, and waits",
        ),
    ] = False,
    probe_wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, max=600, help="待つ秒数 / how long to wait")
    ] = 60,
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
    tried = checks.Probe(probe_wait) if probe else None
    with _quiet():
        found = common.run(_examine(names_, addresses, dkim_selector, tried, only))
    if as_json:
        common.print_json([check.as_json(language) for check in found])
    else:
        _show(found, language)
    if any(check.status is checks.Status.FAILED for check in found):
        raise typer.Exit(1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Only errors are logged: with --probe parts of the daemon run, and standard output may be JSON."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _addresses(given: list[str]) -> tuple[Address, ...]:
    try:
        return tuple(ipaddress.ip_address(text) for text in given)
    except ValueError as error:
        raise BadInput(f"--outgoing: {error}") from None


async def _examine(
    names: Names,
    outgoing: tuple[Address, ...],
    selector: str,
    probe: checks.Probe | None,
    only: list[str] | None,
) -> list[checks.Check]:
    try:
        settings = common.settings()
    except ConfigError as error:
        return checks.unusable(error)
    async with _site(settings, names, outgoing, selector, probe) as site:
        found = []
        with common.progress("確認 / checking") as shown:
            async for check in checks.examine(site, only or ()):
                found.append(check)
                shown.update(shown.task_ids[0], completed=len(found))
        return found


@contextlib.asynccontextmanager
async def _site(
    settings: Settings,
    names: Names,
    outgoing: tuple[Address, ...],
    selector: str,
    probe: checks.Probe | None,
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
            probe=probe,
            synchronised=synchronised(),
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
    "patrons": "図書館システムの一覧からいなくなった利用者",
    "former_addresses": "以前のアドレス",
    "addresses": "使われていないアドレス",
    "requests": "済んだ依頼",
    "claims": "期限切れの担当表示",
    "decisions": "予約についての判断",
    "canaries": "到達確認の記録",
    "provider_alerts": "終わったメールサービスの異常",
    "mail_domains": "メールドメインの確認結果",
    "snapshot_runs": "取り込みの記録",
    "sessions": "職員のログイン",
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

    戻すには todoku restore を使います。 `todoku restore` puts it back.
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
                f"  {pg_dump(settings.database.url, file)}"
            ),
            2,
        )
    with common.progress("控え / copying"):
        return await asyncio.to_thread(copy_database, Path(source), file)


def pg_dump(url: str, file: Path) -> str:
    """The command that copies a PostgreSQL database."""
    return f"pg_dump --format=custom --file={file} {_without_password(url)}"


def restore(
    file: Annotated[Path, typer.Argument(help="todoku backup の控え / a copy that `todoku backup` made")],
    yes: Annotated[bool, typer.Option("--yes", help="確認しない / does not ask")] = False,
) -> None:
    """控えに戻す / puts a copy in the database's place. The daemon must be stopped; what was there is kept.

    控えより後に送ったメールの記録は失われるため、二重に送らないよう、戻したあとの送信は止めてあります。
    What was sent after the copy is forgotten; so that nothing leaves twice, mail is paused afterwards.
    """
    if not yes:
        typer.confirm(f"データベースを {file} に戻しますか? / put it back?", abort=True, err=True)
    try:
        done = _restore(file)
    except TodokuError as error:
        common.fail(error)
    asyncio.run(_pause())
    kept = f" · これまでのもの / the former one: {done.kept}" if done.kept else ""
    typer.echo(f"戻しました / restored: 版 schema {done.schema}{kept}")
    typer.echo(
        "送信は止めてあります / mail is paused. 次に / next: todoku db upgrade, todoku doctor, todoku resume"
    )


async def _pause() -> None:
    """Mail that left after the copy was made stands in it as mail that is still to leave."""
    ledger = Ledger.open(common.settings().database.async_url)
    try:
        async with ledger.write() as connection:
            await put_flag(connection, PAUSED, {"by": _who(), "why": "restore"}, SystemClock().now())
    finally:
        await ledger.close()


def _restore(file: Path) -> Restored:
    settings = common.settings()
    database = settings.database.sqlite_file
    if database is None:
        place = _without_password(settings.database.url)
        raise BadInput(
            "PostgreSQL は pg_restore で戻します / PostgreSQL has its own tool:\n"
            f"  pg_restore --clean --if-exists --dbname={place} {file}"
        )
    with only_one(settings), common.progress("復元 / restoring"):
        return put_back(file, Path(database), SystemClock().now())


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
