"""`todoku init`: asked at a terminal or told by options, it leaves files that work and replaces none."""

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from holds_core.config import load
from holds_core.settings import Mode, Settings
from mailer.app.cli import app
from mailer.app.commented import Commented
from mailer.app.shipped import shipped
from tests.deploy.conftest import ROOT
from tests.servers.workplace import find_program

TODOKU = Path(sys.executable).with_name("todoku")
OPTIONS = (
    *("--no-input", "--name", "桜市立図書館", "--name-en", "Sakura City Library"),
    *("--address", "yoyaku@lib.sakura.example.jp", "--relay", "mail.sakura.example.jp"),
)


def init(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["init", "--folder", str(folder), *options])


def settings(folder: Path) -> Settings:
    return load(folder / "config.yaml", {"CREDENTIALS_DIRECTORY": str(folder / "credentials")})


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def at_a_terminal(command: list[str], answers: Iterable[tuple[str, str]]) -> tuple[int, str]:
    """Runs a command on a pseudo terminal, and types each answer once its question stands there."""
    mine, its = pty.openpty()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, close_fds=True)
    os.close(its)
    seen, begin = "", 0
    for question, answer in answers:
        deadline = time.monotonic() + 120
        while question not in seen[begin:]:
            assert time.monotonic() < deadline, f"never asked for {question}: {seen}"
            if select.select([mine], [], [], 0.2)[0]:
                seen += os.read(mine, 65_536).decode(errors="replace")
        begin = len(seen)
        os.write(mine, f"{answer}\n".encode())
    try:
        while piece := os.read(mine, 65_536):
            seen += piece.decode(errors="replace")
    except OSError:  # a pseudo terminal ends so on Linux
        pass
    os.close(mine)
    return process.wait(120), seen


def test_at_a_terminal_it_asks_in_japanese_and_english(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    code, said = at_a_terminal(
        [str(TODOKU), "init", "--folder", str(folder)],
        [
            ("図書館名 / the library's name", "桜市立図書館"),
            ("its name in English", "Sakura City Library"),
            ("差出人のアドレス", "yoyaku@lib.sakura.example.jp"),
            ("不達メールの戻し方", "nonsense"),
            ("不達メールの戻し方", "plus"),
            ("返送先のドメイン", ""),
            ("中継メールサーバー", "mail.sakura.example.jp"),
            ("暗号化", "implicit"),
            ("ログイン名", "todoku"),
            ("IMAP サーバー", "imap.sakura.example.jp"),
            ("受信箱のログイン名", "henso@lib.sakura.example.jp"),
            ("確認ページの URL", "https://todoku.sakura.example.jp"),
            ("異常を知らせる先", "joho@sakura.example.jp"),
            ("試験中すべてのメールを", "joho@sakura.example.jp"),
        ],
    )
    assert code == 0, said
    assert "次にすること / What to do next" in said
    (folder / "credentials/relay-password").write_text("x")
    (folder / "credentials/imap-password").write_text("x")
    found = settings(folder)
    assert (found.library.name, found.library.name_en) == ("桜市立図書館", "Sakura City Library")
    assert found.sender.return_path == "plus"
    assert (found.sender.return_path_domain, found.sender.return_path_mailbox) == (
        "lib.sakura.example.jp",
        "henso",
    )
    assert (found.relay.tls, found.relay.port, found.relay.username) == ("implicit", 465, "todoku")
    assert found.intake.lmtp is None
    assert found.intake.imap is not None
    assert found.intake.imap.host == "imap.sakura.example.jp"
    assert found.confirm.base_url == "https://todoku.sakura.example.jp"
    assert found.alerts.to == ("joho@sakura.example.jp",)
    assert (found.sending.mode, found.sending.redirect_to) == (Mode.REDIRECT, "joho@sakura.example.jp")
    assert not (folder / "install/postfix").exists()


def test_options_answer_every_question(tmp_path: Path) -> None:
    done = init(tmp_path / "etc", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    found = settings(tmp_path / "etc")
    assert found.sending.mode is Mode.OFF
    assert found.sender.return_path_domain == "bounce.lib.sakura.example.jp"
    assert found.database.url == "sqlite:////var/lib/todoku/todoku.db"
    assert found.intake.lmtp is not None
    assert not found.intake.imap


def test_every_comment_of_the_settings_stays(tmp_path: Path) -> None:
    init(tmp_path / "etc", *OPTIONS)

    def comments(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.strip().startswith("# ")]

    written = (tmp_path / "etc/config.yaml").read_text("utf-8")
    assert comments(written) == comments(shipped("config.yaml"))


def test_what_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    init(folder, *OPTIONS)
    before = files(folder)
    again = init(folder, *OPTIONS, "--address", "other@example.jp")
    assert again.exit_code == 1
    assert "--force" in again.stderr
    assert str(folder / "config.yaml") in again.stderr
    assert files(folder) == before

    forced = init(folder, *OPTIONS, "--address", "other@example.jp", "--force")
    assert forced.exit_code == 0
    assert settings(folder).sender.address == "other@example.jp"
    # a new key would orphan the mail that is under way
    assert files(folder)["credentials/token.keys"] == before["credentials/token.keys"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--no-input", "--name", "a"), "--address"),
        ((*OPTIONS, "--return-path", "magic"), "--return-path magic"),
        ((*OPTIONS, "--address", "no address"), "sender.address"),
        ((*OPTIONS, "--base-url", "ftp://x"), "confirm.base_url"),
        ((*OPTIONS, "--return-path", "plus"), "--imap"),
        ((*OPTIONS, "--instance", "Chuo/.."), "--instance"),
        ((*OPTIONS, "--name", "a\nmode: on"), "library.name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answers_that_cannot_be_used_leave_nothing(
    tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = init(tmp_path / "etc", *options)
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert not (tmp_path / "etc").exists()


def test_the_signing_key_is_nobody_elses(tmp_path: Path) -> None:
    init(tmp_path / "a", *OPTIONS)
    init(tmp_path / "b", *OPTIONS)
    key = tmp_path / "a/credentials/token.keys"
    assert stat.S_IMODE(key.stat().st_mode) == 0o640
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o750
    assert len(key.read_text().strip()) == 64
    assert key.read_text() != (tmp_path / "b/credentials/token.keys").read_text()


def test_the_postfix_snippets_are_this_librarys(tmp_path: Path) -> None:
    init(tmp_path / "etc", *OPTIONS, "--lmtp", "127.0.0.1:8124")
    for name in ("main.cf", "todoku-transport", "todoku-recipients"):
        text = (tmp_path / "etc/install/postfix" / name).read_text()
        assert "bounce.library.example.jp" not in text.replace("\\", "")
        assert "bounce.lib.sakura.example.jp" in text.replace("\\", "")
    assert "lmtp:inet:127.0.0.1:8124" in (tmp_path / "etc/install/postfix/todoku-transport").read_text()


def test_several_libraries_on_one_host(tmp_path: Path) -> None:
    done = init(tmp_path / "etc", *OPTIONS, "--instance", "chuo", "--desk", "127.0.0.1:8090", "--api")
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "etc/chuo"
    (folder / "credentials/api-tokens").write_text("x" * 32)
    assert settings(folder).database.url == "sqlite:////var/lib/todoku/chuo/todoku.db"
    unit = (folder / "install/todoku@.service").read_text()
    assert f"--config {tmp_path}/etc/%i/config.yaml serve" in unit
    assert f"\nLoadCredential=api-tokens:{tmp_path}/etc/%i/credentials/api-tokens\n" in unit
    assert "systemctl enable --now todoku@chuo" in done.stdout


def domains_of_postfix(folder: Path, said: str) -> dict[str, str]:
    """Follows the printed Postfix step in a folder of the test's own; each domain with where its mail goes."""
    step = [line.strip() for line in said.splitlines() if "/etc/postfix" in line and "postmap" not in line]
    assert len(step) == 3
    for line in step:
        subprocess.run(["sh", "-c", line.replace("/etc/postfix", str(folder))], check=False, timeout=180)
    table = f"texthash:{folder}/todoku-transport"
    listed = subprocess.run(
        [find_program("postmap", "postfix"), "-s", table], capture_output=True, text=True, timeout=180
    )
    assert listed.stderr == "", "no line twice"
    return dict(line.split() for line in listed.stdout.splitlines())


def test_postfix_serves_several_libraries_by_one_table(tmp_path: Path) -> None:
    """What the second library's steps do leaves the first one's mail its way; done twice they change nothing."""
    folder = tmp_path / "postfix"
    folder.mkdir()
    (folder / "main.cf").write_text("myhostname = mx.example.jp\n")
    one = init(tmp_path / "etc", *OPTIONS, "--instance", "chuo").stdout
    two = init(
        *(tmp_path / "etc", *OPTIONS, "--instance", "kita", "--lmtp", "127.0.0.1:8124"),
        *("--return-path-domain", "bounce.kita.example.jp"),
    ).stdout
    domains_of_postfix(folder, one)
    found = domains_of_postfix(folder, two)
    assert found == {
        "bounce.lib.sakura.example.jp": "lmtp:inet:127.0.0.1:8024",
        "bounce.kita.example.jp": "lmtp:inet:127.0.0.1:8124",
    }
    assert domains_of_postfix(folder, two) == found
    settings = (folder / "main.cf").read_text()
    assert settings.count("\nrelay_domains = ") == settings.count("\ntransport_maps = ") == 1
    recipients = (folder / "todoku-recipients").read_text()
    assert "@bounce\\.lib\\.sakura" in recipients
    assert "@bounce\\.kita\\." in recipients


def test_the_web_servers_snippets_are_this_librarys(tmp_path: Path) -> None:
    init(
        *(tmp_path / "etc", *OPTIONS, "--instance", "chuo", "--base-url", "https://yoyaku.example.jp"),
        *("--confirm", "127.0.0.1:9081", "--desk", "127.0.0.1:9080"),
    )
    install = tmp_path / "etc/chuo/install"
    for server in ("nginx", "apache"):
        confirm = (install / server / "todoku-confirm-chuo.conf").read_text()
        assert "yoyaku.example.jp" in confirm
        assert "http://127.0.0.1:9081" in confirm
        assert "http://127.0.0.1:9080" in (install / server / "todoku-desk-chuo.conf").read_text()
    # two libraries behind one nginx have zones of their own
    assert (install / "nginx/todoku-confirm-chuo.conf").read_text().count("zone=todoku_confirm_chuo") == 2
    assert json.loads((install / "grafana/todoku.json").read_text())["panels"]


def test_the_guide_that_is_named_can_be_opened(tmp_path: Path) -> None:
    named = re.search(r"the guide: (\S+)", init(tmp_path / "etc", *OPTIONS).stdout)
    assert named is not None
    assert "並行稼働" in Path(named[1]).read_text("utf-8")


def test_the_commands_shown_name_files_that_were_written(tmp_path: Path) -> None:
    done = init(tmp_path / "etc", *OPTIONS, "--relay-username", "todoku")
    named = re.findall(rf"{tmp_path}/etc/install/[\w./@-]+", done.stdout)
    assert len(named) >= 7
    assert [name for name in named if not Path(name).exists()] == []
    assert "credentials/relay-password" in done.stdout


def test_the_runner_gives_a_command_the_services_settings(tmp_path: Path) -> None:
    init(tmp_path / "etc", *OPTIONS)
    runner = (tmp_path / "etc/install/todoku-run").read_text()
    # the same, but as whoever runs the test
    (tmp_path / "run").write_text(runner.replace("/usr/sbin/runuser -u todoku -- ", ""))
    done = subprocess.run(
        ["sh", tmp_path / "run", "doctor", "--only", "configuration", "--json"],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert '"status": "ok"' in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("library.phone", "03-1", '  phone: "03-1"'),
        ("alerts.relay.host", "a.example", '    host: "a.example"'),
        ("alerts.to", ["a@b.example"], '  to: ["a@b.example"]'),
        ("sending.dsn", False, "  dsn: false"),
    ],
)
def test_a_key_is_put_to_use_with_the_sections_above_it(path: str, value: str, expected: str) -> None:
    text = Commented(shipped("config.yaml"))
    text.set(path, value)
    changed = set(str(text).splitlines()) - set(shipped("config.yaml").splitlines())
    assert expected in changed


def test_a_key_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"library\.nonsense"):
        Commented(shipped("config.yaml")).set("library.nonsense", 1)


def test_what_is_shipped_is_what_the_checkout_has() -> None:
    assert shipped("config.yaml") == (ROOT / "config.yaml").read_text("utf-8")
    with pytest.raises(FileNotFoundError):
        shipped("deploy/nothing")
