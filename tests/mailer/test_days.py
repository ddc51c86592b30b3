"""What is entered about days reaches a running process, and stays when its settings are read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from holds_core.calendar import DateRange
from holds_core.config import parse
from holds_core.errors import BadInput
from holds_core.ledger import closures
from holds_core.ledger.session import Ledger
from holds_core.settings import Settings
from holds_core.settings.secrets import Secrets, read_secrets
from mailer.app.daemon import Daemon
from mailer.app.days import holidays_of
from mailer.app.notify import Notifier
from mailer.app.services import Services
from tests.clock import HandClock

CONFIG = """
library:
  name: L
  branches: [{id: main, name: 本館, closed: {public_holidays: closed}}]
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
database: {url: "sqlite:///todoku.db"}
"""
DAY = date(2026, 12, 2)
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    keys = tmp_path / "token.keys"
    keys.touch(0o600)
    keys.write_text("0123456789abcdef" * 4)
    settings = parse(CONFIG, base=tmp_path, env={})
    made = Services.build(
        settings, read_secrets(settings, {}), clock=HandClock(NOW), jitter=lambda: 0.5, owner="test"
    )
    await made.ledger.upgrade()
    yield made
    await made.close()


def reread(folder: Path) -> Callable[[], tuple[Settings, Secrets]]:
    settings = parse(CONFIG, base=folder, env={})
    return lambda: (settings, read_secrets(settings, {}))


async def elsewhere(folder: Path, first: date = DAY) -> None:
    """Another process, such as a command, enters a closing."""
    ledger = Ledger.open(f"sqlite+aiosqlite:///{folder}/todoku.db")
    async with ledger.write() as connection:
        await closures.add(connection, "", DateRange(first, first), "停電", "cli", NOW)
    await ledger.close()


async def test_a_running_process_knows_within_seconds(services: Services, tmp_path: Path) -> None:
    clock, stop, book = services.clock, asyncio.Event(), services.rulebook
    assert isinstance(clock, HandClock)
    running = asyncio.create_task(services.days.run(clock, lambda: (book, services.sender.rulebook), stop))
    await clock.asleep()
    assert book.deadline("main", sent_on=date(2026, 11, 25), ready_on=None) == DAY
    await elsewhere(tmp_path)
    clock.advance(timedelta(seconds=10))
    async with asyncio.timeout(30):
        while book.calendar("main").is_open(DAY):
            await asyncio.sleep(0.001)
    assert book.deadline("main", sent_on=date(2026, 11, 25), ready_on=None) == DAY + timedelta(1)
    stop.set()
    await running


async def test_nothing_new_changes_nothing(services: Services, tmp_path: Path) -> None:
    await elsewhere(tmp_path)
    assert await services.days.refresh(services.rulebook)
    assert not await services.days.refresh(services.rulebook)


async def test_closings_stay_when_the_settings_are_read_again(services: Services, tmp_path: Path) -> None:
    await elsewhere(tmp_path)
    await services.refresh_days()
    daemon = Daemon(services, Notifier(), reread(tmp_path))
    before = services.sender.rulebook
    daemon.reload()
    after = services.sender.rulebook
    assert after is not before
    assert not after.calendar("main").is_open(DAY)


def test_the_settings_own_list_of_holidays(tmp_path: Path) -> None:
    settings = parse(
        CONFIG.replace("library:\n", "library:\n  holidays_file: own.csv\n"), base=tmp_path, env={}
    )
    with pytest.raises(BadInput, match=r"own\.csv: cannot be read"):
        holidays_of(settings)
    (tmp_path / "own.csv").write_bytes("祝日".encode("cp932"))
    with pytest.raises(BadInput, match=r"own\.csv: holiday list, line 1"):
        holidays_of(settings)
    assert holidays_of(parse(CONFIG, base=tmp_path, env={})).name(date(2026, 1, 1)) == "元日"
