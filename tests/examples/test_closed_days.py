"""Both libraries over New Year and other closed days: what waits, what lapses, and what was never told."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from holds_core.calendar import DateRange
from mailer.app import closing
from tests.examples.stage import staged, subjects


async def test_requests_wait_for_the_first_open_morning_of_the_year(tmp_path: Path) -> None:
    """Minamisatsuma closes from 29 December to 3 January; the 4th is a Monday."""
    async with staged("minamisatsuma", tmp_path, "2026-12-28 09:00") as stage:
        await stage.event("patron", patron_id="1", name="坊津 一郎", email="ichiro@mail.example.ne.jp")
        await stage.until("2026-12-28 20:00")
        await stage.event("hold.requested", hold_id="N1", patron_id="1", title="甲", branch="1", via="web")
        await stage.event("hold.requested", hold_id="N2", patron_id="1", title="乙", branch="2", via="web")
        assert await stage.until("2027-01-05 08:29") == []
        assert await stage.states("N1", "N2") == {"N1": "requested", "N2": "requested"}
        mails = await stage.until("2027-01-05 08:40")
        assert subjects(mails) == [("ichiro@mail.example.ne.jp", "予約完了")]
        assert await stage.states("N1", "N2") == {"N1": "placed", "N2": "requested"}
        # the branch is closed on Tuesdays, too
        await stage.until("2027-01-06 08:40")
        assert await stage.states("N1", "N2") == {"N1": "placed", "N2": "placed"}


async def test_a_last_day_in_the_closed_days_is_pushed_off_them(tmp_path: Path) -> None:
    """Tosu: a week after the mail of 24 December would be New Year's Eve."""
    async with staged("tosu", tmp_path, "2026-12-24 09:00", deadline__remind_before="2") as stage:
        await stage.event("patron", patron_id="000100001", name="鳥栖 花子", email="hana@mail.example.ne.jp")
        await stage.event("hold.shelved", hold_id="N1", patron_id="000100001", title="甲", branch="1")
        [mail] = await stage.until("2026-12-24 10:20")
        # the 4th of January is a Monday
        assert "1月5日(火)" in mail.text
        assert (await stage.hold("N1")).deadline == date(2027, 1, 5)
        mails = await stage.until("2027-01-04 20:00")
        assert [subject for _, subject in subjects(mails)] == ["予約資料のお取り置き期限が近づいています"]
        assert "1月5日(火)" in mails[0].text
        assert await stage.states("N1") == {"N1": "ready"}
        await stage.until("2027-01-06 08:10")
        assert await stage.states("N1") == {"N1": "lapsed"}


async def test_a_closing_taken_back_before_anybody_was_told_changes_nothing(tmp_path: Path) -> None:
    async with staged("tosu", tmp_path, "2026-11-24 09:00") as stage:
        await stage.event("patron", patron_id="000100001", name="鳥栖 花子", email="hana@mail.example.ne.jp")
        await stage.event("hold.shelved", hold_id="N1", patron_id="000100001", title="甲", branch="1")
        await stage.until("2026-11-24 22:30")
        assert (await stage.hold("N1")).deadline == date(2026, 12, 1)
        days = DateRange(date(2026, 12, 1), date(2026, 12, 1))
        # at night: the mail about it waits for the morning
        done = await closing.enter(stage.services, "", days, "停電", "kato", tell=True)
        assert (done.moved, len(done.notices)) == (("N1",), 1)
        assert (await stage.hold("N1")).deadline == date(2026, 12, 2)
        back = await closing.take_back(stage.services, done.closure.closure_id, "kato")
        assert (back.back, back.kept) == (("N1",), ())
        assert (await stage.hold("N1")).deadline == date(2026, 12, 1)
        assert await stage.until("2026-11-25 12:00") == []
        # once the mail has left, its day stays
        done = await closing.enter(stage.services, "", days, "停電", "kato", tell=True)
        [mail] = await stage.until("2026-11-25 12:10")
        assert "12月2日(水)" in mail.text
        back = await closing.take_back(stage.services, done.closure.closure_id, "kato")
        assert (back.back, back.kept) == ((), ("N1",))
        assert (await stage.hold("N1")).deadline == date(2026, 12, 2)
