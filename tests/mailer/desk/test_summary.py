"""The morning's mail to staff: numbers only, once a day, through a real SMTP server."""

import email
import email.policy
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, time, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from holds_core.ledger.sql import put_flag
from mailer.app.summary import Summary
from mailer.sender import PAUSED
from tests.mailer.desk.library import CONFIG, Library
from tests.servers.sink import Sink

DUE = time(8, 30)
TOMORROW = timedelta(days=1)


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


def configured(when: str, port: int, *to: str) -> str:
    settings = f'desk: {{summary: {{when: "{when}", at: "08:30", to: [{", ".join(to)}]}}}}\n'
    return CONFIG.replace("port: 2525", f"port: {port}") + settings


class Office:
    """The library with the summary's task, started anew as often as a test likes."""

    def __init__(self, folder: Path, config: str) -> None:
        self._folder, self._config = folder, config
        self.library = Library(folder, config)

    def at(self, clock: time) -> None:
        zone = self.library.services.settings.library.timezone
        local = self.library.clock.time.astimezone(zone)
        self.library.clock.time = datetime.combine(local.date(), clock, zone)

    async def look(self) -> int:
        return await Summary(self.library.services).look()

    async def restart(self) -> None:
        now = self.library.clock.time
        await self.library.services.close()
        self.library = Library(self._folder, self._config)
        self.library.clock.time = now


@pytest.fixture
async def office(
    eight_days: Path, tmp_path: Path, sink: Sink, request: pytest.FixtureRequest
) -> AsyncIterator[Office]:
    shutil.copytree(eight_days, tmp_path, dirs_exist_ok=True)
    when = getattr(request, "param", "always")
    office = Office(tmp_path, configured(when, sink.port, "madoguchi@lib.example.jp", "kacho@lib.example.jp"))
    office.at(DUE)
    yield office
    await office.library.services.close()


def received(sink: Sink) -> list[EmailMessage]:
    return [email.message_from_bytes(raw, policy=email.policy.default) for raw in sink.messages()]


async def test_every_address_gets_the_numbers_of_the_morning(office: Office, sink: Sink) -> None:
    assert await office.look() == 2
    mails = received(sink)
    assert sorted(str(mail["To"]) for mail in mails) == ["kacho@lib.example.jp", "madoguchi@lib.example.jp"]
    for mail in mails:
        assert mail["Subject"] == "[届く] 11月22日(日) 連絡が必要な方 9名"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert "MAIL FROM:<>" in str(mail["X-Mail-Args"]) or str(mail["X-Mail-Args"]).strip() == "<>"
        body = mail.get_content()
        for line in (
            "きょう連絡が必要な方  9名",
            "中央図書館  7名",
            "南分館  3名",
            "Patrons to call today: 9",
        ):
            assert line in body


async def test_it_names_no_patron_address_or_title(office: Office, sink: Sink) -> None:
    await office.look()
    (body, _) = [mail.get_content() for mail in received(sink)]
    for said in ("佐々木", "ササキ", "1000208", "ichiro", "outlook.jp", "H500", "ひみつ", "03-5550-0142"):
        assert said not in body


async def test_its_numbers_are_those_of_the_pages(office: Office, sink: Sink) -> None:
    """The list, and the report of its usual days."""
    from tests.mailer.desk.conftest import Staff, browser

    await office.look()
    body = received(sink)[0].get_content()
    async with browser(office.library) as client:
        staff = Staff(client)
        await staff.log_in("kato")
        lines = (await staff.get("/report.json")).json()
        assert (await staff.get("/")).text.count('class="case"') == 9
    assert f"不達・到着確認なし(7日間)  {len(lines)}通" in body


async def test_a_restart_sends_nothing_again(office: Office, sink: Sink) -> None:
    assert await office.look() == 2
    for minutes in (1, 30, 200):
        await office.restart()
        office.library.clock.time += timedelta(minutes=minutes)
        assert await office.look() == 0
    office.at(DUE)
    office.library.clock.time += TOMORROW
    assert await office.look() == 2
    assert len(received(sink)) == 4


async def test_two_daemons_send_it_once(office: Office, sink: Sink) -> None:
    import asyncio

    summary = Summary(office.library.services)
    assert sum(await asyncio.gather(*(summary.look() for _ in range(4)))) == 2
    assert len(received(sink)) == 2


@pytest.mark.parametrize(
    ("clock", "sent"),
    [(time(8, 29), 0), (time(8, 30), 2), (time(12, 29), 2), (time(12, 30), 0), (time(23), 0)],
)
async def test_it_is_a_mail_of_the_morning(office: Office, clock: time, sent: int) -> None:
    office.at(clock)
    assert await office.look() == sent


async def test_with_the_relay_down_it_waits_and_is_sent_once(office: Office, sink: Sink) -> None:
    sink.stop()
    assert await office.look() == 0
    await office.restart()
    again = Sink(port=sink.port)
    try:
        office.library.clock.time += timedelta(minutes=5)
        assert await office.look() == 2
        assert await office.look() == 0
        assert len(received(again)) == 2
    finally:
        again.close()


async def test_what_may_have_left_with_a_dead_daemon_is_not_sent_again(office: Office, sink: Sink) -> None:
    zone = office.library.services.settings.library.timezone
    await Summary(office.library.services)._next(office.library.clock.time.astimezone(zone))
    await office.restart()
    assert await office.look() == 0  # it might still be under way
    office.library.clock.time += timedelta(minutes=16)
    assert await office.look() == 1
    assert [str(mail["To"]) for mail in received(sink)] == ["kacho@lib.example.jp"]


@pytest.mark.parametrize("office", ["off"], indirect=True)
async def test_off_sends_nothing(office: Office, sink: Sink) -> None:
    assert await office.look() == 0
    assert received(sink) == []


@pytest.mark.parametrize("when", ["always", "if_any"])
async def test_a_library_with_nothing_to_do(tmp_path: Path, sink: Sink, when: str) -> None:
    office = Office(tmp_path, configured(when, sink.port, "madoguchi@lib.example.jp"))
    await office.library.open()
    office.at(DUE)
    assert await office.look() == (1 if when == "always" else 0)
    if when == "always":
        assert "きょう対応が必要なものはありません" in received(sink)[0].get_content()
    # it is decided in the morning: what comes later waits for tomorrow
    await office.library.patron("1", "図書 花子", "トショ ハナコ", "", branch="02")
    await office.library.shelve("H1", "1")
    office.library.clock.time += timedelta(hours=1)
    assert await office.look() == 0
    office.at(DUE)
    office.library.clock.time += TOMORROW
    assert await office.look() == 1
    await office.library.services.close()


@pytest.mark.parametrize("office", ["if_any"], indirect=True)
async def test_stopped_mail_is_something_and_is_said(office: Office, sink: Sink) -> None:
    async with office.library.ledger.write() as connection:
        await put_flag(connection, PAUSED, {"why": "試し"}, office.library.clock.time)
    assert await office.look() == 2
    assert "メールの送信を止めています" in received(sink)[0].get_content()
