"""Stopping while the relay cannot be opened: the sender ends, and gives back all that it had claimed."""

import asyncio
from pathlib import Path

from holds_core.ledger.models import attempts, deliveries
from tests.e2e.library import library
from tests.servers.ports import wait_until


async def test_a_stop_that_meets_a_failing_relay_is_not_forgotten(tmp_path: Path) -> None:
    """STARTTLS is refused to one connection at a time, so that some fail before the stop and some after."""
    turn = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 broken ESMTP\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"EHLO"):
                writer.write(b"250-broken\r\n250 STARTTLS\r\n")
            else:
                await turn.acquire()
                writer.write(b"454 4.7.0 TLS not available\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, library(tmp_path, RELAY_PORT=port, TLS="starttls") as town:
        for number in range(8):
            await town.ready_hold(number, f"p{number}@far.example")
        await town.batch()
        stop = asyncio.Event()
        running = asyncio.create_task(town.services.sender.run(stop))
        turn.release()
        await wait_until(lambda: town.services.sender.state.relay_up is False, 20, "the first failure")
        stop.set()
        await asyncio.sleep(0.2)  # the workers have been told to end
        for _ in range(8):
            turn.release()
        await asyncio.wait_for(running, 120)
        rows = await town.rows(deliveries)
        assert {(row.state, row.tries, row.lease_owner) for row in rows} == {("pending", 0, None)}
        assert not await town.rows(attempts)
