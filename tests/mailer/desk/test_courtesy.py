"""Every question of a page is asked while other work has been told to make way."""

import sqlalchemy as sa

from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.library import Library


async def test_a_page_is_made_before_mail(kato: Staff, library: Library) -> None:
    courtesy, engine = library.services.courtesy, library.services.ledger._reader.sync_engine
    seen: list[bool] = []

    def note(*_said: object) -> None:
        seen.append(courtesy.called_for)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        await kato.get("/")
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert seen
    assert all(seen)
    assert not courtesy.called_for
