"""Counts what a page asks of the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from holds_core.ledger.session import Ledger


@contextlib.contextmanager
def statements(ledger: Ledger) -> Iterator[list[str]]:
    """The statements executed inside the block, BEGIN included, of readers and writers alike."""
    asked: list[str] = []

    def note(*said: Any) -> None:
        asked.append(said[2])

    engines = [ledger._reader.sync_engine, ledger._writer.sync_engine]
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", note)
