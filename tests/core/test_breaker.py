"""The circuit breaker: when it opens, when it tests, what the test means."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core import breaker
from holds_core.breaker import LONGEST_WAIT, RELAPSE, TEST_WITHIN, Limit, Position, State, Window

NOW = datetime(2026, 11, 24, 0, 10, tzinfo=UTC)
LIMIT = Limit(share=0.3, at_least=5, probe_after=timedelta(minutes=10), probes=3)


def opens_at(outcomes: str, limit: Limit = LIMIT) -> int | None:
    """The number (from 1) of the mail that opens it; "x" is a refusal of our fault, "." any other end."""
    window = Window(limit)
    for number, outcome in enumerate(outcomes, start=1):
        if window.note(NOW, ours=outcome == "x"):
            return number
    return None


@pytest.mark.parametrize(
    ("outcomes", "limit", "number"),
    [
        ("." * 500, LIMIT, None),
        ("x" * 4, LIMIT, None),
        ("xxxxx", LIMIT, 5),
        ("." * 3 + "xxxxx", LIMIT, 8),
        # in mid-batch: more than 6 of the last 20
        ("." * 1000 + "x" * 10, LIMIT, 1007),
        # one in four is a nuisance, not our undoing
        ("...x" * 200, LIMIT, None),
        (".x" * 200, LIMIT, 10),
        ("xxxxx", Limit(share=1.0, at_least=5), None),
        ("x" * 400, Limit(share=0.3, at_least=50), 50),
        ("." * 200 + "x" * 100, Limit(share=0.3, at_least=50), 261),
        ("x", Limit(share=0.01, at_least=1), 1),
    ],
)
def test_when_it_opens(outcomes: str, limit: Limit, number: int | None) -> None:
    assert opens_at(outcomes, limit) == number


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 30), st.floats(0.01, 1))
def test_the_window_counts_like_a_slice(outcomes: list[bool], at_least: int, share: float) -> None:
    limit = Limit(share=share, at_least=at_least)
    window = Window(limit)
    for number, ours in enumerate(outcomes, start=1):
        opens = window.note(NOW + timedelta(seconds=number), ours=ours)
        last = outcomes[max(0, number - limit.window) : number]
        assert (window.refused, window.mails) == (sum(last), len(last))
        assert opens == (ours and sum(last) >= at_least and sum(last) > share * len(last))
        first = next((place for place, mine in enumerate(last) if mine), None)
        expected = None if first is None else NOW + timedelta(seconds=number - len(last) + first + 1)
        assert window.since == expected


def full_window() -> Window:
    window = Window(LIMIT)
    for minute in range(5):
        window.note(NOW - timedelta(minutes=5 - minute), ours=True)
    return window


def opened(before: State | None = None, now: datetime = NOW) -> State:
    return breaker.opened(
        before or State(), LIMIT, now, window=full_window(), reason="authfailure", code="550"
    )


def test_open_remembers_why_and_tests_later() -> None:
    state = opened()
    assert state.position is Position.OPEN
    assert (state.refused, state.mails, state.reason, state.code) == (5, 5, "authfailure", "550")
    assert state.since == NOW - timedelta(minutes=5)
    assert state.probe_at == NOW + timedelta(minutes=10)
    assert not state.lets_mail_through
    assert breaker.opened(state, LIMIT, NOW + timedelta(hours=1), window=full_window()) == state


def test_one_test_at_a_time_and_not_before_its_time() -> None:
    state = opened()
    assert not breaker.may_test(state, NOW + timedelta(minutes=9))
    at = NOW + timedelta(minutes=10)
    assert breaker.may_test(state, at)
    state = breaker.testing(state, at)
    assert not state.lets_mail_through
    assert not breaker.may_test(state, at + TEST_WITHIN - timedelta(seconds=1))
    assert breaker.may_test(state, at + TEST_WITHIN), "its daemon died"
    assert breaker.may_test(state, NOW - timedelta(days=1)), "the clock was set back"


def test_a_test_that_passes_closes() -> None:
    state = breaker.tested(breaker.testing(opened(), NOW), LIMIT, NOW, passed=True)
    assert state.position is Position.CLOSED
    assert state.lets_mail_through


def test_tests_that_fail_wait_longer_and_then_for_a_person() -> None:
    state, waits = opened(), []
    now = NOW
    while state.probe_at is not None:
        waits.append(state.probe_at - now)
        now = state.probe_at
        state = breaker.tested(breaker.testing(state, now), LIMIT, now, passed=False)
    assert waits == [timedelta(minutes=minutes) for minutes in (10, 20, 40)]
    assert state.position is Position.STOPPED
    assert not breaker.may_test(state, now + timedelta(days=9))
    assert breaker.resumed() == State()


def test_a_test_that_told_nothing_is_repeated() -> None:
    state = breaker.tested(breaker.testing(opened(), NOW), LIMIT, NOW, passed=None)
    assert (state.position, state.tests) == (Position.OPEN, 0)
    assert state.probe_at == NOW + LIMIT.probe_after


def test_a_relapse_counts_as_a_failed_test() -> None:
    closed = breaker.tested(breaker.testing(opened(), NOW), LIMIT, NOW, passed=True)
    soon, later = NOW + RELAPSE, NOW + RELAPSE + timedelta(seconds=1)
    assert opened(closed, soon).tests == 1
    assert opened(closed, later).tests == 0
    state = closed
    for _ in range(3):
        state = opened(state, soon)
        if state.position is Position.OPEN:
            state = breaker.tested(breaker.testing(state, soon), LIMIT, soon, passed=True)
    assert state.position is Position.STOPPED, "tests that pass and change nothing do not go on for ever"


def test_no_test_is_too_far_ahead_and_none_is_made_without_probes() -> None:
    slow = replace(LIMIT, probe_after=timedelta(hours=24))
    assert breaker.opened(State(), slow, NOW, window=full_window()).probe_at == NOW + LONGEST_WAIT
    never = replace(LIMIT, probes=0)
    assert breaker.opened(State(), never, NOW, window=full_window()).position is Position.STOPPED


def test_the_end_of_a_test_that_nobody_began_changes_nothing() -> None:
    for state in (State(), opened()):
        assert breaker.tested(state, LIMIT, NOW, passed=True) == state
