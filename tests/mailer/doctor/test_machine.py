"""What the doctor says of this machine: files, templates, database, clock, sending, feeds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holds_core.breaker import Limit, Window
from holds_core.ledger import breaker
from holds_core.ledger.models import events
from holds_core.ledger.session import Ledger
from holds_core.ledger.sql import put_flag
from mailer.app.doctor import here
from mailer.sender import PAUSED
from tests.mailer.doctor.conftest import NOW, Bench
from tests.servers.ports import HOST, free_port


async def test_a_sound_configuration(bench: Bench) -> None:
    assert (await bench.check("configuration")).status == "ok"


async def test_doubts_of_the_configuration_are_warnings(bench: Bench) -> None:
    found = await bench.check("configuration", confirm={"base_url": None})
    assert found.status == "warning"
    assert "confirm.base_url" in found.message.en


@pytest.mark.parametrize(
    ("file", "mode", "status"),
    [
        ("token.keys", 0o600, "ok"),
        ("token.keys", 0o640, "ok"),  # a group of the service's own is a way that systems have
        ("token.keys", 0o644, "warning"),
        ("todoku.db", 0o600, "ok"),
        ("todoku.db", 0o640, "warning"),
        ("todoku.db-wal", 0o604, "warning"),
    ],
)
async def test_files_that_others_can_read(bench: Bench, file: str, mode: int, status: str) -> None:
    path = bench.folder / file
    path.touch()
    path.chmod(mode)
    database = {"url": "sqlite:///elsewhere.db"} if file == "token.keys" else {}
    site_file = bench.folder / "elsewhere.db"
    found = await bench.check("files", database=database)
    assert not site_file.exists()
    assert found.status == status
    assert (file in found.todo.en) == (status == "warning")


async def test_templates_render(bench: Bench) -> None:
    assert (await bench.check("templates")).status == "ok"


@pytest.mark.parametrize(
    ("name", "text", "status"),
    [
        ("hold_ready/ja/body.txt", "{{ nonsense }}", "failed"),
        ("hold_ready/ja/body.txt", "本が届きました", "warning"),  # neither deadline nor branch
        ("hold_redy/ja/body.txt", "x", "warning"),
    ],
)
async def test_templates_of_the_librarys_own(bench: Bench, name: str, text: str, status: str) -> None:
    path = bench.folder / "own" / "mail" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found = await bench.check("templates", library={"templates_folder": "own"})
    assert found.status == status
    assert name in found.message.en


async def test_a_missing_templates_folder(bench: Bench) -> None:
    assert (await bench.check("templates", library={"templates_folder": "absent"})).status == "failed"


async def test_no_database_yet_is_no_fault_and_none_is_made(bench: Bench) -> None:
    found = await bench.check("database")
    assert found.status == "warning"
    assert not (bench.folder / "todoku.db").exists()


async def test_a_database_that_takes_writes(bench: Bench) -> None:
    async with bench.ledger():
        assert (await bench.check("database")).status == "ok"


async def test_a_database_without_tables(bench: Bench) -> None:
    (bench.folder / "todoku.db").touch()
    found = await bench.check("database")
    assert found.status == "failed"
    assert "db upgrade" in found.todo.en


async def test_a_database_that_is_none(bench: Bench) -> None:
    (bench.folder / "todoku.db").write_text("this is a letter, not a database" * 100)
    assert (await bench.check("database")).status == "failed"
    assert (await bench.check("clock")).status == "not_checked"


async def test_a_database_that_is_down(bench: Bench) -> None:
    url = f"postgresql://todoku:secret@{HOST}:{free_port()}/todoku"
    found = await bench.check("database", database={"url": url})
    assert found.status == "failed"
    assert "secret" not in str(found)


async def test_postgresql(bench: Bench, postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)
    try:
        await ledger.upgrade()
    finally:
        await ledger.close()
    database = {"url": postgres_url.replace("+asyncpg", "")}
    assert (await bench.check("database", database=database)).status == "ok"
    assert (await bench.check("disk", database=database)).status == "ok"


@pytest.mark.parametrize(
    ("moved", "status"),
    [(timedelta(0), "ok"), (timedelta(seconds=-90), "ok"), (timedelta(hours=-1), "failed")],
)
async def test_a_clock_behind_what_was_written_down(bench: Bench, moved: timedelta, status: str) -> None:
    async with bench.ledger() as ledger, ledger.write() as connection:
        await put_flag(connection, "began", {}, NOW)
    bench.now = NOW + moved
    assert (await bench.check("clock")).status == status


async def test_a_clock_of_another_age(bench: Bench) -> None:
    bench.now = datetime(1970, 1, 1, tzinfo=UTC)
    assert (await bench.check("clock")).status == "failed"


@pytest.mark.parametrize(
    ("sending", "status"),
    [
        ({"mode": "on"}, "ok"),
        ({"mode": "off"}, "warning"),
        ({"mode": "redirect", "redirect_to": "it@library.example.jp"}, "warning"),
        ({"mode": "allowlist", "allowlist": ["it@library.example.jp"]}, "warning"),
    ],
)
async def test_mail_that_does_not_leave_is_a_warning(
    bench: Bench, sending: dict[str, Any], status: str
) -> None:
    async with bench.ledger():
        assert (await bench.check("sending", sending=sending)).status == status


async def test_the_stop_button_is_a_warning(bench: Bench) -> None:
    async with bench.ledger() as ledger:
        async with ledger.write() as connection:
            await put_flag(connection, PAUSED, {"by": "sato", "why": ""}, NOW)
        found = await bench.check("sending")
        assert found.status == "warning"
        assert "resume" in found.todo.en


async def test_an_open_breaker_is_a_failure(bench: Bench) -> None:
    window = Window(Limit())
    for _ in range(5):
        window.note(NOW, ours=True)
    async with bench.ledger() as ledger:
        assert (await bench.check("sending")).status == "ok"
        async with ledger.write() as connection:
            await breaker.open_(connection, Limit(), NOW, window, "authfailure", "550 5.7.1")
        found = await bench.check("sending")
        assert found.status == "failed"
        assert "550 5.7.1" in found.message.ja
        assert "todoku resume" in found.todo.ja


@pytest.mark.parametrize(("mode", "status"), [(0o600, "ok"), (0o644, "warning")])
async def test_keys_and_passwords_of_all_kinds_are_closed_to_others(
    bench: Bench, mode: int, status: str
) -> None:
    for name in ("dkim.pem", "alerts.password"):
        file = bench.folder / name
        file.write_text("secret")
        file.chmod(mode)
    sender = {"address": "yoyaku@library.example.jp", "return_path_domain": "bounce.library.example.jp"}
    found = await bench.check(
        "files",
        sender=sender | {"dkim": {"keys": [{"selector": "s1", "key_file": "dkim.pem"}]}},
        alerts={"relay": {"host": HOST, "username": "x", "password_file": "alerts.password"}},
    )
    assert found.status == status
    assert ("dkim.pem" in found.message.en) == ("alerts.password" in found.message.en) == (mode == 0o644)


async def test_feeds_that_fell_silent(bench: Bench) -> None:
    async with bench.ledger() as ledger:
        assert (await bench.check("feeds")).status == "warning"
        row = {"event_id": "e1", "type": "patron", "at": NOW, "received_at": NOW, "feed": "test"}
        async with ledger.write() as connection:
            await connection.execute(events.insert().values(row | {"payload": {}, "outcome": "applied"}))
        assert (await bench.check("feeds")).status == "ok"
        bench.now = NOW + timedelta(days=4)
        assert (await bench.check("feeds")).status == "warning"


async def test_a_feed_that_is_late_by_its_own_measure_is_named(bench: Bench) -> None:
    feeds = {
        "snapshots": [{"name": "nightly", "folder": "in", "late_after": "36h", "holds": {"files": "h*.csv"}}]
    }
    (bench.folder / "in").mkdir()
    row = {"event_id": "e1", "type": "patron", "at": NOW, "received_at": NOW, "feed": "test"}
    async with bench.ledger() as ledger:
        for hours, status in ((35, "ok"), (37, "warning")):
            at = (NOW - timedelta(hours=hours)).isoformat()
            async with ledger.write() as connection:
                await put_flag(connection, "feed:nightly", {"as_of": at, "run_at": at}, NOW)
                if status == "ok":
                    await connection.execute(
                        events.insert().values(row | {"payload": {}, "outcome": "applied"})
                    )
            found = await bench.check("feeds", feeds=feeds)
            assert found.status == status
            assert ("nightly" in found.message.ja) == (status == "warning")


@pytest.mark.parametrize(("synchronised", "status"), [(True, "ok"), (None, "ok"), (False, "warning")])
async def test_a_clock_that_nothing_keeps_right(bench: Bench, synchronised: bool | None, status: str) -> None:
    bench.synchronised = synchronised
    found = await bench.check("clock")
    assert found.status == status
    assert ("NTP" in found.todo.ja) == (status == "warning")


def test_the_kernel_can_be_asked_whether_its_clock_is_kept_right() -> None:
    assert isinstance(here.synchronised(), bool)
