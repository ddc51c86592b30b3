"""SIGHUP to the daemon as a process: what was changed is in force without a restart, what cannot be is said,
and what cannot be used changes nothing. Against real servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from holds_core.ledger.models import deliveries
from mailer.app.web.serve import WebServer
from tests.e2e.library import Library, library
from tests.e2e.test_daemon import TOKEN, daemon, post, write_config
from tests.servers.dns import DnsServer
from tests.servers.dovecot import Dovecot
from tests.servers.koha import FakeKoha
from tests.servers.oauth import token_endpoint
from tests.servers.ports import free_port, is_open, wait_until
from tests.servers.postfix import Relay
from tests.servers.sink import Sink


class Town:
    """A daemon and its configuration's text, which tests change."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes], ledger: Library) -> None:
        self.folder, self.port, self.process, self.ledger = folder, port, process, ledger
        self._patrons = 0

    @property
    def text(self) -> str:
        return (self.folder / "config.yaml").read_text()

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    async def shows(self, words: str) -> bool:
        """Whether the desk's first page says this."""
        async with httpx.AsyncClient() as client:
            return words in (await client.get(f"http://127.0.0.1:{self.port}/desk/login")).text

    def text_is(self, text: str) -> None:
        (self.folder / "config.yaml").write_text(text)

    async def reload(self, text: str | None = None, *, ends: str = "event=reloaded") -> str:
        """Writes the settings, says SIGHUP, and returns what the log says of it."""
        if text is not None:
            self.text_is(text)
        before = len(self.log())
        self.process.send_signal(signal.SIGHUP)

        def told() -> list[str]:
            lines = self.log()[before:]
            return lines if any(ends in line for line in lines) else []

        return "\n".join(await wait_until(told, 20, ends))

    async def mail(self, taker: Sink) -> str:
        """One more patron's prompt notice, as the sink has it."""
        self._patrons += 1
        number, before = self._patrons, taker.count()
        await post(
            self.port,
            {
                "id": f"p{number}",
                "type": "patron",
                "patron_id": f"P{number}",
                "email": f"p{number}@x.example",
            },
            {
                "id": f"h{number}",
                "type": "hold.placed",
                "hold_id": f"H{number}",
                "patron_id": f"P{number}",
                "title": "羅生門",
            },
        )
        await wait_until(lambda: taker.count() > before, 20, "the mail")
        return taker.messages()[-1].decode()


@contextlib.asynccontextmanager
async def town(folder: Path, relay_port: int, extra: str = "") -> AsyncIterator[Town]:
    port = write_config(folder, extra, RELAY_PORT=relay_port)
    async with daemon(folder, port) as process, library(folder, RELAY_PORT=relay_port) as ledger:
        yield Town(folder, port, process, ledger)


def begun(said: str) -> set[str]:
    """The tasks that began or ended, but for the lookout, which begins anew with any settings."""
    found = re.search(r'event=reloaded tasks=(?:"([^"]*)"|(\S*))', said)
    assert found is not None, said
    return set((found[1] or found[2] or "").split()) - {"lookout"}


def body_of(mail: str) -> str:
    read = message_from_string(mail, policy=policy.default)
    assert isinstance(read, EmailMessage)
    return str(read.get_content())


def dkim_key(file: Path) -> None:
    file.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    file.chmod(0o600)


async def test_what_cannot_be_used_changes_nothing(tmp_path: Path, smtp_sink: Callable[..., Sink]) -> None:
    sink = smtp_sink()
    async with town(tmp_path, sink.port) as here:
        good = here.text.replace("relay: {", "relay: {timeout: 30s, ")
        renamed = good.replace("とどく市立図書館", "べつの図書館")

        async def refused(text: str, *why: str) -> None:
            said = await here.reload(text, ends="event=reload_refused")
            assert "level=error" in said
            assert "event=reloaded" not in said
            for words in why:
                assert words in said, said

        await refused(renamed + "library: twice\n", "config.yaml")
        await refused(renamed.replace("tls: none", "tls: sometimes"), "relay.tls")
        await refused(
            renamed.replace("sender:\n", "sender:\n  dkim: {keys: [{selector: s, key_file: none.pem}]}\n"),
            "sender.dkim.keys",
        )
        (tmp_path / "bad.pem").write_text("no key at all\n")
        await refused(
            renamed.replace("sender:\n", "sender:\n  dkim: {keys: [{selector: s, key_file: bad.pem}]}\n"),
            "DKIM",
        )
        keys = (tmp_path / "token.keys").read_text()
        (tmp_path / "token.keys").write_text("short\n")
        await refused(renamed, "sender.token_keys_file")
        (tmp_path / "token.keys").write_text(keys)
        own = tmp_path / "own" / "mail" / "hold_placed" / "ja"
        own.mkdir(parents=True)
        (own / "body.txt").write_text("{{ no_such_word }}\n")
        await refused(renamed.replace("library:\n", "library:\n  templates_folder: own\n"), "body.txt")
        await refused(renamed.replace("library:\n", "library:\n  holidays_file: none.csv\n"), "none.csv")
        (tmp_path / "config.yaml").unlink()
        await refused_by_absence(here)
        mail = await here.mail(sink)
        assert "Content-Transfer-Encoding" in mail
        assert await here.shows("とどく市立図書館")
        await here.reload(renamed)
        assert await here.shows("べつの図書館")


async def refused_by_absence(here: Town) -> None:
    assert "config.yaml" in await here.reload(ends="event=reload_refused")


async def test_what_waits_for_a_restart_is_said_and_stays(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink = smtp_sink()
    async with town(tmp_path, sink.port) as here:
        before = here.text
        other = free_port()
        text = before.replace(f"127.0.0.1:{here.port}", f"127.0.0.1:{other}")
        text = text.replace("/todoku.db", "/elsewhere.db")
        text = text.replace(
            'confirm: {listen: "127.0.0.1:0"}', f'confirm: {{listen: "127.0.0.1:{free_port()}"}}'
        )
        text = text.replace(
            '{lmtp: {listen: "127.0.0.1:0"}}', '{lmtp: {listen: "127.0.0.1:0", max_size: 50000}}'
        )
        text = text.replace("name: とどく市立図書館", "name: あたらしい図書館")
        for _ in range(2):
            said = await here.reload(text, ends="event=reload_incomplete")
            assert 'changed="database.url desk.listen confirm.listen intake.lmtp"' in said
            assert "takes effect after a restart" in said
            assert "elsewhere.db" not in said, "a database's address may have a password in it"
        assert is_open(here.port)
        assert not is_open(other)
        await here.mail(sink)
        assert not (tmp_path / "elsewhere.db").exists()
        assert await here.shows("あたらしい図書館"), "the rest is in force"
        assert "reload_incomplete" not in await here.reload(before)


async def test_the_way_out_texts_signatures_and_tokens(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    first, second = smtp_sink(), smtp_sink()
    async with town(tmp_path, first.port) as here:
        before = await here.mail(first)
        assert "DKIM-Signature" not in before

        dkim_key(tmp_path / "dkim.pem")
        signed = "sender:\n  name: 予約係\n  dkim: {keys: [{selector: nov, key_file: dkim.pem}]}\n"
        text = here.text.replace("sender:\n", signed)
        await here.reload(text)
        mail = await here.mail(first)
        assert "s=nov" in mail
        old_name = next(line for line in before.splitlines() if line.startswith("From:"))
        assert old_name not in mail
        dkim_key(tmp_path / "next.pem")
        text = text.replace("selector: nov, key_file: dkim.pem", "selector: dec, key_file: next.pem")
        await here.reload(text)
        mail = await here.mail(first)
        assert "s=dec" in mail
        assert "s=nov" not in mail

        text = text.replace(f"port: {first.port}", f"port: {second.port}").replace(
            "connections: 4", "connections: 2"
        )
        assert begun(await here.reload(text)) == {"sender"}
        mail = await here.mail(second)
        assert "s=dec" in mail

        # a library's own text, and then its next version
        own = tmp_path / "own" / "mail" / "hold_placed" / "ja"
        own.mkdir(parents=True)
        text = text.replace("library:\n", "library:\n  templates_folder: own\n")
        for words in ("ichi-ban", "ni-ban"):
            (own / "body.txt").write_text(f"{words}\n")
            await here.reload(text)
            assert words in body_of(await here.mail(second))

        # a new key signs, the old one still verifies
        old = (tmp_path / "token.keys").read_text()
        (tmp_path / "token.keys").write_text("fedcba9876543210" * 4 + "\n" + old + "\n")
        said = await here.reload(text)
        assert begun(said) == set(), "nothing begins anew without need"
        await here.mail(second)
        states = await here.ledger.rows(deliveries)
        assert {row.state for row in states} == {"handed_over"}
        keys = here.ledger.services.keys  # made with the old key alone
        readable = [
            keys.read(row.token) is not None for row in sorted(states, key=lambda row: row.delivery_id)
        ]
        assert readable == [True] * (len(readable) - 1) + [False]

        (tmp_path / "api.tokens").write_text("another-token-0123456789abcdef-0123456789\n")
        await here.reload()
        url = f"http://127.0.0.1:{here.port}/api/v1/report"
        async with httpx.AsyncClient() as client:
            gone = await client.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
            new = await client.get(
                url, headers={"Authorization": "Bearer another-token-0123456789abcdef-0123456789"}
            )
        assert (gone.status_code, new.status_code) == (401, 200)

        said = await here.reload(text + "logging: {format: json}\n", ends='"event": "reloaded"')
        assert json.loads(said.splitlines()[-1])["level"] == "info"
        lines = len(here.log())
        here.text_is(text.replace("とどく市立図書館", "しずかな図書館") + "logging: {level: error}\n")
        here.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: here.shows("しずかな図書館"), 20, "the new name")
        assert here.log()[lines:] == [], "what is no error is left out"
        assert "level=error" in await here.reload("library: twice\n", ends="event=reload_refused")


KOHA = """feeds:
  koha:
    url: http://127.0.0.1:PORT
    client_id: todoku
    client_secret_file: koha.secret
    interval: 1h
"""


async def test_ways_in_begin_and_end(
    tmp_path: Path, smtp_sink: Callable[..., Sink], dovecot: Dovecot
) -> None:
    sink = smtp_sink()
    koha = FakeKoha()
    koha.patron(1, datetime(2026, 11, 1, tzinfo=UTC), email="koha@x.example")
    server, stop = WebServer(koha.app(), "127.0.0.1", 0, name="koha"), asyncio.Event()
    server.bind()
    serving = asyncio.create_task(server.run(stop))
    async with town(tmp_path, sink.port) as here:
        plain = here.text

        # a mailbox, at first with a wrong password
        (tmp_path / "imap.password").write_text("wrong\n")
        imap = f"{{host: 127.0.0.1, port: {dovecot.imap_port}, tls: none, username: bounces, "
        imap += "password_file: imap.password, poll: 1s}"
        with_imap = plain.replace("intake: {", f"intake: {{imap: {imap}, ")
        assert begun(await here.reload(with_imap)) == {"mailbox"}
        await wait_until(lambda: any("mailbox_left" in line for line in here.log()), 20, "the refusal")
        (tmp_path / "imap.password").write_text("bouncepw\n")
        assert begun(await here.reload()) == {"mailbox"}
        await wait_until(lambda: any("mailbox_opened" in line for line in here.log()), 20, "the login")

        # an access token in the password's place, printed by a command at each login
        (tmp_path / "bounce.token").write_text("ey.stale\n")
        by_token = f"token_command: cat {tmp_path}/bounce.token"
        with_imap = with_imap.replace("password_file: imap.password", by_token)
        with token_endpoint(dovecot.oauth_port, "bounces") as tokens:
            tokens.good.add("ey.fresh")
            assert begun(await here.reload(with_imap)) == {"mailbox"}
            await wait_until(lambda: tokens.asked, 20, "the first token")
            (tmp_path / "bounce.token").write_text("ey.fresh\n")
            before = sum("mailbox_opened" in line for line in here.log())
            # a stale token is tried again after minutes: a reload need not wait, once there is a change
            with_imap = with_imap.replace("poll: 1s", "poll: 2s")
            assert begun(await here.reload(with_imap)) == {"mailbox"}
            await wait_until(
                lambda: sum("mailbox_opened" in line for line in here.log()) > before,
                20,
                "the login by token",
            )
            assert tokens.asked[-1] == "ey.fresh"
        assert not any("ey." in line for line in here.log())

        # a folder for nightly files
        (tmp_path / "drop").mkdir()
        lists = "feeds: {snapshots: [{name: nightly, folder: drop, patrons: {files: patrons.csv}}]}\n"
        assert begun(await here.reload(with_imap + lists)) == {"drop_folder"}
        (tmp_path / "drop" / "patrons.csv").write_text("patron_id,email\nL1,list@x.example\n")
        (tmp_path / "drop" / "patrons.csv.done").touch()
        await wait_until(lambda: (tmp_path / "drop" / "done" / "patrons.csv").exists(), 30, "the list")

        # a live feed, at first with a wrong secret; the folder and the mailbox end
        (tmp_path / "koha.secret").write_text("wrong\n")
        said = await here.reload(plain + KOHA.replace("PORT", str(server.port)))
        assert begun(said) == {"feed_koha", "drop_folder", "mailbox"}
        await wait_until(lambda: any("event=feed_down" in line for line in here.log()), 20, "the refusal")
        (tmp_path / "koha.secret").write_text("s3cret\n")
        await here.reload()
        await wait_until(
            lambda: any("feed=koha" in line and "event=imported" in line for line in here.log()), 30, "it"
        )
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            known = await client.get(f"http://127.0.0.1:{here.port}/api/v1/explain/patron:1")
            assert known.status_code == 200
            metrics = (await client.get(f"http://127.0.0.1:{here.port}/metrics")).text
        assert 'task="feed_koha"' in metrics
        assert 'task="mailbox"' not in metrics
        assert begun(await here.reload(plain)) == {"feed_koha"}
    stop.set()
    await serving


async def test_dns_canaries_and_alerts(
    tmp_path: Path, relay: Relay, dovecot: Dovecot, smtp_sink: Callable[..., Sink]
) -> None:
    other = smtp_sink()
    nowhere = DnsServer({("good.example", "MX"): ["0 ."]})
    with nowhere.run():
        async with town(tmp_path, relay.port) as here:
            plain = here.text
            await here.ledger.ready_hold(1, "reader@good.example")
            checks = f'address_checks: {{mx: "on", nameserver: "{nowhere.address}"}}\n'
            assert begun(await here.reload(plain + checks)) == {"address_checks"}
            await wait_until(lambda: ("good.example", "MX", "udp") in nowhere.asked, 20, "the question")

            (tmp_path / "canary.password").write_text("patronpw\n")
            box = "canaries: {poll: 1s, mailboxes: [{address: patron@good.example, host: 127.0.0.1, port: "
            box += f"{dovecot.imap_port}, tls: none, username: patron, password_file: canary.password}}]}}\n"
            await here.ledger.batch()
            assert begun(await here.reload(plain + box)) == {"canaries", "address_checks"}
            await dovecot.arrived("patron", timeout=40)

            # the alerts' own relay: the main one goes away in the same breath
            gone = plain.replace(f"port: {relay.port}", f"port: {free_port()}")
            told = "alerts: {to: [it@city.example], relay_down: 1m, relay: {host: 127.0.0.1, port: PORT, tls: none}}\n"
            await here.reload(gone + told.replace("PORT", str(other.port)))
            assert here.process.poll() is None
