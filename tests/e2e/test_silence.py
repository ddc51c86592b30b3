"""The daemon finds a provider that has fallen silent, says so, and puts whom it concerns on the call list."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import fmean

from holds_core.config import parse
from holds_core.feeds.intake import Parsed
from holds_core.feeds.wire import parse as parse_event
from holds_core.ledger import desk, silence
from holds_core.ledger.models import deliveries, risks
from holds_core.provider_watch import Suspect
from holds_core.settings.secrets import read_secrets
from holds_core.silence_reasons import RiskReason
from mailer.app.daemon import Daemon
from mailer.app.notify import Notifier
from mailer.app.services import Services
from tests.clock import HandClock
from tests.core.ledger.helpers import rows
from tests.core.ledger.history import Scribe
from tests.core.silence_world import World, morning
from tests.e2e.library import config
from tests.servers.ports import wait_until
from tests.servers.sink import Sink

TURNS, FIRST_DAY, LAST_DAY = 45, 50, 70
DOMAINS = {"good.example": [(0, 0.03)], "turns.example": [(0, 0.03), (TURNS, 0.75)]}


def services_of(folder: Path, relay_port: int, clock: HandClock, owner: str) -> Services:
    settings = parse(config(folder, RELAY_PORT=relay_port), base=folder, env={})
    return Services.build(
        settings, read_secrets(settings, {}), clock=clock, jitter=random.Random(1).random, owner=owner
    )


@contextlib.asynccontextmanager
async def running(services: Services) -> AsyncIterator[None]:
    daemon = Daemon(services, Notifier({}))
    task = asyncio.create_task(daemon.run())
    try:
        async with asyncio.timeout(60):
            await daemon.ready.wait()
        yield
    finally:
        daemon.stop.set()
        async with asyncio.timeout(60):
            await task


async def weighed(services: Services, since: datetime) -> None:
    """Waits until the daemon has weighed everything at `since` or later."""

    async def done() -> bool:
        async with services.ledger.read() as connection:
            last = await silence.weighed_at(connection)
        return last is not None and last >= since

    await wait_until(done, 60, f"the weighing of {since}")


async def test_a_silent_provider_is_found_and_its_patrons_are_called_first(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    sink, clock = smtp_sink(), HandClock(morning(FIRST_DAY))
    services = services_of(tmp_path, sink.port, clock, "one")
    await services.ledger.upgrade()
    seen = iter(World(DOMAINS, mails_a_day=8, days=LAST_DAY + 1, seed=5).observations())
    scribe, ahead = Scribe(services.ledger), next(seen)

    async def live_until(moment: datetime) -> None:
        """The history goes on until then."""
        nonlocal ahead
        past = []
        while ahead.at < moment:
            past.append(ahead)
            ahead = next(seen)
        await scribe.write(past)

    await live_until(clock.now())
    async with running(services):
        for day in range(FIRST_DAY, LAST_DAY):
            await live_until(morning(day))
            clock.set(morning(day))
            await weighed(services, morning(day))
            async with services.ledger.read() as connection:
                alerts = await silence.alerts(connection, open_only=True)
            if alerts:
                break
        [alert] = alerts
        assert (alert.domain, alert.suspect) == ("turns.example", Suspect.PROVIDER)
        assert TURNS < day <= TURNS + 20
        assert alert.shown < alert.sent * alert.expected
        # somebody's hold is announced there today, by real SMTP
        await announce(services, clock)
        await wait_until(partial(handed_over, services, clock), 60, "the mail to be handed over")
        assert sink.count() == 1
        clock.advance(timedelta(minutes=16))
        await wait_until(partial(at_risk, services), 60, "the new mail's risk")
    # stopped and started again, the same is known and nothing is told twice
    again = services_of(tmp_path, sink.port, clock, "two")
    before = {row.notice_id: row.risk for row in await rows(services.ledger, risks)}
    await services.close()
    clock.advance(timedelta(minutes=1))
    async with running(again):
        await weighed(again, clock.now())
        async with again.ledger.read() as connection:
            assert [item.id for item in await silence.alerts(connection)] == [alert.id]
            cases = desk.order(await desk.open_cases(connection, clock.now().date()), clock.now())
        after = {row.notice_id: row.risk for row in await rows(again.ledger, risks)}
    assert after.keys() == before.keys()
    mine = next(case for case in cases if case.patron_id == "P1")
    assert mine.reasons == ("at_risk",)
    assert RiskReason.PROVIDER_SILENT in mine.risk_reasons
    risks_of = {
        domain: [case.risk or 0.0 for case in cases if case.patron_id.endswith(f"@{domain}")]
        for domain in DOMAINS
    }
    assert fmean(risks_of["turns.example"]) > fmean(risks_of["good.example"])
    assert all(case.at_stake is not None for case in cases if case.hold_ids)
    worth = [case.at_stake.worth(clock.now(), desk.COUNTER) for case in cases if case.at_stake is not None]
    assert worth == sorted(worth, reverse=True)
    await again.close()


async def announce(services: Services, clock: HandClock) -> None:
    """A hold of P1's is shelved before the batch, and the batch's time comes."""
    events: list[dict[str, object]] = [
        {"type": "patron", "email": "p1@turns.example", "phones": ["0900-00-0001"]},
        {"type": "hold.shelved", "hold_id": "X1", "title": "吾輩は猫である", "branch": "main"},
    ]
    for number, fields in enumerate(events):
        event = {"id": f"e{number}", "at": clock.now().isoformat(), "patron_id": "P1", **fields}
        report = await services.intake().run([Parsed(1, parse_event(event))], "test")
        assert not report.failed, report.failed
    clock.advance(timedelta(minutes=41))  # from 08:30 to the batch of 09:10


async def handed_over(services: Services, clock: HandClock) -> bool:
    clock.advance(timedelta(seconds=5))  # the sender's next look, should it have looked before the batch
    found = await rows(services.ledger, deliveries, deliveries.c.patron_id == "P1")
    return [row.state for row in found] == ["handed_over"]


async def at_risk(services: Services) -> bool:
    [mail] = await rows(services.ledger, deliveries, deliveries.c.patron_id == "P1")
    return bool(await rows(services.ledger, risks, risks.c.notice_id == mail.notice_id, risks.c.alarming))
