"""A relay that starts to refuse our mail in mid-batch: the batch stops, nobody is marked, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from holds_core.breaker import Position, State
from holds_core.ledger import breaker
from holds_core.ledger.models import addresses, cases, deliveries
from tests.e2e.library import Library, library
from tests.faults.moody import Moody
from tests.servers.ports import wait_until

MAILS = 120
CONNECTIONS = 4
REFUSAL = "550 5.7.1 Service refused, message does not meet our requirements"


async def position(town: Library) -> State:
    async with town.services.ledger.read() as connection:
        return await breaker.read(connection)


def with_breaker(town: Library, **changes: object) -> None:
    """Other limits than the shipped ones, so that a test need not wait for minutes."""
    settings = town.services.settings
    limit = settings.sending.breaker.model_copy(update=changes)
    settings.sending.__dict__["breaker"] = limit
    town.services.sender.reload(town.services.rulebook, town.services.composer)


async def fill(town: Library, mails: int = MAILS) -> None:
    for number in range(mails):
        await town.ready_hold(number, f"p{number}@far.example")
    assert await town.batch() == mails


async def states(town: Library) -> Counter[str]:
    return Counter(row.state for row in await town.rows(deliveries))


@contextlib.asynccontextmanager
async def sending(town: Library) -> AsyncIterator[None]:
    """The sender as the daemon runs it."""
    stop = asyncio.Event()
    running = asyncio.create_task(town.services.sender.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 120)


def turning(relay: Moody, after: int) -> None:
    """Takes so many mails and refuses all others."""
    relay.answer = lambda _: "" if len(relay.taken) < after else REFUSAL


async def nobody_is_marked(town: Library) -> None:
    rows = await town.rows(addresses)
    assert {row.standing for row in rows} <= {"unproven"}


async def opens(town: Library) -> None:
    async def opened() -> bool:
        return (await position(town)).position is not Position.CLOSED

    await wait_until(opened, 30, "the breaker to open")
    await wait_until(lambda: town.services.sender.idle, 30, "the connections to rest")

    async def recorded() -> bool:
        return "sending" not in await states(town)

    await wait_until(recorded, 30, "the last outcomes to be recorded")


async def test_it_stops_in_mid_batch_tests_and_goes_on_by_itself(tmp_path: Path) -> None:
    relay = Moody()
    turning(relay, 50)
    async with relay.run(), library(tmp_path, RELAY_PORT=relay.port) as town:
        # so long that a slow machine has looked at what stopped before the first test, and the next is far
        with_breaker(town, probe_after=timedelta(seconds=4))
        await fill(town)
        async with sending(town):
            await opens(town)
            stopped = len(relay.refused)
            assert 5 <= stopped <= 7 + CONNECTIONS, "no more than its share and what was on the wire"
            seen = await position(town)
            assert (seen.code, seen.reason) == ("550 5.7.1", "securityerror")
            found = await states(town)
            taken = len(relay.taken)
            assert 50 <= taken < 50 + CONNECTIONS
            assert found == {"handed_over": taken, "refused": stopped, "pending": MAILS - taken - stopped}
            await nobody_is_marked(town)
            # one mail tests, is refused, and it waits again
            await wait_until(lambda: len(relay.refused) == stopped + 1, 20, "a test")
            await asyncio.sleep(0.5)
            assert len(relay.refused) == stopped + 1, "a test is a single mail"
            relay.answer = lambda _: ""

            async def all_gone() -> bool:
                return (await states(town)) == {"handed_over": MAILS}

            await wait_until(all_gone, 40, "the batch to be finished")
        assert (await position(town)).lets_mail_through
        await nobody_is_marked(town)
        assert not await town.rows(cases, cases.c.state == "open"), "there is nobody to phone"
    assert Counter(relay.taken) == {f"p{number}@far.example": 1 for number in range(MAILS)}
    assert len(set(relay.message_ids)) == MAILS


async def test_a_restart_in_the_middle_keeps_it_and_a_person_resumes(tmp_path: Path) -> None:
    relay = Moody()
    turning(relay, 20)
    async with relay.run():
        async with library(tmp_path, RELAY_PORT=relay.port) as town:
            with_breaker(town, probes=0)
            await fill(town, 60)
            async with sending(town):
                await opens(town)
        refused, taken = len(relay.refused), len(relay.taken)
        relay.answer = lambda _: ""
        for _ in range(2):
            async with library(tmp_path, RELAY_PORT=relay.port) as town, sending(town):
                state = town.services.sender.state
                await wait_until(lambda state=state: "circuit breaker" in state.paused, 20, "the stop")  # type: ignore[misc]
                await asyncio.sleep(0.5)
                assert len(relay.taken) == taken, "still stopped"
        async with library(tmp_path, RELAY_PORT=relay.port) as town:
            assert (await position(town)).position is Position.STOPPED
            await town.send()
            assert len(relay.taken) == taken, "`todoku batch` is stopped too"
            async with town.services.ledger.write() as connection:
                assert await breaker.resume(connection, town.services.clock.now()) == refused
            await town.send()
            assert await states(town) == {"handed_over": 60}
            await nobody_is_marked(town)
    assert Counter(relay.taken) == {f"p{number}@far.example": 1 for number in range(60)}


async def test_a_small_batch_that_is_refused_as_a_whole_is_sent_again(tmp_path: Path) -> None:
    """Nothing is left to test with: one of the refused mails does it."""
    relay = Moody()
    turning(relay, 0)
    async with relay.run(), library(tmp_path, RELAY_PORT=relay.port) as town:
        with_breaker(town, probe_after=town.services.settings.sending.retry_delays[0])
        await fill(town, 6)
        async with sending(town):
            await opens(town)
            relay.answer = lambda _: ""

            async def all_gone() -> bool:
                return (await states(town)) == {"handed_over": 6}

            await wait_until(all_gone, 40, "all six")
    assert Counter(relay.taken) == {f"p{number}@far.example": 1 for number in range(6)}


@pytest.mark.parametrize(
    "said",
    ["550 5.1.1 User unknown", "452 4.2.2 over quota", "451 4.3.0 try later"],
    ids=["patrons", "full", "provider"],
)
async def test_what_is_not_our_fault_stops_nothing(tmp_path: Path, said: str) -> None:
    relay = Moody()
    relay.answer = lambda _: said if len(relay.taken) >= 10 and len(relay.refused) < 30 else ""
    async with relay.run(), library(tmp_path, RELAY_PORT=relay.port) as town:
        await fill(town, 60)
        await town.send()
        assert (await position(town)).lets_mail_through
        found = await states(town)
        assert found["pending"] == 0
        assert found["handed_over"] >= 30


async def test_two_daemons_stop_together_and_one_of_them_tests(tmp_path: Path, postgres_url: str) -> None:
    relay = Moody()
    turning(relay, 20)
    url = postgres_url.replace("+asyncpg", "")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    async with (
        relay.run(),
        library(folders[0], RELAY_PORT=relay.port, DATABASE_URL=url) as one,
        library(folders[1], RELAY_PORT=relay.port, DATABASE_URL=url) as two,
    ):
        sender = two.services.sender  # names must differ, as processes' do
        sender._owner = sender.recorder._owner = sender._fuse._owner = "other"
        for town in (one, two):
            with_breaker(town, probe_after=one.services.settings.sending.retry_delays[0], probes=9)
        await fill(one, 300)
        async with sending(one), sending(two):
            await opens(one)
            await wait_until(lambda: two.services.sender.idle, 30, "the other")
            relay.answer = lambda _: ""

            async def all_gone() -> bool:
                return (await states(one)) == {"handed_over": 300}

            await wait_until(all_gone, 60, "the batch")
    assert Counter(relay.taken) == {f"p{number}@far.example": 1 for number in range(300)}
