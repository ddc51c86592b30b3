"""Alerts over real SMTP: they arrive when the main relay is what is wrong, once, and never name a patron."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bounces.mailbox import MailboxState, MailboxStatus
from holds_core.alerts import Trouble
from holds_core.breaker import Limit, Window
from holds_core.ledger import breaker, slots, troubles
from holds_core.ledger.models import inbound, provider_alerts
from holds_core.ledger.sql import put_flag
from holds_core.providers import FEW_PATRONS
from mailer.app.alerts import Alerts, Senses
from mailer.sender import PAUSED
from tests.mailer.alerts.conftest import Office, mails, office
from tests.mailer.web.conftest import event, take_in
from tests.servers.ports import free_port
from tests.servers.sink import Sink

Sinks = Callable[..., Sink]


async def tell(place: Office) -> tuple[list[str], list[str]]:
    """One look of a process that has just started. Returns what was told and what was over."""
    decision = await place.alerts().tick()
    assert decision is not None
    return [item.key for item in decision.tell], [item.key for item in decision.over]


NOTHING: tuple[list[str], list[str]] = ([], [])


# The ways -----------------------------------------------------------------------------------------


async def test_main_relay_down_the_mail_arrives_by_the_second(
    tmp_path: Path, smtp_sink: Sinks, nobody: int
) -> None:
    second = smtp_sink()
    more = f"relay: {{host: 127.0.0.1, port: {second.port}, tls: none}}, from: todoku@library.example"
    async with office(tmp_path, nobody, more=more) as place:
        alerts = place.alerts()
        await alerts.tick()
        assert second.count() == 0, "a relay that has just gone is no trouble yet"
        for _ in range(11):
            place.later(minutes=1)
            await alerts.tick()
    first, other = mails(second)
    assert (first["To"], other["To"]) == ("it@city.example", "boss@city.example")
    assert first["From"] == "Todoku <todoku@library.example>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert "FROM:<>" in first["X-Mail-Args"].upper().replace(" ", "") or "<>" in first["X-Mail-Args"]
    assert first["Subject"].startswith("[Todoku] 異常: 中継サーバーに接続できません / Trouble: the relay")
    text = first.get_content()
    assert text.index("中継サーバーに接続できません") < text.index("The relay cannot be reached")
    assert f"127.0.0.1:{nobody}" in text
    assert first["Message-ID"] != other["Message-ID"]


async def test_a_reload_changes_the_way_out(tmp_path: Path, smtp_sink: Sinks, nobody: int) -> None:
    """The very task that runs: where its mail leaves, and the relay it looks at, are asked for anew each time."""
    former, present = smtp_sink(), smtp_sink()
    more = f"relay: {{host: 127.0.0.1, port: {former.port}, tls: none}}"
    async with office(tmp_path, former.port, more=more) as place:
        services = place.services
        alerts = Alerts(services, Senses())
        await alerts.tick()
        old = services.settings
        second = old.alerts.relay.model_copy(update={"port": present.port}) if old.alerts.relay else None
        new = old.model_copy(
            update={
                "alerts": old.alerts.model_copy(update={"relay": second, "relay_down": timedelta(minutes=3)}),
                "relay": old.relay.model_copy(update={"port": nobody}),
            }
        )
        services.take(services.decide(new, services.secrets))
        for _ in range(10):
            place.later(minutes=1)
            await alerts.tick()
    assert former.count() == 0
    assert present.count() == 2
    assert f"127.0.0.1:{nobody}" in mails(present)[0].get_content()


async def test_without_a_second_relay_this_machines_own_server_takes_it(
    tmp_path: Path, smtp_sink: Sinks, nobody: int
) -> None:
    own = smtp_sink()
    async with office(tmp_path, nobody, local_port=own.port) as place:
        alerts = place.alerts()
        for _ in range(12):
            await alerts.tick()
            place.later(minutes=1)
    assert own.count() == 2, "one mail to each, and no more"


async def test_a_relay_that_refuses_our_mail_is_no_way_out_either(tmp_path: Path, smtp_sink: Sinks) -> None:
    main = smtp_sink("-f", "DATA", "-B", "550 5.7.1 refused")
    own = smtp_sink()
    async with office(tmp_path, main.port, local_port=own.port) as place:
        await trip(place)
        assert await tell(place) == (["batch_stopped:"], [])
    assert own.count() == 2
    [text, _] = [mail.get_content() for mail in mails(own)]
    assert "直近5通のうち5通" in text
    assert "送信元の認証" in text
    assert "5 of the last 5 mails" in text


async def test_a_server_that_takes_no_null_sender_gets_froms(tmp_path: Path, smtp_sink: Sinks) -> None:
    picky = smtp_sink()
    async with office(tmp_path, picky.port) as place:
        await trip(place)
        assert await tell(place) == (["batch_stopped:"], [])
    assert picky.count() == 2
    strict = smtp_sink("-f", "MAIL", "-B", "550 5.7.60 no null sender")
    async with office(tmp_path / "..", strict.port, url=f"sqlite:///{tmp_path}/other.db") as place:
        await trip(place)
        await place.alerts().tick()
        async with place.services.ledger.read() as connection:
            [item] = await troubles.known(connection)
        assert item.told_at is None, "nobody took it: it is not told"


async def test_no_way_at_all_is_tried_again_until_one_opens(
    tmp_path: Path, smtp_sink: Sinks, nobody: int
) -> None:
    async with office(tmp_path, nobody, local_port=free_port()) as place:
        await trip(place)
        for _ in range(3):
            assert (await tell(place))[0] == ["batch_stopped:"]
            place.later(minutes=1)
        own = smtp_sink(port=place.local_port)
        assert (await tell(place))[0] == ["batch_stopped:"]
        place.later(minutes=1)
        assert await tell(place) == NOTHING
    assert own.count() == 2


async def test_a_restart_tells_nothing_twice(tmp_path: Path, smtp_sink: Sinks) -> None:
    sink = smtp_sink()
    for restart in range(4):
        async with office(tmp_path, sink.port) as place:
            if restart == 0:
                await trip(place)
            place.later(minutes=restart)
            assert (await tell(place))[0] == (["batch_stopped:"] if restart == 0 else [])
    assert sink.count() == 2


async def test_told_again_while_it_lasts_and_once_when_it_is_over(tmp_path: Path, smtp_sink: Sinks) -> None:
    sink = smtp_sink()
    async with office(tmp_path, sink.port, more="repeat: 1h") as place:
        await trip(place)
        told = []
        for minute in range(125):
            if (await tell(place))[0]:
                told.append(minute)
            place.later(minutes=1)
        assert told == [0, 60, 120]
        async with place.services.ledger.write() as connection:
            await breaker.resume(connection, place.clock.now())
        over = []
        for minute in range(30):
            if (await tell(place))[1]:
                over.append(minute)
            place.later(minutes=1)
        assert over == [10]
    *_, last = mails(sink)
    assert last["Subject"] == "[Todoku] 復旧: 送信を自動で止めました / Over: sending stopped by itself"


async def test_without_recipients_it_is_only_logged(
    tmp_path: Path, smtp_sink: Sinks, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = smtp_sink()
    async with office(tmp_path, sink.port) as place:
        place.services.sender.rulebook = place.services.rulebook
        settings = place.services.settings
        quiet = settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"to": ()})})
        place.services.rulebook.settings.__dict__.update(quiet.__dict__)
        await trip(place)
        assert await tell(place) == (["batch_stopped:"], [])
        place.later(minutes=1)
        assert await tell(place) == NOTHING
    assert sink.count() == 0
    out, err = capsys.readouterr()
    assert (out + err).count("batch_stopped") == 1


async def test_of_two_daemons_one_tells(tmp_path: Path, smtp_sink: Sinks) -> None:
    sink = smtp_sink()
    async with office(tmp_path, sink.port) as place:
        await trip(place)
        async with place.services.ledger.write() as connection:
            assert await troubles.take_turn(connection, "other", place.clock.now())
        assert await place.alerts().tick() is None
        place.later(minutes=6)
        assert (await tell(place))[0] == ["batch_stopped:"], "the other died in its turn"
    assert sink.count() == 2


# What is found ------------------------------------------------------------------------------------


async def trip(place: Office) -> None:
    """The breaker opens."""
    window = Window(Limit())
    now = place.clock.now()
    for _ in range(5):
        window.note(now, ours=True)
    async with place.services.ledger.write() as connection:
        await breaker.open_(connection, Limit(), now, window, "authfailure", "550 5.7.1")


@pytest.fixture
def calm(smtp_sink: Sinks) -> Sink:
    """A relay that takes everything."""
    return smtp_sink()


async def test_all_is_well(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        assert await tell(place) == NOTHING
    assert calm.count() == 0


async def test_the_relay_comes_back(tmp_path: Path, smtp_sink: Sinks, nobody: int) -> None:
    own = smtp_sink()
    async with office(tmp_path, nobody, local_port=own.port) as place:
        alerts = place.alerts()
        seen: list[tuple[int, list[str], list[str]]] = []
        for minute in range(40):
            if minute == 20:
                smtp_sink(port=nobody)
            decision = await alerts.tick()
            assert decision is not None
            if decision.anything:
                keys = ([item.key for item in decision.tell], [item.key for item in decision.over])
                seen.append((minute, *keys))
            place.later(minutes=1)
    assert seen == [(10, ["relay_down:"], []), (30, [], ["relay_down:"])]


async def test_a_relay_that_mail_goes_through_is_not_asked(tmp_path: Path, nobody: int) -> None:
    async with office(tmp_path, nobody) as place:
        alerts = place.alerts()
        for sent in range(1, 30):
            place.services.sender.state.sent = sent
            place.later(minutes=1)
            decision = await alerts.tick()
            assert decision is not None
            assert not decision.anything


async def test_a_batch_that_was_missed_or_never_ran(tmp_path: Path, calm: Sink) -> None:
    batches = '[{name: 朝, at: "12:10"}, {name: 昼, at: "12:20"}]'
    async with office(tmp_path, calm.port, batches=batches) as place:
        place.later(minutes=39)
        assert await tell(place) == NOTHING
        place.later(minutes=2)
        assert await tell(place) == (["batch_missed:2026-11-24 朝"], [])
        async with place.services.ledger.write() as connection:
            await slots.run(connection, "2026-11-24 昼", place.clock.now(), place.clock.now())
            await slots.run(connection, "2026-11-24 朝", place.clock.now(), place.clock.now(), "missed")
        place.later(minutes=30)
        assert await tell(place) == NOTHING, "told already, and the other one has run"
    assert "2026-11-24 朝" in mails(calm)[0].get_content()


async def test_slots_before_the_first_start_are_nobodys(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port, batches='[{name: 朝, at: "09:10"}]') as place:
        place.later(hours=20)
        assert await tell(place) == NOTHING


async def test_the_breaker_waits_for_a_person(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        await trip(place)
        assert await tell(place) == (["batch_stopped:"], [])
        async with place.services.ledger.write() as connection:
            for _ in range(3):
                place.later(hours=1)
                assert await breaker.begin_test(connection, place.clock.now())
                await breaker.end_test(connection, Limit(), place.clock.now(), passed=False)
        assert "batch_stopped:person" in (await tell(place))[0]
    assert "todoku resume" in mails(calm)[-1].get_content()


async def test_prompt_mail_that_is_late(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        await take_in(
            place.services,
            event("patron", patron_id="p-1", email="hanako@example.ne.jp"),
            event("hold.placed", hold_id="h-1", patron_id="p-1", title="こころ", branch="main"),
        )
        place.later(minutes=11)
        assert await tell(place) == NOTHING
        async with place.services.ledger.write() as connection:
            await put_flag(connection, PAUSED, {"by": "x", "why": "y"}, place.clock.now())
        place.later(minutes=2)
        assert await tell(place) == NOTHING, "stopped by a person"
        async with place.services.ledger.write() as connection:
            await put_flag(connection, PAUSED, None, place.clock.now())
        assert await tell(place) == (["prompt_late:"], [])


async def test_an_lmtp_listener_that_is_gone(tmp_path: Path, calm: Sink, nobody: int) -> None:
    senses = Senses(lmtp=lambda: ("127.0.0.1", nobody))
    intake = f'{{lmtp: {{listen: "127.0.0.1:{nobody}"}}}}'
    async with office(tmp_path, calm.port, intake=intake, senses=senses) as place:
        alerts = place.alerts()
        told = []
        for minute in range(35):
            decision = await alerts.tick()
            assert decision is not None
            told += [(minute, item.key) for item in decision.tell]
            place.later(minutes=1)
        assert told == [(30, "intake_dead:lmtp")]


async def test_a_mailbox_that_cannot_be_reached(tmp_path: Path, calm: Sink) -> None:
    state = MailboxState(MailboxStatus.REFUSED)
    async with office(tmp_path, calm.port, senses=Senses(mailbox=lambda: state)) as place:
        alerts = place.alerts()
        told, over = [], []
        for minute in range(60):
            if minute == 40:
                state = MailboxState(MailboxStatus.LISTENING)
            decision = await alerts.tick()
            assert decision is not None
            told += [(minute, item.key) for item in decision.tell]
            over += [(minute, item.key) for item in decision.over]
            place.later(minutes=1)
        assert (told, over) == ([(30, "intake_dead:imap")], [(50, "intake_dead:imap")])


async def mail_came(place: Office, state: str, count: int) -> None:
    async with place.services.ledger.write() as connection:
        for number in range(count):
            await connection.execute(
                sa.insert(inbound).values(
                    received_at=place.clock.now(), source="lmtp", envelope_from="hanako@example.ne.jp",
                    envelope_to=[], truncated=False, digest=f"{state}{number}", state=state,
                )
            )  # fmt: skip


async def test_mail_that_nobody_reads(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        await mail_came(place, "new", 1)
        place.later(minutes=29)
        assert await tell(place) == NOTHING
        place.later(minutes=2)
        assert await tell(place) == (["intake_dead:reading"], [])


async def test_quarantine_that_grows(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        await mail_came(place, "quarantined", 20)
        assert await tell(place) == NOTHING
        await mail_came(place, "quarantined", 0)
        async with place.services.ledger.write() as connection:
            await connection.execute(
                sa.insert(inbound).values(
                    received_at=place.clock.now(), source="lmtp", envelope_from="", envelope_to=[],
                    truncated=False, digest="one more", state="quarantined",
                )
            )  # fmt: skip
        assert await tell(place) == (["quarantine_growing:"], [])
        place.later(hours=25)
        await place.alerts().tick()
        place.later(minutes=10)
        assert await tell(place) == ([], ["quarantine_growing:"])
    assert "21 通" in mails(calm)[0].get_content()


async def test_a_library_system_that_has_gone_silent(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        place.later(days=2)
        news = event("patron", patron_id="p-1", email="hanako@example.ne.jp")
        await take_in(place.services, news | {"at": place.clock.now().isoformat()})
        place.later(days=2)
        assert await tell(place) == NOTHING
        place.later(days=2)
        assert await tell(place) == (["feed_stale:"], [])


async def test_a_feed_that_is_late_by_its_own_measure_is_named(tmp_path: Path, calm: Sink) -> None:
    (tmp_path / "in").mkdir()
    feeds = "{snapshots: [{name: nightly, folder: in, late_after: 36h, holds: {files: h*.csv}}]}"
    async with office(tmp_path, calm.port, feeds=feeds) as place:
        at = place.clock.now().isoformat()
        async with place.services.ledger.write() as connection:
            await put_flag(connection, "feed:nightly", {"as_of": at, "run_at": at}, place.clock.now())
        place.later(hours=35)
        assert await tell(place) == NOTHING
        place.later(hours=2)
        assert await tell(place) == (["feed_stale:nightly"], [])
    assert "(nightly)" in mails(calm)[0]["Subject"]


async def test_a_provider_that_changed(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port) as place:
        now = place.clock.now()
        alert = {
            "opened_at": now, "since": now, "shown": 3, "expected": 0.8, "loss_before": 0.1, "loss_now": 0.7,
            "suspect": "provider", "changed_at": now,
        }  # fmt: skip
        async with place.services.ledger.write() as connection:
            for domain in ("outlook.jp", "yamada-hanako.example", "cable.example", "tiny-school.ed.jp"):
                await connection.execute(sa.insert(provider_alerts).values(**alert, domain=domain, sent=12))
        people = [f"p{number}@cable.example" for number in range(FEW_PATRONS)]
        people += [f"{number}@yamada-hanako.example" for number in range(FEW_PATRONS - 1)]
        patrons = [
            event("patron", patron_id=f"p-{number}", email=address) for number, address in enumerate(people)
        ]
        await take_in(place.services, *patrons)
        with capture_logs() as logs:
            assert len((await tell(place))[0]) == 4
    text = mails(calm)[0].get_content()
    assert "outlook.jp: 到着の手がかりは 25% (これまで 80%、12通)" in text
    assert "cable.example: 到着の手がかりは" in text, "so many patrons are nobody in particular"
    for said in (mails(calm)[0].as_string(), text, str(logs)):
        assert "yamada" not in said, "a domain of few patrons may be somebody's own"
        assert "tiny-school" not in said
    named = [line["about"] for line in logs if line["event"] == "trouble"]
    assert sorted(named) == ["-", "-", "cable.example", "outlook.jp"]


async def test_a_disk_that_is_nearly_full(tmp_path: Path, calm: Sink) -> None:
    async with office(tmp_path, calm.port, more="disk_free_mb: 1000000") as place:
        assert await tell(place) == (["disk_low:"], [])


async def test_everything_at_once_is_one_mail_in_both_languages_and_names_nobody(
    tmp_path: Path, calm: Sink
) -> None:
    async with office(tmp_path, calm.port, more="disk_free_mb: 1000000, quarantine: 1") as place:
        await take_in(
            place.services,
            event("patron", patron_id="p-1", email="hanako@example.ne.jp", name="図書 花子"),
            event("hold.placed", hold_id="h-1", patron_id="p-1", title="こころ", branch="main"),
        )
        await mail_came(place, "quarantined", 3)
        await mail_came(place, "new", 1)
        place.later(minutes=45)
        told, _ = await tell(place)
        assert told == ["prompt_late:", "intake_dead:reading", "disk_low:", "quarantine_growing:"]
    first, _ = mails(calm)
    assert "ほか3件" in first["Subject"]
    text = first.get_content()
    assert text.count("■") == 4
    assert text.count("\n* ") == 4
    assert not re.search(r"\{\w+\}", text), "every fact is filled in"
    for secret in ("hanako", "花子", "こころ", "p-1", "h-1", "example.ne.jp"):
        assert secret not in first.as_string()
        assert secret not in text


@pytest.mark.parametrize("trouble", list(Trouble))
def test_every_trouble_has_words(trouble: Trouble) -> None:
    from mailer.app.alerts.letters import WORDS

    found = [words for (kind, _), words in WORDS.items() if kind is trouble]
    assert found
    for words in found:
        assert all(said.ja and said.en for said in words)
