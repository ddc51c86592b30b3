"""The live feeds that a library has configured, and how late each of its feeds is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from holds_core.ledger import polls, snapshots
from holds_core.ledger.session import UNAVAILABLE, Transaction
from holds_core.settings import Settings
from mailer import maillog
from mailer.app.feeds.folio import FolioSource
from mailer.app.feeds.koha import KohaSource
from mailer.app.feeds.poller import Poller
from mailer.app.services import Services
from mailer.clock import wait

LOOK_EVERY_S = 60.0


def pollers(services: Services) -> list[Poller]:
    """One for each live feed."""
    feeds, secrets = services.settings.feeds, services.secrets
    found = []
    if (koha := feeds.koha) is not None:
        found.append(Poller(services, koha.name, koha, lambda: KohaSource(koha, secrets.koha_secret or "")))
    if (folio := feeds.folio) is not None:
        zone = services.settings.library.timezone
        found.append(
            Poller(
                services, folio.name, folio, lambda: FolioSource(folio, secrets.folio_password or "", zone)
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a feed is behind. `as_of` None: nothing was ever taken in. `error`: why, if we know."""

    feed: str
    as_of: datetime | None
    lag: timedelta | None
    late: bool
    failures: int = 0
    error: str = ""


def allowed(settings: Settings) -> dict[str, timedelta]:
    """Feed -> how old its data may become. A snapshot without a folder comes when somebody hands it in."""
    feeds = settings.feeds
    found = {item.name: item.late_after for item in feeds.snapshots if item.folder is not None}
    return found | {live.name: live.late_after for live in (feeds.koha, feeds.folio) if live is not None}


async def lags(connection: Transaction, settings: Settings, now: datetime) -> list[Lag]:
    """Every configured feed, and how late it is."""
    times = await snapshots.feed_times(connection)
    asked = await polls.polls(connection)
    return [_lag(name, limit, times, asked, now) for name, limit in allowed(settings).items()]


def _lag(
    name: str,
    limit: timedelta,
    times: Mapping[str, Mapping[str, str]],
    asked: Mapping[str, polls.Poll],
    now: datetime,
) -> Lag:
    said = times.get(name, {}).get("as_of")
    as_of = datetime.fromisoformat(said) if said else None
    poll = asked.get(name, polls.Poll())
    # a feed that was never read is late once it has been failing for as long
    since = as_of or poll.failing_since
    late = since is not None and now - since > limit
    return Lag(name, as_of, now - as_of if as_of else None, late, poll.failures, poll.error)


class LagWatch:
    """Logs a feed that has become late, and once more when it is back."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._late: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            await self.look()
            await wait(self._services.clock, stop, LOOK_EVERY_S)

    async def look(self) -> None:
        """Compares with what was found last."""
        services = self._services
        try:
            async with services.ledger.read() as connection:
                found = await lags(connection, services.settings, services.clock.now())
        except UNAVAILABLE:
            return
        for item in found:
            if item.late and item.feed not in self._late:
                self._late.add(item.feed)
                maillog.feed_late(item.feed, item.as_of, item.error)
            elif not item.late and item.feed in self._late:
                self._late.discard(item.feed)
                maillog.event("feed_back", feed=item.feed)
