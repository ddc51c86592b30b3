"""Proves the servers themselves: what the other tests take for granted."""

import asyncio
import contextlib
import email
import imaplib
import json
import os
import pwd
import re
import signal
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import Envelope

from tests.servers.dovecot import Dovecot
from tests.servers.greylist import Greylist
from tests.servers.guard import alive
from tests.servers.ports import HOST, free_port, is_open, wait_until
from tests.servers.postfix import Far, PostfixPair, Relay
from tests.servers.postgres import Postgres
from tests.servers.sink import Sink, smtp_source
from tests.servers.tls import Certificate

RETURN_PATH = "bounces+k3token@library.example"


def send(port: int, recipient: str, notify: str = "SUCCESS,FAILURE,DELAY", sender: str = RETURN_PATH) -> None:
    with smtplib.SMTP(HOST, port, timeout=20) as client:
        client.ehlo()
        options = [f"NOTIFY={notify}"] if client.has_extn("dsn") else []
        client.sendmail(
            sender, recipient, f"To: {recipient}\r\nSubject: hold\r\n\r\nready\r\n", rcpt_options=options
        )


def findings(raw: bytes) -> tuple[str, str, str]:
    """Final-Recipient's domain, Action and Status of a report."""
    parts = email.message_from_bytes(raw).walk()
    report = next(part for part in parts if part.get_content_type() == "message/delivery-status")
    fields = report.get_payload()[1]
    return fields["Final-Recipient"].rpartition("@")[2], fields["Action"], fields["Status"]


async def test_each_domain_of_the_rig_reports_its_own_fate(relay: Relay, dovecot: Dovecot) -> None:
    expected = {
        ("nouser.example", "failed", "5.1.1"),
        ("quota5.example", "failed", "5.2.2"),
        ("block.example", "failed", "5.7.1"),
        ("late.example", "failed", "5.1.1"),
        ("good.example", "relayed", "2.0.0"),
        ("local.example", "delivered", "2.0.0"),
        ("far.example", "relayed", "2.0.0"),
        ("relayed.example", "relayed", "2.0.0"),
        ("blackhole.example", "relayed", "2.0.0"),
    }
    for domain in {domain for domain, _, _ in expected}:
        send(relay.port, f"taro@{domain}")
    reports = await dovecot.arrived("bounces", count=len(expected))
    assert {findings(raw) for raw in reports} == expected
    assert all(f"Delivered-To: {RETURN_PATH}".encode() in raw for raw in reports)


async def test_patrons_get_their_mail_and_the_junking_provider_junks(relay: Relay, dovecot: Dovecot) -> None:
    for recipient in (
        "hanako@good.example",
        "jiro@far.example",
        "saburo@junk.example",
        "shiro@local.example",
    ):
        send(relay.port, recipient, notify="NEVER")
    for name, folder in (("hanako", "INBOX"), ("jiro", "INBOX"), ("saburo", "Junk"), ("localbox", "INBOX")):
        assert len(await dovecot.arrived(name, folder=folder)) == 1
    assert dovecot.mailbox("saburo") == []
    assert dovecot.mailbox("bounces") == []


@pytest.mark.parametrize("domain", ["blackhole", "blackhole-dsn", "discard"])
async def test_black_holes_are_silent(relay: Relay, far: Far, dovecot: Dovecot, domain: str) -> None:
    send(relay.port, f"taro@{domain}.example", notify="FAILURE,DELAY")
    await relay.queue_empty()
    await far.queue_empty()
    assert dovecot.mailbox("bounces") == []


async def test_greylisted_mail_passes_at_a_later_try(
    relay: Relay, dovecot: Dovecot, greylist: Greylist
) -> None:
    send(relay.port, "goro@grey.example")
    await dovecot.arrived("goro")
    assert (RETURN_PATH, "goro@grey.example") in greylist.seen
    assert "450 4.2.0" in relay.log()


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_submission_wants_tls_and_login(relay: Relay, dovecot: Dovecot, implicit: bool) -> None:
    context = ssl.create_default_context(cafile=str(relay.cert))
    if implicit:
        client: smtplib.SMTP = smtplib.SMTP_SSL("localhost", relay.submissions_port, context=context)
    else:
        client = smtplib.SMTP("localhost", relay.submission_port)
        assert client.ehlo()[0] == 250
        assert not client.has_extn("auth")
        client.starttls(context=context)
    with client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(RETURN_PATH, "rokuro@good.example", "Subject: no\r\n\r\n")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("mailer", "wrong")
        client.login("mailer", dovecot.accounts["mailer"])
        client.sendmail(RETURN_PATH, "rokuro@good.example", "Subject: yes\r\n\r\n")
    await dovecot.arrived("rokuro")


async def test_reports_reach_a_listener_of_our_own(relay: Relay) -> None:
    taken: list[tuple[list[str], bytes]] = []

    class Taking:
        async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
            taken.append((envelope.rcpt_tos, envelope.content))
            return "250 2.0.0 taken"

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: LMTP(Taking(), enable_SMTPUTF8=True), HOST, relay.our_lmtp_port
    )
    async with listener:
        send(relay.port, "taro@nouser.example", sender="b-0123456789@lmtp.library.example")
        await wait_until(lambda: taken, what="the report by LMTP")
    (recipients, content), *more = taken
    assert recipients == ["b-0123456789@lmtp.library.example"]
    assert findings(content) == ("nouser.example", "failed", "5.1.1")
    assert more == []


async def test_a_stopped_relay_refuses_and_keeps_its_queue(relay: Relay, far: Far, dovecot: Dovecot) -> None:
    far.stop()
    send(relay.port, "nanako@far.example")
    await wait_until(lambda: "status=deferred" in relay.log(), what="the first try")
    relay.stop()
    assert not is_open(relay.port)
    with pytest.raises(ConnectionRefusedError):
        send(relay.port, "nanako@far.example")
    assert relay.queued() == 1
    far.start()
    relay.start()
    relay.flush()
    await dovecot.arrived("nanako")
    await relay.queue_empty()


async def test_mail_left_by_one_test_is_gone_in_the_next(postfix_pair: PostfixPair, dovecot: Dovecot) -> None:
    relay, far = postfix_pair.relay, postfix_pair.far
    send(relay.port, "hachiro@full.example")
    await wait_until(lambda: "452 4.2.2" in relay.log(), what="the first try")
    far.stop()
    postfix_pair.clear()
    assert (relay.queued(), far.queued()) == (0, 0)
    send(relay.port, "hachiro@far.example")
    await dovecot.arrived("hachiro")
    dovecot.empty()
    assert dovecot.mailbox("hachiro") == []


@pytest.mark.parametrize("tls", [False, True], ids=["imap", "imaps"])
def test_imap_shows_what_was_delivered(dovecot: Dovecot, tls: bool) -> None:
    with smtplib.LMTP(HOST, dovecot.lmtp_port) as client:
        for recipient in ("patron@good.example", "patron@junk.example", "patron+detail@junk.example"):
            client.sendmail("a@b.example", [recipient], "Subject: shelf\r\n\r\n")
    if tls:
        context = ssl.create_default_context(cafile=str(dovecot.cert))
        imap: imaplib.IMAP4 = imaplib.IMAP4_SSL("localhost", dovecot.imaps_port, ssl_context=context)
    else:
        imap = imaplib.IMAP4(HOST, dovecot.imap_port)
    with imap:
        imap.login("patron", dovecot.accounts["patron"])
        assert imap.select("Junk") == ("OK", [b"2"])
        assert imap.select("INBOX") == ("OK", [b"1"])
    assert [b"Subject: shelf" in raw for raw in dovecot.mailbox("patron")] == [True]


async def test_each_test_gets_a_database_of_its_own(postgres: Postgres, postgres_url: str) -> None:
    other = await postgres.new_database()
    assert other != postgres_url
    for url in (other, postgres_url):
        connection = await asyncpg.connect(url.replace("+asyncpg", ""), ssl=False)
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("CREATE TABLE only_here ()")
        if url == other:
            # Dropped under a client that still holds it.
            await postgres.drop_database(url)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.execute("SELECT 1")
        await connection.close()


async def test_databases_outlive_a_restart(postgres: Postgres, postgres_url: str) -> None:
    postgres.stop()
    assert not is_open(postgres.port)
    postgres.start()
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""), ssl=False)
    assert await connection.fetchval("SELECT current_database()") == postgres_url.rpartition("/")[2]
    await connection.close()


def test_without_root_the_mail_servers_say_so(certificate: Certificate) -> None:
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        with pytest.raises(RuntimeError, match="run as root"):
            Dovecot(certificate)
        with pytest.raises(RuntimeError, match="run as root"):
            Far(1, 2, {}, Greylist())
    finally:
        os.seteuid(0)


def test_sink_counts_what_the_source_sends(smtp_sink: Callable[..., Sink], tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.write_text("Subject: load\n\nbody\n")
    sink = smtp_sink()
    assert smtp_source(sink.port, 40, 4, mail) > 0
    assert sink.count() == 40
    messages = sink.messages()
    assert len(messages) == 40
    assert all(b"X-Rcpt-Args: <sink@sink.example>" in raw and b"Subject: load" in raw for raw in messages)


def test_sink_makes_faults(smtp_sink: Callable[..., Sink]) -> None:
    sink = smtp_sink("-f", "RCPT", "-B", "552 5.2.2 Mailbox full")
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(sink.port, "taro@sink.example")
    assert refused.value.recipients == {"taro@sink.example": (552, b"5.2.2 Mailbox full")}
    assert sink.messages() == []


async def test_relay_reaches_a_sink_of_the_test(relay: Relay, smtp_sink: Callable[..., Sink]) -> None:
    sink = smtp_sink(port=relay.sink_port)
    send(relay.port, "taro@sink.example")
    await wait_until(lambda: sink.count() == 1, what="the mail in the sink")


def test_free_ports_are_free_and_never_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert not any(is_open(port) for port in ports)


def started() -> tuple[set[psutil.Process], set[str]]:
    """The servers that this process started, and the directories they were started in."""
    processes = set(psutil.Process().children(recursive=True))
    words: list[str] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # some of Postfix's live for a moment
            words += process.cmdline()
    return processes, set(re.findall(r"/tmp/todoku-[^/ ]+", " ".join(words)))


def test_closed_servers_leave_nothing_behind() -> None:
    certificate = Certificate()
    processes_before, directories_before = started()
    dovecot, postgres = Dovecot(certificate), Postgres()
    pair = PostfixPair(dovecot, certificate)
    for server in (dovecot, pair, postgres):
        server.start()
    sink = Sink()
    ports = [dovecot.imap_port, dovecot.lmtp_port, pair.relay.port, pair.far.port, postgres.port, sink.port]
    assert all(is_open(port) for port in (*ports, pair.greylist.port))
    processes, directories = started()
    assert len(processes - processes_before) > 10
    assert len(directories - directories_before) == 5
    for closing in (sink, pair, dovecot, postgres, certificate):
        closing.close()
    assert not [process for process in processes - processes_before if alive(process)]
    assert not [path for path in directories - directories_before if Path(path).exists()]
    assert not any(is_open(port) for port in (*ports, pair.greylist.port))


HANGING = """
import json
import time
from tests.servers.test_servers import started

def test_hangs(relay, postgres, smtp_sink):
    smtp_sink()
    processes, directories = started()
    print("STARTED", json.dumps([[process.pid for process in processes], list(directories)]), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
async def test_a_run_cut_short_leaves_nothing_behind(tmp_path: Path, signum: signal.Signals) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGING)
    root = Path(__file__).resolve().parents[2]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
    ]
    run = subprocess.Popen(
        [*command, "--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path)],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert run.stdout is not None
        line = next(line for line in run.stdout if "STARTED" in line)
        pids, directories = json.loads(line.partition("STARTED ")[2])
        processes = [psutil.Process(pid) for pid in pids]
        assert len(processes) > 10
        assert len(directories) == 5
    finally:
        run.send_signal(signum)
        run.communicate(timeout=60)
    await wait_until(lambda: not [p for p in processes if alive(p)], what="the end")
    await wait_until(lambda: not [path for path in directories if Path(path).exists()])
