"""What the desk tells of risks, mail services and the breaker, and what an admin does about them."""

import re
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from bounces.mailbox import MailboxState, MailboxStatus
from holds_core.breaker import Limit, Window
from holds_core.ledger import breaker, canaries, silence
from holds_core.ledger.models import audit, notices
from holds_core.ledger.silence import Weighed
from holds_core.provider_watch import Alert, Suspect, Week
from holds_core.silence import Risk
from holds_core.silence_reasons import RiskReason
from mailer.app.alerts import Senses
from mailer.app.running import Running
from mailer.app.supervisor import TaskState
from mailer.app.web.desk import router
from mailer.app.web.desk.admin import plain_value
from mailer.app.web.desk.charts import Bar, stacked
from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.library import MORNING, Library

# -- risks -------------------------------------------------------------------------------------------


async def weigh(library: Library, risks: dict[str, float], *reasons: RiskReason) -> None:
    """The model's word about the patrons' newest notices, for the same reasons."""
    await weigh_each(library, {patron_id: (risk, reasons) for patron_id, risk in risks.items()})


async def weigh_each(library: Library, said: dict[str, tuple[float, tuple[RiskReason, ...]]]) -> None:
    """The model's word about all: what it does not name was not weighed."""
    async with library.ledger.write() as connection:
        found = []
        for patron_id, (risk, reasons) in said.items():
            notice = await connection.scalar(
                sa.select(notices.c.notice_id)
                .where(notices.c.patron_id == patron_id, notices.c.kind == "hold_ready")
                .order_by(notices.c.created_at.desc())
                .limit(1)
            )
            assert notice is not None
            found.append(Weighed(Risk(notice, risk, risk, reasons), library.clock.time + timedelta(days=2)))
    await silence.store(library.services.ledger, found, library.clock.time, case_from=0.3)


def row(page: str, patron_id: str) -> str:
    return page.split(f'id="row-{patron_id}"')[1].split("</li>")[0]


@pytest.mark.parametrize(("risk", "word"), [(0.81, "高い"), (0.3, "やや高い"), (0.04, "低い")])
async def test_a_risk_is_a_word_a_bar_and_a_sentence(
    kato: Staff, library: Library, risk: float, word: str
) -> None:
    await weigh(library, {"1000208": risk}, RiskReason.NO_SIGN, RiskReason.RARE_VISITOR)
    shown = row((await kato.get("/")).text, "1000208")
    assert f"期限切れのおそれ</span> <strong>{word}</strong>" in shown
    assert re.search(rf'risk-fill" width="{risk * 100:.0f}"', shown)
    assert "届いたことを示すものがまだありません" in shown
    assert "ご覧にならない限り" in shown


async def test_a_case_that_was_not_weighed_says_so(kato: Staff) -> None:
    shown = row((await kato.get("/")).text, "1000208")
    assert "計算待ち" in shown
    assert "risk-fill" not in shown


# -- cases that closed by themselves -----------------------------------------------------------------


async def test_what_closed_by_itself_is_listed_with_why(kato: Staff, library: Library) -> None:
    before = (await kato.get("/closed")).text
    assert "1000123" not in before
    await library.event("hold.collected", hold_id="H500")
    page = (await kato.get("/closed")).text
    assert "本多 花子" in page
    assert "貸出済みです" in page
    assert "ひみつの書名" not in page


async def test_what_staff_closed_is_not_on_that_list(kato: Staff) -> None:
    await kato.act("1000967", "works", address="family@example.ne.jp")
    assert "1000967" not in (await kato.get("/closed")).text


async def test_a_branchs_staff_see_their_own_branch_only(visitor: Staff, library: Library) -> None:
    await library.event("hold.collected", hold_id="H500")
    await visitor.log_in("minami")
    assert "1000123" not in (await visitor.get("/closed")).text


# -- mail services -----------------------------------------------------------------------------------

ALERT = Alert(
    raised=MORNING - timedelta(days=1),
    domain="outlook.jp",
    since=MORNING - timedelta(days=6),
    observed=0.1,
    expected=0.8,
    n=40,
    loss_before=0.02,
    loss_now=0.7,
    suspect=Suspect.PROVIDER,
)


async def watched(library: Library) -> None:
    monday = (MORNING - timedelta(days=6)).date()
    async with library.ledger.write() as connection:
        await silence.store_weeks(connection, [Week("outlook.jp", monday, 40, 4, 32.0)])
        await silence.store_alert(connection, ALERT, library.clock.time)


async def test_the_charts_show_what_was_expected_and_the_alerts(kato: Staff, library: Library) -> None:
    await watched(library)
    page = (await kato.get("/traffic")).text
    first = page.split("<figure>")[1]
    assert "Microsoft" in first  # what an alert is about comes first
    assert 'class="mark"' in first
    assert 'class="alarm-sign"' in first
    assert "これまでの割合からの見込み 2" in first  # 32 of 40, for the 2 mails of the week
    assert "40通のうち、届いた手がかりがあるのは4通です" in first
    assert 'class="alarm-sign"' not in "".join(page.split("<figure>")[2:])


async def test_the_system_page_tells_of_a_change_and_of_its_end(kato: Staff, library: Library) -> None:
    assert "届き方の変わったメールサービスはありません" in (await kato.get("/system")).text
    await watched(library)
    assert "変化あり" in (await kato.get("/system")).text
    async with library.ledger.write() as connection:
        await silence.close_alert(connection, "outlook.jp", "recovered", library.clock.time)
    page = (await kato.get("/system")).text
    assert "変化あり" not in page
    assert "11月22日(日)に回復" in page


def test_a_mark_and_an_alarm_are_said_in_words_too() -> None:
    parts = (("confirmed", 2, "到着確認あり"), ("bounced", 1, "不達"))
    drawn = stacked([Bar("11/16", parts, (2.4, "見込み"), "届き方の変化")], "図")
    assert "<title>11/16: 到着確認あり 2、不達 1、見込み 2、届き方の変化</title>" in drawn
    assert "<title>11/9: </title>" in stacked([Bar("11/9", ())], "図")


async def test_the_system_page_tells_where_each_canary_was_found(kato: Staff, library: Library) -> None:
    assert "使っていません" in (await kato.get("/system")).text
    async with library.ledger.write() as connection:
        number = await canaries.begin(connection, "2026-11-22 朝", "torii@gmail.com", library.clock.time)
        assert number is not None
        await canaries.sent(connection, number, library.clock.time)
        await canaries.settle(connection, number, canaries.Fate.JUNK, library.clock.time)
    page = (await kato.get("/system")).text
    assert "torii@gmail.com" in page
    assert "迷惑メールに分類" in page


# -- the breaker -------------------------------------------------------------------------------------


async def stopped(library: Library) -> None:
    """Six refusals in a row that were our fault."""
    limit = Limit()
    window = Window(limit)
    for _ in range(6):
        window.note(library.clock.time, ours=True)
    async with library.ledger.write() as connection:
        await breaker.open_(connection, limit, library.clock.time, window, "policyviolation", "550")


async def test_an_open_breaker_is_shown_and_an_admin_closes_it(
    kato: Staff, admin: Staff, library: Library
) -> None:
    await stopped(library)
    page = (await kato.get("/system")).text
    assert "送信を自動で止めています" in page
    assert "6通が、図書館側の原因で受け取られませんでした" in page
    assert "/system/breaker" not in page
    assert (await kato.post("/system/breaker")).status_code == 403
    await admin.get("/system")
    assert "送信を自動で止めています" not in (await admin.post("/system/breaker")).text
    async with library.ledger.read() as connection:
        assert (await breaker.read(connection)).lets_mail_through
    (said,) = await library.rows(audit, audit.c.what == "breaker.resume")
    assert (said.who, said.detail["before"]) == ("admin", "open")


async def test_closing_the_breaker_needs_the_forms_token(admin: Staff, library: Library) -> None:
    await stopped(library)
    admin.csrf = "0" * 64
    assert (await admin.post("/system/breaker")).status_code == 403
    async with library.ledger.read() as connection:
        assert not (await breaker.read(connection)).lets_mail_through


# -- the process around the pages ----------------------------------------------------------------------


async def test_the_system_page_tells_of_tasks_and_ways_in(library: Library) -> None:
    failed = TaskState("sender", running=True, restarts=2, last_error="OSError", failed_at=MORNING)
    mailbox = MailboxState(MailboxStatus.CONNECTING, MORNING, "login refused", 3)
    running = Running(
        lambda: [failed, TaskState("batches", True)], Senses(lambda: ("::1", 24), lambda: mailbox)
    )
    app = Starlette()
    app.mount("/desk", router(library.services, running))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk.test") as client:
        staff = Staff(client)
        await staff.log_in("kato")
        page = (await staff.get("/system")).text
    assert "OSError" in page
    assert "再起動 2回" in page
    assert "batches" not in page
    # neither way in is configured here: nothing is claimed of them
    assert page.count("使わない") == 2


async def test_feeds_say_how_far_behind_they_are(kato: Staff, library: Library) -> None:
    assert re.search(r"<strong>14時間前</strong>", (await kato.get("/system")).text)


async def test_the_settings_are_shown_to_admins_without_secrets(kato: Staff, admin: Staff) -> None:
    assert (await kato.get("/system/settings")).status_code == 403
    page = (await admin.get("/system/settings")).text
    for said in ("return_path_domain", "bounce.lib.example.jp", "token_keys_file", "とどく市立図書館"):
        assert said in page
    assert "k" * 64 not in page


def test_a_password_in_a_database_url_is_not_shown() -> None:
    assert plain_value("postgresql://todoku:himitsu@db/todoku") == "postgresql://todoku:***@db/todoku"
    assert plain_value("sqlite:////var/lib/todoku.db") == "sqlite:////var/lib/todoku.db"
