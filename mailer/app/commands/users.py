"""`todoku user`: the accounts of the staff desk.

A password is asked for twice on a terminal, or read from standard input; it never stands in the command
line, where the machine's other users would see it.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from holds_core.errors import BadInput
from holds_core.ledger import accounts
from holds_core.ledger.accounts import Account, Role
from mailer.app.commands import common
from mailer.clock import SystemClock

app = typer.Typer(help="職員用画面のアカウント。 Accounts of the staff desk.", no_args_is_help=True)

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="ログイン名。 The login.")]
FromStdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin", help="パスワードを標準入力から読みます。 Reads the password from stdin."
    ),
]


@app.callback()
def user() -> None:
    """職員用画面のアカウント。 Accounts of the staff desk."""


@app.command()
def add(
    login: Login,
    name: Annotated[str, typer.Option("--name", help="氏名。 The person's name.")] = "",
    role: Annotated[Role, typer.Option("--role", help="staff または admin。 What it may do.")] = Role.STAFF,
    branch: Annotated[
        list[str] | None,
        typer.Option("--branch", help="担当館のコード(複数可、省略時は全館)。 Only these branches."),
    ] = None,
    password_stdin: FromStdin = False,
) -> None:
    """アカウントを作ります。 Makes an account."""
    common.run(_add(Account(login, name, role, tuple(branch or ())), password_stdin=password_stdin))


async def _add(account: Account, *, password_stdin: bool) -> None:
    _check_branches(account)
    hashed = accounts.hash_password(_password(password_stdin=password_stdin))
    async with common.open_ledger() as ledger, ledger.write() as connection:
        now = SystemClock().now()
        await accounts.add(connection, account, hashed, now)
        await accounts.record(
            connection,
            "command line",
            "user.add",
            f"user:{account.login}",
            {"role": account.role, "branches": list(account.branches)},
            now,
        )
    typer.echo(f"アカウント {account.login} を作成しました。 Account {account.login} was made.")


def _check_branches(account: Account) -> None:
    known = {branch.id for branch in common.settings().library.branches}
    if unknown := [branch for branch in account.branches if branch not in known]:
        raise BadInput(
            f"設定にない館です: {', '.join(unknown)} (the settings have {', '.join(sorted(known)) or 'none'})"
        )


def _password(*, password_stdin: bool) -> str:
    if password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("パスワード Password", hide_input=True, confirmation_prompt=True))


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="JSON。 As JSON.")] = False) -> None:
    """アカウントの一覧です。 Lists the accounts."""
    found = common.run(_everyone())
    if as_json:
        common.print_json(
            [
                {
                    "login": account.login,
                    "name": account.name,
                    "role": account.role.value,
                    "branches": list(account.branches),
                    "disabled_at": account.disabled_at.isoformat() if account.disabled_at else None,
                }
                for account in found
            ]
        )
        return
    for account in found:
        branches = ",".join(account.branches) or "全館 all"
        state = "停止 disabled" if account.disabled_at else "有効 active"
        typer.echo("\t".join((account.login, account.name, account.role.value, branches, state)))


async def _everyone() -> list[Account]:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        return await accounts.everyone(connection)


@app.command()
def disable(login: Login) -> None:
    """アカウントを止め、ログイン中の画面も無効にします。 Stops an account and its sessions."""
    common.run(_disable(login))


async def _disable(login: str) -> None:
    async with common.open_ledger() as ledger, ledger.write() as connection:
        now = SystemClock().now()
        await accounts.disable(connection, login, now)
        await accounts.record(connection, "command line", "user.disable", f"user:{login}", {}, now)
    typer.echo(f"アカウント {login} を停止しました。 Account {login} was disabled.")


@app.command()
def password(login: Login, password_stdin: FromStdin = False) -> None:
    """新しいパスワードにします。停止中なら再び有効になります。 Sets a new password, enabling the account."""
    common.run(_set_password(login, password_stdin=password_stdin))


async def _set_password(login: str, *, password_stdin: bool) -> None:
    hashed = accounts.hash_password(_password(password_stdin=password_stdin))
    async with common.open_ledger() as ledger, ledger.write() as connection:
        await accounts.set_password(connection, login, hashed)
        await accounts.record(
            connection, "command line", "user.password", f"user:{login}", {}, SystemClock().now()
        )
    typer.echo(f"アカウント {login} のパスワードを変更しました。 The password of {login} was changed.")
