"""What one library's installation is made of: answers enter, the files that `todoku init` writes leave.

Pure but for the shipped files it starts from; asks nobody and writes nothing. The settings are config.yaml
with all its comments; the unit and the Postfix snippets are those of `deploy/`, with this host's names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from mailer.app.commented import Commented
from mailer.app.shipped import shipped

KEEP_BACKOFF_FROM: Final = 254
"""The first systemd that knows RestartSteps= and RestartMaxDelaySec=."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What `todoku init` asks. Empty strings stand for "none".

    `folder` holds the settings; `instance` names one of several libraries on a host; `program` is the
    path of the todoku command, `systemd` the service manager's version (0: unknown).
    """

    folder: Path
    name: str
    name_en: str
    address: str
    return_path: str
    return_path_domain: str
    relay_host: str
    relay_tls: str
    relay_port: int
    relay_username: str = ""
    imap_host: str = ""
    imap_username: str = ""
    base_url: str = ""
    database: str = ""
    alerts_to: str = ""
    redirect_to: str = ""
    instance: str = ""
    lmtp: str = "127.0.0.1:8024"
    desk: str = "127.0.0.1:8080"
    confirm: str = "127.0.0.1:8081"
    api: bool = False
    program: str = "/opt/todoku/bin/todoku"
    systemd: int = 0

    @property
    def by_imap(self) -> bool:
        return bool(self.imap_host)

    @property
    def unit(self) -> str:
        """The unit to enable: `todoku` or `todoku@NAME`."""
        return f"todoku@{self.instance}" if self.instance else "todoku"

    @property
    def state(self) -> PurePosixPath:
        return PurePosixPath("/var/lib/todoku", self.instance)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that this installation has, the signing keys first."""
        wanted = (
            ("token.keys", True),
            ("relay-password", bool(self.relay_username)),
            ("imap-password", self.by_imap),
            ("api-tokens", self.api),
        )
        return tuple(name for name, there in wanted if there)


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written, its name relative to `Answers.folder`."""

    name: str
    text: str
    mode: int = 0o644


def files(answers: Answers, key: str) -> list[File]:
    """Everything that is written. `key` is a fresh signing key."""
    unit = "todoku@.service" if answers.instance else "todoku.service"
    found = [
        File("config.yaml", settings(answers)),
        File("credentials/token.keys", key + "\n", 0o640),
        File(f"install/{unit}", unit_file(answers)),
        File("install/todoku-run", runner(answers), 0o755),
        File("install/sysusers.d/todoku.conf", shipped("deploy/sysusers.d/todoku.conf")),
        File("install/tmpfiles.d/todoku.conf", shipped("deploy/tmpfiles.d/todoku.conf")),
    ]
    if answers.systemd >= KEEP_BACKOFF_FROM:
        found.append(File(f"install/{unit}.d/backoff.conf", shipped("deploy/systemd/backoff.conf")))
    if not answers.by_imap:
        found += [
            File(f"install/postfix/{name}", postfix(answers, name))
            for name in ("main.cf", "todoku-transport", "todoku-recipients")
        ]
    found += [
        File(f"install/{server}/todoku-{side}{'-' * bool(answers.instance)}{answers.instance}.conf", text)
        for server in ("nginx", "apache")
        for side, text in proxies(answers, server)
    ]
    found.append(File("install/grafana/todoku.json", shipped("deploy/grafana/todoku.json")))
    return found


def proxies(answers: Answers, server: str) -> list[tuple[str, str]]:
    """What nginx or Apache needs: ("confirm" or "desk", text). The desk's name is the library's to choose."""
    found = []
    for side, port, listen in (
        ("confirm", "127.0.0.1:8081", answers.confirm),
        ("desk", "127.0.0.1:8080", answers.desk),
    ):
        text = shipped(f"deploy/{server}/{side}.conf").replace(port, listen)
        host = urlsplit(answers.base_url).hostname
        if side == "confirm" and host:
            text = text.replace("todoku.library.example.jp", host)
        if answers.instance:
            text = text.replace("todoku_confirm", f"todoku_confirm_{answers.instance.replace('-', '_')}")
        found.append((side, text))
    return found


def settings(answers: Answers) -> str:
    """config.yaml with the answers in it. Mail stays off, or goes to one address."""
    text = Commented(shipped("config.yaml"))
    for path, value in (
        ("library.name", answers.name),
        ("library.name_en", answers.name_en),
        ("sender.address", answers.address),
        ("sender.return_path", answers.return_path),
        ("sender.return_path_domain", answers.return_path_domain),
        ("relay.host", answers.relay_host),
        ("relay.tls", answers.relay_tls),
        ("desk.listen", answers.desk),
        ("confirm.listen", answers.confirm),
    ):
        text.set(path, value)
    text.set("sender.token_keys_file", "${CREDENTIALS_DIRECTORY}/token.keys")
    text.set("relay.port", answers.relay_port)
    text.set("database.url", answers.database or f"sqlite:///{answers.state}/todoku.db")
    if answers.redirect_to:
        text.set("sending.mode", "redirect")
        text.set("sending.redirect_to", answers.redirect_to)
    if answers.relay_username:
        text.set("relay.username", answers.relay_username)
        text.set("relay.password_file", "${CREDENTIALS_DIRECTORY}/relay-password")
    if answers.base_url:
        text.set("confirm.base_url", answers.base_url)
    if answers.alerts_to:
        text.set("alerts.to", [answers.alerts_to])
    if answers.api:
        text.set("api.tokens_file", "${CREDENTIALS_DIRECTORY}/api-tokens")
    _intake(text, answers)
    return str(text)


def _intake(text: Commented, answers: Answers) -> None:
    if not answers.by_imap:
        text.set("intake.lmtp.listen", answers.lmtp)
        return
    text.unset("intake.lmtp")
    text.set("intake.imap.host", answers.imap_host)
    text.set("intake.imap.username", answers.imap_username)
    text.set("intake.imap.password_file", "${CREDENTIALS_DIRECTORY}/imap-password")
    if answers.return_path != "verp":
        text.set("sender.return_path_mailbox", answers.imap_username.partition("@")[0])


def unit_file(answers: Answers) -> str:
    """The unit of `deploy/`, for this host's program and settings, with the secrets that there are."""
    text = shipped(f"deploy/systemd/todoku{'@' if answers.instance else ''}.service")
    folder = _unit_path(answers)
    config = "/etc/todoku/%i" if answers.instance else "/etc/todoku"
    text = text.replace("/opt/todoku/bin/todoku", answers.program).replace(f"{config}/", f"{folder}/")
    for name in answers.secrets:
        text = text.replace(f"#LoadCredential={name}:", f"LoadCredential={name}:")
    return text


def _unit_path(answers: Answers) -> str:
    """The folder as a unit writes it: a percent sign is a specifier there (systemd.unit(5))."""
    folder = str(answers.folder).replace("%", "%%")
    if answers.instance and answers.folder.name == answers.instance:
        return f"{folder.removesuffix(answers.instance)}%i"
    return folder


def runner(answers: Answers) -> str:
    """A command that runs `todoku …` as the service's user with the service's secrets."""
    return f"""#!/bin/sh
# todoku のコマンドを、サービスと同じ利用者・設定・秘密で実行します
# Runs a command of todoku as the service does: its user, its settings, its secrets. Run it as root.
exec /usr/sbin/runuser -u todoku -- /usr/bin/env \\
    TODOKU_CONFIG='{answers.folder}/config.yaml' \\
    CREDENTIALS_DIRECTORY='{answers.folder}/credentials' \\
    '{answers.program}' "$@"
"""


def postfix(answers: Answers, name: str) -> str:
    """A snippet of `deploy/postfix` for this library's return path."""
    text = shipped(f"deploy/postfix/{name}")
    domain = answers.return_path_domain
    text = text.replace(re.escape("bounce.library.example.jp"), re.escape(domain))
    return text.replace("bounce.library.example.jp", domain).replace("127.0.0.1:8024", answers.lmtp)


def next_steps(answers: Answers) -> tuple[tuple[str, str, str], ...]:
    """What to do now: (Japanese, English, commands) each."""
    folder, unit = answers.folder, answers.unit
    install = f"{folder}/install"
    system = "todoku@.service" if answers.instance else "todoku.service"
    accounts, folders = (f"{install}/{kind}/todoku.conf" for kind in ("sysusers.d", "tmpfiles.d"))
    steps: list[tuple[str, str, str]] = [
        (
            "受取館・休館日・便の時刻を、図書館に合わせて書き直します",
            "Edit branches, closed days and batch times to your library's",
            f"editor {folder}/config.yaml",
        ),
        (
            "専用の利用者とフォルダーを作り、秘密のファイルの持ち主を決めます",
            "Make the service's user and folders, and hand it the secrets",
            f"systemd-sysusers {accounts}\nsystemd-tmpfiles --create {folders}\n"
            + "".join(
                f"install -m 0640 /dev/null {folder}/credentials/{name}"
                f"   # 中身を書く / write it in: {_what(name)}\n"
                for name in answers.secrets[1:]
            )
            + f"chown -R root:todoku {folder}/credentials && chmod 0750 {folder}/credentials",
        ),
    ]
    if not answers.by_imap:
        steps.append(
            (
                "返送先のドメインを Postfix から Todoku へ渡します (main.cf には追記します)",
                "Let Postfix pass the return path's domain on (main.cf is to be added to)",
                "".join(_into_postfix(install, name) for name in ("transport", "recipients"))
                + f"grep -q todoku-transport /etc/postfix/main.cf"
                f" || cat {install}/postfix/main.cf >> /etc/postfix/main.cf\n"
                "postmap /etc/postfix/todoku-transport && postfix check && postfix reload",
            )
        )
    steps += [
        (
            "サービスを登録し、状態を確かめてから動かします",
            "Install the unit, look whether all is well, then start it",
            f"cp -r {install}/{system}* /etc/systemd/system/\nsystemctl daemon-reload\n{install}/todoku-run db upgrade\n{install}/todoku-run doctor\n"
            f"systemctl enable --now {unit}",
        ),
        (
            "職員のアカウントを作り、図書館システムの一覧を取り込みます。メールはまだ出ません (sending.mode)",
            "Make a staff account, import the library system's lists. No mail leaves yet (sending.mode)",
            f"{install}/todoku-run user add tantou --role admin",
        ),
    ]
    return tuple(steps)


def _into_postfix(install: str, name: str) -> str:
    """Several libraries share one table: what another one put there stays, and nothing is put there twice."""
    ours, table = f"{install}/postfix/todoku-{name}", f"/etc/postfix/todoku-{name}"
    return f"touch {table} && grep -vxFf {table} {ours} >> {table}\n"


def _what(name: str) -> str:
    return {
        "relay-password": "中継サーバーのパスワード the relay's password",
        "imap-password": "受信箱のパスワード the mailbox's password",
        "api-tokens": "openssl rand -hex 32",
    }[name]
