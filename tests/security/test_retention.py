"""Nothing about a person is kept for ever: each table is under retention, or it is said here why not."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from holds_core.ledger import personal, upkeep
from holds_core.ledger.models import (
    addresses,
    canaries,
    decisions,
    deliveries,
    mail_domains,
    metadata,
    patron_addresses,
    patrons,
    provider_alerts,
    provider_weeks,
    sessions,
    snapshot_rows,
    snapshot_runs,
)
from holds_core.ledger.session import Ledger
from holds_core.settings import Retention
from tests.core.ledger.conftest import NOON
from tests.core.ledger.conftest import feed as feed
from tests.core.ledger.helpers import Feed

KEPT = {
    "users": "staff; an account that is disabled keeps its name on what it did",
    "hold_steps": "go with their hold",
    "notice_holds": "go with their notice",
    "attempts": "go with their delivery",
    "deliveries": "go with their notice",
    "risks": "go with their notice",
    "case_marks": "go with their case",
    "case_steps": "go with their case",
    "provider_weeks": "numbers without a person",
    "batches": "numbers without a person",
    "reception_runs": "numbers without a person",
    "campaigns": "numbers without a person",
    "closures": "days, no person",
    "public_holidays": "days, no person",
    "flags": "one row each, replaced",
    "troubles": "one row each, gone once it is over",
    "snapshot_rows": "the library system's last list, replaced every night",
}


def test_every_table_has_an_end_or_a_reason() -> None:
    ruled = {rule.key.table.name for rule in upkeep.rules(Retention(), NOON, "sqlite")}
    assert ruled.isdisjoint(KEPT)
    assert ruled | set(KEPT) == set(metadata.tables)


def test_raw_mail_is_kept_no_longer_than_titles() -> None:
    """A bounce quotes the mail that it returns, titles and all."""
    assert Retention().raw_mail <= Retention().titles == timedelta(days=30)


def test_what_goes_with_another_row_does_so_by_the_database() -> None:
    for name in (name for name, why in KEPT.items() if why.startswith("go with")):
        keys = metadata.tables[name].foreign_keys
        assert [key.ondelete for key in keys] == ["CASCADE"], name


def _runs(number: int, finished: datetime, state: str) -> dict[str, object]:
    return {
        "run_id": number,
        "feed": "nightly",
        "kind": "holds",
        "file": "yoyaku.csv",
        "digest": "d",
        "as_of": finished,
        "started_at": finished,
        "finished_at": finished,
        "state": state,
        "baseline": False,
        "figures": {},
    }


async def _fill(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        await connection.execute(
            sa.insert(decisions), [{"at": NOON, "what": "placed", "hold_id": "H", "patron_id": "P"}]
        )
        await connection.execute(
            sa.insert(canaries),
            [
                {
                    "slot": "s",
                    "address": "c@example.jp",
                    "domain": "example.jp",
                    "begun_at": NOON,
                    "fate": "inbox",
                    "settled_at": NOON,
                }
            ],
        )
        await connection.execute(
            sa.insert(mail_domains),
            [{"domain": "a.example", "verdict": "ok", "checked_at": NOON, "ask_again_at": NOON}],
        )
        await connection.execute(
            sa.insert(snapshot_runs),
            [_runs(1, NOON, "done"), _runs(2, NOON, "done"), _runs(3, NOON, "refused")],
        )


async def test_what_is_old_goes(ledger: Ledger) -> None:
    await _fill(ledger)
    keep = Retention()
    assert not any((await upkeep.purge(ledger, keep, NOON + keep.events)).values())
    found = await upkeep.purge(ledger, keep, NOON + keep.events + timedelta(hours=1))
    assert {name: count for name, count in found.items() if count} == {
        "decisions": 1,
        "canaries": 1,
        "mail_domains": 1,
        "snapshot_runs": 1,  # the last good one is what tonight's is compared with
    }


async def test_who_left_the_library_systems_list_goes_in_the_end(ledger: Ledger, feed: Feed) -> None:
    for name in ("P-LISTED", "P-GONE", "P-WAITING"):
        await feed.ok("patron", patron_id=name, email=f"{name.lower()}@example.jp")
    await feed.ok("hold.placed", hold_id="H1", patron_id="P-WAITING", title="t")
    keep, later = Retention(), NOON + timedelta(days=401)

    async def left() -> set[str]:
        await upkeep.purge(ledger, keep, later)
        async with ledger.read() as connection:
            return set(await connection.scalars(sa.select(patrons.c.patron_id)))

    row = {"feed": "nightly", "kind": "patrons", "key": "P-LISTED", "mark": "m", "digest": "d"}
    async with ledger.write() as connection:
        await connection.execute(sa.delete(deliveries))
        await connection.execute(sa.insert(snapshot_rows), [row])
    # known by events, and never on a list: nobody is known to have gone
    assert await left() == {"P-LISTED", "P-GONE", "P-WAITING"}
    async with ledger.write() as connection:
        await connection.execute(sa.update(patrons).values(departed_at=NOON))
    assert await left() == {"P-LISTED", "P-WAITING"}
    async with ledger.read() as connection:
        owners = set(await connection.scalars(sa.select(patron_addresses.c.patron_id)))
    assert owners == {"P-LISTED", "P-WAITING"}


async def test_a_domain_of_ones_own_is_forgotten_with_the_patron(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="me@honda.example")
    await feed.ok("patron", patron_id="P2", email="other@shared.example")
    week = {"begins": NOON.date(), "mails": 1, "signs": 0, "expected": 0.5}
    alert = {"opened_at": NOON, "since": NOON, "sent": 1, "shown": 0, "expected": 0.5, "changed_at": NOON}
    alert |= {"loss_before": 0.1, "loss_now": 0.9, "suspect": "provider"}
    async with ledger.write() as connection:
        for domain in ("honda.example", "shared.example"):
            known = {"domain": domain, "verdict": "ok", "checked_at": NOON, "ask_again_at": NOON}
            await connection.execute(sa.insert(mail_domains), [known])
            await connection.execute(sa.insert(provider_weeks), [week | {"domain": domain}])
            await connection.execute(sa.insert(provider_alerts), [alert | {"domain": domain}])
        await personal.forget(connection, "P1", "cli:test", NOON)
    async with ledger.read() as connection:
        for table in (mail_domains, provider_weeks, provider_alerts, addresses):
            assert set(await connection.scalars(sa.select(table.c.domain))) == {"shared.example"}, table.name


@pytest.mark.parametrize("table", [sessions, canaries])
def test_a_rule_is_walked_by_its_tables_key(table: sa.Table) -> None:
    """Rows are erased a few at a time; without the key some would be passed over."""
    [rule] = [rule for rule in upkeep.rules(Retention(), NOON, "sqlite") if rule.key.table is table]
    assert list(table.primary_key.columns) == [rule.key]
