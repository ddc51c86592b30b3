"""How soon the next mail to a provider may leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.pacing import BURST, Pacer, interval

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def leaves(pacer: Pacer, name: str, per_minute: int, now: datetime) -> datetime:
    """One mail leaves as soon as it may."""
    at = pacer.earliest(name, now)
    pacer.take(name, per_minute, at)
    return at


def test_a_small_burst_then_the_pace() -> None:
    pacer = Pacer()
    times = [leaves(pacer, "docomo", 60, NOW) - NOW for _ in range(9)]
    # the first, five more within the burst, then one a second
    assert times == [timedelta()] * 6 + [SECOND, 2 * SECOND, 3 * SECOND]


def test_without_a_limit_all_leave_now() -> None:
    pacer = Pacer()
    assert {leaves(pacer, "own", 0, NOW) for _ in range(1000)} == {NOW}


def test_providers_do_not_wait_for_each_other() -> None:
    pacer = Pacer()
    for _ in range(50):
        pacer.take("docomo", 60, NOW)
    assert pacer.earliest("docomo", NOW) > NOW
    assert pacer.earliest("au", NOW) == NOW


def test_asking_takes_no_place() -> None:
    """What is put back and asked for again must not move itself to the end."""
    pacer = Pacer()
    for _ in range(8):
        pacer.take("docomo", 60, NOW)
    asked = {pacer.earliest("docomo", NOW) for _ in range(100)}
    assert len(asked) == 1
    [at] = asked
    assert pacer.earliest("docomo", at) == at


def test_a_pause_saves_up_no_more_than_the_burst() -> None:
    pacer = Pacer()
    leaves(pacer, "docomo", 60, NOW)
    later = NOW + timedelta(hours=5)
    assert [leaves(pacer, "docomo", 60, later) - later for _ in range(7)] == [timedelta()] * 6 + [SECOND]


@pytest.mark.parametrize(("per_minute", "apart"), [(60, 1.0), (1, 60.0), (600, 0.1)])
def test_interval(per_minute: int, apart: float) -> None:
    assert interval(per_minute) == timedelta(seconds=apart)


@given(
    st.integers(1, 600),
    st.lists(st.floats(0, 120).map(lambda s: timedelta(seconds=s)), min_size=1, max_size=60),
)
def test_no_span_of_time_sees_more_than_the_pace_and_the_burst(
    per_minute: int, gaps: list[timedelta]
) -> None:
    pacer, now, left = Pacer(), NOW, []
    for gap in gaps:
        now = max(now + gap, leaves(pacer, "x", per_minute, now + gap))
        left.append(now)
    assert left == sorted(left)
    for first in range(len(left)):
        for last in range(first, len(left)):
            allowed = (left[last] - left[first] + BURST) / interval(per_minute) + 1
            assert last - first + 1 <= allowed + 1e-6
