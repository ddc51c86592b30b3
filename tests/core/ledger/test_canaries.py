"""Canary mails in the ledger: one per batch and mailbox, settled once, evidence for the provider watch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holds_core.ledger import canaries, slots
from holds_core.ledger.canaries import GAP, LABELS, Fate
from holds_core.ledger.models import addresses, evidence
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON
from tests.core.ledger.helpers import batch, rows

ONE, TWO = "canary@one.example", "Canary@Two.example"
HOUR = timedelta(hours=1)


async def owed(ledger: Ledger, hours: float = 0) -> list[tuple[str, str]]:
    now = NOON + hours * HOUR
    async with ledger.read() as connection:
        return await canaries.unserved(connection, [ONE, TWO], now - 2 * HOUR, now)


async def begin(ledger: Ledger, slot: str, address: str, hours: float = 0) -> int | None:
    async with ledger.write() as connection:
        return await canaries.begin(connection, slot, address, NOON + hours * HOUR)


async def sent(ledger: Ledger, slot: str, address: str, hours: float = 0) -> int:
    number = await begin(ledger, slot, address, hours)
    assert number is not None
    async with ledger.write() as connection:
        await canaries.sent(connection, number, NOON + hours * HOUR)
    return number


async def settle(ledger: Ledger, number: int, fate: Fate, hours: float = 1) -> bool:
    async with ledger.write() as connection:
        return await canaries.settle(connection, number, fate, NOON + hours * HOUR)


async def test_the_last_batch_owes_one_to_each_mailbox(ledger: Ledger) -> None:
    assert await owed(ledger) == []
    await batch(ledger, "朝")
    assert await owed(ledger) == [("朝", ONE), ("朝", TWO)]
    await sent(ledger, "朝", ONE)
    assert await owed(ledger) == [("朝", TWO)]
    assert await owed(ledger, hours=3) == [], "another hour's filter would be seen"


async def test_a_batch_that_did_not_run_owes_nothing(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        await slots.run(connection, "朝", NOON, NOON, "closed")
    assert await owed(ledger) == []


async def test_batches_that_leave_at_once_owe_no_more_than_one_an_hour(ledger: Ledger) -> None:
    await batch(ledger, "at-once 1")
    await sent(ledger, "at-once 1", ONE)
    await batch(ledger, "at-once 2", NOON + HOUR / 2)
    assert await owed(ledger, hours=0.5) == [("at-once 2", TWO)]
    assert await owed(ledger, hours=GAP / HOUR + 0.1) == [("at-once 2", ONE), ("at-once 2", TWO)]


async def test_two_daemons_send_one(ledger: Ledger) -> None:
    assert await begin(ledger, "朝", ONE) is not None
    assert await begin(ledger, "朝", ONE) is None


@pytest.mark.parametrize(
    ("fate", "kind"),
    [
        (Fate.INBOX, "canary_inbox"),
        (Fate.JUNK, "canary_junk"),
        (Fate.MISSING, "canary_missing"),
        (Fate.BOUNCED, None),
        (Fate.UNKNOWN, None),
        (Fate.UNSENT, None),
    ],
)
async def test_what_was_seen_is_evidence_once_and_makes_no_address(
    ledger: Ledger, fate: Fate, kind: str | None
) -> None:
    number = await sent(ledger, "朝", TWO)
    assert await settle(ledger, number, fate)
    assert not await settle(ledger, number, Fate.MISSING, hours=9), "the first word stands"
    found = await rows(ledger, evidence)
    assert [row.kind for row in found] == ([kind] if kind else [])
    # of the day it was sent: a provider's change is dated by mails, not by our looking
    assert all((row.at, row.address_key, row.patron_id) == (NOON, TWO.lower(), None) for row in found)
    assert await rows(ledger, addresses) == []
    async with ledger.read() as connection:
        said = await canaries.observations(connection, NOON)
    assert [(item.domain, item.arrived) for item in said] == (
        [("two.example", fate is Fate.INBOX)] if kind else []
    )


async def test_the_page_shows_the_last_that_is_settled(ledger: Ledger) -> None:
    first = await sent(ledger, "朝", ONE)
    await settle(ledger, first, Fate.INBOX)
    await sent(ledger, "夕", ONE, hours=7)
    await begin(ledger, "夕", TWO, hours=7)
    async with ledger.read() as connection:
        shown = await canaries.canaries(connection)
        every = await canaries.recent(connection)
        waiting = await canaries.waiting(connection, ONE)
    assert [(line.domain, line.slot, line.fate) for line in shown] == [
        ("one.example", "朝", Fate.INBOX),
        ("two.example", "夕", Fate.SENDING),
    ]
    assert [line.slot for line in every] == ["夕", "夕", "朝"]
    assert [line.slot for line in waiting] == ["夕"]
    assert set(LABELS) == set(Fate)
