"""Many events at a time, all or nothing per event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.feeds.intake import CHUNK, EventIntake, ImportReport, lines_of
from holds_core.ledger.models import (
    addresses,
    cases,
    deliveries,
    events,
    evidence,
    hold_steps,
    holds,
    notice_holds,
    notices,
    patron_addresses,
    patrons,
)
from holds_core.ledger.session import Ledger
from tests.core.ledger.conftest import NOON, Feed
from tests.core.ledger.helpers import count, rows


def line(number: int, type_: str, **fields: Any) -> bytes:
    return json.dumps({"id": f"e{number}", "at": NOON.isoformat(), "type": type_} | fields).encode()


async def take(feed: Feed, *lines: bytes, dry_run: bool = False) -> ImportReport:
    return await feed.intake.run(lines_of(lines), "test", dry_run=dry_run)


async def everything(ledger: Ledger) -> dict[str, int]:
    return {table.name: number for table, number in zip(_TABLES, await count(ledger, *_TABLES), strict=True)}


_TABLES = (
    *(events, patrons, patron_addresses, addresses, holds, hold_steps),
    *(notices, notice_holds, deliveries, evidence, cases),
)


async def test_a_bad_line_does_not_stop_the_good_ones(ledger: Ledger, feed: Feed) -> None:
    report = await take(
        feed,
        line(1, "patron", patron_id="P1", email="a@example.jp"),
        line(2, "patron", email="b@example.jp"),
        b"",
        b"  \r\n",
        b"{",
        '{"name": "図書"}'.encode("cp932"),
        line(3, "patron", patron_id="P3\x00"),
        line(4, "hold.shelved", hold_id="H1", patron_id="P1", title="本\x00\r\nBcc: x"),
        line(5, "patron", patron_id="P5", password="x"),
        line(6, "patron", patron_id="P6", at=(NOON + timedelta(days=2)).isoformat()),
    )
    assert (report.applied, report.notices) == (2, 1)
    assert [str(item) for item in report.failed] == [
        "line 2: patron_id is missing",
        "line 5: not JSON at character 2",
        "line 6: byte 11 is not UTF-8; save the file as UTF-8",
        "line 7: patron_id: must be 1 to 200 printable characters without blanks at its ends",
        "line 9: password must not be sent: passwords are never accepted or stored",
        "line 10: at 2026-11-26T03:00:00+00:00 lies more than a day ahead",
    ]
    assert await count(ledger, events, patrons, holds) == [2, 1, 1]
    [hold] = await rows(ledger, holds)
    assert hold.title == "本 Bcc: x"


async def test_local_time_written_as_utc_is_taken_and_told(ledger: Ledger, feed: Feed) -> None:
    late = (NOON + timedelta(hours=9)).isoformat()
    lines = [
        line(1, "patron", patron_id="P1", email="a@example.jp"),
        line(2, "hold.placed", hold_id="H1", patron_id="P1", at=late),
        line(3, "hold.placed", hold_id="H2", patron_id="P1", at=(NOON + timedelta(minutes=5)).isoformat()),
    ]
    report = await take(feed, *lines)
    assert (report.applied, report.failed) == (3, [])
    [told] = report.objections
    assert str(told).startswith("line 2: 警告 warning: at が9.0時間先です。")
    assert (await take(feed, *lines)).objections == []


async def test_a_repeat_is_accepted_and_ignored(ledger: Ledger, feed: Feed) -> None:
    lines = [
        line(1, "patron", patron_id="P1", email="a@example.jp"),
        line(2, "hold.placed", hold_id="H1", patron_id="P1", title="本"),
        line(2, "hold.placed", hold_id="H1", patron_id="P1", title="本"),
    ]
    first = await take(feed, *lines)
    assert (first.applied, first.repeats, first.notices) == (2, 1, 1)
    before = await everything(ledger)
    again = await take(feed, *lines)
    assert (again.applied, again.repeats, again.notices) == (0, 3, 0)
    assert await everything(ledger) == before


async def test_a_dry_run_keeps_nothing_and_tells_the_same(ledger: Ledger, feed: Feed) -> None:
    before = await everything(ledger)
    lines = [
        line(1, "patron", patron_id="P1", email="a@example.jp"),
        line(2, "hold.placed", hold_id="H1", patron_id="P1", title="本"),
        line(3, "hold.extended", hold_id="H9", deadline="2026-12-01"),
        line(4, "patron"),
    ]
    dry = await take(feed, *lines, dry_run=True)
    assert await everything(ledger) == before
    assert await take(feed, *lines) == dry
    assert (dry.applied, dry.notices, len(dry.conflicts), len(dry.failed)) == (2, 1, 1, 1)


async def test_an_event_that_fails_in_the_middle_leaves_no_trace(ledger: Ledger, feed: Feed) -> None:
    """The hold's steps cannot be written; by then the event and the hold have been."""
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    before = await everything(ledger)
    async with ledger.write() as connection:
        if ledger.dialect == "sqlite":
            fails = "CREATE TRIGGER refuse BEFORE INSERT ON hold_steps WHEN NEW.hold_id = 'H2' BEGIN SELECT RAISE(ABORT, 'no'); END"
            await connection.execute(sa.text(fails))
        else:
            await connection.execute(
                sa.text("ALTER TABLE hold_steps ADD CONSTRAINT refuse CHECK (hold_id <> 'H2')")
            )
    report = await take(
        feed,
        line(11, "hold.shelved", hold_id="H1", patron_id="P1"),
        line(12, "hold.shelved", hold_id="H2", patron_id="P1"),
        line(13, "hold.shelved", hold_id="H3", patron_id="P1"),
    )
    assert [str(item) for item in report.failed] == ["line 2: the database refused a value"]
    assert report.applied == 2
    after = await everything(ledger)
    added = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert added == {
        **dict.fromkeys(["events", "holds", "hold_steps", "notice_holds"], 2),
        **dict.fromkeys(["notices", "deliveries"], 1),
    }
    assert [row.hold_id for row in await rows(ledger, holds)] == ["H1", "H3"]


CONFLICTS = [
    ([("hold.collected", {"hold_id": "H9"})], "hold H9 is unknown and the event names no patron_id"),
    ([("hold.extended", {"hold_id": "H9", "patron_id": "P1", "deadline": "2026-12-01"})], "hold H9 is unknown"),
    (
        [("hold.placed", {"hold_id": "H1", "patron_id": "P1"}), ("hold.extended", {"hold_id": "H1", "deadline": "2026-12-01"})],
        "hold H1 is placed, only a ready one has a deadline",
    ),
    (
        [("hold.placed", {"hold_id": "H1", "patron_id": "P1"}), ("hold.shelved", {"hold_id": "H1", "patron_id": "P2"})],
        "hold H1 belongs to another patron",
    ),
    (
        [("hold.placed", {"hold_id": "H1", "patron_id": "P1"}), ("hold.collected", {"hold_id": "H1"}), ("hold.lapsed", {"hold_id": "H1"})],
        "no legal way from collected to lapsed",
    ),
    ([("patron.password_changed", {"patron_id": "P9"})], "patron P9 is unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "why"), CONFLICTS)
async def test_a_conflict_is_stored_for_staff_and_changes_nothing(
    ledger: Ledger, feed: Feed, steps: list[tuple[str, dict[str, object]]], why: str
) -> None:
    *good, (type_, fields) = steps
    for name, said in good:
        await feed.ok(name, **said)
    before = await everything(ledger)
    report = await feed(type_, **fields)
    assert [item.text for item in report.conflicts] == [why]
    after = await everything(ledger)
    assert after == before | {"events": before["events"] + 1}
    stored = (await rows(ledger, events, events.c.event_id == f"e{feed.serial}"))[0]
    assert (stored.outcome, stored.note) == ("conflict", why)


@pytest.mark.parametrize(
    ("first", "older"),
    [
        (("hold.shelved", {"hold_id": "H1", "patron_id": "P1"}), ("hold.placed", {"hold_id": "H1"})),
        (("patron", {"patron_id": "P1", "name": "新"}), ("patron", {"patron_id": "P1", "name": "旧"})),
        (
            ("patron.email_changed", {"patron_id": "P1", "email": "new@example.jp"}),
            ("patron.email_changed", {"patron_id": "P1", "email": "old@example.jp"}),
        ),
    ],
)
async def test_an_older_event_changes_nothing(
    ledger: Ledger,
    feed: Feed,
    first: tuple[str, dict[str, object]],
    older: tuple[str, dict[str, object]],
) -> None:
    await feed.ok(first[0], **first[1])
    tables = (patrons, patron_addresses, holds, hold_steps, notices, deliveries)
    before = [await rows(ledger, table) for table in tables]
    report = await feed(older[0], **older[1], at=(NOON - timedelta(seconds=1)).isoformat())
    assert (report.stale, report.applied, report.conflicts) == (1, 0, [])
    assert [await rows(ledger, table) for table in tables] == before
    assert (await rows(ledger, events, events.c.event_id == "e2"))[0].outcome == "stale"


async def test_a_morning_of_ready_holds_does_not_hold_a_prompt_notice_back(ledger: Ledger) -> None:
    """Only prompt notices count towards the limit."""
    feed = Feed(ledger, max_prompt=2)
    lines = [line(1, "patron", patron_id="P1", email="a@example.jp")]
    lines += [line(n, "hold.shelved", hold_id=f"H{n}", patron_id="P1", branch=f"b{n}") for n in range(2, 8)]
    lines += [line(n, "hold.placed", hold_id=f"H{n}", patron_id="P1") for n in (8, 9)]
    report = await take(feed, *lines)
    assert (report.notices, report.held) == (8, 0)
    assert {row.next_at for row in await rows(ledger, deliveries, deliveries.c.prompt.is_(True))} == {NOON}


async def test_the_limit_counts_over_all_chunks_of_a_run(ledger: Ledger) -> None:
    feed = Feed(ledger, max_prompt=2)
    lines = [line(1, "patron", patron_id="P1", email="a@example.jp")]
    lines += [line(2, "hold.placed", hold_id="H2", patron_id="P1")]
    lines += [line(n, "patron.seen", patron_id="P1") for n in range(3, CHUNK + 2)]
    lines += [line(n, "hold.placed", hold_id=f"H{n}", patron_id="P1") for n in (CHUNK + 2, CHUNK + 3)]
    report = await take(feed, *lines)
    assert report.held == 3
    assert {row.slot for row in await rows(ledger, deliveries)} == {"held"}


async def test_progress_is_told(ledger: Ledger, feed: Feed) -> None:
    told: list[int] = []
    lines = [line(n, "patron.seen", patron_id="P1") for n in range(CHUNK + 1)]
    await feed.intake.run(lines_of(lines), "test", progress=told.append)
    assert told == [CHUNK, CHUNK + 1]


LONG = "x" * 200


async def test_the_longest_ids_are_stored(ledger: Ledger, feed: Feed) -> None:
    """An event's id becomes part of what marks its evidence: that must fit as well."""
    await feed.ok("patron", patron_id=LONG, email="a@example.jp")
    await feed.ok("hold.shelved", hold_id=LONG, patron_id=LONG, branch=LONG)
    async with ledger.write() as connection:
        await connection.execute(sa.update(deliveries).values(state="handed_over", handed_over_at=NOON))
    await feed.ok("patron.seen", patron_id=LONG, id="s" * 200)
    await feed.ok("hold.collected", hold_id=LONG, id="c" * 200)
    assert [row.kind for row in await rows(ledger, evidence)] == ["seen", "collected"]


@pytest.mark.parametrize(
    "address",
    ["あ" * 320, "a" * 300 + "@example.jp", "taro@example.jp\r\nBcc: x@example.jp", "@", '"'],
)
async def test_what_cannot_be_an_address_is_kept_and_gets_no_mail(
    ledger: Ledger, feed: Feed, address: str
) -> None:
    await feed.ok("patron", patron_id="P1", email=address)
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1")
    [row] = await rows(ledger, deliveries)
    assert (row.state, row.reason) == ("withheld", "unreachable")
    [kept] = await rows(ledger, patron_addresses)
    assert kept.address == address.replace("\r\n", " ")


async def test_an_empty_address_in_a_list_is_none(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", emails=["", " "])
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1")
    [row] = await rows(ledger, deliveries)
    assert (row.state, row.reason) == ("withheld", "no_address")


async def test_the_run_takes_the_time_from_its_clock(ledger: Ledger, feed: Feed) -> None:
    feed.now = NOON + timedelta(minutes=5)
    assert isinstance(feed.intake, EventIntake)
    await take(feed, line(1, "patron.seen", patron_id="P1"))
    [row] = await rows(ledger, events)
    assert (row.at, row.received_at, row.feed) == (NOON, feed.now, "test")
