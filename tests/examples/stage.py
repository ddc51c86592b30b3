"""A stage for the examples: a library as its example file has it, on a ledger of the test's own, with a clock
that the test moves and a mail server that takes every mail and keeps it.

Only what ties an example to a machine is changed: where the database is, where the relay listens, and that mail
is sent at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from aiosmtpd.smtp import SMTP, Envelope

from holds_core.config import parse
from holds_core.feeds.intake import ImportReport, Parsed, lines_of
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.feeds.wire import parse as parse_event
from holds_core.ledger import decisions
from holds_core.ledger.models import cases, holds
from holds_core.ledger.reception_runs import Run
from holds_core.settings.secrets import read_secrets
from mailer.app.dropfolder import import_snapshot
from mailer.app.reception import ReceptionDesk
from mailer.app.services import Services, event_rules
from mailer.app.shelfkeeper import ShelfKeeper
from mailer.batches import Batches
from tests.clock import HandClock

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class StageClock(HandClock):
    """Between two moves the time stands still; a nap within one is over at once."""

    async def sleep(self, seconds: float) -> None:
        if seconds < 1:
            await asyncio.sleep(0.001)
        else:
            await super().sleep(seconds)


@dataclass(frozen=True)
class Mail:
    """One mail that arrived."""

    to: str
    subject: str
    text: str
    sender: str


class Postbox:
    """The town's mail server. `refuses` maps a recipient to the answer it gets."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refuses: dict[str, str] = {}

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self.refuses.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, EmailMessage, policy=policy.default)
        body = message.get_body(("plain",))
        assert body is not None
        sender = message["From"].addresses[0].addr_spec
        for address in envelope.rcpt_tos:
            self.mails.append(Mail(address, str(message["Subject"]), body.get_content(), sender))
        return "250 2.0.0 Ok"


def flat(text: str) -> str:
    """A mail's text without its line ends and indents."""
    return "".join(line.strip() for line in text.splitlines())


def with_key(text: str, section: str, key: str, value: str) -> str:
    """The settings' text with one key of a section set, whether it was there or not."""
    found = re.search(rf"(?ms)^{section}:\n(?:[ \t]+.*\n|\s*#.*\n|\n)*", text)
    if found is None:
        return f"{text}\n{section}:\n  {key}: {value}\n"
    block, line = found[0], f"  {key}: {value}\n"
    there = re.search(rf"(?m)^  {key}:.*\n", block)
    changed = block.replace(there[0], line) if there else block.replace("\n", "\n" + line, 1)
    return text.replace(block, changed, 1)


class Stage:
    """One library's example, played. Times are local to it."""

    def __init__(self, services: Services, clock: HandClock, postbox: Postbox, folder: Path) -> None:
        self.services, self.clock, self.postbox, self.folder = services, clock, postbox, folder
        self.zone = services.settings.library.timezone
        self._batches: Batches | None = None
        self._serial = 0

    # -- time --------------------------------------------------------------------------------------

    def at(self, moment: str) -> datetime:
        """`2026-11-21 10:00` in the library's time."""
        return datetime.fromisoformat(moment).replace(tzinfo=self.zone)

    async def until(self, moment: str) -> list[Mail]:
        """Lets the daemon's tasks work until then, whenever something may be due. Returns the mails that
        arrived."""
        seen = len(self.postbox.mails)
        goal = self.at(moment)
        assert goal >= self.clock.now(), "time goes one way"
        while True:
            await self.tick()
            if self.clock.now() >= goal:
                break
            self.clock.set(min(goal, self._next_moment()))
        return self.postbox.mails[seen:]

    def _next_moment(self) -> datetime:
        """When something may be due next: the morning, the reception, a batch, a new day."""
        settings = self.services.settings
        times = {time(0, 1), settings.holds.reception_at, *(batch.at for batch in settings.batches)}
        if settings.sending.quiet_hours:
            times.add(settings.sending.quiet_hours.end)
        now = self.clock.now().astimezone(self.zone)
        days = (now.date(), now.date() + timedelta(days=1))
        moments = (datetime.combine(day, at, self.zone) for day in days for at in times)
        return min(moment for moment in moments if moment > now)

    async def tick(self) -> list[Run]:
        """What the daemon does all the time, once."""
        ran = await self.reception().tick()
        book = self.services.rulebook
        await ShelfKeeper(self.services.ledger, lambda: book, event_rules, self.clock).tick()
        if self._batches is None:
            self._batches = Batches(self.services.ledger, book, self.clock, self.clock.now())
        await self._batches.tick()
        async with asyncio.timeout(60):
            await self.services.sender.run(asyncio.Event(), until_idle=True)
        return ran

    def reception(self) -> ReceptionDesk:
        return ReceptionDesk(self.services.ledger, lambda: self.services.rulebook, event_rules, self.clock)

    # -- what comes in -----------------------------------------------------------------------------

    async def event(self, type_: str, **fields: object) -> ImportReport:
        """One event, at the present time unless it says otherwise."""
        self._serial += 1
        data = {"id": f"test-{self._serial}", "at": self.clock.now().isoformat(), "type": type_} | fields
        return await self.services.intake().run([Parsed(1, parse_event(data))], "api")

    async def line(self, file: str, *ids: str) -> ImportReport:
        """Those lines of an example's event file, by their ids."""
        lines = (self.folder / file).read_bytes().splitlines()
        chosen = [line for line in lines if any(f'"{event_id}"'.encode() in line for event_id in ids)]
        assert len(chosen) == len(ids)
        return await self.services.intake().run(lines_of(chosen), "api")

    async def snapshot(self, file: str) -> SnapshotReport:
        """A nightly file of the example."""
        report = await import_snapshot(self.services, self.folder / file, None)
        assert not report.refused, report.refused
        assert not report.failed, list(report.lines())
        return report

    # -- what may be seen --------------------------------------------------------------------------

    async def states(self, *hold_ids: str) -> dict[str, str]:
        async with self.services.ledger.read() as connection:
            rows = await connection.execute(
                sa.select(holds.c.hold_id, holds.c.state)
                .where(holds.c.hold_id.in_(hold_ids))
                .order_by(holds.c.hold_id)
            )
            return {row.hold_id: row.state for row in rows}

    async def hold(self, hold_id: str) -> Any:
        async with self.services.ledger.read() as connection:
            return (await connection.execute(sa.select(holds).where(holds.c.hold_id == hold_id))).one()

    async def decided(self) -> list[tuple[str, str, str]]:
        """(decision, hold, reason) of everything decided so far, in order."""
        async with self.services.ledger.read() as connection:
            rows = await decisions.after(connection, 0, 1000)
        return [(row["decision"], row["hold_id"], row["reason"]) for row in rows]

    async def call_list(self) -> dict[str, list[str]]:
        """Patron -> why, of every open case."""
        async with self.services.ledger.read() as connection:
            rows = await connection.execute(sa.select(cases).where(cases.c.state == "open"))
            return {row.patron_id: list(row.reasons) for row in rows}


@contextlib.asynccontextmanager
async def staged(name: str, tmp_path: Path, start: str, **more: str) -> AsyncIterator[Stage]:
    """The example `name` on a new ledger in `tmp_path`, at the local time `start`.

    `more` sets further keys, written `section__key="value"`.
    """
    postbox = Postbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(postbox, loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = (EXAMPLES / f"{name}.yaml").read_text("utf-8")
    keys = {
        "relay__host": "127.0.0.1",
        "relay__port": str(port),
        "relay__tls": "none",
        "sending__mode": "on",
        "sending__dsn": "false",
        "database__url": f"sqlite:///{tmp_path}/todoku.db",
        **more,
    }
    for place, value in keys.items():
        section, _, key = place.partition("__")
        text = with_key(text, section, key, value)
    (tmp_path / "token.keys").write_text("k" * 64, "ascii")
    (tmp_path / "token.keys").chmod(0o600)
    folder = tmp_path / name
    if (EXAMPLES / name).is_dir():
        shutil.copytree(EXAMPLES / name, folder)
    settings = parse(text, base=tmp_path, env={})
    clock = StageClock(datetime.fromisoformat(start).replace(tzinfo=settings.library.timezone))
    services = Services.build(
        settings, read_secrets(settings, {}), clock=clock, jitter=lambda: 0.5, owner="stage"
    )
    try:
        await services.ledger.upgrade()
        yield Stage(services, clock, postbox, folder)
    finally:
        await services.close()
        server.close()
        await server.wait_closed()


def subjects(mails: Sequence[Mail]) -> list[tuple[str, str]]:
    """(recipient, subject without the library's name) of each mail."""
    return [(mail.to, mail.subject.partition("(")[0]) for mail in mails]
