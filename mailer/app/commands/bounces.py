"""`todoku bounces`: what a mail that came back says, for people in a terminal and for scripts as JSON.

In go files, mbox files, Maildir folders and standard input; out comes one explanation or one JSON object
per mail. Needs no configuration, touches no database, changes nothing.
"""

from __future__ import annotations

import json
import mailbox
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from bounces.parse import MailKind, Recipient, Report, read
from holds_core.notices import Phase
from holds_core.reasons import MEANING, Fault
from mailer.app.commands import terminal

app = typer.Typer(help="戻ってきたメールを読み解きます。 Reads mail that came back.", no_args_is_help=True)

PROGRESS_FROM: Final = 50
"""Fewer mails than this are done before a progress bar would be seen."""


class Language(StrEnum):
    JA = "ja"
    EN = "en"


@app.callback()
def bounces() -> None:
    """戻ってきたメールを読み解きます。 Reads mail that came back."""


@app.command()
def parse(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…",
            help="メールのファイル、mbox、Maildir、または - (標準入力)。 Mail files, mbox files, Maildirs, or - for stdin.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="1通につきJSONを1行で出力します。 One JSON object per mail.")
    ] = False,
    language: Annotated[
        Language, typer.Option("--language", help="説明の言語。 Language of the explanation.")
    ] = Language.JA,
) -> None:
    """メールが何を伝えているかを説明します。 Explains what each mail says."""
    sources = _sources(files)
    total = len(sources)
    with Progress(
        console=Console(stderr=True),
        disable=total <= PROGRESS_FROM or not sys.stderr.isatty(),
        transient=True,
    ) as progress:
        task = progress.add_task("読み取り中 Reading", total=total)
        for source in sources:
            for name, raw in _mails(source):
                report = read(raw)
                if as_json:
                    line = json.dumps(report.as_json(name), ensure_ascii=False)
                    sys.stdout.write(terminal.in_json(line) + "\n")
                else:
                    sys.stdout.write(terminal.harmless(explain(name, report, language)) + "\n\n")
            progress.advance(task)


def _sources(files: list[str]) -> list[Path | None]:
    """Every file to read, in order; None is standard input. Exits with 2 if one is not there."""
    sources: list[Path | None] = []
    for name in files:
        path = Path(name)
        if name == "-":
            sources.append(None)
        elif path.is_dir():
            sources.extend(_folder(path))
        elif path.is_file():
            sources.append(path)
        else:
            raise typer.BadParameter(f"ファイルが見つかりません: {name} (no such file)", param_hint="FILE")
    return sources


def _folder(path: Path) -> list[Path]:
    """The mails of a Maildir (cur and new), or the files of a plain folder."""
    maildir = [path / "new", path / "cur"]
    folders = maildir if all(p.is_dir() for p in maildir) else [path]
    found = sorted(
        p for folder in folders for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")
    )
    if not found and folders == [path]:
        raise typer.BadParameter(f"メールがありません: {path} (no mail in this folder)", param_hint="FILE")
    return found


def _mails(source: Path | None) -> Iterator[tuple[str, bytes]]:
    """The mails of one file: (name, bytes). An mbox file has many, named FILE#1, FILE#2 …"""
    if source is None:
        yield "-", sys.stdin.buffer.read()
        return
    try:
        raw = source.read_bytes()
    except OSError as error:
        raise typer.BadParameter(
            f"読めません: {source}: {error.strerror} (cannot be read)", param_hint="FILE"
        ) from error
    if raw.startswith(b"From ") and b"\n\nFrom " in raw:
        box = mailbox.mbox(source, create=False)
        try:
            for number, key in enumerate(box.iterkeys(), 1):
                yield f"{source.name}#{number}", box.get_bytes(key)
        finally:
            box.close()
        return
    yield source.name, raw


KIND: Final[dict[MailKind, tuple[str, str]]] = {
    MailKind.HARD: ("不達(このアドレスには届きません)", "Bounced: this address will not work"),
    MailKind.SOFT: ("不達(一時的、または設定などの事情)", "Bounced for a reason that may pass"),
    MailKind.DELAYED: ("配送の遅れ(まだ再送中です)", "Delayed: the sender is still trying"),
    MailKind.DELIVERED: ("到達の報告", "A delivery or read receipt"),
    MailKind.FEEDBACK: ("迷惑メールとしての報告", "A spam complaint"),
    MailKind.AUTO_REPLY: ("自動返信", "An automatic reply"),
    MailKind.HUMAN_REPLY: ("利用者ご本人などからの返信", "A reply written by a person"),
    MailKind.NONE: ("不達通知ではないメール", "No bounce"),
}

FAULT: Final[dict[Fault, tuple[str, str]]] = {
    Fault.PATRON: ("受信者側(アドレスや受信設定)", "the recipient's address or settings"),
    Fault.PROVIDER: ("受信側のサーバーまたは経路", "the receiving servers or the way there"),
    Fault.US: ("送信側(図書館のメール設定)", "our own mail setup"),
}


PHASE: Final[dict[Phase, tuple[str, str]]] = {
    Phase.CONNECT: ("接続したとき", "when we connected"),
    Phase.HELLO: ("サーバー名を名乗ったとき(EHLO)", "at EHLO"),
    Phase.TLS: ("暗号化を始めるとき(STARTTLS)", "at STARTTLS"),
    Phase.LOGIN: ("認証のとき(AUTH)", "at AUTH"),
    Phase.MAIL: ("差出人を告げたとき(MAIL)", "at MAIL"),
    Phase.RCPT: ("宛先を告げたとき(RCPT)", "at RCPT"),
    Phase.DATA: ("本文を送ったあと(DATA)", "after the data"),
}


def explain(name: str, report: Report, language: Language = Language.JA) -> str:
    """A few lines of plain text on one mail."""
    pick = 0 if language is Language.JA else 1
    lines = [f"{name}: {KIND[report.kind][pick]}"]
    if report.loop:
        lines.append(("  自館のメールが戻ってきています(ループ)", "  Our own mail came back: a loop")[pick])
    if report.forwarded:
        lines.append(
            (
                "  不達通知を人が転送したものです(不達としては扱いません)",
                "  A person passed a bounce on: not counted",
            )[pick]
        )
    for recipient in report.recipients:
        lines.extend(_explain_recipient(recipient, report.kind, pick))
    lines.append(("  判定: ", "  Detector: ")[pick] + (report.detector or ("該当する形式なし", "none")[pick]))
    if report.kind in (MailKind.HUMAN_REPLY, MailKind.AUTO_REPLY) and report.text:
        lines.extend("  | " + line for line in report.text.splitlines()[:12])
    return "\n".join(lines)


def _explain_recipient(recipient: Recipient, kind: MailKind, pick: int) -> Iterator[str]:
    original = recipient.original_recipient
    yield f"  {recipient.address}" + (f" ← {original}" if original and original != recipient.address else "")
    if kind in (MailKind.HUMAN_REPLY, MailKind.AUTO_REPLY):
        return
    if recipient.kind is not kind:
        yield f"    {KIND[recipient.kind][pick]}"
    yield ("    理由: ", "    Reason: ")[pick] + f"{MEANING[recipient.reason][pick]} ({recipient.reason})"
    yield ("    原因の所在: ", "    On whose side: ")[pick] + FAULT[recipient.fault][pick]
    said = " ".join(str(part) for part in (recipient.code, recipient.status) if part)
    if said or recipient.text:
        said = said if not recipient.text else recipient.text[:300]
        yield ("    サーバーの返答: ", "    The server said: ")[pick] + said
    if recipient.phase:
        yield ("    断られた段階: ", "    Refused: ")[pick] + PHASE[recipient.phase][pick]
    if recipient.remote_mta:
        yield ("    応答したサーバー: ", "    Server: ")[pick] + recipient.remote_mta
