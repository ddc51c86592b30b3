"""The way in: ten thousand mails at once by LMTP. What IMAP servers may do is in `tests/bounces/test_mailbox.py`:
IDLE dropped, a wrong password, a folder that is gone, a new UIDVALIDITY."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from holds_core.ledger.models import cases, deliveries, inbound
from tests.e2e.library import Library, library, lmtp
from tests.servers.ports import free_port, wait_until
from tests.servers.sink import Sink

MAILS, PATRONS, CONNECTIONS = 10_000, 200, 40

BOUNCE = """\
From: MAILER-DAEMON@far.example
To: <>
Subject: Undelivered Mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

Not delivered (NUMBER).
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.far.example

Final-Recipient: rfc822; p1@far.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b--
"""


async def test_ten_thousand_mails_at_once_are_each_stored_and_read_on(
    tmp_path: Path, smtp_sink: Callable[..., Sink]
) -> None:
    """Two hundred patrons' bounces, fifty unlike copies of each, over forty connections."""
    port, sink = free_port(), smtp_sink()
    async with library(tmp_path, RELAY_PORT=sink.port, LMTP_PORT=port) as town, lmtp(town.services, port):
        for n in range(PATRONS):
            await town.ready_hold(n, f"p{n}@far{n % 9}.example")
        await town.batch()
        await town.send()
        tokens = [row.token for row in await town.rows(deliveries)]
        mails = [(tokens[n % PATRONS], n) for n in range(MAILS)]
        answers = await asyncio.gather(
            *(hand_in(port, mails[start::CONNECTIONS]) for start in range(CONNECTIONS))
        )
        assert Counter(answer for told in answers for answer in told) == {b"250": MAILS}
        stored = await town.rows(inbound)
        assert len({item.raw for item in stored}) == len(stored) == MAILS
        reading = asyncio.create_task(town.services.ingest.run())
        try:
            await wait_until(lambda: all_marked(town), 60, "each patron's first bounce to be read")
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        assert len(await town.rows(cases, cases.c.state == "open")) == PATRONS, "one for each patron"


async def all_marked(town: Library) -> bool:
    return {row.finding for row in await town.rows(deliveries)} == {"bounced"}


async def hand_in(port: int, mails: Sequence[tuple[str, int]]) -> list[bytes]:
    """Delivers bounces to these tokens over one connection. Returns the answers to the final dots."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    try:
        await reader.readline()
        writer.write(b"LHLO mx.library.example\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        for token, number in mails:
            writer.write(f"MAIL FROM:<>\r\nRCPT TO:<{token}@lmtp.library.example>\r\nDATA\r\n".encode())
            for _ in range(3):
                await reader.readline()
            writer.write(BOUNCE.replace("NUMBER", str(number)).replace("\n", "\r\n").encode() + b".\r\n")
            answers.append((await reader.readline())[:3])
    finally:
        writer.close()
        await writer.wait_closed()
    return answers
