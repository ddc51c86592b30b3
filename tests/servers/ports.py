"""Free loopback ports, and waiting for what happens elsewhere.

Knows nothing of the servers. Waiting is always for a condition, with a limit that only a broken run meets.
"""

import asyncio
import inspect
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

SLOW = 3
"""Every limit is this much longer than its test says: a machine may be slow, or do much else besides."""

HOST = "127.0.0.1"
# Below Linux' ephemeral range (32768 up): no outgoing connection can take a port between our
# finding it free and a server's binding it.
_CANDIDATES = range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """A loopback TCP port that nobody listens on and that was not given out before in this process."""
    for port in random.sample(_CANDIDATES, 200):
        if port not in _given and _can_bind(port):
            _given.add(port)
            return port
    raise RuntimeError("no free loopback port among 200 tried")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_open(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def wait_port(port: int, timeout: float = 10, gave_up: Callable[[], str] = str) -> None:
    """Blocks until the port is open.

    `gave_up` answers why waiting is vain (a server that ended), or "".
    Raises RuntimeError with its answer, TimeoutError after `timeout` seconds, times SLOW.
    """
    deadline = time.monotonic() + timeout * SLOW
    while not is_open(port):
        if reason := gave_up():
            raise RuntimeError(f"port {port} will not open: {reason}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"port {port} did not open within {timeout * SLOW} s")
        time.sleep(0.02)


async def wait_until(predicate: Callable[[], T | Awaitable[T]], timeout: float = 30, what: str = "") -> T:
    """The predicate's first true value; the event loop runs on meanwhile.

    `predicate` may be a function or a coroutine function. Raises TimeoutError naming `what`
    after `timeout` seconds, times SLOW.
    """
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"waited {timeout * SLOW} s for {what or predicate}; last value {value!r:.500}"
            )
        await asyncio.sleep(0.05)
