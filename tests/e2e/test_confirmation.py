"""A patron confirms what the library mailed: by the mail's own link in Chromium, and by an empty mail."""

from __future__ import annotations

import asyncio
import contextlib
import re
import smtplib
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from bounces.mailbox import ImapOptions, MailboxReader
from holds_core.config import parse
from holds_core.settings.secrets import read_secrets
from mailer.app.services import Services
from mailer.app.web.app import patron_app
from mailer.app.web.serve import WebServer
from mailer.clock import SystemClock
from tests.e2e.library import Library, config, lmtp
from tests.mailer.web.conftest import serving
from tests.mailer.web.test_confirm_chromium import ARGUMENTS, CHROMIUM, PHONE
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Relay


@contextlib.asynccontextmanager
async def library(folder: Path, relay: Relay, more: str = "") -> AsyncIterator[Library]:
    text = config(folder, RELAY_PORT=relay.port)
    text = text.replace("  token_keys_file", f"{more}\n  token_keys_file", 1)
    settings = parse(text, base=folder, env={})
    services = Services.build(
        settings, read_secrets(settings, {}), clock=SystemClock(), jitter=lambda: 0.5, owner="test"
    )
    await services.ledger.upgrade()
    try:
        yield Library(services)
    finally:
        await services.close()


async def mailed(town: Library, dovecot: Dovecot, name: str, kind: str) -> str:
    """The text of the mail that the patron `name` got: a registration change, or a hold notice."""
    if kind == "hold_ready":
        await town.ready_hold(1, f"{name}@good.example")
        await town.batch()
    else:
        await town.event("patron", patron_id="P1", email=f"{name}.old@good.example", name="図書 花子")
        await town.event("patron.email_changed", patron_id="P1", email=f"{name}@good.example")
    await town.send()
    [raw] = await dovecot.arrived(name)
    body: str = message_from_bytes(raw, policy=policy.default).get_content()
    return body


def write(relay: Relay, sender: str, to: str, text: str = "") -> None:
    """An empty mail as a phone hands it in."""
    with smtplib.SMTP("127.0.0.1", relay.port) as smtp:
        smtp.sendmail(sender, [to], f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: \r\n\r\n{text}")


def address_in(body: str, base: str) -> list[str]:
    local, _, domain = base.partition("@")
    return re.findall(rf"{local}(?:\+[a-z2-7]+)?@{re.escape(domain)}", body)


# -- the link --------------------------------------------------------------------------------------


async def opened(page: Page, body: str, base: str, after: str) -> None:
    """Follows the mail's own link that stands after some words."""
    found = re.search(rf"{after}.*?({re.escape(base)}/c/[a-z2-7]+)", body, re.S)
    assert found is not None, body
    await page.goto(found[1])


@pytest.mark.parametrize("kind", ["registration_changed", "hold_ready"])
async def test_the_mails_own_link_leads_to_the_button(
    tmp_path: Path, relay: Relay, dovecot: Dovecot, kind: str
) -> None:
    base = f"http://127.0.0.1:{free_port()}"
    async with library(tmp_path, relay) as town:
        confirm = town.services.settings.confirm.model_copy(update={"base_url": base})
        _replace(town, confirm=confirm)
        port = int(base.rpartition(":")[2])
        body = await mailed(town, dovecot, f"link.{kind}", kind)
        async with (
            serving(WebServer(patron_app(town.services), "127.0.0.1", port)),
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = await browser.new_page(java_script_enabled=False, viewport=PHONE, locale="ja-JP")  # type: ignore[arg-type]
            await opened(page, body, base, "お知らせください")
            assert await town.signs("P1") == []
            await page.get_by_role("button", name="メールが届きました").click()
            await page.get_by_role("heading", name="メールが届いたことを確認しました").wait_for()
            assert await town.signs("P1") == ["confirmed"]
            assert "noreply@library.example" in await page.content()
            if kind == "registration_changed":
                await opened(page, body, base, "お心当たりのない")
                await page.get_by_role("button", name="心当たりがない").click()
                assert "not_me" in await town.signs("P1")
                assert "not_me" in (await town.open_case("P1") or [])
            await browser.close()


def _replace(town: Library, **sections: object) -> None:
    """The same parts with other settings, known only once a port is."""
    from holds_core.rulebook import Rulebook
    from mailer.compose import Composer

    services = town.services
    settings = services.settings.model_copy(update=sections)
    rulebook = Rulebook.of(settings)
    composer = Composer(rulebook, services.keys, services.providers, services.renderer)
    for name, value in (("settings", settings), ("rulebook", rulebook), ("composer", composer)):
        object.__setattr__(services, name, value)
    services.sender.reload(rulebook, composer)


# -- the empty mail --------------------------------------------------------------------------------

KAKUNIN = "kakunin@lmtp.library.example"
REPLY = f"  reply_confirm_address: {KAKUNIN}"


@pytest.mark.parametrize("kind", ["registration_changed", "hold_ready"])
async def test_an_empty_mail_through_postfix_confirms(
    tmp_path: Path, relay: Relay, dovecot: Dovecot, kind: str
) -> None:
    async with library(tmp_path, relay, REPLY) as town, lmtp(town.services, relay.our_lmtp_port):
        body = await mailed(town, dovecot, f"empty.{kind}", kind)
        assert "http" not in body, "there is no page: this is the variant without links"
        address = address_in(body, KAKUNIN)[0]
        assert "+" in address
        await asyncio.to_thread(write, relay, f"empty.{kind}@good.example", address)
        await town.finds("P1", "confirmed")
        assert (await town.delivery("P1")).finding == "confirmed"
        assert not await town.quarantined()


async def test_not_me_by_empty_mail(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    async with library(tmp_path, relay, REPLY) as town, lmtp(town.services, relay.our_lmtp_port):
        body = await mailed(town, dovecot, "stranger", "registration_changed")
        confirms, denies = address_in(body, KAKUNIN)
        assert confirms != denies
        await asyncio.to_thread(
            write, relay, "stranger@good.example", denies, "\r\n-- \r\nSent from my phone\r\n"
        )
        await town.finds("P1", "not_me")
        assert "not_me" in (await town.open_case("P1") or [])


async def test_without_tokens_the_sender_tells(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    """One fixed mailbox, no address extensions: a stranger's empty mail changes nothing, the patron's does."""
    more = f"{REPLY}\n  reply_confirm_plus: false"
    async with library(tmp_path, relay, more) as town, lmtp(town.services, relay.our_lmtp_port):
        body = await mailed(town, dovecot, "fixed", "hold_ready")
        assert address_in(body, KAKUNIN) == [KAKUNIN]
        await asyncio.to_thread(write, relay, "somebody@far.example", KAKUNIN)
        await asyncio.to_thread(write, relay, "fixed@good.example", KAKUNIN)
        await town.finds("P1", "wrote")
        assert (await town.delivery("P1")).finding == "confirmed"
        [unknown] = await town.quarantined()
        assert unknown.envelope_from == "somebody@far.example"


async def test_an_empty_mail_by_imap(tmp_path: Path, relay: Relay, dovecot: Dovecot) -> None:
    """The confirmation address is an alias of the mailbox that bounces come to."""
    address = "kakunin@library.example"
    async with library(tmp_path, relay, f"  reply_confirm_address: {address}") as town:
        body = await mailed(town, dovecot, "imap", "hold_ready")
        to = address_in(body, address)[0]
        await asyncio.to_thread(write, relay, "imap@good.example", to)
        options = ImapOptions(
            "127.0.0.1", dovecot.imap_port, "none", "bounces", dovecot.accounts["bounces"], done_folder="done"
        )
        services = town.services
        reader = MailboxReader(
            options, services.ingest.store, services.clock.now, lambda _: None, jitter=lambda: 0.5
        )
        running = asyncio.create_task(reader.run())
        try:
            await town.finds("P1", "confirmed")
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
