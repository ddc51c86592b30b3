"""The daemon's task for the hold shelf: once a minute, clocks, lapsed holds and reminders.

What is done stands in `holds_core.ledger.shelf`; here is only when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holds_core.ledger import shelf
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.session import Ledger
from holds_core.rulebook import Rulebook
from mailer import maillog
from mailer.clock import Clock, wait

LOOK_EVERY_S = 60.0


class ShelfKeeper:
    """`rulebook` and `rules` are asked for each time: settings may have been read again."""

    def __init__(
        self,
        ledger: Ledger,
        rulebook: Callable[[], Rulebook],
        rules: Callable[[Rulebook], EventRules],
        clock: Clock,
    ) -> None:
        self._ledger, self._rulebook, self._rules, self._clock = ledger, rulebook, rules, clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Two daemons may look at the same time: each step is taken once."""
        while not stop.is_set():
            await self.tick()
            await wait(self._clock, stop, LOOK_EVERY_S)

    async def tick(self) -> shelf.Round:
        """Looks until nothing more is due. Returns what was done in all."""
        total = shelf.Round()
        while True:
            book = self._rulebook()
            async with self._ledger.write() as connection:
                done = await shelf.look(connection, book, self._rules(book), self._clock.now())
            total = total.plus(done)
            if len(done.lapsed) < shelf.AT_ONCE:
                break
        if total != shelf.Round():
            maillog.event(
                "shelf",
                reminded=total.reminded,
                stopped=total.stopped,
                resumed=total.resumed,
                lapsed=len(total.lapsed),
            )
        return total
