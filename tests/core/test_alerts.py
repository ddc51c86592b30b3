"""When IT is told: once, again while it lasts, once when it is over; a table of histories."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.alerts import MOMENTS, Decision, Found, Known, Policy, Trouble, decide

START = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALL = frozenset(Trouble)
POLICY = Policy(repeat=timedelta(hours=24), calm=timedelta(minutes=10), an_hour=6)


def relay_down(since: datetime = START) -> Found:
    return Found(Trouble.RELAY_DOWN, "", since, {"host": "relay"})


class Memory:
    """What the ledger keeps between looks."""

    def __init__(self) -> None:
        self.known: tuple[Known, ...] = ()
        self.sent: list[datetime] = []

    def look(
        self, now: datetime, *found: Found, looked_at: Collection[Trouble] = ALL, leaves: bool = True
    ) -> Decision:
        decision = decide(found, looked_at, self.known, self.sent, now, POLICY)
        self.known = decision.told if leaves else decision.untold
        if decision.anything and leaves:
            self.sent.append(now)
        return decision


def told(decision: Decision) -> tuple[list[str], list[str]]:
    return [item.key for item in decision.tell], [item.key for item in decision.over]


NOTHING: tuple[list[str], list[str]] = ([], [])


def test_told_once_then_repeated_while_it_lasts() -> None:
    memory = Memory()
    assert told(memory.look(START, relay_down())) == (["relay_down:"], [])
    for minute in range(1, 24 * 60):
        assert told(memory.look(START + minute * MINUTE, relay_down())) == NOTHING
    assert told(memory.look(START + timedelta(hours=24), relay_down())) == (["relay_down:"], [])
    assert told(memory.look(START + timedelta(hours=24, minutes=1), relay_down())) == NOTHING


def test_over_once_after_it_has_stayed_away() -> None:
    memory = Memory()
    memory.look(START, relay_down())
    minutes = [minute for minute in range(1, 40) if told(memory.look(START + minute * MINUTE)) != NOTHING]
    assert minutes == [11], "ten minutes after it was first not found, and never again"
    assert memory.known == ()


def test_what_comes_and_goes_is_one_trouble() -> None:
    memory = Memory()
    memory.look(START, relay_down())
    for minute in range(1, 120):
        seen = [relay_down(START + minute * MINUTE)] if minute % 8 == 0 else []
        assert told(memory.look(START + minute * MINUTE, *seen)) == NOTHING
    assert memory.known[0].since == START


def test_what_is_over_before_it_was_told_is_never_told() -> None:
    memory = Memory()
    memory.look(START, relay_down(), leaves=False)
    assert told(memory.look(START + MINUTE)) == NOTHING
    assert memory.known == ()


def test_a_mail_that_did_not_leave_is_tried_again() -> None:
    memory = Memory()
    for minute in range(3):
        decision = memory.look(START + minute * MINUTE, relay_down(), leaves=False)
        assert told(decision) == (["relay_down:"], [])
    assert told(memory.look(START + 3 * MINUTE, relay_down())) == (["relay_down:"], [])
    assert told(memory.look(START + 4 * MINUTE, relay_down())) == NOTHING


def test_what_cannot_be_judged_stays_as_it_is() -> None:
    memory = Memory()
    memory.look(START, relay_down())
    unsure = ALL - {Trouble.RELAY_DOWN}
    for minute in range(1, 60):
        assert told(memory.look(START + minute * MINUTE, looked_at=unsure)) == NOTHING
    assert [item.key for item in memory.known] == ["relay_down:"]


def test_a_moment_is_told_once_and_never_over() -> None:
    memory = Memory()
    missed = Found(Trouble.BATCH_MISSED, "2026-11-24 朝", START, {"slot": "2026-11-24 朝"})
    assert told(memory.look(START, missed)) == (["batch_missed:2026-11-24 朝"], [])
    for hour in range(1, 24 * 30):
        seen = [missed] if hour < 48 else []
        assert told(memory.look(START + timedelta(hours=hour), *seen)) == NOTHING
    assert told(memory.look(START + timedelta(days=70))) == NOTHING
    assert memory.known == ()


def test_a_provider_is_told_once_however_long_it_lasts_and_when_it_is_over() -> None:
    memory = Memory()
    change = Found(Trouble.PROVIDER_CHANGED, "outlook.jp", START)
    assert told(memory.look(START, change))[0] == ["provider_changed:outlook.jp"]
    for day in range(1, 60):
        assert told(memory.look(START + timedelta(days=day), change)) == NOTHING
    memory.look(START + timedelta(days=60))
    assert told(memory.look(START + timedelta(days=60, hours=1)))[1] == ["provider_changed:outlook.jp"]


def test_no_more_than_so_many_mails_an_hour_and_nothing_is_lost() -> None:
    memory = Memory()
    feeds: list[Found] = []
    mails = []
    for minute in range(120):
        if minute < 20:
            feeds.append(Found(Trouble.FEED_STALE, f"feed{minute}", START))
        decision = memory.look(START + minute * MINUTE, *feeds)
        if decision.anything:
            mails.append((minute, len(decision.tell)))
    assert [minute for minute, _ in mails] == [0, 1, 2, 3, 4, 5, 60]
    assert mails[-1][1] == 14, "what had to wait stands in one mail"


def test_most_urgent_first() -> None:
    found = [Found(trouble, "x", START) for trouble in sorted(Trouble, reverse=True)]
    decision = decide(found, ALL, (), (), START, POLICY)
    assert [item.trouble for item in decision.tell] == list(Trouble)


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(days=-1), timedelta(days=-400)])
def test_a_clock_that_is_set_back_silences_nothing(jump: timedelta) -> None:
    memory = Memory()
    memory.look(START, relay_down())
    now = START + jump
    assert told(memory.look(now, relay_down(now))) == NOTHING
    assert told(memory.look(now + timedelta(hours=24), relay_down(now)))[0] == ["relay_down:"]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 600), st.frozensets(st.sampled_from(sorted(Trouble)), max_size=3), st.booleans()
        ),
        max_size=40,
    )
)
def test_over_only_what_was_told_and_told_at_most_once_a_day(
    looks: list[tuple[int, frozenset[Trouble], bool]],
) -> None:
    memory, now = Memory(), START
    last: dict[str, datetime] = {}
    for minutes, troubles, leaves in looks:
        now += minutes * MINUTE
        decision = memory.look(now, *(Found(trouble, "", now) for trouble in troubles), leaves=leaves)
        if not leaves:
            continue
        for item in decision.over:
            assert item.key in last
            assert item.trouble not in MOMENTS
            del last[item.key]
        for item in decision.tell:
            assert item.key not in last or now - last[item.key] >= POLICY.repeat
            last[item.key] = now
    assert sum(now - timedelta(hours=1) < at for at in memory.sent) <= POLICY.an_hour
