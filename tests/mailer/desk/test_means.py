"""A library that does not phone: its list proposes letters, and words at the counter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mailer.desk.conftest import Staff, browser
from tests.mailer.desk.library import CONFIG, Library


@pytest.mark.parametrize(("fallback", "shown"), [("always", "電話する"), ("never", "来館時に伝える")])
async def test_what_the_list_proposes(tmp_path: Path, fallback: str, shown: str) -> None:
    library = Library(tmp_path, CONFIG + f"\ncase: {{phone_fallback: {fallback}}}\n")
    await library.open()
    await library.event("patron", patron_id="P1", name="図書 花子", contact="phone", phones=["03-5550-0199"])
    await library.shelve("H1", "P1", deadline="2026-11-23")
    async with browser(library) as client:
        staff = Staff(client)
        await staff.log_in("kato")
        page = (await staff.get("/")).text
        assert shown in page
        assert shown in (await staff.get("/print")).text
    await library.services.close()
