"""`Ledger.write_many`: one transaction, all or nothing, also when its caller goes away."""

import asyncio
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import flags
from holds_core.ledger.session import Ledger
from holds_core.ledger.sql import get_flag, insert_new, put_flag
from tests.core.ledger.conftest import NOON

on_sqlite = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
"""Only SQLite works in a thread."""


async def value(ledger: Ledger, name: str) -> object:
    async with ledger.read() as connection:
        return await get_flag(connection, name)


async def test_it_commits_and_gives_back_the_result(ledger: Ledger) -> None:
    async def work(connection: AsyncConnection) -> int:
        for number in range(100):
            await put_flag(connection, f"n{number}", number, NOON)
        return await connection.scalar(sa.select(sa.func.count()).select_from(flags)) or 0

    assert await ledger.write_many(work) == 100
    assert await value(ledger, "n99") == 99


async def test_what_raises_is_rolled_back(ledger: Ledger) -> None:
    async def work(connection: AsyncConnection) -> None:
        await put_flag(connection, "a", 1, NOON)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await ledger.write_many(work)
    assert await value(ledger, "a") is None


async def doomed(connection: AsyncConnection) -> None:
    async with connection.begin_nested():
        await put_flag(connection, "b", 2, NOON)
        await connection.execute(sa.insert(flags).values(name="a", value=3, at=NOON))


async def test_a_savepoint_takes_back_its_own_part_only(ledger: Ledger) -> None:
    async def work(connection: AsyncConnection) -> None:
        await put_flag(connection, "a", 1, NOON)
        with pytest.raises(sa.exc.IntegrityError):
            await doomed(connection)
        assert not await insert_new(connection, flags, {"name": "a", "value": 4, "at": NOON})

    await ledger.write_many(work)
    assert (await value(ledger, "a"), await value(ledger, "b")) == (1, None)


async def test_it_takes_turns_with_other_writers(ledger: Ledger) -> None:
    async def add(connection: AsyncConnection) -> None:
        await put_flag(connection, "sum", (await get_flag(connection, "sum", 0)) + 1, NOON)

    async def plain() -> None:
        async with ledger.write() as connection:
            await connection.execute(sa.select(flags).with_for_update())
            await add(connection)

    async def many(connection: AsyncConnection) -> None:
        await connection.execute(sa.select(flags).with_for_update())
        await add(connection)

    async with ledger.write() as connection:
        await put_flag(connection, "sum", 0, NOON)
    await asyncio.gather(*(plain() for _ in range(10)), *(ledger.write_many(many) for _ in range(10)))
    assert await value(ledger, "sum") == 20


@on_sqlite
async def test_a_caller_that_is_cancelled_waits_for_the_end(ledger: Ledger) -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def work(connection: AsyncConnection) -> None:
        begun.set()
        go_on.wait(30)
        await put_flag(connection, "a", 1, NOON)

    task = asyncio.create_task(ledger.write_many(work))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    next_writer = asyncio.create_task(ledger.write_many(lambda connection: get_flag(connection, "a")))
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await next_writer == 1


@on_sqlite
async def test_work_that_waits_for_something_else_is_an_error(ledger: Ledger) -> None:
    async def work(connection: AsyncConnection) -> None:
        await put_flag(connection, "a", 1, NOON)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="nothing but its connection"):
        await ledger.write_many(work)
    assert await value(ledger, "a") is None
