"""What a sender does with the outbox: claim, record the start of attempts, record how they ended.

The start is committed before the relay is dialled and the outcome after; both go through `record`, so that a
connection's last outcome and its next start share one commit. All functions work inside the caller's
transaction and change a delivery only if it is still this owner's: what was cancelled, changed or taken
over in the meantime is not started.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter

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
    title_policy: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that is about to begin. `number` counts from 1; `lease_number` is the claim's it comes from."""

    delivery_id: int
    number: int
    at: datetime
    deadline: date | None
    lease_until: datetime
    lease_number: int | None = None
    promised: tuple[tuple[str, date], ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """An attempt that ended, and the state the delivery takes. `evidence`: what it says of the address.

    At hand-over `deadline` comes into force for `hold_ids`, where the library system or staff set none; where
    the mail promised several days, each hold has its own in `promised`.
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
    promised: tuple[tuple[str, date], ...] = ()


async def claim(
    connection: AsyncConnection,
    owner: str,
    now: datetime,
    lease_until: datetime,
    limit: int,
    make_token: Callable[[int], str],
    lease_number: int = 0,
    *,
    quiet_until: datetime | None = None,
) -> list[Claimed]:
    """Leases up to `limit` due deliveries to `owner`, prompt ones first, the longest due first. In quiet hours
    prompt ones wait for their end: what was delayed into the night is not sent before the morning.

    Whoever claims next does not get them until `lease_until`; `lease_number` counts the owner's claims. Tokens are made here, once, so that every
    attempt has the same return path (greylisting keys on it).
    """
    numbers: list[int] = []
    if quiet_until is not None:
        await connection.execute(_PUT_OFF, {"now": now, "morning": quiet_until})
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


_PUT_OFF = (
    sa.update(deliveries)
    .where(
        sa.text(CLAIMABLE), deliveries.c.prompt.is_(sa.true()), deliveries.c.next_at <= sa.bindparam("now")
    )
    .values(next_at=sa.bindparam("morning"))
)


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
    return list(result.scalars().all())


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
                patrons.c.title_policy,
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
            title_policy=row.title_policy or "",
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
    found = await connection.execute(
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
    for notice_id, *line in found.all():
        lines.setdefault(notice_id, []).append(HoldLine(*line))
    return {notice_id: tuple(its_lines) for notice_id, its_lines in lines.items()}


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
        deliveries.c.lease_number == sa.bindparam("claim"),
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
    """The deliveries that are this owner's, of the claim that each start comes from, and still wait."""
    by_claim: defaultdict[int, list[int]] = defaultdict(list)
    for start in starts:
        by_claim[start.lease_number or 0].append(start.delivery_id)
    said = {"owner": owner, "until": starts[0].lease_until, "at": starts[0].at}
    accepted: list[int] = []
    for claim_number, numbers in by_claim.items():
        result = await connection.execute(_BEGIN, {**said, "claim": claim_number, "numbers": numbers})
        accepted += result.scalars().all()
    return frozenset(accepted)


_FINISH_DELIVERY = (
    sa.update(deliveries)
    .where(
        deliveries.c.delivery_id.in_(sa.bindparam("numbers", expanding=True)),
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
        holds.c.hold_id.in_(sa.bindparam("hold_ids", expanding=True)),
        # as a sum, or SQLite would rather read every hold on the shelf by the index on states
        holds.c.state.concat("") == "ready",
        # a deadline from the library system, or an extension, beats the formula
        sa.or_(holds.c.deadline_source.is_(None), holds.c.deadline_source == "mail"),
    )
    .values(deadline=sa.bindparam("new_deadline"), deadline_source="mail")
)


async def _finish(connection: AsyncConnection, owner: str, finishes: Sequence[Finish]) -> None:
    for item in finishes:
        TRANSMISSION.check(Transmission.SENDING, _first_step(item.state))
    for alike in _alike(finishes):
        last = alike[-1]
        said = {
            "numbers": [item.delivery_id for item in alike],
            "owner": owner,
            "new_state": last.state,
            "new_next_at": last.next_at,
            "new_handed_over_at": last.handed_over_at,
            "new_window_ends_at": last.window_ends_at,
            "new_deadline": last.deadline,
            "new_doubts": last.doubts,
            "new_reason": last.reason,
            "new_fault": last.fault,
        }
        await connection.execute(_FINISH_DELIVERY, said)
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
    in_force: defaultdict[date, list[str]] = defaultdict(list)
    for item in finishes:
        if item.deadline is not None and item.state is Transmission.HANDED_OVER:
            in_force[item.deadline] += () if item.promised else item.hold_ids
            for hold_id, day in item.promised:
                in_force[day].append(hold_id)
    for day, hold_ids in in_force.items():
        await connection.execute(_DEADLINE_IN_FORCE, {"hold_ids": hold_ids, "new_deadline": day})


def _alike(finishes: Sequence[Finish]) -> list[list[Finish]]:
    """`finishes` in groups that one statement can record, each in order of time.

    A batch's mails end alike but for some milliseconds; those handed over take the time of the last one of
    their commit. What is tried again keeps its own time.
    """
    groups: defaultdict[tuple[object, ...], list[Finish]] = defaultdict(list)
    for item in sorted(finishes, key=_ended_at):
        window = item.window_ends_at and item.window_ends_at - item.at
        alone = item.delivery_id if item.handed_over_at is None else None
        groups[alone, item.state, window, item.deadline, item.doubts, item.reason, item.fault].append(item)
    return list(groups.values())


_ended_at = attrgetter("at")


def _first_step(state: Transmission) -> Transmission:
    """Expired is reached through retrying: the attempt was deferred once too often."""
    return Transmission.RETRYING if state is Transmission.EXPIRED else state
