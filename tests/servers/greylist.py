"""A greylisting policy service for the far side (Postfix' SMTPD access policy protocol).

The first try of a sender and recipient is refused with 450; after `delay` seconds the pair may pass.
It keys on the envelope sender: a sender whose return path changes from try to try never passes.
"""

import socketserver
import threading
import time

from tests.servers.ports import HOST, free_port


class Greylist:
    """Runs in threads of the test process on `port`; `seen` has the pairs and when they came first."""

    def __init__(self, delay: float = 1.0) -> None:
        self.port = free_port()
        self.delay = delay
        self.seen: dict[tuple[str, str], float] = {}
        self._server: _Server | None = None

    def start(self) -> None:
        """Begins to listen; nothing if it does."""
        if self._server is not None:
            return
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Listens no more; what was seen is kept."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def forget(self) -> None:
        """Every pair is new again."""
        self.seen.clear()

    def answer(self, sender: str, recipient: str) -> str:
        """The action for one try: refuse for now, or let the next rule decide."""
        now = time.monotonic()
        if now - self.seen.setdefault((sender, recipient), now) >= self.delay:
            return "DUNNO"
        return "450 4.2.0 Greylisted, please try again later"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # smtpd keeps its connection; it ends with the far side.
    block_on_close = False

    def __init__(self, greylist: Greylist) -> None:
        self.greylist = greylist
        super().__init__((HOST, greylist.port), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        attributes: dict[str, str] = {}
        for line in self.rfile:
            name, equals, value = line.decode().rstrip("\n").partition("=")
            if equals:
                attributes[name] = value
                continue
            action = self.server.greylist.answer(
                attributes.get("sender", ""), attributes.get("recipient", "")
            )
            self.wfile.write(f"action={action}\n\n".encode())
            attributes.clear()
