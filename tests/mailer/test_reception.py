"""The reception runs: each branch on its own open days, once, whatever restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from holds_core.errors import BadInput
from holds_core.ledger import decisions, reception_runs
from holds_core.ledger.models import deliveries
from holds_core.ledger.models import reception_runs as runs_table
from tests.examples.stage import Stage, staged

# In the example, branch 1 is closed on Mondays, branch 2 on Mondays and Tuesdays; the run is at 8:30.
SATURDAY = "2026-11-28 12:00"
TUESDAY, WEDNESDAY = "2026-12-01", "2026-12-02"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged("minamisatsuma", tmp_path, SATURDAY) as made:
        await made.event("patron", patron_id="P", email="a@mail.example.ne.jp", name="南 花子")
        yield made


async def ask(stage: Stage, hold_id: str, branch: str = "1", **fields: object) -> None:
    said = {"patron_id": "P", "via": "web", "material": "図書", "title": "書名"} | fields
    await stage.event("hold.requested", hold_id=hold_id, branch=branch, **said)


async def test_each_branch_on_its_own_open_days(stage: Stage) -> None:
    await stage.until("2026-11-30 12:00")  # Monday
    await ask(stage, "H1", "1")
    await ask(stage, "H2", "2")
    await stage.until(f"{TUESDAY} 08:29")
    assert await stage.states("H1", "H2") == {"H1": "requested", "H2": "requested"}
    await stage.until(f"{TUESDAY} 08:31")
    assert await stage.states("H1", "H2") == {"H1": "placed", "H2": "requested"}
    await stage.until(f"{WEDNESDAY} 08:31")
    assert await stage.states("H1", "H2") == {"H1": "placed", "H2": "placed"}


async def test_what_is_asked_after_the_run_waits_for_the_next_one(stage: Stage) -> None:
    await stage.until(f"{TUESDAY} 08:31")
    await ask(stage, "H1")
    await stage.until(f"{TUESDAY} 23:00")
    assert await stage.states("H1") == {"H1": "requested"}
    await stage.until(f"{WEDNESDAY} 08:31")
    assert await stage.states("H1") == {"H1": "placed"}


async def test_a_daemon_that_was_down_makes_up_for_the_morning_and_no_more(stage: Stage) -> None:
    await ask(stage, "H1")
    stage.clock.set(stage.at(f"{TUESDAY} 10:00"))
    await ask(stage, "H2")
    await stage.tick()
    # H2 was asked for after the hour of today's run
    assert await stage.states("H1", "H2") == {"H1": "placed", "H2": "requested"}
    assert await stage.tick() == []


async def test_an_interrupted_run_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception_runs, "AT_ONCE", 2)
    for number in range(5):
        await ask(stage, f"H{number}")
        stage.clock.advance(timedelta(minutes=1))
    stage.clock.set(stage.at("2026-11-29 08:30"))
    take, parts = reception_runs.take, 0

    async def dying(*arguments: object) -> object:
        nonlocal parts
        parts += 1
        if parts == 2:
            raise ConnectionError("the power went")
        return await take(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reception_runs, "take", dying)
    with pytest.raises(ConnectionError):
        await stage.reception().tick()
    first = await stage.states(*(f"H{number}" for number in range(5)))
    assert list(first.values()) == ["placed", "placed", "requested", "requested", "requested"]
    monkeypatch.setattr(reception_runs, "take", take)
    [run] = [item for item in await stage.reception().tick() if item.branch == "1"]
    assert (run.placed, run.finished_at is not None) == (5, True)
    assert [item[:2] for item in await stage.decided()] == [("placed", f"H{number}") for number in range(5)]
    async with stage.services.ledger.read() as connection:
        count = await connection.scalar(sa.select(sa.func.count()).select_from(deliveries))
    assert count == 5, "nobody is told twice"


async def test_the_limit_is_counted_again_in_the_order_of_asking(stage: Stage) -> None:
    for number in range(9):
        await stage.event("hold.placed", hold_id=f"D{number}", patron_id="P", via="desk")
    for name in ("B", "A"):  # by the time, not by the name
        await ask(stage, name)
        stage.clock.advance(timedelta(minutes=1))
    await stage.until("2026-11-29 08:31")
    assert await stage.states("A", "B") == {"A": "refused", "B": "placed"}
    # a cancellation that was asked for before makes room in the same run
    await stage.event("hold.cancel_requested", hold_id="D0", via="web")
    stage.clock.advance(timedelta(minutes=1))
    await ask(stage, "C")
    await stage.until(f"{TUESDAY} 08:31")
    assert await stage.states("C", "D0") == {"C": "placed", "D0": "cancelled"}


async def test_what_the_desk_takes_does_not_wait(stage: Stage) -> None:
    await ask(stage, "H1", via="desk")
    assert await stage.states("H1") == {"H1": "placed"}
    await stage.event("hold.cancel_requested", hold_id="H1", via="desk")
    assert await stage.states("H1") == {"H1": "cancelled"}


async def test_by_hand(stage: Stage) -> None:
    await ask(stage, "H1")
    desk = stage.reception()
    [run] = await desk.by_hand("1", "cli:kato")
    assert (run.placed, run.by) == (1, "cli:kato")
    assert await desk.by_hand("1", "cli:kato") == []
    stage.clock.advance(timedelta(minutes=1))
    await ask(stage, "H2")
    stage.clock.advance(timedelta(minutes=1))
    [run] = await desk.by_hand("1", "cli:kato", again=True)
    assert run.placed == 2, "the day's count goes on"
    assert await stage.states("H2") == {"H2": "placed"}
    async with stage.services.ledger.read() as connection:
        listed = await reception_runs.recent(connection)
    assert [(item.branch, item.placed) for item in listed] == [("1", 2)]


async def test_under_ils_nothing_is_taken(tmp_path: Path) -> None:
    async with staged("minamisatsuma", tmp_path, SATURDAY, library__authority="ils") as stage:
        await stage.event("patron", patron_id="P", email="a@mail.example.ne.jp")
        await ask(stage, "H1", availability="雑誌最新刊")
        await stage.until("2026-11-29 09:00")
        assert await stage.states("H1") == {"H1": "requested"}
        assert await stage.decided() == [("warned", "H1", "newest_issue")]
        with pytest.raises(BadInput, match="authority"):
            await stage.reception().by_hand(None, "cli:kato")


async def test_under_immediate_reception_stragglers_are_taken_when_their_patron_is_known(
    tmp_path: Path,
) -> None:
    more = {"holds__reception": "immediate", "holds__email_required": "[web]"}
    async with staged("minamisatsuma", tmp_path, SATURDAY, **more) as stage:
        await ask(stage, "H1")
        await stage.tick()
        assert await stage.states("H1") == {"H1": "requested"}
        await stage.event("patron", patron_id="P", email="a@mail.example.ne.jp")
        await stage.tick()
        assert await stage.states("H1") == {"H1": "placed"}
        async with stage.services.ledger.read() as connection:
            assert await connection.scalar(sa.select(sa.func.count()).select_from(runs_table)) == 0


async def test_deadlines_become_decisions(stage: Stage) -> None:
    await stage.event("hold.shelved", hold_id="H1", patron_id="P", branch="1")
    await stage.event("hold.shelved", hold_id="H2", patron_id="P", branch="1", deadline="2026-12-20")
    await stage.until("2026-11-28 16:20")
    await stage.tick()
    async with stage.services.ledger.read() as connection:
        rows = await decisions.after(connection, 0, 10)
    # what the library system gave is its own
    assert [(row["decision"], row["hold_id"], row["deadline"]) for row in rows] == [
        ("deadline", "H1", "2026-12-05")
    ]
