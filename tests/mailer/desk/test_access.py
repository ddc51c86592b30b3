"""Who gets in, what a form needs, and what leaves with every page."""

import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from holds_core.ledger import accounts
from holds_core.ledger.models import audit, sessions
from tests.mailer.desk.conftest import Staff, browser
from tests.mailer.desk.library import CONFIG, Library

PAGES = (
    *("/", "/patrons", "/patrons/1000208", "/report", "/report.csv", "/print", "/unsynced", "/stop"),
    *("/provisional", "/provisional.csv", "/password"),
)


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_login_every_page_leads_to_the_door(visitor: Staff, path: str) -> None:
    answer = await visitor.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/desk/login")


async def test_after_the_login_one_is_where_one_wanted_to_be(visitor: Staff) -> None:
    await visitor.get("/patrons/1000208")
    answer = await visitor.log_in("kato")
    assert answer.url.path == "/desk/patrons/1000208"


@pytest.mark.parametrize(("login", "password"), [("kato", "wrong"), ("nobody", "hashi-no-ue-2026"), ("", "")])
async def test_a_wrong_login_says_the_same_whoever_it_is(visitor: Staff, login: str, password: str) -> None:
    answer = await visitor.log_in(login, password)
    assert answer.status_code == 401
    assert "ログイン名またはパスワードが違います" in answer.text


async def test_a_disabled_account_is_out_at_once(kato: Staff, library: Library) -> None:
    async with library.ledger.write() as connection:
        await accounts.disable(connection, "kato", library.clock.now())
    assert (await kato.get("/")).status_code == 303
    assert (await kato.log_in("kato")).status_code == 401


async def test_guessing_is_slowed_down_and_locks_out_nobody_else(visitor: Staff, library: Library) -> None:
    for _ in range(6):
        assert (await visitor.log_in("kato", "wrong")).status_code == 401
    slowed = await visitor.log_in("kato")
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) <= 60
    library.clock.time += timedelta(seconds=21)
    assert (await visitor.log_in("kato")).status_code == 200


async def test_trying_one_password_on_everybody_is_slowed_down_too(visitor: Staff) -> None:
    for number in range(30):
        assert (await visitor.log_in(f"user{number}", "password-2026")).status_code == 401
    assert (await visitor.log_in("user99", "password-2026")).status_code == 429


async def test_a_known_browser_is_counted_by_itself(library: Library) -> None:
    """A colleague's machine behind the same proxy guesses; who logged in here before still gets in."""
    async with browser(library) as client:
        staff = Staff(client)
        await staff.log_in("kato")
        await staff.post("/logout")
        stranger = Staff(httpx.AsyncClient(transport=client._transport, base_url="http://desk.test"))
        for _ in range(7):
            last = await stranger.log_in("kato", "wrong")
        assert last.status_code == 429
        assert (await staff.log_in("kato")).status_code == 200
        await stranger.client.aclose()


async def test_an_idle_session_ends_and_a_used_one_does_not(kato: Staff, library: Library) -> None:
    for _ in range(4):
        library.clock.time += accounts.IDLE - timedelta(minutes=1)
        assert (await kato.get("/")).status_code == 200
    library.clock.time += accounts.IDLE + timedelta(seconds=1)
    assert (await kato.get("/")).status_code == 303


async def test_no_session_outlives_the_day(kato: Staff, library: Library) -> None:
    until = library.clock.time + accounts.LONGEST
    while library.clock.time < until - timedelta(minutes=30):
        library.clock.time += timedelta(minutes=30)
        assert (await kato.get("/")).status_code == 200
    library.clock.time += timedelta(minutes=31)
    assert (await kato.get("/")).status_code == 303


async def test_logging_out_ends_the_session_on_the_server(kato: Staff, library: Library) -> None:
    cookie = kato.client.cookies["todoku_session"]
    await kato.get("/")
    await kato.post("/logout")
    kato.client.cookies.set("todoku_session", cookie, domain="desk.test", path="/desk")
    assert (await kato.get("/")).status_code == 303
    assert await library.rows(sessions) == []


async def test_the_database_holds_neither_password_nor_cookie(kato: Staff, library: Library) -> None:
    (row,) = await library.rows(sessions)
    assert row.session_key != kato.client.cookies["todoku_session"]
    async with library.ledger.read() as connection:
        found = await accounts.stored(connection, "kato")
    assert found is not None
    assert found[1].startswith("$argon2id$")


async def test_cookies_are_kept_from_scripts_and_other_sites(visitor: Staff) -> None:
    await visitor.get("/login")
    answer = await visitor.client.post(
        "/desk/login", data={"login": "kato", "password": "hashi-no-ue-2026", "csrf": visitor.csrf}
    )
    (session,) = [
        line for line in answer.headers.get_list("set-cookie") if line.startswith("todoku_session=")
    ]
    assert "HttpOnly" in session
    assert "SameSite=lax" in session
    assert "Path=/desk" in session


@pytest.mark.parametrize("token", ["", "0" * 64, "あ"])
@pytest.mark.parametrize(
    "path", ["/patrons/1000208/open", "/patrons/1000208/act", "/stop", "/logout", "/actions/1/undo", "/print"]
)
async def test_a_form_without_the_sessions_token_is_refused(
    kato: Staff, library: Library, path: str, token: str
) -> None:
    before = len(await library.rows(audit))
    kato.csrf = token
    answer = await kato.post(path, kind="reached")
    assert answer.status_code == 403
    assert len(await library.rows(audit)) == before


async def test_another_sessions_token_is_no_good(kato: Staff, mori: Staff) -> None:
    kato.csrf = mori.csrf
    assert (await kato.post("/stop")).status_code == 403


@pytest.mark.parametrize("path", [*PAGES, "/login", "/static/desk.css", "/nowhere"])
async def test_every_answer_forbids_what_a_page_does_not_need(kato: Staff, path: str) -> None:
    headers = (await kato.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/patrons/1000208", "/report", "/print", "/login"])
async def test_no_page_has_inline_script_or_style_or_asks_another_site(kato: Staff, path: str) -> None:
    await kato.get("/")
    page = (await kato.open("1000208")).text if path == "/" else (await kato.get(path)).text
    assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|<style|\son\w+=|javascript:", page)
    assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', page)


async def test_a_body_longer_than_any_form_is_refused(visitor: Staff) -> None:
    await visitor.get("/login")
    answer = await visitor.post("/login", login="kato", password="x" * 100_000)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example/", "/\\evil.example", "\t//evil.example"]
)
async def test_no_form_leads_to_another_site(kato: Staff, back: str) -> None:
    for path in ("/patrons/1000208/open", "/language"):
        answer = await kato.client.post(f"/desk{path}", data={"csrf": kato.csrf, "back": back})
        assert answer.headers["location"].startswith("/desk/")


async def test_staff_stop_all_mail_and_an_admin_lets_it_go_on(
    kato: Staff, admin: Staff, library: Library
) -> None:
    from holds_core.ledger.sql import get_flag

    stopped = await kato.post("/stop", why="本文に誤り")
    assert "メールの送信を止めています" in stopped.text
    assert "本文に誤り" in stopped.text
    assert not await library.services.sender._may_send()
    assert (await kato.post("/resume")).status_code == 403
    await admin.get("/")
    assert "メールの送信を止めています" not in (await admin.post("/resume")).text
    async with library.ledger.read() as connection:
        assert await get_flag(connection, "paused") is None
    done = [(row.who, row.what) for row in await library.rows(audit, audit.c.subject == "sending")]
    assert done == [("kato", "pause"), ("admin", "resume")]


async def test_english_is_a_press_away_and_stays(kato: Staff) -> None:
    assert '<html lang="ja">' in (await kato.get("/")).text
    page = await kato.post("/language", language="en", back="/report")
    assert page.url.path == "/desk/report"
    assert '<html lang="en">' in page.text
    assert "Undelivered mail" in page.text
    assert "Today" in (await kato.get("/")).text


# -- a reverse proxy that logs people in -------------------------------------------------------------

PROXY, HEADER = "10.1.2.3", "X-Remote-User"


@pytest.fixture
async def proxied(eight_days: Path, tmp_path: Path) -> AsyncIterator[Library]:
    """The library behind a proxy at PROXY."""
    shutil.copytree(eight_days, tmp_path, dirs_exist_ok=True)
    config = f"{CONFIG}desk: {{proxy: {{trusted: [10.1.2.0/29], header: {HEADER}}}}}\n"
    library = Library(tmp_path, config)
    yield library
    await library.services.close()


async def test_whom_the_proxy_has_logged_in_is_in(proxied: Library) -> None:
    async with browser(proxied, PROXY) as client:
        client.headers[HEADER] = "Kato"
        staff = Staff(client)
        page = await staff.get("/")
        assert page.status_code == 200
        assert "加藤 由美" in page.text
        assert "ログアウト" not in page.text
        # one session for the whole visit, and forms work
        stopped = await staff.post("/stop", why="試し")
        assert "メールの送信を止めています" in stopped.text
        assert len(await proxied.rows(sessions)) == 1
        assert (await staff.get("/login")).headers["location"] == "/desk/"


async def test_a_change_of_person_at_the_proxy_is_a_change_of_session(proxied: Library) -> None:
    async with browser(proxied, PROXY) as client:
        client.headers[HEADER] = "admin"
        assert (await client.get("/desk/system/audit")).status_code == 200
        client.headers[HEADER] = "kato"
        assert (await client.get("/desk/system/audit")).status_code == 403
        assert "加藤 由美" in (await client.get("/desk/")).text


@pytest.mark.parametrize("address", ["10.1.2.8", "192.0.2.10", "127.0.0.1", "2001:db8::1"])
async def test_the_header_is_refused_from_any_other_address(proxied: Library, address: str) -> None:
    async with browser(proxied, address) as client:
        client.headers.update({HEADER: "admin", "X-Forwarded-For": PROXY})
        for path in ("/", "/system", "/patrons/1000208"):
            answer = await client.get(f"/desk{path}")
            assert answer.status_code == 403
            assert "許可されていません" in answer.text
        assert await proxied.rows(sessions) == []


async def test_a_header_given_twice_is_refused(proxied: Library) -> None:
    async with browser(proxied, PROXY) as client:
        answer = await client.get("/desk/", headers=[(HEADER, "kato"), (HEADER, "admin")])
        assert answer.status_code == 403


@pytest.mark.parametrize("login", ["stranger", "../admin", "x" * 500])
async def test_the_proxy_makes_nobody_an_account(proxied: Library, login: str) -> None:
    async with browser(proxied, PROXY) as client:
        answer = await client.get("/desk/", headers={HEADER: login})
        assert answer.status_code == 403
        assert "登録されていません" in answer.text


async def test_a_disabled_account_is_out_behind_the_proxy_too(proxied: Library) -> None:
    async with browser(proxied, PROXY) as client:
        client.headers[HEADER] = "kato"
        assert (await client.get("/desk/")).status_code == 200
        async with proxied.ledger.write() as connection:
            await accounts.disable(connection, "kato", proxied.clock.now())
        assert (await client.get("/desk/")).status_code == 403


async def test_without_a_proxy_the_header_says_nothing(visitor: Staff) -> None:
    visitor.client.headers[HEADER] = "admin"
    assert (await visitor.get("/")).status_code == 303


async def test_a_form_behind_the_proxy_needs_its_token(proxied: Library) -> None:
    async with browser(proxied, PROXY) as client:
        client.headers[HEADER] = "kato"
        assert (await client.post("/desk/stop", data={"why": "x"})).status_code == 403
