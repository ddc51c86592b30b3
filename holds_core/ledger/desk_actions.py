"""What staff do at the desk, and how it is taken back. Every action: who, when, before, after.

Enters an `Ask` (a press of a button); it leaves marks on the case, evidence, notices owed, one line in
`case_actions` and one in the audit trail, all in the caller's transaction. A form that is out of date is
refused and changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import BadInput, Conflict, NotFound
from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger import accounts, cases, desk, desk_mail
from holds_core.ledger.desk import CALL_LIMIT, Status, mark_of
from holds_core.ledger.models import case_actions, case_marks, holds, patrons
from holds_core.ledger.models import cases as cases_table
from holds_core.ledger.outbox import Cause

UNDO_FOR = timedelta(days=1)
MAX_NOTE = 1000


class Action(StrEnum):
    """The buttons."""

    REACHED = "reached"
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
class Ask:
    """One press of a button. `seen` is the version the form showed (`desk.versions`).

    `address`: which address, or the new one; `replaces`: the one that it takes the place of.
    `again_on`: when the case comes back (not reached, message, ignore).
    """

    kind: Action
    patron_id: str
    who: str
    seen: str
    note: str = ""
    address: str = ""
    replaces: str = ""
    again_on: date | None = None


async def act(connection: AsyncConnection, ask: Ask, cause: Cause) -> int:
    """Does what was asked. Returns the action's number.

    `cause.now` is the time, `cause.prompt_at` when a prompt notice may leave (its id is not used).
    Raises Stale, NotFound, and BadInput for an address that cannot be one.
    """
    await _lock(connection, ask.patron_id)
    await desk.check_version(connection, ask.patron_id, ask.seen)
    case = await _open_case(connection, ask.patron_id)
    before = {"mark": await _mark_row(connection, case.case_id) if case else None}
    action_id = await _begin(connection, ask, case.case_id if case else None, before, cause.now)
    own = Cause(f"staff:{action_id}", cause.now, cause.prompt_at)
    after = await _EFFECTS[ask.kind](connection, ask, case, own)
    await cases.review(connection, ask.patron_id, cause.now)
    after["closed"] = case is not None and await _open_case(connection, ask.patron_id) is None
    await connection.execute(
        sa.update(case_actions)
        .where(case_actions.c.action_id == action_id)
        .values(before=before | after.pop("before", {}), after=after)
    )
    detail = {"action": action_id, "note": ask.note, "before": before, "after": after}
    await accounts.record(
        connection, ask.who, f"case.{ask.kind}", f"patron:{ask.patron_id}", detail, cause.now
    )
    if ask.kind is not Action.NOTE:
        await desk.release(connection, ask.patron_id)
    return action_id


async def _lock(connection: AsyncConnection, patron_id: str) -> None:
    """Two presses on one patron take turns (PostgreSQL; on SQLite all writers do). Raises NotFound."""
    known = (
        await connection.execute(
            sa.select(patrons.c.patron_id).where(patrons.c.patron_id == patron_id).with_for_update()
        )
    ).first()
    case = (
        await connection.execute(
            sa.select(cases_table.c.case_id).where(cases_table.c.patron_id == patron_id).with_for_update()
        )
    ).first()
    if known is None and case is None:
        raise NotFound(f"there is no patron {patron_id}")


async def _open_case(connection: AsyncConnection, patron_id: str) -> Any:
    return (
        await connection.execute(
            sa.select(cases_table).where(cases_table.c.patron_id == patron_id, cases_table.c.state == "open")
        )
    ).first()


async def _begin(
    connection: AsyncConnection, ask: Ask, case_id: int | None, before: dict[str, Any], now: datetime
) -> int:
    made = await connection.execute(
        sa.insert(case_actions)
        .values(
            patron_id=ask.patron_id,
            case_id=case_id,
            at=now,
            who=ask.who,
            kind=ask.kind,
            note=ask.note[:MAX_NOTE],
            before=before,
            after={},
        )
        .returning(case_actions.c.action_id)
    )
    return int(made.scalar_one())


# -- marks on the case -----------------------------------------------------------------------------


async def _mark_row(connection: AsyncConnection, case_id: int) -> dict[str, Any] | None:
    """The case's mark as JSON, for undo."""
    row = (await connection.execute(sa.select(case_marks).where(case_marks.c.case_id == case_id))).first()
    if row is None:
        return None
    return {
        "status": row.status,
        "again_on": row.again_on.isoformat() if row.again_on else None,
        "tries": row.tries,
        "known": row.known,
        "at": row.at.isoformat(),
    }


async def _put_mark(connection: AsyncConnection, case_id: int, values: dict[str, Any] | None) -> None:
    await connection.execute(sa.delete(case_marks).where(case_marks.c.case_id == case_id))
    if values is not None:
        await connection.execute(sa.insert(case_marks).values(case_id=case_id, **values))


_STATUS = {
    Action.REACHED: Status.REACHED,
    Action.NOT_REACHED: Status.NOT_REACHED,
    Action.MESSAGE: Status.MESSAGE,
    Action.WRONG_NUMBER: Status.WRONG_NUMBER,
    Action.IGNORE: Status.IGNORED,
}


_COMES_BACK = (Action.NOT_REACHED, Action.MESSAGE, Action.IGNORE)


async def _mark(connection: AsyncConnection, ask: Ask, case: Any, cause: Cause) -> dict[str, Any]:
    """The outcome of a call, or of a decision not to call."""
    if case is None:
        return {}  # somebody without a case was spoken to: the action itself is the record
    if ask.kind is Action.IGNORE and ask.again_on is None:
        raise BadInput("いつまで保留にするか、日付を入力してください。 Say until which day.")
    row = (
        await connection.execute(sa.select(case_marks).where(case_marks.c.case_id == case.case_id))
    ).first()
    called = ask.kind in (Action.NOT_REACHED, Action.MESSAGE)
    tries = mark_of(row).tries + called
    shelf = await connection.scalars(
        sa.select(holds.c.hold_id).where(holds.c.patron_id == ask.patron_id, holds.c.state == Hold.READY)
    )
    values = {
        "status": _STATUS[ask.kind],
        "again_on": ask.again_on
        if ask.kind in _COMES_BACK and not (called and tries >= CALL_LIMIT)
        else None,
        "tries": tries,
        "known": {"holds": sorted(shelf), "reasons": list(case.reasons)},
        "at": cause.now,
    }
    await _put_mark(connection, case.case_id, values)
    return {"mark": await _mark_row(connection, case.case_id)}


async def _nothing(connection: AsyncConnection, ask: Ask, case: Any, cause: Cause) -> dict[str, Any]:
    if not ask.note.strip():
        raise BadInput("メモを入力してください。 The note is empty.")
    return {}


# -- about the mail --------------------------------------------------------------------------------


async def _works(connection: AsyncConnection, ask: Ask, case: Any, cause: Cause) -> dict[str, Any]:
    signs = await desk_mail.say(connection, ask.patron_id, ask.address, Sign.STAFF_WORKS, cause)
    return {"signs": signs, "mail_again": await desk_mail.mail_again(connection, ask.patron_id, cause)}


async def _never_got(connection: AsyncConnection, ask: Ask, case: Any, cause: Cause) -> dict[str, Any]:
    return {"signs": await desk_mail.say(connection, ask.patron_id, ask.address, Sign.STAFF_NEVER_GOT, cause)}


async def _address(connection: AsyncConnection, ask: Ask, case: Any, cause: Cause) -> dict[str, Any]:
    former = await desk_mail.in_force(connection, ask.patron_id)
    notices = await desk_mail.correct_address(
        connection,
        ask.patron_id,
        ask.address,
        ask.who,
        cause.now,
        replaces=ask.replaces,
        prompt_at=cause.prompt_at,
        cause_id=cause.id,
    )
    return {
        "before": {"addresses": former},
        "addresses": await desk_mail.in_force(connection, ask.patron_id),
        "notices": list(notices),
    }


async def _resend(connection: AsyncConnection, ask: Ask, case: Any, cause: Cause) -> dict[str, Any]:
    return {"notices": list(await desk_mail.resend(connection, ask.patron_id, cause))}


_Effect = Callable[[AsyncConnection, Ask, Any, Cause], Awaitable[dict[str, Any]]]

_EFFECTS: dict[Action, _Effect] = dict.fromkeys(_STATUS, _mark) | {
    Action.NOTE: _nothing,
    Action.WORKS: _works,
    Action.NEVER_GOT: _never_got,
    Action.ADDRESS: _address,
    Action.RESEND: _resend,
}


# -- undo ------------------------------------------------------------------------------------------


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


async def undo(connection: AsyncConnection, action_id: int, who: str, cause: Cause) -> str:
    """Takes the patron's last action back. Returns the patron. Raises NotFound, Conflict.

    Mail that left in the meantime stays sent; mail that still waits is taken back.
    """
    item = await deed(connection, action_id)
    await _lock(connection, item.patron_id)
    if undoable(await deeds(connection, item.patron_id), cause.now) != action_id:
        raise Conflict(
            "この記録のあとに別の対応があるか、1日以上たっているため、取り消せません。"
            " Something was done since, or it is more than a day ago: it cannot be undone."
        )
    row = (
        await connection.execute(sa.select(case_actions).where(case_actions.c.action_id == action_id))
    ).one()
    await connection.execute(
        sa.update(case_actions)
        .where(case_actions.c.action_id == action_id)
        .values(undone_at=cause.now, undone_by=who)
    )
    own = Cause(f"undo:{action_id}", cause.now, cause.prompt_at)
    if (
        "addresses" in row.after
        and await desk_mail.in_force(connection, item.patron_id) != row.after["addresses"]
    ):
        raise Conflict(
            "訂正のあとに登録のアドレスが変わったため、取り消せません。"
            " The address has changed since: it cannot be undone."
        )
    if row.case_id is not None:
        await _bring_back(connection, row)
    await desk_mail.take_back(
        connection, item.patron_id, row.before, row.after, own, undone=f"staff:{action_id}"
    )
    await cases.review(connection, item.patron_id, cause.now)
    await accounts.record(
        connection, who, "case.undo", f"patron:{item.patron_id}", {"action": action_id}, cause.now
    )
    return item.patron_id


async def _bring_back(connection: AsyncConnection, row: Any) -> None:
    """The mark as it was, and the case open again if the action had closed it."""
    mark = row.before.get("mark")
    if "mark" in row.after:
        values = mark and mark | {
            "again_on": date.fromisoformat(mark["again_on"]) if mark["again_on"] else None,
            "at": datetime.fromisoformat(mark["at"]),
        }
        await _put_mark(connection, row.case_id, values)
    if row.after.get("closed") and await _open_case(connection, row.patron_id) is None:
        await connection.execute(
            sa.update(cases_table)
            .where(cases_table.c.case_id == row.case_id)
            .values(state="open", closed_at=None, closed_why="", changed_at=row.at)
        )
