"""Nightly snapshots into the ledger: what differs becomes events, and what each night's file owes."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from holds_core.feeds import applying, comparing
from holds_core.feeds.wire import parse
from holds_core.ledger import registry, snapshots
from holds_core.ledger.models import (
    audit,
    deliveries,
    events,
    hold_steps,
    holds,
    patrons,
    snapshot_rows,
    snapshot_runs,
)
from tests.core.feeds.conftest import Nightly
from tests.core.ledger.conftest import TOKYO

PATRONS = "patron_id,name,email\n"
HOLDS = "hold_id,patron_id,state,title,deadline\n"
ONE = PATRONS + "P1,佐藤 花子,hanako@docomo.ne.jp\n"


async def test_the_first_snapshot_is_a_baseline_and_tells_nobody(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    report = await nightly.ok(HOLDS + "H1,P1,ready,こころ,2026-11-30\nH2,P1,placed,門,\n")
    assert report.baseline
    assert await nightly.states() == {"H1": "ready", "H2": "placed"}
    assert await nightly.mail() == []
    assert report.notices == 0


async def test_a_hold_that_is_ready_tonight_is_announced(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(HOLDS + "H1,P1,placed,こころ,\n")
    report = await nightly.ok(HOLDS + "H1,P1,ready,こころ,2026-12-01\nH2,P1,お取り置き,門,\n")
    assert report.notices == 2  # both holds stand in one mail
    assert await nightly.mail() == [("hold_ready", "hanako@docomo.ne.jp", "pending")]
    async with nightly.ledger.read() as connection:
        assert await connection.scalar(sa.select(holds.c.deadline).where(holds.c.hold_id == "H1")) == date(
            2026, 12, 1
        )


async def test_the_same_list_again_changes_nothing(nightly: Nightly) -> None:
    lists = (ONE, HOLDS + "H1,P1,ready,こころ,2026-11-30\n")
    for text in (*lists, *lists):
        report = await nightly.ok(text)
    assert report.applied == 0
    async with nightly.ledger.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(events)) == 2


async def test_skipped_states_are_walked_and_marked(nightly: Nightly) -> None:
    await nightly.ok(HOLDS + "H1,P1,requested,,\n")
    await nightly.ok(HOLDS + "H1,P1,collected,,\n")
    async with nightly.ledger.read() as connection:
        steps = (
            await connection.execute(sa.select(hold_steps.c.state, hold_steps.c.inferred).order_by("id"))
        ).all()
    assert [tuple(step) for step in steps] == [
        ("requested", False),
        ("placed", True),
        ("ready", True),
        ("collected", False),
    ]


async def test_a_new_address_is_told_in_the_morning(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(PATRONS + "P1,佐藤 花子,hanako@ezweb.ne.jp\n")
    assert await nightly.mail() == [("registration_changed", "hanako@ezweb.ne.jp", "pending")]
    async with nightly.ledger.read() as connection:
        leaves = await connection.scalar(sa.select(deliveries.c.next_at))
    assert leaves is not None
    assert leaves.astimezone(TOKYO).isoformat() == "2026-11-25T08:00:00+09:00"


@pytest.mark.parametrize("notice_new_rows", [False, True])
async def test_new_patrons_are_told_by_setting(nightly: Nightly, notice_new_rows: bool) -> None:
    nightly.use(
        f"feeds:\n  notice_new_rows: {str(notice_new_rows).lower()}\n  snapshots: [{{name: nightly}}]"
    )
    await nightly.ok(ONE)
    await nightly.ok(ONE + "P2,鈴木 一郎,ichiro@ezweb.ne.jp\n")
    told = [("registration_changed", "ichiro@ezweb.ne.jp", "pending")]
    assert await nightly.mail() == (told if notice_new_rows else [])


async def test_a_hold_may_come_before_its_patron(nightly: Nightly) -> None:
    await nightly.ok(HOLDS + "H0,P0,placed,,\n")
    await nightly.ok(HOLDS + "H0,P0,placed,,\nH1,P1,ready,,\n")
    assert await nightly.mail() == [("hold_ready", "", "withheld")]
    # the patrons' first file is a baseline, but this announcement was owed before it
    await nightly.ok(ONE)
    assert await nightly.mail() == [
        ("hold_ready", "", "cancelled"),
        ("hold_ready", "hanako@docomo.ne.jp", "pending"),
    ]


async def test_a_baseline_redirects_what_was_owed_and_owes_nothing_new(nightly: Nightly) -> None:
    at = (nightly.now - timedelta(hours=2)).isoformat()
    live = [
        {"id": "1", "type": "patron", "patron_id": "P1", "email": "old@docomo.ne.jp", "at": at},
        {"id": "2", "type": "hold.shelved", "hold_id": "H1", "patron_id": "P1", "at": at},
    ]
    async with nightly.ledger.write() as connection:
        for event in live:
            await registry.apply(connection, parse(event), "live", nightly.now, nightly.intake._rules)
    await nightly.ok(ONE)
    assert await nightly.mail() == [
        ("hold_ready", "old@docomo.ne.jp", "cancelled"),
        ("hold_ready", "hanako@docomo.ne.jp", "pending"),
    ]


# -- gone ------------------------------------------------------------------------------------------


async def test_a_hold_that_is_no_longer_listed_ended(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(HOLDS + "H1,P1,placed,,\nH2,P1,ready,,\nH3,P1,collected,,\nH4,P1,placed,,\n")
    await nightly.ok(HOLDS + "H4,P1,placed,,\n")
    assert await nightly.states() == {"H1": "ended", "H2": "ended", "H3": "collected", "H4": "placed"}
    assert await nightly.mail() == []


async def test_what_became_of_a_hold_that_is_gone_is_for_the_library_to_say(nightly: Nightly) -> None:
    nightly.use(
        "feeds: {snapshots: [{name: nightly, when_gone: {ready: collected, overdue: lapsed, waiting: cancelled}}]}"
    )
    await nightly.ok(
        HOLDS + "H1,P1,placed,,\nH2,P1,ready,,2026-12-24\nH3,P1,ready,,2026-11-23\nH4,P1,placed,,\n"
    )
    await nightly.ok(HOLDS + "H4,P1,placed,,\n")
    assert await nightly.states() == {"H1": "cancelled", "H2": "collected", "H3": "lapsed", "H4": "placed"}


async def test_an_announcement_is_taken_back_when_its_hold_is_gone(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(HOLDS + "H0,P1,placed,,\n")
    await nightly.ok(HOLDS + "H0,P1,placed,,\nH1,P1,ready,,\n")
    await nightly.ok(HOLDS + "H0,P1,placed,,\n")
    assert await nightly.mail() == [("hold_ready", "hanako@docomo.ne.jp", "cancelled")]


async def test_a_hold_that_another_feed_ended_is_no_conflict_when_it_is_gone(nightly: Nightly) -> None:
    await nightly.ok(HOLDS + "H0,P1,placed,,\nH1,P1,ready,,\n")
    collected = {"id": "live-1", "type": "hold.collected", "hold_id": "H1", "at": nightly.now.isoformat()}
    async with nightly.ledger.write() as connection:
        await registry.apply(connection, parse(collected), "live", nightly.now, nightly.intake._rules)
    report = await nightly.ok(HOLDS + "H0,P1,placed,,\n")
    assert report.conflict_count == 0
    assert (await nightly.states())["H1"] == "collected"


async def test_a_deadline_that_moved_is_an_extension(nightly: Nightly) -> None:
    await nightly.ok(HOLDS + "H1,P1,ready,こころ,2026-11-30\n")
    await nightly.ok(HOLDS + "H1,P1,ready,こころ,2026-12-07\n")
    async with nightly.ledger.read() as connection:
        row = (await connection.execute(sa.select(holds.c.deadline, holds.c.deadline_source))).one()
        types = list(await connection.scalars(sa.select(events.c.type).order_by(events.c.at)))
    assert tuple(row) == (date(2026, 12, 7), "extended")
    assert types == ["hold.shelved", "hold.extended"]


async def test_the_day_of_the_shelving_is_the_files_if_it_says_it(nightly: Nightly) -> None:
    await nightly.ok("hold_id,patron_id,state,ready_on\nH1,P1,ready,2026/11/20\nH2,P1,ready,\n")
    async with nightly.ledger.read() as connection:
        days = dict((await connection.execute(sa.select(holds.c.hold_id, holds.c.ready_on))).all())
    assert days == {"H1": date(2026, 11, 20), "H2": date(2026, 11, 24)}


async def test_a_first_sight_of_what_is_over_tells_nobody(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(HOLDS + "H0,P1,placed,,\n")
    await nightly.ok(HOLDS + "H0,P1,placed,,\nH1,P1,lapsed,,\n")
    assert (await nightly.states())["H1"] == "lapsed"
    assert await nightly.mail() == []


# -- the guard -------------------------------------------------------------------------------------


def people(count: int, domain: str = "docomo.ne.jp") -> str:
    return PATRONS + "".join(f"P{n:03},利用者 {n},p{n}@{domain}\n" for n in range(count))


def shelf(count: int, state: str = "placed") -> str:
    return HOLDS + "".join(f"H{n:03},P{n:03},{state},,\n" for n in range(count))


async def test_a_file_that_lost_rows_is_refused_and_a_person_may_overrule(nightly: Nightly) -> None:
    await nightly.ok(shelf(100))
    report = await nightly(shelf(70))
    assert report.failed
    assert "30.0%" in report.refused[0]
    assert set((await nightly.states()).values()) == {"placed"}

    report = await nightly(shelf(70), force_by="cli:yamada")
    assert not report.failed
    assert list((await nightly.states()).values()).count("ended") == 30
    async with nightly.ledger.read() as connection:
        note = (await connection.execute(sa.select(audit))).one()
        runs = [
            tuple(row)
            for row in await connection.execute(
                sa.select(snapshot_runs.c.state, snapshot_runs.c.forced_by).order_by(snapshot_runs.c.run_id)
            )
        ]
    assert (note.who, note.what, note.detail["lost"]) == ("cli:yamada", "snapshot_forced", 30)
    assert runs == [("done", ""), ("refused", ""), ("done", "cli:yamada")]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (people(100), people(100, "example.net"), "addresses changed"),
        (shelf(100), shelf(100, "ready"), "states changed"),
        (people(100), PATRONS, "not one usable row"),
        (shelf(100), HOLDS + "".join(f"H{n:03},P,?,,\n" for n in range(100)), "not one usable row"),
    ],
    ids=["addresses", "states", "empty", "unreadable"],
)
async def test_a_file_too_different_is_refused(nightly: Nightly, first: str, second: str, said: str) -> None:
    await nightly.ok(first)
    async with nightly.ledger.read() as connection:
        before = (await connection.execute(sa.select(snapshot_rows).order_by("key"))).all()
    report = await nightly(second)
    assert said in " ".join(report.refused)
    assert await nightly.mail() == []
    async with nightly.ledger.read() as connection:
        assert (await connection.execute(sa.select(snapshot_rows).order_by("key"))).all() == before


async def test_a_first_file_with_a_shifted_column_is_refused(nightly: Nightly) -> None:
    text = "patron_id,email,name\n" + "".join(f"P{n},利用者 {n},p{n}@docomo.ne.jp\n" for n in range(30))
    report = await nightly(text)
    assert "an address without @" in report.refused[0]
    assert await nightly.states() == {}


async def test_an_older_file_is_refused(nightly: Nightly) -> None:
    await nightly.ok(shelf(3))
    nightly.now -= timedelta(days=3)
    report = await nightly(shelf(3, "ready"))
    assert "has been taken in" in report.refused[0]
    nightly.now += timedelta(days=3)
    report = await nightly(shelf(3, "ready"), force_by="cli:yamada")
    assert set((await nightly.states()).values()) == {"ready"}


# -- runs ------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


async def test_a_run_that_is_interrupted_goes_on_and_repeats_nothing(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "CHUNK", 7)
    monkeypatch.setattr(comparing, "PAGE", 10)
    nightly.use("feeds: {snapshots: [{name: nightly, guard: {changed: 100%}}]}")
    await nightly.ok(people(50))
    await nightly.ok(shelf(50))

    def stop(applied: int) -> None:
        if 20 < applied < 50:
            raise Stopped

    with pytest.raises(Stopped):
        await nightly(shelf(50, "ready"), progress=stop)
    assert list((await nightly.states()).values()).count("ready") == 21

    report = await nightly.ok(shelf(50, "ready"))
    assert report.resumed
    assert report.applied == 29
    assert report.repeats == 0
    assert set((await nightly.states()).values()) == {"ready"}
    assert len(await nightly.mail()) == 50
    async with nightly.ledger.read() as connection:
        ids = list(
            await connection.scalars(sa.select(events.c.event_id).where(events.c.type == "hold.shelved"))
        )
    assert sorted(ids) == [f"nightly:3:H{n:03}:hold.shelved" for n in range(50)]


async def test_after_an_interruption_a_newer_file_may_come_first(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "CHUNK", 1)
    await nightly.ok(shelf(3))

    def stop(applied: int) -> None:
        if applied == 1:
            raise Stopped

    with pytest.raises(Stopped):
        await nightly(shelf(3, "ready"), progress=stop)
    report = await nightly.ok(HOLDS + "H000,P000,ready,,\nH001,P001,collected,,\nH002,P002,placed,,\n")
    assert not report.resumed
    assert await nightly.states() == {"H000": "ready", "H001": "collected", "H002": "placed"}
    async with nightly.ledger.read() as connection:
        states = list(
            await connection.scalars(sa.select(snapshot_runs.c.state).order_by(snapshot_runs.c.run_id))
        )
    assert states == ["done", "abandoned", "done"]


async def test_an_interrupted_baseline_stays_one(nightly: Nightly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "CHUNK_OF_FIRSTS", 2)
    await nightly.ok(people(5))

    def stop(applied: int) -> None:
        if applied == 2:
            raise Stopped

    with pytest.raises(Stopped):
        await nightly(shelf(5, "ready"), progress=stop)
    await nightly.ok(shelf(5, "ready"))
    assert await nightly.mail() == []
    assert len(await nightly.states()) == 5


async def test_what_is_sent_away_and_comes_back_is_new_each_time(nightly: Nightly) -> None:
    await nightly.ok(people(3))
    for domain in ("ezweb.ne.jp", "docomo.ne.jp", "ezweb.ne.jp"):
        await nightly.ok(people(3, domain))
    assert len(await nightly.mail()) == 9


async def test_a_dry_run_keeps_nothing_and_tells_what_would_be(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    report = await nightly(HOLDS + "H1,P1,ready,,\n", dry_run=True)
    assert (report.applied, report.notices) == (1, 0)
    await nightly.ok(HOLDS + "H0,P1,placed,,\n")
    report = await nightly(HOLDS + "H0,P1,ready,,\nH1,P1,ready,,\n", dry_run=True)
    assert (report.applied, report.notices) == (2, 2)
    assert await nightly.states() == {"H0": "placed"}
    assert await nightly.mail() == []
    async with nightly.ledger.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(snapshot_runs)) == 2


async def test_too_many_prompt_notices_wait_for_a_person_across_chunks(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "CHUNK", 4)
    nightly.use("feeds: {max_prompt_per_run: 5, snapshots: [{name: nightly, guard: {changed: 100%}}]}")
    await nightly.ok(people(12))
    report = await nightly.ok(people(12, "ezweb.ne.jp"))
    assert (report.prompts, report.held) == (12, 12)


async def test_the_time_of_the_data_is_known(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(shelf(1))
    async with nightly.ledger.read() as connection:
        times = await snapshots.feed_times(connection)
    assert times["nightly"]["as_of"] == "2026-11-25T02:10:00+09:00"
    assert times["nightly"]["patrons"] == "2026-11-24T02:10:00+09:00"


async def test_nothing_personal_is_kept_of_a_snapshot(nightly: Nightly) -> None:
    await nightly.ok(ONE)
    await nightly.ok(HOLDS + "H1,P1,ready,こころ,\n")
    async with nightly.ledger.read() as connection:
        rows = str((await connection.execute(sa.select(snapshot_rows))).all())
        assert await connection.scalar(sa.select(patrons.c.name)) == "佐藤 花子"
    assert "P1" in rows
    assert not any(word in rows for word in ("佐藤", "docomo", "こころ"))


# -- bad input -------------------------------------------------------------------------------------


async def test_bad_rows_are_named_and_good_ones_count(nightly: Nightly) -> None:
    await nightly.ok(HOLDS + "".join(f"H{n},P1,placed,門,\n" for n in range(1, 8)))
    report = await nightly(
        HOLDS
        + "H1,P1,ready,門,\n"
        + "H2,P1,宇宙,門,\n"  # unknown status
        + "H3,P1,ready,門,2026-02-30\n"  # impossible date
        + "H4,P1,ready,門,,,,x\n"  # too many columns
        + "H5,P1,ready,門,\nH5,P1,placed,門,\n"  # one id, two rows that differ
        + "H6,P1,ready,門,\nH6,P1,ready,門,\n"  # one id, the same row twice
        + "H7,P1,ready,門,\n"
    )
    assert report.failed
    assert not report.refused
    assert [(fault.line, fault.column) for fault in report.tally.faults.kept] == [
        (3, 3),
        (4, 5),
        (5, 8),
        (7, 1),
        (9, 1),
    ]
    assert await nightly.states() == {
        "H1": "ready",
        "H2": "placed",
        "H3": "placed",
        "H4": "placed",
        "H5": "placed",
        "H6": "ready",
        "H7": "ready",
    }
    text = "\n".join(report.lines())
    assert "3行目 3列目「state」" in text
    assert "line 7, column 1: the same id as line 6 with other values; neither is used" in text


async def test_where_a_row_could_be_anybodys_nothing_is_taken_for_gone(nightly: Nightly) -> None:
    await nightly.ok(shelf(20))
    damaged = shelf(20).encode().replace(b"H007,P007,placed,,", b"\xff\xfe,?")
    report = await nightly(damaged)
    assert report.kept_gone == 1
    assert set((await nightly.states()).values()) == {"placed"}
    # the next file is whole again, and the hold is there
    await nightly.ok(shelf(20))
    assert set((await nightly.states()).values()) == {"placed"}


async def test_a_row_that_the_ledger_refuses_does_not_take_the_others_with_it(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    await nightly.ok(shelf(6))
    apply = registry.apply

    async def refusing(connection: object, event: object, *rest: object) -> object:
        if getattr(event, "hold_id", "") == "H003":
            await connection.execute(sa.insert(holds).values(hold_id="H001"))  # type: ignore[attr-defined]
        return await apply(connection, event, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "apply", refusing)
    report = await nightly(shelf(6, "ready"))
    assert report.tally.faults.count == 1
    assert report.tally.faults.kept[0].line == 5
    states = await nightly.states()
    assert (states["H003"], list(states.values()).count("ready")) == ("placed", 5)
    monkeypatch.undo()
    await nightly.ok(shelf(6, "ready"))
    assert (await nightly.states())["H003"] == "ready"


async def test_a_wrong_mapping_is_told_and_nothing_is_stored(nightly: Nightly) -> None:
    nightly.use("feeds: {snapshots: [{name: nightly, holds: {columns: {state: 状態}}}]}")
    report = await nightly(shelf(3))
    assert report.failed
    assert "「状態」" in report.refused[0]
    assert "--force" not in "\n".join(report.lines())
    async with nightly.ledger.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(snapshot_runs)) == 0


@pytest.mark.parametrize("text", [b"", b"\n\n", b"a,b\n1,2\n", "番号".encode("utf-16")])
async def test_what_is_no_snapshot_is_refused(nightly: Nightly, text: bytes) -> None:
    report = await nightly(text)
    assert report.failed
    assert report.refused
