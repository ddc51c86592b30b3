"""The calendars of a running process kept true: holidays from files, closings that somebody just entered.

Enters the ledger; leaves rulebooks whose calendars know what it says. A change is in force within seconds in
every daemon of the library, without a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from holds_core.calendar import Holidays
from holds_core.errors import BadInput
from holds_core.holiday_list import read_official
from holds_core.ledger import closures
from holds_core.ledger.session import Ledger
from holds_core.rulebook import Days, Rulebook
from holds_core.settings import Settings
from mailer import maillog
from mailer.clock import Clock, wait

LOOK_EVERY_S = 10.0


def holidays_of(settings: Settings) -> Holidays:
    """Public holidays by the settings: the Cabinet Office's file where one is named, else calculated.

    Raises BadInput that names the file.
    """
    file = settings.library.holidays_file
    if file is None:
        return Holidays()
    try:
        return Holidays(read_official(file.read_bytes()))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from error
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from error


class DayKeeper:
    """Tells rulebooks what the ledger knows of days. One per process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stamp: tuple[object, ...] | None = None
        self.known = Days()

    async def refresh(self, *books: Rulebook) -> bool:
        """Looks whether something was entered, and puts it into `books`. Returns whether it was."""
        async with self._ledger.read() as connection:
            stamp = await closures.stamp(connection)
            if stamp == self._stamp:
                return False
            self.known = await closures.in_force(connection)
        self._stamp = stamp
        for book in books:
            book.take(self.known)
        return True

    async def run(self, clock: Clock, books: Callable[[], Iterable[Rulebook]], stop: asyncio.Event) -> None:
        """Until `stop`: looks again and again. `books` are those in use at the time."""
        while not stop.is_set():
            if await self.refresh(*books()):
                maillog.event("calendar_changed", closings=len(self.known.closings))
            await wait(clock, stop, LOOK_EVERY_S)
