"""What staff have done at the desk, as it was recorded: the kinds of action, a patron's list of them.

Reads only; `desk_actions` writes. An action that was taken back stays, with who took it back and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import NotFound
from holds_core.ledger.models import case_actions

UNDO_FOR = timedelta(days=1)
"""How long an action can be taken back."""


class Action(StrEnum):
    """The buttons."""

    REACHED = "reached"
    LETTER = "letter"
    NOT_REACHED = "not_reached"
    MESSAGE = "message"
    WRONG_NUMBER = "wrong_number"
    ADDRESS = "address"
    WORKS = "works"
    NEVER_GOT = "never_got"
    IGNORE = "ignore"
    NOTE = "note"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class Deed:
    """One action as it was recorded."""

    action_id: int
    patron_id: str
    at: datetime
    who: str
    kind: Action
    note: str
    after: dict[str, Any]
    undone_at: datetime | None
    undone_by: str | None


def _deed(row: Any) -> Deed:
    return Deed(
        row.action_id,
        row.patron_id,
        row.at,
        row.who,
        Action(row.kind),
        row.note,
        row.after,
        row.undone_at,
        row.undone_by,
    )


async def deeds(connection: AsyncConnection, patron_id: str, after: int = 0) -> list[Deed]:
    """The patron's actions since number `after`, newest first."""
    rows = await connection.execute(
        sa.select(case_actions)
        .where(case_actions.c.patron_id == patron_id, case_actions.c.action_id > after)
        .order_by(case_actions.c.action_id.desc())
    )
    return [_deed(row) for row in rows]


async def deed(connection: AsyncConnection, action_id: int) -> Deed:
    """Raises NotFound."""
    row = (
        await connection.execute(sa.select(case_actions).where(case_actions.c.action_id == action_id))
    ).first()
    if row is None:
        raise NotFound(f"there is no action {action_id}")
    return _deed(row)


def undoable(history: Sequence[Deed], now: datetime) -> int | None:
    """The action that may be undone: the last one that stands, if it is not too old. Newest first."""
    last = next((item for item in history if item.undone_at is None), None)
    return last.action_id if last is not None and now - last.at <= UNDO_FOR else None
