"""The pace of retries, as a timetable and as properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.errors import BadInput
from holds_core.notices import Result
from holds_core.retry import Backoff, RetryRule, next_try

START = datetime(2024, 10, 1, 1, 5, tzinfo=UTC)
RULE = RetryRule()
RETRIED = (Result.DEFERRED, Result.NOT_STARTED)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def timetable(result: Result, jitter: float, until: timedelta) -> list[timedelta]:
    """When the tries are made, counted from the first, if every one fails at once."""
    now, tries, made = START, 1, [timedelta()]
    while (following := next_try(RULE, result, tries=tries, first_try=START, now=now, jitter=jitter)) and (
        following - START <= until
    ):
        assert following > now, "a timetable that stands still"
        now, tries = following, tries + 1
        made.append(now - START)
    return made


def test_deferred_mail_is_tried_soon_and_then_every_three_hours() -> None:
    made = timetable(Result.DEFERRED, 0, 10 * DAY)
    assert made[:6] == [0 * MINUTE, 5 * MINUTE, 20 * MINUTE, 65 * MINUTE, 200 * MINUTE, 380 * MINUTE]
    # RFC 5321 section 4.5.4.1: two attempts at least in the first hour, one every two or three hours later
    assert sum(at <= HOUR for at in made) >= 2
    assert all(later - at <= 3 * HOUR for at, later in pairwise(made))
    # the last one is made when the time is up, and not after it
    assert made[-1] == 4 * DAY


def test_a_relay_that_is_down_is_tried_quickly_and_for_ever() -> None:
    made = timetable(Result.NOT_STARTED, 0, 10 * DAY)
    assert made[:5] == [timedelta(seconds=s) for s in (0, 30, 90, 210, 450)]
    assert made[-1] - made[-2] == 10 * MINUTE
    assert made[-1] > 9 * DAY


@given(
    st.sampled_from(RETRIED),
    st.integers(1, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 86400 * 9),
)
def test_the_next_try_lies_ahead_and_in_time(result: Result, tries: int, jitter: float, passed: int) -> None:
    now = START + timedelta(seconds=passed)
    following = next_try(RULE, result, tries=tries, first_try=START, now=now, jitter=jitter)
    backoff = RULE.deferred if result is Result.DEFERRED else RULE.not_started
    if backoff.give_up_after is not None and now >= START + backoff.give_up_after:
        assert following is None
        return
    assert following is not None
    assert now < following <= now + backoff.delays[-1] * (1 + backoff.spread)
    if following != START + 4 * DAY:
        assert following >= now + backoff.delays[0]  # a greylist's window is never undercut


@given(st.sampled_from([RULE.deferred, RULE.not_started]), st.integers(1, 500))
def test_delays_only_grow(backoff: Backoff, tries: int) -> None:
    assert backoff.delays[0] <= backoff.after(tries) <= backoff.after(tries + 1) <= backoff.delays[-1]


def test_jitter_spreads_a_batch_that_was_deferred_together() -> None:
    def at(jitter: float) -> datetime | None:
        return next_try(RULE, Result.DEFERRED, tries=1, first_try=START, now=START, jitter=jitter)

    assert at(0) == START + 5 * MINUTE
    assert at(0.5) == START + 5.5 * MINUTE


def test_a_steady_pace() -> None:
    steady = Backoff((30 * MINUTE,), give_up_after=2 * HOUR, spread=0)
    rule = RetryRule(deferred=steady)
    at = [START + n * 30 * MINUTE for n in range(5)]
    for tries in (1, 2, 3, 4):
        now = at[tries - 1]
        found = next_try(rule, Result.DEFERRED, tries=tries, first_try=START, now=now, jitter=0.9)
        assert found == at[tries]
    assert next_try(rule, Result.DEFERRED, tries=5, first_try=START, now=at[4], jitter=0.9) is None


@pytest.mark.parametrize("result", [result for result in Result if result not in RETRIED])
def test_other_results_have_no_next_try(result: Result) -> None:
    with pytest.raises(ValueError, match=result):
        next_try(RULE, result, tries=1, first_try=START, now=START, jitter=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tries": 0},
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"jitter": float("nan")},
        {"now": START.replace(tzinfo=None)},
        {"first_try": START.replace(tzinfo=None)},
    ],
)
def test_arguments_out_of_range(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"tries": 1, "jitter": 0.0, "now": START, "first_try": START}
    with pytest.raises(ValueError):
        next_try(RULE, Result.DEFERRED, **(good | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"delays": ()},
        {"delays": (timedelta(),)},
        {"delays": (MINUTE, -MINUTE)},
        {"delays": (MINUTE, 31 * DAY)},
        {"spread": -0.1},
        {"spread": 2},
        {"give_up_after": timedelta()},
        {"give_up_after": 31 * DAY},
    ],
)
def test_rules_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"delays": (MINUTE,), "give_up_after": DAY}
    with pytest.raises(BadInput):
        Backoff(**(good | wrong))  # type: ignore[arg-type]
