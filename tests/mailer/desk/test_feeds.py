"""What staff see of the library system's lists: what the data are as of, and a list that was not taken in."""

from datetime import timedelta

from holds_core.feeds.mapping import Kind
from holds_core.ledger import snapshots
from holds_core.ledger.snapshots import Run, Source
from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.library import Library

HOLDS = Source("nightly", Kind.HOLDS)


async def begun(library: Library, state: str, file: str, forced_by: str = "") -> Run:
    now = library.clock.time
    as_of = now - timedelta(minutes=20)
    async with library.services.ledger.write() as connection:
        run_id = await snapshots.begin(
            connection,
            HOLDS,
            file=file,
            digest="d",
            as_of=as_of,
            now=now,
            state=state,
            baseline=False,
            figures={},
            forced_by=forced_by,
        )
    return Run(run_id, "d", as_of, baseline=False, state=state)


async def test_a_list_that_was_refused_is_seen_until_another_is_taken_in(
    library: Library, admin: Staff
) -> None:
    await begun(library, "refused", "yoyaku_20261124_0210.csv")
    page = (await admin.get("/system")).text
    assert "yoyaku_20261124_0210.csv" in page
    assert "todoku import --force" in page
    run = await begun(library, "applying", "yoyaku_20261124_0210.csv", "cli:hanako")
    async with library.services.ledger.write() as connection:
        await snapshots.finish(connection, HOLDS, run, library.clock.time, {})
    assert "yoyaku_20261124_0210.csv" not in (await admin.get("/system")).text
    audit = (await admin.get("/system/audit")).text
    assert "差の大きい一覧を、確認のうえ取り込み" in audit
    assert "cli:hanako" in audit


async def test_every_list_says_what_the_data_are_as_of(library: Library, admin: Staff) -> None:
    library.clock.time += timedelta(hours=1)
    run = await begun(library, "applying", "yoyaku.csv")
    async with library.services.ledger.write() as connection:
        await snapshots.finish(connection, HOLDS, run, library.clock.time, {})
    local = run.as_of.astimezone(library.services.settings.library.timezone)
    said = f"{local.month}月{local.day}日"
    for path in ("/", "/report", "/report/print", "/print", "/unsynced"):
        page = await admin.get(path)
        assert page.status_code == 200, path
        line = next((line for line in page.text.splitlines() if "現在" in line), "")
        assert said in line, path
        assert f"{local.hour}:{local.minute:02} 現在" in line, path
