"""Live feeds as staff and IT meet them: the commands, certificates, lateness, the metrics, the daemon's task."""

import asyncio
import contextlib
import json
import re
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
import uvicorn

from holds_core.config import ConfigError, parse
from mailer.app.feeds.http import FeedDown
from mailer.app.feeds.live import LagWatch, pollers
from mailer.app.web.metrics import Metrics
from mailer.app.web.serve import WebServer
from tests.mailer.feeds.conftest import CONFIG, ENV, Library, at, library_at, services_of
from tests.mailer.web.conftest import serving
from tests.servers.koha import FakeKoha
from tests.servers.tls import Certificate


@pytest.fixture
async def town(koha: FakeKoha) -> FakeKoha:
    koha.patron(1, at(1), email="p1@docomo.ne.jp")
    koha.hold(1, 1, at(1))
    return koha


# -- commands --------------------------------------------------------------------------------------


@pytest.fixture
async def configured(tmp_path: Path, koha: FakeKoha, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A configuration file of a library whose Koha is running."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    async with serving(WebServer(koha.app(), "127.0.0.1", 0)) as url:
        feeds = f"feeds: {{koha: {{url: '{url}', client_id: todoku}}}}\n"
        path = tmp_path / "config.yaml"
        path.write_text(CONFIG + feeds, "utf-8")
        services = services_of(tmp_path, feeds)
        await services.ledger.upgrade()
        await services.close()
        (tmp_path / "token.keys").rename(tmp_path / "token-keys")
        text = path.read_text("utf-8").replace("sender: {", "sender: {token_keys_file: token-keys, ")
        path.write_text(text, "utf-8")
        yield path


async def todoku(config: Path, *arguments: str) -> tuple[int, str]:
    """A process of its own, as the command is run: exit code, and what it said on both streams."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mailer.app", "--config", str(config), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_check_and_pull(configured: Path, town: FakeKoha) -> None:
    code, said = await todoku(configured, "feed", "check")
    assert (code, "まだ取り込んでいません" in said) == (0, True)
    code, said = await todoku(configured, "feed", "pull", "--once", "--dry-run")
    assert (code, said.count("nothing was kept")) == (0, 2)
    code, said = await todoku(configured, "feed", "pull", "koha", "--once")
    assert code == 0
    assert "最初の取り込みのため、通知は作りません" in said
    assert re.search(r"koha API → koha 予約 holds · \d{4}-\d\d-\d\d \d\d:\d\d JST 現在", said)
    code, said = await todoku(configured, "feed", "check", "--json")
    (told,) = json.loads(said)
    assert (code, told["feed"], told["late"], told["error"]) == (0, "koha", False, "")
    assert told["lag_seconds"] is not None


async def test_a_feed_that_cannot_be_asked(configured: Path, koha: FakeKoha) -> None:
    koha.secret = "another"
    code, said = await todoku(configured, "feed", "check")
    assert (code, "接続できません" in said, "no token: HTTP 403" in said) == (1, True, True)
    code, said = await todoku(configured, "feed", "pull")
    assert (code, "no token: HTTP 403" in said) == (1, True)
    assert "s3cret" not in said


async def test_a_feed_that_nobody_configured(configured: Path) -> None:
    code, said = await todoku(configured, "feed", "pull", "folio")
    assert (code, "there is no feed folio; there is koha" in said) == (1, True)


class QuietServer(uvicorn.Server):
    """One that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


# -- certificates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "known"), [("", False), (", ca_file: '{ca}'", True), (", verify_tls: no", True)]
)
async def test_only_known_certificates_are_believed(
    tmp_path: Path, town: FakeKoha, more: str, known: bool
) -> None:
    certificate = Certificate()
    config = uvicorn.Config(
        town.app(),
        host="127.0.0.1",
        port=0,
        ssl_certfile=certificate.chain,
        ssl_keyfile=certificate.key,
        log_config=None,
        lifespan="off",
    )
    server = QuietServer(config)
    serving_it = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(30):
            while not server.started:
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        more = more.format(ca=certificate.authority)
        feeds = f"feeds: {{koha: {{url: 'https://127.0.0.1:{port}', client_id: todoku{more}}}}}\n"
        async for library in library_at(tmp_path, feeds):
            if known:
                await library.poll()
                assert await library.states() == {"1": "placed"}
            else:
                with pytest.raises(FeedDown, match="certificate verify failed"):
                    await library.poll()
    finally:
        server.should_exit = True
        await serving_it
        certificate.close()


def test_a_file_of_no_authorities_is_told(tmp_path: Path) -> None:
    from mailer.app.feeds.http import tls

    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(FeedDown, match="ca_file cannot be used"):
        tls(verify=True, ca_file=tmp_path / "ca.pem")
    assert isinstance(tls(verify=True, ca_file=None), ssl.SSLContext)


# -- lateness --------------------------------------------------------------------------------------


async def test_lateness_is_warned_of_once_and_measured(with_koha: Library, town: FakeKoha) -> None:
    watch = LagWatch(with_koha.services)
    with structlog.testing.capture_logs() as lines:
        await watch.look()  # never read, and not failing either: the first poll is under way
        await with_koha.poll()
        with_koha.clock.advance(timedelta(minutes=20))
        await watch.look()
        assert [line for line in lines if line["event"].startswith("feed_")] == []
        with_koha.clock.advance(timedelta(minutes=10))
        await watch.look()
        await watch.look()
        metrics = (await Metrics(with_koha.services, dict).scrape(ready=True)).decode()
        await with_koha.poll()
        await watch.look()
    told = [(line["event"], line["log_level"]) for line in lines if line["event"].startswith("feed_")]
    assert told == [("feed_late", "warning"), ("feed_back", "info")]
    assert 'todoku_feed_lag_seconds{feed="koha"} 2100.0' in metrics
    assert 'todoku_feed_late{feed="koha"} 1.0' in metrics
    assert 'todoku_feed_failures{feed="koha"} 0.0' in metrics


async def test_a_feed_that_was_never_read_is_late_once_it_fails_for_long(
    with_koha: Library, town: FakeKoha
) -> None:
    town.secret = "another"
    await with_koha.poller.try_once()
    with_koha.clock.advance(timedelta(minutes=31))
    with structlog.testing.capture_logs() as lines:
        await LagWatch(with_koha.services).look()
    assert [(line["event"], line["as_of"]) for line in lines] == [("feed_late", "never")]
    assert "HTTP 403" in lines[0]["why"]


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ("koha: {url: 'https://k.example.jp'}", "feeds.koha.client_id"),
        ("koha: {client_id: a}", "feeds.koha.url"),
        ("koha: {url: 'ftp://k.example.jp', client_id: a}", "feeds.koha.url"),
        (
            "folio: {url: 'https://f.example.jp', tenant: t, username: u, auth: eureka}",
            "feeds.folio.token_url",
        ),
        ("folio: {url: 'https://f.example.jp', username: u}", "feeds.folio.tenant"),
        ("koha: {url: 'https://k.example.jp', client_id: a, interval: 1s}", "feeds.koha.interval"),
        (
            "snapshots: [{name: koha}]\n  koha: {url: 'https://k.example.jp', client_id: a}",
            "feeds.koha.name",
        ),
        (
            "koha: {url: 'https://k.example.jp', client_id: a}\n"
            "  folio: {url: 'https://f.example.jp', tenant: t, username: u, name: koha}",
            "feeds.folio.name",
        ),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, feeds: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"{CONFIG}feeds:\n  {feeds}\n", base=tmp_path, env=ENV)
    assert said in str(raised.value)


def test_a_secret_must_come_from_somewhere(tmp_path: Path) -> None:
    text = f"{CONFIG}feeds: {{koha: {{url: 'https://k.example.jp', client_id: a}}}}\n"
    with pytest.raises(ConfigError, match="TODOKU_KOHA_SECRET"):
        parse(text, base=tmp_path, env={})


def test_without_live_feeds_nobody_is_asked(tmp_path: Path) -> None:
    assert pollers(services_of(tmp_path, "")) == []
