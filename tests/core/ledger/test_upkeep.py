"""Retention, forgetting, export and backup: what is erased, what must stay, and that nothing else knows."""

import asyncio
import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.errors import BadInput, Conflict, NotFound
from holds_core.evidence import Sign
from holds_core.ledger import accounts, inbox, observations, outbox, personal, upkeep
from holds_core.ledger.copies import CopyFailed, backup
from holds_core.ledger.models import (
    attempts,
    audit,
    case_actions,
    case_marks,
    cases,
    claims,
    deliveries,
    events,
    evidence,
    flags,
    holds,
    inbound,
    metadata,
    notices,
    patron_addresses,
    patrons,
    snapshot_rows,
)
from holds_core.ledger.observations import Observation
from holds_core.ledger.session import Ledger
from holds_core.ledger.sql import put_flag
from holds_core.notices import Transmission
from holds_core.settings import Retention
from tests.core.ledger.conftest import NOON, Feed

HANA = "hana@honda-hanako.example"
FAMILY = "ie@example.jp"
TITLE = "秘密の書名"
DSN_TEXT = f"<{HANA}>: Recipient address rejected: User unknown"
RAW = f"Final-Recipient: rfc822; {HANA}\r\nAction: failed\r\n".encode()
DAY = timedelta(days=1)

# What identifies the patron of these tests. Ids of holds do too: the library system knows whose they are.
TRACES = ("P-HANA", "hana@", "honda-hanako", "本多", "ホンダ", TITLE, "090-0000", "H-HANA", "門のところ")


async def rows(ledger: Ledger, table: sa.Table) -> list[Mapping[str, Any]]:
    async with ledger.read() as connection:
        found = await connection.execute(sa.select(table).order_by(*table.primary_key.columns))
        return [dict(row._mapping) for row in found]


def words(row: Mapping[str, Any]) -> str:
    """Everything that a row says, as one text."""

    def plain(value: object) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    return json.dumps({str(name): row[name] for name in row}, default=plain, ensure_ascii=False)


async def traces(ledger: Ledger) -> dict[str, list[str]]:
    """Table -> its rows that name the patron."""
    found = {
        table.name: [
            text for row in await rows(ledger, table) if any(t in (text := words(row)) for t in TRACES)
        ]
        for table in metadata.sorted_tables
    }
    return {name: texts for name, texts in found.items() if texts}


async def deliver(ledger: Ledger, delivery_id: int, text: str = "250 ok") -> None:
    """A delivery's way to handed over, with its attempt."""
    async with ledger.write() as connection:
        await outbox.step(connection, delivery_id, Transmission.SENDING, tries=1, token=f"tok{delivery_id}")
        await connection.execute(
            sa.insert(attempts).values(
                delivery_id=delivery_id,
                number=1,
                started_at=NOON,
                finished_at=NOON,
                result="handed_over",
                text=text,
            )
        )
        await outbox.step(
            connection, delivery_id, Transmission.HANDED_OVER, handed_over_at=NOON, slot="S", next_at=None
        )


async def store(ledger: Ledger, raw: bytes, at: datetime, state: str = "used", **values: Any) -> None:
    async with ledger.write() as connection:
        await inbox.store(
            connection,
            raw=raw,
            source="lmtp",
            envelope_from="",
            envelope_to=["tok1@b.example"],
            received_at=at,
        )
        last = sa.select(sa.func.max(inbound.c.inbound_id)).scalar_subquery()
        await connection.execute(
            sa.update(inbound).where(inbound.c.inbound_id == last).values(state=state, **values)
        )


@pytest.fixture
async def life(ledger: Ledger, feed: Feed) -> None:
    """Two patrons with one address in common; one of them has left a trace in every table there is."""
    await feed.ok(
        "patron",
        patron_id="P-HANA",
        emails=[HANA, FAMILY],
        name="本多 花子",
        name_kana="ホンダ ハナコ",
        phones=["090-0000-0000"],
    )
    await feed.ok("patron", patron_id="P-TARO", emails=[FAMILY], name="図書 太郎", guardian_id="P-HANA")
    await feed.ok("hold.shelved", hold_id="H-HANA", patron_id="P-HANA", title=TITLE)
    await feed.ok("hold.shelved", hold_id="H-TARO", patron_id="P-TARO", title="太郎の本")
    await feed.ok("hold.requested", hold_id="H-SPOILT", patron_id="P-HANA", title=TITLE, availability="汚損")
    for row in await rows(ledger, deliveries):
        await deliver(ledger, row["delivery_id"], DSN_TEXT if row["address"] == HANA else "250 ok")
    async with ledger.write() as connection:
        hana = await connection.scalar(
            sa.select(deliveries.c.delivery_id).where(deliveries.c.address == HANA)
        )
        case = await _staff(connection)
        bounced = Observation(
            NOON, Sign.BOUNCED, "lmtp", "b1", hana, reason="userunknown", fault="patron", severity="hard",
            text=DSN_TEXT,
        )  # fmt: skip
        invalid = Observation(NOON, Sign.INVALID, "check", f"invalid:{HANA}", None, HANA, "P-HANA")
        for item in (bounced, invalid):
            assert await observations.observe(connection, item, NOON)
        await connection.execute(sa.update(cases).where(cases.c.case_id == case).values(changed_at=NOON))
    await store(ledger, RAW, NOON, delivery_id=hana)
    await store(
        ledger, b"Subject: what?\r\n\r\n" + HANA.encode(), NOON, "quarantined", why=f"no token, {HANA}"
    )


async def _staff(connection: Any) -> int:
    """What staff leave behind: a case with its mark, a call, a claim, lines of the audit trail."""
    case = int(
        await connection.scalar(
            sa.insert(cases)
            .values(patron_id="P-HANA", state="open", reasons=["bounced"], opened_at=NOON, changed_at=NOON)
            .returning(cases.c.case_id)
        )
    )
    mark = {"case_id": case, "status": "called", "tries": 1, "known": [HANA], "at": NOON}
    call = {"patron_id": "P-HANA", "case_id": case, "at": NOON, "who": "sato", "kind": "called"}
    call |= {"note": "門のところで会った", "before": {}, "after": {}}
    await connection.execute(sa.insert(case_marks).values(**mark))
    await connection.execute(sa.insert(case_actions).values(**call))
    await connection.execute(sa.insert(claims).values(patron_id="P-HANA", who="sato", until=NOON))
    await accounts.record(connection, "sato", "case.called", "patron:P-HANA", {"note": "門のところ"}, NOON)
    await accounts.record(
        connection, "sato", "phone.printed", "list", {"patrons": ["P-HANA", "P-TARO"]}, NOON
    )
    seen = {"feed": "nightly", "mark": "m", "digest": "d"}
    for kind, keys in (("patrons", ("P-HANA", "P-TARO")), ("holds", ("H-HANA", "H-TARO"))):
        lines = [seen | {"kind": kind, "key": key} for key in keys]
        await connection.execute(sa.insert(snapshot_rows), lines)
    return case


# Forgetting and export ----------------------------------------------------------------------------


@pytest.mark.usefixtures("life")
async def test_forgetting_leaves_no_trace_in_any_table(ledger: Ledger) -> None:
    before = await traces(ledger)
    named = {table.name for table in metadata.sorted_tables if "patron_id" in table.columns}
    assert named <= set(before), "a table with patrons that the test does not fill"
    async with ledger.write() as connection:
        counts = await personal.forget(connection, "P-HANA", "cli:root", NOON)
    assert await traces(ledger) == {}
    assert counts["patrons"] == 1
    assert counts["inbound"] == 2


@pytest.mark.usefixtures("life")
async def test_numbers_without_a_person_stay(ledger: Ledger) -> None:
    columns = ("kind", "state", "finding", "reason", "fault", "handed_over_at")

    async def numbers() -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in columns) for row in await rows(ledger, deliveries)]

    signs = [row["kind"] for row in await rows(ledger, evidence)]
    before = await numbers()
    assert any("bounced" in row for row in before)
    async with ledger.write() as connection:
        await personal.forget(connection, "P-HANA", "cli:root", NOON)
    assert await numbers() == before
    assert [row["kind"] for row in await rows(ledger, evidence)] == signs
    # a domain of one's own names its owner, a common one does not
    assert {row["domain"] for row in await rows(ledger, deliveries) if not row["patron_id"]} == {
        "",
        "example.jp",
    }
    last = (await rows(ledger, audit))[-1]
    assert (last["who"], last["what"], last["subject"]) == ("cli:root", "forget", "")


@pytest.mark.usefixtures("life")
async def test_others_keep_what_is_theirs(ledger: Ledger) -> None:
    async def of_taro() -> dict[str, Any]:
        async with ledger.read() as connection:
            return await personal.export(connection, "P-TARO")

    before = await of_taro()
    async with ledger.write() as connection:
        await personal.forget(connection, "P-HANA", "cli:root", NOON)
    after = await of_taro()
    # but for who his guardian was
    assert before["patron"].pop("guardian_id") == "P-HANA"
    assert after["patron"].pop("guardian_id") is None
    assert before["events"][0]["payload"].pop("guardian_id") == "P-HANA"
    assert after["events"][0]["payload"].pop("guardian_id") == ""
    assert after == before
    assert before["standings"][0]["address_key"] == FAMILY


@pytest.mark.usefixtures("life")
async def test_an_export_shows_every_row_that_names_the_patron(ledger: Ledger) -> None:
    async with ledger.read() as connection:
        found = await personal.export(connection, "P-HANA")
    json.dumps(found)  # ready as it is
    tables = {"patron": [found["patron"]], **{name: of for name, of in found.items() if name != "patron"}}
    shown = {name: len(of) for name, of in tables.items()}
    for table, texts in (await traces(ledger)).items():
        name = {"patrons": "patron", "patron_addresses": "addresses", "addresses": "standings"}.get(
            table, table
        )
        # that she is his guardian stands in his rows
        assert shown[name] >= len(texts) - (table in ("patrons", "events")), table
    assert found["patron"]["name"] == "本多 花子"
    assert "P-TARO" not in json.dumps({name: of for name, of in found.items() if name != "evidence"})
    assert any("Final-Recipient" in mail["raw"] for mail in found["inbound"])


@pytest.mark.usefixtures("life")
async def test_an_unknown_patron_is_not_found(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        with pytest.raises(NotFound):
            await personal.forget(connection, "P-NOBODY", "cli:root", NOON)
        with pytest.raises(NotFound):
            await personal.export(connection, "P-NOBODY")


async def test_mail_that_has_not_left_is_cancelled(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", emails=["a@example.jp", "b@example.jp"])
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    first, second = [row["delivery_id"] for row in await rows(ledger, deliveries)]
    async with ledger.write() as connection:
        await outbox.step(connection, second, Transmission.SENDING)
        await outbox.step(connection, second, Transmission.UNCERTAIN, next_at=NOON)
        await personal.forget(connection, "P1", "cli:root", NOON)
    found = {row["delivery_id"]: row for row in await rows(ledger, deliveries)}
    assert found[first]["state"] == "cancelled"
    assert found[second]["state"] == "handed_over"
    assert [row["next_at"] for row in found.values()] == [None, None]


async def test_a_patron_is_not_forgotten_while_a_mail_is_on_the_wire(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    async with ledger.write() as connection:
        number = await connection.scalar(sa.select(deliveries.c.delivery_id))
        assert number is not None
        await outbox.step(connection, number, Transmission.SENDING)
    with pytest.raises(Conflict):
        async with ledger.write() as connection:
            await personal.forget(connection, "P1", "cli:root", NOON)
    assert len(await rows(ledger, patrons)) == 1


# Retention ----------------------------------------------------------------------------------------

KEEP = Retention(titles=30 * DAY, raw_mail=90 * DAY, events=400 * DAY, audit=1000 * DAY)


async def purged(ledger: Ledger, days: float) -> dict[str, int]:
    """What a purge that long after NOON erased; it counted the same before, and finds nothing after."""
    now = NOON + timedelta(days=days)
    expected = await upkeep.due(ledger, KEEP, now)
    found = await upkeep.purge(ledger, KEEP, now)
    # what others referred to can only be counted once those are gone
    assert all(found[name] >= count for name, count in expected.items())
    assert not any((await upkeep.purge(ledger, KEEP, now)).values())
    return {name: count for name, count in found.items() if count}


async def collected(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title=TITLE)
    (row,) = await rows(ledger, deliveries)
    await deliver(ledger, row["delivery_id"])
    await feed.ok("hold.collected", hold_id="H1")


async def test_titles_go_once_the_hold_is_over_for_long_enough(ledger: Ledger, feed: Feed) -> None:
    await collected(ledger, feed)
    assert await purged(ledger, 30) == {}
    assert await purged(ledger, 30.01) == {"titles": 1, "event_titles": 1}
    dump = [words(row) for table in metadata.sorted_tables for row in await rows(ledger, table)]
    assert not any(TITLE in text for text in dump)
    (shelved,) = [row for row in await rows(ledger, events) if row["type"] == "hold.shelved"]
    assert shelved["payload"] == {"patron_id": "P1", "hold_id": "H1"}


async def test_a_hold_that_is_not_over_keeps_its_title(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title=TITLE)
    assert await purged(ledger, 300) == {"event_titles": 1}
    assert [row["title"] for row in await rows(ledger, holds)] == [TITLE]


async def test_a_title_stays_while_a_mail_about_it_waits(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.placed", hold_id="H1", patron_id="P1", title=TITLE)
    await feed.ok("hold.cancelled", hold_id="H1", by="library", reason="lost")
    waiting = [row for row in await rows(ledger, deliveries) if row["state"] == "pending"]
    assert waiting
    assert "titles" not in await purged(ledger, 31)
    for row in waiting:
        await deliver(ledger, row["delivery_id"])
    assert (await purged(ledger, 32))["titles"] == 1


async def test_raw_mail_goes_but_not_before_it_was_read(ledger: Ledger) -> None:
    await store(ledger, b"used", NOON)
    await store(ledger, b"quarantined", NOON, "quarantined")
    await store(ledger, b"new", NOON, "new")
    assert await purged(ledger, 89) == {}
    assert await purged(ledger, 91) == {"raw_mail": 2}
    assert [row["raw"] for row in await rows(ledger, inbound)] == [None, None, b"new"]
    assert (await purged(ledger, 401))["inbound"] == 2
    assert [row["raw"] for row in await rows(ledger, inbound)] == [b"new"]


async def test_the_record_of_mail_goes_with_events(ledger: Ledger, feed: Feed) -> None:
    await collected(ledger, feed)
    await purged(ledger, 399)
    assert await rows(ledger, attempts)
    found = await purged(ledger, 401)
    assert (found["events"], found["mail"], found["holds"]) == (3, 1, 1)
    for table in (events, notices, deliveries, attempts, holds):
        assert await rows(ledger, table) == []
    # the patron is the library system's to remove
    assert len(await rows(ledger, patrons)) == 1


async def test_a_mail_that_may_still_leave_stays(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="a@example.jp")
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", title="本")
    assert "mail" not in await purged(ledger, 401)


async def test_what_is_known_of_an_address_in_use_stays_without_its_words(ledger: Ledger, feed: Feed) -> None:
    await feed.ok("patron", patron_id="P1", email="stranger@example.jp")
    await feed.ok("patron", patron_id="P2", email="gone@example.jp")
    async with ledger.write() as connection:
        for name in ("stranger", "gone"):
            wrong = Observation(
                NOON, Sign.STAFF_MISTYPED, "staff", name, None, f"{name}@example.jp", text="her words"
            )
            await observations.observe(connection, wrong, NOON)
    await feed.ok("patron.email_changed", patron_id="P2", email="new@example.jp")
    found = await purged(ledger, 401)
    assert (found["evidence"], found["evidence_texts"], found["former_addresses"]) == (1, 1, 1)
    (left,) = await rows(ledger, evidence)
    assert (left["address_key"], left["kind"], left["text"]) == ("stranger@example.jp", "staff_mistyped", "")
    assert {row["address"] for row in await rows(ledger, patron_addresses)} == {
        "stranger@example.jp",
        "new@example.jp",
    }


@pytest.mark.usefixtures("life")
async def test_what_staff_did_is_kept_for_as_long_as_audit_says(ledger: Ledger) -> None:
    async with ledger.write() as connection:
        await connection.execute(sa.update(cases).values(state="closed", closed_at=NOON))
    assert (await purged(ledger, 401))["cases"] >= 1
    assert len(await rows(ledger, case_actions)) == 1
    found = await purged(ledger, 1001)
    assert (found["staff_actions"], found["audit"]) == (1, 2)


async def test_more_rows_than_one_transaction_takes(ledger: Ledger) -> None:
    count = 2 * upkeep.AT_ONCE + 3
    lines = [{"at": NOON, "who": "w", "what": "x", "subject": "", "detail": {}}] * count
    async with ledger.write() as connection:
        await connection.execute(sa.insert(audit), lines)
    assert await purged(ledger, 1001) == {"audit": count}


async def test_health_tells_the_newest_times(ledger: Ledger, feed: Feed) -> None:
    assert await upkeep.health(ledger, "paused") == upkeep.Health(None, None, False)
    await feed.ok("patron", patron_id="P1", email="a@example.jp", at=(NOON - DAY).isoformat())
    async with ledger.write() as connection:
        await put_flag(connection, "paused", {"why": ""}, NOON + DAY)
    assert await upkeep.health(ledger, "paused") == upkeep.Health(NOON, NOON + DAY, True)


# Backup -------------------------------------------------------------------------------------------


# PostgreSQL has pg_dump
on_sqlite = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.fixture
def database(ledger: Ledger, tmp_path: Path) -> Path:
    assert ledger.dialect == "sqlite"
    return tmp_path / "todoku.db"


def told(copy: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


@on_sqlite
async def test_a_copy_made_while_others_write_shows_one_moment(
    ledger: Ledger, database: Path, tmp_path: Path
) -> None:
    """A writer changes two rows in each transaction; no copy may show one without the other."""
    written = 0
    stop = asyncio.Event()

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            written += 1
            async with ledger.write() as connection:
                for name in ("left", "right"):
                    await put_flag(connection, name, {"n": written, "ballast": "x" * 20_000}, NOON)

    writer = asyncio.create_task(write())
    seen = []
    for number in range(8):
        before = written
        while written < before + 3:
            await asyncio.sleep(0)
        done = await asyncio.to_thread(backup, database, tmp_path / f"copy{number}.db")
        values = [json.loads(row[0])["n"] for row in told(done.file, "SELECT value FROM flags ORDER BY name")]
        assert len(values) == 2
        assert values[0] == values[1]
        seen.append(values[0])
    stop.set()
    await writer
    assert seen == sorted(set(seen)), "the copies show the writer's progress"


@on_sqlite
async def test_a_copy_is_its_owners_alone_and_complete(
    ledger: Ledger, feed: Feed, database: Path, tmp_path: Path
) -> None:
    await collected(ledger, feed)
    target = tmp_path / "copies" / "todoku.db"
    target.parent.mkdir()
    umask = os.umask(0)
    try:
        done = backup(database, target)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target], "no -wal, no -shm, nothing unfinished"
    assert (done.file, done.octets) == (target, target.stat().st_size)
    restored = Ledger.open(f"sqlite+aiosqlite:///{target}")
    try:
        await restored.check_schema()
        assert done.schema == (await restored.schema())[1]
        for table in metadata.sorted_tables:
            assert await rows(restored, table) == await rows(ledger, table), table.name
        async with restored.write() as connection:
            await put_flag(connection, "restored", {}, NOON)
    finally:
        await restored.close()


@on_sqlite
async def test_a_copy_replaces_no_file(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.write_text("mine")
    with pytest.raises(BadInput):
        backup(database, target)
    assert target.read_text() == "mine"


@on_sqlite
async def test_a_copy_of_nothing_is_refused(database: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        backup(tmp_path / "absent.db", tmp_path / "copy")
    assert not (tmp_path / "absent.db").exists()
    assert not (tmp_path / "copy").exists()


@on_sqlite
async def test_a_damaged_database_makes_no_copy(ledger: Ledger, database: Path, tmp_path: Path) -> None:
    async with ledger.write() as connection:
        lines = [{"name": f"n{n:04}", "value": "x" * 500, "at": NOON} for n in range(400)]
        await connection.execute(sa.insert(flags), lines)
    await ledger.close()
    with database.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in range(30 * 4096, size - 4096, 4096):  # behind the schema
            file.seek(page)
            file.write(b"\xff" * 4096)
    with pytest.raises(CopyFailed):
        backup(database, tmp_path / "copy")
    assert not list(tmp_path.glob("*copy*"))
    assert not list(tmp_path.glob(".*"))
