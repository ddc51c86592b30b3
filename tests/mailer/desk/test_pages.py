"""The patron's page, the look-up, the report and its files, the quarantine, mail traffic, the system pages."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest

from holds_core.ledger import inbox, queries
from holds_core.ledger.models import audit, evidence, inbound
from holds_core.notices import Kind
from mailer.app.web.desk.sheets import as_csv
from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.counting import statements
from tests.mailer.desk.library import Library

# -- one patron ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1000208", ["1000208"]),
        ("佐々木", ["1000208"]),
        ("ささき", ["1000208"]),
        ("ササキ　イチ", ["1000208"]),
        ("emily", ["1000377"]),
        ("Family@Example.ne.jp", ["1000951", "1000967"]),
        ("100095", ["1000951"]),
        ("%", []),
        ("_", []),
        ("'; drop table patrons; --", []),
    ],
)
async def test_any_patron_is_found_case_or_not(kato: Staff, text: str, found: list[str]) -> None:
    page = (await kato.get("/patrons", q=text)).text
    assert sorted(re.findall(r'href="/desk/patrons/(\d+)"', page)) == found


async def test_the_page_tells_the_story_without_titles(kato: Staff) -> None:
    page = (await kato.get("/patrons/1000123")).text
    for said in (
        "本多 花子",
        "取置のお知らせが不達でした",
        "送信処理済み",
        "250 2.0.0 Ok: queued as 4F1A2",
        "不達の通知が戻りました",
        "受信者のメールボックスがいっぱいです",
        "要連絡になりました",
        "不達の疑い",
        "予約番号 H500",
    ):
        assert said in page
    assert "ひみつの書名" not in page


async def test_what_is_no_longer_on_the_shelf_is_not_listed(kato: Staff) -> None:
    """What a patron has read before is nobody's business."""
    page = (await kato.get("/patrons/1001020")).text
    assert "H506" not in page
    assert "要連絡ではありません" in page


async def test_others_with_the_same_address_are_named(kato: Staff) -> None:
    page = (await kato.get("/patrons/1000951")).text
    assert "同じアドレスの利用者" in page
    assert "/desk/patrons/1000967" in page


async def test_an_unknown_patron_is_a_page_that_says_so(kato: Staff) -> None:
    answer = await kato.get("/patrons/9999999")
    assert answer.status_code == 404
    assert "見つかりません" in answer.text


async def test_the_mails_text_has_neither_titles_nor_the_patrons_link(kato: Staff) -> None:
    page = (await kato.get("/patrons/1000123")).text
    link = re.search(r"/desk(/mails/\d+/text)", page)
    assert link
    text = (await kato.get(link[1])).text
    assert "本多" in text
    assert "ひみつの書名" not in text
    assert "kakunin.lib.example.jp" not in text


async def test_a_raw_report_is_shown_on_request_and_written_down(kato: Staff, library: Library) -> None:
    await kato.get("/patrons/1000123")
    number = re.search(r"/inbound/(\d+)/raw", kato.page)
    assert number
    assert (await kato.get(f"/inbound/{number[1]}/raw")).status_code == 405
    assert "report about 1000123" in (await kato.post(f"/inbound/{number[1]}/raw")).text
    assert len(await library.rows(audit, audit.c.what == "mail.read")) == 1


async def test_what_patrons_typed_is_text_and_nothing_else(kato: Staff, library: Library) -> None:
    await library.patron("666", "<script>alert(1)</script>", "<b>", '"><img src=x>@example.jp')
    await library.shelve("H666", "666")
    for path in ("/", "/patrons/666", "/patrons?q=666", "/report", "/print"):
        page = (await kato.client.get(f"/desk{path}")).text
        assert "<script>alert" not in page
        assert "<img" not in page
    assert "&lt;script&gt;" in (await kato.get("/")).text


# -- the report ------------------------------------------------------------------------------------


def rows_of(content: bytes) -> list[dict[str, str]]:
    assert content.startswith(b"\xef\xbb\xbf")
    text = content.decode("utf-8-sig")
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(io.StringIO(text)))


async def test_the_report_is_the_same_on_the_page_and_in_its_files(kato: Staff, library: Library) -> None:
    page = (await kato.get("/report")).text
    lines = json.loads((await kato.get("/report.json")).content)
    sheet = rows_of((await kato.get("/report.csv")).content)
    assert f"<b>{len(lines)}</b>通" in page
    assert [row["通知番号"] for row in sheet] == [line["notice_id"] for line in lines]
    assert {line["patron_id"] for line in lines} == set(re.findall(r"/desk/patrons/(\d+)", page))
    (first,) = [row for row in sheet if row["利用者番号"] == "1000123"]
    assert (first["到着の状況"], first["原因の所在"], first["取置期限"]) == ("不達", "利用者側", "2026-11-23")
    assert [row.what for row in await library.rows(audit, audit.c.subject == "report")] == [
        "report.json",
        "report.csv",
    ]


@pytest.mark.parametrize(
    ("query", "patrons"),
    [
        ({"branch": "02"}, {"1000208", "1000415", "1000533"}),
        ({"provider": "NTT docomo"}, {"1000123"}),
        ({"reason": "userunknown"}, {"1000845", "1000951"}),
        ({"from": "2026-11-20", "to": "2026-11-22"}, {"1000533", "1000619", "1000845", "1000967"}),
        ({"from": "2026-10-01", "to": "2026-10-31"}, set()),
    ],
)
async def test_the_report_is_narrowed(kato: Staff, query: dict[str, str], patrons: set[str]) -> None:
    lines = json.loads((await kato.get("/report.json", **query)).content)
    assert {line["patron_id"] for line in lines} == patrons


@pytest.mark.parametrize("query", [{"from": "gestern"}, {"from": "2026-11-22", "to": "2026-11-01"}])
async def test_a_period_that_is_none_is_refused(kato: Staff, query: dict[str, str]) -> None:
    assert (await kato.get("/report", **query)).status_code == 422


@pytest.mark.parametrize(
    "said",
    ["=1+1", "+81", "-1", "@SUM(A1)", "\t=1", " =1", "＝1", "\r=1", '=HYPERLINK("http://x")', "a\n=1"],
)
def test_no_cell_is_ever_a_formula(said: str) -> None:
    (row,) = rows_of(as_csv(["x"], [[said]]))
    assert row["x"].lstrip(" \u3000")[0] not in "=+-@\t\r＝＋－＠"
    assert "\n" not in row["x"]


def test_a_cell_keeps_its_commas_quotes_and_kanji() -> None:
    (row,) = rows_of(as_csv(["氏名"], [['長曽我部,"弥右衛門"太郎 〓𠮷']]))
    assert row["氏名"] == '長曽我部,"弥右衛門"太郎 〓𠮷'


# -- quarantine ------------------------------------------------------------------------------------

BOUNCE = b"""From: MAILER-DAEMON@mx.example.jp\r
To: bounce@bounce.lib.example.jp\r
Subject: =?utf-8?B?6YWN5L+h5LiN6IO9?=\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r
\r
--b\r
Content-Type: text/plain\r
\r
The mail could not be delivered.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.jp\r
\r
Final-Recipient: rfc822; someone@elsewhere.example\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 User unknown\r
--b--\r
"""


async def quarantined(library: Library, raw: bytes = BOUNCE) -> int:
    async with library.ledger.write() as connection:
        await inbox.store(
            connection,
            raw=raw,
            source="lmtp",
            envelope_from="",
            envelope_to=["bounce@bounce.lib.example.jp"],
            received_at=library.clock.now(),
        )
    await library.services.ingest.read_all()
    (row,) = await library.rows(inbound, inbound.c.state == "quarantined")
    return int(row.inbound_id)


async def test_quarantine_says_what_it_is_and_why(kato: Staff, library: Library) -> None:
    number = await quarantined(library)
    page = (await kato.get("/quarantine")).text
    assert "配信不能" in page
    assert "手がかりがありません" in page
    assert f"/quarantine/{number}/replay" not in page
    for what in ("replay", "dismiss", "attach"):
        assert (await kato.post(f"/quarantine/{number}/{what}")).status_code == 403
    assert (await kato.post(f"/inbound/{number}/raw")).status_code == 403


async def test_an_admin_attaches_a_mail_by_hand(admin: Staff, library: Library) -> None:
    number = await quarantined(library)
    await admin.get("/quarantine")
    assert (await admin.post(f"/quarantine/{number}/attach", delivery="9999")).status_code == 422
    assert (await admin.post(f"/quarantine/{number}/attach", delivery="x")).status_code == 422
    before = len(await library.rows(evidence))
    # the number is the one that the patron's page shows
    shown = re.search(r"送信番号 (\d+)", (await admin.get("/patrons/1000123")).text)
    assert shown
    assert "取り込みました" in (await admin.post(f"/quarantine/{number}/attach", delivery=shown[1])).text
    assert len(await library.rows(evidence)) == before + 1
    (row,) = await library.rows(inbound, inbound.c.inbound_id == number)
    assert (row.state, row.delivery_id, row.why) == ("used", int(shown[1]), "attached by admin")


async def test_an_admin_reads_again_and_puts_away(admin: Staff, library: Library) -> None:
    number = await quarantined(library)
    await admin.get("/quarantine")
    assert "判別できませんでした" in (await admin.post(f"/quarantine/{number}/replay")).text
    assert "User unknown" in (await admin.post(f"/inbound/{number}/raw")).text
    await admin.get("/quarantine")
    await admin.post(f"/quarantine/{number}/dismiss")
    assert "判別できないメールはありません" in (await admin.get("/quarantine")).text
    assert (await admin.post(f"/quarantine/{number}/dismiss")).status_code == 409
    whats = [row.what for row in await library.rows(audit, audit.c.subject == f"mail:{number}")]
    assert whats == ["mail.replay", "mail.read", "mail.dismiss"]


# -- traffic and system ----------------------------------------------------------------------------


async def test_traffic_counts_what_is_in_the_ledger(kato: Staff, library: Library) -> None:
    await library.shelve("H700", "1000377")
    page = (await kato.get("/traffic")).text
    assert "<b>1</b>次の便を待つ" in page
    assert "7 / 7" in page
    assert "NTT docomo" in page
    assert page.count('role="img"') >= 5
    part = (await kato.get("/traffic/now")).text
    assert "<b>1</b>次の便を待つ" in part
    assert "<html" not in part


async def test_the_system_page_says_how_things_stand(kato: Staff, admin: Staff) -> None:
    page = (await kato.get("/system")).text
    for said in ("127.0.0.1:2525", "sqlite", "0001", "11月21日(土) 19:10"):
        assert said in page
    for path in ("/system/accounts", "/system/audit"):
        assert (await kato.get(path)).status_code == 403
    await admin.get("/system/accounts")
    assert "南 さくら" in admin.page
    assert (await admin.post("/system/accounts/admin/disable")).status_code == 422
    await admin.post("/system/accounts/kato/disable")
    assert (await kato.get("/")).status_code == 303
    assert "アカウントを停止" in (await admin.get("/system/audit")).text


async def test_held_notices_wait_for_an_admin(kato: Staff, admin: Staff, library: Library) -> None:
    from holds_core.ledger import outbox
    from holds_core.ledger.models import deliveries

    await library.event("patron.email_changed", patron_id="1000377", email="emily@example.net")
    owed = await library.rows(deliveries, deliveries.c.kind == Kind.REGISTRATION_CHANGED)
    async with library.ledger.write() as connection:
        await outbox.hold_back(connection, [row.notice_id for row in owed])
    assert "1通を保留しています" in (await kato.get("/system")).text
    assert (await kato.post("/system/release")).status_code == 403
    await admin.get("/system")
    assert "保留しています" not in (await admin.post("/system/release")).text


@pytest.mark.parametrize("kind", list(Kind))
async def test_every_template_has_a_preview(kato: Staff, library: Library, kind: Kind) -> None:
    for language in library.services.renderer.languages(kind):
        answer = await kato.get(f"/system/templates/{kind}/{language}")
        assert answer.status_code == 200
        assert "図書館" in answer.text or "Library" in answer.text
    assert (await kato.get(f"/system/templates/{kind}/xx")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/print", "/patrons", "/patrons/1000208", "/patrons/1000208/resend", "/mails/1/text"),
        *("/report", "/report/print", "/unsynced", "/provisional", "/quarantine", "/traffic", "/stop"),
        *("/slips", "/closures", "/shelf", "/closed", "/password", "/system", "/system/templates"),
        *("/system/templates/hold_ready/en", "/system/accounts", "/system/accounts/kato", "/system/audit"),
    ],
)
async def test_every_page_exists_in_english_without_a_word_of_japanese_frame(
    admin: Staff, library: Library, path: str
) -> None:
    await library.patron("2000101", "田中 一", "", "kari-2000101@lib.example.jp", provisional=True)
    await admin.act("1000845", "not_reached")
    await admin.post("/language", language="en", back="/")
    answer = await admin.get(path)
    assert answer.status_code == 200
    frame = re.sub(
        r'(?s)<pre.*?</pre>|<p class="letter-subject">.*?</p>|<button[^>]*lang="ja".*?</button>|<span lang="ja">.*?</span>',
        "",
        answer.text,
    )
    left = set(re.findall(r"[ぁ-ん]{2,}", frame))
    assert left <= {"さくら", "みどり"}, left  # given names


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/", 14),
        ("/?view=all&branch=01&q=0", 14),
        ("/print", 11),
        ("/closed", 9),
        ("/patrons?q=1000", 11),
        ("/patrons/1000208", 26),
        ("/patrons/1000208/resend", 18),
        ("/mails/1/text", 12),
        ("/report", 9),
        ("/report?from=2026-11-10&to=2026-11-20", 10),
        ("/report/print", 9),
        ("/report.json", 8),
        ("/unsynced", 8),
        ("/provisional", 10),
        ("/closures", 8),
        ("/shelf", 8),
        ("/slips", 8),
        ("/password", 6),
        ("/quarantine", 8),
        ("/traffic", 22),
        ("/traffic/now", 16),
        ("/system", 27),
        ("/system/templates", 6),
        ("/stop", 6),
    ],
)
async def test_a_page_asks_the_ledger_no_more_the_more_people_are_on_it(
    kato: Staff, library: Library, path: str, most: int
) -> None:
    """Questions per page are counted, BEGIN included, with nine cases and with thirty more."""
    await kato.get("/")  # the session's own minute is written down
    with statements(library.ledger) as asked:
        assert (await kato.client.get(f"/desk{path}")).status_code == 200
    first = len(asked)
    for number in range(30):
        await library.patron(f"20{number:02}", "図書 花子", "トショ ハナコ", "")
        await library.shelve(f"H2{number:03}", f"20{number:02}")
    with statements(library.ledger) as asked:
        await kato.client.get(f"/desk{path}")
    assert len(asked) <= first <= most


@pytest.mark.parametrize("back", [0, 1, 3, 7, 20])
async def test_the_report_of_now_is_the_one_drawn_from_the_evidence(library: Library, back: int) -> None:
    """What is stored and what the evidence says are one, whatever the period."""
    now = library.clock.time
    async with library.ledger.read() as connection:
        since = now - timedelta(days=back)
        stored = await queries.undelivered(connection, now, since, current=True)
        drawn = await queries.undelivered(connection, now, since)
    assert stored == drawn
    assert bool(stored) is (back >= 3)
