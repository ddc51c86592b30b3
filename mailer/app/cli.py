"""`todoku`: the command line. Each command opens the parts it needs, does one thing, and says how it went.

Exit 0 done, 1 failed, 2 usage or configuration error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mailer.app.commands import backtest, bounces, common, demo, look, operate, upkeep, users

app = typer.Typer(
    name="todoku",
    help="届く: 図書館の予約・登録メールを送り、届かない利用者を見つけます / "
    "sends a library's hold and registration mail, and finds the patrons it never reaches",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="設定ファイル / settings (default: $TODOKU_CONFIG or config.yaml)"),
    ] = None,
) -> None:
    common.options.config = config or Path(os.environ.get("TODOKU_CONFIG") or "config.yaml")


operate.add_to(app)
look.add_to(app)
app.add_typer(bounces.app, name="bounces", help="戻ってきたメールを読む / what a mail that came back says")
app.command()(backtest.backtest)
demo.add_to(app)
upkeep.add_to(app)
app.add_typer(users.app, name="user", help="職員のアカウント / staff accounts")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
