"""Relay: slow, gone in mid-session, busy for an hour, without the TLS it promised, silent after the dot.

Each ends with what is known of every mail: none is lost, none is sent twice without being recorded so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from holds_core.ledger.models import addresses, attempts, deliveries
from mailer.outcome import DOUBT_WAIT
from tests.clock import HandClock
from tests.e2e.library import Library, library
from tests.faults.moody import Moody
from tests.servers.sink import Sink

MAILS = 30
CONNECTIONS = 4


@pytest.fixture
async def relay() -> AsyncIterator[Moody]:
    async with Moody().run() as found:
        yield found


async def fill(town: Library, mails: int = MAILS) -> None:
    for number in range(mails):
        await town.ready_hold(number, f"p{number}@far.example")
    assert await town.batch() == mails


async def states(town: Library) -> Counter[str]:
    return Counter(row.state for row in await town.rows(deliveries))


def each_once(relay: Moody, mails: int = MAILS) -> bool:
    return Counter(relay.taken) == {f"p{number}@far.example": 1 for number in range(mails)}


async def nobody_is_marked(town: Library) -> bool:
    return {row.standing for row in await town.rows(addresses)} <= {"unproven"}


async def test_a_slow_relay_delays_and_nothing_else(tmp_path: Path, relay: Moody) -> None:
    """It takes a fifth of a second for every command."""
    relay.delay = 0.2
    async with library(tmp_path, RELAY_PORT=relay.port) as town:
        await fill(town, 12)
        await town.send()
        rows = await town.rows(deliveries)
        assert {(row.state, row.tries) for row in rows} == {("handed_over", 1)}
    assert each_once(relay, 12)


async def test_421_in_mid_session_is_tried_again_on_a_new_connection(tmp_path: Path, relay: Moody) -> None:
    """Every seventh recipient is told goodbye the first time."""
    gone: set[str] = set()

    def answer(recipient: str) -> str:
        if recipient.partition("@")[0].endswith("7") and recipient not in gone:
            gone.add(recipient)
            return "421 4.3.2 Service shutting down"
        return ""

    relay.answer = answer
    async with library(tmp_path, RELAY_PORT=relay.port) as town:
        await fill(town)
        await town.send()
        found = await states(town)
        assert found == {"handed_over": MAILS - len(gone), "retrying": len(gone)}
        await asyncio.sleep(1.3)  # retry_delays of the tests' library
        await town.send()
        rows = await town.rows(deliveries)
        assert {row.state for row in rows} == {"handed_over"}
        assert {row.tries for row in rows if row.address in gone} == {2}
        assert await nobody_is_marked(town)
    assert len(gone) == 3
    assert each_once(relay)


async def test_4xx_for_an_hour_is_waited_out(tmp_path: Path, relay: Moody) -> None:
    """By the shipped waits: 1, 5, 15, 30 minutes, then every hour, each up to a fifth longer."""
    clock = HandClock()
    until = clock.now() + timedelta(hours=1)
    relay.answer = lambda _: "451 4.3.0 Try again later" if clock.now() < until else ""
    values = {"[1s]": "[1m, 5m, 15m, 30m, 1h]", "RELAY_PORT": relay.port}
    async with library(tmp_path, clock, **values) as town:
        await fill(town, 8)
        for _ in range(180):
            await until_idle(town, clock)
            clock.advance(timedelta(minutes=1))
        rows = await town.rows(deliveries)
        assert {row.state for row in rows} == {"handed_over"}
        assert await nobody_is_marked(town)
        assert {row.tries for row in rows} <= {5, 6}, "at 0, 1, 6, 21, 51 and 111 minutes, or a little later"
    assert each_once(relay, 8)


async def until_idle(town: Library, clock: HandClock) -> None:
    """The sender, while the clock is moved a little for whoever waits for it."""
    sending = asyncio.create_task(town.send())
    while not sending.done():
        clock.advance(timedelta(milliseconds=5))
        await asyncio.sleep(0.001)
    await sending


async def test_broken_tls_sends_nothing_in_clear(tmp_path: Path, smtp_sink: Callable[..., Sink]) -> None:
    """STARTTLS is wanted and not offered: no attempt is made, and nothing leaves."""
    sink = smtp_sink()
    # the certificate is none of ours either, but it never comes to that
    values = {"tls: none, connections: 4": "tls: starttls, connections: 4", "RELAY_PORT": sink.port}
    async with library(tmp_path, **values) as town:
        await fill(town, 5)
        await town.send()
        rows = await town.rows(deliveries)
        assert {(row.state, row.tries, row.lease_owner) for row in rows} == {("pending", 0, None)}
        assert not await town.rows(attempts)
        assert town.services.sender.state.relay_up is False
        assert town.services.sender.state.relay_error.startswith("tls")
    assert sink.count() == 0


async def test_tls_that_breaks_in_the_handshake_costs_no_attempt(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay ESMTP\r\n")
        await reader.readline()
        writer.write(b"250-relay\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 2.0.0 go on\r\n")
        await reader.read(100)
        writer.write(b"this is no TLS at all" * 20)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    values = {"tls: none, connections: 4": "tls: starttls, connections: 4", "RELAY_PORT": port}
    async with server, library(tmp_path, **values) as town:
        await fill(town, 5)
        await town.send()
        rows = await town.rows(deliveries)
        assert {(row.state, row.tries, row.lease_owner) for row in rows} == {("pending", 0, None)}
        assert town.services.sender.state.relay_error.startswith("tls")


async def test_gone_after_the_dot_is_in_doubt_and_sent_once_more_at_most(
    tmp_path: Path, relay: Moody
) -> None:
    """Every fifth mail is taken, and the connection is dropped without a word."""
    relay.after_dot = lambda number: "" if number % 5 == 4 else "250 2.0.0 taken"
    async with library(tmp_path, RELAY_PORT=relay.port) as town:
        await fill(town)
        await town.send()
        found = await states(town)
        assert found["uncertain"] > 0
        assert found["uncertain"] + found["handed_over"] == MAILS
        doubtful = {row.address for row in await town.rows(deliveries) if row.state == "uncertain"}
        rows = [row for row in await town.rows(deliveries) if row.state == "uncertain"]
        assert all(row.next_at - row.first_attempt_at >= DOUBT_WAIT for row in rows)
        relay.after_dot = lambda _: "250 2.0.0 taken"
        async with town.services.ledger.write() as connection:
            await connection.execute(
                deliveries.update()
                .where(deliveries.c.state == "uncertain")
                .values(next_at=town.services.clock.now())
            )
        await town.send()
        assert await states(town) == {"handed_over": MAILS}
        twice = {row.address for row in await town.rows(deliveries) if row.tries > 1}
        assert twice == doubtful, "whoever got two mails stands in the ledger with two attempts"
    counts = Counter(relay.taken)
    assert {address for address, times in counts.items() if times > 1} == doubtful
    assert max(counts.values()) == 2
    assert len(set(relay.message_ids)) == MAILS, "a mailbox can tell that they are one"
