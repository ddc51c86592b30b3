"""Canary mails: one per batch and mailbox of the library's own at a provider, and where each was found.

Enters that a batch ran, that a canary left, and where it lies; leaves what is still looked for, the lines of
the system page, and evidence for the provider watch. They are no notices: no patron, no delivery and no report
knows of them. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.evidence import Sign
from holds_core.ledger.models import batches, evidence
from holds_core.ledger.models import canaries as table
from holds_core.ledger.sql import insert_new
from holds_core.observations import CanaryResult
from holds_core.patrons import address_key


class Fate(StrEnum):
    """What became of a canary mail."""

    SENDING = "sending"
    SENT = "sent"  # handed over; looked for until it is found or given up
    INBOX = "inbox"
    JUNK = "junk"
    MISSING = "missing"
    BOUNCED = "bounced"  # somebody said that it did not arrive: no silent loss
    UNSENT = "unsent"  # the relay did not take it: says nothing of the provider
    UNKNOWN = "unknown"  # the mailbox could not be opened in time


LABELS: dict[Fate, tuple[str, str]] = {
    Fate.SENDING: ("送信中", "being sent"),
    Fate.SENT: ("確認中", "being looked for"),
    Fate.INBOX: ("受信箱に到着", "in the inbox"),
    Fate.JUNK: ("迷惑メールに分類", "in the junk folder"),
    Fate.MISSING: ("届かず", "missing"),
    Fate.BOUNCED: ("不達の通知", "bounced"),
    Fate.UNSENT: ("送信できず", "not sent"),
    Fate.UNKNOWN: ("受信箱を確認できず", "the mailbox could not be read"),
}

_SIGNS = {
    Fate.INBOX: Sign.CANARY_INBOX,
    Fate.JUNK: Sign.CANARY_JUNK,
    Fate.MISSING: Sign.CANARY_MISSING,
}
GAP = timedelta(hours=1)
"""At most one an hour to a mailbox, for libraries whose batches leave whenever something waits."""


@dataclass(frozen=True, slots=True)
class Line:
    """One canary mail, as the system page shows it."""

    canary_id: int
    slot: str
    address: str
    domain: str
    begun_at: datetime
    sent_at: datetime | None
    fate: Fate
    settled_at: datetime | None
    detail: str

    @property
    def label(self) -> tuple[str, str]:
        """Japanese and English."""
        return LABELS[self.fate]


async def unserved(
    connection: AsyncConnection, addresses: Sequence[str], since: datetime, now: datetime
) -> list[tuple[str, str]]:
    """(slot, address) for the last batch since `since` and each mailbox that got no canary with it yet, and
    none in the last `GAP`."""
    slot = await connection.scalar(
        sa.select(batches.c.slot)
        .where(batches.c.outcome == "run", batches.c.released_at >= since)
        .order_by(batches.c.released_at.desc(), batches.c.slot.desc())
        .limit(1)
    )
    if slot is None or not addresses:
        return []
    served = set(
        await connection.scalars(
            sa.select(table.c.address).where(sa.or_(table.c.slot == slot, table.c.begun_at > now - GAP))
        )
    )
    return [(slot, address) for address in addresses if address not in served]


async def begin(connection: AsyncConnection, slot: str, address: str, now: datetime) -> int | None:
    """The number of a new canary mail; None if another daemon has begun it."""
    row = {
        "slot": slot,
        "address": address,
        "domain": address_key(address).rpartition("@")[2],
        "begun_at": now,
        "fate": Fate.SENDING,
    }
    if not await insert_new(connection, table, row):
        return None
    found = await connection.scalar(
        sa.select(table.c.canary_id).where(table.c.slot == slot, table.c.address == address)
    )
    return int(found) if found is not None else None


async def sent(connection: AsyncConnection, canary_id: int, now: datetime) -> None:
    await connection.execute(
        sa.update(table)
        .where(table.c.canary_id == canary_id, table.c.fate == Fate.SENDING)
        .values(fate=Fate.SENT, sent_at=now)
    )


async def waiting(connection: AsyncConnection, address: str) -> list[Line]:
    """The canaries of a mailbox that are still looked for, oldest first."""
    rows = await connection.execute(
        sa.select(table)
        .where(table.c.address == address, table.c.fate == Fate.SENT)
        .order_by(table.c.canary_id)
    )
    return [_line(row) for row in rows]


async def settle(
    connection: AsyncConnection, canary_id: int, fate: Fate, now: datetime, detail: str = ""
) -> bool:
    """What became of a canary, once; where the mail was found or lost it is evidence about its domain, as of
    the time it was sent. Returns whether this was news."""
    open_ = sa.and_(table.c.canary_id == canary_id, table.c.fate.in_([Fate.SENDING, Fate.SENT]))
    row = (await connection.execute(sa.select(table).where(open_))).first()
    if row is None:
        return False
    changed = await connection.execute(
        sa.update(table).where(open_).values(fate=fate, settled_at=now, detail=detail[:500])
    )
    if changed.rowcount and fate in _SIGNS:
        await insert_new(
            connection, evidence, _evidence(row.canary_id, row.address, _SIGNS[fate], row.sent_at or now)
        )
    return bool(changed.rowcount)


def _evidence(canary_id: int, address: str, sign: Sign, at: datetime) -> dict[str, object]:
    return {
        "at": at,
        "kind": sign,
        "address_key": address_key(address),
        "source": "canary",
        "fingerprint": f"canary:{canary_id}",
    }


async def recent(connection: AsyncConnection, limit: int = 50) -> list[Line]:
    """The last canary mails of all mailboxes, newest first: for the system page."""
    rows = await connection.execute(sa.select(table).order_by(table.c.canary_id.desc()).limit(limit))
    return [_line(row) for row in rows]


async def canaries(connection: AsyncConnection) -> list[Line]:
    """The last settled canary of each mailbox, or the one on its way where none is settled yet."""
    settled = table.c.fate.not_in([Fate.SENDING, Fate.SENT])
    last = sa.select(sa.func.max(table.c.canary_id)).group_by(table.c.address)
    rows = await connection.execute(
        sa.select(table)
        .where(sa.or_(table.c.canary_id.in_(last.where(settled)), table.c.canary_id.in_(last)))
        .order_by(settled, table.c.canary_id)
    )
    # those that are settled come last, and count
    found = {line.address: line for line in map(_line, rows)}
    return sorted(found.values(), key=lambda line: (line.domain, line.address))


async def observations(connection: AsyncConnection, since: datetime) -> list[CanaryResult]:
    """What the canaries of a time say of their domains, for the provider watch, oldest first."""
    rows = await connection.execute(
        sa.select(table)
        .where(table.c.settled_at >= since, table.c.fate.in_(list(_SIGNS)))
        .order_by(table.c.settled_at, table.c.canary_id)
    )
    return [CanaryResult(row.settled_at, row.domain, row.fate == Fate.INBOX) for row in rows]


def _line(row: sa.Row[tuple[object, ...]]) -> Line:
    said = dict(row._mapping)
    return Line(**(said | {"fate": Fate(said["fate"])}))
