"""The comparison: what differs between any two snapshots takes the one to the other."""

from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holds_core import events as ev
from holds_core.feeds import applying, comparing
from holds_core.feeds.changes import (
    Change,
    Counts,
    Known,
    Wording,
    differences,
    events_of,
    known,
    merged,
    objections,
)
from holds_core.feeds.mapping import Kind, Row
from holds_core.holds import HOLD, Hold, path
from holds_core.ledger import firsts, registry
from holds_core.ledger.models import (
    addresses,
    events,
    hold_steps,
    holds,
    patron_addresses,
    patrons,
    snapshot_rows,
)
from holds_core.ledger.session import Ledger
from holds_core.settings.feeds import Guard, WhenGone
from tests.core.feeds.conftest import NIGHT, Nightly, with_rules

WORDING = Wording("nightly", "7", NIGHT, WhenGone())

rows = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=3),
    st.tuples(
        st.sampled_from(["placed", "ready", "collected"]),
        st.sampled_from(["", "2026-12-01"]),
        st.sampled_from("ab"),
    ),
    max_size=12,
).map(
    lambda found: {
        key: Row(key, 2, mark, until if mark == "ready" else "", digest, "{}")
        for key, (mark, until, digest) in found.items()
    }
)


def kept(found: dict[str, Row]) -> dict[str, Known]:
    return {key: known(row) for key, row in found.items()}


@settings(deadline=None)
@given(rows, rows)
def test_differences_lead_from_any_snapshot_to_any_other(one: dict[str, Row], two: dict[str, Row]) -> None:
    changes = differences(kept(one).values(), two.values())
    assert merged(kept(one), changes) == kept(two)
    assert [change.key for change in changes] == sorted({change.key for change in changes})
    assert differences(kept(two).values(), two.values()) == []


@settings(deadline=None)
@given(rows, rows, st.data())
def test_what_cannot_be_read_is_neither_changed_nor_gone(
    one: dict[str, Row], two: dict[str, Row], data: st.DataObject
) -> None:
    unread = data.draw(st.sets(st.sampled_from(sorted(one)))) if one else set()
    readable = [row for key, row in two.items() if key not in unread]
    changes = differences(kept(one).values(), readable, unread)
    assert not unread & {change.key for change in changes}


def hold(state: str, *, until: str = "", title: str = "", key: str = "H1") -> Row:
    fields = f'{{"hold_id":"{key}","patron_id":"P1","state":"{state}","title":"{title}"'
    fields += f',"deadline":"{until}"}}' if until else "}"
    return Row(key, 2, state, until if state == "ready" else "", title, fields)


def types(old: Row | None, new: Row | None, when_gone: WhenGone = WORDING.when_gone) -> list[str]:
    wording = Wording("nightly", "7", NIGHT, when_gone)
    change = Change("H1", known(old) if old else None, new)
    return [event.type for event in events_of(change, Kind.HOLDS, wording)]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (None, hold("placed"), ["hold.placed"]),
        (None, hold("withdrawn"), ["hold.withdrawn"]),
        (hold("placed"), hold("ready", until="2026-12-01"), ["hold.shelved"]),
        (hold("ready"), hold("placed"), ["hold.placed"]),
        (hold("ready", until="2026-12-01"), hold("ready", until="2026-12-08"), ["hold.extended"]),
        (hold("ready"), hold("ready", title="b"), ["hold.shelved"]),
        (hold("ready"), hold("ready", title="b", until="2026-12-08"), ["hold.shelved", "hold.extended"]),
        (hold("ready", until="2026-12-01"), hold("ready"), []),
        (hold("placed"), None, ["hold.ended"]),
        (hold("collected"), None, []),
        (hold("ended"), None, []),
    ],
)
def test_the_events_of_a_hold(old: Row | None, new: Row | None, wanted: list[str]) -> None:
    assert types(old, new) == wanted


def test_the_day_of_a_deadline_is_not_yet_beyond_it() -> None:
    rule = WhenGone.model_validate({"overdue": "lapsed", "ready": "collected"})
    today = f"{NIGHT:%Y-%m-%d}"
    assert types(hold("ready", until=today), None, rule) == ["hold.collected"]
    assert types(hold("ready", until="2026-11-23"), None, rule) == ["hold.lapsed"]


def test_every_state_has_an_event_that_shows_it() -> None:
    assert set(ev.STATE_AFTER.values()) == set(Hold)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_ids_fit_and_differ(one: str, two: str) -> None:
    ids = {WORDING.id(key, "hold.cancel_requested") for key in (one, two)}
    assert len(ids) == len({one, two})
    assert all(len(id_) <= 200 for id_ in ids)
    assert all(id_.startswith("nightly:7:") for id_ in ids)


@pytest.mark.parametrize(
    ("counts", "refused"),
    [
        (Counts(old=100, new=80, lost=20), False),
        (Counts(old=100, new=79, lost=21), True),
        (Counts(old=5, new=1, lost=4), False),  # fewer than at_least
        (Counts(old=5, new=0, lost=5), True),  # nothing left at all
        (Counts(old=0, new=0), False),
        (Counts(old=100, new=100, marked=21), True),
        (Counts(old=100, new=100, changed=100), False),  # names: nobody is told wrongly
        (Counts(old=0, new=100, odd=21), True),
        (Counts(old=100_000, new=100_000, lost=19_999, marked=15_000), False),
    ],
)
def test_the_guard(counts: Counts, refused: bool) -> None:
    assert bool(objections(counts, Kind.HOLDS, Guard())) is refused


# -- against the ledger ----------------------------------------------------------------------------

states = st.dictionaries(
    st.integers(0, 5), st.sampled_from([state for state in Hold if state is not Hold.ENDED]), min_size=1
)


def listed(found: dict[int, Hold]) -> str:
    lines = [f"H{number},P{number},{state.value}\n" for number, state in found.items()]
    return "hold_id,patron_id,state\nH9,P9,placed\n" + "".join(lines)


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(one=states, two=states, pages=st.integers(1, 4))
async def test_the_ledger_follows_any_two_snapshots(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch, one: dict[int, Hold], two: dict[int, Hold], pages: int
) -> None:
    monkeypatch.setattr(comparing, "PAGE", pages)
    monkeypatch.setattr(applying, "CHUNK", 2)
    await clear(nightly.ledger)
    await nightly.ok(listed(one))
    report = await nightly(listed(two))
    found = await nightly.states()
    impossible = set()
    for number, wanted in two.items():
        try:
            path(one.get(number), wanted)
        except LookupError:
            impossible.add(number)
        else:
            # a shelved hold that the patron asks to cancel stays where it is: that is refused
            refused = one.get(number) is Hold.READY and wanted is Hold.CANCEL_REQUESTED
            assert found[f"H{number}"] == (Hold.READY if refused else _shown(one.get(number), wanted))
    for number in one.keys() - two.keys():
        ended = HOLD.allows(one[number], Hold.ENDED)
        assert found[f"H{number}"] == (Hold.ENDED if ended else one[number])
    assert report.conflict_count <= len(impossible)
    again = await nightly(listed(two))
    assert (again.counts.added, again.counts.changed, again.counts.lost) == (0, 0, 0)


def _shown(before: Hold | None, wanted: Hold) -> Hold:
    """A cancellation asked for before the hold was placed is a withdrawal."""
    asked = before is Hold.REQUESTED and wanted is Hold.CANCEL_REQUESTED
    return Hold.WITHDRAWN if asked else wanted


async def clear(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        for table in (snapshot_rows, hold_steps, holds, events):
            await connection.execute(sa.delete(table))
        await connection.execute(sa.text("DELETE FROM snapshot_runs"))
        await connection.execute(sa.text("DELETE FROM notices"))


FIRST: list[ev.Event] = [
    ev.Patron(id="1", at=NIGHT, patron_id="P1", emails=("A.B@docomo.ne.jp", "a.b@docomo.ne.jp", "x@y.jp")),
    ev.Patron(
        id="2", at=NIGHT, patron_id="P2", emails=(), name="佐藤 花子", phones=("090",), contact="phone"
    ),
    ev.Patron(id="3", at=NIGHT, patron_id="P3", emails=("no at sign",)),
    ev.Patron(id="4", at=NIGHT, patron_id="P4", emails=("x@y.jp",), provisional=True, guardian_id="P1"),
    ev.Patron(id="5", at=NIGHT, patron_id="P5"),
    *(
        ev.HoldEvent(type=type_, id=type_, at=NIGHT, hold_id=type_, patron_id="P1", title="門", reason="x")
        for type_ in ev.STATE_AFTER
    ),
    ev.HoldEvent(
        type="hold.shelved",
        id="d",
        at=NIGHT,
        hold_id="D",
        patron_id="P2",
        deadline=datetime(2026, 12, 1).date(),  # noqa: DTZ001
        volume=2,
    ),
    ev.HoldEvent(type="hold.shelved", id="e", at=NIGHT, hold_id="D", patron_id="P2", branch="02"),
    ev.HoldEvent(type="hold.placed", id="hold.placed", at=NIGHT, hold_id="repeated", patron_id="P2"),
]


async def contents(ledger: Ledger) -> dict[str, list[Any]]:
    async with ledger.read() as connection:
        found = {}
        for table in (events, patrons, patron_addresses, addresses, holds, hold_steps):
            columns = [column for column in table.columns if column.name != "id"]
            result = await connection.execute(sa.select(*columns))
            found[table.name] = sorted(tuple(map(str, row)) for row in result)
        return found


async def test_many_at_once_store_what_one_by_one_would(nightly: Nightly) -> None:
    with_rules(nightly, baseline=True)
    rules = nightly.intake._rules
    now = nightly.now
    ledger = nightly.ledger

    async def at_once(connection: Any) -> None:
        for event in await firsts.apply(connection, FIRST, "nightly", now, rules):
            await registry.apply(connection, event, "nightly", now, rules)

    await ledger.write_many(at_once)
    many = await contents(ledger)
    async with ledger.write() as connection:
        for table in (hold_steps, holds, patron_addresses, patrons, addresses, events):
            await connection.execute(sa.delete(table))
        await connection.execute(sa.text("DELETE FROM evidence"))
        for event in FIRST:
            await registry.apply(connection, event, "nightly", now, rules)
    assert await contents(ledger) == many


@settings(deadline=None)
@given(
    st.from_regex(
        r"[a-zA-Z0-9._+-]{1,20}@(docomo\.ne\.jp|gmail\.com|gmail\.co|x|y\.invalid|a..b)", fullmatch=True
    )
)
def test_plain_addresses_are_judged_alike_the_short_way(email: str) -> None:
    assert firsts._is_good(email) is firsts._can_exist.__wrapped__(email)
