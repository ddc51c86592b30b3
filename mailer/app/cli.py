"""`todoku`: the command line. Each command opens the parts it needs, does one thing, and says how it went.

Exit 0 done, 1 failed, 2 usage or configuration error.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from mailer import loglines
from mailer.app.commands import (
    backtest,
    bounces,
    calendar,
    calls,
    campaign,
    common,
    demo,
    feeds,
    init,
    look,
    operate,
    reception,
    slip,
    upkeep,
    users,
)

app = typer.Typer(
    name="todoku",
    help="届く: 図書館の予約・登録メールを送り、届かない利用者を見つけます / "
    "sends a library's hold and registration mail, and finds the patrons it never reaches",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"todoku {metadata.version('todoku')}")
        raise typer.Exit


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="設定ファイル / settings (default: $TODOKU_CONFIG or config.yaml)"),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="版を示す / shows the version"),
    ] = False,
) -> None:
    del version  # its callback has answered
    common.options.config = config or Path(os.environ.get("TODOKU_CONFIG") or "config.yaml")


init.add_to(app)
operate.add_to(app)
look.add_to(app)
calls.add_to(app)
app.add_typer(bounces.app, name="bounces", help="戻ってきたメールを読む / what a mail that came back says")
app.command()(backtest.backtest)
demo.add_to(app)
upkeep.add_to(app)
app.command()(slip.slip)
app.add_typer(calendar.app, name="closure", help="臨時休館 / unforeseen closings")
app.add_typer(calendar.holidays, name="holidays", help="国民の祝日 / public holidays")
app.add_typer(campaign.app, name="campaign", help="一斉のお知らせ / announcements to everybody")
reception.add_to(app)
app.add_typer(feeds.app, name="feed", help="図書館システムからの取り込み / the feeds of the library system")
app.add_typer(users.app, name="user", help="職員のアカウント / staff accounts")


def main() -> None:
    """The console script."""
    sys.excepthook = loglines.last_words  # a traceback's last line quotes what was being worked on
    app()


if __name__ == "__main__":
    main()
