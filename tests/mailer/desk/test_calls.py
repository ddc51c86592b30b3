"""今日の連絡: who is on it, in which order, what a row shows, what the buttons do, and how it is taken back."""

import re
from datetime import timedelta

import pytest

from holds_core.ledger import desk_mail
from holds_core.ledger.models import addresses, audit, case_actions, cases, deliveries, evidence
from tests.mailer.desk.conftest import Staff, browser
from tests.mailer.desk.library import Library

ALL = ["1000123", "1000208", "1000415", "1000533", "1000619", "1000702", "1000845", "1000951", "1000967"]


def listed(page: str) -> list[str]:
    return re.findall(r'id="row-([^"]+)"', page)


def heaps(page: str) -> list[int]:
    return [int(count) for count in re.findall(r"<b>(\d+)</b></a>", page)]


async def shown(staff: Staff, **query: str) -> list[str]:
    return listed((await staff.get("/", **query)).text)


# -- the list --------------------------------------------------------------------------------------


async def test_everyone_who_needs_a_call_is_on_it_the_most_urgent_first(kato: Staff) -> None:
    page = (await kato.get("/")).text
    assert sorted(listed(page)) == ALL
    # tomorrow is the last day: the one with three holds, then mail that came back
    assert listed(page)[:2] == ["1000208", "1000951"]
    # there is time for these: nothing was sent to one, mail to the other came back
    assert listed(page).index("1000845") > listed(page).index("1000123")
    assert "データ 11月21日(土) 19:10 現在" in page
    assert "あと1日" in page
    assert "11月23日(月)" in page


async def test_the_list_shows_no_title_and_no_phone_number(kato: Staff) -> None:
    for path in ("/", "/print", "/report", "/patrons?q=100"):
        page = (await kato.client.get(f"/desk{path}")).text
        assert "ひみつの書名" not in page
        assert not re.search(r"03-5550-01[3-9]\d|090-0000", page)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"branch": "02"}, ["1000208", "1000415", "1000533"]),
        ({"reason": "no_address"}, ["1000533"]),
        ({"reason": "bounced"}, ["1000123", "1000845", "1000951"]),
        ({"provider": "Apple"}, ["1000702"]),
        ({"q": "長曽我部"}, ["1000951", "1000967"]),
        ({"q": "ちょうそかべ やえもん"}, ["1000951"]),
        ({"q": "ﾁｮｳｿｶﾍﾞ"}, ["1000951", "1000967"]),
        ({"q": "1000533"}, ["1000533"]),
        ({"q": "1000533", "branch": "01"}, []),
        ({"view": "later"}, []),
        ({"view": "all"}, ALL),
        ({"view": "nonsense", "page": "999999"}, ALL),
    ],
)
async def test_the_list_is_narrowed(kato: Staff, query: dict[str, str], expected: list[str]) -> None:
    assert sorted(await shown(kato, **query)) == expected


async def test_the_counts_add_up_whatever_was_done(kato: Staff) -> None:
    await kato.act("1000123", "reached")
    await kato.act("1000208", "not_reached")
    await kato.act("1000702", "wrong_number")
    page = (await kato.get("/")).text
    today, later, done, everything = heaps(page)
    assert (today, later, done, everything) == (6, 2, 1, 9)
    assert len(listed(page)) == today


async def test_an_empty_list_says_so_kindly(kato: Staff, library: Library) -> None:
    for number, patron in enumerate(ALL):
        await kato.act(patron, "reached", note=str(number))
    assert "きょう連絡が必要な方はいません" in (await kato.get("/")).text
    assert "条件に合う利用者はいません" in (await kato.get("/", q="だれもいない")).text


async def test_an_account_of_one_branch_sees_only_its_patrons(library: Library) -> None:
    async with browser(library) as client:
        minami = Staff(client)
        await minami.log_in("minami")
        assert sorted(await shown(minami)) == ["1000208", "1000415", "1000533"]
        assert heaps(minami.page)[-1] == 3
        assert (await minami.get("/patrons/1000123")).status_code == 403
        assert (await minami.post("/patrons/1000123/open")).status_code == 403
        assert (await minami.post("/patrons/1000123/act", kind="reached")).status_code == 403
        assert "1000123" not in (await minami.get("/report")).text
        assert "1000123" not in (await minami.get("/report.csv")).text
        assert "1000123" not in (await minami.get("/patrons", q="ホンダ")).text
        assert "1000123" not in (await minami.get("/print")).text


# -- opening a row ---------------------------------------------------------------------------------


async def test_opening_a_row_shows_the_numbers_and_is_written_down(kato: Staff, library: Library) -> None:
    page = (await kato.open("1000208")).text
    assert "090-0000-0142" in page
    assert "夜は携帯へ" in page
    assert "中央図書館に2点、南分館に1点" in page
    assert "ひみつの書名" not in page
    (entry,) = await library.rows(audit, audit.c.what == "phone.shown")
    assert (entry.who, entry.subject) == ("kato", "patron:1000208")


async def test_a_link_alone_shows_no_number(kato: Staff) -> None:
    assert "090-0000-0142" not in (await kato.get("/", open="1000208")).text
    assert "090-0000-0142" not in (await kato.get("/patrons/1000208")).text


async def test_colleagues_see_each_others_claims_until_they_run_out(
    kato: Staff, mori: Staff, library: Library
) -> None:
    await kato.open("1000208")
    assert "加藤 由美さんが対応中" in (await mori.get("/")).text
    assert "090-0000-0142" not in (await mori.open("1000208")).text
    taken = await mori.post("/patrons/1000208/open", back="/", take="1")
    assert "090-0000-0142" in taken.text
    assert "090-0000-0142" not in (await kato.get("/", open="1000208")).text
    library.clock.time += timedelta(minutes=11)
    assert "さんが対応中" not in (await kato.get("/")).text


# -- the buttons -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "view", "says"),
    [
        ("reached", "done", "連絡済み"),
        # Tuesday is closed: the open days after this Sunday are Monday and Wednesday
        ("not_reached", "later", "11月23日(月)に再度"),
        ("message", "later", "11月25日(水)に再度"),
        ("wrong_number", "later", "郵便・来館時に"),
    ],
)
async def test_the_outcome_of_a_call_moves_the_case(kato: Staff, kind: str, view: str, says: str) -> None:
    page = await kato.act("1000208", kind, note="午後に")
    assert "を記録しました" in page.text
    assert "1000208" not in await shown(kato)
    assert await shown(kato, view=view) == ["1000208"]
    assert says in kato.page
    assert "午後に" in (await kato.get("/patrons/1000208")).text


async def test_who_was_not_reached_is_back_on_the_next_open_day_up_to_a_limit(
    kato: Staff, library: Library
) -> None:
    for days in (2, 1):
        await kato.act("1000845", "not_reached")
        assert "1000845" not in await shown(kato)
        library.clock.time += timedelta(days=days)
        await kato.log_in("kato")
        assert "1000845" in await shown(kato)
    await kato.act("1000845", "not_reached")
    library.clock.time += timedelta(days=2)
    await kato.log_in("kato")
    assert "1000845" not in await shown(kato)
    assert "1000845" in await shown(kato, view="later")
    assert "郵便などをご検討ください" in kato.page
    assert "来館時に伝える" in kato.page  # three days are left: a letter would come too late


async def test_who_was_reached_is_back_only_with_news(kato: Staff, library: Library) -> None:
    await kato.act("1000951", "reached")
    library.clock.time += timedelta(days=3)
    await kato.log_in("kato")
    assert "1000951" not in await shown(kato)
    await library.shelve("H900", "1000951")
    assert "1000951" in await shown(kato)
    assert "その後新しい動きがありました" in kato.page


async def test_a_case_is_put_off_until_a_day(kato: Staff, library: Library) -> None:
    assert (await kato.act("1000533", "ignore", until="2026-11-22")).status_code == 422
    assert (await kato.act("1000533", "ignore", until="いつか")).status_code == 422
    await kato.act("1000533", "ignore", until="2026-11-26")
    assert await shown(kato, view="later") == ["1000533"]
    library.clock.time += timedelta(days=4)
    await kato.log_in("kato")
    assert "1000533" in await shown(kato)


async def test_mail_works_closes_the_case_by_evidence(kato: Staff, library: Library) -> None:
    await kato.act("1000208", "works", address="ichiro@outlook.jp")
    assert "1000208" not in await shown(kato, view="all")
    (row,) = await library.rows(addresses, addresses.c.address_key == "ichiro@outlook.jp")
    assert (row.standing, row.proven) == ("reachable", True)
    found = {row.finding for row in await library.rows(deliveries, deliveries.c.patron_id == "1000208")}
    assert found == {"confirmed"}


async def test_never_got_it_makes_the_address_doubtful(kato: Staff, library: Library) -> None:
    await kato.act("1000702", "never_got", address="sakura@icloud.com")
    (row,) = await library.rows(addresses, addresses.c.address_key == "sakura@icloud.com")
    assert (row.standing, row.reasons) == ("doubtful", ["never_got"])
    assert "1000702" in await shown(kato, view="all")


async def test_mail_works_brings_withheld_mail_back(kato: Staff, library: Library) -> None:
    """One press: what was withheld from a dead address goes with the next batch."""
    await kato.act("1000967", "works", address="family@example.ne.jp")
    rows = await library.rows(deliveries, deliveries.c.patron_id == "1000967")
    assert [(row.address, row.state) for row in rows] == [
        ("", "cancelled"),
        ("family@example.ne.jp", "pending"),
    ]


async def test_a_corrected_address_is_told_and_kept_against_the_snapshot(
    kato: Staff, library: Library
) -> None:
    await kato.act("1000845", "address", new_address="makoto.ito@example.net")
    rows = await library.rows(deliveries, deliveries.c.address == "makoto.ito@example.net")
    assert sorted((row.kind, row.state) for row in rows) == [
        ("hold_ready", "pending"),
        ("registration_changed", "pending"),
    ]
    await library.patron("1000845", "伊藤 誠", "イトウ マコト", "makoto@example.jp")
    async with library.ledger.read() as connection:
        assert [item["address"] for item in await desk_mail.in_force(connection, "1000845")] == [
            "makoto.ito@example.net"
        ]
    assert "makoto.ito@example.net" in (await kato.get("/unsynced")).text
    sheet = (await kato.get("/unsynced.csv")).content
    assert sheet.startswith(b"\xef\xbb\xbf")
    assert "1000845,伊藤 誠,makoto@example.jp,makoto.ito@example.net,2026-11-22 09:10" in sheet.decode()
    await library.patron("1000845", "伊藤 誠", "イトウ マコト", "makoto.ito@example.net")
    assert "未反映のアドレスはありません" in (await kato.get("/unsynced")).text


@pytest.mark.parametrize("address", ["", "makoto", "makoto@", "a b@example.jp", "makoto@@example.jp"])
async def test_an_address_that_cannot_be_one_is_refused_with_a_reason(
    kato: Staff, library: Library, address: str
) -> None:
    answer = await kato.act("1000845", "address", new_address=address)
    assert answer.status_code == 422
    assert "このアドレスは登録できません" in answer.text
    assert await library.rows(case_actions) == []


async def test_the_notice_is_sent_again_after_a_preview_without_titles(kato: Staff, library: Library) -> None:
    preview = await kato.get("/patrons/1000208/resend")
    assert "ひみつの書名" not in preview.text
    assert "/c/" not in preview.text
    assert "佐々木" in preview.text
    letters = re.findall(r"(?s)<pre>(.*?)</pre>", preview.text)
    assert ["南分館" in letter for letter in letters] == [False, True]
    await kato.post("/patrons/1000208/act", kind="resend", seen=kato.hidden("seen"), back="/")
    rows = await library.rows(
        deliveries, deliveries.c.patron_id == "1000208", deliveries.c.state == "pending"
    )
    assert [(row.kind, row.slot, row.next_at) for row in rows] == [("hold_ready", None, None)] * 2


# -- undo ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reached", "not_reached", "message", "wrong_number", "ignore"])
async def test_undo_brings_the_case_back(kato: Staff, kind: str) -> None:
    before = await shown(kato)
    await kato.act("1000208", kind, until="2026-11-26")
    assert await shown(kato) != before
    number = re.search(r"/actions/(\d+)/undo", (await kato.get("/patrons/1000208")).text)
    assert number
    await kato.post(f"/actions/{number[1]}/undo", back="/")
    assert await shown(kato) == before


async def standings(library: Library) -> dict[str, tuple[str, bool]]:
    return {row.address_key: (row.standing, row.proven) for row in await library.rows(addresses)}


@pytest.mark.parametrize(
    ("patron", "kind", "fields"),
    [
        ("1000208", "works", {"address": "ichiro@outlook.jp"}),
        ("1000702", "never_got", {"address": "sakura@icloud.com"}),
        ("1000967", "works", {"address": "family@example.ne.jp"}),
        ("1000845", "address", {"new_address": "makoto.ito@example.net"}),
        ("1000533", "address", {"new_address": "isamu@example.net"}),
    ],
)
async def test_undo_takes_evidence_and_unsent_mail_back(
    kato: Staff, library: Library, patron: str, kind: str, fields: dict[str, str]
) -> None:
    known = await standings(library)
    signs = await library.rows(evidence)
    case = await library.rows(cases, cases.c.patron_id == patron, cases.c.state == "open")
    done = await kato.act(patron, kind, **fields)
    number = re.search(r"/actions/(\d+)/undo", done.text)
    assert number
    assert (await kato.post(f"/actions/{number[1]}/undo", back="/")).status_code == 200
    now = await standings(library)
    assert {key: now[key] for key in known} == known
    kept = await library.rows(evidence, evidence.c.withdrawn_at.is_(None))
    assert kept == signs
    # what was said in error stays, with who took it back and when
    said = (await library.rows(evidence))[len(signs) :]
    assert bool(said) is (kind != "address")
    assert {(row.withdrawn_by, row.withdrawn_at, row.source) for row in said} <= {
        ("kato", library.clock.now(), "staff")
    }
    again = await library.rows(cases, cases.c.patron_id == patron, cases.c.state == "open")
    assert [(row.case_id, row.reasons) for row in again] == [(row.case_id, row.reasons) for row in case]
    waiting = await library.rows(
        deliveries, deliveries.c.patron_id == patron, deliveries.c.state == "pending"
    )
    assert waiting == []
    (action,) = await library.rows(case_actions)
    assert (action.undone_by, action.undone_at) == ("kato", library.clock.now())
    assert [row.what for row in await library.rows(audit, audit.c.what.like("case.%"))] == [
        f"case.{kind}",
        "case.undo",
    ]


async def test_only_the_last_action_can_be_undone_and_only_once(kato: Staff, library: Library) -> None:
    await kato.act("1000208", "not_reached")
    await kato.act("1000208", "message")
    first, second = (row.action_id for row in await library.rows(case_actions))
    assert (await kato.post(f"/actions/{first}/undo")).status_code == 409
    assert (await kato.post(f"/actions/{second}/undo")).status_code == 200
    assert (await kato.post(f"/actions/{second}/undo")).status_code == 409
    assert (await kato.post(f"/actions/{first}/undo")).status_code == 200
    for number in (999, 10**30):
        assert (await kato.post(f"/actions/{number}/undo")).status_code == 404


async def test_an_address_the_library_system_changed_since_is_not_undone(
    kato: Staff, library: Library
) -> None:
    await kato.act("1000845", "address", new_address="makoto.ito@example.net")
    await library.event("patron.email_changed", patron_id="1000845", email="new@example.org")
    (action,) = await library.rows(case_actions)
    assert (await kato.post(f"/actions/{action.action_id}/undo")).status_code == 409
    async with library.ledger.read() as connection:
        assert [item["address"] for item in await desk_mail.in_force(connection, "1000845")] == [
            "new@example.org"
        ]


# -- forms that are out of date --------------------------------------------------------------------


async def test_a_stale_form_is_refused_and_says_what_changed(
    kato: Staff, mori: Staff, library: Library
) -> None:
    await kato.get("/patrons/1000208")
    seen = kato.hidden("seen")
    await mori.act("1000208", "reached", note="明日いらっしゃるそうです")
    late = await kato.post("/patrons/1000208/act", kind="not_reached", seen=seen, back="/")
    assert late.status_code == 409
    assert "森 健一" in late.text
    assert "明日いらっしゃるそうです" in late.text
    assert [row.who for row in await library.rows(case_actions)] == ["mori"]
    assert await shown(kato, view="done") == ["1000208"]


async def test_new_evidence_makes_a_form_stale_too(kato: Staff, library: Library) -> None:
    await kato.get("/patrons/1000123")
    seen = kato.hidden("seen")
    await library.event("hold.collected", hold_id="H500")
    late = await kato.post("/patrons/1000123/act", kind="reached", seen=seen, back="/")
    assert late.status_code == 409
    assert "要連絡の内容が変わりました" in late.text


@pytest.mark.parametrize("patron_id", ["1000208", "1001020"])  # with a case, and without
async def test_an_address_that_the_patron_has_changed_meanwhile_is_not_overwritten(
    kato: Staff, library: Library, patron_id: str
) -> None:
    await kato.get(f"/patrons/{patron_id}")
    fields = {name: kato.hidden(name) for name in ("seen", "had")}
    library.clock.time += timedelta(minutes=5)
    await library.event("patron.email_changed", patron_id=patron_id, email="own@example.net")
    late = await kato.post(
        f"/patrons/{patron_id}/act", kind="address", new_address="heard@example.net", back="/", **fields
    )
    assert late.status_code == 409
    page = (await kato.get(f"/patrons/{patron_id}")).text
    assert "own@example.net" in page
    assert "heard@example.net" not in page
    fields = {name: kato.hidden(name) for name in ("seen", "had")}
    done = await kato.post(
        f"/patrons/{patron_id}/act", kind="address", new_address="heard@example.net", back="/", **fields
    )
    assert done.status_code == 200
    assert "heard@example.net" in (await kato.get(f"/patrons/{patron_id}")).text


@pytest.mark.parametrize("seen", ["", "x", "1.2.3", "9" * 40, "-1.0.0.0"])
async def test_a_made_up_version_is_stale(kato: Staff, seen: str) -> None:
    await kato.get("/")
    answer = await kato.post("/patrons/1000123/act", kind="reached", seen=seen, back="/")
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("kind", "status"), [("fly", 422), ("", 422), ("note", 422), ("works", 422), ("resend", 422)]
)
async def test_a_press_that_means_nothing_here_changes_nothing(
    kato: Staff, library: Library, kind: str, status: int
) -> None:
    assert (await kato.act("1000533", kind)).status_code == status
    assert await library.rows(case_actions) == []


# -- on paper --------------------------------------------------------------------------------------


async def test_the_printed_list_has_numbers_only_when_asked_and_says_confidential(
    kato: Staff, library: Library
) -> None:
    page = (await kato.get("/print", branch="02")).text
    assert "取扱注意" in page
    assert "03-5550-0133" not in page
    printed = (await kato.post("/print?branch=02")).text
    assert "03-5550-0133" in printed
    assert "長曽我部" not in printed
    (entry,) = await library.rows(audit, audit.c.what == "phone.printed")
    assert sorted(entry.detail["patrons"]) == ["1000208", "1000415", "1000533"]
