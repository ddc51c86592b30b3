"""Where the demo lives: its folder, free loopback ports, and the config.yaml that a library would write.

A folder enters, settings leave. The keys and tokens are new each time and lie in the folder, readable by
its owner alone.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holds_core.config import load
from holds_core.errors import BadInput
from holds_core.settings import Settings
from mailer.app.demo.town import PROVIDERS

HOST = "127.0.0.1"
BRANCHES = ("chuo", "minami")

CONFIG = """\
# todoku demo が書いた設定です。見本として自由に直せます / written by `todoku demo`; change it as you like
library:
  name: とどく市立図書館(見本)
  name_en: Todoku City Library (sandbox)
  timezone: Asia/Tokyo
  phone: 0900-00-0100
  branches:
    - {{id: chuo, name: 中央図書館, name_en: Central Library, phone: 0900-00-0101, hours: 毎日 9時〜19時}}
    - {{id: minami, name: 南分館, name_en: Minami Branch, phone: 0900-00-0102, hours: 毎日 9時〜19時}}
sender:
  address: yoyaku@library.sandbox.example
  return_path: verp
  return_path_domain: bounce.library.sandbox.example
  token_keys_file: token.keys
sending: {{mode: "on"}}
batches:
  - {{name: 朝, at: 09:10}}
  - {{name: 夕, at: 16:10}}
relay: {{host: {host}, port: {relay}, tls: none, connections: 2, helo_name: library.sandbox.example}}
intake: {{lmtp: {{listen: "{host}:{lmtp}"}}}}
database: {{url: "sqlite:///todoku.db"}}
# 見本では早く結果が出るように2日 / two days, so that a short demo has something to tell
confirmation: {{windows: {{hold_ready: 2d}}}}
case: {{weigh_at: "05:30", weigh_every: 1h}}
desk: {{listen: "{host}:{desk}"}}
confirm: {{listen: "{host}:{confirm}", base_url: "http://{host}:{confirm}"}}
api: {{tokens_file: api.tokens}}
providers:
{providers}
"""


@dataclass(frozen=True)
class Place:
    """The folder and what listens where. `relay` is bound already: the town's relay takes it over."""

    folder: Path
    settings: Settings
    relay: socket.socket
    api_token: str

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def desk_url(self) -> str:
        return f"http://{HOST}:{self.settings.desk.listen.port}"

    @property
    def lmtp(self) -> tuple[str, int]:
        assert self.settings.intake.lmtp is not None
        return HOST, self.settings.intake.lmtp.listen.port


@contextlib.contextmanager
def place(wanted: Path | None) -> Iterator[Place]:
    """Makes `wanted` into a library's folder, or a temporary one that is removed afterwards.

    Raises BadInput if `wanted` cannot be used or has something in it.
    """
    with contextlib.ExitStack() as stack:
        if wanted is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="todoku-demo-")))
        else:
            folder = _empty(wanted.absolute())
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        yield _furnish(folder, listener)


def _empty(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise BadInput(f"--folder {folder}: {error.strerror}") from None
    if taken:
        raise BadInput(f"--folder {folder}: 空のフォルダーを指定してください / expected an empty folder")
    return folder


def _furnish(folder: Path, listener: socket.socket) -> Place:
    lmtp, desk, confirm = _free_ports(3)
    token = secrets.token_urlsafe(24)
    for name, secret in (("token.keys", secrets.token_hex(32)), ("api.tokens", token)):
        file = folder / name
        file.touch(0o600)
        file.write_text(secret + "\n")
    text = CONFIG.format(
        host=HOST,
        relay=listener.getsockname()[1],
        lmtp=lmtp,
        desk=desk,
        confirm=confirm,
        providers="\n".join(
            f"  - {{domain: {found.domain}, per_minute: 600, links: {str(found.links).lower()}}}"
            for found in PROVIDERS
        ),
    )
    (folder / "config.yaml").write_text(text, "utf-8")
    # an environment of its own: the user's may carry a real library's secrets
    return Place(folder, load(folder / "config.yaml", {}), listener, token)


def _free_ports(count: int) -> list[int]:
    """Different free ports. They are free again when this returns, so another program may take one."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in found:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in found]
