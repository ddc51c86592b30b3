"""アカウント on the desk: added, limited, disabled and given passwords by admins; everybody's own password."""

import asyncio
import re
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.ledger import accounts
from holds_core.ledger.accounts import Account, Role
from holds_core.ledger.models import audit, sessions, users
from tests.mailer.desk.conftest import Staff, browser
from tests.mailer.desk.counting import statements
from tests.mailer.desk.library import MORNING, PASSWORD, Library
from tests.mailer.desk.test_audit import lines

NEW = "kawa-no-soko-2026"


async def stored(library: Library, login: str) -> tuple[Account, str]:
    async with library.ledger.read() as connection:
        found = await accounts.stored(connection, login)
    assert found is not None
    return found


async def seen(staff: Staff, login: str) -> str:
    """What the account's page hands back with its forms."""
    await staff.get(f"/system/accounts/{login}")
    return staff.hidden("seen")


def drawn(page: str) -> str:
    found = re.search(r'class="one-time"[^>]*>([^<]+)<', page)
    assert found, page
    return found[1]


async def recorded(library: Library, what: str) -> list[Any]:
    return await library.rows(audit, audit.c.what == what)


async def test_an_account_is_added_and_its_owner_chooses_the_password(admin: Staff, library: Library) -> None:
    await admin.get("/system/accounts")
    page = await admin.post(
        "/system/accounts", login=" Yamada ", name="山田 次郎", role="staff", branch="02", password=""
    )
    password = drawn(page.text)
    assert re.fullmatch(r"[a-z2-9]{5}-[a-z2-9]{5}-[a-z2-9]{5}", password)
    account, hashed = await stored(library, "yamada")
    assert account == Account("yamada", "山田 次郎", Role.STAFF, ("02",), None, True)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert password not in (await admin.get("/system/accounts/yamada")).text
    async with browser(library, "192.0.2.20") as client:
        yamada = Staff(client)
        asked = await yamada.log_in("yamada", password)
        assert asked.url.path == "/desk/password"
        # nothing else opens before
        for path in ("/", "/patrons/1000415", "/report.csv", "/system"):
            assert (await yamada.get(path)).headers["location"] == "/desk/password"
        await yamada.get("/password")
        assert (await yamada.post("/stop", why="x")).url.path == "/desk/password"
        assert await recorded(library, "pause") == []
        done = await yamada.post("/password", password=password, new=NEW, again=NEW)
        assert done.url.path == "/desk/"
        assert (await yamada.get("/patrons/1000415")).status_code == 200
        assert (await yamada.get("/patrons/1000208")).status_code == 200  # one of the holds is in the south
        assert (await yamada.get("/patrons/1000123")).status_code == 403
    assert not (await stored(library, "yamada"))[0].password_once
    (line,) = await recorded(library, "user.add")
    assert (line.who, line.subject) == ("admin", "user:yamada")
    assert line.detail == {
        "by": "drawn",
        "after": {"name": "山田 次郎", "role": "staff", "branches": ["02"]},
    }
    (own,) = await recorded(library, "user.password")
    assert (own.who, own.detail) == ("yamada", {"by": "owner"})


async def test_a_typed_password_is_shown_nowhere_and_changed_too(admin: Staff, library: Library) -> None:
    await admin.get("/system/accounts")
    page = await admin.post(
        "/system/accounts", login="yamada", name="", role="admin", password=" spaces kept "
    )
    assert "アカウントを作成しました" in page.text
    assert "spaces kept" not in page.text
    async with browser(library, "192.0.2.20") as client:
        assert (await Staff(client).log_in("yamada", " spaces kept ")).url.path == "/desk/password"
    assert "spaces kept" not in str(await library.rows(audit))


@pytest.mark.parametrize(
    "fields",
    [
        {"login": "kato", "role": "staff"},
        {"login": "山田", "role": "staff"},
        {"login": "a b", "role": "staff"},
        {"login": "", "role": "staff"},
        {"login": "new", "role": "root"},
        {"login": "new", "role": ""},
        {"login": "new", "role": "staff", "branch": "99"},
        {"login": "new", "role": "staff", "password": "short"},
        {"login": "new", "role": "staff", "password": "x" * 201},
    ],
)
async def test_what_cannot_be_an_account_is_refused(
    admin: Staff, library: Library, fields: dict[str, str]
) -> None:
    await admin.get("/system/accounts")
    before = await library.rows(users)
    assert (await admin.post("/system/accounts", **fields)).status_code == 422
    assert await library.rows(users) == before
    assert await recorded(library, "user.add") == []


async def test_name_role_and_branches_hold_from_the_next_page_on(
    admin: Staff, kato: Staff, library: Library
) -> None:
    assert (await kato.get("/patrons/1000123")).status_code == 200
    assert (await kato.get("/system/audit")).status_code == 403
    page = await admin.post(
        "/system/accounts/kato", seen=await seen(admin, "kato"), name="加藤 ゆみ", role="admin", branch="02"
    )
    assert "変更しました" in page.text
    # the same session
    assert (await kato.get("/system/audit")).status_code == 200
    assert (await kato.get("/patrons/1000123")).status_code == 403
    (line,) = await recorded(library, "user.change")
    assert line.detail["before"] == {"name": "加藤 由美", "role": "staff", "branches": []}
    assert line.detail["after"] == {"name": "加藤 ゆみ", "role": "admin", "branches": ["02"]}
    shown = next(row for row in lines((await admin.get("/system/audit")).text) if "変更" in row)
    for said in ("加藤 由美 → から 加藤 ゆみ", "職員 → から 管理者", "全館 → から 南分館"):
        assert said in shown


async def test_nothing_changed_is_nothing_recorded(admin: Staff, library: Library) -> None:
    await admin.post(
        "/system/accounts/minami",
        seen=await seen(admin, "minami"),
        name="南 さくら",
        role="staff",
        branch="02",
    )
    assert await recorded(library, "user.change") == []


async def test_disabling_ends_what_is_open_at_once(admin: Staff, kato: Staff, library: Library) -> None:
    assert (await kato.get("/")).status_code == 200
    await admin.get("/system/accounts")
    assert "アカウントを停止し、" in (await admin.post("/system/accounts/kato/disable")).text
    assert (await kato.get("/")).status_code == 303
    assert await library.rows(sessions, sessions.c.login == "kato") == []
    assert (await kato.log_in("kato")).status_code == 401
    # twice is once
    await admin.post("/system/accounts/kato/disable")
    (line,) = await recorded(library, "user.disable")
    assert line.detail == {"before": {"disabled": False}, "after": {"disabled": True}}
    page = await admin.post("/system/accounts/kato/enable", seen=await seen(admin, "kato"))
    assert "再開しました" in page.text
    assert (await kato.log_in("kato")).status_code == 200


async def test_a_new_password_ends_what_is_open_and_enables(
    admin: Staff, kato: Staff, library: Library
) -> None:
    await admin.get("/system/accounts")
    await admin.post("/system/accounts/kato/disable")
    page = await admin.post("/system/accounts/kato/password", seen=await seen(admin, "kato"), password="")
    password = drawn(page.text)
    assert (await kato.get("/")).status_code == 303
    assert (await kato.log_in("kato", PASSWORD)).status_code == 401
    assert (await kato.log_in("kato", password)).url.path == "/desk/password"
    (line,) = await recorded(library, "user.password")
    assert line.detail == {"by": "drawn", "before": {"disabled": True}, "after": {"disabled": False}}
    assert password not in str(await library.rows(audit))


@pytest.mark.parametrize("what", ["", "/password", "/enable"])
async def test_a_stale_form_is_refused_with_how_it_stands_now(
    admin: Staff, library: Library, what: str
) -> None:
    shown = await seen(admin, "kato")
    async with library.ledger.write() as connection:
        await accounts.change(connection, "kato", name="加藤 由美", role=Role.STAFF, branches=["02"])
    before = await stored(library, "kato")
    refused = await admin.post(
        f"/system/accounts/kato{what}", seen=shown, name="x", role="admin", password=""
    )
    assert refused.status_code == 409
    assert "担当館: 南分館" in refused.text
    assert await stored(library, "kato") == before
    assert [row.what for row in await library.rows(audit) if row.what.startswith("user.")] == []


async def test_the_page_with_a_drawn_password_does_not_draw_another_when_renewed(
    admin: Staff, library: Library
) -> None:
    shown = await seen(admin, "kato")
    drawn((await admin.post("/system/accounts/kato/password", seen=shown, password="")).text)
    _, hashed = await stored(library, "kato")
    assert (await admin.post("/system/accounts/kato/password", seen=shown, password="")).status_code == 409
    assert (await stored(library, "kato"))[1] == hashed


# -- an admin is always left -------------------------------------------------------------------------


async def test_nobody_shuts_themselves_out(admin: Staff, library: Library) -> None:
    own = await seen_own(admin)
    refused = await admin.post("/system/accounts/admin/disable")
    assert refused.status_code == 422
    assert "最後の管理者" in refused.text
    refused = await admin.post("/system/accounts/admin", seen=own, name="x", role="staff")
    assert refused.status_code == 422
    assert (await stored(library, "admin"))[0] == Account("admin", "情報担当 林", Role.ADMIN)
    assert (await admin.post("/system/accounts/admin/password", seen=own)).url.path == "/desk/password"


async def seen_own(admin: Staff) -> str:
    return await seen(admin, "admin")


async def test_two_admins_cannot_disable_each_other(admin: Staff, library: Library) -> None:
    async with library.ledger.write() as connection:
        await connection.execute(sa.update(users).where(users.c.login == "mori").values(role="admin"))
    async with browser(library, "192.0.2.30") as client:
        mori = Staff(client)
        await mori.log_in("mori")
        await mori.get("/system/accounts")
        await admin.get("/system/accounts")
        assert "自分のアカウントは停止できません" in (await mori.post("/system/accounts/mori/disable")).text
        await admin.post("/system/accounts/mori/disable")
        assert (await mori.post("/system/accounts/admin/disable")).url.path == "/desk/login"
    async with library.ledger.write() as connection:
        assert await accounts.lock_admins(connection) == ["admin"]


@pytest.mark.parametrize("path", ["", "/kato", "/kato/disable", "/kato/password", "/kato/enable"])
async def test_who_was_disabled_a_moment_ago_changes_nothing(
    admin: Staff, library: Library, path: str
) -> None:
    """Between the look at the session and the press's own transaction a colleague was faster."""
    fields = {"seen": await seen(admin, "kato"), "name": "x", "role": "admin", "login": "new", "password": ""}
    with statements(library.ledger) as asked:
        async with library.ledger.write() as connection:
            pressed = asyncio.create_task(admin.post(f"/system/accounts{path}", **fields))
            while not any("sessions.session_key" in statement for statement in asked):
                await asyncio.sleep(0.005)
            await accounts.disable(connection, "admin", MORNING)
        assert (await pressed).status_code == 403
    assert (await stored(library, "kato"))[0] == Account("kato", "加藤 由美", Role.STAFF)
    assert await library.rows(users, users.c.login == "new") == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/system/accounts"),
        ("GET", "/system/accounts/kato"),
        ("POST", "/system/accounts"),
        ("POST", "/system/accounts/kato"),
        ("POST", "/system/accounts/mori/disable"),
        ("POST", "/system/accounts/mori/enable"),
        ("POST", "/system/accounts/mori/password"),
    ],
)
async def test_only_admins_see_and_change_accounts(
    kato: Staff, admin: Staff, library: Library, method: str, path: str
) -> None:
    fields = {"seen": "x", "name": "x", "role": "admin", "login": "new", "password": ""}
    before = await library.rows(users)
    await kato.get("/")
    assert (await (kato.get(path) if method == "GET" else kato.post(path, **fields))).status_code == 403
    if method == "POST":
        admin.csrf = "0" * 64
        assert (await admin.post(path, **fields)).status_code == 403
    assert await library.rows(users) == before


async def test_an_account_that_is_none_is_not_found(admin: Staff) -> None:
    assert (await admin.get("/system/accounts/nobody")).status_code == 404
    await admin.get("/system/accounts")
    for what in ("", "/disable", "/enable", "/password"):
        answer = await admin.post(f"/system/accounts/nobody{what}", seen="x", role="staff", password="")
        assert answer.status_code == 404, what


# -- one's own password ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"password": "wrong", "new": NEW, "again": NEW}, "いまのパスワードが違います"),
        ({"password": PASSWORD, "new": NEW, "again": NEW + "x"}, "2回で異なります"),
        ({"password": PASSWORD, "new": "short", "again": "short"}, "10〜200文字"),
        ({"password": PASSWORD, "new": PASSWORD, "again": PASSWORD}, "いまと違うパスワード"),
        ({}, "10〜200文字"),
    ],
)
async def test_a_new_password_of_ones_own_is_checked(
    kato: Staff, library: Library, fields: dict[str, str], says: str
) -> None:
    before = await stored(library, "kato")
    await kato.get("/password")
    refused = await kato.post("/password", **fields)
    assert refused.status_code == 422
    assert says in refused.text
    assert await stored(library, "kato") == before


async def test_ones_other_browsers_are_out_and_this_one_stays(kato: Staff, library: Library) -> None:
    async with browser(library, "192.0.2.40") as client:
        elsewhere = Staff(client)
        await elsewhere.log_in("kato")
        cookie = kato.client.cookies["todoku_session"]
        await kato.get("/password")
        await kato.post("/password", password=PASSWORD, new=NEW, again=NEW)
        assert kato.client.cookies["todoku_session"] != cookie
        assert (await kato.get("/")).status_code == 200
        assert (await elsewhere.get("/")).status_code == 303
        assert (await elsewhere.log_in("kato", NEW)).status_code == 200


async def test_guessing_the_present_password_is_slowed_down(kato: Staff) -> None:
    await kato.get("/password")
    for _ in range(6):
        assert (await kato.post("/password", password="guess", new=NEW, again=NEW)).status_code == 422
    assert (await kato.post("/password", password=PASSWORD, new=NEW, again=NEW)).status_code == 429


@pytest.mark.parametrize("path", ["/system/accounts", "/system/accounts/kato", "/password"])
async def test_the_pages_ask_no_more_the_more_accounts_there_are(
    admin: Staff, library: Library, path: str
) -> None:
    await admin.get("/")
    with statements(library.ledger) as asked:
        assert (await admin.get(path)).status_code == 200
    first = len(asked)
    async with library.ledger.write() as connection:
        for number in range(30):
            await accounts.add(connection, Account(f"staff{number}", "", Role.STAFF), "-", MORNING)
    with statements(library.ledger) as asked:
        await admin.get(path)
    assert len(asked) <= first <= 9
