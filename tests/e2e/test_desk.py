"""The staff desk in a real browser, over real HTTP: what a librarian does in the morning, wide and narrow.

Screenshots go to $TODOKU_SCREENSHOTS if it is set, in CI else to build/screenshots, which git ignores.
Chromium is Debian's (`/usr/bin/chromium`).
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from mailer.app.web.serve import WebServer
from tests.mailer.desk.conftest import eight_days  # noqa: F401 - a fixture
from tests.mailer.desk.library import PASSWORD, Library
from tests.mailer.desk.test_pages import quarantined
from tests.mailer.desk.test_provisional import made_up

CHROMIUM = "/usr/bin/chromium"
_CI = Path(__file__).resolve().parents[2] / "build" / "screenshots" if os.environ.get("CI") else None
SCREENSHOTS = Path(os.environ["TODOKU_SCREENSHOTS"]) if os.environ.get("TODOKU_SCREENSHOTS") else _CI
if SCREENSHOTS is not None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
expect.set_options(timeout=20_000)
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
WIDE, NARROW = (1280, 800), (375, 740)
PAGES = (
    *("/", "/?view=all", "/print", "/patrons", "/patrons?q=長曽我部", "/patrons/1000208"),
    *("/patrons/1000208/resend", "/report", "/report/print", "/unsynced", "/quarantine", "/traffic"),
    *("/provisional", "/system", "/system/accounts", "/system/accounts/kato", "/system/audit", "/password"),
    *("/system/settings", "/system/templates", "/system/templates/hold_ready/ja", "/stop"),
    *("/slips", "/closures", "/shelf", "/closed"),
)


class Desk:
    """The running desk and one browser window; collects whatever the browser complains of."""

    def __init__(self, library: Library, page: Page, base: str) -> None:
        self.library, self.page, self.base = library, page, base
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url))

    async def go(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def log_in(self, login: str = "kato") -> None:
        """With the keyboard alone: the first field has the focus."""
        await self.go("/login")
        await expect(self.page.get_by_label("ログイン名")).to_be_focused()
        await self.page.keyboard.type(login)
        await self.page.keyboard.press("Tab")
        await self.page.keyboard.type(PASSWORD)
        await self.page.keyboard.press("Enter")
        await expect(self.page.get_by_role("heading", level=1)).to_contain_text("今日の連絡")

    async def picture(self, name: str) -> None:
        if SCREENSHOTS is not None:
            await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def row(self, patron_id: str):  # type: ignore[no-untyped-def]
        return self.page.locator(f"#row-{patron_id}")


@pytest.fixture
async def desk(eight_days: Path, tmp_path: Path) -> AsyncIterator[Desk]:  # noqa: F811
    shutil.copytree(eight_days, tmp_path, dirs_exist_ok=True)
    library = Library(tmp_path)
    library.serial = 1000
    server, stop = WebServer(library.app(), "127.0.0.1", 0), asyncio.Event()
    server.bind()
    serving = asyncio.create_task(server.run(stop))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = await browser.new_context(
            viewport={"width": WIDE[0], "height": WIDE[1]}, locale="ja-JP", accept_downloads=True
        )
        context.set_default_timeout(20_000)
        yield Desk(library, await context.new_page(), f"http://127.0.0.1:{server.port}/desk")
        await browser.close()
    stop.set()
    await serving
    await library.services.close()


async def test_a_morning_at_the_desk(desk: Desk) -> None:
    """Log in, open a row, see the number, record the call, take it back, record it again."""
    await desk.log_in()
    page = desk.page
    await expect(page.locator(".case")).to_have_count(9)
    await desk.picture("calls")
    await desk.row("1000208").get_by_role("button", name="電話する").click()
    row = desk.row("1000208")
    await expect(row.get_by_role("link", name="090-0000-0142")).to_be_visible()
    await expect(row).to_contain_text("お取り置きは11月23日(月)までです")
    await desk.picture("calls-open")
    await row.get_by_label("メモ").fill("明日いらっしゃいます")
    await row.get_by_role("button", name="連絡できた").click()
    await expect(page.get_by_role("status")).to_contain_text("「連絡できた」を記録しました")
    await expect(page.locator(".case")).to_have_count(8)
    await desk.picture("calls-done")
    await page.get_by_role("button", name="取り消す").click()
    await expect(page.locator(".case")).to_have_count(9)
    await page.goto(desk.base + "/patrons/1000208")
    await expect(page.locator(".story")).to_contain_text("明日いらっしゃいます")
    await expect(page.locator(".story")).to_contain_text("取り消し: 加藤 由美")
    assert desk.complaints == []


@pytest.mark.parametrize(
    ("patron", "button", "says"),
    [
        ("1000845", "不在・つながらない", "「不在・つながらない」を記録しました"),
        ("1000845", "留守電・家族に伝言", "「留守電・家族に伝言」を記録しました"),
        ("1000845", "電話番号が違う", "「電話番号が違う」を記録しました"),
        ("1000208", "メールは届いている", "「メールは届いている」を記録しました"),
        ("1000208", "メールは届いていない", "「メールは届いていない」を記録しました"),
    ],
)
async def test_each_button_does_what_it_says(desk: Desk, patron: str, button: str, says: str) -> None:
    await desk.log_in()
    await desk.row(patron).get_by_role("button", name="電話する").click()
    await desk.row(patron).get_by_role("button", name=button, exact=True).click()
    await expect(desk.page.get_by_role("status")).to_contain_text(says)


async def test_an_address_is_corrected_and_exported(desk: Desk) -> None:
    await desk.log_in()
    page = desk.page
    await desk.go("/patrons/1000845")
    await page.get_by_text("アドレスの訂正・保留").click()
    await page.get_by_label("正しいアドレス").fill("makoto@gmial.com")
    await page.get_by_label("正しいアドレス").press("Enter")
    # Enter in a field is the harmless button: an empty note, which is refused
    await expect(page.get_by_role("heading", level=1)).to_contain_text("入力を確認してください")
    await page.go_back()
    await page.get_by_text("アドレスの訂正・保留").click()
    await page.get_by_label("正しいアドレス").fill("makoto.ito@example.net")
    await page.get_by_role("button", name="このアドレスに訂正").click()
    await expect(page.locator(".column-side")).to_contain_text("職員が訂正")
    await desk.picture("patron-corrected")
    await desk.go("/unsynced")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").click()
    content = Path(await (await download.value).path()).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    assert "makoto.ito@example.net" in content.decode("utf-8-sig")


async def test_the_report_is_narrowed_and_downloaded(desk: Desk) -> None:
    await desk.log_in()
    page = desk.page
    await desk.go("/report")
    await page.get_by_label("受取館").select_option(label="南分館 (3)")
    await page.get_by_role("button", name="表示").click()
    await expect(page.locator("tbody tr")).to_have_count(3)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").click()
    found = await download.value
    assert re.fullmatch(r"fudatsu_\d{8}-\d{8}\.csv", found.suggested_filename)
    assert len(Path(await found.path()).read_text("utf-8-sig").splitlines()) == 4


async def test_a_batch_under_way_shows_itself(desk: Desk) -> None:
    await desk.log_in()
    await desk.library.shelve("H800", "1000377")
    await desk.go("/traffic")
    tile = desk.page.locator(".tiles p").first
    await expect(tile).to_contain_text("1")
    await desk.library.send("2026-11-22 朝")
    await expect(tile).to_contain_text("0")
    await expect(desk.page.locator("[data-live] tbody tr").first).to_contain_text("11月22日(日) 9:10")
    assert desk.complaints == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_no_page_is_cut_off_unlabelled_or_asks_elsewhere(desk: Desk, size: tuple[int, int]) -> None:
    await quarantined(desk.library)
    await desk.log_in("admin")
    await desk.page.set_viewport_size({"width": size[0], "height": size[1]})
    await desk.go("/")
    await desk.row("1000951").get_by_role("button", name="電話する").click()
    faults = [f"/ opened: {fault}" for fault in await desk.page.evaluate(_FAULTS)]
    await desk.picture(f"{size[0]}-opened")
    for path in PAGES:
        await desk.go(path)
        faults += [f"{path}: {fault}" for fault in await desk.page.evaluate(_FAULTS)]
        await desk.picture(f"{size[0]}-{re.sub('[^a-z0-9]+', '-', path.lower()).strip('-') or 'calls'}")
    assert faults == []
    assert desk.complaints == []
    assert [url for url in desk.asked if not url.startswith(desk.base)] == []


_FAULTS = """() => {
  const faults = [];
  const seen = (element) => element.getClientRects().length > 0 && element.tabIndex >= 0;
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) {
    faults.push("wider than the window: " + document.documentElement.scrollWidth);
  }
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!field.labels.length || !field.labels[0].textContent.trim()) faults.push("no label: " + field.name);
  }
  for (const thing of document.querySelectorAll("button, a")) {
    const name = thing.textContent.trim() || thing.getAttribute("aria-label");
    if (seen(thing) && !name) faults.push("no name: " + thing.outerHTML.slice(0, 80));
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) faults.push("twice: #" + id);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.documentElement.lang || !document.title.trim()) faults.push("no language or title");
  for (const value of document.querySelectorAll("dd, td")) {
    // a column so narrow that each letter has a line of its own
    if (value.getClientRects().length && value.textContent.trim().length > 4 && value.clientWidth < 24) {
      faults.push("squeezed: " + value.textContent.trim().slice(0, 40));
    }
  }
  for (const chart of document.querySelectorAll("svg:not([aria-hidden])")) {
    if (!chart.getAttribute("aria-label")) faults.push("a chart without words");
  }
  return faults;
}"""


async def test_the_sheet_fits_on_a4(desk: Desk) -> None:
    await desk.log_in()
    page = desk.page
    await desk.go("/print")
    await page.get_by_role("button", name="電話番号も載せる(記録されます)").click()
    await expect(page.get_by_text("03-5550-0133")).to_be_visible()
    await page.emulate_media(media="print")
    # 210 mm less the margins of 11 mm, at 96 dots an inch
    await page.set_viewport_size({"width": 710, "height": 1000})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 710
    await expect(page.get_by_text("取扱注意")).to_be_visible()
    await expect(page.locator("header.head")).to_be_hidden()
    await desk.picture("sheet")
    assert (await page.pdf(format="A4")).startswith(b"%PDF")


async def test_english_is_a_press_away(desk: Desk) -> None:
    await desk.log_in()
    await desk.page.get_by_role("button", name="English").click()
    await expect(desk.page.get_by_role("heading", level=1)).to_contain_text("Today's calls")
    await desk.picture("calls-english")
    await desk.page.get_by_role("button", name="日本語").click()
    await expect(desk.page.get_by_role("heading", level=1)).to_contain_text("今日の連絡")


async def test_a_forged_form_and_a_missing_right_are_refused(desk: Desk) -> None:
    await desk.log_in()
    page = desk.page
    await desk.go("/stop")
    await page.get_by_label("理由").fill("試し")
    await page.evaluate("document.querySelector('main [name=csrf]').value = '0'.repeat(64)")
    await page.get_by_role("button", name="送信を止める").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("有効期限が切れました")
    await desk.go("/system/audit")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("許可されていません")


async def test_two_at_the_same_list_see_each_other(desk: Desk) -> None:
    await desk.log_in()
    await desk.row("1000208").get_by_role("button", name="電話する").click()
    browser = desk.page.context.browser
    assert browser is not None
    other = Desk(desk.library, await (await browser.new_context(locale="ja-JP")).new_page(), desk.base)
    await other.log_in("mori")
    await expect(other.row("1000208")).to_contain_text("加藤 由美さんが対応中")
    await other.row("1000208").get_by_role("button", name="引き継ぐ").click()
    await other.row("1000208").get_by_role("button", name="連絡できた").click()
    await expect(other.page.get_by_role("status")).to_be_visible()
    await desk.row("1000208").get_by_role("button", name="連絡できた").click()
    await expect(desk.page.get_by_role("heading", level=1)).to_contain_text("先に更新されています")
    await expect(desk.page.locator(".changes")).to_contain_text("森 健一: 連絡できた")
    await desk.picture("stale")


async def test_an_admin_adds_somebody_who_chooses_a_password(desk: Desk) -> None:
    await desk.log_in("admin")
    page = desk.page
    await desk.go("/system/accounts")
    await page.get_by_label("ログイン名").fill("yamada")
    await page.get_by_label("氏名").fill("山田 次郎")
    await page.get_by_label("南分館").check()
    await page.get_by_role("button", name="追加する").click()
    password = await page.locator(".one-time").text_content()
    await desk.picture("one-time-password")
    browser = page.context.browser
    assert browser is not None
    other = Desk(desk.library, await (await browser.new_context(locale="ja-JP")).new_page(), desk.base)
    await other.go("/login")
    await other.page.keyboard.type("yamada")
    await other.page.get_by_label("パスワード").fill(password or "")
    await other.page.keyboard.press("Enter")
    await expect(other.page.get_by_role("heading", level=1)).to_contain_text("パスワードの変更")
    await other.picture("password-to-be-chosen")
    await expect(other.page.get_by_label("いまのパスワード")).to_be_focused()
    await other.page.keyboard.type(password or "")
    for label in ("新しいパスワード(10文字以上)", "新しいパスワード(もう一度)"):
        await other.page.get_by_label(label).fill("kawa-no-soko-2026")
    await other.page.keyboard.press("Enter")
    await expect(other.page.get_by_role("heading", level=1)).to_contain_text("今日の連絡")
    await expect(other.page.locator(".case")).to_have_count(3)
    await desk.go("/system/accounts/yamada")
    await page.get_by_role("button", name="停止する").click()
    await expect(page.get_by_role("status")).to_contain_text("停止し")
    await other.page.reload()
    await expect(other.page.get_by_label("ログイン名")).to_be_visible()
    assert desk.complaints == []


async def test_a_provisional_address_gives_way_and_comes_back(desk: Desk) -> None:
    await made_up(desk.library)
    await desk.log_in()
    page = desk.page
    await desk.go("/provisional")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.get_by_label("2000101の正しいアドレス").fill("hajime@example.net")
    await page.keyboard.press("Enter")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await desk.picture("provisional-done")
    await page.get_by_role("button", name="取り消す").click()
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.get_by_label("館").select_option(label="南分館 (1)")
    await expect(page.locator("tbody tr")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").click()
    assert "2000103" in Path(await (await download.value).path()).read_text("utf-8-sig")
    assert desk.complaints == []


async def test_the_audit_trail_is_narrowed_and_downloaded(desk: Desk) -> None:
    await desk.log_in("admin")
    page = desk.page
    await desk.row("1000208").get_by_role("button", name="電話する").click()
    await desk.row("1000208").get_by_role("button", name="不在・つながらない").click()
    await desk.go("/system/audit")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.locator("select[name=what]").select_option(label="対応(すべて)")
    await page.get_by_label("利用者番号").fill("1000208")
    await page.get_by_role("button", name="表示").click()
    row = page.locator("tbody tr")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("不在・11月23日(月)に再度・電話1回")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").click()
    assert len(Path(await (await download.value).path()).read_text("utf-8-sig").splitlines()) == 2
    assert desk.complaints == []


@pytest.mark.parametrize("path", ["/report/print", "/patrons/1000208", "/unsynced", "/system/audit"])
async def test_what_goes_on_paper_fits_on_a4(desk: Desk, path: str) -> None:
    await desk.log_in("admin")
    page = desk.page
    await page.set_viewport_size({"width": 710, "height": 1000})
    await page.emulate_media(media="print")
    await desk.go(path)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 710
    await desk.picture(f"paper-{re.sub('[^a-z0-9]+', '-', path).strip('-')}")
    assert (await page.pdf(format="A4")).startswith(b"%PDF")
