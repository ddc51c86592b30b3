"""The mailbox reader by XOAUTH2 against a real Dovecot: the token is asked for anew at each login."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bounces.imap import Secret
from bounces.mailbox import ImapOptions, MailboxStatus
from tests.bounces.test_mailbox import LATE, QUICK, Desk, Gate, deliver, mail
from tests.servers.dovecot import Dovecot
from tests.servers.oauth import Tokens, token_endpoint


@pytest.fixture
def tokens(dovecot: Dovecot) -> Iterator[Tokens]:
    with token_endpoint(dovecot.oauth_port, "bounces") as book:
        yield book


class Wallet:
    """What another program renews."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.trouble: Exception | None = None

    async def secret(self) -> Secret:
        if self.trouble is not None:
            raise self.trouble
        return Secret(self.text, is_token=True)

    def options(self, port: int) -> ImapOptions:
        return ImapOptions("127.0.0.1", port, "none", "bounces", secret=self.secret, poll=LATE)


async def test_mail_is_read_and_moved(dovecot: Dovecot, tokens: Tokens) -> None:
    tokens.good.add("ey.first")
    async with Desk(Wallet("ey.first").options(dovecot.imap_port)).run() as desk:
        await deliver(dovecot, mail("one"))
        await desk.settled(1)
    assert desk.subjects == ["one"]
    assert tokens.asked == ["ey.first"]


async def test_a_new_connection_has_a_new_token(dovecot: Dovecot, tokens: Tokens) -> None:
    """Providers close the connection when its token is an hour old."""
    wallet = Wallet("ey.first")
    tokens.good.add("ey.first")
    gate = Gate(dovecot.imap_port)
    async with gate.run(), Desk(wallet.options(gate.port)).run() as desk:
        await desk.until(lambda desk: desk.listens)
        tokens.good, wallet.text = {"ey.second"}, "ey.second"
        gate.cut()
        await deliver(dovecot, mail("after"))
        await desk.settled(1)
    assert tokens.asked == ["ey.first", "ey.second"]


async def test_a_refused_token_is_tried_again_sooner_than_a_password(
    dovecot: Dovecot, tokens: Tokens
) -> None:
    """No account is locked for a stale token, and another program may have fetched the next one by now."""
    wallet = Wallet("ey.stale")
    pacing = replace(QUICK, refused_token=0.05)
    async with Desk(wallet.options(dovecot.imap_port), pacing).run() as desk:
        await desk.until(lambda desk: desk.state.status is MailboxStatus.REFUSED)
        assert desk.state.last_error.startswith("login: NO")
        assert "ey.stale" not in desk.state.last_error
        tokens.good.add("ey.fresh")
        wallet.text = "ey.fresh"
        await desk.until(lambda desk: desk.listens)


@pytest.mark.parametrize(
    "trouble", [FileNotFoundError(2, "No such file"), ValueError("ended with 3"), TimeoutError()]
)
async def test_without_a_token_it_waits_for_one(dovecot: Dovecot, tokens: Tokens, trouble: Exception) -> None:
    wallet = Wallet("ey.fresh")
    wallet.trouble = trouble
    tokens.good.add("ey.fresh")
    async with Desk(wallet.options(dovecot.imap_port)).run() as desk:
        await desk.until(lambda desk: desk.state.status is MailboxStatus.BROKEN)
        assert str(trouble) in desk.state.last_error
        assert desk.state.last_error
        wallet.trouble = None
        await desk.until(lambda desk: desk.listens)
    assert tokens.asked == ["ey.fresh"], "nobody was asked without one"


def test_a_secret_shows_nowhere() -> None:
    assert "ey." not in repr(Secret("ey.first", is_token=True))
    assert "hidden" not in repr(ImapOptions("mx", 993, "implicit", "u", "hidden"))
