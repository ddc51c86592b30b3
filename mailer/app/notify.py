"""Tells systemd how the service is (sd_notify(3)): READY, STATUS, STOPPING, RELOADING, WATCHDOG.

Without systemd (no NOTIFY_SOCKET) every call does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from mailer.clock import Clock, wait


class Notifier:
    """Sends datagrams to the socket that systemd named in the environment."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        watchdog = env.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(watchdog) / 1_000_000 if watchdog.isdigit() else 0.0

    def send(self, **state: str) -> None:
        """`send(READY="1", STATUS="…")`. Never raises and never waits: a service manager that does not
        listen must not stop the mail."""
        if not self._address:
            return
        # "@" names an abstract socket (sd_notify(3))
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # a line end in a value, such as a relay's error, would begin another assignment
        message = "\n".join(f"{name}={' '.join(value.split())}" for name, value in state.items())
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as channel:
            channel.sendto(message.encode("utf-8", "replace"), address)

    def reloading(self) -> None:
        """Type=notify-reload wants the monotonic time of the reload with it."""
        self.send(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    async def beat(self, clock: Clock, stop: asyncio.Event, status: Callable[[], str]) -> None:
        """Until `stop`: a status line, and the watchdog's sign of life at half its period.

        It comes from the event loop itself: a loop that is stuck is restarted.
        """
        period = min(self.watchdog_s / 2, 10.0) if self.watchdog_s else 10.0
        while not stop.is_set():
            self.send(STATUS=status(), WATCHDOG="1")
            await wait(clock, stop, period)
