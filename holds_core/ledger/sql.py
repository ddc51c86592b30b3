"""Small helpers that hide where SQLite and PostgreSQL differ. No rules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import flags


async def insert_new(connection: AsyncConnection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Inserts a row unless its key is there already. Returns whether it was new."""
    insert = (
        postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    ).on_conflict_do_nothing()
    result = await connection.execute(insert.values(**values))
    return result.rowcount == 1


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


def short_id(prefix: str, *parts: object) -> str:
    """An id that the same cause always gets again: 60 bits of SHA-256 over the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
    return f"{prefix}{int(digest[:15], 16):013x}"
