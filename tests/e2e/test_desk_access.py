"""The desk and the confirmation page for people who use a keyboard, a screen reader, or a small screen.

Every page is judged by axe-core in Chromium, in both languages and widths: nothing serious may be found.
"""

# ruff: noqa: F811 - fixtures are imported by the names that tests ask for
import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.async_api import Page, expect

from holds_core.silence_reasons import RiskReason
from holds_core.tokens import Purpose
from mailer.app.web.app import patron_app
from mailer.app.web.serve import WebServer
from tests.e2e.test_desk import NARROW, PAGES, WIDE, Desk, desk, eight_days  # noqa: F401 - fixtures
from tests.mailer.desk.test_pages import quarantined
from tests.mailer.desk.test_provisional import made_up
from tests.mailer.desk.test_watch import stopped, watched, weigh

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
MORE = (
    *("/closed", "/patrons/9999999", "/report?from=nonsense", "/system/settings", "/system/templates"),
    *("/slips", "/closures", "/shelf"),
)
SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
LANGUAGES = pytest.mark.parametrize("language", ["ja", "en"])


async def faults(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it is now."""
    # by the debugger, which the page's Content-Security-Policy does not bind
    await page.evaluate(AXE + "\n;0")
    found: dict[str, Any] = await page.evaluate(
        "axe.run(document, {resultTypes: ['violations'], preload: false})"
    )
    return [
        f"{item['impact']} {item['id']}: {node['html'][:120]}"
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]


async def judged(desk: Desk, path: str) -> list[str]:
    return [f"{path}: {fault}" for fault in await faults(desk.page)]


async def lively(desk: Desk) -> None:
    """Something to see on every page."""
    await quarantined(desk.library)
    await weigh(desk.library, {"1000208": 0.72, "1000415": 0.31, "1000845": 0.05}, RiskReason.NO_SIGN)
    await watched(desk.library)
    await desk.library.event("hold.collected", hold_id="H500")
    await made_up(desk.library)


@LANGUAGES
@SIZES
async def test_no_page_of_the_desk_has_a_serious_fault(
    desk: Desk,
    size: tuple[int, int],
    language: str,
) -> None:
    await lively(desk)
    await desk.page.set_viewport_size({"width": size[0], "height": size[1]})
    await desk.go("/login")
    found = await judged(desk, "/login")
    await desk.log_in("admin")
    if language == "en":
        await desk.page.get_by_role("button", name="English").click()
        await expect(desk.page.locator("html")).to_have_attribute("lang", "en")
    for path in (*PAGES, *MORE):
        await desk.go(path)
        found += await judged(desk, path)
        await desk.picture(
            f"{language}-{size[0]}-{re.sub('[^a-z0-9]+', '-', path.lower()).strip('-') or 'calls'}"
        )
    await desk.go("/")
    await desk.row("1000208").get_by_role("button").click()
    await expect(desk.row("1000208").locator(".phone").first).to_be_visible()
    found += await judged(desk, "/ opened")
    await desk.picture(f"{language}-{size[0]}-opened")
    await stopped(desk.library)
    await desk.go("/system")
    found += await judged(desk, "/system stopped")
    await desk.picture(f"{language}-{size[0]}-system-stopped")
    assert not found, "\n".join(found)


@pytest.fixture
async def patrons(desk: Desk) -> AsyncIterator[str]:
    """Where the confirmation page of the same library is."""
    server, stop = WebServer(patron_app(desk.library.services), "127.0.0.1", 0), asyncio.Event()
    server.bind()
    serving = asyncio.create_task(server.run(stop))
    yield f"http://127.0.0.1:{server.port}/c"
    stop.set()
    await serving


@LANGUAGES
@SIZES
async def test_the_confirmation_page_has_no_serious_fault(
    desk: Desk,
    patrons: str,
    size: tuple[int, int],
    language: str,
) -> None:
    make = desk.library.services.keys.make
    page = desk.page
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    found: list[str] = []
    for name, token in (
        ("confirm", make(1, Purpose.CONFIRM)),
        ("not-me", make(1, Purpose.NOT_ME)),
        ("unknown", make(99999, Purpose.CONFIRM)),
        ("broken", "nonsense"),
    ):
        await page.goto(f"{patrons}/{token}?lang={language}")
        found += [f"{name}: {fault}" for fault in await faults(page)]
        await desk.picture(f"{language}-{size[0]}-page-{name}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= size[0]
    await page.goto(f"{patrons}/{make(2, Purpose.CONFIRM)}?lang={language}")
    # with the keyboard alone
    button = page.get_by_role("button")
    for _ in range(6):
        await page.keyboard.press("Tab")
        if await button.evaluate("element => element === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button")).to_have_count(0)
    found += [f"confirmed: {fault}" for fault in await faults(page)]
    await desk.picture(f"{language}-{size[0]}-page-confirmed")
    assert not found, "\n".join(found)


async def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the thing of that name has the focus, and sees that the focus shows."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        said = await page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
        )
        if said.startswith(name):
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", name
            return
    raise AssertionError(f"{name} is not reached by Tab")


async def test_a_call_is_recorded_and_taken_back_with_the_keyboard_alone(desk: Desk) -> None:
    await desk.log_in()
    page = desk.page
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="本文へ")).to_be_focused()
    await page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    first = await desk.page.locator(".case .case-who a").first.text_content()
    await tab_to(page, "電話する")
    await page.keyboard.press("Enter")
    opened = page.locator(".case-open")
    await expect(opened).to_contain_text(first or "?")
    await tab_to(page, "メモ")
    await page.keyboard.type("折り返し待ち")
    await tab_to(page, "メモだけ残す")
    await page.keyboard.press("Shift+Tab")
    await tab_to(page, "メモだけ残す")
    await page.keyboard.press("Space")
    await expect(page.get_by_role("status")).to_contain_text("「メモ」を記録しました")
    await tab_to(page, "取り消す")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_count(0)


async def test_a_filter_is_chosen_with_the_keyboard_alone(desk: Desk) -> None:
    await desk.log_in()
    page = desk.page
    await tab_to(page, "受取館")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    assert "branch" not in page.url  # a step on the way is no choice yet
    await tab_to(page, "絞り込む")
    await page.keyboard.press("Enter")
    await expect(page.locator(".case")).to_have_count(3)
    assert "branch=02" in page.url
