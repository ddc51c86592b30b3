"""What a reload takes over and what waits: the table in docs/reload.md, the shipped settings and the program agree."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holds_core.config import parse
from holds_core.errors import BadInput
from holds_core.notices import Kind
from holds_core.settings import Settings
from holds_core.settings.secrets import Secrets, read_secrets
from holds_core.tokens import MIN_KEY_LENGTH
from mailer.app.daemon import Daemon
from mailer.app.notify import Notifier
from mailer.app.reload import NEEDS_RESTART, held, wanted
from mailer.app.services import Services
from mailer.app.watch import asks
from tests.clock import HandClock

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "reload.md").read_text("utf-8")
CONFIG = """
library: {name: L, branches: [{id: main, name: 本館}]}
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1, tls: none}
database: {url: "sqlite:///todoku.db"}
"""


def settings(folder: Path, more: str = "") -> Settings:
    names = set(re.findall(r"(?m)^(\w+):", more))
    kept = [line for line in CONFIG.splitlines() if line.partition(":")[0] not in names]
    return parse("\n".join([*kept, more]), base=folder, env={})


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    (tmp_path / "token.keys").write_text("k" * MIN_KEY_LENGTH)
    found = settings(tmp_path)
    made = Services.build(
        found,
        read_secrets(found, {}),
        clock=HandClock(),
        jitter=random.Random(1).random,
        owner="test",
    )
    await made.ledger.upgrade()
    yield made
    await made.close()


def rows() -> dict[str, str]:
    """Each key of the table -> "reload", "restart" or "at each login"."""
    found = {}
    for line in TABLE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 2:
            found |= {key: cells[1].partition("。")[0] for key in re.findall(r"`([\w.\[\]]+)`", cells[0])}
    return found


def test_the_table_names_every_section_and_every_key_that_waits() -> None:
    told = rows()
    missing = {name for name in Settings.model_fields if name not in told and f"{name}.lmtp" not in told}
    assert missing == set()
    waiting = {key for key, when in told.items() if when == "restart" and key[0].islower()}
    assert waiting - {"database"} == {f"{section}.{key}" for section, key in NEEDS_RESTART} - {"database.url"}
    assert told["database"] == "restart"
    secret_keys = {field.name for field in fields(Secrets)} - {"warnings"}
    assert len(secret_keys) == 9, "a new secret wants a row in docs/reload.md"


def test_the_shipped_settings_mark_the_keys_that_wait() -> None:
    lines = (ROOT / "config.yaml").read_text("utf-8").splitlines()
    marked, section = set(), ""
    for number, line in enumerate(lines):
        if top := re.match(r"(\w+):", line):
            section = top[1]
        if "再起動で反映" in line:
            assert "needs a restart" in lines[number + 1]
            marked.add((section, lines[number + 2].strip().partition(":")[0]))
    assert marked == set(NEEDS_RESTART)


def test_what_waits_stays_and_the_rest_is_new(tmp_path: Path) -> None:
    old = settings(tmp_path)
    new = settings(
        tmp_path,
        'database: {url: "postgresql://todoku:s3cret@db/todoku"}\n'
        'desk: {listen: "127.0.0.1:9999", secure_cookies: true}\n'
        'intake: {lmtp: {listen: "127.0.0.1:9998"}}\nconfirm: {listen: "127.0.0.1:9997"}\n'
        "deadline: {days: 9}\n",
    )
    found, waiting = held(old, new)
    assert waiting == ("database.url", "desk.listen", "confirm.listen", "intake.lmtp")
    assert (found.database, found.intake.lmtp) == (old.database, old.intake.lmtp)
    assert (found.desk.listen, found.confirm.listen) == (old.desk.listen, old.confirm.listen)
    assert found.desk.secure_cookies
    assert found.deadline.days == 9
    assert held(old, old) == (old, ())


async def test_tasks_begin_anew_only_for_what_they_are_made_of(services: Services, tmp_path: Path) -> None:
    def of(more: str = "", **secrets: str) -> dict[str, object]:
        found = settings(tmp_path, more)
        kept = replace(read_secrets(found, {}), **secrets)
        services.take(services.decide(found, kept))
        return {name: task.made_of for name, task in wanted(services, lambda state: None).items()}

    first = of()
    assert list(first) == ["sender"]
    assert of("deadline: {days: 9}\n") == first
    assert of("relay: {host: 127.0.0.1, tls: none, connections: 2}\n") != first
    assert of("relay: {host: 127.0.0.2, tls: none}\n") != first
    (tmp_path / "p").write_text("secret")
    imap = "intake: {imap: {host: imap.example, username: u, password_file: p}}\n"
    mailbox = of(imap)
    assert list(mailbox) == ["sender", "mailbox"]
    assert of(imap) == mailbox
    assert of(imap, imap_password="other") != mailbox
    assert "other" not in repr(services.secrets)


async def test_a_refused_reload_keeps_every_part(services: Services) -> None:
    before = [getattr(services, field.name) for field in fields(services)]

    def unreadable() -> tuple[Settings, Secrets]:
        raise BadInput("token keys: key 1 has 3 bytes")

    daemon = Daemon(services, Notifier({}), unreadable)
    with capture_logs() as logs:
        daemon.reload()
    assert [getattr(services, field.name) for field in fields(services)] == before
    [line] = logs
    assert (line["event"], line["log_level"]) == ("reload_refused", "error")
    assert "key 1 has 3 bytes" in line["why"]


async def test_the_lookout_asks_by_the_settings_in_force(services: Services, tmp_path: Path) -> None:
    """A provider whose mail may carry no links any more asks by its address alone, which there is none of."""
    asked = asks(services, lambda: services.rulebook)
    page = "confirm: {base_url: https://k.example}\n"

    def take(more: str) -> None:
        found = settings(tmp_path, more)
        services.take(services.decide(found, read_secrets(found, {})))

    take(page)
    assert asked(Kind.HOLD_READY, "gmail.com")
    take(page + "providers: [{domain: gmail.com, links: false}]\n")
    assert not asked(Kind.HOLD_READY, "gmail.com")
