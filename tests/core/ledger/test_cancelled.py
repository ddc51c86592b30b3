"""A task that is cut off in the middle of a transaction leaves nothing behind: no row, no lock."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from holds_core.ledger.session import Ledger

ROWS, TIMES, NEXT_S = 20_000, 60, 5.0


@pytest.fixture
def no_collector() -> Iterator[None]:
    """A lock that only garbage collection gives back counts as kept."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_the_next_writer_begins_at_once_wherever_one_was_cut_off(ledger: Ledger) -> None:
    # in SQLite a statement that was not read to its end keeps its connection's lock
    async with ledger.write() as connection:
        await connection.execute(sa.text("CREATE TABLE numbers (number INTEGER)"))
        await connection.execute(
            sa.text("INSERT INTO numbers VALUES (:number)"), [{"number": number} for number in range(ROWS)]
        )

    async def write() -> None:
        async with ledger.write() as connection:
            await connection.execute(sa.text("INSERT INTO numbers VALUES (-1)"))
            (await connection.execute(sa.text("SELECT number FROM numbers LIMIT 3000"))).all()
            await connection.execute(sa.text("INSERT INTO numbers VALUES (-2)"))

    moments = random.Random(1)
    for _ in range(TIMES):
        cut = [asyncio.create_task(write()) for _ in range(2)]
        await asyncio.sleep(moments.random() * 0.02)
        for task in cut:
            task.cancel()
        kept = await asyncio.gather(*cut, return_exceptions=True)  # as a supervisor keeps them
        async with asyncio.timeout(NEXT_S):
            await write()
        del kept

    count = sa.text("SELECT count(*) FROM numbers WHERE number = :number")
    async with ledger.read() as connection:
        first, second = [await connection.scalar(count, {"number": number}) for number in (-1, -2)]
    assert first == second >= TIMES
