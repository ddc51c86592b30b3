"""A relay whose answers a test changes while mail flows, and that remembers what it took."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field


@dataclass
class Moody:
    """`answer` decides about each mail at RCPT by its recipient: "" takes it, else the reply it gets."""

    answer: Callable[[str], str] = lambda _: ""
    delay: float = 0.0
    port: int = 0
    taken: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    after_dot: Callable[[int], str] = lambda _: "250 2.0.0 taken"
    """What it says after the final dot, by the number of the mail; "" hangs up without a word."""

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Moody]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"220 moody ESMTP\r\n")
            recipient = ""
            while line := await reader.readline():
                await asyncio.sleep(self.delay)
                verb, words = line[:4].upper(), line.decode("ascii", "replace")
                if verb in (b"EHLO", b"HELO"):
                    writer.write(b"250 moody\r\n")
                elif verb == b"RCPT":
                    recipient = words.partition("<")[2].partition(">")[0]
                    said = self.answer(recipient)
                    if said:
                        self.refused.append(recipient)
                    writer.write(f"{said or '250 ok'}\r\n".encode())
                    if said.startswith("421"):
                        break
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    said = self.after_dot(len(self.taken))
                    if not said.startswith("4") and not said.startswith("5"):
                        self.taken.append(recipient)
                        self._remember(data)
                    if not said:
                        break
                    writer.write(f"{said}\r\n".encode())
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 ok\r\n")
                await writer.drain()
        writer.close()

    def _remember(self, data: bytes) -> None:
        head = data.partition(b"\r\n\r\n")[0].decode("ascii", "replace")
        self.message_ids += [line for line in head.splitlines() if line.startswith("Message-ID:")]
