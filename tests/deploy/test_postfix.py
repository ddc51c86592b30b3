"""The Postfix snippets in a real Postfix: a bounce that they route reaches our LMTP, and junk does not."""

import grp
import pwd
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from holds_core.tokens import MAX_TOKEN_LENGTH
from mailer.app.installing import Answers, postfix
from tests.e2e.library import Library, library, lmtp
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Far, Relay
from tests.servers.tls import Certificate

DOMAIN = "bounce.library.example"


def answers(port: int) -> Answers:
    """This library's, as `todoku init` has them."""
    return Answers(
        folder=Path("/etc/todoku"),
        name="とどく市立図書館",
        name_en="Library",
        address="noreply@library.example",
        return_path="verp",
        return_path_domain=DOMAIN,
        relay_host="127.0.0.1",
        relay_tls="none",
        relay_port=25,
        lmtp=f"127.0.0.1:{port}",
    )


class SnippetRelay(Relay):
    """A relay of its own, whose administrator followed the guide."""

    def __init__(self, dovecot: Dovecot, far: Far, certificate: Certificate) -> None:
        values = {
            "LMTP": dovecot.lmtp_port,
            "SASL": dovecot.sasl_port,
            "MAIL": dovecot.mail,
            "MAIL_UID": pwd.getpwnam("mail").pw_uid,
            "MAIL_GID": grp.getgrnam("mail").gr_gid,
            "FAR": far.port,
            "FAR_NODSN": far.nodsn_port,
        }
        super().__init__(values, certificate)
        etc = self._workplace.path / "etc"
        for name in ("todoku-transport", "todoku-recipients"):
            (etc / name).write_text(postfix(answers(self.our_lmtp_port), name))
        snippet = postfix(answers(self.our_lmtp_port), "main.cf")
        # the tests' Postfix has no postmap step and a transport table of its own, which stays
        snippet = snippet.replace("hash:/etc/postfix/", f"texthash:{etc}/").replace(
            "/etc/postfix/", f"{etc}/"
        )
        snippet = snippet.replace("transport_maps = ", f"transport_maps = texthash:{etc}/transport, ")
        with (etc / "main.cf").open("a") as main:
            main.write(snippet)


@pytest.fixture
async def town(
    tmp_path: Path, dovecot: Dovecot, far: Far, certificate: Certificate
) -> AsyncIterator[tuple[Library, SnippetRelay]]:
    relay = SnippetRelay(dovecot, far, certificate)
    try:
        relay.start()
        async with (
            library(tmp_path, RELAY_PORT=relay.port, RETURN_DOMAIN=DOMAIN) as found,
            lmtp(found.services, relay.our_lmtp_port),
        ):
            yield found, relay
    finally:
        relay.close()


async def test_a_bounce_comes_back_by_the_snippet(town: tuple[Library, SnippetRelay]) -> None:
    found, relay = town
    patron = await found.ready_hold(1, "p@nouser.example")
    await found.batch()
    await found.send()
    await found.finds(patron, "bounced")
    assert await found.open_case(patron)
    assert f"@{DOMAIN}" in relay.log()
    assert "127.0.0.1]:" + str(relay.our_lmtp_port) in relay.log()


async def test_only_what_looks_like_ours_is_taken(town: tuple[Library, SnippetRelay]) -> None:
    _, relay = town
    mail = EmailMessage()
    mail["From"], mail["To"] = "someone@far.example", "x@far.example"
    mail.set_content("x")
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.ehlo("far.example")
        taken = {}
        for local in (
            "a" * 17,
            "a" * MAX_TOKEN_LENGTH,
            "kakunin",
            "kakunin+" + "b" * 20,
            "postmaster",
            "a" * 16,
            "a" * (MAX_TOKEN_LENGTH + 1),
            "info",
            "0" * 20,
        ):
            client.mail("")
            taken[local] = client.rcpt(f"{local}@{DOMAIN}")[0]
            client.rset()
    assert list(taken.values()) == [250] * 5 + [550] * 4


def test_the_shipped_files_name_no_socket_that_a_chroot_hides() -> None:
    transport = postfix(answers(8024), "todoku-transport")
    assert "lmtp:inet:127.0.0.1:8024" in transport
    assert "lmtp:unix:" not in transport
