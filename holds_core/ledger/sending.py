"""What a sender does with the outbox: claim, record the start of attempts, record how they ended.

The start is committed before the relay is dialled and the outcome after; both go through `record`, so that a
connection's last outcome and its next start share one commit. All functions work inside the caller's
transaction and change a delivery only if it is still this owner's: what was cancelled, changed or taken
over in the meantime is not started.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.ledger.models import (
    CLAIMABLE,
    UtcTime,
    addresses,
    attempts,
    deliveries,
    holds,
    notice_holds,
    notices,
    patrons,
)
from holds_core.ledger.observations import Observation
from holds_core.notices import SENDABLE, TRANSMISSION, Kind, Outcome, Transmission


@dataclass(frozen=True, slots=True)
class HoldLine:
    """One hold as a mail lists it. `deadline` only where the feed or staff fixed it."""

    hold_id: str
    title: str
    volume: int | None
    state: str
    ready_on: date | None
    deadline: date | None
    deadline_source: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery claimed for sending, with what is needed to check, render and address it."""

    delivery_id: int
    notice_id: str
    kind: Kind
    patron_id: str
    patron_name: str
    language: str
    branch: str
    reason: str
    address: str
    domain: str
    token: str
    state: Transmission
    tries: int
    doubts: int
    created_at: datetime
    first_attempt_at: datetime | None
    standing: str
    holds: tuple[HoldLine, ...]
    lease_number: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that is about to begin. `number` counts from 1; `lease_number` is the claim's it comes from."""

    delivery_id: int
    number: int
    at: datetime
    deadline: date | None
    lease_until: datetime
    lease_number: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """An attempt that ended, and the state the delivery takes. `evidence`: what it says of the address.

    At hand-over `deadline` comes into force for `hold_ids`, where the library system or staff set none.
    """

    delivery_id: int
    notice_id: str
    number: int
    at: datetime
    outcome: Outcome
    state: Transmission
    next_at: datetime | None = None
    handed_over_at: datetime | None = None
    window_ends_at: datetime | None = None
    deadline: date | None = None
    doubts: int = 0
    reason: str = ""
    fault: str = ""
    evidence: Observation | None = None
    hold_ids: tuple[str, ...] = ()
    patron_id: str = ""


async def claim(
    connection: AsyncConnection,
    owner: str,
    now: datetime,
    lease_until: datetime,
    limit: int,
    make_token: Callable[[int], str],
    lease_number: int = 0,
) -> list[Claimed]:
    """Leases up to `limit` due deliveries to `owner`, prompt ones first, the longest due first.

    Whoever claims next does not get them until `lease_until`; `lease_number` counts the owner's claims. Tokens are made here, once, so that every
    attempt has the same return path (greylisting keys on it).
    """
    numbers: list[int] = []
    for prompt in (True, False):
        if len(numbers) < limit:
            numbers += await _lease(
                connection, owner, now, lease_until, limit - len(numbers), lease_number, prompt=prompt
            )
    if not numbers:
        return []
    place = {number: place for place, number in enumerate(numbers)}
    claimed = await load(connection, numbers, make_token)
    return sorted(claimed, key=lambda item: place[item.delivery_id])


def _lease_statement(*, skip_locked: bool) -> sa.UpdateBase:
    due = (
        sa.select(deliveries.c.delivery_id)
        .where(
            sa.text(CLAIMABLE),
            deliveries.c.prompt == sa.bindparam("is_prompt"),
            deliveries.c.next_at <= sa.bindparam("now"),
        )
        .order_by(deliveries.c.next_at)
        .limit(sa.bindparam("most"))
    )
    if skip_locked:
        due = due.with_for_update(skip_locked=True)
    return (
        sa.update(deliveries)
        .where(deliveries.c.delivery_id.in_(due))
        .values(
            lease_owner=sa.bindparam("owner"),
            lease_until=sa.bindparam("until"),
            lease_number=sa.bindparam("claim"),
        )
        .returning(deliveries.c.delivery_id)
    )


_LEASE = {
    "sqlite": _lease_statement(skip_locked=False),
    "postgresql": _lease_statement(skip_locked=True),
}


async def _lease(
    connection: AsyncConnection,
    owner: str,
    now: datetime,
    lease_until: datetime,
    limit: int,
    lease_number: int,
    *,
    prompt: bool,
) -> list[int]:
    said = {
        "owner": owner,
        "now": now,
        "until": lease_until,
        "most": limit,
        "is_prompt": prompt,
        "claim": lease_number,
    }
    result = await connection.execute(_LEASE[connection.dialect.name], said)
    return [row.delivery_id for row in result]


async def load(
    connection: AsyncConnection, numbers: Sequence[int], make_token: Callable[[int], str] | None = None
) -> list[Claimed]:
    """Deliveries with their notice, patron, holds and the address's standing, in order of number."""
    columns = deliveries.c
    rows = (
        await connection.execute(
            sa.select(
                columns.delivery_id,
                columns.notice_id,
                columns.kind,
                columns.patron_id,
                columns.address,
                columns.domain,
                columns.token,
                columns.state,
                columns.tries,
                columns.doubts,
                columns.created_at,
                columns.first_attempt_at,
                columns.lease_number,
                notices.c.branch,
                notices.c.reason,
                patrons.c.name,
                patrons.c.language,
                addresses.c.standing,
            )
            .join(notices, notices.c.notice_id == columns.notice_id)
            .join(patrons, patrons.c.patron_id == columns.patron_id, isouter=True)
            .join(addresses, addresses.c.address_key == columns.address_key, isouter=True)
            .where(columns.delivery_id.in_(numbers))
            .order_by(columns.delivery_id)
        )
    ).all()
    tokens = {row.delivery_id: row.token for row in rows}
    if make_token is not None:
        fresh = [row.delivery_id for row in rows if row.token is None]
        tokens.update(await _give_tokens(connection, fresh, make_token))
    lines = await hold_lines(connection, {row.notice_id for row in rows})
    return [
        Claimed(
            delivery_id=row.delivery_id,
            notice_id=row.notice_id,
            kind=Kind(row.kind),
            patron_id=row.patron_id,
            patron_name=row.name or "",
            language=row.language or "",
            branch=row.branch,
            reason=row.reason,
            address=row.address,
            domain=row.domain,
            token=tokens[row.delivery_id] or "",
            state=Transmission(row.state),
            tries=row.tries,
            doubts=row.doubts,
            created_at=row.created_at,
            first_attempt_at=row.first_attempt_at,
            standing=row.standing or "unproven",
            holds=lines.get(row.notice_id, ()),
            lease_number=row.lease_number,
        )
        for row in rows
    ]


async def _give_tokens(
    connection: AsyncConnection, numbers: Sequence[int], make_token: Callable[[int], str]
) -> dict[int, str]:
    tokens = {number: make_token(number) for number in numbers}
    if tokens:
        await connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_id == sa.bindparam("number"))
            .values(token=sa.bindparam("made")),
            [{"number": number, "made": token} for number, token in tokens.items()],
        )
    return tokens


async def hold_lines(connection: AsyncConnection, notice_ids: set[str]) -> dict[str, tuple[HoldLine, ...]]:
    """The holds each notice is about."""
    rows = await connection.execute(
        sa.select(
            notice_holds.c.notice_id,
            holds.c.hold_id,
            holds.c.title,
            holds.c.volume,
            holds.c.state,
            holds.c.ready_on,
            holds.c.deadline,
            holds.c.deadline_source,
        )
        .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
        .where(notice_holds.c.notice_id.in_(sorted(notice_ids)))
        .order_by(holds.c.hold_id)
    )
    lines: dict[str, list[HoldLine]] = {}
    for notice_id, *line in rows:
        lines.setdefault(notice_id, []).append(HoldLine(*line))
    return {notice_id: tuple(found) for notice_id, found in lines.items()}


async def record(
    connection: AsyncConnection, owner: str, starts: Sequence[Start], finishes: Sequence[Finish]
) -> frozenset[int]:
    """Records attempts that ended and attempts that begin. Returns the deliveries that may be dialled.

    A start is refused (left out of the answer) when the delivery is no longer this owner's or no longer
    waits: it was cancelled, its address changed, or its lease was taken.
    """
    if finishes:
        await _finish(connection, owner, finishes)
    if not starts:
        return frozenset()
    accepted = await _begin(connection, owner, starts)
    rows = [
        {
            "delivery_id": start.delivery_id,
            "number": start.number,
            "started_at": start.at,
            "deadline": start.deadline,
        }
        for start in starts
        if start.delivery_id in accepted
    ]
    if rows:
        await connection.execute(sa.insert(attempts), rows)
    return accepted


# Built once: putting a statement together costs more than running it.
_BEGIN = (
    sa.update(deliveries)
    .where(
        deliveries.c.delivery_id.in_(sa.bindparam("numbers", expanding=True)),
        # of this very claim: one claimed again since holds other news than the copy that was rendered
        sa.tuple_(deliveries.c.delivery_id, deliveries.c.lease_number).in_(
            sa.bindparam("claims", expanding=True)
        ),
        deliveries.c.lease_owner == sa.bindparam("owner"),
        deliveries.c.state.in_(SENDABLE),
    )
    .values(
        state=Transmission.SENDING,
        tries=deliveries.c.tries + 1,
        lease_until=sa.bindparam("until"),
        first_attempt_at=sa.func.coalesce(deliveries.c.first_attempt_at, sa.bindparam("at", type_=UtcTime)),
    )
    .returning(deliveries.c.delivery_id)
)


async def _begin(connection: AsyncConnection, owner: str, starts: Sequence[Start]) -> frozenset[int]:
    first = starts[0]
    numbers = [start.delivery_id for start in starts]
    claims = [(start.delivery_id, start.lease_number or 0) for start in starts]
    said = {
        "numbers": numbers,
        "claims": claims,
        "owner": owner,
        "until": first.lease_until,
        "at": first.at,
    }
    result = await connection.execute(_BEGIN, said)
    return frozenset(row.delivery_id for row in result)


_FINISH_DELIVERY = (
    sa.update(deliveries)
    .where(
        deliveries.c.delivery_id == sa.bindparam("number"),
        deliveries.c.state == Transmission.SENDING,
        deliveries.c.lease_owner == sa.bindparam("owner"),
    )
    .values(
        state=sa.bindparam("new_state"),
        next_at=sa.bindparam("new_next_at"),
        handed_over_at=sa.bindparam("new_handed_over_at"),
        window_ends_at=sa.bindparam("new_window_ends_at"),
        deadline=sa.bindparam("new_deadline"),
        doubts=sa.bindparam("new_doubts"),
        reason=sa.bindparam("new_reason"),
        fault=sa.bindparam("new_fault"),
        lease_owner=None,
        lease_until=None,
    )
)

_FINISH_ATTEMPT = (
    sa.update(attempts)
    .where(attempts.c.delivery_id == sa.bindparam("delivery"), attempts.c.number == sa.bindparam("nth"))
    .values(
        finished_at=sa.bindparam("at"),
        result=sa.bindparam("new_result"),
        phase=sa.bindparam("new_phase"),
        code=sa.bindparam("new_code"),
        status=sa.bindparam("new_status"),
        text=sa.bindparam("new_text"),
        remote=sa.bindparam("new_remote"),
    )
)

_DEADLINE_IN_FORCE = (
    sa.update(holds)
    .where(
        holds.c.hold_id == sa.bindparam("hold"),
        holds.c.state == "ready",
        # a deadline from the library system, or an extension, beats the formula
        sa.or_(holds.c.deadline_source.is_(None), holds.c.deadline_source == "mail"),
    )
    .values(deadline=sa.bindparam("new_deadline"), deadline_source="mail")
)


async def _finish(connection: AsyncConnection, owner: str, finishes: Sequence[Finish]) -> None:
    for item in finishes:
        TRANSMISSION.check(Transmission.SENDING, _first_step(item.state))
    await connection.execute(
        _FINISH_DELIVERY,
        [
            {
                "number": item.delivery_id,
                "owner": owner,
                "new_state": item.state,
                "new_next_at": item.next_at,
                "new_handed_over_at": item.handed_over_at,
                "new_window_ends_at": item.window_ends_at,
                "new_deadline": item.deadline,
                "new_doubts": item.doubts,
                "new_reason": item.reason,
                "new_fault": item.fault,
            }
            for item in finishes
        ],
    )
    await connection.execute(
        _FINISH_ATTEMPT,
        [
            {
                "delivery": item.delivery_id,
                "nth": item.number,
                "at": item.at,
                "new_result": item.outcome.result,
                "new_phase": item.outcome.phase,
                "new_code": item.outcome.code,
                "new_status": item.outcome.status,
                "new_text": item.outcome.text,
                "new_remote": item.outcome.remote,
            }
            for item in finishes
        ],
    )
    in_force = [
        {"hold": hold_id, "new_deadline": item.deadline}
        for item in finishes
        if item.deadline is not None and item.state is Transmission.HANDED_OVER
        for hold_id in item.hold_ids
    ]
    if in_force:
        await connection.execute(_DEADLINE_IN_FORCE, in_force)


def _first_step(state: Transmission) -> Transmission:
    """Expired is reached through retrying: the attempt was deferred once too often."""
    return Transmission.RETRYING if state is Transmission.EXPIRED else state
