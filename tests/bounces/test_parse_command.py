"""`bounces parse` on files, mbox, Maildir and standard input; exit codes and both outputs."""

from __future__ import annotations

import json
import mailbox
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bounces.parse import MailKind, read
from holds_core.notices import Phase
from holds_core.reasons import Fault
from mailer.app.commands.bounces import FAULT, KIND, PHASE, Language, app, explain

MAILS = Path(__file__).parent / "mails"


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["parse", *map(str, arguments)], input=stdin)


def records(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_json_object_per_file_named_after_it() -> None:
    found = records(run("--json", MAILS / "qmail.eml", MAILS / "gmail.eml"))
    assert [(r["file"], r["kind"], r["reason"]) for r in found] == [
        ("qmail.eml", "hard", "userunknown"),
        ("gmail.eml", "hard", "userunknown"),
    ]


def test_japanese_comes_first() -> None:
    text = run(MAILS / "docomo-data.eml").stdout
    assert "docomo-data.eml: 不達" in text
    assert "hanako@docomo.ne.jp" in text
    assert "受信者の設定(指定受信など)により受け取られませんでした" in text
    assert "判定: rfc3464" in text
    assert "断られた段階: 本文を送ったあと(DATA)" in text


def test_english_on_request() -> None:
    text = run("--language", "en", MAILS / "hotmail-auth.eml").stdout
    assert "Our mail failed SPF, DKIM or DMARC (authfailure)" in text
    assert "our own mail setup" in text
    assert text.isascii()


def test_every_sample_is_explained_in_both_languages() -> None:
    for path in MAILS.glob("*.eml"):
        report = read(path.read_bytes())
        for language in Language:
            text = explain(path.name, report, language)
            assert text.startswith(f"{path.name}: {KIND[report.kind][0 if language is Language.JA else 1]}")


def test_every_kind_and_fault_has_words() -> None:
    assert set(KIND) == set(MailKind)
    assert set(FAULT) == set(Fault)
    assert set(PHASE) == set(Phase)


def test_a_mail_does_not_steer_the_terminal(tmp_path: Path) -> None:
    mail = tmp_path / "evil.eml"
    mail.write_bytes(
        b"From: MAILER-DAEMON@x.example\nSubject: failure notice\n\n"
        b"Unable to deliver your message to the following addresses.\n\n<a@b.example>:\n\x1b]0;owned\x07 no\x9b2J\n"
    )
    text = run(mail).stdout
    assert "a@b.example" in text
    assert not set("\x1b\x07\x9b") & set(text)


def test_mbox(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "bounces.mbox")
    for name in ("qmail.eml", "vacation.eml"):
        box.add((MAILS / name).read_bytes())
    box.close()
    found = records(run("--json", tmp_path / "bounces.mbox"))
    assert [(r["file"], r["kind"]) for r in found] == [
        ("bounces.mbox#1", "hard"),
        ("bounces.mbox#2", "auto_reply"),
    ]


def test_maildir(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "Maildir")
    box.add((MAILS / "receipt.eml").read_bytes())
    assert [r["kind"] for r in records(run("--json", tmp_path / "Maildir"))] == ["delivered"]


def test_plain_folder() -> None:
    found = records(run("--json", MAILS))
    assert [r["file"] for r in found] == sorted(p.name for p in MAILS.iterdir())


def test_standard_input() -> None:
    (record,) = records(run("--json", "-", stdin=(MAILS / "human-reply.eml").read_bytes()))
    assert (record["file"], record["human_reply"]) == ("-", True)


@pytest.mark.parametrize("arguments", [(), ("no-such-file.eml",), ("--language", "fr", MAILS / "qmail.eml")])
def test_usage_errors_exit_with_two(arguments: tuple[object, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_the_error_names_the_file() -> None:
    result = run("no-such-file.eml")
    assert "no-such-file.eml" in result.stderr
    assert result.stdout == ""


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 2


def test_json_on_stdout_and_nothing_on_stderr_where_there_is_no_terminal() -> None:
    paths = [str(MAILS / "qmail.eml")] * 60
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from mailer.app.commands.bounces import app; app()",
            "parse",
            "--json",
            *paths,
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 60
