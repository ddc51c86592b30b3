"""The log's verbs that this package speaks, as a port: the daemon hands its mail log in."""

from __future__ import annotations

from typing import Protocol


class BounceLog(Protocol):
    """Never takes an address: a mail is named by its number, a delivery by its own."""

    def received(self, inbound: int, source: str, kind: str, delivery: int | None, by: str) -> None: ...

    def quarantined(self, inbound: int, source: str, why: str) -> None: ...

    def windows_passed(self, count: int) -> None: ...
