"""The day's batches: when a slot is due, and the loop that lets it go once.

A slot is named by its local day and its name, "2026-11-22 朝". Running one only releases what waits in the
outbox; the sender does the rest. That it runs once, whatever restarts and however many daemons run on one
database, is the ledger's promise (`holds_core.ledger.slots.run`), not this loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from holds_core.ledger import campaign, shelf, slots
from holds_core.ledger.session import Ledger, Transaction
from holds_core.rulebook import Rulebook
from holds_core.settings import Batch, OnClosedDays
from mailer import maillog
from mailer.clock import Clock, wait

LOOK_BACK = timedelta(days=8)
"""How far back a missed slot is still worth a line in the ledger."""
BOOKS_EVERY = timedelta(seconds=20)
LONGEST_NAP = 30.0
"""Seconds between two looks at the clock, which may be set while we sleep."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One run of one batch."""

    due_at: datetime
    key: str


def slots_between(
    batches: Sequence[Batch], zone: ZoneInfo, after: datetime, until: datetime
) -> Iterator[Slot]:
    """All slots with `after` < due ≤ `until`, in order.

    A local time that a clock change skips or repeats is due once: Python resolves both to one moment.
    """
    day = after.astimezone(zone).date() - timedelta(days=1)
    last = until.astimezone(zone).date()
    found: list[Slot] = []
    while day <= last:
        for batch in batches:
            due = datetime.combine(day, batch.at, zone)
            if after < due <= until:
                found.append(Slot(due, f"{day.isoformat()} {batch.name}"))
        day += timedelta(days=1)
    yield from sorted(found)


async def before_slot(connection: Transaction, book: Rulebook, now: datetime) -> None:
    """What a batch takes with it beside the day's events: reminders, the next part of an announcement."""
    await shelf.remind(connection, book, now)
    await campaign.feed(connection, book.local(now).date(), now)


class Batches:
    """Runs due slots. `since` is when this ledger began: slots before it are nobody's."""

    def __init__(self, ledger: Ledger, rulebook: Rulebook, clock: Clock, since: datetime) -> None:
        self._ledger, self._rulebook, self._clock, self._since = ledger, rulebook, clock, since
        self._settled_until = since
        self._fed_on: date | None = None
        self._books_at = since

    def reload(self, rulebook: Rulebook) -> None:
        """Takes a new timetable."""
        self._rulebook = rulebook

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: runs each slot when it is due, and missed ones within the catch-up limit."""
        while not stop.is_set():
            await self.tick()
            await wait(self._clock, stop, self._nap())

    async def tick(self) -> list[str]:
        """Runs what is due now. Returns the keys of the slots that this call let go."""
        now = self._clock.now()
        start = max(self._settled_until, now - LOOK_BACK)
        due = list(slots_between(self._batches(), self._zone(), start, now))
        if not self._batches():
            due = [Slot(now, f"at-once {now.isoformat()}")] if await self._may_go_at_once(now) else []
        late, due = self._too_late_in_the_day(due, now)
        async with self._ledger.read() as connection:
            done = await slots.known(connection, [slot.key for slot in due])
        ran = [slot.key for slot in due if slot.key not in done and await self._run(slot, now)]
        await self._close_books(now)
        settled = min((slot.due_at - timedelta(microseconds=1) for slot in late), default=now)
        self._settled_until = max(self._settled_until, settled)
        return ran

    async def _close_books(self, now: datetime) -> None:
        """Notes when the batches before had all left."""
        if timedelta() <= now - self._books_at < BOOKS_EVERY:
            return
        self._books_at = now
        async with self._ledger.read() as connection:
            if not await slots.unfinished(connection, now):
                return
        async with self._ledger.write() as connection:
            await slots.finish(connection, now)

    def _too_late_in_the_day(self, due: list[Slot], now: datetime) -> tuple[list[Slot], list[Slot]]:
        """(wait, go): what was missed in the day is not caught up with at night, when phones would ring."""
        book = self._rulebook
        if not book.is_quiet(now):
            return [], due
        wait_for_morning = [slot for slot in due if not book.is_quiet(slot.due_at)]
        return wait_for_morning, [slot for slot in due if slot not in wait_for_morning]

    async def _run(self, slot: Slot, now: datetime) -> bool:
        outcome = self._outcome(slot, now)
        async with self._ledger.write() as connection:
            if outcome == "run":
                await before_slot(connection, self._rulebook, now)
            released = await slots.run(connection, slot.key, slot.due_at, now, outcome)
        if released is None:
            return False
        if outcome == "run":
            maillog.batch_released(slot.key, released, slot.due_at, (now - slot.due_at).total_seconds())
        else:
            maillog.batch_skipped(slot.key, outcome)
        return outcome == "run"

    def _outcome(self, slot: Slot, now: datetime) -> str:
        rules = self._rulebook.settings.batch_rules
        if now - slot.due_at > rules.catch_up + timedelta(minutes=1):
            return "missed"
        day = self._rulebook.local(slot.due_at).date()
        waits = rules.on_closed_days is OnClosedDays.WAIT and self._rulebook.all_closed(day)
        return "closed" if waits else "run"

    async def _may_go_at_once(self, now: datetime) -> bool:
        """Without batches: whether something waits that may leave now."""
        if self._rulebook.is_quiet(now) or self._outcome(Slot(now, ""), now) != "run":
            return False
        today = self._rulebook.local(now).date()
        if self._fed_on != today:  # an announcement's parts are one a day where there are no batches
            self._fed_on = today
            async with self._ledger.write() as connection:
                await before_slot(connection, self._rulebook, now)
        async with self._ledger.read() as connection:
            return bool(await slots.waiting(connection, limit=1))

    def _batches(self) -> Sequence[Batch]:
        return self._rulebook.settings.batches

    def _zone(self) -> ZoneInfo:
        return self._rulebook.settings.library.timezone

    def _nap(self) -> float:
        """Seconds until the next slot, but never longer than `LONGEST_NAP`."""
        if not self._batches():
            return 1.0
        now = self._clock.now()
        following = next(slots_between(self._batches(), self._zone(), now, now + timedelta(days=2)), None)
        left = (following.due_at - now).total_seconds() if following else LONGEST_NAP
        return min(LONGEST_NAP, max(0.05, left))
