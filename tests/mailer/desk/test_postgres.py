"""The desk on PostgreSQL: every page, every button and its undo, on the same made-up library."""

import re
from pathlib import Path

from tests.mailer.desk.conftest import Staff, browser
from tests.mailer.desk.library import CONFIG, Library, peopled

PAGES = (
    *("/", "/?view=all&branch=02&q=ささき", "/print", "/patrons?q=ちょうそかべ", "/patrons/1000208"),
    *("/patrons/1000208/resend", "/mails/1/text", "/report", "/report.csv", "/report.json", "/report/print"),
    *("/unsynced", "/unsynced.csv", "/quarantine", "/traffic", "/traffic/now", "/system"),
    *("/provisional", "/provisional.csv", "/system/accounts", "/system/accounts/kato", "/password"),
    *("/system/audit", "/system/audit?patron=1000208&who=admin", "/system/audit.csv", "/system/templates"),
)
PRESSES = (
    ("1000208", "reached", {}),
    ("1000123", "not_reached", {}),
    ("1000208", "works", {"address": "ichiro@outlook.jp"}),
    ("1000702", "never_got", {"address": "sakura@icloud.com"}),
    ("1000967", "works", {"address": "family@example.ne.jp"}),
    ("1000845", "address", {"new_address": "makoto.ito@example.net"}),
    ("1000533", "ignore", {"until": "2026-11-26"}),
    ("1000415", "resend", {}),
    ("1000951", "note", {"note": "来館時に"}),
)


async def test_every_page_and_button_works_on_postgresql_too(postgres_url: str, tmp_path: Path) -> None:
    library = Library(tmp_path, CONFIG.replace("sqlite:///todoku.db", postgres_url))
    await library.open()
    await peopled(library)
    async with browser(library) as client:
        admin = Staff(client)
        await admin.log_in("admin")
        for path in PAGES:
            assert (await admin.get(path)).status_code == 200, path
        listed = sorted(re.findall(r'id="row-(\d+)"', (await admin.get("/", view="all")).text))
        assert "090-0000-0142" in (await admin.open("1000208")).text
        for patron, kind, fields in PRESSES:
            done = await admin.act(patron, kind, **fields)
            number = re.search(r"/actions/(\d+)/undo", done.text)
            assert number, (patron, kind)
            assert (await admin.post(f"/actions/{number[1]}/undo", back="/")).status_code == 200
        assert sorted(re.findall(r'id="row-(\d+)"', (await admin.get("/", view="all")).text)) == listed
    await library.services.close()
