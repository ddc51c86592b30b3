"""`todoku init`: the files of a new installation, after a few questions or from options.

Writes into one folder and nowhere else, never over a file that is there unless told to; the settings are
checked before anything is written. What only root can do (the unit, Postfix) is shown, not done.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from holds_core.config import parse
from holds_core.errors import BadInput
from holds_core.settings.problems import ConfigError
from mailer.app import installing
from mailer.app.commands import common
from mailer.app.installing import Answers
from mailer.app.shipped import where

_PORTS: Final = {"none": 25, "starttls": 587, "implicit": 465}
_INSTANCE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def add_to(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command()(init)


def _option(*names: str, help: str) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*names, help=help, show_default=False)


# The options, in the order of the settings file.
_Folder = Annotated[
    Path, _option("--folder", help="設定を置くフォルダー / where the settings go (default: /etc/todoku)")
]
_Instance = Annotated[str, _option("--instance", help="複数の図書館を動かすときの名前 / NAME of todoku@NAME")]
_Name = Annotated[str | None, _option("--name", help="図書館名 / the library's name")]
_NameEn = Annotated[str | None, _option("--name-en", help="英語の図書館名 / its name in English")]
_Address = Annotated[str | None, _option("--address", help="差出人のアドレス / the address in From")]
_ReturnPath = Annotated[str | None, _option("--return-path", help="不達メールの戻し方 / verp, plus, fixed")]
_ReturnPathDomain = Annotated[
    str | None, _option("--return-path-domain", help="返送先のドメイン / the return path's domain")
]
_Relay = Annotated[str | None, _option("--relay", help="中継サーバー / the mail server")]
_RelayTls = Annotated[str | None, _option("--relay-tls", help="none, starttls, implicit (default: starttls)")]
_RelayPort = Annotated[int | None, _option("--relay-port", help="ポート番号 / its port")]
_RelayUsername = Annotated[
    str | None, _option("--relay-username", help="中継サーバーのログイン名 / the name to log in with")
]
_Imap = Annotated[
    str | None, _option("--imap", help="不達メールの受信箱のサーバー / the IMAP host, if not by LMTP")
]
_ImapUsername = Annotated[
    str | None, _option("--imap-username", help="受信箱のログイン名 / the mailbox's login")
]
_BaseUrl = Annotated[
    str | None, _option("--base-url", help="確認ページの URL / the confirmation page as patrons see it")
]
_Database = Annotated[str | None, _option("--database", help="sqlite:///… または / or postgresql://…")]
_AlertsTo = Annotated[
    str | None, _option("--alerts-to", help="異常を知らせる先 / who in IT is told of trouble")
]
_RedirectTo = Annotated[
    str | None,
    _option("--redirect-to", help="試験中、すべてのメールを受け取るアドレス / who gets all mail at first"),
]
_Lmtp = Annotated[str, _option("--lmtp", help="LMTP の待ち受け先 / where LMTP listens")]
_Desk = Annotated[str, _option("--desk", help="職員画面の待ち受け先 / the desk")]
_Confirm = Annotated[str, _option("--confirm", help="確認ページの待ち受け先 / the confirmation page")]
_Api = Annotated[bool, _option("--api", help="HTTP API を使う / use the HTTP API")]
_NoInput = Annotated[bool, _option("--no-input", help="質問しない / asks nothing: options and defaults only")]
_Force = Annotated[
    bool, _option("--force", help="すでにあるファイルも書き直す / replaces files that are there")
]


def init(
    context: typer.Context,
    folder: _Folder = Path("/etc/todoku"),
    instance: _Instance = "",
    name: _Name = None,
    name_en: _NameEn = None,
    address: _Address = None,
    return_path: _ReturnPath = None,
    return_path_domain: _ReturnPathDomain = None,
    relay: _Relay = None,
    relay_tls: _RelayTls = None,
    relay_port: _RelayPort = None,
    relay_username: _RelayUsername = None,
    imap: _Imap = None,
    imap_username: _ImapUsername = None,
    base_url: _BaseUrl = None,
    database: _Database = None,
    alerts_to: _AlertsTo = None,
    redirect_to: _RedirectTo = None,
    lmtp: _Lmtp = "127.0.0.1:8024",
    desk: _Desk = "127.0.0.1:8080",
    confirm: _Confirm = "127.0.0.1:8081",
    api: _Api = False,
    no_input: _NoInput = False,
    force: _Force = False,
) -> None:
    """このサーバー用の設定・ユニット・Postfix の断片を作る / writes settings, unit and Postfix snippets for this host."""
    answers = _answers(_Asker(silent=no_input), context.params)
    _write(answers, force=force)
    _show(answers)


def _answers(ask: _Asker, given: Mapping[str, Any]) -> Answers:
    """Asks in the order of the settings file for what the options (`given`) leave open."""
    name = ask.required(given["name"], "図書館名 / the library's name", "--name")
    name_en = ask.default(given["name_en"], "英語の図書館名 / its name in English", "Library")
    address = ask.required(given["address"], "差出人のアドレス / the address in From", "--address")
    way = ask.one_of(
        given["return_path"],
        "不達メールの戻し方: verp 専用ドメイン, plus 受信箱+符号, fixed 受信箱1つ / how bounces come back",
        ("verp", "plus", "fixed"),
        "--return-path",
    )
    own = address.rpartition("@")[2]
    domain = ask.default(
        given["return_path_domain"],
        "返送先のドメイン / the return path's domain",
        f"bounce.{own}" if way == "verp" else own,
    )
    relay = _relay(ask, given)
    imap = _mailbox(ask, given, needed=way != "verp")
    return Answers(
        folder=_folder(given["folder"], _instance(given["instance"])),
        instance=given["instance"],
        name=name,
        name_en=name_en,
        address=address,
        return_path=way,
        return_path_domain=domain,
        **relay,
        **imap,
        base_url=ask.default(
            given["base_url"], "確認ページの URL (なければ空) / the confirmation page's URL", ""
        ),
        alerts_to=ask.default(
            given["alerts_to"], "異常を知らせる先 (なければ空) / who is told of trouble", ""
        ),
        redirect_to=ask.default(
            given["redirect_to"],
            "試験中すべてのメールを受け取るアドレス (空なら送らない) / who gets all mail at first",
            "",
        ),
        database=given["database"] or "",
        **{name: given[name] for name in ("lmtp", "desk", "confirm", "api")},
        program=_program(),
        systemd=_systemd(),
    )


def _relay(ask: _Asker, given: Mapping[str, Any]) -> dict[str, Any]:
    host = ask.required(given["relay"], "中継メールサーバー / the mail server that takes our mail", "--relay")
    tls = ask.one_of(
        given["relay_tls"],
        "中継サーバーとの暗号化 / encryption to it",
        ("starttls", "implicit", "none"),
        "--relay-tls",
    )
    login = ask.default(
        given["relay_username"], "中継サーバーのログイン名 (なければ空) / its login, if any", ""
    )
    return {
        "relay_host": host,
        "relay_tls": tls,
        "relay_port": given["relay_port"] or _PORTS[tls],
        "relay_username": login,
    }


def _mailbox(ask: _Asker, given: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    """Without a return path domain of its own a library needs a mailbox; else it is asked for nothing."""
    host = given["imap"] or ""
    if needed:
        host = ask.required(given["imap"], "不達メールの受信箱の IMAP サーバー / the IMAP host", "--imap")
    if not host:
        return {}
    login = ask.required(
        given["imap_username"], "受信箱のログイン名 / the mailbox's login", "--imap-username"
    )
    return {"imap_host": host, "imap_username": login}


class _Asker:
    """Asks for what no option gave; silent, it takes the default or gives up."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    def required(self, given: str | None, question: str, option: str) -> str:
        if given:
            return given
        if self._silent:
            common.fail(BadInput(f"{option} が必要です / is needed with --no-input"), 2)
        return str(self._prompt(question)).strip()

    def default(self, given: str | None, question: str, default: str) -> str:
        if given is not None or self._silent:
            return default if given is None else given
        return str(self._prompt(question, default=default, show_default=bool(default))).strip()

    def one_of(self, given: str | None, question: str, choices: tuple[str, ...], option: str) -> str:
        """One of some words; the first is the default."""
        answer = given
        while answer not in choices:
            if given is not None:
                common.fail(BadInput(f"{option} {given}: expected {', '.join(choices)}"), 2)
            if self._silent:
                return choices[0]
            answer = str(self._prompt(f"{question} ({', '.join(choices)})", default=choices[0])).strip()
        return answer

    @staticmethod
    def _prompt(question: str, **options: Any) -> Any:
        return typer.prompt(question, err=True, **options)


def _instance(name: str) -> str:
    if name and not _INSTANCE.fullmatch(name):
        common.fail(BadInput(f"--instance {name}: expected small letters, digits and hyphens"), 2)
    return name


def _folder(folder: Path, instance: str) -> Path:
    """One folder for each library of a host."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100 - a link in it stays: the unit names it as given
    if re.search(r"['\s]", str(whole)):
        common.fail(BadInput(f"--folder {folder}: expected a path without spaces and quotes"), 2)
    return whole / instance if instance and whole.name != instance else whole


def _program() -> str:
    """The command that this host's unit starts: the one that runs now, if it is installed."""
    here = Path(sys.executable).with_name("todoku")
    return str(here) if here.exists() else shutil.which("todoku") or "/opt/todoku/bin/todoku"


def _systemd() -> int:
    """The version of the service manager; 0 without one."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            ["systemctl", "--version"],  # noqa: S607 - the host's own, wherever it is
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
        if found := re.match(r"systemd (\d+)", said):
            return int(found[1])
    return 0


def _write(answers: Answers, *, force: bool) -> None:
    """All files or none: what stands in the way is found first."""
    files = installing.files(answers, secrets.token_hex(32))
    _check(files[0].text, answers.folder)
    there = [file for file in files if (answers.folder / file.name).exists()]
    if there and not force:
        names = "\n".join(f"  {answers.folder / file.name}" for file in there)
        common.fail(
            BadInput(f"すでにあります (--force で書き直します) / these exist already, see --force:\n{names}")
        )
    # a new key would orphan every mail that is under way
    kept = {"credentials/token.keys"} & {file.name for file in there}
    try:
        for file in files:
            if file.name not in kept:
                _put(answers.folder / file.name, file.text, file.mode)
    except OSError as error:
        common.fail(BadInput(f"{error.filename}: {error.strerror} (--folder を指定 / choose a --folder)"))


def _check(text: str, folder: Path) -> None:
    """The settings can be used as they are, but for the secrets that are still to come."""
    try:
        parse(text, base=folder, env={"CREDENTIALS_DIRECTORY": str(folder / "credentials")})
    except ConfigError as error:
        common.fail(error)


def _put(file: Path, text: str, mode: int) -> None:
    private = file.parent.name == "credentials"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o750 if private else 0o755)
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(handle, mode)
        out.write(text)
    unfinished.replace(file)


def _show(answers: Answers) -> None:
    say: Callable[[str], None] = typer.echo
    say(f"{answers.folder} に作りました / written.\n\n次にすること / What to do next (root):")
    for number, (ja, en, commands) in enumerate(installing.next_steps(answers), 1):
        say(f"\n{number}. {ja}\n   {en}")
        for line in commands.splitlines():
            say(f"     {line}")
    say(f"\n導入手引き / the guide: {where('docs/ja/donyu.md')}")
