"""Thousands of rows into one table: a statement prepared once, and a tuple a row. No rules.

SQLAlchemy's own way of many rows builds a dictionary of parameters for each, which costs several times what the
database needs for the row. What reaches the database is the same: the types of the columns see every value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

Clash: TypeAlias = Literal["refuse", "skip", "replace"]
"""What becomes of a row whose key is there already: an error, nothing, or its columns are set anew."""

_ROWS = 1000
"""Tuples in the memory at a time."""


async def insert(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[dict[str, Any]], *, clash: Clash = "refuse"
) -> None:
    """Inserts the rows; all of them name the same columns. Raises what a plain insert raises."""
    if not rows:
        return
    prepared = _prepare(table, tuple(sorted(rows[0])), connection.dialect, clash)
    for start in range(0, len(rows), _ROWS):
        await connection.exec_driver_sql(prepared.sql, prepared.tuples(rows[start : start + _ROWS]))


class _Prepared:
    """The statement for one table and one set of columns in the words of one database."""

    def __init__(self, sql: str, columns: list[tuple[str, Callable[[Any], Any] | None]]) -> None:
        self.sql = sql
        self._plain = [name for name, _ in columns]
        self._typed = [(place, process) for place, (_, process) in enumerate(columns) if process]

    def tuples(self, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """The rows in the order of the statement's parameters, as the driver takes them."""
        names = self._plain
        lists = [[row[name] for name in names] for row in rows]
        for place, process in self._typed:
            # most rows of a night share their times
            before: Any = object()
            after: Any = None
            for values in lists:
                value = values[place]
                if value is not before:
                    before, after = value, process(value)
                values[place] = after
        return [tuple(values) for values in lists]


@lru_cache(maxsize=64)
def _prepare(table: sa.Table, names: tuple[str, ...], dialect: Dialect, clash: Clash) -> _Prepared:
    family: Any = postgresql if dialect.name == "postgresql" else sqlite
    statement = family.insert(table)
    if clash == "skip":
        statement = statement.on_conflict_do_nothing()
    elif clash == "replace":
        keys = [column.name for column in table.primary_key]
        said = {name: statement.excluded[name] for name in names if name not in keys}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=said)
    compiled = statement.compile(dialect=dialect, column_keys=names)
    order = compiled.positiontup
    assert order is not None
    assert sorted(order) == sorted(names)
    types = [(name, table.c[name].type.dialect_impl(dialect)) for name in order]
    return _Prepared(str(compiled), [(name, kind.bind_processor(dialect)) for name, kind in types])
