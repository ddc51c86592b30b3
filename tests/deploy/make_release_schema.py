"""Keeps a released schema for the tests of upgrades: a SQLite ledger of that shape, with rows in every table.

    python -m tests.deploy.make_release_schema

Run it once for each release that changes the schema, and commit the file: `schemas/REVISION.sql` must then
never change, because databases of that shape are out there.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from holds_core.ledger.models import UtcTime, metadata
from holds_core.ledger.session import Ledger

SCHEMAS = Path(__file__).with_name("schemas")
ROWS = 3
MOMENT = datetime(2026, 11, 22, 0, 30, 15, 250_000, tzinfo=UTC)


async def fill(file: Path) -> str:
    """A ledger of today's schema in a new file; returns the schema's revision."""
    ledger = Ledger.open(f"sqlite+aiosqlite:///{file}")
    try:
        await ledger.upgrade()
        async with ledger.write() as connection:
            for table in metadata.sorted_tables:
                await connection.execute(
                    table.insert(), [row(table, number) for number in range(1, ROWS + 1)]
                )
        return (await ledger.schema())[1]
    finally:
        await ledger.close()


def row(table: sa.Table, number: int) -> dict[str, Any]:
    """Every column has a value, and no two rows the same one: an upgrade that mixes them up is noticed."""
    return {column.name: _value(column, number) for column in table.columns}


def _value(column: sa.Column[Any], number: int) -> Any:
    kind = column.type
    if column.foreign_keys:
        [key] = column.foreign_keys
        return _value(key.column, number)
    if isinstance(kind, UtcTime):
        return MOMENT.replace(minute=MOMENT.minute + number)
    if isinstance(kind, sa.Date):
        return date(2026, 11, 20 + number)
    if isinstance(kind, sa.Boolean):
        return number % 2 == 0
    if isinstance(kind, sa.JSON):
        return {"書名": f"吾輩は猫である {number}", "list": [number, None, True]}
    if isinstance(kind, sa.LargeBinary):
        return b"\x00\xffmail %d" % number
    if isinstance(kind, sa.Integer | sa.BigInteger):
        return number
    if isinstance(kind, sa.Float):
        return number / 4
    if column.table.name == "cases" and column.name == "state":
        return "closed"  # of a patron only one may be open
    return f"{column.table.name}.{column.name} 図書 {number}"


def dump(file: Path) -> str:
    """The file as SQL, the same for the same content."""
    connection = sqlite3.connect(file)
    try:
        return "\n".join(connection.iterdump()) + "\n"
    finally:
        connection.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "todoku.db"
        revision = asyncio.run(fill(file))
        target = SCHEMAS / f"{revision}.sql"
        target.write_text(dump(file), "utf-8")
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
