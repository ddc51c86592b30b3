"""A library whose clock stands still, with alerts by real SMTP."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest

from holds_core.config import parse
from holds_core.ledger import daemons
from holds_core.settings.secrets import read_secrets
from mailer.app.alerts import Alerts, Senses
from mailer.app.alerts.post import ways
from mailer.app.services import Services
from tests.clock import HandClock
from tests.servers.ports import free_port
from tests.servers.sink import Sink

CONFIG = """
library: {name: とどく市立図書館, branches: [{id: main, name: 中央図書館}]}
sender: {address: yoyaku@library.example, return_path_domain: bounce.library.example}
sending: {mode: "on", quiet_hours: null}
relay: {host: 127.0.0.1, port: RELAY_PORT, tls: none}
intake: INTAKE
batches: BATCHES
feeds: FEEDS
database: {url: "DATABASE_URL"}
alerts: {to: [it@city.example, boss@city.example] MORE}
"""


@dataclass
class Office:
    """The parts, the clock, and the alerts, as one process has them. `local_port`: this machine's mail server."""

    services: Services
    clock: HandClock
    senses: Senses
    local_port: int

    def alerts(self) -> Alerts:
        """As after a start: what it remembers is the ledger's."""
        local = ("127.0.0.1", self.local_port)
        return Alerts(
            self.services, self.senses, lambda settings: ways(settings, self.services.secrets, local=local)
        )

    def later(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))


MakeOffice = Callable[..., contextlib.AbstractAsyncContextManager[Office]]


@contextlib.asynccontextmanager
async def office(
    folder: Path,
    relay_port: int,
    *,
    local_port: int | None = None,
    more: str = "",
    intake: str = "{}",
    batches: str = "[]",
    feeds: str = "{}",
    senses: Senses | None = None,
    clock: HandClock | None = None,
    url: str | None = None,
) -> AsyncIterator[Office]:
    (folder / "token.keys").write_text("0123456789abcdef" * 4)
    text = CONFIG.replace("RELAY_PORT", str(relay_port)).replace("MORE", f", {more}" if more else "")
    text = text.replace("INTAKE", intake).replace("BATCHES", batches).replace("FEEDS", feeds)
    text = text.replace("DATABASE_URL", url or f"sqlite:///{folder}/todoku.db")
    settings = parse(text, base=folder, env={})
    clock = clock or HandClock()
    services = Services.build(
        settings, read_secrets(settings, {}), clock=clock, jitter=random.Random(1).random, owner="test"
    )
    await services.ledger.upgrade()
    async with services.ledger.write() as connection:
        await daemons.began(connection, clock.now())
    try:
        yield Office(services, clock, senses or Senses(), local_port or free_port())
    finally:
        await services.close()


def mails(sink: Sink) -> list[EmailMessage]:
    """What a sink was given, read as a mail program reads it, in the order of their making."""
    found = [BytesParser(EmailMessage, policy=policy.default).parsebytes(raw) for raw in sink.messages()]
    return sorted(
        found,
        key=lambda mail: [int(part, 16) for part in mail["Message-ID"][1:].split("@")[0].split(".")[1:]],
    )


@pytest.fixture
def nobody() -> int:
    """A port where nobody listens."""
    return free_port()
