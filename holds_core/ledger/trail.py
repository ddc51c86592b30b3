"""The audit trail as it is read: which lines, by whom, about what, and when. `accounts.record` writes it.

Enters a choice; leaves lines, newest first, as they were recorded. Never changes one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import audit, case_actions

OF_SEVERAL = "phone.printed"
"""Lines about many patrons at once name them in their detail."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which lines: since `start`, before `end` (UTC), and what is not "" or empty of the rest."""

    start: datetime
    end: datetime
    who: str = ""
    what: tuple[str, ...] = ()
    patron_id: str = ""
    before: int = 0
    """Only lines older than this number: the next page."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit trail. `detail` as `accounts.record` was given it."""

    number: int
    at: datetime
    who: str
    what: str
    subject: str
    detail: dict[str, Any]


async def lines(connection: AsyncConnection, choice: Choice, limit: int) -> list[Entry]:
    """The newest lines of a choice."""
    rows = await connection.execute(
        sa.select(audit)
        .where(*_fits(choice))
        .order_by(audit.c.at.desc(), audit.c.audit_id.desc())
        .limit(limit)
    )
    return [Entry(row.audit_id, row.at, row.who, row.what, row.subject, row.detail) for row in rows]


async def count(connection: AsyncConnection, choice: Choice) -> int:
    """How many lines a choice has, on all pages."""
    query = sa.select(sa.func.count()).select_from(audit).where(*_fits(choice, paged=False))
    return int(await connection.scalar(query) or 0)


async def who_did(connection: AsyncConnection, since: datetime, end: datetime) -> list[str]:
    """Who did anything in a span: accounts, and names that have none, such as a command line's."""
    query = sa.select(audit.c.who).where(audit.c.at >= since, audit.c.at < end).distinct()
    return sorted(await connection.scalars(query))


def _fits(choice: Choice, *, paged: bool = True) -> list[sa.ColumnElement[bool]]:
    found = [audit.c.at >= choice.start, audit.c.at < choice.end]
    if choice.who:
        found.append(audit.c.who == choice.who)
    if choice.what:
        found.append(audit.c.what.in_(choice.what))
    if choice.patron_id:
        found.append(audit.c.audit_id.in_(_about(choice)))
    if paged and choice.before:
        found.append(_older(choice.before))
    return found


def _older(number: int) -> sa.ColumnElement[bool]:
    last = audit.alias("last")
    at = sa.select(last.c.at).where(last.c.audit_id == number).scalar_subquery()
    return sa.or_(audit.c.at < at, sa.and_(audit.c.at == at, audit.c.audit_id < number))


def _about(choice: Choice) -> sa.CompoundSelect[int]:
    """Lines of the patron's own, and lists in which the patron stood: each found by an index."""
    named = sa.cast(audit.c.detail, sa.Text).contains(json.dumps(choice.patron_id), autoescape=True)
    own = sa.select(audit.c.audit_id).where(audit.c.subject == f"patron:{choice.patron_id}")
    listed = sa.select(audit.c.audit_id).where(
        audit.c.at >= choice.start, audit.c.at < choice.end, audit.c.what == OF_SEVERAL, named
    )
    return sa.union_all(own, listed)


@dataclass(frozen=True, slots=True)
class Undone:
    """An action that was taken back: what kind, when, and what it had changed."""

    kind: str
    at: datetime
    before: dict[str, Any]
    after: dict[str, Any]


async def undone(connection: AsyncConnection, entries: Sequence[Entry]) -> dict[int, Undone]:
    """The actions that the lines among these with "case.undo" took back, by their number."""
    numbers = [item.detail["action"] for item in entries if item.what == "case.undo" and item.detail]
    if not numbers:
        return {}
    rows = await connection.execute(sa.select(case_actions).where(case_actions.c.action_id.in_(numbers)))
    return {row.action_id: Undone(row.kind, row.at, row.before, row.after) for row in rows}
