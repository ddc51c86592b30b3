"""Events about a hold into the ledger: its state, the steps on the way, and what they owe.

Enters a `hold.*` event; leaves the hold's row and steps, evidence, notices owed. One without a legal path
becomes a conflict for staff. What a hold may become is in `holds_core.holds` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import events as ev
from holds_core.evidence import Sign
from holds_core.holds import Hold, path
from holds_core.ledger import cases, observations, outbox, reception
from holds_core.ledger.decisions import Verdict
from holds_core.ledger.event_rules import Applied, EventRules
from holds_core.ledger.models import hold_steps, holds
from holds_core.ledger.outbox import Cause
from holds_core.ledger.owing import announce_set, owe_hold, start_unsaid_clock, told_of
from holds_core.limits import (
    COUNTED_AT_RECEPTION,
    COUNTED_WHEN_ASKED,
    Request,
    Via,
    order_for,
)
from holds_core.notices import Kind
from holds_core.policy import hold_notice
from holds_core.refusals import Refusal, RefusalCode, Spoilt

_HOLD_FIELDS = ("title", "material", "branch", "via", "availability", "set_id", "volume", "contact")

# Run for every event; made once, because making a statement costs more than running it.
_KNOWN = sa.select(holds).where(holds.c.hold_id == sa.bindparam("hold")).with_for_update()
_NEW, _STEP = sa.insert(holds), sa.insert(hold_steps)


async def apply(connection: AsyncConnection, event: ev.HoldEvent, cause: Cause, rules: EventRules) -> Applied:
    known = (await connection.execute(_KNOWN, {"hold": event.hold_id})).first()
    if known is None and event.patron_id is None:
        return Applied("conflict", f"hold {event.hold_id} is unknown and the event names no patron_id")
    if known is not None and event.at < known.event_at:
        return Applied("stale", "a later step of this hold is known")
    if known is not None and event.patron_id not in (None, known.patron_id):
        return Applied("conflict", f"hold {event.hold_id} belongs to another patron")
    if event.type == "hold.extended":
        return await _extended(connection, event, known, cause, rules)
    before = Hold(known.state) if known is not None else None
    if event.type == "hold.cancel_requested" and not rules.baseline:
        return await _cancellation(connection, event, known, cause, rules)
    return await _step(connection, event, known, _wanted(event, before, rules), cause, rules)


def _wanted(event: ev.HoldEvent, before: Hold | None, rules: EventRules) -> Hold:
    wanted = ev.STATE_AFTER[event.type]
    # a request that is not placed yet is withdrawn at once, and formally cancelled at the next run
    if wanted is Hold.CANCEL_REQUESTED and before is Hold.REQUESTED:
        return Hold.WITHDRAWN
    # we have answered it already, and the library system has not taken the answer over yet
    if wanted is Hold.REQUESTED and rules.binding and before not in (None, Hold.ENDED):
        return before
    # nor has it heard of a cancellation that still waits for our answer
    if wanted is Hold.PLACED and rules.binding and before is Hold.CANCEL_REQUESTED:
        return before
    return wanted


async def _step(
    connection: AsyncConnection,
    event: ev.HoldEvent,
    known: Any,
    wanted: Hold,
    cause: Cause,
    rules: EventRules,
) -> Applied:
    """Takes the hold to `wanted` by a legal way, and does what follows."""
    before = Hold(known.state) if known is not None else None
    try:
        steps = path(before, wanted)
    except LookupError as error:
        return Applied("conflict", str(error))
    await _walk(connection, event, known, steps, rules)
    notices = await _hold_moved(connection, event, before, steps, cause, rules) if steps else ()
    judged = await _judge(connection, event, steps, cause, rules)
    patron_id = event.patron_id or known.patron_id
    await cases.review(connection, patron_id, cause.now)
    note = judged.note
    if before is Hold.ENDED and steps:
        note = "listed again after it had ended without a reason"
    return Applied("applied", note, notices + judged.notices, judged.verdicts)


# -- requests: our rules decide, or warn -----------------------------------------------------------


async def _judge(
    connection: AsyncConnection, event: ev.HoldEvent, steps: Sequence[Hold], cause: Cause, rules: EventRules
) -> Applied:
    """What our rules make of a request, or of a hold that was placed without asking us."""
    asked = event.type == "hold.requested" and Hold.REQUESTED in steps
    placed = event.type == "hold.placed" and Hold.PLACED in steps
    if rules.baseline or not (asked or placed):
        return Applied("applied")
    hold = (await connection.execute(_KNOWN, {"hold": event.hold_id})).one()
    web = reception.via_of(hold.via) is Via.WEB
    if asked and rules.binding and not (rules.waits and web):
        answer = await reception.answer(connection, hold, cause, rules, event.at)
        if answer is None:
            return Applied("applied", "waits for the patron's record")
        return Applied("applied", str(answer.verdict), answer.notices, (answer.verdict,))
    counted = COUNTED_WHEN_ASKED if asked else COUNTED_AT_RECEPTION
    refusals = await reception.against_request(connection, hold, rules.limits, counted)
    return _warned(await reception.warn(connection, hold, refusals, cause))


def _warned(verdicts: tuple[Verdict, ...]) -> Applied:
    return Applied("applied", "; ".join(map(str, verdicts)), verdicts=verdicts)


async def _cancellation(
    connection: AsyncConnection, event: ev.HoldEvent, known: Any, cause: Cause, rules: EventRules
) -> Applied:
    """The patron asks to cancel. What is on the shelf is cancelled at its branch only."""
    via = reception.via_of(event.via)
    if known is None:
        first = await _step(
            connection, replace(event, via=None), None, Hold.PLACED, replace(cause, silent=True), rules
        )
        if first.outcome != "applied":
            return first
        known = (await connection.execute(_KNOWN, {"hold": event.hold_id})).one()
    before = Hold(known.state)
    refusals = await reception.against_cancellation(connection, known, rules.limits, via)
    if not rules.binding:
        warned = _warned(await reception.warn(connection, known, _worth_saying(refusals), cause))
        if before is Hold.READY:
            return warned  # there is no such step; whether it is cancelled the library system will say
        done = await _step(connection, event, known, _wanted(event, before, rules), cause, rules)
        return replace(done, note=warned.note or done.note, verdicts=warned.verdicts)
    if refusals:
        answer = await reception.refuse_cancellation(connection, known, refusals[0], cause)
    elif rules.waits and via is Via.WEB:
        return await _step(connection, event, known, _wanted(event, before, rules), cause, rules)
    else:
        answer = await reception.answer_cancellation(connection, known, (), cause, event.at)
    return Applied("applied", str(answer.verdict), answer.notices, (answer.verdict,))


def _worth_saying(refusals: Sequence[Refusal]) -> list[Refusal]:
    return [refusal for refusal in refusals if refusal.code not in reception.UNTOLD]


# -- the hold's row --------------------------------------------------------------------------------


async def _walk(
    connection: AsyncConnection,
    event: ev.HoldEvent,
    known: Any,
    steps: Sequence[Hold],
    rules: EventRules,
) -> None:
    """Writes the hold's new state and each step on the way to it."""
    revived = known is not None and known.state == Hold.ENDED and known.ready_on is not None
    values = hold_values(event, steps, rules, revived=revived)
    if known is None:
        row = new_hold_row(event, values, rules) | _order(event, rules)
        await connection.execute(_NEW, row)
    else:
        await connection.execute(
            sa.update(holds)
            .where(holds.c.hold_id == event.hold_id, holds.c.state == known.state)
            .values(**values)
        )
    if steps:
        await connection.execute(_STEP, step_rows(event, steps))


def hold_values(
    event: ev.HoldEvent, steps: Sequence[Hold], rules: EventRules, *, revived: bool = False
) -> dict[str, Any]:
    """The columns of the hold that the event changes, walking `steps`. One that is `revived` was on the
    shelf all the time: its deadline goes on."""
    values: dict[str, Any] = {
        name: value for name in _HOLD_FIELDS if (value := getattr(event, name)) is not None
    }
    if event.type == "hold.cancel_requested":
        values.pop("via", None)  # where the cancellation was asked; the column says where the hold was
    values["event_at"] = event.at
    if event.reason:
        values["reason"] = event.reason
    if steps:
        values["state"] = steps[-1]
    ready = event.type == "hold.shelved"
    if ready and steps and not revived:
        values |= {
            "ready_on": event.ready_on or event.at.astimezone(rules.zone).date(),
            "deadline": None,
            "deadline_source": None,
        }
    if ready and event.deadline is not None:
        values |= {"deadline": event.deadline, "deadline_source": "feed"}
    return values


def _order(event: ev.HoldEvent, rules: EventRules) -> dict[str, Any]:
    """In which order the volumes of the hold's set are announced, where our rules decide that."""
    if not rules.binding or event.set_id is None or event.volume is None:
        return {}
    via = reception.via_of(event.via)
    asked = rules.limits.desk_order if via is Via.DESK else None
    return {"volume_order": order_for(rules.limits, Request(via, event.material or "", order=asked))}


def new_hold_row(event: ev.HoldEvent, values: dict[str, Any], rules: EventRules) -> dict[str, Any]:
    """The row of a hold that no event named before."""
    return {"branch": rules.default_branch, "hold_id": event.hold_id, "patron_id": event.patron_id} | values


def step_rows(event: ev.HoldEvent, steps: Sequence[Hold]) -> list[dict[str, Any]]:
    """Each step on the way; only the last one was shown by the event."""
    return [
        {
            "hold_id": event.hold_id,
            "state": state,
            "at": event.at,
            "event_id": event.id,
            "inferred": state is not steps[-1],
        }
        for state in steps
    ]


async def _hold_moved(
    connection: AsyncConnection,
    event: ev.HoldEvent,
    before: Hold | None,
    steps: Sequence[Hold],
    cause: Cause,
    rules: EventRules,
) -> tuple[str, ...]:
    """What follows from a hold's new state: evidence, mail taken back, mail owed."""
    after = steps[-1]
    if before is Hold.READY or Hold.READY in steps[:-1]:
        await outbox.hold_left_shelf(connection, event.hold_id)
    if after in (Hold.COLLECTED, Hold.LAPSED):
        sign = Sign.COLLECTED if after is Hold.COLLECTED else Sign.LAPSED
        await observations.hold_ended(connection, event.hold_id, sign, event.at, event.id, cause.now)
    made: tuple[str, ...] = ()
    if after is Hold.READY:
        await start_unsaid_clock(connection, event.hold_id, rules)
    kind = hold_notice(before, after, by=_cancelled_by(event))
    if (
        before is Hold.ENDED
        and kind is Kind.HOLD_READY
        and await told_of(connection, event.hold_id) != frozenset()
    ):
        kind = None  # its mail left before the list lost it
    if kind is not None:
        made += await owe_hold(connection, event.hold_id, kind, cause, reason=event.reason)
    if before is Hold.CANCEL_REQUESTED and after is Hold.READY:
        made += await _shelved_first(connection, event.hold_id, cause, rules)
    return made + (await announce_set(connection, event.hold_id, cause) if rules.binding else ())


def _cancelled_by(event: ev.HoldEvent) -> str | None:
    """Only a library cancels because the item is gone or spoilt."""
    return event.by or ("library" if Spoilt.of(event.reason) else None)


async def _shelved_first(
    connection: AsyncConnection, hold_id: str, cause: Cause, rules: EventRules
) -> tuple[str, ...]:
    """The patron asked to cancel, but the item was put on the shelf before the request was taken."""
    hold = (await connection.execute(_KNOWN, {"hold": hold_id})).one()
    refusal = Refusal(RefusalCode.ALREADY_SHELVED)
    if rules.binding:
        return (await reception.refuse_cancellation(connection, hold, refusal, cause)).notices
    return await owe_hold(connection, hold_id, Kind.CANCEL_REFUSED, cause, reason=refusal.code)


async def _extended(
    connection: AsyncConnection, event: ev.HoldEvent, known: Any, cause: Cause, rules: EventRules
) -> Applied:
    if known is None:
        return Applied("conflict", f"hold {event.hold_id} is unknown")
    if known.state != Hold.READY:
        return Applied("conflict", f"hold {event.hold_id} is {known.state}, only a ready one has a deadline")
    await connection.execute(
        sa.update(holds)
        .where(holds.c.hold_id == event.hold_id)
        .values(deadline=event.deadline, deadline_source="extended", event_at=event.at)
    )
    await cases.review(connection, known.patron_id, cause.now)
    if not rules.tell_extended or event.deadline == known.deadline:
        return Applied("applied")
    return Applied("applied", notices=await owe_hold(connection, event.hold_id, Kind.DEADLINE_CHANGED, cause))
