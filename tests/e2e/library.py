"""One library for the end-to-end tests: settings, parts and a feed, on a database of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bounces.lmtp import LmtpListener
from holds_core.config import parse
from holds_core.feeds.intake import ImportReport, Parsed
from holds_core.feeds.wire import parse as parse_event
from holds_core.ledger import slots
from holds_core.ledger.models import attempts, cases, deliveries, evidence, inbound
from holds_core.settings.secrets import read_secrets
from mailer.app.services import Services
from mailer.clock import Clock, SystemClock
from tests.servers.ports import wait_until

CONFIG = """
library:
  name: とどく市立図書館
  phone: 03-5550-0100
  branches:
    - {id: main, name: 中央図書館, phone: 03-5550-0101, hours: 9時から19時}
sender:
  address: noreply@library.example
  return_path: RETURN_PATH
  return_path_domain: RETURN_DOMAIN
  return_path_mailbox: bounces
  token_keys_file: token.keys
sending: {mode: "on", quiet_hours: null, retry_delays: RETRY_DELAYS, give_up_after: 2h}
relay: {host: 127.0.0.1, port: RELAY_PORT, tls: TLS, connections: 4}
intake: {lmtp: {listen: "127.0.0.1:LMTP_PORT"}}
database: {url: "DATABASE_URL"}
desk: {listen: "127.0.0.1:0"}
confirm: {listen: "127.0.0.1:0"}
"""


def config(folder: Path, **values: object) -> str:
    """The settings' text; writes the token keys beside it."""
    (folder / "token.keys").write_text("0123456789abcdef" * 4)
    defaults: dict[str, object] = {
        "RETURN_PATH": "verp",
        "RETURN_DOMAIN": "lmtp.library.example",
        "LMTP_PORT": 0,
        "TLS": "none",
        "RETRY_DELAYS": "[1s]",
        "DATABASE_URL": f"sqlite:///{folder}/todoku.db",
    }
    text = CONFIG
    for name, value in (defaults | values).items():
        text = text.replace(name, str(value))
    return text


class Library:
    """The parts of one process, with what tests ask of them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._serial = 0

    async def event(self, type_: str, **fields: object) -> ImportReport:
        self._serial += 1
        now = self.services.clock.now().isoformat()
        data = {"id": f"e{self._serial}", "at": now, "type": type_} | fields
        report = await self.services.intake().run([Parsed(1, parse_event(data))], "test")
        assert not report.failed, report.failed
        return report

    async def ready_hold(self, number: int, address: str) -> str:
        """A patron with this address and a hold on the shelf for them. Returns the patron's id."""
        await self.event("patron", patron_id=f"P{number}", email=address, name="図書 花子")
        await self.event(
            "hold.shelved",
            hold_id=f"H{number}",
            patron_id=f"P{number}",
            title="吾輩は猫である",
            branch="main",
        )
        return f"P{number}"

    async def batch(self, name: str = "test") -> int | None:
        now = self.services.clock.now()
        async with self.services.ledger.write() as connection:
            return await slots.run(connection, name, now, now)

    async def send(self) -> None:
        """Sends what is due now and returns when it is done."""
        await asyncio.wait_for(self.services.sender.run(asyncio.Event(), until_idle=True), 60)

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[Any]:
        async with self.services.ledger.read() as connection:
            return (await connection.execute(sa.select(table).where(*where))).all()

    async def delivery(self, patron_id: str) -> Any:
        """The patron's only delivery."""
        [row] = await self.rows(deliveries, deliveries.c.patron_id == patron_id)
        return row

    async def signs(self, patron_id: str) -> list[str]:
        rows = await self.rows(evidence, evidence.c.patron_id == patron_id)
        return [row.kind for row in rows]

    async def attempts(self, delivery_id: int) -> Sequence[Any]:
        return await self.rows(attempts, attempts.c.delivery_id == delivery_id)

    async def open_case(self, patron_id: str) -> list[str] | None:
        rows = await self.rows(cases, cases.c.patron_id == patron_id, cases.c.state == "open")
        return list(rows[0].reasons) if rows else None

    async def finds(self, patron_id: str, *signs: str, timeout: float = 40) -> None:
        """Waits until these signs were recorded for the patron."""

        async def there() -> bool:
            await self.services.ingest.read_all()
            return set(signs) <= set(await self.signs(patron_id))

        await wait_until(there, timeout, f"{signs} for {patron_id}")

    async def quarantined(self) -> Sequence[Any]:
        return await self.rows(inbound, inbound.c.state == "quarantined")


@contextlib.asynccontextmanager
async def library(folder: Path, clock: Clock | None = None, **values: object) -> AsyncIterator[Library]:
    """A library whose parts are closed afterwards; by the machine's clock unless another is given."""
    settings = parse(config(folder, **values), base=folder, env={})
    services = Services.build(
        settings,
        read_secrets(settings, {}),
        clock=clock or SystemClock(),
        jitter=random.Random(1).random,
        owner="test",
    )
    await services.ledger.upgrade()
    try:
        yield Library(services)
    finally:
        await services.close()


@contextlib.asynccontextmanager
async def lmtp(services: Services, port: int) -> AsyncIterator[LmtpListener]:
    """Our listener on the port that the relay delivers the return path to."""
    listener = LmtpListener("127.0.0.1", port, services.ingest.store, services.clock.now)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()
