"""The confirmation page in a real browser, as a phone shows it, without JavaScript."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.async_api import Browser, Page, async_playwright

from holds_core.ledger.models import evidence
from holds_core.tokens import Purpose
from mailer.app.services import Services
from mailer.app.web.app import patron_app
from mailer.app.web.serve import WebServer
from tests.mailer.web.conftest import notify, serving

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
PHONE = {"width": 375, "height": 667}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def url(services: Services) -> AsyncIterator[str]:
    async with serving(WebServer(patron_app(services), "127.0.0.1", 0)) as address:
        yield address


async def signs(services: Services) -> list[str]:
    async with services.ledger.read() as connection:
        return list(await connection.scalars(sa.select(evidence.c.kind)))


async def open_page(browser: Browser, address: str, complaints: list[str], locale: str = "ja-JP") -> Page:
    page = await browser.new_page(java_script_enabled=False, viewport=PHONE, locale=locale)  # type: ignore[arg-type]
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    await page.goto(address)
    return page


async def fits(page: Page) -> bool:
    """Nothing is wider than the phone, measured by what the browser laid out."""
    boxes = [await item.bounding_box() for item in await page.locator("body *").all()]
    return all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in boxes if box)


async def test_press_the_button(services: Services, browser: Browser, url: str, tmp_path: Path) -> None:
    registration, _ = await notify(services)
    complaints: list[str] = []
    page = await open_page(
        browser, f"{url}/c/{services.keys.make(registration, Purpose.CONFIRM)}", complaints
    )
    button = page.get_by_role("button", name="メールが届きました")
    colour = await button.evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour == "rgb(11, 92, 104)", "the style sheet was not applied"
    assert await fits(page)
    await page.screenshot(path=tmp_path / "ask.png", full_page=True)
    assert await signs(services) == []
    await button.click()
    await page.get_by_role("heading", name="メールが届いたことを確認しました").wait_for()
    assert await signs(services) == ["confirmed"]
    assert await fits(page)
    await page.screenshot(path=tmp_path / "done.png", full_page=True)
    assert await page.context.cookies() == []
    assert complaints == []


async def test_not_me_in_english(services: Services, browser: Browser, url: str, tmp_path: Path) -> None:
    registration, _ = await notify(services)
    complaints: list[str] = []
    address = f"{url}/c/{services.keys.make(registration, Purpose.CONFIRM)}"
    page = await open_page(browser, address, complaints, "ja-JP")
    await page.get_by_role("link", name="English").click()
    await page.get_by_role("link", name="This is not about me").click()
    await page.get_by_role("heading", name="Was our e-mail not meant for you?").wait_for()
    assert await fits(page)
    await page.screenshot(path=tmp_path / "not_me.png", full_page=True)
    assert await signs(services) == []
    await page.get_by_role("button", name="This is not about me").click()
    await page.get_by_role("heading", name="Thank you for telling us").wait_for()
    assert await signs(services) == ["not_me"]
    assert complaints == []


async def test_unknown_page(browser: Browser, url: str, tmp_path: Path) -> None:
    page = await open_page(browser, f"{url}/c/cut-in-two", [])
    await page.get_by_role("heading", name="ページが見つかりません").wait_for()
    assert await fits(page)
    await page.screenshot(path=tmp_path / "unknown.png", full_page=True)
