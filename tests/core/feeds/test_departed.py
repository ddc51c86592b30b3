"""Who left the library's lists is forgotten in the end; who was never on one, and is known by events, is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from holds_core.feeds.wire import parse
from holds_core.ledger import registry, upkeep
from holds_core.ledger.models import deliveries, patron_addresses, patrons
from holds_core.settings import Retention
from tests.core.feeds.conftest import Nightly

BOTH = "patron_id,name,email\nP-LISTED,佐藤 花子,listed@docomo.ne.jp\nP-MOVED,鈴木 一郎,moved@docomo.ne.jp\n"
ONE = BOTH.replace("P-MOVED,鈴木 一郎,moved@docomo.ne.jp\n", "")
NONE_LOST = "feeds: {snapshots: [{name: nightly, guard: {lost_rows: 100%}}]}"


async def tell(nightly: Nightly, type_: str, **fields: Any) -> None:
    """An event by the API, which knows whom no list names."""
    event = {
        "id": f"{type_}-{nightly.now.isoformat()}",
        "at": nightly.now.isoformat(),
        "type": type_,
    } | fields
    async with nightly.ledger.write() as connection:
        await registry.apply(connection, parse(event), "api", nightly.now, nightly.intake._rules)


async def kept_after_a_year(nightly: Nightly) -> set[str]:
    """Who is known when retention has passed for all that was said until now."""
    keep = Retention()
    later = nightly.now + keep.events + timedelta(days=1)
    async with nightly.ledger.write() as connection:
        await connection.execute(sa.delete(deliveries))
    due = (await upkeep.due(nightly.ledger, keep, later))["patrons"]
    before = await known(nightly)
    assert (await upkeep.purge(nightly.ledger, keep, later))["patrons"] == due
    left = await known(nightly)
    assert len(before) - len(left) == due
    return left


async def known(nightly: Nightly) -> set[str]:
    async with nightly.ledger.read() as connection:
        owners = set(await connection.scalars(sa.select(patron_addresses.c.patron_id)))
        assert owners <= set(await connection.scalars(sa.select(patrons.c.patron_id)))
        return owners


async def test_a_list_beside_events_loses_nobody_known_by_events_alone(nightly: Nightly) -> None:
    nightly.use(NONE_LOST)
    await nightly.ok(BOTH)
    await tell(nightly, "patron", patron_id="P-API", email="api@docomo.ne.jp")
    await nightly.ok(ONE)
    assert await kept_after_a_year(nightly) == {"P-LISTED", "P-API"}


async def test_who_is_heard_of_again_has_not_left(nightly: Nightly) -> None:
    nightly.use(NONE_LOST)
    await nightly.ok(BOTH)
    await nightly.ok(ONE)
    await tell(nightly, "patron.email_changed", patron_id="P-MOVED", email="back@docomo.ne.jp")
    assert await kept_after_a_year(nightly) == {"P-LISTED", "P-MOVED"}


async def test_who_is_listed_again_has_not_left(nightly: Nightly) -> None:
    nightly.use(NONE_LOST)
    for night in (BOTH, ONE, BOTH):
        await nightly.ok(night)
    assert await kept_after_a_year(nightly) == {"P-LISTED", "P-MOVED"}


async def test_who_waits_for_a_book_stays(nightly: Nightly) -> None:
    nightly.use(NONE_LOST)
    await nightly.ok(BOTH)
    await tell(nightly, "hold.placed", hold_id="H1", patron_id="P-MOVED", title="門")
    await nightly.ok(ONE)
    assert await kept_after_a_year(nightly) == {"P-LISTED", "P-MOVED"}
    async with nightly.ledger.read() as connection:
        departed = await connection.scalar(
            sa.select(patrons.c.departed_at).where(patrons.c.patron_id == "P-MOVED")
        )
    assert departed is not None


async def test_it_counts_from_the_night_of_leaving(nightly: Nightly) -> None:
    """A record that nobody touched for years was still a reader's until then."""
    nightly.use(NONE_LOST)
    await nightly.ok(BOTH)
    nightly.now += timedelta(days=3000)
    await nightly.ok(ONE)
    left_on = nightly.now - timedelta(days=1)
    await upkeep.purge(nightly.ledger, Retention(), left_on + Retention().events)
    assert "P-MOVED" in await known(nightly)
    await upkeep.purge(nightly.ledger, Retention(), left_on + Retention().events + timedelta(seconds=1))
    assert "P-MOVED" not in await known(nightly)
