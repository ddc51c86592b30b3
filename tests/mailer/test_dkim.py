"""DKIM signatures, checked by another's verifier with keys from a DNS server of our own."""

from __future__ import annotations

import builtins
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dkim as reference
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from holds_core.config import parse
from holds_core.settings.secrets import read_secrets
from mailer.app.services import Services
from mailer.clock import SystemClock
from mailer.dkim import BadDkimKey, DkimUnavailable, Key, Signer, load
from mailer.message import Charset, Letter, Letterhead, build
from tests.e2e.library import Library, config
from tests.servers.dns import DnsServer, txt
from tests.servers.sink import Sink

NOW = datetime(2025, 11, 25, 0, 10, tzinfo=UTC)  # a Tuesday; a verifier refuses what is signed tomorrow
SENDER = "yoyaku@library.example.jp"
HEAD = Letterhead("とどく市立図書館 予約・リクエスト係", SENDER)


def pem(key: Any) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture(scope="module")
def keys() -> dict[str, Key]:
    return {
        "rsa": load("r1", pem(rsa.generate_private_key(65537, 2048))),
        "ed25519": load("e1", pem(ed25519.Ed25519PrivateKey.generate())),
    }


@pytest.fixture
def dns(keys: dict[str, Key]) -> Iterator[DnsServer]:
    records = {
        (f"{key.selector}._domainkey.{domain}", "TXT"): [txt(key.record)]
        for key in keys.values()
        for domain in ("library.example.jp", "city.example.jp")
    }
    with DnsServer(records).run() as server:
        yield server


def asking(server: DnsServer) -> Callable[..., bytes | None]:
    """dkimpy's way to ask, by real DNS."""
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.port

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        try:
            found = resolver.resolve(name.decode(), "TXT", lifetime=timeout)
        except dns.resolver.NXDOMAIN:
            return None
        return b"".join(found[0].strings)

    return ask


def verdicts(mail: bytes, server: DnsServer) -> list[bool]:
    """Each signature's, from the top."""
    verifier = reference.DKIM(mail)
    count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
    return [_verdict(mail, place, server) for place in range(count)]


def _verdict(mail: bytes, place: int, server: DnsServer) -> bool:
    try:
        return bool(reference.DKIM(mail).verify(place, asking(server)))
    except reference.ValidationError as error:
        # all else is a signature that is wrong in form
        if "body hash mismatch" not in str(error):
            raise
        return False


def letter(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "to": "a..b.@docomo.ne.jp",
        "subject": "予約資料のご用意ができました (Hold ready) 髙橋 様",
        "body": "吾輩は猫である\n\n  二行目  \t\n. dots\n\n\n",
        "date": NOW,
        "message_id": "<x.y@library.example.jp>",
        "token": "t0ken",
    }
    return build(HEAD, Letter(**(values | changes)))


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("charset", list(Charset))
def test_a_signature_verifies(keys: dict[str, Key], dns: DnsServer, kind: str, charset: Charset) -> None:
    mail = letter(charset=charset, reply_to="kakunin@library.example.jp")
    signed = Signer([keys[kind]]).sign(mail, NOW)
    assert signed.endswith(mail)
    assert verdicts(signed, dns) == [True]


def test_both_keys_sign_and_each_stands_alone(keys: dict[str, Key], dns: DnsServer) -> None:
    signed = Signer([keys["rsa"], keys["ed25519"]]).sign(letter(), NOW)
    assert verdicts(signed, dns) == [True, True]
    assert re.findall(rb"a=([a-z0-9-]+);", signed) == [b"rsa-sha256", b"ed25519-sha256"]


def test_the_domain_is_that_of_from_or_the_one_named(keys: dict[str, Key], dns: DnsServer) -> None:
    for domain, expected in (("", b"d=library.example.jp;"), ("city.example.jp", b"d=city.example.jp;")):
        signed = Signer([keys["ed25519"]], domain).sign(letter(), NOW)
        assert expected in signed
        assert verdicts(signed, dns) == [True]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"From: ", b"From: evil@example.com\r\nFrom: "),
        (b"Subject: ", b"Subject: x\r\nSubject: "),
        (b"To: a..b.@", b"To: c..d.@"),
        (b"Date: Tue", b"Date: Wed"),
        (b"Message-ID: <x", b"Message-ID: <z"),
        (b"Content-Type: text/plain", b"Content-Type: text/html"),
        (b"Auto-Submitted: auto-generated", b"Auto-Submitted: no"),
        (b"MIME-Version", b"Reply-To: evil@example.com\r\nMIME-Version"),
        (b"\r\n\r\n", b"\r\n\r\nmore\r\n"),
    ],
)
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_what_is_changed_on_the_way_does_not_verify(
    keys: dict[str, Key], dns: DnsServer, kind: str, old: bytes, new: bytes
) -> None:
    head, separator, mail = Signer([keys[kind]]).sign(letter(), NOW).partition(b"\r\nDate:")
    changed = head + (separator + mail).replace(old, new, 1)
    assert changed != head + separator + mail
    assert verdicts(changed, dns) == [False]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_what_relays_do_to_a_mail_does_no_harm(keys: dict[str, Key], dns: DnsServer, kind: str) -> None:
    signed = Signer([keys[kind]]).sign(letter(charset=Charset.ISO_2022_JP), NOW)
    received = b"Received: from todoku by relay; Tue, 24 Nov 2026 09:10:00 +0900\r\n" + signed
    refolded = received.replace(b"Subject: =?", b"Subject:\r\n  =?").replace(b"\r\nTo: ", b"\r\nTo:  ")
    assert verdicts(refolded + b"\r\n\r\n", dns) == [True]


def test_another_key_in_dns_does_not_verify(keys: dict[str, Key], dns: DnsServer) -> None:
    other = load("r1", pem(rsa.generate_private_key(65537, 2048)))
    dns.records["r1._domainkey.library.example.jp", "TXT"] = [txt(other.record)]
    assert verdicts(Signer([keys["rsa"]]).sign(letter(), NOW), dns) == [False]


def test_a_from_without_a_name(keys: dict[str, Key], dns: DnsServer) -> None:
    bare = build(Letterhead("", SENDER), Letter("a@b.example", "s", "b", NOW, "<x.y@z>", "t"))
    assert b"From: yoyaku@" in bare
    assert verdicts(Signer([keys["ed25519"]]).sign(bare, NOW), dns) == [True]


def test_lines_are_short_and_the_header_is_one(keys: dict[str, Key]) -> None:
    mail = letter()
    signed = Signer(list(keys.values())).sign(mail, NOW)
    added = signed[: -len(mail)]
    assert max(map(len, added.split(b"\r\n"))) <= 78
    assert added.count(b"DKIM-Signature:") == 2
    assert not re.search(rb"(?<!\r)\n", added)


def test_many_mails(keys: dict[str, Key], dns: DnsServer) -> None:
    dice = random.Random(7)
    signer = Signer([keys["ed25519"]])
    words = ["本", "図書館\n", " ", "\t", "\n\n", ".", "x" * 200, "髙", "- ", "=?UTF-8?B?"]
    for _ in range(60):
        body = "".join(dice.choices(words, k=dice.randrange(30)))
        subject = " ".join("".join(dice.choices(words, k=4)).replace("\t", " ").split())
        assert verdicts(signer.sign(letter(body=body, subject=subject), NOW), dns) == [True]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not a key",
        pem(rsa.generate_private_key(65537, 1024)).replace(b"M", b"N", 1),
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(dsa.generate_private_key(1024)),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(text: bytes) -> None:
    with pytest.raises(BadDkimKey, match="DKIM s1") as caught:
        load("s1", text)
    for line in text.splitlines():
        assert not line or line.decode() not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(BadDkimKey):
        load("s1", locked)


@pytest.mark.parametrize("missing", ["dkim", "cryptography"])
def test_without_the_extra_it_says_what_to_install(
    keys: dict[str, Key], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **named: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return real(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    use = {"dkim": lambda: Signer([keys["rsa"]]), "cryptography": lambda: load("s1", b"")}[missing]
    with pytest.raises(DkimUnavailable, match=r"pip install 'todoku\[dkim\]'"):
        use()


def test_no_part_of_it_is_loaded_without_keys() -> None:
    import subprocess
    import sys

    code = "import sys, mailer.dkim; print([m for m in ('dkim', 'nacl', 'cryptography') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_the_librarys_mail_is_signed_on_its_way(
    tmp_path: Path, smtp_sink: Callable[..., Sink], dns: DnsServer
) -> None:
    private = {"r1": rsa.generate_private_key(65537, 2048), "e1": ed25519.Ed25519PrivateKey.generate()}
    for selector, key in private.items():
        file = tmp_path / f"{selector}.pem"
        file.touch(0o600)
        file.write_bytes(pem(key))
        name = f"{selector}._domainkey.library.example"
        dns.records[name, "TXT"] = [txt(load(selector, pem(key)).record)]
    sink = smtp_sink()
    text = config(tmp_path, RELAY_PORT=sink.port).replace(
        "token_keys_file: token.keys",
        "token_keys_file: token.keys\n  dkim: {keys: "
        "[{selector: r1, key_file: r1.pem}, {selector: e1, key_file: e1.pem}]}",
    )
    settings = parse(text, base=tmp_path, env={})
    services = Services.build(
        settings, read_secrets(settings, {}), clock=SystemClock(), jitter=random.random, owner="test"
    )
    await services.ledger.upgrade()
    try:
        town = Library(services)
        await town.ready_hold(1, "hanako@far.example")
        await town.batch()
        await town.send()
    finally:
        await services.close()
    [raw] = sink.messages()
    mail = raw[raw.index(b"DKIM-Signature:") :].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert mail.count(b"DKIM-Signature:") == 2
    assert verdicts(mail, dns) == [True, True]


def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    (tmp_path / "bad.pem").chmod(0o600)
    text = config(tmp_path, RELAY_PORT=1).replace(
        "token_keys_file: token.keys",
        "token_keys_file: token.keys\n  dkim: {keys: [{selector: s1, key_file: bad.pem}]}",
    )
    settings = parse(text, base=tmp_path, env={})
    with pytest.raises(BadDkimKey, match="DKIM s1"):
        Services.build(
            settings, read_secrets(settings, {}), clock=SystemClock(), jitter=random.random, owner="test"
        )
