"""操作の記録: every action with who, when, before and after, narrowed, as CSV, without titles or whole addresses."""

import re
from datetime import timedelta
from typing import Any

import pytest

from holds_core.ledger import accounts, trail
from holds_core.ledger.models import audit
from holds_core.ledger.trail import Choice, Entry, Undone
from mailer.app.web.desk import told, words
from mailer.app.web.desk.audit import GROUPS, PAGE, actions_of, group_of
from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.counting import statements
from tests.mailer.desk.library import MORNING, Library
from tests.mailer.desk.test_pages import quarantined, rows_of

JA = told.Voice("ja", {"01": "中央図書館", "02": "南分館"}.get, lambda at: words.moment(at, "ja"))  # type: ignore[arg-type]
EN = told.Voice("en", lambda branch: branch, lambda at: words.moment(at, "en"))


def lines(page: str) -> list[str]:
    """The rows of the table as plain text."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in body.split("</tr>")[:-1]]


async def test_an_action_is_told_with_who_before_and_after(
    kato: Staff, admin: Staff, library: Library
) -> None:
    await kato.open("1000208")
    await kato.act("1000208", "not_reached")
    await kato.act("1000845", "address", new_address="makoto.ito@example.net", note="お電話で確認")
    found = lines((await admin.get("/system/audit")).text)
    corrected = next(line for line in found if "アドレスを訂正" in line)
    assert "加藤 由美" in corrected
    assert "11月22日(日) 9:10" in corrected
    assert "利用者 1000845" in corrected
    assert "ma…@example.jp → から ma…@example.net" in corrected
    assert "お電話で確認" in corrected
    assert "makoto.ito@" not in admin.page
    called = next(line for line in found if "不在" in line)
    assert "対応の状況 未対応 → から 不在・11月23日(月)に再度・電話1回" in called
    assert any("電話番号を表示" in line and "1000208" in line for line in found)
    assert "ひみつの書名" not in admin.page


async def test_what_was_taken_back_is_told_the_other_way_round(kato: Staff, admin: Staff) -> None:
    done = await kato.act("1000208", "reached")
    number = re.search(r"/actions/(\d+)/undo", done.text)
    assert number
    await kato.post(f"/actions/{number[1]}/undo", back="/")
    undone = next(line for line in lines((await admin.get("/system/audit")).text) if "記録を取り消し" in line)
    assert "対応の状況 連絡済み → から 未対応" in undone
    assert "取り消した対応 連絡できた" in undone


async def test_stopping_and_letting_go_on_are_told_with_the_reason(
    kato: Staff, admin: Staff, library: Library
) -> None:
    await kato.post("/stop", why="本文に誤り")
    await admin.get("/")
    await admin.post("/resume")
    found = lines((await admin.get("/system/audit", what="group:sending")).text)
    assert len(found) == 2
    assert "停止(本文に誤り) → から 送信中" in found[0]
    assert "送信中 → から 停止(本文に誤り)" in found[1]


@pytest.mark.parametrize(
    ("query", "whats"),
    [
        ({"who": "mori"}, {"ログイン", "対応: メモ"}),
        ({"what": "case.note"}, {"対応: メモ"}),
        ({"what": "group:case"}, {"対応: メモ", "対応: 連絡できた"}),
        ({"what": "group:user", "who": "kato"}, {"ログイン"}),
        ({"patron": "1000415"}, {"対応: メモ", "電話番号を印刷"}),
        ({"patron": "100041"}, set()),
        ({"from": "2026-11-21", "to": "2026-11-21"}, set()),
        ({"what": "nonsense"}, set()),
        ({"who": "'; drop table audit; --"}, set()),
    ],
)
async def test_the_trail_is_narrowed(
    kato: Staff, mori: Staff, admin: Staff, query: dict[str, str], whats: set[str]
) -> None:
    await kato.act("1000123", "reached")
    await mori.act("1000415", "note", note="来館時に")
    await kato.get("/print")
    await kato.post("/print", back="/")
    page = (await admin.get("/system/audit", **query)).text
    told_here = {words.AUDIT[code][0] for code in words.AUDIT if any(words.AUDIT[code][0] in line for line in lines(page))}  # fmt: skip
    assert whats <= told_here
    assert len(lines(page)) == (len(whats) if whats != {"ログイン"} else 1)


async def test_a_printed_list_is_found_for_each_patron_on_it(kato: Staff, admin: Staff) -> None:
    await kato.get("/print")
    await kato.post("/print", back="/")
    (line,) = lines((await admin.get("/system/audit", patron="1000208")).text)
    assert "電話番号を印刷" in line
    assert re.search(r"人数 \d+名", line)


async def test_the_file_has_the_same_lines_and_is_written_down(
    kato: Staff, admin: Staff, library: Library
) -> None:
    await kato.act("1000845", "address", new_address="makoto.ito@example.net", note="=1+1")
    page = lines((await admin.get("/system/audit")).text)
    answer = await admin.get("/system/audit.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="kiroku_20261024-20261122.csv"'
    sheet = rows_of(answer.content)
    assert len(sheet) == len(page)
    assert sheet[0]["日時"] == "2026-11-22 09:10:00"
    (row,) = [row for row in sheet if row["操作"] == "対応: アドレスを訂正"]
    assert (row["ログイン名"], row["氏名"], row["対象"]) == ("kato", "加藤 由美", "利用者 1000845")
    assert "メールアドレス:ma…@example.jp" in row["変更前"]
    assert "メールアドレス:ma…@example.net" in row["変更後"]
    assert "メモ:=1+1" in row["内容"]
    assert b"makoto.ito@" not in answer.content
    assert b"\xe3\x81\xb2\xe3\x81\xbf\xe3\x81\xa4" not in answer.content  # ひみつ
    (taken,) = await library.rows(audit, audit.c.what == "audit.csv")
    assert (taken.who, taken.detail) == ("admin", {"rows": len(sheet)})


async def test_older_lines_are_a_press_away_and_none_is_shown_twice(admin: Staff, library: Library) -> None:
    async with library.ledger.write() as connection:
        for number in range(PAGE * 2 + 5):
            at = MORNING - timedelta(hours=number)
            await accounts.record(connection, "kato", "mail.read", f"mail:{number}", {}, at)
    seen: list[str] = []
    path = "/system/audit?what=mail.read"
    while path:
        page = (await admin.client.get(f"/desk{path}")).text
        seen += re.findall(r"届いたメール (\d+)", page)
        older = re.search(r'rel="next" href="/desk([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == PAGE * 2 + 5
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    "query",
    [{"from": "gestern"}, {"from": "2026-11-22", "to": "2026-11-01"}, {"from": "1990-01-01"}],
)
async def test_a_period_that_is_none_is_refused(admin: Staff, query: dict[str, str]) -> None:
    for path in ("/system/audit", "/system/audit.csv"):
        assert (await admin.get(path, **query)).status_code == 422


@pytest.mark.parametrize("path", ["/system/audit", "/system/audit.csv"])
async def test_only_admins_read_it(kato: Staff, visitor: Staff, path: str) -> None:
    assert (await kato.get(path)).status_code == 403
    assert (await visitor.get(path)).status_code == 303


async def test_an_admin_reads_it_in_english(admin: Staff, library: Library) -> None:
    await quarantined(library)
    await admin.act("1000845", "address", new_address="makoto.ito@example.net")
    await admin.post("/language", language="en", back="/")
    found = lines((await admin.get("/system/audit")).text)
    assert "mail address ma…@example.jp → to ma…@example.net" in found[0]
    assert "patron 1000845" in found[0]
    assert rows_of((await admin.get("/system/audit.csv")).content)[0]["action"] == "case: Address corrected"


async def test_it_asks_no_more_the_more_there_is(admin: Staff, library: Library) -> None:
    await admin.get("/")
    counts = []
    for _ in range(2):
        with statements(library.ledger) as asked:
            await admin.get("/system/audit")
        counts.append(len(asked))
        for patron in ("1000123", "1000208", "1000415"):
            await admin.act(patron, "note", note="来館時に")
    assert counts[1] <= counts[0] <= 12


# -- one line, as it is read -----------------------------------------------------------------------


def line(what: str, detail: dict[str, Any], subject: str = "") -> Entry:
    return Entry(1, MORNING, "kato", what, subject, detail)


@pytest.mark.parametrize(
    ("what", "detail", "said"),
    [
        ("login", {}, []),
        ("login", {"by": "proxy"}, [("方法", "", "館内の認証")]),
        ("phone.shown", {"take_over": False}, []),
        ("phone.shown", {"take_over": True}, [("引き継ぎ", "", "ほかの職員から")]),
        ("phone.printed", {"patrons": ["1", "2"]}, [("人数", "", "2名")]),
        ("report.csv", {"rows": 0}, [("行数", "", "0件")]),
        ("pause", {"why": "試し", "who": "cli:root", "at": "2026-11-22"}, [("理由", "", "試し")]),
        ("mail.replay", {"state": "quarantined"}, [("結果", "", "判別できず")]),
        ("mail.attach", {"delivery_id": 7}, [("結び付けた送信番号", "", "7")]),
        (
            "breaker.resume",
            {"before": "open", "sent_again": 3},
            [("もう一度送るお知らせ", "", "3通"), ("自動停止の状態", "", "停止中")],
        ),
        (
            "closure.add",
            {"branch": "", "first": "2026-12-24", "last": "2026-12-25", "reason": "停電", "moved": 2},
            [
                ("館", "", "全館"),
                ("最初の日", "", "12月24日(木)"),
                ("最後の日", "", "12月25日(金)"),
                ("理由", "", "停電"),
                ("期限が変わった取り置き", "", "2件"),
            ],
        ),
        (
            "user.add",
            {"role": "staff", "branches": []},
            [("権限", "", "職員"), ("担当館", "", "全館")],
        ),
        (
            "user.change",
            {"before": {"name": "a", "branches": ["01"]}, "after": {"name": "a", "branches": ["01", "02"]}},
            [("担当館", "中央図書館", "中央図書館・南分館")],
        ),
        (
            "case.works",
            {"action": 1, "note": "", "before": {"mark": None}, "after": {"signs": ["x"], "closed": True}},
            [("メールについての記録", "", "1件"), ("要連絡", "未解決", "解決")],
        ),
        # what nobody here knows is counted if it is a number, and never shown as text
        (
            "future.thing",
            {"title": "ひみつの書名", "address": "who@example.jp", "left": 3},
            [("left", "", "3")],
        ),
        ("future.thing", {"before": {"title": "甲"}, "after": {"title": "乙"}}, []),
        ("holidays.import", {"file": "who@example.jp"}, [("ファイル", "", "wh…@example.jp")]),
        ("case.undo", {"action": 99}, []),
        ("forget", {}, []),
    ],
)
def test_a_line_is_read(what: str, detail: dict[str, Any], said: list[tuple[str, str, str]]) -> None:
    found = told.changes(line(what, detail), {}, JA)
    assert [(one.label, one.before, one.after) for one in found] == said
    assert len(told.changes(line(what, detail), {}, EN)) == len(said)


def test_a_correction_that_was_taken_back_shows_both_addresses_by_their_ends() -> None:
    former = [{"address": "kari-1@lib.example.jp", "source": "feed", "provisional": True}]
    own = [{"address": "hanako@example.net", "source": "staff", "provisional": False}]
    undone = Undone("address", MORNING, {"mark": None, "addresses": former}, {"addresses": own})
    (what, step) = told.changes(line("case.undo", {"action": 4}), {4: undone}, JA)
    assert what.after == "アドレスを訂正(11月22日(日) 0:10)"
    assert (step.before, step.after) == ("ha…@example.net", "ka…@lib.example.jp(仮)")


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("patron:1000208", ("利用者 1000208", "1000208")),
        ("user:kato", ("アカウント kato", "")),
        ("sending", ("メールの送信", "")),
        ("mail:12", ("届いたメール 12", "")),
        ("address:hanako@example.jp", ("アドレス ha…@example.jp", "")),
        ("koha", ("koha", "")),
        ("", ("—", "")),
    ],
)
def test_a_subject_is_read(subject: str, said: tuple[str, str]) -> None:
    assert told.subject(line("x", {}, subject), JA) == said


def test_every_action_stands_under_one_heading() -> None:
    assert {group_of(what) for what in words.AUDIT} == set(GROUPS)
    listed = [what for group in GROUPS for what in actions_of(group)]
    assert sorted(listed) == sorted(words.AUDIT)


async def test_a_choice_of_the_ledger(library: Library) -> None:
    async with library.ledger.write() as connection:
        for hour in range(3):
            await accounts.record(
                connection, "kato", "login", "user:kato", {}, MORNING + timedelta(hours=hour)
            )
    async with library.ledger.read() as connection:
        choice = Choice(MORNING, MORNING + timedelta(hours=2), who="kato")
        found = await trail.lines(connection, choice, 10)
        assert [item.at for item in found] == [MORNING + timedelta(hours=1), MORNING]
        assert await trail.count(connection, choice) == 2
        assert await trail.who_did(connection, MORNING, MORNING + timedelta(days=1)) == ["kato"]
