"""What was staged against the last snapshot in the ledger: page by page, in flat memory.

Enters a `Staging` and a source; leaves the figures of `Counts`, and the differences noted in the staging.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holds_core.feeds import changes
from holds_core.feeds.changes import Change, Counts, Known
from holds_core.feeds.staging import Staging
from holds_core.ledger import snapshots
from holds_core.ledger.session import Ledger
from holds_core.ledger.snapshots import Source

PAGE = 5000
"""Rows of either snapshot that are compared at a time."""


async def compare(ledger: Ledger, staging: Staging, source: Source) -> Counts:
    """All that was staged is all there is: what the last snapshot has beyond it is gone."""
    counts = _counts(staging)
    async for old, found in _differences(ledger, staging, source):
        counts.old += old
        await _note(staging, found, counts)
    return counts


async def compare_part(ledger: Ledger, staging: Staging, source: Source) -> Counts:
    """What was staged is a part, such as what changed lately: nothing is taken for gone."""
    counts = _counts(staging)
    after, full = "", True
    while full:
        new = await asyncio.to_thread(staging.page, after, PAGE)
        after, full = new.last, new.full
        async with ledger.read() as connection:
            old = await snapshots.among(connection, source, [row.key for row in new.rows])
        await _note(staging, changes.differences(old, new.rows), counts)
    async with ledger.read() as connection:
        counts.old = await snapshots.count(connection, source)
    return counts


async def missing(ledger: Ledger, staging: Staging, source: Source) -> list[Known]:
    """Rows of the last snapshot of which the staging says nothing."""
    found: list[Known] = []
    async for _, differing in _differences(ledger, staging, source):
        found += [change.old for change in differing if change.old is not None and change.new is None]
    return found


def _counts(staging: Staging) -> Counts:
    tally = staging.tally
    return Counts(new=tally.good, unread=tally.unread, odd=tally.odd)


async def _note(staging: Staging, found: list[Change], counts: Counts) -> None:
    for change in found:
        counts.add(change)
    await asyncio.to_thread(staging.note, found)


async def _differences(
    ledger: Ledger, staging: Staging, source: Source
) -> AsyncIterator[tuple[int, list[Change]]]:
    """(rows of the last snapshot, differences), for one range of keys after the other."""
    after = ""
    while True:
        new = await asyncio.to_thread(staging.page, after, PAGE)
        async with ledger.read() as connection:
            old = await snapshots.page(connection, source, after, PAGE)
        ends = [new.last] if new.full else []
        if len(old) == PAGE:
            ends.append(old[-1].key)
        if not ends:
            yield len(old), changes.differences(old, new.rows, new.unread)
            return
        # of both only what lies before the nearer end: beyond it one of the pages knows nothing
        after = min(ends)
        before = [row for row in old if row.key <= after]
        yield (
            len(before),
            changes.differences(
                before,
                [row for row in new.rows if row.key <= after],
                [key for key in new.unread if key <= after],
            ),
        )
