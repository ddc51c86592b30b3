"""The page of Tosu City Library, told from beginning to end by its example, and its move of the sender in 2013."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

from bounces.intake import Inbound
from holds_core.calendar import DateRange
from holds_core.config import load
from holds_core.identities import last_change, switch_moment
from holds_core.ledger import campaign, observations
from holds_core.ledger.models import deliveries, evidence
from holds_core.notices import Kind
from holds_core.rulebook import Rulebook
from mailer.app import closing
from tests.examples.stage import EXAMPLES, Mail, Stage, flat, staged, subjects

HANA, JIRO, MIDORI, ICHIRO, MOMO = (
    *("hana@mail.example.ne.jp", "jiro@mail.example.ne.jp", "midori@mail.example.ne.jp"),
    *("ichiro@webmail.example.com", "momoko@mail.example.ne.jp"),
)
OLD, NEW = "yokuyomu3630@library-tosu.jp", "yokuyomu3630@city.tosu.lg.jp"


def test_the_settings_can_be_used_as_they_are() -> None:
    settings = load(EXAMPLES / "tosu.yaml", {})
    assert settings.library.name == "鳥栖市立図書館"
    assert not settings.warnings


def test_the_calendar_is_the_one_that_its_newsletter_printed() -> None:
    calendar = Rulebook.of(load(EXAMPLES / "tosu.yaml", {})).calendar("1")
    october = [date(2024, 10, 1) + timedelta(number) for number in range(31)]
    assert [day.day for day in october if not calendar.is_open(day)] == [3, 7, 15, 21, 28]


async def test_the_page_is_told(tmp_path: Path) -> None:
    async with staged("tosu", tmp_path, "2013-03-14 02:10") as stage:
        await first_night(stage)
        await the_registration_is_confirmed(stage)
        await web_holds_are_placed_at_once(stage)
        await the_librarys_rules_for_the_web(stage)
        await cancelled_at_once(stage)
        await ready_holds_are_told_twice_a_day(stage)
        await a_mail_that_came_back_stops_the_clock(stage)
        await after_a_week_the_hold_lapses(stage)
        await the_move_is_announced(stage)
        await at_midnight_the_sender_changes(stage)
        await what_comes_back_to_the_old_sender(stage)
        await who_went_silent(stage)


async def days_pass(stage: Stage, until: str) -> list[Mail]:
    """Days in which nothing is looked at but what the daemon does at night and with each batch."""
    seen = len(stage.postbox.mails)
    goal = stage.at(until)
    while stage.clock.now() < goal:
        local = stage.clock.now().astimezone(stage.zone)
        day = local.date()
        times = [stage.at(f"{day} {clock}") for clock in ("00:01", "08:01", "10:11", "16:11")]
        following = [time for time in times if time > local] or [stage.at(f"{day + timedelta(1)} 00:01")]
        stage.clock.set(min(goal, following[0]))
        await stage.tick()
    return stage.postbox.mails[seen:]


async def first_night(stage: Stage) -> None:
    """The first lists make no mail."""
    for file in ("riyousha_20130314_0210.csv", "yoyaku_20130314_0210.csv"):
        assert (await stage.snapshot(file)).baseline
    assert await stage.until("2013-03-14 02:20") == []
    assert await stage.states("Y001", "Y010") == {"Y001": "placed", "Y010": "ready"}


async def the_registration_is_confirmed(stage: Stage) -> None:
    """正確に登録されましたら、「登録情報変更のお知らせ」のメールが届きます。"""
    await days_pass(stage, "2013-03-14 10:00")
    await stage.line("web.jsonl", "w-001")
    [mail] = await stage.until("2013-03-14 10:05")
    assert subjects([mail]) == [(HANA, "登録情報変更のお知らせ")]
    assert mail.sender == OLD
    for said in (
        "鳥栖 様",
        OLD,
        "送信専用です。返信は行いません",
        "「利用照会」",
        "「Eメールアドレスの変更」",
    ):
        assert said in mail.text


async def web_holds_are_placed_at_once(stage: Stage) -> None:
    """おおむね10分以内に、図書館から『予約完了』のメールが届きます。"""
    await stage.until("2013-03-14 10:21")
    await stage.line("web.jsonl", "w-002", "w-003")
    assert await stage.states("W101", "W102") == {"W101": "placed", "W102": "placed"}
    assert subjects(await stage.until("2013-03-14 10:30")) == [(HANA, "予約完了")] * 2


async def the_librarys_rules_for_the_web(stage: Stage) -> None:
    """本10点まで、視聴覚資料3点まで。延滞中、貸出中でない資料、メールアドレスのない方はできません。"""
    await stage.until("2013-03-14 11:15")
    await stage.line("web.jsonl", *(f"w-{number:03}" for number in range(4, 14)))
    decided = {hold: (what, reason) for what, hold, reason in await stage.decided()}
    assert decided["W201"] == ("placed", "")  # the tenth, counting nine made at the desk
    assert decided["W202"] == ("refused", "limit")
    assert decided["W301"] == ("refused", "overdue")
    assert decided["W302"] == ("placed", "")  # at the desk
    assert decided["W401"] == ("refused", "email_required")
    assert decided["W501"] == ("refused", "not_on_loan")
    assert [decided[f"W51{number}"][0] for number in range(1, 5)] == ["placed"] * 3 + ["refused"]
    mails = await stage.until("2013-03-14 11:20")
    refused = [mail for mail in mails if mail.subject.startswith("ご予約をお受けできませんでした")]
    assert sorted(mail.to for mail in refused) == sorted([JIRO, MIDORI, ICHIRO, ICHIRO])
    assert not any("拒否" in mail.text for mail in mails)
    said = [flat(mail.text) for mail in refused]
    assert sum("本10点まで(窓口でのお申し込みを含みます)です。" in text for text in said) == 1
    assert sum("視聴覚資料3点まで(窓口でのお申し込みを含みます)です。" in text for text in said) == 1


async def cancelled_at_once(stage: Stage) -> None:
    """『取消する』ボタンをクリックすると完了です。"""
    await stage.line("web.jsonl", "w-014")
    assert await stage.states("W511") == {"W511": "cancelled"}
    assert subjects(await stage.until("2013-03-14 11:30")) == [(ICHIRO, "予約取消完了")]


async def ready_holds_are_told_twice_a_day(stage: Stage) -> None:
    """図書館からのメール送信は1日2回です。取置き期間はメール連絡後1週間です。"""
    # the second volume first: Web予約では、シリーズものを順番に提供することはできません
    for hold_id, patron_id in [("W101", "000100001"), ("W512", "000100005"), ("Y001", "000100002")]:
        await stage.event("hold.shelved", hold_id=hold_id, patron_id=patron_id)
    assert await stage.until("2013-03-14 16:00") == []
    mails = await stage.until("2013-03-14 16:20")
    ready = "予約資料がご用意できました"
    assert sorted(subjects(mails)) == sorted([(HANA, ready), (ICHIRO, ready), (JIRO, ready)])
    [hana] = [mail for mail in mails if mail.to == HANA]
    for said in ("吾輩は猫である 下", "3月21日(木)", "貸出券をお持ちください"):
        assert said in hana.text
    assert "吾輩" not in hana.subject
    assert (await stage.hold("W101")).deadline == date(2013, 3, 21)
    await days_pass(stage, "2013-03-15 12:00")
    await stage.event("hold.collected", hold_id="W101")
    await stage.event("hold.shelved", hold_id="W102", patron_id="000100001")
    # Thursday 28 March would be the last day; it is no first Thursday, and open
    await days_pass(stage, "2013-03-21 16:05")
    assert (await stage.hold("W102")).deadline == date(2013, 3, 22)


async def a_mail_that_came_back_stops_the_clock(stage: Stage) -> None:
    """メールアドレスの設定に間違いがある場合: the library knows, and the hold does not lapse."""
    before = await stage.hold("W512")
    assert (before.deadline, before.clock_stopped_at) == (date(2013, 3, 21), None)
    async with stage.services.ledger.read() as connection:
        number = await connection.scalar(
            sa.select(deliveries.c.delivery_id).where(
                deliveries.c.address == ICHIRO, deliveries.c.kind == Kind.HOLD_READY
            )
        )
    await bounce(stage, number or 0, ICHIRO, "bounce.library-tosu.jp")
    await stage.tick()
    assert (await stage.hold("W512")).clock_stopped_at == stage.clock.now()
    assert "000100005" in await stage.call_list()


async def after_a_week_the_hold_lapses(stage: Stage) -> None:
    """1週間を過ぎると予約の解除をさせて頂きます。"""
    mails = await days_pass(stage, "2013-03-22 08:10")
    assert (JIRO, "予約解除のお知らせ") in subjects(mails)
    states = await stage.states("W102", "W512", "Y001")
    assert states == {"W102": "ready", "W512": "ready", "Y001": "lapsed"}
    assert ("lapsed", "Y001", "") in await stage.decided()
    await days_pass(stage, "2013-03-23 08:10")
    assert (await stage.states("W102"))["W102"] == "lapsed"


async def the_move_is_announced(stage: Stage) -> None:
    """ドメイン指定受信をされている場合は、新しいメールアドレスを受信可能になるようにしてください。"""
    await hana_answers(stage)
    async with stage.services.ledger.write() as connection:
        await campaign.start(connection, date(2013, 4, 1), 2, "test", stage.clock.now())
    mails = await days_pass(stage, "2013-03-31 23:50")
    announced = [mail for mail in mails if mail.subject.startswith("送信元メールアドレス変更")]
    # each address once; the one that refused everything is spared
    assert sorted(mail.to for mail in announced) == sorted([HANA, JIRO, MIDORI, MOMO])
    for mail in announced:
        assert mail.sender == OLD
        for said in (OLD, NEW, "4月1日(月)から", "指定受信"):
            assert said in mail.text
    async with stage.services.ledger.read() as connection:
        [item] = await campaign.listed(connection)
    assert (item.queued, item.ended_why) == (4, "done")


async def hana_answers(stage: Stage) -> None:
    """A sign of life before the change: a mail of hers was answered."""
    async with stage.services.ledger.write() as connection:
        number = await connection.scalar(
            sa.select(deliveries.c.delivery_id).where(
                deliveries.c.address == HANA, deliveries.c.kind == Kind.HOLD_READY
            )
        )
        assert number is not None
    await reply(stage, number, OLD)


async def token_of(stage: Stage, number: int) -> str:
    async with stage.services.ledger.read() as connection:
        token = await connection.scalar(
            sa.select(deliveries.c.token).where(deliveries.c.delivery_id == number)
        )
    assert token is not None
    return str(token)


async def reply(stage: Stage, number: int, to: str) -> None:
    domain = {OLD: "bounce.library-tosu.jp", NEW: "bounce.city.tosu.lg.jp"}[to]
    text = (
        f"From: {HANA}\r\nTo: {to}\r\nSubject: Re\r\nMessage-ID: <r{number}@mail.example.ne.jp>\r\n"
        f"In-Reply-To: <{await token_of(stage, number)}@{domain}>\r\n\r\nThank you, I will come tomorrow.\r\n"
    )
    await come_back(stage, text, HANA, to)


async def bounce(stage: Stage, number: int, address: str, domain: str) -> None:
    """The provider's report (RFC 3464) to the return path."""
    to = f"{await token_of(stage, number)}@{domain}"
    text = (
        f"From: MAILER-DAEMON@provider.example\r\nTo: {to}\r\nSubject: Failure\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n'
        "\r\n--b\r\nContent-Type: text/plain\r\n\r\nfailed\r\n--b\r\nContent-Type: message/delivery-status\r\n"
        f"\r\nReporting-MTA: dns; provider.example\r\n\r\nFinal-Recipient: rfc822; {address}\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\r\n\r\n--b--\r\n"
    )
    await come_back(stage, text, "", to)


async def come_back(stage: Stage, text: str, envelope_from: str, envelope_to: str) -> None:
    mail = Inbound(text.encode(), "lmtp", envelope_from, (envelope_to,), stage.clock.now(), False, "")
    await stage.services.ingest.store(mail)
    await stage.services.ingest.read_all()


async def at_midnight_the_sender_changes(stage: Stage) -> None:
    """(2013年4月1日から) yokuyomu3630@city.tosu.lg.jp"""
    await stage.event("hold.shelved", hold_id="W201", patron_id="000100002")
    await stage.event("hold.shelved", hold_id="W302", patron_id="000100003")
    before = len(stage.postbox.mails)
    await days_pass(stage, "2013-04-02 09:00")
    await stage.event("patron.password_changed", patron_id="000100001")
    await stage.event(
        "hold.requested",
        hold_id="W103",
        patron_id="000100001",
        title="こころ",
        material="図書",
        availability="貸出中",
        via="web",
    )
    await stage.event("hold.shelved", hold_id="W103", patron_id="000100001")
    await days_pass(stage, "2013-04-02 12:00")
    mails = stage.postbox.mails[before:]
    assert {mail.sender for mail in mails} == {NEW}
    [registration] = [mail for mail in mails if mail.subject.startswith("登録情報変更")]
    assert NEW in registration.text
    # sent on Monday the 1st: a week later is a Monday, and pushed off it
    assert (await stage.hold("W201")).deadline == date(2013, 4, 9)


async def what_comes_back_to_the_old_sender(stage: Stage) -> None:
    """Bounces and replies to either sender are understood, for a year and longer."""
    async with stage.services.ledger.read() as connection:
        rows = await connection.execute(
            sa.select(deliveries.c.delivery_id, deliveries.c.kind).where(
                deliveries.c.address == JIRO, deliveries.c.state == "handed_over"
            )
        )
        by_kind = {row.kind: row.delivery_id for row in rows}
    announcement = by_kind[Kind.SENDER_MIGRATION]
    stage.clock.set(stage.at("2014-02-20 12:00"))
    await bounce(stage, announcement, JIRO, "bounce.library-tosu.jp")
    async with stage.services.ledger.read() as connection:
        signs = list(
            await connection.scalars(sa.select(evidence.c.kind).where(evidence.c.delivery_id == announcement))
        )
        finding = await connection.scalar(
            sa.select(deliveries.c.finding).where(deliveries.c.delivery_id == announcement)
        )
    assert ("bounced" in signs, finding) == (True, "bounced")


async def who_went_silent(stage: Stage) -> None:
    """メールが届かなかったことがわからない: the library sees whom its move has cut off."""
    async with stage.services.ledger.write() as connection:
        await observations.windows_passed(connection, stage.clock.now())
    change = last_change(stage.services.settings.sender, date(2013, 4, 2))
    assert change is not None
    switch = switch_moment(change, stage.zone)
    async with stage.services.ledger.read() as connection:
        found = await campaign.silent_since(connection, switch)
    [hana] = [item for item in found if item.address == HANA]
    assert hana.missed >= 1
    # until she writes to the new address
    async with stage.services.ledger.read() as connection:
        number = await connection.scalar(
            sa.select(sa.func.max(deliveries.c.delivery_id)).where(deliveries.c.address == HANA)
        )
    await reply(stage, number or 0, NEW)
    async with stage.services.ledger.read() as connection:
        found = await campaign.silent_since(connection, switch)
    assert HANA not in [item.address for item in found]


async def test_reminders_extensions_and_closings_reach_the_patron(tmp_path: Path) -> None:
    options = {"deadline__remind_before": "2", "deadline__tell_extended": "true"}
    async with staged("tosu", tmp_path, "2013-03-14 02:10", **options) as stage:
        for file in ("riyousha_20130314_0210.csv", "yoyaku_20130314_0210.csv"):
            await stage.snapshot(file)
        await stage.until("2013-03-14 09:50")
        for number in (1, 2):
            await stage.event("hold.shelved", hold_id=f"Y00{number}", patron_id="000100002")
        [ready] = await stage.until("2013-03-14 10:20")
        assert "3月21日(木)" in ready.text
        # two days before, with the morning's batch, and the deadline stays what it was
        mails = await days_pass(stage, "2013-03-19 12:00")
        [reminder] = [mail for mail in mails if mail.to == JIRO]
        assert reminder.subject.startswith("予約資料のお取り置き期限が近づいています")
        assert "3月21日(木)" in reminder.text
        assert (await stage.hold("Y001")).deadline == date(2013, 3, 21)
        await stage.event("hold.extended", hold_id="Y001", deadline="2013-03-23")
        [extended] = await stage.until("2013-03-19 12:10")
        assert subjects([extended]) == [(JIRO, "お取り置き期限変更のお知らせ")]
        assert "3月23日(土)" in extended.text
        await the_boiler_breaks(stage)


async def the_boiler_breaks(stage: Stage) -> None:
    """An unforeseen closing moves the last days that fall into it, and the patron is told why."""
    days = DateRange(date(2013, 3, 21), date(2013, 3, 22))
    done = await closing.enter(stage.services, "", days, "設備の故障", "kato", tell=True)
    assert [(item.hold_id, item.moves_to) for item in done.preview.holds] == [("Y002", date(2013, 3, 23))]
    assert [(slot.key, slot.waits) for slot in done.preview.batches] == [
        (f"2013-03-{day} {name}", False) for day in (21, 22) for name in ("朝", "夕")
    ]
    [told] = await stage.until("2013-03-19 12:20")
    assert subjects([told]) == [(JIRO, "お取り置き期限変更のお知らせ")]
    assert "3月21日(木)から3月22日(金)まで臨時休館するためです。" in told.text
    assert "3月23日(土)" in told.text
    await days_pass(stage, "2013-03-23 20:00")
    assert (await stage.states("Y002"))["Y002"] == "ready"
    await days_pass(stage, "2013-03-24 09:00")
    assert await stage.states("Y001", "Y002") == {"Y001": "lapsed", "Y002": "lapsed"}
