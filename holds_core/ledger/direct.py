"""A plain connection in the coat of an asynchronous one: for many statements in one transaction on SQLite.

The asynchronous driver hands every statement to a thread and waits for it, which costs more than the statement.
Here the whole work runs in one thread; its awaits never suspend, because nothing but the connection is awaited.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

Work = Callable[[AsyncConnection], Coroutine[Any, Any, T]]
"""What is done with a connection. It awaits nothing else."""


class _Direct:
    """The methods of AsyncConnection that the ledger's functions use."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    async def execute(self, *arguments: Any) -> Any:
        return self._connection.execute(*arguments)

    async def scalar(self, *arguments: Any) -> Any:
        return self._connection.scalar(*arguments)

    async def scalars(self, *arguments: Any) -> Any:
        return self._connection.scalars(*arguments)

    async def exec_driver_sql(self, *arguments: Any) -> Any:
        return self._connection.exec_driver_sql(*arguments)

    @contextlib.asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        with self._connection.begin_nested():
            yield


def run(engine: sa.Engine, work: Work[T]) -> T:
    """`work` in one transaction that commits when it ends and rolls back when it raises. Blocks.

    Raises RuntimeError if the work awaits anything but the connection.
    """
    with engine.begin() as connection:
        coroutine = work(cast(AsyncConnection, _Direct(connection)))
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            coroutine.close()
        raise RuntimeError("work in a direct transaction may await nothing but its connection")
