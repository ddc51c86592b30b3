"""What the doctor says of the relay and the ways that mail comes back, against the real servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bounces.intake import Inbound
from bounces.lmtp import LmtpListener
from tests.mailer.doctor.conftest import NOW, Bench, submission
from tests.servers.dovecot import Dovecot
from tests.servers.oauth import token_endpoint
from tests.servers.ports import HOST, free_port
from tests.servers.postfix import Far
from tests.servers.postfix import Relay as PostfixRelay


async def test_a_relay_with_tls_login_and_reports(bench: Bench, relay: PostfixRelay) -> None:
    found = await bench.check("relay", relay=submission(relay, bench.folder))
    assert found.status == "ok"
    assert "DSN" in found.message.en


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"ca_file": None}, "relay.ca_file"),
        ({"password": "wrong"}, "relay.password_file"),
        ({"tls": "implicit"}, "relay.tls"),
    ],
)
async def test_a_relay_that_we_cannot_use(
    bench: Bench, relay: PostfixRelay, changes: dict[str, Any], about: str
) -> None:
    found = await bench.check("relay", relay=submission(relay, bench.folder, **changes))
    assert found.status == "failed"
    assert about in found.todo.ja


async def test_a_relay_that_is_down(bench: Bench) -> None:
    found = await bench.check("relay", relay={"port": free_port()})
    assert found.status == "failed"
    assert "relay.port" in found.todo.en


async def test_a_relay_without_delivery_reports(bench: Bench, far: Far) -> None:
    port = far.nodsn_port
    assert (await bench.check("relay", relay={"port": port})).status == "warning"
    assert (await bench.check("relay", relay={"port": port}, sending={"dsn": False})).status == "ok"


async def test_lmtp_that_listens(bench: Bench) -> None:
    async def store(_mail: Inbound) -> None:
        raise AssertionError("the doctor sends no mail")

    listener = LmtpListener(HOST, 0, store, lambda: NOW)
    await listener.start()
    try:
        lmtp = {"lmtp": {"listen": f"{HOST}:{listener.port}"}}
        assert (await bench.check("lmtp", intake=lmtp)).status == "ok"
    finally:
        await listener.stop()


async def test_lmtp_before_the_daemon_is_started(bench: Bench) -> None:
    found = await bench.check("lmtp", intake={"lmtp": {"listen": f"{HOST}:{free_port()}"}})
    assert found.status == "warning"


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n", b"220 hello\r\n502 what?\r\n", b""])
async def test_another_program_where_lmtp_should_be(bench: Bench, said: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await bench.check("lmtp", intake={"lmtp": {"listen": f"{HOST}:{port}"}})).status == "failed"


async def test_no_way_for_bounces_to_come_in(bench: Bench) -> None:
    assert (await bench.check("lmtp", intake={"lmtp": None})).status == "failed"


def mailbox(dovecot: Dovecot, place: Path, **changes: Any) -> dict[str, Any]:
    password = place / "imap"
    password.write_text(changes.pop("password", "bouncepw"))
    password.chmod(0o600)
    found = {"host": HOST, "port": dovecot.imaps_port, "tls": "implicit", "ca_file": str(dovecot.cert)}
    found |= {"username": "bounces", "password_file": str(password)}
    return {"lmtp": None, "imap": found | changes}


async def test_a_mailbox_that_opens(bench: Bench, dovecot: Dovecot) -> None:
    intake = mailbox(dovecot, bench.folder, done_folder="not-there")
    found = await bench.check("imap", intake=intake)
    assert found.status == "ok"
    assert "not-there" in found.message.en
    # it was only looked at
    assert "not-there" in (await bench.check("imap", intake=intake)).message.en
    assert (await bench.check("lmtp", intake=intake)).status == "not_checked"


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"password": "wrong"}, "password_file"),
        ({"folder": "absent"}, "folder"),
        ({"ca_file": None}, "ca_file"),
        ({"port": 9}, "port"),
    ],
)
async def test_a_mailbox_that_does_not_open(
    bench: Bench, dovecot: Dovecot, changes: dict[str, Any], about: str
) -> None:
    found = await bench.check("imap", intake=mailbox(dovecot, bench.folder, **changes))
    assert found.status == "failed"
    assert about in found.todo.en


async def test_a_mailbox_by_an_access_token(bench: Bench, dovecot: Dovecot) -> None:
    token = bench.folder / "token"
    token.write_text("ey.good\n")
    by_file = mailbox(dovecot, bench.folder, token_file=str(token))
    by_command = mailbox(dovecot, bench.folder, token_command=f"cat {token}", password="wrong")
    with token_endpoint(dovecot.oauth_port, "bounces") as tokens:
        tokens.good.add("ey.good")
        for intake in (by_file, by_command):
            assert (await bench.check("imap", intake=intake)).status == "ok"
        tokens.good.clear()
        found = await bench.check("imap", intake=by_file)
    assert tokens.asked == ["ey.good"] * len(tokens.asked)
    assert found.status == "failed"
    assert "token_file" in found.todo.en
    assert "ey.good" not in str(found)


@pytest.mark.parametrize(
    "way", [{"token_file": "absent"}, {"token_command": "false"}, {"token_command": "/no/such"}]
)
async def test_no_token_to_be_had(bench: Bench, dovecot: Dovecot, way: dict[str, str]) -> None:
    found = await bench.check("imap", intake=mailbox(dovecot, bench.folder, **way))
    assert found.status == "failed"
    assert "no access token" in found.message.en
    assert "token_command" in found.todo.en
