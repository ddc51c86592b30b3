"""One announcement to everybody: the sender changes. Fed into the day's batches part by part, once per address.

Enters the day of the change and how many mails a batch may take; leaves `sender_migration` notices in the
outbox, and afterwards the addresses that gave signs of life before the change and none since. It stops by
itself at the change: from then on the old sender says nothing any more. Stopped, or cut off in the middle,
it goes on where it was: an address that has its mail does not get another. All functions work in the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import Conflict, NotFound
from holds_core.evidence import PERSONAL, Sign
from holds_core.ledger.models import (
    addresses,
    campaigns,
    deliveries,
    evidence,
    notices,
    patron_addresses,
    patrons,
)
from holds_core.ledger.sql import insert_new, short_id
from holds_core.notices import Finding, Kind, Transmission
from holds_core.standing import Standing

SIGNS_COUNT_FOR = timedelta(days=365)
"""How long before the change a sign of life may lie to make later silence remarkable."""

_ALIVE = PERSONAL | {Sign.COLLECTED, Sign.SEEN}


@dataclass(frozen=True, slots=True)
class Campaign:
    """An announcement. `reached` is the last patron who has it; `ended_why`: done, stopped, overtaken."""

    campaign_id: str
    switch_on: date
    per_batch: int
    started_at: datetime
    started_by: str
    reached: str = ""
    queued: int = 0
    ended_at: datetime | None = None
    ended_why: str = ""

    @property
    def running(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it came, in addresses. `states` counts deliveries by transmission state, `findings` by finding."""

    left: int
    states: dict[str, int]
    findings: dict[str, int]


def name_of(switch_on: date) -> str:
    """The campaign for the change on this day."""
    return f"sender-change {switch_on.isoformat()}"


async def start(
    connection: AsyncConnection, switch_on: date, per_batch: int, who: str, now: datetime
) -> Campaign:
    """Starts the announcement of a change, or lets one that ended go on from its beginning: who has the
    mail already is passed over. Raises Conflict if it is running."""
    campaign_id = name_of(switch_on)
    row = {
        "campaign_id": campaign_id,
        "switch_on": switch_on,
        "per_batch": per_batch,
        "started_at": now,
        "started_by": who,
    }
    if not await insert_new(connection, campaigns, row):
        again = await connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.campaign_id == campaign_id, campaigns.c.ended_at.is_not(None))
            .values(per_batch=per_batch, reached="", ended_at=None, ended_why="")
        )
        if not again.rowcount:
            raise Conflict(
                f"お知らせ「{campaign_id}」は始まっています。 The campaign {campaign_id} is running already."
            )
    return await get(connection, campaign_id)


async def get(connection: AsyncConnection, campaign_id: str) -> Campaign:
    """Raises NotFound."""
    row = (
        await connection.execute(sa.select(campaigns).where(campaigns.c.campaign_id == campaign_id))
    ).first()
    if row is None:
        raise NotFound(f"there is no campaign {campaign_id}")
    return Campaign(**row._mapping)


async def listed(connection: AsyncConnection) -> list[Campaign]:
    """All campaigns, the latest change first."""
    rows = await connection.execute(sa.select(campaigns).order_by(campaigns.c.switch_on.desc()))
    return [Campaign(**row._mapping) for row in rows]


async def stop(connection: AsyncConnection, campaign_id: str, now: datetime) -> int:
    """Stops it and takes back what waits for a batch. Returns how many mails that was; raises NotFound."""
    campaign = await get(connection, campaign_id)
    await _end(connection, campaign, "stopped", now)
    waiting = await connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.notice_id.in_(_notices_of(campaign_id)),
            deliveries.c.state == Transmission.PENDING,
            deliveries.c.slot.is_(None),
        )
        .values(state=Transmission.CANCELLED, next_at=None, reason="campaign_stopped")
    )
    return waiting.rowcount


async def _end(connection: AsyncConnection, campaign: Campaign, why: str, now: datetime) -> None:
    await connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign_id == campaign.campaign_id, campaigns.c.ended_at.is_(None))
        .values(ended_at=now, ended_why=why)
    )


# -- the next part ---------------------------------------------------------------------------------


async def feed(connection: AsyncConnection, today: date, now: datetime) -> int:
    """Puts the next part of each running campaign into the outbox, for the batch that is about to go.

    `today` is the library's day. Returns how many mails that is.
    """
    count = 0
    running = await connection.execute(sa.select(campaigns).where(campaigns.c.ended_at.is_(None)))
    for row in running.all():
        campaign = Campaign(**row._mapping)
        if today >= campaign.switch_on:
            await _end(connection, campaign, "overtaken", now)
        else:
            count += await _next_part(connection, campaign, now)
    return count


async def _next_part(connection: AsyncConnection, campaign: Campaign, now: datetime) -> int:
    # some more than wanted, so that the last patron's addresses are all among them
    rows = (
        await connection.execute(
            _audience(campaign.campaign_id)
            .where(patron_addresses.c.patron_id > campaign.reached)
            .order_by(patron_addresses.c.patron_id, patron_addresses.c.position)
            .limit(campaign.per_batch + 20)
        )
    ).all()
    everyone = len(rows) < campaign.per_batch + 20
    part = list(_part(rows, campaign.per_batch, whole=everyone))
    for start_at in range(0, len(part), 500):
        some = part[start_at : start_at + 500]
        await connection.execute(sa.insert(notices), [_notice(row, campaign, now) for row in _firsts(some)])
        await connection.execute(sa.insert(deliveries), [_delivery(row, campaign, now) for row in some])
    if everyone and (not rows or not part or part[-1].patron_id == rows[-1].patron_id):
        await _end(connection, campaign, "done", now)
    if part:
        await connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.campaign_id == campaign.campaign_id)
            .values(reached=part[-1].patron_id, queued=campaigns.c.queued + len(part))
        )
    return len(part)


def _audience(campaign_id: str) -> sa.Select[Any]:
    """Addresses that hold mail may use and that do not have this campaign's mail yet."""
    has_it = (
        sa.select(deliveries.c.delivery_id)
        .where(
            deliveries.c.address_key == patron_addresses.c.address_key,
            deliveries.c.kind == Kind.SENDER_MIGRATION,
            deliveries.c.state != Transmission.CANCELLED,
            deliveries.c.notice_id.in_(_notices_of(campaign_id)),
        )
        .correlate(patron_addresses)
    )
    return (
        sa.select(patron_addresses.c.patron_id, patron_addresses.c.address, patron_addresses.c.address_key)
        .join(patrons, patrons.c.patron_id == patron_addresses.c.patron_id)
        .join(addresses, addresses.c.address_key == patron_addresses.c.address_key, isouter=True)
        .where(
            patron_addresses.c.until.is_(None),
            patron_addresses.c.provisional.is_(sa.false()),
            patrons.c.contact == "email",
            sa.func.coalesce(addresses.c.standing, "") != Standing.UNREACHABLE,
            sa.func.coalesce(addresses.c.mistyped, sa.false()).is_(sa.false()),
            ~sa.exists(has_it),
        )
    )


def _notices_of(campaign_id: str) -> sa.Select[Any]:
    return sa.select(notices.c.notice_id).where(
        notices.c.kind == Kind.SENDER_MIGRATION, notices.c.reason == campaign_id
    )


def _part(rows: Sequence[Any], most: int, *, whole: bool) -> Iterator[Any]:
    """Rows of as many whole patrons as fit, each address once: families share them."""
    seen: set[str] = set()
    groups = [list(group) for _, group in groupby(rows, lambda row: row.patron_id)]
    if not whole and len(groups) > 1:
        groups.pop()  # may have been cut
    for group in groups:
        if len(seen) >= most:
            return
        for row in group:
            if row.address_key not in seen:
                seen.add(row.address_key)
                yield row


def _firsts(rows: Iterable[Any]) -> Iterator[Any]:
    """One row per patron: whose notice it is."""
    return (next(group) for _, group in groupby(rows, lambda row: row.patron_id))


def _notice_id(row: Any, campaign: Campaign, now: datetime) -> str:
    return short_id("N", campaign.campaign_id, row.patron_id, now.isoformat())


def _notice(row: Any, campaign: Campaign, now: datetime) -> dict[str, Any]:
    return {
        "notice_id": _notice_id(row, campaign, now),
        "kind": Kind.SENDER_MIGRATION,
        "patron_id": row.patron_id,
        "created_at": now,
        "reason": campaign.campaign_id,
    }


def _delivery(row: Any, campaign: Campaign, now: datetime) -> dict[str, Any]:
    return {
        "notice_id": _notice_id(row, campaign, now),
        "kind": Kind.SENDER_MIGRATION,
        "patron_id": row.patron_id,
        "address": row.address,
        "address_key": row.address_key,
        "domain": row.address_key.rpartition("@")[2],
        "state": Transmission.PENDING,
        "finding": Finding.WAITING,
        "prompt": False,
        "created_at": now,
    }


# -- how far, and who went silent ------------------------------------------------------------------


async def left(connection: AsyncConnection, campaign_id: str) -> int:
    """How many addresses still wait for this announcement."""
    audience = _audience(campaign_id).subquery()
    count = await connection.scalar(sa.select(sa.func.count(audience.c.address_key.distinct())))
    return int(count or 0)


async def progress(connection: AsyncConnection, campaign_id: str) -> Progress:
    mine = deliveries.c.notice_id.in_(_notices_of(campaign_id))

    async def count(column: sa.Column[Any]) -> dict[str, int]:
        rows = await connection.execute(sa.select(column, sa.func.count()).where(mine).group_by(column))
        return {str(value): int(number) for value, number in rows}

    return Progress(
        await left(connection, campaign_id),
        await count(deliveries.c.state),
        await count(deliveries.c.finding),
    )


@dataclass(frozen=True, slots=True)
class Silent:
    """An address that answered before the change and has not since. `mails` counts those since, `missed`
    those of them whose time for a sign is over or that came back."""

    patron_id: str
    address: str
    address_key: str
    last_sign_at: datetime
    mails: int
    missed: int


async def silent_since(connection: AsyncConnection, switch: datetime) -> list[Silent]:
    """Addresses that gave a sign of life in the year before `switch`, got mail since, and gave none.

    The longest list of missed mails first: a patron who accepts listed senders only looks like this.
    """
    alive = evidence.c.kind.in_(sorted(_ALIVE))
    before = (
        sa.select(evidence.c.address_key, sa.func.max(evidence.c.at).label("last_sign_at"))
        .where(alive, evidence.c.at < switch, evidence.c.at >= switch - SIGNS_COUNT_FOR)
        .group_by(evidence.c.address_key)
        .subquery()
    )
    gone = sa.case((deliveries.c.finding.in_([Finding.UNANSWERED, Finding.BOUNCED]), 1), else_=0)
    since = (
        sa.select(
            deliveries.c.address_key,
            sa.func.count().label("mails"),
            sa.func.sum(gone).label("missed"),
        )
        .where(deliveries.c.handed_over_at >= switch)
        .group_by(deliveries.c.address_key)
        .subquery()
    )
    answered = sa.select(evidence.c.evidence_id).where(
        evidence.c.address_key == before.c.address_key, alive, evidence.c.at >= switch
    )
    rows = await connection.execute(
        sa.select(
            sa.func.min(patron_addresses.c.patron_id).label("patron_id"),
            sa.func.min(patron_addresses.c.address).label("address"),
            before.c.address_key,
            before.c.last_sign_at,
            since.c.mails,
            since.c.missed,
        )
        .join(since, since.c.address_key == before.c.address_key)
        .join(
            patron_addresses,
            sa.and_(
                patron_addresses.c.address_key == before.c.address_key, patron_addresses.c.until.is_(None)
            ),
        )
        .where(~sa.exists(answered))
        .group_by(before.c.address_key, before.c.last_sign_at, since.c.mails, since.c.missed)
        .order_by(since.c.missed.desc(), since.c.mails.desc(), before.c.address_key)
    )
    return [Silent(**row._mapping) for row in rows]
