"""What staff do at the desk, and how it is taken back. Every action: who, when, before, after.

Enters an `Ask` (a press of a button); it leaves marks on the case, evidence, notices owed, one line in
`case_actions` and one in the audit trail, all in the caller's transaction. A form that is out of date is
refused and changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import BadInput, Conflict, NotFound
from holds_core.evidence import Sign
from holds_core.holds import Hold
from holds_core.ledger import accounts, cases, desk, desk_mail
from holds_core.ledger.desk import CALL_LIMIT, Status, mark_of
from holds_core.ledger.desk_deeds import Action, deed, deeds, undoable
from holds_core.ledger.models import case_actions, case_marks, holds, patrons
from holds_core.ledger.models import cases as cases_table
from holds_core.ledger.outbox import Cause

MAX_NOTE = 1000


@dataclass(frozen=True, slots=True)
class Ask:
    """One press of a button. `seen` is the version the form showed (`desk.versions`).

    `address`: which address, or the new one; `replaces`: the one that it takes the place of.
    `again_on`: when the case comes back (not reached, message, ignore), until `call_limit` calls were in vain.
    """

    kind: Action
    patron_id: str
    who: str
    seen: str
    note: str = ""
    address: str = ""
    replaces: str = ""
    again_on: date | None = None
    call_limit: int = CALL_LIMIT


LastDay = Callable[[str, date, date], date]
"""(branch, day on which the patron was told, day of the shelving) -> the last day on the shelf."""


async def act(
    connection: AsyncConnection,
    ask: Ask,
    cause: Cause,
    *,
    today: date | None = None,
    last_day: LastDay | None = None,
) -> int:
    """Does what was asked. Returns the action's number.

    `cause.now` is the time, `cause.prompt_at` when a prompt notice may leave (its id is not used). With
    `today` and `last_day`, the deadline of a patron who was only now told begins.
    Raises Stale, NotFound, and BadInput for an address that cannot be one.
    """
    await _lock(connection, ask.patron_id)
    await desk.check_version(connection, ask.patron_id, ask.seen)
    case = await _open_case(connection, ask.patron_id)
    before = {"mark": await _mark_row(connection, case.case_id) if case else None}
    action_id = await _begin(connection, ask, case.case_id if case else None, before, cause.now)
    own = Cause(f"staff:{action_id}", cause.now, cause.prompt_at)
    after = await _EFFECTS[ask.kind](connection, ask, case, own)
    if ask.kind in _TELLS and today is not None and last_day is not None:
        after["deadlines"] = await _start_deadlines(connection, ask.patron_id, today, last_day)
    await cases.review(connection, ask.patron_id, cause.now)
    after["closed"] = case is not None and await _open_case(connection, ask.patron_id) is None
    before |= after.pop("before", {})
    await connection.execute(
        sa.update(case_actions)
        .where(case_actions.c.action_id == action_id)
        .values(before=before, after=after)
    )
    detail = {"action": action_id, "note": ask.note, "before": before, "after": after}
    await accounts.record(
        connection, ask.who, f"case.{ask.kind}", f"patron:{ask.patron_id}", detail, cause.now
    )
    if ask.kind is not Action.NOTE:
        await desk.release(connection, ask.patron_id)
    return action_id


async def _start_deadlines(
    connection: AsyncConnection, patron_id: str, told_on: date, last_day: LastDay
) -> list[str]:
    """Holds that no mail announced have their time from the day on which their patron was told. Returns
    them; a deadline that runs already goes on."""
    rows = await connection.execute(
        sa.select(holds.c.hold_id, holds.c.branch, holds.c.ready_on)
        .where(
            holds.c.patron_id == patron_id,
            holds.c.state == Hold.READY,
            holds.c.deadline.is_(None),
        )
        .order_by(holds.c.hold_id)
    )
    found = rows.all()
    for row in found:
        day = last_day(row.branch, told_on, row.ready_on or told_on)
        await connection.execute(
            sa.update(holds)
            .where(holds.c.hold_id == row.hold_id)
            .values(deadline=day, deadline_source="reached")
        )
    return [row.hold_id for row in found]


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
    Action.LETTER: Status.REACHED,
    Action.NOT_REACHED: Status.NOT_REACHED,
    Action.MESSAGE: Status.MESSAGE,
    Action.WRONG_NUMBER: Status.WRONG_NUMBER,
    Action.IGNORE: Status.IGNORED,
}


_TELLS = (Action.REACHED, Action.LETTER)
"""After these the patron knows, or will: the deadline of what no mail announced begins."""
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
        if ask.kind in _COMES_BACK and not (called and tries >= ask.call_limit)
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
    if row.after.get("deadlines"):
        await connection.execute(
            sa.update(holds)
            .where(holds.c.hold_id.in_(row.after["deadlines"]), holds.c.deadline_source == "reached")
            .values(deadline=None, deadline_source=None)
        )
    await desk_mail.take_back(
        connection, item.patron_id, row.before, row.after, own, who=who, undone=f"staff:{action_id}"
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
