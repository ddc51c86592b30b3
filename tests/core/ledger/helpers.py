"""Short ways for the ledger's tests to look at it and to play the sender's part."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from holds_core.evidence import Sign
from holds_core.ledger import observations, outbox, sending, slots
from holds_core.ledger.models import addresses, attempts, cases, deliveries, evidence
from holds_core.ledger.observations import Observation
from holds_core.ledger.sending import Claimed, Finish, Start
from holds_core.ledger.session import Ledger
from holds_core.notices import AFTER, Outcome, Phase, Result, Transmission
from holds_core.tokens import TokenKeys
from tests.core.ledger.conftest import NOON, Feed

KEYS = TokenKeys([b"0123456789abcdef" * 4])
LEASE = timedelta(minutes=20)


async def rows(ledger: Ledger, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[Any]:
    async with ledger.read() as connection:
        order = list(table.primary_key.columns)
        return (await connection.execute(sa.select(table).where(*where).order_by(*order))).all()


async def count(ledger: Ledger, *tables: sa.Table) -> list[int]:
    return [len(await rows(ledger, table)) for table in tables]


async def delivery(ledger: Ledger, **where: object) -> Any:
    """The one delivery with these values."""
    [found] = await rows(ledger, deliveries, *(deliveries.c[name] == value for name, value in where.items()))
    return found


async def standing(ledger: Ledger, key: str) -> str | None:
    found = await rows(ledger, addresses, addresses.c.address_key == key)
    return found[0].standing if found else None


async def open_case(ledger: Ledger, patron_id: str) -> list[str] | None:
    found = await rows(ledger, cases, cases.c.patron_id == patron_id, cases.c.state == "open")
    return list(found[0].reasons) if found else None


async def signs(ledger: Ledger) -> list[str]:
    return [row.kind for row in await rows(ledger, evidence)]


async def tries(ledger: Ledger) -> Sequence[Any]:
    return await rows(ledger, attempts)


async def observe(ledger: Ledger, item: Observation, now: datetime = NOON) -> bool:
    async with ledger.write() as connection:
        return await observations.observe(connection, item, now)


def bounced(delivery_id: int, fingerprint: str = "b", *, fault: str = "patron") -> Observation:
    return Observation(
        at=NOON,
        sign=Sign.BOUNCED,
        source="lmtp",
        fingerprint=fingerprint,
        delivery_id=delivery_id,
        reason="userunknown",
        fault=fault,
        severity="hard",
    )


async def ready(feed: Feed, number: int = 1, address: str | None = None) -> None:
    """A patron and a hold on the shelf: one hold_ready that waits for its batch."""
    await feed.ok(
        "patron", patron_id=f"P{number}", email=address or f"p{number}@example.jp", name="図書 花子"
    )
    await feed.ok("hold.shelved", hold_id=f"H{number}", patron_id=f"P{number}", title="吾輩は猫である")


async def batch(ledger: Ledger, name: str = "朝", now: datetime = NOON) -> int | None:
    async with ledger.write() as connection:
        return await slots.run(connection, name, now, now)


async def claim(ledger: Ledger, owner: str = "one", limit: int = 200, now: datetime = NOON) -> list[Claimed]:
    async with ledger.write() as connection:
        return await sending.claim(connection, owner, now, now + LEASE, limit, KEYS.make)


async def record(
    ledger: Ledger, starts: Sequence[Start] = (), finishes: Sequence[Finish] = (), owner: str = "one"
) -> frozenset[int]:
    async with ledger.write() as connection:
        return await sending.record(connection, owner, starts, finishes)


def start(item: Claimed, now: datetime = NOON, **changes: Any) -> Start:
    values = {"number": item.tries + 1, "deadline": None} | changes
    return Start(item.delivery_id, at=now, lease_until=now + LEASE, **values)


def finish(item: Claimed, result: Result, now: datetime = NOON, **changes: Any) -> Finish:
    """How an attempt ended, without the rules of `mailer.outcome`."""
    listed = tuple(line.hold_id for line in item.holds if line.state == "ready")
    values: dict[str, Any] = {"number": item.tries + 1, "state": AFTER[result], "hold_ids": listed} | changes
    if result is Result.HANDED_OVER:
        values |= {"handed_over_at": now, "window_ends_at": now + timedelta(days=3)}
    outcome = Outcome(result, Phase.DATA, 250 if result is Result.HANDED_OVER else None)
    return Finish(item.delivery_id, item.notice_id, at=now, outcome=outcome, **values)


async def hand_over(ledger: Ledger, now: datetime = NOON) -> list[Claimed]:
    """Sends all that is due: claimed, started, taken by the relay."""
    items = await claim(ledger, now=now)
    assert await record(ledger, [start(item, now) for item in items]) == {item.delivery_id for item in items}
    await record(ledger, finishes=[finish(item, Result.HANDED_OVER, now) for item in items])
    return items


async def recover(ledger: Ledger, now: datetime = NOON, alive: Sequence[str] = ()) -> list[int]:
    async with ledger.write() as connection:
        return await outbox.recover(connection, now, timedelta(minutes=30), alive=alive)


async def step(ledger: Ledger, delivery_id: int, wanted: Transmission) -> None:
    async with ledger.write() as connection:
        await outbox.step(connection, delivery_id, wanted)
