"""The upkeep commands from the command line: output, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from holds_core.ledger.models import patrons
from holds_core.ledger.sql import put_flag
from mailer.app.commands import common, upkeep
from mailer.app.doctor import CHECKS
from tests.mailer.doctor.conftest import NOW, RELAY, Bench, submission
from tests.servers.postfix import Relay as PostfixRelay


@pytest.fixture
def app(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    app = typer.Typer()
    upkeep.add_to(app)
    monkeypatch.setattr(common.options, "config", bench.folder / "config.yaml")
    return app


def run(app: typer.Typer, *arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(app, list(arguments), **options)


def write(bench: Bench, **given: Any) -> None:
    (bench.folder / "config.yaml").write_text(bench.config(**given))


def doctor(app: typer.Typer, bench: Bench, *arguments: str) -> Any:
    given = ("--resolver", bench.dns.address, "--outgoing", RELAY, "--dkim-selector", "s1")
    return run(app, "doctor", *given, *arguments)


@pytest.fixture
def well(bench: Bench, relay: PostfixRelay) -> None:
    write(bench, relay=submission(relay, bench.folder))


@pytest.mark.usefixtures("well")
def test_json_has_the_contracts_fields_and_warnings_are_no_failure(app: typer.Typer, bench: Bench) -> None:
    result = doctor(app, bench, "--json")
    found = json.loads(result.stdout)
    assert [check["name"] for check in found] == [item.name for item in CHECKS]
    assert {tuple(check) for check in found} == {("name", "status", "message", "todo")}
    status = {check["name"]: check["status"] for check in found}
    assert "failed" not in status.values(), found
    assert status["relay"] == status["dmarc"] == "ok"
    assert status["lmtp"] == "warning"
    assert result.exit_code == 0


@pytest.mark.usefixtures("well")
def test_a_failed_check_fails_the_command(app: typer.Typer, bench: Bench) -> None:
    bench.dns.records |= {("library.example.jp", "TXT"): []}
    assert doctor(app, bench).exit_code == 1
    assert doctor(app, bench, "--only", "dmarc").exit_code == 0
    assert doctor(app, bench, "--only", "spf_from").exit_code == 1


@pytest.mark.usefixtures("well")
def test_people_read_japanese_unless_they_ask_otherwise(app: typer.Typer, bench: Bench) -> None:
    assert (
        "[正常] 文面: すべてのお知らせの文面を作成できました。"
        in doctor(app, bench, "--only", "templates").stdout
    )
    english = doctor(app, bench, "--only", "templates", "--language", "en").stdout
    assert english == "[ok] templates: Every notice can be rendered.\n"


def test_a_configuration_that_cannot_be_used_is_a_failed_check(app: typer.Typer, bench: Bench) -> None:
    write(bench, relay={"port": "x"}, sending={"mode": "perhaps"})
    result = doctor(app, bench, "--json", "--language", "en")
    assert result.exit_code == 1
    first, *rest = json.loads(result.stdout)
    assert first["status"] == "failed"
    assert "relay.port" in first["message"]
    assert "sending.mode" in first["message"]
    assert {check["status"] for check in rest} == {"not_checked"}


def test_a_missing_secret_is_named_and_the_rest_goes_on(app: typer.Typer, bench: Bench) -> None:
    write(bench, relay={"username": "u", "password_file": "absent", "tls": "starttls"})
    status = {check["name"]: check for check in json.loads(doctor(app, bench, "--json").stdout)}
    assert status["configuration"]["status"] == "failed"
    assert "relay.password_file" in status["configuration"]["message"]
    assert status["relay"]["status"] == "not_checked"
    assert status["dmarc"]["status"] == "ok"


@pytest.mark.parametrize(
    "arguments",
    [("--resolver", "nowhere"), ("--outgoing", "mx.example"), ("--language", "fr"), ("--only", "nonsense")],
)
def test_options_that_cannot_be_used(app: typer.Typer, bench: Bench, arguments: tuple[str, str]) -> None:
    write(bench)
    assert run(app, "doctor", *arguments).exit_code == 2


def test_purge_backup_forget_and_export_from_the_command_line(app: typer.Typer, bench: Bench) -> None:
    write(bench)

    async def fill() -> None:
        async with bench.ledger() as ledger, ledger.write() as connection:
            row: dict[str, Any] = {
                "patron_id": "P1",
                "name": "図書 花子",
                "contact": "email",
                "phones": [],
                "feed_emails": [],
            }
            row.update(provisional=False, overdue=False, event_at=NOW)
            await connection.execute(patrons.insert().values(row))

    asyncio.run(fill())
    assert set(json.loads(run(app, "purge", "--dry-run", "--json").stdout).values()) == {0}
    assert run(app, "purge").exit_code == 0
    assert json.loads(run(app, "export", "patron:P1", "--json").stdout)["patron"]["name"] == "図書 花子"
    target = bench.folder / "copy.db"
    assert run(app, "backup", str(target)).exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert run(app, "backup", str(target)).exit_code == 1
    assert run(app, "forget", "P1", input="n\n").exit_code == 1
    assert json.loads(run(app, "forget", "P1", "--yes", "--json").stdout)["patrons"] == 1
    assert run(app, "export", "P1").exit_code == 1
    assert run(app, "forget", "P1", "--yes").exit_code == 1


def test_postgresql_is_backed_up_by_its_own_tool(app: typer.Typer, bench: Bench) -> None:
    write(bench, database={"url": "postgresql://todoku:secret@db.example/todoku"})
    result = run(app, "backup", str(bench.folder / "copy"))
    assert result.exit_code == 2
    assert "pg_dump" in result.stderr
    assert "postgresql://todoku@db.example/todoku" in result.stderr
    assert "secret" not in result.output


def test_files_belong_to_their_owner(bench: Bench) -> None:
    """The database that the first start makes."""

    async def make() -> None:
        async with bench.ledger() as ledger, ledger.write() as connection:
            await put_flag(connection, "x", {}, NOW)
            files = list(bench.folder.glob("todoku.db*"))
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}

    umask = os.umask(0o022)
    try:
        asyncio.run(make())
    finally:
        os.umask(umask)


def test_a_probe_is_sent_only_if_asked_for_and_json_stays_json(
    app: typer.Typer, bench: Bench, relay: PostfixRelay
) -> None:
    sender = {"address": "yoyaku@library.example.jp", "return_path_domain": "lmtp.library.example"}
    write(
        bench,
        relay={"host": "127.0.0.1", "port": relay.port, "tls": "none"},
        sender=sender,
        intake={"lmtp": {"listen": f"127.0.0.1:{relay.our_lmtp_port}"}},
    )
    only = ("--json", "--language", "en", "--only", "return_path_probe")
    [found] = json.loads(doctor(app, bench, *only).stdout)
    assert (found["status"], found["message"]) == ("not_checked", "Not tried.")
    [found] = json.loads(doctor(app, bench, "--probe", "--probe-wait", "30", *only).stdout)
    assert found["status"] == "ok", found


def test_a_probe_without_a_relay_is_not_the_return_paths_fault(app: typer.Typer, bench: Bench) -> None:
    write(bench)
    result = doctor(app, bench, "--probe", "--json", "--only", "return_path_probe")
    assert json.loads(result.stdout)[0]["status"] == "not_checked"
    assert result.exit_code == 0
