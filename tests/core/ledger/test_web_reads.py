"""What the web side asks of the ledger, on both databases: answers, outcomes of events, figures."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import NoResultFound

from holds_core.evidence import Sign
from holds_core.ledger import answers, received
from holds_core.ledger.answers import Answer
from holds_core.ledger.figures import census, figures
from holds_core.ledger.models import deliveries, inbound
from holds_core.ledger.session import Ledger
from holds_core.notices import Kind, Transmission
from tests.core.ledger.conftest import NOON, Feed


async def mails(ledger: Ledger, feed: Feed) -> Mapping[str, int]:
    """A registration change and a hold ready: kind -> delivery."""
    await feed.ok("patron", patron_id="p", email="old@example.ne.jp")
    await feed.ok("patron.email_changed", patron_id="p", email="new@example.ne.jp")
    await feed.ok("hold.shelved", patron_id="p", hold_id="h", title="こころ", branch="main")
    async with ledger.read() as connection:
        rows = await connection.execute(sa.select(deliveries.c.kind, deliveries.c.delivery_id))
        return {row.kind: row.delivery_id for row in rows}


async def test_answers_are_kept_once_and_apart(ledger: Ledger, feed: Feed) -> None:
    number = (await mails(ledger, feed))[Kind.REGISTRATION_CHANGED]
    steps: list[tuple[Answer, bool, set[Sign]]] = [
        (Sign.CONFIRMED, True, {Sign.CONFIRMED}),
        (Sign.CONFIRMED, False, {Sign.CONFIRMED}),
        (Sign.NOT_ME, True, {Sign.CONFIRMED, Sign.NOT_ME}),
    ]
    for sign, new, given in steps:
        async with ledger.write() as connection:
            assert await answers.answer(connection, number, sign, NOON) is new
        async with ledger.read() as connection:
            asked = await answers.asked(connection, number)
        assert asked == answers.Asked(Kind.REGISTRATION_CHANGED, NOON, frozenset(given))


async def test_a_delivery_that_is_gone(ledger: Ledger) -> None:
    async with ledger.read() as connection:
        assert await answers.asked(connection, 2**62) is None
    with pytest.raises(NoResultFound):
        async with ledger.write() as connection:
            await answers.answer(connection, 7, Sign.CONFIRMED, NOON)


async def test_outcomes_of_events(ledger: Ledger, feed: Feed) -> None:
    await mails(ledger, feed)
    feed.now -= timedelta(hours=1)
    await feed("hold.placed", hold_id="h")
    await feed("hold.collected", hold_id="unheard-of")
    async with ledger.read() as connection:
        found = await received.outcomes(connection, [f"e{number}" for number in range(1, 1200)])
    assert found == {"e1": "applied", "e2": "applied", "e3": "applied", "e4": "stale", "e5": "conflict"}


async def test_figures(ledger: Ledger, feed: Feed) -> None:
    numbers = await mails(ledger, feed)
    at = NOON + timedelta(minutes=30)
    async with ledger.write() as connection:
        row = {
            "received_at": NOON,
            "source": "lmtp",
            "envelope_from": "",
            "envelope_to": [],
            "truncated": False,
        }
        for state in ("quarantined", "new", "used"):
            await connection.execute(sa.insert(inbound).values(**row, digest=state, state=state))
    async with ledger.read() as connection:
        found = await figures(connection, at)
    assert (found.due_since, found.batch_waits_since) == (NOON, NOON)
    assert (found.quarantined, found.unread, found.unanswered, found.open_cases) == (1, 1, 0, 0)
    assert (found.newest_event, found.last_batch, found.recent) == (NOON, None, {})
    async with ledger.write() as connection:
        await connection.execute(
            sa.update(deliveries).values(
                state=Transmission.HANDED_OVER, handed_over_at=NOON, next_at=None, slot="s"
            )
        )
        await answers.answer(connection, numbers[Kind.HOLD_READY], Sign.CONFIRMED, NOON)
    async with ledger.read() as connection:
        found = await figures(connection, at)
        groups = await census(connection)
        later = await figures(connection, at + timedelta(days=1))
    assert (found.due_since, found.batch_waits_since) == (None, None)
    assert found.recent[("example.ne.jp", "confirmed")] == 1
    assert later.recent == {}
    assert sum(group.count for group in groups) == len(numbers)
    assert [
        group.count for group in groups if (group.kind, group.finding) == ("hold_ready", "confirmed")
    ] == [1]
