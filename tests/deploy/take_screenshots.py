"""Takes the pictures of docs/ja/shokuin.md anew, of a made-up library in a real browser.

    python -m tests.deploy.take_screenshots

Run it when the desk's pages have changed. Chromium is Debian's; everybody in the pictures is invented.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright, expect

from holds_core.silence_reasons import RiskReason
from mailer.app.web.serve import WebServer
from tests.deploy.conftest import ROOT
from tests.e2e.test_desk import ARGUMENTS, CHROMIUM
from tests.mailer.desk.library import PASSWORD, Library, peopled
from tests.mailer.desk.test_pages import quarantined
from tests.mailer.desk.test_watch import weigh_each

IMAGES = ROOT / "docs/ja/images"
PICTURES = {
    "calls": "/",
    "patron": "/patrons/1000208",
    "report": "/report",
    "quarantine": "/quarantine",
    "traffic": "/traffic",
}
RISKS = {
    "1000208": (0.72, (RiskReason.NO_SIGN, RiskReason.RARE_VISITOR)),
    "1000415": (0.28, (RiskReason.NO_SIGN,)),
    "1000702": (0.41, (RiskReason.NO_SIGN,)),
    "1000951": (0.86, (RiskReason.REFUSED_USER,)),
    "1000845": (0.64, (RiskReason.REFUSED_USER,)),
    "1000123": (0.55, (RiskReason.REFUSED_OTHER,)),
    "1000533": (0.6, (RiskReason.NOT_SENT,)),
    "1000967": (0.35, (RiskReason.NOT_SENT,)),
    "1000619": (0.12, (RiskReason.NOT_SENT,)),
}
"""What the model says of the nine, so that the pictures show its bar and its words."""
VIEW = {"width": 1280, "height": 800}
MOST = 1000
"""Pixels of height: what lies further down teaches nothing more."""


async def take(folder: Path) -> None:
    """Serves the library from `folder` and takes all pictures."""
    library = Library(folder)
    await library.open()
    await peopled(library)
    await quarantined(library)
    await weigh_each(library, RISKS)
    server, stop = WebServer(library.app(), "127.0.0.1", 0), asyncio.Event()
    server.bind()
    serving = asyncio.create_task(server.run(stop))
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            context = await browser.new_context(viewport=VIEW, locale="ja-JP")  # type: ignore[arg-type]
            page = await context.new_page()
            base = f"http://127.0.0.1:{server.port}/desk"
            await page.goto(f"{base}/login")
            await page.get_by_label("ログイン名").fill("kato")
            await page.locator("input[type=password]").fill(PASSWORD)
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", level=1)).to_contain_text("今日の連絡")
            for name, path in PICTURES.items():
                await page.goto(base + path)
                await _picture(page, IMAGES / f"{name}.png")
            await browser.close()
    finally:
        stop.set()
        await serving
        await library.services.close()


async def _picture(page: Page, file: Path) -> None:
    height = await page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": VIEW["width"], "height": min(height, MOST)}
    await page.screenshot(path=file, full_page=True, clip=clip)  # type: ignore[arg-type]
    sys.stdout.write(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KiB\n")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(take(Path(folder)))


if __name__ == "__main__":
    main()
