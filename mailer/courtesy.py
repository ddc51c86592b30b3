"""Staff pages go first: work that can wait a moment waits while a page is being made.

A page is made in a few dozen short steps with the database in between. A batch in full swing comes between every
two of them, so that a page of 50 ms takes half a second and somebody with a patron on the telephone waits. The wait
is short and has an end: a busy desk slows a batch down, and never stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

LONGEST_S = 0.2
"""Seconds that one piece of work waits at most, however many pages are asked for."""


class Courtesy:
    """One per process. Pages are made inside `page`; other work calls `give_way` between two of its steps."""

    def __init__(self) -> None:
        self._pages = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def called_for(self) -> bool:
        """Whether a page is being made now."""
        return self._pages > 0

    @contextlib.contextmanager
    def page(self) -> Iterator[None]:
        """Around the making of a page."""
        self._pages += 1
        self._free.clear()
        try:
            yield
        finally:
            self._pages -= 1
            if not self._pages:
                self._free.set()

    async def give_way(self) -> None:
        """Waits until no page is being made, at most LONGEST_S."""
        if self._pages:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_S):
                    await self._free.wait()
