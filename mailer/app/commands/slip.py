"""`todoku slip`: the 受信設定 slips as an HTML document, for the counter and for the library's website."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holds_core.errors import BadInput, TodokuError
from holds_core.receiving import ReceivingGuide
from mailer.app import slips
from mailer.app.commands import common
from mailer.clock import SystemClock


def slip(
    service: Annotated[str, typer.Argument(help="docomo, au, softbank, gmail, … / all")] = slips.ALL,
    language: Annotated[str, typer.Option(help="ja, en")] = "ja",
    out: Annotated[
        Path | None, typer.Option(help="書き出すファイル / file to write (default: standard output)")
    ] = None,
) -> None:
    """受信設定のご案内(窓口用の用紙)を HTML で書き出す / slips that tell patrons how to receive our mail."""
    if language not in ("ja", "en"):
        common.fail(BadInput(f"--language {language}: expected ja or en"), 2)
    try:
        settings = common.settings()
        guide = ReceivingGuide.load(settings.library.templates_folder)
    except TodokuError as error:
        common.fail(error)
    try:
        advices = slips.chosen(guide, service)
    except BadInput as error:
        common.fail(error, 2)
    today = SystemClock().now().astimezone(settings.library.timezone).date()
    html = slips.slip_html(advices, settings.library, settings.sender.addresses_from(today), language)
    if out is None:
        typer.echo(html)
        return
    try:
        out.write_text(html, "utf-8")
    except OSError as error:
        common.fail(BadInput(f"{out}: {error.strerror}"))
