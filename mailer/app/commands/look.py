"""Commands that only look: report, explain, preview, quarantine."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer

from bounces import report as reports
from holds_core.errors import BadInput, TodokuError
from holds_core.ledger import desk, inbox, queries, story
from holds_core.ledger.inbox import Stored
from holds_core.ledger.queries import Undelivered
from holds_core.notices import Kind
from mailer.app.commands import common, terminal
from mailer.clock import SystemClock
from mailer.render import Renderer
from mailer.samples import sample_view

quarantine = typer.Typer(
    help="判別できないメール / inbound mail that could not be used", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    for command in (report, explain, preview):
        app.command()(command)
    app.add_typer(quarantine, name="quarantine")


def report(
    form: Annotated[str, typer.Option("--format", help="table, csv, json, html")] = "table",
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="この時点で / as known then (ISO 8601)")
    ] = None,
    since: Annotated[str | None, typer.Option(help="この時から / from then on")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="--format json")] = False,
) -> None:
    """不達レポート / the undelivered-mail report."""
    wanted = "json" if as_json else form
    if wanted not in ("table", "csv", "json", "html"):
        common.fail(BadInput(f"--format {form}: expected table, csv, json or html"), 2)
    lines, moment, data = common.run(_report(_time(as_of), _time(since)))
    zone = common.settings().library.timezone
    if data is not None and wanted in ("table", "csv"):
        # beside the list: in a pipe every line is one of the list's
        common.errors.print(f"{reports.data_line(data, zone)} / data as of", markup=False)
    match wanted:
        case "json":
            common.print_json([line.as_json() for line in lines])
        case "csv":
            sys.stdout.buffer.write(reports.as_csv(lines, zone))
        case "html":
            typer.echo(reports.as_html(lines, zone, moment, common.settings().library.name, data))
        case _:
            rows = [reports.cells(line, zone) for line in lines]
            terminal.show(reports.COLUMNS, rows, "不達はありません / nothing is undelivered")


async def _report(
    as_of: datetime | None, since: datetime | None
) -> tuple[list[Undelivered], datetime, datetime | None]:
    """The report's lines, when it is of, and when the library system's data are of."""
    moment = as_of or SystemClock().now()
    async with common.open_ledger() as ledger, ledger.read() as connection:
        lines = await queries.undelivered(connection, moment, since)
        return lines, moment, await desk.data_as_of(connection)


def _time(text: str | None) -> datetime | None:
    """An ISO 8601 time; without an offset it is the library's local time."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        common.fail(BadInput(f"{text}: expected a time such as 2026-11-22T09:00 or 2026-11-22"), 2)
    return moment if moment.tzinfo else moment.replace(tzinfo=common.settings().library.timezone)


def explain(
    subject: Annotated[str, typer.Argument(help="notice:… hold:… patron:… address:…")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """一件の経緯をすべて示す / everything known of a notice, hold, patron or address, in order."""
    found = common.run(_explain(subject))
    if as_json:
        common.print_json(found.as_json())
        return
    zone = common.settings().library.timezone
    terminal.say(found.subject)
    for moment in found.moments:
        said = "  ".join(f"{name}={value}" for name, value in moment.detail.items())
        terminal.say(f"{moment.at.astimezone(zone):%Y-%m-%d %H:%M:%S}  {moment.type:24}  {said}")


async def _explain(subject: str) -> story.Story:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        return await story.tell(connection, subject)


def preview(
    notice: Annotated[str, typer.Argument(help=", ".join(Kind))],
    language: Annotated[str, typer.Option(help="ja, en, ja-easy")] = "ja",
) -> None:
    """見本のメールを表示する / shows a notice with sample data."""
    if notice not in list(Kind):
        common.fail(BadInput(f"{notice}: expected one of {', '.join(Kind)}"), 2)
    try:
        known = common.settings() if common.options.config.exists() else None
        renderer = Renderer(known.library.templates_folder if known else None)
        policy = known.library.title_policy.value if known else "full"
        wording = known.library.wording.model_dump(exclude_none=True) if known else {}
        rendered = renderer.render(replace(sample_view(Kind(notice), language, policy), **wording))
    except TodokuError as error:
        common.fail(error)
    typer.echo(f"Subject: {rendered.subject}\n\n{rendered.body}")


@quarantine.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """一覧 / what waits there."""
    found = common.run(_quarantine())
    if as_json:
        common.print_json([_quarantined(mail) for mail in found])
        return
    columns = (
        ("番号", "number"),
        ("受信", "received"),
        ("経路", "source"),
        ("種類", "kind"),
        ("理由", "why"),
    )
    rows = [
        (str(mail.inbound_id), f"{mail.received_at:%Y-%m-%d %H:%M}", mail.source, mail.kind, mail.why)
        for mail in found
    ]
    terminal.show(columns, rows, "判別できないメールはありません / nothing waits here")


def _quarantined(mail: Stored) -> dict[str, object]:
    return {
        "id": mail.inbound_id,
        "received_at": mail.received_at.isoformat(),
        "source": mail.source,
        "envelope_from": mail.envelope_from,
        "envelope_to": list(mail.envelope_to),
        "kind": mail.kind,
        "why": mail.why,
        "size": len(mail.raw or b""),
    }


async def _quarantine() -> list[Stored]:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        return await inbox.quarantine(connection)


@quarantine.command("show")
def show(number: int) -> None:
    """一通の原文 / one mail as it came, on standard output; on a terminal without control characters."""
    raw = common.run(_one(number)).raw or b""
    if sys.stdout.isatty():
        terminal.say(raw.decode("utf-8", "replace").replace("\r\n", "\n"))
    else:
        sys.stdout.buffer.write(raw)


async def _one(number: int) -> Stored:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        return await inbox.get(connection, number)


@quarantine.command("replay")
def replay(numbers: Annotated[list[int] | None, typer.Argument()] = None) -> None:
    """もう一度読む / reads mails again; without numbers, all of them."""
    used, left = common.run(_replay(numbers or []))
    typer.echo(f"取り込み used {used} · 残り left {left}")


async def _replay(numbers: list[int]) -> tuple[int, int]:
    async with common.open_services() as services:
        async with services.ledger.read() as connection:
            wanted = numbers or [mail.inbound_id for mail in await inbox.quarantine(connection, limit=10_000)]
        used = 0
        for number in wanted:
            verdict = await services.ingest.read_one(number)
            used += verdict.state is inbox.MailState.USED
        return used, len(wanted) - used
