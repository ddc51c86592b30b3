"""仮のアドレス: who still has one, and the patron's own entered in its place, with undo, audited, never stale."""

import re
from datetime import timedelta

import pytest

from holds_core.ledger import desk_mail
from holds_core.ledger.models import audit, deliveries, patron_addresses
from holds_core.notices import Kind
from tests.mailer.desk.conftest import Staff, browser
from tests.mailer.desk.counting import statements
from tests.mailer.desk.library import Library
from tests.mailer.desk.test_audit import lines
from tests.mailer.desk.test_pages import rows_of

MADE_UP = "kari-2000101@lib.example.jp"


async def made_up(library: Library) -> None:
    """Two in the central library, one of whom has used the web service, and one in the south."""
    for patron_id, branch in (("2000101", "01"), ("2000102", "01"), ("2000103", "02")):
        address = f"kari-{patron_id}@lib.example.jp"
        await library.patron(patron_id, "田中 一", "タナカ ハジメ", address, provisional=True, branch=branch)
    await library.event("patron.seen", patron_id="2000102", via="web")


@pytest.fixture(autouse=True)
async def provisional(library: Library) -> None:
    await made_up(library)


async def in_force(library: Library, patron_id: str) -> list[tuple[str, bool]]:
    async with library.ledger.read() as connection:
        found = await desk_mail.in_force(connection, patron_id)
    return [(item["address"], item["provisional"]) for item in found]


def form(page: str, patron_id: str) -> dict[str, str]:
    """The hidden fields of a patron's form."""
    part = page.split(f'action="/desk/provisional/{patron_id}"')[1].split("</form>")[0]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', part))


async def enter(staff: Staff, patron_id: str, address: str, **fields: str):  # type: ignore[no-untyped-def]
    page = (await staff.get("/provisional")).text
    return await staff.post(
        f"/provisional/{patron_id}", **(form(page, patron_id) | {"new_address": address} | fields)
    )


async def test_who_used_it_all_the_same_stands_first(kato: Staff) -> None:
    page = await kato.get("/provisional")
    found = lines(page.text)
    assert [re.search(r"20001\d\d", line)[0] for line in found] == ["2000102", "2000101", "2000103"]  # type: ignore[index]
    assert "利用あり 11月22日(日)" in found[0]
    assert "まだ" in found[1]
    assert "<b>3</b>名" in page.text
    assert "<b>1</b>うち仮のまま利用あり" in page.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"branch": "02"}, {"2000103"}),
        ({"use": "used"}, {"2000102"}),
        ({"use": "unused"}, {"2000101", "2000103"}),
        ({"use": "unused", "branch": "01"}, {"2000101"}),
        ({"branch": "99"}, set()),
    ],
)
async def test_the_list_and_its_file_are_narrowed(
    kato: Staff, library: Library, query: dict[str, str], found: set[str]
) -> None:
    page = (await kato.get("/provisional", **query)).text
    assert set(re.findall(r'action="/desk/provisional/(\d+)"', page)) == found
    sheet = rows_of((await kato.get("/provisional.csv", **query)).content)
    assert {row["利用者番号"] for row in sheet} == found
    (taken,) = await library.rows(audit, audit.c.what == "provisional.csv")
    assert (taken.who, taken.detail) == ("kato", {"rows": len(found)})


async def test_the_patrons_own_address_takes_its_place(kato: Staff, library: Library) -> None:
    await library.shelve("H900", "2000101")
    page = await enter(kato, "2000101", "hajime@example.net", note="窓口で")
    assert page.url.path == "/desk/provisional"
    assert "「アドレスを訂正」を記録しました" in page.text
    assert "2000101" not in page.text.partition("<tbody>")[2]
    assert await in_force(library, "2000101") == [("hajime@example.net", False)]
    # what waits on the shelf is announced there, and the made-up address is told nothing
    owed = await library.rows(deliveries, deliveries.c.patron_id == "2000101")
    assert {row.address for row in owed if row.state == "pending"} == {"hajime@example.net"}
    assert Kind.REGISTRATION_CHANGED_OLD not in {row.kind for row in owed}
    (line,) = await library.rows(audit, audit.c.what == "case.address")
    assert (line.who, line.subject) == ("kato", "patron:2000101")
    assert line.detail["before"]["addresses"][0]["provisional"] is True
    assert line.detail["after"]["addresses"][0]["address"] == "hajime@example.net"
    assert "hajime@example.net" in (await kato.get("/unsynced")).text


async def test_it_is_taken_back(kato: Staff, library: Library) -> None:
    page = await enter(kato, "2000101", "hajime@example.net")
    number = re.search(r"/actions/(\d+)/undo", page.text)
    assert number
    await kato.post(f"/actions/{number[1]}/undo", back="/provisional")
    assert await in_force(library, "2000101") == [(MADE_UP, True)]
    assert "2000101" in (await kato.get("/provisional")).text


@pytest.mark.parametrize("address", ["", "no-address", "hajime@@example.net", "a@b"])
async def test_what_cannot_be_an_address_is_refused(kato: Staff, library: Library, address: str) -> None:
    assert (await enter(kato, "2000101", address)).status_code == 422
    assert await in_force(library, "2000101") == [(MADE_UP, True)]


async def test_a_form_is_stale_once_the_patron_has_given_an_address(kato: Staff, library: Library) -> None:
    page = (await kato.get("/provisional")).text
    fields = form(page, "2000101")
    library.clock.time += timedelta(minutes=5)
    await library.event("patron.email_changed", patron_id="2000101", email="own@example.net")
    refused = await kato.post("/provisional/2000101", **fields, new_address="hajime@example.net")
    assert refused.status_code == 409
    assert "own@example.net" in refused.text
    assert await in_force(library, "2000101") == [("own@example.net", False)]
    assert await library.rows(audit, audit.c.what == "case.address") == []


async def test_a_form_is_stale_once_a_colleague_has_acted(kato: Staff, mori: Staff, library: Library) -> None:
    fields = form((await kato.get("/provisional")).text, "2000101")
    await mori.act("2000101", "note", note="あす来館される")
    refused = await kato.post("/provisional/2000101", **fields, new_address="hajime@example.net")
    assert refused.status_code == 409
    assert "森 健一: メモ" in refused.text
    assert await in_force(library, "2000101") == [(MADE_UP, True)]


async def test_a_patron_who_has_a_real_address_is_not_changed_here(kato: Staff, library: Library) -> None:
    page = (await kato.get("/provisional")).text
    fields = form(page, "2000101") | {"new_address": "x@example.net", "shown": "makoto@example.jp"}
    assert (await kato.post("/provisional/1000845", **fields)).status_code == 409
    assert await in_force(library, "1000845") == [("makoto@example.jp", False)]


async def test_a_forged_form_is_refused(kato: Staff, library: Library) -> None:
    fields = form((await kato.get("/provisional")).text, "2000101")
    kato.csrf = fields["csrf"] = "0" * 64
    assert (await kato.post("/provisional/2000101", **fields, new_address="x@example.net")).status_code == 403
    assert await in_force(library, "2000101") == [(MADE_UP, True)]


async def test_an_account_of_one_branch_sees_its_own_only(library: Library) -> None:
    async with browser(library) as client:
        minami = Staff(client)
        await minami.log_in("minami")
        page = (await minami.get("/provisional")).text
        assert "2000103" in page
        assert "2000101" not in page
        assert {row["利用者番号"] for row in rows_of((await minami.get("/provisional.csv")).content)} == {
            "2000103"
        }
        fields = form(page, "2000103") | {"new_address": "x@example.net"}
        assert (await minami.post("/provisional/2000101", **fields)).status_code == 403
    assert await in_force(library, "2000101") == [(MADE_UP, True)]


async def test_a_long_list_comes_in_pages_and_asks_no_more(kato: Staff, library: Library) -> None:
    await kato.get("/")
    with statements(library.ledger) as asked:
        await kato.get("/provisional")
    first = len(asked)
    for number in range(60):
        await library.patron(
            f"30{number:02}", "図書 花子", "トショ", f"kari-30{number:02}@lib.example.jp", provisional=True
        )
    with statements(library.ledger) as asked:
        page = (await kato.get("/provisional")).text
    assert len(asked) <= first <= 10
    assert "1 / 2" in page
    shown = set(re.findall(r'action="/desk/provisional/(\d+)"', page))
    rest = set(
        re.findall(r'action="/desk/provisional/(\d+)"', (await kato.get("/provisional", page="2")).text)
    )
    assert not shown & rest
    assert len(shown | rest) == 63


async def test_with_none_the_page_says_so(kato: Staff, library: Library) -> None:
    for patron_id in ("2000101", "2000102", "2000103"):
        await library.event("patron.email_changed", patron_id=patron_id, email=f"p{patron_id}@example.net")
    assert "仮のアドレスのままの利用者はいません" in (await kato.get("/provisional")).text
    assert (
        await library.rows(
            patron_addresses, patron_addresses.c.provisional, patron_addresses.c.until.is_(None)
        )
        == []
    )
