"""The confirmation page: only a person's button counts, and it tells nobody anything."""

import re
import shutil
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from holds_core.ledger.models import addresses, cases, deliveries, evidence
from holds_core.tokens import Purpose, TokenKeys
from mailer.app.services import Services
from mailer.app.web.app import patron_app
from mailer.app.web.confirm import MISSES, REQUESTS, VALID_FOR
from mailer.app.web.pages import Pages
from mailer.app.web.serve import WebServer
from tests.mailer.web.conftest import SECRETS, HandClock, MakeServices, notify, serving


async def signs(services: Services) -> list[tuple[str, int]]:
    async with services.ledger.read() as connection:
        rows = await connection.execute(sa.select(evidence).order_by(evidence.c.evidence_id))
        return [(row.kind, row.delivery_id) for row in rows]


async def finding(services: Services, delivery: int) -> str | None:
    async with services.ledger.read() as connection:
        return await connection.scalar(
            sa.select(deliveries.c.finding).where(deliveries.c.delivery_id == delivery)
        )


def link(services: Services, delivery: int, purpose: Purpose = Purpose.CONFIRM) -> str:
    return f"/c/{services.keys.make(delivery, purpose)}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_confirms_nothing(services: Services, patron: httpx.AsyncClient, method: str) -> None:
    registration, hold = await notify(services)
    for path in (link(services, registration), link(services, hold), link(services, hold, Purpose.NOT_ME)):
        response = await patron.request(method, path)
        assert response.status_code == 200
        assert ('<form method="post"' in response.text) == (method == "GET")
    assert await signs(services) == []


AUTOMATIC: list[dict[str, str]] = [
    {"Sec-Purpose": "prefetch"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"Sec-Fetch-Site": "cross-site"},
    {"User-Agent": "Mozilla/5.0 (compatible; MailScanner/1.0)"},
]


@pytest.mark.parametrize("headers", AUTOMATIC)
@pytest.mark.parametrize("purpose", [Purpose.CONFIRM, Purpose.NOT_ME])
async def test_programs_that_fetch_and_press_confirm_nothing(
    services: Services, patron: httpx.AsyncClient, headers: dict[str, str], purpose: Purpose
) -> None:
    registration, _ = await notify(services)
    path = link(services, registration, purpose)
    for method in ("GET", "POST"):
        response = await patron.request(method, path, headers=headers)
        assert response.status_code == 200
        assert '<form method="post"' in response.text
    assert await signs(services) == []
    assert (await patron.post(path)).status_code == 200  # the person, afterwards
    assert len(await signs(services)) == 1


async def test_rates_count_whom_a_trusted_proxy_speaks_for(
    make_services: MakeServices, empty_ledger: Path, tmp_path: Path
) -> None:
    """The test itself is the proxy: it comes from this machine, and names another proxy of the library's."""
    shutil.copy(empty_ledger, tmp_path / "todoku.db")
    old = "confirm: {"
    services = make_services(old, old + "trusted_proxies: [192.0.2.0/28], ")
    async with (
        serving(WebServer(patron_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for _ in range(int(MISSES.burst)):
            guess = {"X-Forwarded-For": "198.51.100.7, 192.0.2.3"}
            assert (await client.get("/c/guess", headers=guess)).status_code == 404
        assert (await client.get("/c/guess", headers=guess)).status_code == 429
        neighbour = {"X-Forwarded-For": "198.51.100.8, 192.0.2.3"}
        assert (await client.get("/c/guess", headers=neighbour)).status_code == 404


async def test_not_me_opens_a_case(services: Services, patron: httpx.AsyncClient) -> None:
    registration, _ = await notify(services)
    await patron.post(link(services, registration, Purpose.NOT_ME))
    async with services.ledger.read() as connection:
        [row] = (await connection.execute(sa.select(cases).where(cases.c.state == "open"))).all()
    assert (row.patron_id, "not_me" in row.reasons) == ("p-1", True)


async def test_button_confirms_once(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    for _ in range(2):
        response = await patron.post(link(services, hold))
        assert response.status_code == 200
        assert "メールが届いたことを確認しました" in response.text
        assert "取置のお知らせ" in response.text
        assert "みなみ市立図書館" in response.text
    assert await signs(services) == [("confirmed", hold)]
    assert await finding(services, hold) == "confirmed"
    again = await patron.get(link(services, hold))
    assert "すでに到着を確認しています" in again.text
    assert "<form" not in again.text


async def test_reading_the_action_of_the_form_confirms(services: Services, patron: httpx.AsyncClient) -> None:
    """What a browser does: the form's own relative address, as it stands."""
    registration, _ = await notify(services)
    page = await patron.get(link(services, registration))
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    response = await patron.post(str(page.url.join(action[1])))
    assert response.status_code == 200
    assert await signs(services) == [("confirmed", registration)]


async def test_not_me_asks_first_and_marks_the_address(services: Services, patron: httpx.AsyncClient) -> None:
    registration, _ = await notify(services)
    page = await patron.get(link(services, registration))
    way_out = re.search(r'href="([^"]+)">心当たりがない', page.text)
    assert way_out is not None
    asking = await patron.get(str(page.url.join(way_out[1])))
    assert "お心当たりのない方へ" in asking.text
    assert await signs(services) == []
    done = await patron.post(str(asking.url))
    assert "ご連絡を受け付けました" in done.text
    assert await signs(services) == [("not_me", registration)]
    async with services.ledger.read() as connection:
        row = (
            await connection.execute(
                sa.select(addresses).where(addresses.c.address_key == "hanako@example.ne.jp")
            )
        ).one()
    assert (row.standing, row.mistyped) == ("unreachable", True)


async def test_not_me_is_offered_for_registration_changes_only(
    services: Services, patron: httpx.AsyncClient
) -> None:
    registration, hold = await notify(services)
    assert "心当たりがない" in (await patron.get(link(services, registration))).text
    assert "心当たりがない" not in (await patron.get(link(services, hold))).text


async def test_not_me_counts_after_a_confirmation(services: Services, patron: httpx.AsyncClient) -> None:
    registration, _ = await notify(services)
    await patron.post(link(services, registration))
    await patron.post(link(services, registration, Purpose.NOT_ME))
    assert await signs(services) == [("confirmed", registration), ("not_me", registration)]


async def test_a_link_expires(services: Services, patron: httpx.AsyncClient, clock: HandClock) -> None:
    _, hold = await notify(services)
    clock.time += VALID_FOR
    assert (await patron.get(link(services, hold))).status_code == 200
    clock.time += timedelta(seconds=1)
    for response in (await patron.get(link(services, hold)), await patron.post(link(services, hold))):
        assert response.status_code == 410
        assert "確認の期限が過ぎています" in response.text
        assert "This link has expired" in response.text
        assert "0993-00-0000" in response.text
    assert await signs(services) == []


async def test_forged_tokens_are_unknown_pages(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    good = services.keys.make(hold, Purpose.CONFIRM)
    stranger = TokenKeys([b"s" * 64])
    forged = [
        stranger.make(hold, Purpose.CONFIRM),
        services.keys.make(hold, Purpose.RETURN_PATH),
        services.keys.make(10_000, Purpose.CONFIRM),  # signed, but there is no such delivery
        good[:-1],
        good + "a",
        "x",
        "%00",
        "%ff%fe",
        "トークン",
        "a" * 2000,
        "%2e%2e%2fetc",
    ]
    pages = set()
    for token in forged:
        for method in ("GET", "POST"):
            response = await patron.request(method, f"/c/{token}")
            assert response.status_code in (404, 429), (token, response.status_code)
            if response.status_code == 404 and "/" not in response.url.path[3:]:
                pages.add(response.text)
        services.clock.time += timedelta(minutes=1)  # type: ignore[attr-defined]
    assert len(pages) == 1, "every unknown token gets the very same page"
    assert await signs(services) == []


async def test_case_of_the_token_does_not_matter(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    token = services.keys.make(hold, Purpose.CONFIRM)
    assert (await patron.post(f"/c/{token.upper()}")).status_code == 200
    assert await signs(services) == [("confirmed", hold)]


async def test_pages_tell_nothing_of_the_patron(services: Services, patron: httpx.AsyncClient) -> None:
    registration, hold = await notify(services)
    for delivery in (registration, hold):
        for purpose in (Purpose.CONFIRM, Purpose.NOT_ME):
            for language in ("ja", "en"):
                path = link(services, delivery, purpose) + f"?lang={language}"
                for response in (await patron.get(path), await patron.post(path), await patron.get(path)):
                    assert response.status_code == 200
                    assert not [word for word in SECRETS if word in response.text]


async def test_headers(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    answers = [await patron.get(link(services, hold)), await patron.post(link(services, hold))]
    answers += [await patron.get("/c/unknown"), await patron.get("/elsewhere")]
    for response in answers:
        assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert "noindex" in response.headers["x-robots-tag"]
        assert "set-cookie" not in response.headers
        assert "server" not in response.headers
        assert not re.search(r"<script|style=|https?://(?!library\.example\.jp/)", response.text)


async def test_how_to_let_mail_in_is_told_for_every_service(
    services: Services, patron: httpx.AsyncClient
) -> None:
    """For all of them: the reader's own would tell whose mailbox it is."""
    _, hold = await notify(services)
    path = link(services, hold)
    for response in (await patron.get(path), await patron.post(path)):
        assert response.text.count("<summary>") == len(services.guide.entries)
        assert '<p class="sender">yoyaku@library.example.jp</p>' in response.text
        assert "受信許可リストに yoyaku@library.example.jp を追加" in response.text
    english = await patron.get(path + "?lang=en")
    assert "So that our e-mail always arrives" in english.text
    not_me = await patron.get(link(services, hold, Purpose.NOT_ME))
    assert "<summary>" not in not_me.text


async def test_robots_and_style(patron: httpx.AsyncClient) -> None:
    assert (await patron.get("/robots.txt")).text == "User-agent: *\nDisallow: /\n"
    style = await patron.get("/c/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text
    assert "@import" not in style.text


async def test_other_paths_get_the_friendly_page(patron: httpx.AsyncClient) -> None:
    for path in (
        "/",
        "/c",
        "/c/",
        "/x",
        "/c/a/b",
        "/c/a/b/c/",
        "/a/b",
        "//",
        "/c/../x",
        "/desk/",
        "/healthz",
    ):
        response = await patron.get(path)
        assert response.status_code == 404, path
        assert "ページが見つかりません" in response.text, path
        style = re.search(r'rel="stylesheet" href="([^"]+)"', response.text)
        assert style is not None, path
        assert response.url.join(style[1]).path == "/c/style.css", path


async def test_other_methods_do_nothing(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert (await patron.request(method, link(services, hold))).status_code == 405, method
    assert await signs(services) == []


async def test_a_huge_form_is_not_read(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    response = await patron.post(link(services, hold), content=b"x" * 3_000_000)
    assert response.status_code == 200
    assert (await patron.get("/robots.txt")).status_code == 200


LANGUAGES: list[tuple[str, str | None, str]] = [
    ("", None, "ja"),
    ("", "ja,en;q=0.9", "ja"),
    ("", "en-GB,en;q=0.9", "en"),
    ("", "zh-CN,zh;q=0.9,en;q=0.5", "en"),
    ("", "ko", "ja"),
    ("", "en;q=0", "ja"),
    ("", "en;q=nonsense,,;;=", "ja"),
    ("?lang=en", "ja", "en"),
    ("?lang=ja", "en", "ja"),
    ("?lang=xx", "en", "en"),
    ("?lang=%00", "", "ja"),
]
"""Query, Accept-Language, language of the page."""


async def test_language(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    path = link(services, hold)
    for query, accepted, expected in LANGUAGES:
        headers = {} if accepted is None else {"Accept-Language": accepted}
        response = await patron.get(path + query, headers=headers)
        assert f'<html lang="{expected}">' in response.text, (query, accepted)
        assert response.headers["content-language"] == expected
        done = await patron.post(path + query, headers=headers)
        assert ("reached you" if expected == "en" else "確認しました") in done.text, (query, accepted)


async def test_guessing_is_limited_per_client(
    services: Services, patron: httpx.AsyncClient, clock: HandClock
) -> None:
    _, hold = await notify(services)
    guesser, neighbour = {"X-Forwarded-For": "198.51.100.7"}, {"X-Forwarded-For": "198.51.100.8"}
    for _ in range(int(MISSES.burst)):
        assert (await patron.get("/c/guess", headers=guesser)).status_code == 404
    limited = await patron.get("/c/guess", headers=guesser)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) >= 1
    assert "しばらくしてから" in limited.text
    # a guess that hits learns nothing, and nobody else is hindered
    assert (await patron.post(link(services, hold), headers=guesser)).status_code == 429
    assert await signs(services) == []
    assert (await patron.get(link(services, hold), headers=neighbour)).status_code == 200
    clock.time += timedelta(seconds=1 / MISSES.per_second)
    assert (await patron.get(link(services, hold), headers=guesser)).status_code == 200


async def test_pages_asked_for_too_often(services: Services, patron: httpx.AsyncClient) -> None:
    _, hold = await notify(services)
    path = link(services, hold)
    statuses = [(await patron.get(path)).status_code for _ in range(int(REQUESTS.burst) + 1)]
    assert set(statuses[:-1]) == {200}
    assert statuses[-1] == 429


def own_templates(tmp_path: Path, **files: str) -> tuple[str, str]:
    """A library's own folder with these files, and what to change in the configuration for it."""
    folder = tmp_path / "own" / "desk" / "confirm"
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_html", ".html")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return "  branches:", "  templates_folder: own\n  branches:"


async def test_a_library_replaces_one_page(make_services: MakeServices, tmp_path: Path) -> None:
    words = "{% extends 'layout.html' %}{% block content %}届いたよ{% endblock %}"
    services = make_services(*own_templates(tmp_path, ja__confirmed_html=words))
    await services.ledger.upgrade()
    _, hold = await notify(services)
    async with (
        serving(WebServer(patron_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert "メールの到着確認" in (await client.get(link(services, hold))).text
        assert "届いたよ" in (await client.post(link(services, hold))).text


async def test_a_broken_own_page_ends_in_plain_words(make_services: MakeServices, tmp_path: Path) -> None:
    services = make_services(*own_templates(tmp_path, layout_html="{{ nothing_such }}"))
    await services.ledger.upgrade()
    _, hold = await notify(services)
    async with (
        serving(WebServer(patron_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        response = await client.post(link(services, hold))
    assert response.status_code == 500
    assert response.text == "ただいまページを表示できません。\nNot available just now.\n"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert await signs(services) == [("confirmed", hold)], "what the reader did still counts"


def test_words_are_shown_as_words(make_services: MakeServices) -> None:
    services = make_services("name: みなみ市立図書館", 'name: "<b>本&本</b>"')
    page = Pages(services.settings.library).both("unknown", 404)
    assert "&lt;b&gt;本&amp;本&lt;/b&gt;" in bytes(page.body).decode()
    assert "<b>" not in bytes(page.body).decode()


async def test_pages_are_checked(make_services: MakeServices, tmp_path: Path) -> None:
    assert Pages(make_services().settings.library).faults() == []
    own = {
        "ja__confirm_html": "{{ nothing_such }}",
        "en__not_me_html": "{% if given %}",
        "busy_html": "{{ 1/0 }}",
    }
    services = make_services(*own_templates(tmp_path, **own))
    found = {fault.file: str(fault) for fault in Pages(services.settings.library).faults()}
    assert set(found) == {"ja/confirm.html", "en/not_me.html", "busy.html"}
    assert "nothing_such" in found["ja/confirm.html"]
    assert found["en/not_me.html"].startswith("en/not_me.html, line 1: ")


async def test_without_a_database_the_reader_is_asked_to_come_back(make_services: MakeServices) -> None:
    services = make_services()  # no tables
    async with (
        serving(WebServer(patron_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        response = await client.get(link(services, 1))
    assert response.status_code == 503
    assert "ただいまページを表示できません" in response.text
    assert response.headers["retry-after"] == "60"
