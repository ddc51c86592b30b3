"""Looks for trouble: the daemon's own state, its ledger, its disk, its relay. Finds it, tells nobody.

What needs time to be trouble (a relay that is down for a minute is not) is remembered here, from the moment
it was first seen; after a restart that time begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bounces.mailbox import MailboxState
from holds_core.alerts import Found, Trouble
from holds_core.breaker import Position, State
from holds_core.ledger import breaker as ledger_breaker
from holds_core.ledger import troubles
from holds_core.ledger.sql import get_flag
from holds_core.ledger.troubles import MISSED_WITHIN, Signs
from holds_core.providers import FEW_PATRONS
from holds_core.settings import Mode, Settings
from mailer.app.feeds.live import Lag, lags
from mailer.app.services import Services
from mailer.batches import slots_between
from mailer.compose import OTHER
from mailer.sender import PAUSED
from mailer.smtp import Relay

PROBE_EVERY = timedelta(minutes=5)
"""How often an idle relay is asked, so that IT knows before the batch does."""
PATIENCE_S = 10.0
LATE_BY = timedelta(minutes=2)
"""Prompt mail may be behind its time by so much before anybody is told: a batch may be in its way."""
LONGEST_SUBJECT = 150


@dataclass(frozen=True, slots=True)
class Senses:
    """What the daemon can say of itself: where it listens for LMTP, if it does, and how its mailbox is."""

    lmtp: Callable[[], tuple[str, int] | None] = lambda: None
    mailbox: Callable[[], MailboxState | None] = lambda: None


class Lasting:
    """Since when something has been wrong."""

    def __init__(self) -> None:
        self.since: datetime | None = None

    def note(self, now: datetime, *, wrong: bool) -> None:
        if not wrong:
            self.since = None
        elif self.since is None or self.since > now:  # the clock was set back
            self.since = now

    def for_longer_than(self, limit: timedelta, now: datetime) -> bool:
        return self.since is not None and now - self.since >= limit


class Watch:
    """Call `look` now and then. `looked_at` says which kinds the last look could judge."""

    def __init__(self, services: Services, senses: Senses, connect: Callable[[], Relay]) -> None:
        self._services, self._senses, self._connect = services, senses, connect
        self._relay, self._lmtp, self._mailbox = Lasting(), Lasting(), Lasting()
        self._relay_said = ""
        self._relay_judged = False
        self._ended = 0
        self._probed_at: datetime | None = None
        self.looked_at: frozenset[Trouble] = frozenset()

    async def look(self, settings: Settings, now: datetime) -> list[Found]:
        """All trouble there is. Raises what the ledger raises when it cannot be read."""
        due = self._slots(settings, now)
        async with self._services.ledger.read() as connection:
            signs = await troubles.signs(connection, now, list(due))
            feeds = await lags(connection, settings, now)
            fuse = await ledger_breaker.read(connection)
            paused = bool(await get_flag(connection, PAUSED))
        await self._ask_relay(settings, now)
        await self._ask_intake(settings, now)
        idle = paused or settings.sending.mode is Mode.OFF or fuse.position is not Position.CLOSED
        unsure = {
            *([] if self._relay_judged else [Trouble.RELAY_DOWN]),
            *([Trouble.PROMPT_LATE] if idle or self._relay.since else []),
        }
        found = [
            *self._relay_down(settings, now, unsure),
            *_stopped(fuse),
            *_missed(signs, due),
            *([] if Trouble.PROMPT_LATE in unsure else _late(signs, settings, now)),
            *self._intake_dead(settings, signs, now, unsure),
            *_stale(signs, feeds, settings, now),
            *self._changed(signs),
            *await asyncio.to_thread(_disk, settings, now),
            *_quarantine(signs, settings, now),
        ]
        self.looked_at = frozenset(Trouble) - unsure
        return found

    # -- the relay ---------------------------------------------------------------------------------

    async def _ask_relay(self, settings: Settings, now: datetime) -> None:
        """Whether it answers: what the sender has seen lately, else a greeting of our own."""
        state = self._services.sender.state
        ended, before = state.sent + state.refused, self._ended
        self._ended = ended
        if ended > before:
            self._relay_judged = True
            self._relay.note(now, wrong=False)
        elif settings.alerts.to and settings.sending.mode is not Mode.OFF:
            await self._probe(now)
        elif state.relay_up is not None:
            self._relay_judged = True
            self._relay_said = state.relay_error
            self._relay.note(now, wrong=not state.relay_up)

    async def _probe(self, now: datetime) -> None:
        """While it is down at every look, else seldom."""
        lately = self._probed_at is not None and timedelta() <= now - self._probed_at < PROBE_EVERY
        if lately and self._relay.since is None:
            return
        self._probed_at = now
        relay = self._connect()
        try:
            failure = await relay.connect()
        finally:
            await relay.close()
        self._relay_judged = True
        self._relay_said = f"{failure.phase}: {failure.text}" if failure else ""
        self._relay.note(now, wrong=failure is not None)

    def _relay_down(self, settings: Settings, now: datetime, unsure: set[Trouble]) -> Iterator[Found]:
        since = self._relay.since
        if since is None:
            return
        if not self._relay.for_longer_than(settings.alerts.relay_down, now):
            unsure.add(Trouble.RELAY_DOWN)
            return
        host = f"{settings.relay.host}:{settings.relay.port}"
        yield Found(Trouble.RELAY_DOWN, "", since, {"host": host, "said": self._relay_said[:200]})

    # -- mail that comes back ----------------------------------------------------------------------

    async def _ask_intake(self, settings: Settings, now: datetime) -> None:
        listen = self._senses.lmtp()
        if settings.intake.lmtp is not None:
            self._lmtp.note(now, wrong=listen is None or not await _greets(*listen))
        mailbox = self._senses.mailbox()
        if mailbox is not None:
            self._mailbox.note(now, wrong=not mailbox.connected)

    def _intake_dead(
        self, settings: Settings, signs: Signs, now: datetime, unsure: set[Trouble]
    ) -> Iterator[Found]:
        limit = settings.alerts.intake_dead
        for way, lasting in (("lmtp", self._lmtp), ("imap", self._mailbox)):
            if lasting.since is None:
                continue
            if lasting.for_longer_than(limit, now):
                yield Found(Trouble.INTAKE_DEAD, way, lasting.since)
            else:
                unsure.add(Trouble.INTAKE_DEAD)
        if signs.unread_since is not None and now - signs.unread_since >= limit:
            yield Found(Trouble.INTAKE_DEAD, "reading", signs.unread_since)

    def _changed(self, signs: Signs) -> Iterator[Found]:
        """A provider is named; a domain of few patrons may be somebody's own, and is not."""
        for change in signs.providers:
            public = self._services.composer.mailbox(change.domain).shown
            named = change.domain if change.patrons >= FEW_PATRONS else public
            facts: dict[str, str | int | float] = {
                "domain": named if named != OTHER else "-",
                "observed": round(100 * change.observed),
                "expected": round(100 * change.expected),
                "mails": change.mails,
                "suspect": change.suspect,
            }
            yield Found(Trouble.PROVIDER_CHANGED, change.domain[:LONGEST_SUBJECT], change.since, facts)

    # -- batches -----------------------------------------------------------------------------------

    def _slots(self, settings: Settings, now: datetime) -> dict[str, datetime]:
        """Slots of the last days that must have run by now."""
        zone = settings.library.timezone
        until = now - settings.alerts.batch_late
        return {
            slot.key: slot.due_at
            for slot in slots_between(settings.batches, zone, now - MISSED_WITHIN, until)
        }


async def _greets(host: str, port: int) -> bool:
    """Whether our own listener says 220."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.readline()).startswith(b"220")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, ValueError, TimeoutError):
        return False


def _stopped(fuse: State) -> Iterator[Found]:
    if fuse.position is Position.CLOSED or fuse.opened_at is None:
        return
    facts: dict[str, str | int | float] = {
        "refused": fuse.refused,
        "mails": fuse.mails,
        "reason": fuse.reason,
        "code": fuse.code,
    }
    # a second mail when the tests have failed: now it is a person's turn
    subject = "person" if fuse.position is Position.STOPPED else ""
    yield Found(Trouble.BATCH_STOPPED, subject, fuse.opened_at, facts)


def _missed(signs: Signs, due: dict[str, datetime]) -> Iterator[Found]:
    late = {slot: at for slot, at in due.items() if slot not in signs.slots}
    if signs.began is None:
        late = {}
    for slot, at in {**dict(signs.missed), **late}.items():
        # slots before the first start are nobody's
        if signs.began is None or at > signs.began:
            yield Found(Trouble.BATCH_MISSED, slot[:LONGEST_SUBJECT], at, {"slot": slot})


def _late(signs: Signs, settings: Settings, now: datetime) -> Iterator[Found]:
    since = signs.prompt_due_since
    if since is not None and now - since >= settings.sending.prompt_within + LATE_BY:
        allowed = round(settings.sending.prompt_within.total_seconds() / 60)
        yield Found(Trouble.PROMPT_LATE, "", since, {"minutes": allowed})


def _stale(signs: Signs, feeds: Sequence[Lag], settings: Settings, now: datetime) -> Iterator[Found]:
    """Each feed that is late by its own measure; else all that comes in together."""
    late = [item for item in feeds if item.late]
    for item in late:
        since = item.as_of or signs.began or now
        yield Found(Trouble.FEED_STALE, item.feed[:LONGEST_SUBJECT], since, {"failures": item.failures})
    heard = max(
        (at for at in (signs.heard_at, signs.began, *(item.as_of for item in feeds)) if at), default=None
    )
    if not late and heard is not None and now - heard >= settings.alerts.feed_stale:
        yield Found(Trouble.FEED_STALE, "", heard)


def _disk(settings: Settings, now: datetime) -> list[Found]:
    """Room where the database lies; on PostgreSQL where we run."""
    file = settings.database.sqlite_file
    folder = Path(file).parent if file is not None else Path.cwd()
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return []
    if free >= settings.alerts.disk_free_mb * 1_000_000:
        return []
    return [Found(Trouble.DISK_LOW, "", now, {"folder": str(folder), "mb": free // 1_000_000})]


def _quarantine(signs: Signs, settings: Settings, now: datetime) -> Iterator[Found]:
    if signs.quarantined > settings.alerts.quarantine:
        yield Found(Trouble.QUARANTINE_GROWING, "", now, {"mails": signs.quarantined})
