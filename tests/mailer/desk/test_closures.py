"""臨時休館 at the desk: whom it touches, who may enter it, and that it counts at once."""

from __future__ import annotations

from datetime import date, timedelta

from holds_core.ledger.models import audit, deliveries, holds
from holds_core.notices import Kind
from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.library import Library


async def _shelved(library: Library) -> date:
    """A deadline of some hold on the shelf at the Central Library whose patron gets mail."""
    rows = await library.rows(
        holds, holds.c.state == "ready", holds.c.branch == "01", holds.c.deadline.is_not(None)
    )
    deadline: date = min(row.deadline for row in rows if row.deadline_source == "mail")
    return deadline


async def test_an_admin_sees_whom_it_touches_and_enters_it(admin: Staff, library: Library) -> None:
    day = await _shelved(library)
    before = await library.rows(
        holds, holds.c.deadline == day, holds.c.state == "ready", holds.c.branch == "01"
    )
    asked = {"branch": "01", "first": day.isoformat(), "last": "", "reason": "停電のため"}
    shown = await admin.get("/closures", **asked)
    assert shown.status_code == 200
    for row in before:
        assert row.hold_id in shown.text
    assert library.services.rulebook.calendar("01").is_open(day)  # looking changes nothing
    done = await admin.post("/closures", **asked, tell="yes")
    assert "停電のため" in done.text
    after = [row for row in await library.rows(holds) if row.hold_id in {old.hold_id for old in before}]
    assert after
    assert all(row.deadline > day for row in after if row.deadline_source == "mail")
    assert await library.rows(deliveries, deliveries.c.kind == Kind.DEADLINE_CHANGED)
    assert not library.services.rulebook.calendar("01").is_open(day)
    assert library.services.rulebook.calendar("02").is_open(day) or day.weekday() == 1
    [line] = await library.rows(audit, audit.c.what == "closure.add")
    assert (line.who, line.detail["reason"]) == ("admin", "停電のため")
    again = await admin.post("/closures", **asked)
    assert again.status_code == 409


async def test_an_admin_takes_it_back(admin: Staff, library: Library) -> None:
    day = date(2026, 12, 24)
    await admin.get("/closures")
    await admin.post("/closures", branch="*", first=day.isoformat(), last=(day + timedelta(1)).isoformat())
    assert not library.services.rulebook.calendar("02").is_open(day + timedelta(1))
    page = await admin.get("/closures")
    assert "全館" in page.text
    assert "12月24日(木)〜12月25日(金)" in page.text
    await admin.post("/closures/1/remove")
    assert library.services.rulebook.calendar("02").is_open(day + timedelta(1))
    assert [row.what for row in await library.rows(audit) if row.what.startswith("closure")] == [
        "closure.add",
        "closure.remove",
    ]
    assert (await admin.post("/closures/1/remove")).status_code == 409


async def test_other_staff_look_and_enter_nothing(kato: Staff, library: Library) -> None:
    day = await _shelved(library)
    shown = await kato.get("/closures", branch="*", first=day.isoformat())
    assert shown.status_code == 200
    assert "登録は管理者が行います" in shown.text
    assert (await kato.post("/closures", branch="*", first=day.isoformat())).status_code == 403
    assert library.services.rulebook.calendar("01").is_open(day)


async def test_days_that_cannot_be_meant(admin: Staff) -> None:
    for values in (
        {"branch": "01", "first": "2026-12-24", "last": "2026-12-23"},
        {"branch": "01", "first": "2020-01-01"},
        {"branch": "99", "first": "2026-12-24"},
        {"branch": "", "first": "2026-12-24"},
        {"branch": "01", "first": "明日"},
    ):
        answer = await admin.get("/closures", **values)
        assert answer.status_code == 422, values


async def test_lapsed_holds_are_listed_for_the_shelf(kato: Staff, library: Library) -> None:
    [row, *_] = await library.rows(holds, holds.c.state == "ready", holds.c.branch == "01")
    assert row.hold_id not in (await kato.get("/shelf")).text
    await library.event("hold.lapsed", hold_id=row.hold_id)
    page = await kato.get("/shelf")
    assert row.hold_id in page.text
    assert "ひみつの書名" not in page.text
    library.clock.time += timedelta(days=15)
    assert row.hold_id not in (await kato.get("/shelf")).text


async def test_under_ils_staff_are_told_to_extend_there(kato: Staff, library: Library) -> None:
    await library.bounce("1000208")
    page = await kato.get("/patrons/1000208")
    assert "図書館システムで期限を延長してください" in page.text
