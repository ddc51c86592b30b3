"""The outbox: notices owed, their deliveries, and every step from pending to handed over.

Enters: what policy says is owed, claims and outcomes of senders. Leaves: deliveries to send. All functions
work inside the caller's transaction. A state changes only by `UPDATE … WHERE state IN (legal sources)`, so
a step that the transmission table does not have changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import IllegalTransition
from holds_core.ledger.models import UNRELEASED, attempts, deliveries, holds, notice_holds, notices
from holds_core.ledger.sql import insert_new, short_id
from holds_core.notices import BATCHED, SENDABLE, TRANSMISSION, UNSENT, Finding, Kind, Transmission
from holds_core.policy import AddressRecord, Owed

HOLD_MAIL = (Kind.HOLD_READY, Kind.HOLD_EXPIRING)
"""Kinds that announce a hold on the shelf: untrue as soon as it leaves the shelf."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a notice is owed now: the event (or staff action) and the times that follow from it.

    `prompt_at` is when a prompt notice may leave, None if it came too late to be sent at all. A silent
    cause owes nothing: it tells what was so before we came.
    """

    id: str
    now: datetime
    prompt_at: datetime | None
    silent: bool = False


async def owe(
    connection: AsyncConnection, owed: Owed, patron_id: str, branch: str, cause: Cause
) -> str | None:
    """Writes a notice into the outbox, or adds its holds to one that still waits for its batch.

    Returns the notice's id, or None if a prompt notice came too late to be owed, or the cause is silent.
    """
    batched = owed.kind in BATCHED
    if cause.silent or (not batched and cause.prompt_at is None):
        return None
    if batched and (waiting := await _waiting_notice(connection, owed, patron_id, branch)):
        await _add_holds(connection, waiting, owed.hold_ids)
        return waiting
    notice_id = short_id("N", cause.id, owed.kind, patron_id, branch, *owed.hold_ids)
    new = await insert_new(
        connection,
        notices,
        {
            "notice_id": notice_id,
            "kind": owed.kind,
            "patron_id": patron_id,
            "branch": branch,
            "event_id": cause.id,
            "created_at": cause.now,
            "reason": owed.reason,
        },
    )
    if not new:
        return notice_id
    await _add_holds(connection, notice_id, owed.hold_ids)
    await connection.execute(
        sa.insert(deliveries),
        [
            _delivery(notice_id, owed, patron_id, record, cause, batched=batched)
            for record in owed.recipients or (None,)
        ],
    )
    return notice_id


def _delivery(
    notice_id: str, owed: Owed, patron_id: str, record: AddressRecord | None, cause: Cause, *, batched: bool
) -> dict[str, object]:
    return {
        "notice_id": notice_id,
        "kind": owed.kind,
        "patron_id": patron_id,
        "address": record.address if record else "",
        "address_key": record.key if record else "",
        "domain": record.key.rpartition("@")[2] if record else "",
        "state": Transmission.PENDING if record else Transmission.WITHHELD,
        "finding": Finding.WAITING,
        "prompt": not batched,
        "next_at": None if batched else cause.prompt_at,
        "created_at": cause.now,
        "reason": "" if record else owed.why,
    }


async def _waiting_notice(connection: AsyncConnection, owed: Owed, patron_id: str, branch: str) -> str | None:
    """A notice of the same kind, patron, branch and recipients that no batch has released yet."""
    state = Transmission.PENDING if owed.recipients else Transmission.WITHHELD
    rows = await connection.execute(
        sa.select(deliveries.c.notice_id, deliveries.c.address_key)
        .join(notices, notices.c.notice_id == deliveries.c.notice_id)
        .where(
            notices.c.patron_id == patron_id,
            notices.c.kind == owed.kind,
            notices.c.branch == branch,
            deliveries.c.state == state,
            deliveries.c.slot.is_(None),
            deliveries.c.reason == owed.why,
        )
    )
    found: dict[str, set[str]] = {}
    for notice_id, key in rows:
        found.setdefault(notice_id, set()).add(key)
    wanted = {record.key for record in owed.recipients} or {""}
    return next((notice_id for notice_id, keys in found.items() if keys == wanted), None)


async def _add_holds(connection: AsyncConnection, notice_id: str, hold_ids: Iterable[str]) -> None:
    for hold_id in hold_ids:
        await insert_new(connection, notice_holds, {"notice_id": notice_id, "hold_id": hold_id})


async def move(
    connection: AsyncConnection,
    where: sa.ColumnElement[bool],
    wanted: Transmission,
    *,
    sources: Iterable[Transmission] | None = None,
    **values: Any,
) -> list[int]:
    """Takes every matching delivery whose state may become `wanted` there. Returns their numbers.

    Deliveries in other states stay as they are. `sources` narrows the states further; one that the
    table does not allow raises IllegalTransition.
    """
    legal = TRANSMISSION.sources(wanted)
    chosen = frozenset(sources) if sources is not None else legal
    for source in chosen - legal:
        raise IllegalTransition(TRANSMISSION.name, source, wanted)
    result = await connection.execute(
        sa.update(deliveries)
        .where(where, deliveries.c.state.in_(sorted(chosen)))
        .values(state=wanted, lease_owner=None, lease_until=None, **values)
        .returning(deliveries.c.delivery_id)
    )
    return [row.delivery_id for row in result]


async def step(connection: AsyncConnection, delivery_id: int, wanted: Transmission, **values: Any) -> None:
    """Takes one delivery to `wanted`. Raises IllegalTransition, and changes nothing, if it may not."""
    moved = await move(connection, deliveries.c.delivery_id == delivery_id, wanted, **values)
    if not moved:
        state = await connection.scalar(
            sa.select(deliveries.c.state).where(deliveries.c.delivery_id == delivery_id)
        )
        raise IllegalTransition(TRANSMISSION.name, state or "missing", wanted, f"delivery {delivery_id}")


async def hold_left_shelf(connection: AsyncConnection, hold_id: str) -> None:
    """Takes unsent announcements of a hold back: it was collected, cancelled, lapsed or unshelved.

    A notice that still announces other holds is not cancelled; its lease is taken away, so that a
    sender that has rendered it already cannot start it and it is rendered again without this hold.
    """
    told = list(
        await connection.scalars(
            sa.select(notices.c.notice_id)
            .join(notice_holds, notice_holds.c.notice_id == notices.c.notice_id)
            .where(notice_holds.c.hold_id == hold_id, notices.c.kind.in_(HOLD_MAIL))
        )
    )
    if not told:
        return
    still_true = list(
        await connection.scalars(
            sa.select(notice_holds.c.notice_id)
            .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
            .where(notice_holds.c.notice_id.in_(told), holds.c.state == "ready", holds.c.hold_id != hold_id)
        )
    )
    await connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.notice_id.in_(still_true), deliveries.c.state.in_(SENDABLE))
        .values(lease_owner=None, lease_until=None)
    )
    untrue = deliveries.c.notice_id.in_(set(told) - set(still_true))
    await move(connection, untrue, Transmission.CANCELLED, sources=UNSENT, reason="off_the_shelf")


async def cancel_unsent(
    connection: AsyncConnection, patron_id: str, *, keep_keys: Iterable[str], reason: str
) -> None:
    """Cancels the patron's unsent hold mail to addresses that are not among `keep_keys`."""
    await move(
        connection,
        sa.and_(
            deliveries.c.patron_id == patron_id,
            deliveries.c.kind.not_in([Kind.REGISTRATION_CHANGED_OLD]),
            deliveries.c.address_key.not_in(list(keep_keys)),
        ),
        Transmission.CANCELLED,
        sources=UNSENT,
        reason=reason,
    )


async def release(connection: AsyncConnection, slot: str, now: datetime, created_until: datetime) -> int:
    """Lets the batch of `slot` go: every batched delivery that has waited since before `created_until`.

    Returns how many. The caller has made sure that the slot runs once.
    """
    result = await connection.execute(
        sa.update(deliveries)
        .where(
            sa.text(UNRELEASED),
            deliveries.c.created_at <= created_until,
        )
        .values(slot=slot, next_at=now)
    )
    return result.rowcount


HELD = "held"
"""The slot of prompt notices that wait for a person."""


async def prompt_among(connection: AsyncConnection, notice_ids: Sequence[str]) -> list[str]:
    """Those of the notices that are prompt and have not left, each once, in order."""
    wanted = list(dict.fromkeys(notice_ids))
    found: set[str] = set()
    for start in range(0, len(wanted), 500):
        found.update(
            await connection.scalars(
                sa.select(deliveries.c.notice_id).where(
                    deliveries.c.notice_id.in_(wanted[start : start + 500]),
                    deliveries.c.prompt.is_(sa.true()),
                    deliveries.c.state == Transmission.PENDING,
                )
            )
        )
    return [notice_id for notice_id in wanted if notice_id in found]


async def hold_back(connection: AsyncConnection, notice_ids: Sequence[str]) -> int:
    """Keeps unsent prompt notices from leaving until `release_held`. Returns how many deliveries."""
    count = 0
    for start in range(0, len(notice_ids), 500):
        result = await connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.notice_id.in_(notice_ids[start : start + 500]),
                deliveries.c.prompt.is_(sa.true()),
                deliveries.c.state == Transmission.PENDING,
            )
            .values(slot=HELD, next_at=None)
        )
        count += result.rowcount
    return count


async def release_held(connection: AsyncConnection, now: datetime) -> int:
    """Lets held notices go. Returns how many."""
    result = await connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.slot == HELD, deliveries.c.state == Transmission.PENDING)
        .values(slot=None, next_at=now)
    )
    return result.rowcount


async def postpone(connection: AsyncConnection, times: Sequence[tuple[int, datetime]], owner: str) -> None:
    """Gives claimed deliveries back, to be claimed again at the given times (pacing)."""
    if times:
        await connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_id == sa.bindparam("number"), deliveries.c.lease_owner == owner)
            .values(next_at=sa.bindparam("at"), lease_owner=None, lease_until=None),
            [{"number": number, "at": at} for number, at in times],
        )


async def unlease(connection: AsyncConnection, owner: str) -> None:
    """Gives back whatever this owner claimed and did not start."""
    await connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.lease_owner == owner, deliveries.c.state.in_(SENDABLE))
        .values(lease_owner=None, lease_until=None)
    )


async def recover(
    connection: AsyncConnection, now: datetime, wait: timedelta, *, alive: Iterable[str]
) -> list[int]:
    """After a crash: what a dead owner was sending is uncertain now, and is tried again after `wait`.

    A delivery that was in doubt before is taken for handed over: it is resent at most once.
    `alive` names the owners that are known to be running. Returns the deliveries concerned.
    """
    orphaned = sa.and_(
        deliveries.c.state == Transmission.SENDING,
        sa.or_(deliveries.c.lease_owner.is_(None), deliveries.c.lease_owner.not_in(list(alive))),
    )
    found = await move(
        connection,
        orphaned,
        Transmission.UNCERTAIN,
        doubts=deliveries.c.doubts + 1,
        next_at=now + wait,
        reason="interrupted",
    )
    await settle_doubts(connection, now)
    await connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.state.in_(SENDABLE),
            deliveries.c.lease_owner.is_not(None),
            deliveries.c.lease_owner.not_in(list(alive)),
        )
        .values(lease_owner=None, lease_until=None)
    )
    return found


async def settle_doubts(connection: AsyncConnection, now: datetime) -> None:
    """Deliveries twice in doubt count as handed over: one duplicate is the most a patron may get."""
    settled = await move(
        connection,
        sa.and_(deliveries.c.doubts >= 2, deliveries.c.state == Transmission.UNCERTAIN),
        Transmission.HANDED_OVER,
        handed_over_at=sa.func.coalesce(deliveries.c.handed_over_at, now),
        window_ends_at=sa.func.coalesce(deliveries.c.window_ends_at, now + timedelta(days=3)),
        next_at=None,
        reason="uncertain",
    )
    await deadline_in_force(connection, settled)


async def deadline_in_force(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    """The deadline that stood in the last attempt's mail now holds, where no other word beats it."""
    if not numbers:
        return
    rows = await connection.execute(
        sa.select(notice_holds.c.hold_id, attempts.c.deadline)
        .join(deliveries, deliveries.c.notice_id == notice_holds.c.notice_id)
        .join(
            attempts,
            sa.and_(
                attempts.c.delivery_id == deliveries.c.delivery_id, attempts.c.number == deliveries.c.tries
            ),
        )
        .where(deliveries.c.delivery_id.in_(numbers), attempts.c.deadline.is_not(None))
    )
    for hold_id, deadline in rows.all():
        await connection.execute(
            sa.update(holds)
            .where(
                holds.c.hold_id == hold_id,
                holds.c.state == "ready",
                sa.or_(holds.c.deadline_source.is_(None), holds.c.deadline_source == "mail"),
            )
            .values(deadline=deadline, deadline_source="mail")
        )
