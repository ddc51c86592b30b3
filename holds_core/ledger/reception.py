"""The reception of requests: what a patron asks for is placed, cancelled or refused by the library's rules.

Enters a hold on which something is asked, and the rules; leaves verdicts, and where the rules are binding the
hold's new state, its decision for the library system and its notice. What the rules are is in
`holds_core.limits`. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.holds import HOLD, Hold, path
from holds_core.ledger import cases, decisions
from holds_core.ledger.decisions import Verdict, What
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.models import hold_steps, holds, patron_addresses, patrons
from holds_core.ledger.outbox import Cause
from holds_core.ledger.owing import owe_hold
from holds_core.limits import (
    COUNTED_AT_RECEPTION,
    Availability,
    LimitRules,
    Request,
    Situation,
    Via,
    check_cancellation,
    check_request,
)
from holds_core.notices import Kind
from holds_core.refusals import Refusal, RefusalCode

UNTOLD = frozenset({RefusalCode.ALREADY_ASKED, RefusalCode.ALREADY_ENDED})
"""Refusals of a cancellation without a mail: the patron knows, by the mail about the first one or the end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. `notices` are their ids."""

    verdict: Verdict
    notices: tuple[str, ...] = ()


def via_of(word: str | None) -> Via:
    """Where something was asked. A feed that does not say speaks of the web: the desk places holds itself."""
    return Via.DESK if word == Via.DESK else Via.WEB


def request_of(hold: Any, rules: LimitRules) -> Request:
    """A hold's row as the rules take it."""
    via = via_of(hold.via)
    return Request(
        via=via,
        material=hold.material,
        availability=Availability.of(hold.availability),
        card_number=hold.patron_id,
        order=rules.desk_order if via is Via.DESK and hold.set_id else None,
    )


async def against_request(
    connection: AsyncConnection, hold: Any, rules: LimitRules, counted: frozenset[Hold]
) -> tuple[Refusal, ...]:
    """What the rules have against a hold. `counted`: which of the patron's other holds fill a limit.

    Of a patron whose record has not come nothing is held against them.
    """
    request = request_of(hold, rules)
    if not (rules.limits or rules.email_required or rules.overdue_blocks):
        return check_request(rules, request, Situation(has_email=True))
    known = (
        await connection.execute(
            # two requests of one patron take turns, or both would find the last place free
            sa.select(patrons.c.overdue).where(patrons.c.patron_id == hold.patron_id).with_for_update()
        )
    ).first()
    held = await connection.execute(
        sa.select(holds.c.material, sa.func.count())
        .where(
            holds.c.patron_id == hold.patron_id,
            holds.c.hold_id != hold.hold_id,
            holds.c.state.in_(sorted(counted)),
        )
        .group_by(holds.c.material)
    )
    situation = Situation(
        has_email=known is None or await has_email(connection, hold.patron_id),
        overdue=known is not None and known.overdue,
        held={row[0]: row[1] for row in held},
    )
    return check_request(rules, request, situation)


async def has_email(connection: AsyncConnection, patron_id: str) -> bool:
    """Whether the patron has registered an address of their own; a provisional one was the library's."""
    found = await connection.scalar(
        sa.select(patron_addresses.c.id)
        .where(
            patron_addresses.c.patron_id == patron_id,
            patron_addresses.c.until.is_(None),
            patron_addresses.c.provisional.is_(sa.false()),
        )
        .limit(1)
    )
    return found is not None


async def against_cancellation(
    connection: AsyncConnection, hold: Any, rules: LimitRules, via: Via, *, received: bool = False
) -> tuple[Refusal, ...]:
    """What the rules have against the patron's cancellation of a hold in its present state."""
    known = await connection.scalar(
        sa.select(patrons.c.patron_id).where(patrons.c.patron_id == hold.patron_id)
    )
    return check_cancellation(
        rules,
        via=via,
        state=Hold(hold.state),
        has_email=known is None or await has_email(connection, hold.patron_id),
        received=received,
    )


# -- deciding --------------------------------------------------------------------------------------


async def answer(
    connection: AsyncConnection, hold: Any, cause: Cause, rules: EventRules, at: datetime
) -> Answer | None:
    """Decides what waits on a hold: a request, a withdrawal or a cancellation. None: nothing waits, or the
    patron's record is still to come.

    `at` is the time of the reception: it stands in the hold's steps and is the order of the queue.
    """
    match Hold(hold.state):
        case Hold.REQUESTED:
            if not await _can_be_judged(connection, hold, rules.limits):
                return None
            # requests that wait with this one are not holds yet, or they would refuse each other
            refusals = await against_request(connection, hold, rules.limits, COUNTED_AT_RECEPTION)
            return await answer_request(connection, hold, refusals, cause, at)
        case Hold.WITHDRAWN | Hold.CANCEL_REQUESTED:
            refusals = await against_cancellation(connection, hold, rules.limits, Via.WEB, received=True)
            return await answer_cancellation(connection, hold, refusals, cause, at)
    return None


async def _can_be_judged(connection: AsyncConnection, hold: Any, rules: LimitRules) -> bool:
    """Whether the patron's record is there, if a rule asks for it."""
    via = via_of(hold.via)
    if via not in rules.email_required and via not in rules.overdue_blocks:
        return True
    found = await connection.scalar(
        sa.select(patrons.c.patron_id).where(patrons.c.patron_id == hold.patron_id)
    )
    return found is not None


async def answer_request(
    connection: AsyncConnection, hold: Any, refusals: Sequence[Refusal], cause: Cause, at: datetime
) -> Answer:
    """Places a request, or refuses it for the first of the reasons."""
    if refusals:
        refusal = refusals[0]
        await move(connection, hold, (Hold.REFUSED,), cause.id, at, reason=refusal.code)
        return await _told(
            connection, hold, Verdict(What.REFUSED, refusal), Kind.HOLD_REFUSED, cause, refusal.note
        )
    await move(connection, hold, (Hold.PLACED,), cause.id, at)
    return await _told(connection, hold, Verdict(What.PLACED), Kind.HOLD_PLACED, cause)


async def answer_cancellation(
    connection: AsyncConnection, hold: Any, refusals: Sequence[Refusal], cause: Cause, at: datetime
) -> Answer:
    """Cancels for the patron, or refuses to: the hold then is what it was before it was asked."""
    state = Hold(hold.state)
    if refusals:
        refusal = refusals[0]
        if state is Hold.CANCEL_REQUESTED and refusal.code not in UNTOLD:
            await move(connection, hold, (Hold.PLACED,), cause.id, at)
        return await refuse_cancellation(connection, hold, refusal, cause)
    await move(connection, hold, _way_to_cancelled(state), cause.id, at)
    return await _told(connection, hold, Verdict(What.CANCELLED), Kind.CANCEL_DONE, cause)


async def refuse_cancellation(
    connection: AsyncConnection, hold: Any, refusal: Refusal, cause: Cause
) -> Answer:
    """Tells the patron why the hold stays; its state is not touched."""
    kind = None if refusal.code in UNTOLD else Kind.CANCEL_REFUSED
    return await _told(connection, hold, Verdict(What.CANCEL_REFUSED, refusal), kind, cause, refusal.code)


def _way_to_cancelled(state: Hold) -> tuple[Hold, ...]:
    """Through the state that says that the patron asked, where there is one."""
    asked = {Hold.REQUESTED: Hold.WITHDRAWN, Hold.PLACED: Hold.CANCEL_REQUESTED}.get(state)
    return (asked, Hold.CANCELLED) if asked else path(state, Hold.CANCELLED)


async def move(
    connection: AsyncConnection,
    hold: Any,
    steps: Sequence[Hold],
    cause_id: str,
    at: datetime,
    *,
    reason: str = "",
) -> None:
    """Takes a hold through `steps`, by a decision of ours. Raises IllegalTransition, and changes nothing.

    The hold's `event_at` stays: what the library system reports of the time before our decision still counts.
    """
    state = Hold(hold.state)
    for step in steps:
        state = HOLD.check(state, step, f"hold {hold.hold_id}")
    values: dict[str, Any] = {"state": state} | ({"reason": reason} if reason else {})
    await connection.execute(
        sa.update(holds).where(holds.c.hold_id == hold.hold_id, holds.c.state == hold.state).values(**values)
    )
    rows = [
        {"hold_id": hold.hold_id, "state": step, "at": at, "event_id": cause_id, "inferred": False}
        for step in steps
    ]
    await connection.execute(sa.insert(hold_steps), rows)


async def _told(
    connection: AsyncConnection,
    hold: Any,
    verdict: Verdict,
    kind: Kind | None,
    cause: Cause,
    reason: str = "",
) -> Answer:
    """Records the decision, and owes its notice."""
    await decisions.record(
        connection, cause.now, verdict, hold_id=hold.hold_id, patron_id=hold.patron_id, event_id=cause.id
    )
    made = await owe_hold(connection, hold.hold_id, kind, cause, reason=reason) if kind else ()
    await cases.review(connection, hold.patron_id, cause.now)
    return Answer(verdict, made)


async def warn(
    connection: AsyncConnection, hold: Any, refusals: Sequence[Refusal], cause: Cause
) -> tuple[Verdict, ...]:
    """Records what the rules would have refused; the library system decides."""
    verdicts = tuple(Verdict(What.WARNED, refusal) for refusal in refusals)
    for verdict in verdicts:
        await decisions.record(
            connection, cause.now, verdict, hold_id=hold.hold_id, patron_id=hold.patron_id, event_id=cause.id
        )
    return verdicts
