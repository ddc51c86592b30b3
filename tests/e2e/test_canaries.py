"""Canaries with real servers: through Postfix to Dovecot's inbox, its junk folder, or nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bounces.canary import CanaryBox, Place, look
from bounces.imap import Broken, LoginRefused, Secret
from bounces.lmtp import LmtpListener
from holds_core.config import parse
from holds_core.ledger import canaries
from holds_core.ledger.canaries import Fate
from holds_core.ledger.models import addresses, deliveries, evidence, notices
from holds_core.ledger.queries import undelivered
from holds_core.settings.secrets import read_secrets
from mailer.app.canaries import Canaries
from mailer.app.services import Services
from mailer.clock import SystemClock
from tests.e2e.library import Library, config, library, lmtp
from tests.e2e.test_daemon import daemon, post, todoku, write_config
from tests.servers.dns import DnsServer
from tests.servers.dovecot import Dovecot
from tests.servers.oauth import Tokens, token_endpoint
from tests.servers.ports import wait_until
from tests.servers.postfix import Relay

BOXES = """
canaries:
  poll: 1s
  missing_after: MISSING
  mailboxes:
    - {address: patron@good.example, host: 127.0.0.1, port: PORT, tls: none, username: patron, SECRET}
    - {address: patron@junk.example, host: 127.0.0.1, port: PORT, tls: none, username: patron, SECRET}
    - {address: patron@discard.example, host: 127.0.0.1, port: PORT, tls: none, username: patron, SECRET}
"""


@contextlib.asynccontextmanager
async def town(
    folder: Path, relay: Relay, port: int, secret: str = "password_file: imap-password", missing: str = "2s"
) -> AsyncIterator[Library]:
    (folder / "imap-password").write_text("patronpw\n")
    text = config(folder, RELAY_PORT=relay.port)
    text += BOXES.replace("PORT", str(port)).replace("SECRET", secret).replace("MISSING", missing)
    settings = parse(text, base=folder, env={})
    services = Services.build(
        settings, read_secrets(settings, {}), clock=SystemClock(), jitter=lambda: 0.5, owner="test"
    )
    await services.ledger.upgrade()
    try:
        yield Library(services)
    finally:
        await services.close()


async def fates(library: Library) -> dict[str, Fate]:
    async with library.services.ledger.read() as connection:
        return {line.domain: line.fate for line in await canaries.recent(connection)}


async def settled(library: Library, task: Canaries) -> dict[str, Fate]:
    """Looks until nothing is looked for any more."""

    async def done() -> dict[str, Fate]:
        await task.look()
        found = await fates(library)
        return {} if Fate.SENT in found.values() else found

    return await wait_until(done, 40, "all canaries settled")


async def test_inbox_junk_and_missing(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    async with town(tmp_path, relay, dovecot.imap_port) as library:
        task = Canaries(library.services)
        assert await task.send() == 0, "no batch ran yet"
        await library.batch()
        assert await task.send() == 3
        assert await task.send() == 0, "one for each batch and mailbox"
        await dovecot.arrived("patron")
        await dovecot.arrived("patron", folder="Junk")
        assert await settled(library, task) == {
            "good.example": Fate.INBOX,
            "junk.example": Fate.JUNK,
            "discard.example": Fate.MISSING,
        }
        # evidence for the provider watch, and nothing of a patron's
        signs = {row.address_key: (row.kind, row.patron_id) for row in await library.rows(evidence)}
        assert signs == {
            "patron@good.example": ("canary_inbox", None),
            "patron@junk.example": ("canary_junk", None),
            "patron@discard.example": ("canary_missing", None),
        }
        for table in (notices, deliveries, addresses):
            assert await library.rows(table) == []
        now = library.services.clock.now()
        async with library.services.ledger.read() as connection:
            assert await undelivered(connection, now) == []
            found = await canaries.observations(connection, now.replace(year=2020))
            assert {item.domain: item.arrived for item in found} == {
                "good.example": True,
                "junk.example": False,
                "discard.example": False,
            }
            shown = await canaries.canaries(connection)
        assert [line.label[0] for line in shown] == ["届かず", "受信箱に到着", "迷惑メールに分類"]


async def test_a_canary_looks_like_any_hold_notice(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    async with town(tmp_path, relay, dovecot.imap_port) as library:
        await library.batch()
        await Canaries(library.services).send()
        [raw] = await dovecot.arrived("patron")
        await library.ready_hold(1, "reader@good.example")
        await library.batch("second")
        await library.send()
        [real] = await dovecot.arrived("reader")

    def shape(mail: bytes) -> list[str]:
        head = mail.partition(b"\r\nDate:")[2].partition(b"\r\n\r\n")[0].decode()
        return sorted(line.partition(":")[0] for line in head.split("\r\n") if not line.startswith(" "))

    assert shape(raw) == shape(real)


async def test_mail_that_may_still_come_is_waited_for(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    async with town(tmp_path, relay, dovecot.imap_port, missing="1h") as library:
        task = Canaries(library.services)
        await library.batch()
        await task.send()
        await dovecot.arrived("patron")
        await dovecot.arrived("patron", folder="Junk")
        await task.look()
        assert (await fates(library))["discard.example"] is Fate.SENT


async def test_a_bounce_is_no_silent_loss_and_waits_for_nobody(
    tmp_path: Path, relay: Relay, dovecot: Dovecot
) -> None:
    """The far side takes the mail and returns it later; the canary's token ties the report to it."""
    async with (
        town(tmp_path, relay, dovecot.imap_port, missing="1h") as library,
        _listening(library, relay),
    ):
        services = library.services
        box = services.settings.canaries.mailboxes[0].model_copy(update={"address": "patron@late.example"})
        ours = services.settings.canaries.model_copy(update={"mailboxes": (box,)})
        services.settings = services.settings.model_copy(update={"canaries": ours})
        task = Canaries(services)
        await library.batch()
        assert await task.send() == 1

        async def bounced() -> bool:
            await services.ingest.read_all()
            return (await fates(library)) == {"late.example": Fate.BOUNCED}

        await wait_until(bounced, 40, "the bounce")
        assert await library.quarantined() == []
        assert await library.rows(evidence) == []


@contextlib.asynccontextmanager
async def _listening(library: Library, relay: Relay) -> AsyncIterator[LmtpListener]:
    async with lmtp(library.services, relay.our_lmtp_port) as listener:
        yield listener


@pytest.mark.parametrize("stopped", ["mode", "paused"])
async def test_nothing_leaves_while_mail_is_stopped(
    tmp_path: Path, relay: Relay, dovecot: Dovecot, stopped: str
) -> None:
    from holds_core.ledger.sql import put_flag
    from mailer.sender import PAUSED

    async with town(tmp_path, relay, dovecot.imap_port) as library:
        services = library.services
        if stopped == "paused":
            async with services.ledger.write() as connection:
                await put_flag(connection, PAUSED, {"by": "x", "why": ""}, services.clock.now())
        else:
            from holds_core.settings import Mode

            sending = services.settings.sending.model_copy(update={"mode": Mode.OFF})
            object.__setattr__(
                services, "settings", services.settings.model_copy(update={"sending": sending})
            )
        await library.batch()
        assert await Canaries(services).send() == 0
        assert await fates(library) == {}


async def test_a_relay_that_is_down_says_nothing_of_the_provider(
    tmp_path: Path, relay: Relay, dovecot: Dovecot
) -> None:
    async with town(tmp_path, relay, dovecot.imap_port) as library:
        relay.stop()
        try:
            await library.batch()
            assert await Canaries(library.services).send() == 0
        finally:
            relay.start()
        assert set((await fates(library)).values()) == {Fate.UNSENT}
        assert await library.rows(evidence) == []


async def test_a_mailbox_that_cannot_be_opened_settles_nothing(
    tmp_path: Path, relay: Relay, dovecot: Dovecot
) -> None:
    async with town(tmp_path, relay, dovecot.imap_port) as library:
        (tmp_path / "imap-password").write_text("wrong")
        task = Canaries(library.services)
        await library.batch()
        await task.send()
        await dovecot.arrived("patron")
        assert await task.look() == 0
        # the password is read anew at each login
        (tmp_path / "imap-password").write_text("patronpw")
        assert (await settled(library, task))["good.example"] is Fate.INBOX


# -- XOAUTH2 ---------------------------------------------------------------------------------------


@pytest.fixture
def tokens(dovecot: Dovecot) -> Iterator[Tokens]:
    with token_endpoint(dovecot.oauth_port, "patron") as book:
        yield book


def box(dovecot: Dovecot, token: str) -> CanaryBox:
    async def secret() -> Secret:
        return Secret(token, is_token=True)

    return CanaryBox("127.0.0.1", dovecot.imap_port, "none", "patron", secret, answer=10)


async def test_an_access_token_opens_the_mailbox(dovecot: Dovecot, tokens: Tokens) -> None:
    tokens.good.add("ya29.good-token")
    assert await look(box(dovecot, "ya29.good-token"), ["<nothing@here>"]) == {}
    assert tokens.asked == ["ya29.good-token"]


async def test_a_refused_token_is_a_refusal_and_no_silence(dovecot: Dovecot, tokens: Tokens) -> None:
    """aioimaplib by itself waits for ever: the refusal comes as a challenge."""
    with pytest.raises(LoginRefused, match="login: NO"):
        await look(box(dovecot, "expired"), ["<nothing@here>"])


@pytest.mark.parametrize("way", ["token_file: token", "token_command: cat token-of-the-command"])
async def test_a_token_is_fetched_anew_at_each_login(
    tmp_path: Path, relay: Relay, dovecot: Dovecot, tokens: Tokens, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / way.rpartition(" ")[2]
    file.write_text("first\n")
    tokens.good.add("second")
    async with town(tmp_path, relay, dovecot.imap_port, way) as library:
        task = Canaries(library.services)
        await library.batch()
        await task.send()
        await dovecot.arrived("patron")
        await dovecot.arrived("patron", folder="Junk")
        assert await task.look() == 0
        file.write_text("second\n")
        assert (await settled(library, task))["junk.example"] is Fate.JUNK
    assert {"first", "second"} <= set(tokens.asked)


async def test_tls_and_a_folder_of_the_librarys_choice(dovecot: Dovecot) -> None:
    async def secret() -> Secret:
        return Secret("patronpw")

    ways = CanaryBox(
        "127.0.0.1", dovecot.imaps_port, "implicit", "patron", secret, junk="Junk", ca_file=dovecot.cert
    )
    assert await look(ways, ["<nothing@here>"]) == {}
    nowhere = CanaryBox(
        "127.0.0.1", dovecot.imaps_port, "implicit", "patron", secret, inbox="Nowhere", ca_file=dovecot.cert
    )
    with pytest.raises(Broken, match="folder Nowhere"):
        await look(nowhere, ["<nothing@here>"])
    assert Place.INBOX == "inbox"


# -- in the daemon ---------------------------------------------------------------------------------


async def test_the_daemon_sends_and_looks_and_asks_dns(
    tmp_path: Path, relay: Relay, dovecot: Dovecot
) -> None:
    (tmp_path / "imap-password").write_text("patronpw")
    boxes = BOXES.replace("PORT", str(dovecot.imap_port)).replace("MISSING", "24h")
    extra = boxes.replace("SECRET", "password_file: imap-password")
    nowhere = DnsServer({("good.example", "MX"): ["0 ."]})
    with nowhere.run():
        extra += f'address_checks: {{mx: "on", nameserver: "{nowhere.address}"}}\n'
        port = write_config(tmp_path, extra, RELAY_PORT=relay.port)
        async with daemon(tmp_path, port), library(tmp_path, RELAY_PORT=relay.port) as town_:
            await post(port, {"type": "patron", "patron_id": "P1", "email": "anna@good.example"})
            command = todoku(tmp_path, "batch")
            await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)

            async def found() -> bool:
                seen = await fates(town_)
                return seen.get("good.example") is Fate.INBOX and seen.get("junk.example") is Fate.JUNK

            await wait_until(found, 60, "the canaries to be found")

            async def doubted() -> bool:
                return await town_.open_case("P1") == ["address_no_mail"]

            await wait_until(doubted, 60, "the null MX to be noticed")
