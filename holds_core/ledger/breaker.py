"""The circuit breaker in the ledger: one state for all daemons, and the mails it gives another chance.

What it decides is `holds_core.breaker`; here its state is kept (a flag), locked while it changes, so that
two daemons open it once and one of them tests. When it closes, the mails that our own fault had refused go
back into the outbox: the patrons did nothing wrong, and now the way is free. All functions work inside the
caller's transaction.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core import breaker
from holds_core.breaker import Limit, Position, State, Window
from holds_core.ledger import cases, outbox
from holds_core.ledger.models import attempts, deliveries, flags
from holds_core.ledger.sql import insert_new, put_flag
from holds_core.notices import Finding, Transmission
from holds_core.reasons import Fault

FLAG = "breaker"

_TIMES = ("since", "opened_at", "probe_at", "closed_at")


def state_of(value: dict[str, object] | None) -> State:
    """The state from the flag's value; closed without one."""
    if not value:
        return State()
    known = {name: item for name, item in value.items() if name in State.__dataclass_fields__}
    times = {name: datetime.fromisoformat(str(known[name])) for name in _TIMES if known.get(name)}
    return State(**(known | times | {"position": Position(str(known["position"]))}))  # type: ignore[arg-type]


async def read(connection: AsyncConnection) -> State:
    """The state as it is now."""
    return state_of(await connection.scalar(sa.select(flags.c.value).where(flags.c.name == FLAG)))


async def _locked(connection: AsyncConnection, now: datetime) -> State:
    """The state, which nobody else changes before this transaction ends."""
    await insert_new(connection, flags, {"name": FLAG, "value": _value(State()), "at": now})
    row = await connection.execute(sa.select(flags.c.value).where(flags.c.name == FLAG).with_for_update())
    return state_of(row.scalar_one())


def _value(state: State) -> dict[str, object]:
    plain = {
        name: item.isoformat() if isinstance(item, datetime) else item for name, item in asdict(state).items()
    }
    return plain | {"position": state.position.value}


async def _keep(connection: AsyncConnection, state: State, now: datetime) -> State:
    await put_flag(connection, FLAG, _value(state), now)
    return state


async def open_(
    connection: AsyncConnection, limit: Limit, now: datetime, window: Window, reason: str, code: str
) -> State:
    """Opens it for what `window` has seen. What is open already stays as it is."""
    before = await _locked(connection, now)
    after = breaker.opened(before, limit, now, window=window, reason=reason, code=code)
    return after if after == before else await _keep(connection, after, now)


async def begin_test(connection: AsyncConnection, now: datetime) -> bool:
    """Whether the caller may send a single mail now as a test; nobody else may until that has ended."""
    before = await _locked(connection, now)
    if not breaker.may_test(before, now):
        return False
    await _keep(connection, breaker.testing(before, now), now)
    return True


async def end_test(connection: AsyncConnection, limit: Limit, now: datetime, *, passed: bool | None) -> State:
    """How the test ended. If it closes the breaker, what was refused since it began is sent again."""
    before = await _locked(connection, now)
    after = await _keep(connection, breaker.tested(before, limit, now, passed=passed), now)
    if before.since is not None and after.lets_mail_through:
        await put_back(connection, before.since, now)
    return after


async def put_one_back(connection: AsyncConnection, now: datetime) -> bool:
    """For a test while nothing waits: one of the refused mails waits again. Returns whether there was one."""
    state = await read(connection)
    return state.since is not None and bool(await put_back(connection, state.since, now, most=1))


async def gate(connection: AsyncConnection, stop_flag: str) -> tuple[Any, State]:
    """(the value of the stop button's flag, the breaker's state), in one look."""
    rows = await connection.execute(
        sa.select(flags.c.name, flags.c.value).where(flags.c.name.in_([stop_flag, FLAG]))
    )
    found: dict[str, Any] = {row.name: row.value for row in rows}
    return found.get(stop_flag), state_of(found.get(FLAG))


async def resume(connection: AsyncConnection, now: datetime) -> int:
    """A person lets mail leave again. Returns how many refused mails got another chance."""
    before = await _locked(connection, now)
    await _keep(connection, breaker.resumed(), now)
    return 0 if before.since is None else await put_back(connection, before.since, now)


async def put_back(
    connection: AsyncConnection, since: datetime, now: datetime, most: int | None = None
) -> int:
    """Mails that were refused by our own fault from `since` on become pending again, all or the first `most`.
    Returns how many.

    They keep their token and Message-ID; whether they are still true is checked before they leave, as ever.
    """
    refused_since = sa.exists().where(
        attempts.c.delivery_id == deliveries.c.delivery_id,
        attempts.c.number == deliveries.c.tries,
        attempts.c.finished_at >= since,
    )
    ours = sa.and_(deliveries.c.fault == Fault.US, refused_since)
    chosen = (
        sa.select(deliveries.c.delivery_id)
        .where(ours, deliveries.c.state == Transmission.REFUSED)
        .order_by(deliveries.c.delivery_id)
        .limit(most)
    )
    numbers = await outbox.move(
        connection,
        deliveries.c.delivery_id.in_(chosen),
        Transmission.PENDING,
        sources=(Transmission.REFUSED,),
        finding=Finding.WAITING,
        next_at=now,
        reason="",
        fault="",
    )
    patrons = await connection.scalars(
        sa.select(deliveries.c.patron_id).where(deliveries.c.delivery_id.in_(numbers)).distinct()
    )
    for patron_id in patrons.all():
        await cases.review(connection, patron_id, now)
    return len(numbers)
