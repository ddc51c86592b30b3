"""Small helpers that hide where SQLite and PostgreSQL differ. No rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import flags


def as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A column as it is written, for `words_in`, `date_in` and `time_in`: thousands of rows have few different
    values, and each is read once."""
    return sa.cast(column, sa.Text).label(str(column.name))


@lru_cache(maxsize=4096)
def words_in(text: str | None) -> tuple[str, ...]:
    """The words of a JSON list, read once for all rows that have the same."""
    return tuple(json.loads(text) or ()) if text else ()


@lru_cache(maxsize=4096)
def date_in(text: str | None) -> date | None:
    """The day of a column that was read by `as_text`."""
    return date.fromisoformat(text) if text else None


@lru_cache(maxsize=4096)
def time_in(text: str | None) -> datetime | None:
    """The time of a column that was read by `as_text`, in UTC; SQLite writes it without saying so."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


async def insert_new(connection: AsyncConnection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Inserts a row unless its key is there already. Returns whether it was new."""
    result = await connection.execute(_unless_there(table, connection.dialect.name), dict(values))
    return result.rowcount == 1


@lru_cache(maxsize=64)
def _unless_there(table: sa.Table, dialect: str) -> Any:
    """The statement, made once: making one costs more than running it."""
    return (
        postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    ).on_conflict_do_nothing()


async def put_flag(connection: AsyncConnection, name: str, value: Any, now: datetime) -> None:
    """Sets a named value, whatever it was."""
    insert = postgresql.insert(flags) if connection.dialect.name == "postgresql" else sqlite.insert(flags)
    row = {"value": value, "at": now}
    await connection.execute(
        insert.values(name=name, **row).on_conflict_do_update(index_elements=["name"], set_=row)
    )


async def get_flag(connection: AsyncConnection, name: str, default: Any = None) -> Any:
    row = (await connection.execute(sa.select(flags.c.value).where(flags.c.name == name))).first()
    return default if row is None else row.value


async def lock_flag(connection: AsyncConnection, name: str, now: datetime) -> Any:
    """A named value that nobody else changes before this transaction ends; None if it was never set."""
    await insert_new(connection, flags, {"name": name, "value": None, "at": now})
    row = await connection.execute(sa.select(flags.c.value).where(flags.c.name == name).with_for_update())
    return row.scalar_one()


def short_id(prefix: str, *parts: object) -> str:
    """An id that the same cause always gets again: 60 bits of SHA-256 over the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
    return f"{prefix}{int(digest[:15], 16):013x}"
