"""Koha's feed against a Koha on loopback: what it tells, what vanishes, and what happens when it is down."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from holds_core.ledger import snapshots
from holds_core.ledger.models import events, snapshot_runs
from mailer.app.feeds.http import FeedDown
from mailer.app.feeds.live import lags
from tests.mailer.feeds.conftest import Library, at
from tests.servers.koha import FakeKoha


@pytest.fixture
def town(koha: FakeKoha) -> FakeKoha:
    """Seven patrons with a hold each, and one title."""
    koha.biblios[1] = {"biblio_id": 1, "title": "門 /", "subtitle": None, "author": "夏目漱石"}
    for number in range(1, 8):
        koha.patron(number, at(number), email=f"p{number}@docomo.ne.jp", phone="0993-00-0000")
        koha.hold(number, number, at(number))
    return koha


async def test_the_first_time_is_a_baseline_of_all_pages(with_koha: Library, town: FakeKoha) -> None:
    patrons, holds = await with_koha.poll()
    assert (patrons.applied, holds.applied, holds.baseline) == (7, 7, True)
    assert await with_koha.states() == dict.fromkeys(map(str, range(1, 8)), "placed")
    assert await with_koha.mail() == []
    assert town.asked.count("/holds") == 3


async def test_records_become_patrons(with_koha: Library, koha: FakeKoha) -> None:
    koha.patron(
        5,
        at(0),
        email=None,
        secondary_email="second@example.jp",
        altaddress_email="third@example.jp",
        mobile="090-0000-0000",
        sms_number="090-0000-0000",
        lang="en-GB",
    )
    await with_koha.poll()
    (patron,) = await with_koha.patrons()
    assert (patron.patron_id, patron.name, patron.branch, patron.language) == ("5", "佐藤 花子", "CPL", "en")
    assert patron.phones == ["090-0000-0000"]
    assert await with_koha.addresses() == ["second@example.jp"]


class TestEveryAddress:
    @pytest.fixture
    def koha_options(self) -> str:
        return ", addresses: all"

    async def test_all_of_them_are_taken(self, with_koha: Library, koha: FakeKoha) -> None:
        koha.patron(5, at(0), email="one@example.jp", altaddress_email="two@example.jp")
        await with_koha.poll()
        assert await with_koha.addresses() == ["one@example.jp", "two@example.jp"]


async def test_a_hold_that_waits_is_announced_with_title_and_deadline(
    with_koha: Library, town: FakeKoha
) -> None:
    await with_koha.poll()
    town.hold(3, 3, at(60), status="W", waiting_date="2026-11-24", expiration_date="2026-12-01", item_id=9)
    _, holds = await with_koha.poll()
    assert (holds.applied, holds.notices) == (1, 1)
    assert await with_koha.mail() == [("hold_ready", "p3@docomo.ne.jp")]
    row = next(row for row in await with_koha.rows(_holds()) if row.hold_id == "3")
    assert (row.state, row.title, row.branch) == ("ready", "門", "CPL")
    assert (str(row.deadline), str(row.ready_on)) == ("2026-12-01", "2026-11-24")


async def test_titles_one_by_one_where_there_is_no_list(with_koha: Library, town: FakeKoha) -> None:
    town.biblios_listed = False
    await with_koha.poll()
    assert {row.title for row in await with_koha.rows(_holds())} == {"門"}


def _holds() -> Any:
    from holds_core.ledger.models import holds

    return holds


@pytest.mark.parametrize(
    ("closed", "state"),
    [
        ({"status": "F"}, "collected"),
        ({"status": None, "cancellation_date": "2026-11-24"}, "cancelled"),
        ({"status": None, "cancellation_date": "2026-11-24", "cancellation_reason": "LOST"}, "cancelled"),
        (
            {
                "status": "W",
                "waiting_date": "2026-11-10",
                "expiration_date": "2026-11-17",
                "cancellation_date": "2026-11-18",
            },
            "lapsed",
        ),
        # it waits, and staff cancel it before its day has come
        (
            {
                "status": "W",
                "waiting_date": "2026-11-10",
                "expiration_date": "2026-11-30",
                "cancellation_date": "2026-11-18",
            },
            "cancelled",
        ),
        ({"status": None}, "ended"),
    ],
)
async def test_a_vanished_hold_is_looked_up(
    with_koha: Library, town: FakeKoha, closed: dict[str, Any], state: str
) -> None:
    town.hold(3, 3, at(3), status="W", waiting_date="2026-11-10", expiration_date="2026-11-30")
    await with_koha.poll()
    town.close(3, **closed)
    await with_koha.poll()
    assert (await with_koha.states())["3"] == "ready"  # what changed does not show what is gone
    await with_koha.full()
    assert (await with_koha.states())["3"] == state
    await with_koha.full()
    assert (await with_koha.states())["3"] == state
    assert sum(row.outcome == "conflict" for row in await with_koha.rows(events)) == 0


async def test_who_cancelled_decides_what_the_patron_is_told(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    town.close(1, cancellation_date="2026-11-24")
    town.close(2, cancellation_date="2026-11-24", cancellation_reason="DAMAGED")
    await with_koha.full()
    assert await with_koha.mail() == [
        ("cancel_done", "p1@docomo.ne.jp"),
        ("hold_cancelled_by_library", "p2@docomo.ne.jp"),
    ]


@pytest.mark.parametrize("without", ["old_holds_shown", "may_see_history"])
async def test_a_koha_that_does_not_show_old_holds(with_koha: Library, town: FakeKoha, without: str) -> None:
    setattr(town, without, False)
    await with_koha.poll()
    town.close(4, status="F")
    await with_koha.full()
    assert (await with_koha.states())["4"] == "ended"
    assert (await with_koha.stands()).failures == 0


async def test_a_patron_who_was_deleted_takes_the_holds_along(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    town.close(4, status="F")
    del town.patrons[4]
    await with_koha.full()
    assert (await with_koha.states())["4"] == "ended"


async def test_a_hold_that_moved_between_two_pages_is_not_gone(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    with_koha.clock.advance(timedelta(hours=1))
    # while page 2 of the holds is on its way the first hold is filled: the 7th slips onto page 2
    town.between_pages = [lambda: None, lambda: None, lambda: town.close(1, status="F")]
    await with_koha.poll()
    states = await with_koha.states()
    assert states["7"] == "placed"
    await with_koha.full()
    assert (await with_koha.states())["1"] == "collected"


async def test_a_look_up_that_fails_leaves_everything_as_it_was(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    town.close(1, status="F")
    with_koha.clock.advance(timedelta(hours=1))
    down = JSONResponse({"error": "Under maintenance"}, 503, {"Retry-After": "120"})
    # patrons, three pages of holds, and then the look-up
    town.answers_next = []
    original = town._refused
    asked = 0

    def refusing(request: Any) -> Response | None:
        nonlocal asked
        found = original(request)
        asked += 1
        return down if asked == 4 else found

    town._refused = refusing  # type: ignore[method-assign]
    with pytest.raises(FeedDown) as raised:
        await with_koha.poller.poll()
    assert raised.value.retry_after == 120
    assert (await with_koha.states())["1"] == "placed"
    await with_koha.full()
    assert (await with_koha.states())["1"] == "collected"


async def test_only_what_changed_is_asked_for(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    town.asked.clear()
    patrons, holds = await with_koha.poll()
    # the last two minutes are asked for again, and say nothing new
    assert (patrons.tally.rows, holds.tally.rows) == (3, 3)
    assert (patrons.counts.differ, holds.counts.differ) == (False, False)
    assert town.asked == ["/patrons", "/holds"]
    town.patron(2, at(30), email="new@docomo.ne.jp")
    patrons, _ = await with_koha.poll()
    assert patrons.applied == 1
    assert await with_koha.mail() == [("registration_changed", "new@docomo.ne.jp")]


async def test_the_cursor_outlives_the_process(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    stands = await with_koha.stands()
    assert (stands.patrons, stands.holds) == (at(7), at(7))
    from mailer.app.feeds.live import pollers

    (other,) = pollers(with_koha.services)
    patrons, holds = await other.poll()
    assert (patrons.tally.rows, holds.tally.rows) == (3, 3)


async def test_a_token_that_ran_out_is_fetched_anew(with_koha: Library, town: FakeKoha) -> None:
    town.between_pages = [town.tokens.clear]
    await with_koha.poll()
    assert len(await with_koha.states()) == 7


async def test_a_wrong_secret_is_told_without_saying_it(with_koha: Library, town: FakeKoha) -> None:
    town.secret = "another"
    with pytest.raises(FeedDown, match="no token: HTTP 403") as raised:
        await with_koha.poll()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (JSONResponse({"error": "Under maintenance"}, 503), "HTTP 503, to be asked later"),
        (JSONResponse({}, 429, {"Retry-After": "7200"}), "HTTP 429, to be asked later"),
        (JSONResponse({"error": "Something went wrong"}, 500), "HTTP 500"),
        (JSONResponse({"error": "no permission"}, 403), "may not read this"),
        (PlainTextResponse("<html>login</html>"), "is not JSON"),
        (JSONResponse({"patrons": []}), "no list of records"),
        (Response(status_code=302, headers={"Location": "http://127.0.0.1:1/"}), "HTTP 302"),
        (JSONResponse([], headers={"X-Total-Count": "9"}), "0 records came of 9"),
    ],
)
async def test_a_koha_that_is_down_delays(
    with_koha: Library, town: FakeKoha, answer: Response, said: str
) -> None:
    await with_koha.poll()
    town.hold(3, 3, at(60), status="W", expiration_date="2026-12-01")
    town.answers_next = [answer]
    pause = await with_koha.poller.try_once()
    assert pause >= timedelta(minutes=5)
    if answer.status_code == 429:
        assert pause == timedelta(hours=2)
    stands = await with_koha.stands()
    assert stands.failures == 1
    assert said in stands.error
    assert (await with_koha.states())["3"] == "placed"
    assert await with_koha.poller.try_once() == timedelta(minutes=5)
    assert (await with_koha.states())["3"] == "ready"
    assert (await with_koha.stands()).failures == 0


async def test_tries_come_later_and_later(with_koha: Library, town: FakeKoha) -> None:
    town.answers_next = [PlainTextResponse("", 500) for _ in range(6)]
    pauses = [(await with_koha.poller.try_once()).total_seconds() / 60 for _ in range(6)]
    assert pauses == [7.5, 15, 30, 45, 45, 45]


async def test_a_server_that_is_not_there_is_late_after_a_while(with_koha: Library, town: FakeKoha) -> None:
    await with_koha.poll()
    town.answers_next = [PlainTextResponse("", 500) for _ in range(9)]
    with_koha.clock.advance(timedelta(minutes=31))
    await with_koha.poller.try_once()
    async with with_koha.services.ledger.read() as connection:
        (lag,) = await lags(connection, with_koha.services.settings, with_koha.clock.now())
    assert (lag.feed, lag.late, lag.failures) == ("koha", True, 1)
    assert lag.lag == timedelta(minutes=36)


async def test_the_time_of_the_data_is_known_although_nothing_changed(
    with_koha: Library, town: FakeKoha
) -> None:
    await with_koha.poll()
    began = with_koha.clock.now()
    await with_koha.poll()
    async with with_koha.services.ledger.read() as connection:
        times = await snapshots.feed_times(connection)
    assert times["koha"]["as_of"] == began.isoformat()
    assert len(await with_koha.rows(snapshot_runs)) == 2


async def test_a_list_that_lost_its_rows_is_refused_until_a_person_says_so(
    with_koha: Library, koha: FakeKoha
) -> None:
    for number in range(1, 41):
        koha.patron(number, at(0), email=f"p{number}@docomo.ne.jp")
        koha.hold(number, number, at(0))
    await with_koha.poll()
    for number in range(1, 31):
        koha.close(number, status="F")
    koha.asked.clear()
    _, holds = await with_koha.full()
    assert "30行 (75.0%) がありません" in holds.refused[0]
    assert koha.asked.count("/holds") == 4  # and none of the thirty was looked up
    assert set((await with_koha.states()).values()) == {"placed"}
    await with_koha.full()
    assert [row.state for row in await with_koha.rows(snapshot_runs)].count("refused") == 1
    _, holds = await with_koha.poll(full=True, force_by="cli:hanako")
    assert holds.overruled
    assert (await with_koha.states())["1"] == "ended"
    assert [row.forced_by for row in await with_koha.rows(snapshot_runs)][-1] == "cli:hanako"


async def test_a_record_that_cannot_be_used_is_neither_changed_nor_gone(
    with_koha: Library, town: FakeKoha
) -> None:
    await with_koha.poll()
    town.hold(3, 3, at(60), status="X")
    _, holds = await with_koha.full()
    assert [str(fault) for fault in holds.tally.faults.kept] == [
        "3: status is none of T, P, W, F or null / 3: status is none of T, P, W, F or null"
    ]
    assert (await with_koha.states())["3"] == "placed"


async def test_a_dry_run_keeps_nothing(with_koha: Library, town: FakeKoha) -> None:
    patrons, holds = await with_koha.poll(dry_run=True)
    assert (patrons.applied, holds.applied) == (7, 7)
    assert await with_koha.states() == {}
    assert (await with_koha.stands()).patrons is None


async def test_it_runs_until_it_is_told_to_stop(with_koha: Library, town: FakeKoha) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(with_koha.poller.run(stop))
    await with_koha.clock.asleep()
    town.hold(3, 3, at(60), status="W")
    with_koha.clock.advance(timedelta(minutes=5))
    async with asyncio.timeout(30):
        while (await with_koha.states())["3"] != "ready":
            await asyncio.sleep(0.01)
        stop.set()
        await running
