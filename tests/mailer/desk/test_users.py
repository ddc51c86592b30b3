"""`todoku user`: accounts made, listed and stopped from the command line."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from holds_core.errors import BadInput
from holds_core.ledger import accounts
from mailer.app.commands import common, users
from tests.mailer.desk.library import CONFIG


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, "utf-8")
    (tmp_path / "token.keys").write_text("k" * 64)
    monkeypatch.setattr(common.options, "config", path)
    return path


def run(*arguments: str, password: str = "") -> Result:
    return CliRunner().invoke(users.app, list(arguments), input=f"{password}\n" if password else None)


def listed() -> dict[str, dict[str, object]]:
    return {item["login"]: item for item in json.loads(run("list", "--json").stdout)}


@pytest.mark.usefixtures("config")
def test_accounts_are_made_listed_stopped_and_started_again() -> None:
    made = run(
        "add", "kato", "--name", "加藤 由美", "--branch", "02", "--password-stdin", password="a-good-password"
    )
    assert made.exit_code == 0, made.output
    assert (
        run("add", "boss", "--role", "admin", "--password-stdin", password="another-password").exit_code == 0
    )
    assert listed()["kato"] == {
        "login": "kato",
        "name": "加藤 由美",
        "role": "staff",
        "branches": ["02"],
        "disabled_at": None,
    }
    assert run("disable", "kato").exit_code == 0
    assert listed()["kato"]["disabled_at"]
    assert "停止" in run("list").stdout
    assert run("password", "kato", "--password-stdin", password="a-new-password").exit_code == 0
    assert listed()["kato"]["disabled_at"] is None


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("arguments", "password"),
    [
        (("add", "kato", "--password-stdin"), "short"),
        (("add", "Kato San", "--password-stdin"), "a-good-password"),
        (("add", "kato", "--branch", "99", "--password-stdin"), "a-good-password"),
        (("disable", "nobody"), ""),
        (("password", "nobody", "--password-stdin"), "a-good-password"),
    ],
)
def test_what_cannot_be_done_fails_and_changes_nothing(arguments: tuple[str, ...], password: str) -> None:
    assert run(*arguments, password=password).exit_code == 1
    assert listed() == {}


@pytest.mark.usefixtures("config")
def test_a_login_is_given_once() -> None:
    assert run("add", "kato", "--password-stdin", password="a-good-password").exit_code == 0
    assert run("add", "kato", "--password-stdin", password="a-good-password").exit_code == 1


def test_a_password_is_asked_for_twice(config: Path) -> None:
    told = CliRunner().invoke(users.app, ["add", "kato"], input="a-good-password\na-good-passwort\n")
    assert told.exit_code != 0
    assert listed() == {}


def test_hashes_are_dear_and_verify() -> None:
    stored = accounts.hash_password("a-good-password")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert accounts.verify(stored, "a-good-password")
    assert not accounts.verify(stored, "a-good-passwort")
    assert not accounts.verify(None, "a-good-password")
    assert not accounts.verify("not a hash", "a-good-password")
    with pytest.raises(BadInput):
        accounts.hash_password("x" * 201)
