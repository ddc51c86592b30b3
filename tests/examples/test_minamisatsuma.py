"""The page of Minamisatsuma City Library, told from beginning to end by its example."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import sqlalchemy as sa

from holds_core.config import load
from holds_core.holds import LABELS, Hold
from holds_core.ledger import desk_patrons, registrations, story
from holds_core.ledger.models import deliveries, events
from tests.examples.stage import EXAMPLES, Stage, flat, staged, subjects

HANA, JIRO, MIDORI, CHIYO = (f"{name}@mail.example.ne.jp" for name in ("hanako", "jiro", "midori", "chiyo"))
PROVISIONAL = "kari2001@library.minamisatsuma.example.jp"


def test_the_settings_can_be_used_as_they_are() -> None:
    settings = load(EXAMPLES / "minamisatsuma.yaml", {})
    assert settings.library.name == "南さつま市立図書館"
    assert not settings.warnings


async def test_the_page_is_told(tmp_path: Path) -> None:
    async with staged("minamisatsuma", tmp_path, "2026-11-21 02:10") as stage:
        await first_night(stage)
        await provisional_address_is_replaced(stage)
        await requests_wait_for_the_next_open_morning(stage)
        await the_morning_run_places_or_refuses(stage)
        await cancellations_wait_too(stage)
        await what_was_shelved_in_the_night_is_not_cancelled(stage)
        await the_run_after_the_closed_day(stage)
        await ready_holds_are_told_and_wait(stage)
        await who_is_not_mailed(stage)


def shown(state: str) -> str:
    """As the page of one's holds says it."""
    return LABELS[Hold(state)][0]


async def first_night(stage: Stage) -> None:
    """The first lists make no mail. Newly registered patrons have a provisional address."""
    for file in ("riyousha_20261121_0210.csv", "yoyaku_20261121_0210.csv"):
        report = await stage.snapshot(file)
        assert report.baseline
    assert await stage.until("2026-11-21 09:59") == []
    async with stage.services.ledger.read() as connection:
        [waiting] = await registrations.provisional(connection)
    assert (waiting.patron_id, waiting.address, waiting.used_at) == ("2001", PROVISIONAL, None)


async def provisional_address_is_replaced(stage: Stage) -> None:
    """初めてログインした時に必ず変更して下さい。確認のため2回づつ入力し、変更を行ってください。"""
    await stage.until("2026-11-21 10:00")
    await stage.line("web.jsonl", "w-001")
    async with stage.services.ledger.read() as connection:
        [waiting] = await registrations.provisional(connection)
    assert waiting.used_at == stage.at("2026-11-21 10:00")
    await stage.until("2026-11-21 10:06")
    await stage.line("web.jsonl", "w-002", "w-003")
    mails = await stage.until("2026-11-21 10:10")
    assert subjects(mails) == [(HANA, "登録情報変更のお知らせ")] * 2
    assert sum("パスワード" in mail.text for mail in mails) == 1
    async with stage.services.ledger.read() as connection:
        assert await registrations.provisional(connection) == []
        stored = " ".join(map(str, await connection.scalars(sa.select(events.c.payload))))
    assert "assword" not in stored


async def requests_wait_for_the_next_open_morning(stage: Stage) -> None:
    """予約申請した資料は「予約申請中」となっており、翌開館日の朝に図書館で受付処理が行われます。"""
    await stage.until("2026-11-21 11:02")
    report = await stage.line("web.jsonl", *(f"w-{number:03}" for number in range(4, 10)))
    # what the rules would say today is a warning to the form; the morning decides
    assert [str(found.outcome) for found in report.objections] == ["warning", "warning"]
    states = await stage.states("W101", "W102", "W103", "W104", "W105")
    assert {hold: shown(state) for hold, state in states.items()} == {
        "W101": "予約申請中",
        "W102": "予約申請取消",
        "W103": "予約申請中",
        "W104": "予約申請中",
        "W105": "予約申請中",
    }
    assert await stage.until("2026-11-22 08:29") == []


async def the_morning_run_places_or_refuses(stage: Stage) -> None:
    """予約の順番等は、図書館で受付処理を行った日時を基に判断されます。おひとり10冊まで。"""
    mails = await stage.until("2026-11-22 08:40")
    states = await stage.states("W101", "W102", "W103", "W104", "W105")
    assert [shown(state) for state in states.values()] == [
        "予約中",
        "予約取消済み",
        "予約中",
        "予約拒否",
        "予約拒否",
    ]
    assert [item[:2] for item in (await stage.decided()) if item[0] != "warned"] == [
        ("placed", "W101"),
        ("cancelled", "W102"),
        ("placed", "W103"),
        ("refused", "W104"),
        ("refused", "W105"),
    ]
    assert sorted(subjects(mails)) == sorted(
        [
            (HANA, "予約完了"),
            (HANA, "予約取消完了"),
            (JIRO, "予約完了"),
            (JIRO, "ご予約をお受けできませんでした"),
            (CHIYO, "ご予約をお受けできませんでした"),
        ]
    )
    refused = {mail.to: mail.text for mail in mails if "お受けできません" in mail.subject}
    assert "おひとり10冊まで(窓口でのお申し込みを含みます)" in flat(refused[JIRO])
    assert "雑誌の最新号" in refused[CHIYO]
    assert not any("拒否" in mail.text for mail in mails)
    # once a day, whatever starts again
    assert await stage.tick() == []
    assert await stage.reception().by_hand(None, "test") == []


async def cancellations_wait_too(stage: Stage) -> None:
    """予約中のものは「取消申請中」となります。"""
    await stage.until("2026-11-22 15:00")
    await stage.event("hold.cancel_requested", hold_id="W101", via="web")
    await stage.event("hold.cancel_requested", hold_id="W103", via="web")
    states = await stage.states("W101", "W103")
    assert [shown(state) for state in states.values()] == ["取消申請中", "取消申請中"]
    assert await stage.until("2026-11-23 02:20") == []


async def what_was_shelved_in_the_night_is_not_cancelled(stage: Stage) -> None:
    """図書館側で既に取り置いている場合は受付処理時に拒否されることがあります。"""
    await stage.snapshot("riyousha_20261123_0210.csv")
    report = await stage.snapshot("yoyaku_20261123_0210.csv")
    assert report.conflict_count == 0, list(report.lines())
    states = await stage.states("W101", "W103", "Y022")
    assert [shown(state) for state in states.values()] == ["お取り置き", "取消申請中", "予約取消済み"]
    assert await stage.until("2026-11-23 07:50") == [], "no phone rings at night"
    mails = await stage.until("2026-11-23 08:10")
    assert sorted(subjects(mails)) == sorted(
        [(HANA, "予約の取消をお受けできませんでした"), (CHIYO, "予約取消のお知らせ")]
    )
    told = {mail.to: mail.text for mail in mails}
    assert "受取館へ直接ご連絡ください" in told[HANA]
    assert "所在を確認できなくなった" in told[CHIYO]


async def the_run_after_the_closed_day(stage: Stage) -> None:
    """Monday the 23rd is a holiday on which the main library is open; so the next closed day is Tuesday."""
    mails = await stage.until("2026-11-23 08:40")
    assert subjects(mails) == [(JIRO, "予約取消完了")]
    assert (await stage.decided())[-1] == ("cancelled", "W103", "")
    await stage.until("2026-11-23 19:00")
    await stage.event(
        "hold.requested", hold_id="W106", patron_id="2002", title="こころ", branch="1", via="web"
    )
    await stage.until("2026-11-24 12:00")
    assert await stage.states("W106") == {"W106": "requested"}, "closed in place of the holiday"
    mails = await stage.until("2026-11-25 08:40")
    assert (JIRO, "予約完了") in subjects(mails)


async def ready_holds_are_told_and_wait(stage: Stage) -> None:
    """取置が行われた時に連絡用のメールが送信されます。"""
    [mail] = [mail for mail in stage.postbox.mails if mail.to == HANA and "ご用意できました" in mail.subject]
    assert "吾輩は猫である" in mail.text
    assert "吾輩" not in mail.subject
    hold = await stage.hold("W101")
    assert (hold.deadline, hold.deadline_source) == (date(2026, 12, 1), "mail")
    assert ("deadline", "W101", "") in await stage.decided()
    # 既に取置されている資料についてはホームページから取り消しを行うことはできません
    report = await stage.event("hold.cancel_requested", hold_id="W101", via="web")
    [[verdict]] = report.verdicts.values()
    assert verdict.as_json()["reason"] == "already_shelved"
    mails = await stage.until("2026-11-25 08:50")
    assert subjects(mails) == [(HANA, "予約の取消をお受けできませんでした")]
    await stage.event("hold.cancel_requested", hold_id="W101", via="desk")
    assert await stage.states("W101") == {"W101": "cancelled"}


async def who_is_not_mailed(stage: Stage) -> None:
    """連絡方法にて「連絡不要」を選択された場合は、特に連絡は行いません。"""
    calls = await stage.call_list()
    assert calls.get("2004") == ["contact_phone"]
    assert "2003" not in calls
    hold = await stage.hold("Y020")
    assert (hold.state, hold.deadline, hold.deadline_source) == ("ready", date(2026, 12, 1), "shelf")
    async with stage.services.ledger.read() as connection:
        page = await desk_patrons.page(connection, "2003")
        told = await connection.scalar(
            sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.patron_id == "2003")
        )
        moments = (await story.tell(connection, "hold:Y020")).moments
    assert [item.hold_id for item in page.holds] == ["Y020"]
    assert (page.case_id, told) == (None, 0)
    assert "hold.ready" in [moment.type for moment in moments]
    assert not [mail for mail in stage.postbox.mails if mail.to == PROVISIONAL]
