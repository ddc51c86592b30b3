"""Mail that came back, stored as it came."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
import sqlalchemy as sa

from holds_core.errors import IllegalTransition, NotFound
from holds_core.ledger import inbox
from holds_core.ledger.inbox import INBOUND, MailState
from holds_core.ledger.models import inbound
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import batch, hand_over, ready

ALL_BYTES = bytes(range(256)) * 3


async def store(ledger: Ledger, raw: bytes = ALL_BYTES, to: tuple[str, ...] = ("t@bounce.example",)) -> bool:
    async with ledger.write() as connection:
        return await inbox.store(
            connection, raw=raw, source="lmtp", envelope_from="", envelope_to=to, received_at=NOON
        )


async def test_the_bytes_are_kept_as_they_came(ledger: Ledger) -> None:
    assert await store(ledger)
    async with ledger.read() as connection:
        [number] = await inbox.waiting(connection)
        mail = await inbox.get(connection, number)
    assert (mail.raw, mail.source, mail.envelope_from, mail.envelope_to) == (
        ALL_BYTES,
        "lmtp",
        "",
        ("t@bounce.example",),
    )
    assert (mail.received_at, mail.truncated, mail.state, mail.delivery_id) == (
        NOON,
        False,
        MailState.NEW,
        None,
    )


@pytest.mark.parametrize(
    ("raw", "to", "new"),
    [
        (b"a", ("x@y", "z@y"), False),
        (b"a", ("z@y", "X@Y"), False),
        (b"a", ("x@y",), True),
        (b"b", ("x@y", "z@y"), True),
    ],
)
async def test_a_mail_handed_in_twice_is_kept_once(
    ledger: Ledger, raw: bytes, to: tuple[str, ...], new: bool
) -> None:
    assert await store(ledger, b"a", ("x@y", "z@y"))
    assert await store(ledger, raw, to) is new


async def test_only_legal_steps(ledger: Ledger) -> None:
    await store(ledger)
    for state, wanted in itertools.product(MailState, MailState):
        async with ledger.write() as connection:
            await connection.execute(sa.update(inbound).values(state=state, why="before"))
            [number] = await connection.scalars(sa.select(inbound.c.inbound_id))
        if INBOUND.allows(state, wanted):
            async with ledger.write() as connection:
                await inbox.settle(connection, number, wanted, why="after")
        else:
            with pytest.raises(IllegalTransition):
                async with ledger.write() as connection:
                    await inbox.settle(connection, number, wanted, why="after")
        async with ledger.read() as connection:
            mail = await inbox.get(connection, number)
        legal = INBOUND.allows(state, wanted)
        assert (mail.state, mail.why) == ((wanted, "after") if legal else (state, "before"))


async def test_what_is_not_there(ledger: Ledger) -> None:
    async with ledger.read() as connection:
        with pytest.raises(NotFound, match="there is no mail 7"):
            await inbox.get(connection, 7)
        assert await inbox.target(connection, 7) is None
        assert await inbox.waiting(connection) == []


async def test_the_quarantine_lists_the_newest_first(ledger: Ledger) -> None:
    for number in range(3):
        await store(ledger, b"%d" % number)
    async with ledger.write() as connection:
        first, second, third = await inbox.waiting(connection)
        for mail in (first, third):
            await inbox.settle(connection, mail, MailState.QUARANTINED, kind="none", why="unread")
        assert [mail.inbound_id for mail in await inbox.quarantine(connection)] == [third, first]
        assert await inbox.waiting(connection) == [second]


async def test_the_likely_delivery_is_the_last_one_attempted_in_time(ledger: Ledger, feed: Feed) -> None:
    for number, hours in ((1, 0), (2, 1)):
        await ready(feed, number, "p@example.jp")
        await batch(ledger, f"s{number}")
        await hand_over(ledger, NOON + timedelta(hours=hours))
    async with ledger.read() as connection:

        async def likely(key: str, hours: float) -> str | None:
            until = NOON + timedelta(hours=hours)
            found = await inbox.likely(connection, key, until - timedelta(days=7), until)
            return found.patron_id if found else None

        assert await likely("p@example.jp", 2) == "P2"
        assert await likely("p@example.jp", 0.5) == "P1"
        assert await likely("p@example.jp", 24 * 9) is None
        assert await likely("other@example.jp", 2) is None
