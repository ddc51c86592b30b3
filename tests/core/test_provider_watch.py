"""The provider watch: it notices a change, says it once, notices the recovery, and keeps quiet otherwise."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from holds_core.loss_track import CLEAR, DEFAULT_PRIOR, GRID, LossTrack, mean
from holds_core.observations import Failure, Mailed, Observation
from holds_core.provider_watch import Alert, Suspect
from holds_core.silence import SilenceModel
from tests.core.silence_world import START, World, mailed, morning

FINE = [(0, 0.02)]


def alerts_of(seen: list[Observation], days: int) -> list[Alert]:
    model = SilenceModel()
    waiting = iter(seen)
    item = next(waiting, None)
    for day in range(days):
        while item is not None and item.at < morning(day):
            model.observe(item)
            item = next(waiting, None)
        assert model.refresh(morning(day)) == [a for a in model.alerts() if a.raised == morning(day)]
    return list(model.alerts())


def day_of(alert: Alert) -> int:
    return (alert.raised - START).days


def test_a_provider_that_falls_silent_and_recovers_is_reported_twice() -> None:
    world = World(
        {"good.example": FINE, "turns.example": [(0, 0.03), (60, 0.7), (110, 0.03)]},
        mails_a_day=8, days=150, seed=5,
    )  # fmt: skip
    fall, recovery = alerts_of(world.observations(), 150)
    assert fall.domain == recovery.domain == "turns.example"
    assert 60 < day_of(fall) <= 80
    assert 50 <= (fall.since - START).days <= 66
    assert fall.observed < fall.expected
    assert fall.loss_now > 0.4 > fall.loss_before
    assert fall.n >= 10
    assert fall.suspect is Suspect.PROVIDER
    assert 110 < day_of(recovery) <= 145
    assert recovery.observed > recovery.expected
    assert recovery.loss_now < recovery.loss_before


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_provider_that_was_always_bad_is_no_news(seed: int) -> None:
    world = World(
        {"bad.example": [(0, 0.5)], "good.example": FINE, "odd.example": [(0, 0.2)]}, days=120, seed=seed
    )
    assert alerts_of(world.observations(), 120) == []


def test_when_all_fall_silent_at_once_it_is_the_library() -> None:
    steps = [(0, 0.02), (60, 0.75)]
    world = World(
        {f"d{n}.example": list(steps) for n in range(5)}, mails_a_day=30, days=85, patrons=2000, seed=2
    )
    alerts = alerts_of(world.observations(), 85)
    assert len(alerts) >= 4
    assert Suspect.LIBRARY in {alert.suspect for alert in alerts}
    assert all(day_of(alert) > 60 for alert in alerts)


def model_of(seen: list[Observation], day: int) -> SilenceModel:
    """A model that is told everything before a morning at once."""
    model = SilenceModel()
    for item in seen:
        if item.at < morning(day):
            model.observe(item)
    return model


@pytest.mark.parametrize("seed", [1, 2])
def test_a_provider_that_was_always_bad_is_said_as_a_level(seed: int) -> None:
    world = World(
        {"bad.example": [(0, 0.6)], "good.example": FINE, "fair.example": [(0, 0.1)]}, days=80, seed=seed
    )
    model = model_of(world.observations(), 75)
    assert model.refresh(morning(75)) == []
    [level] = model.levels(morning(75))
    assert (level.domain, level.suspect) == ("bad.example", Suspect.PROVIDER)
    assert level.loss_now > 0.35 > level.loss_before
    assert level.observed < level.expected
    assert (level.since - START).days < 15


def test_a_level_begins_where_the_loss_began() -> None:
    world = World(
        {"turns.example": [(0, 0.02), (30, 0.7)], "good.example": FINE}, mails_a_day=4, days=60, seed=3
    )
    model = model_of(world.observations(), 58)
    # too few mails before for a change from what was
    assert model.refresh(morning(58)) == []
    [level] = model.levels(morning(58))
    assert 25 <= (level.since - START).days <= 35
    model.recall(level)
    assert model.levels(morning(58)) == []


def test_what_was_told_before_is_no_news_to_a_model_that_begins_anew() -> None:
    world = World(
        {"good.example": FINE, "turns.example": [(0, 0.03), (60, 0.7)]}, mails_a_day=8, days=100, seed=5
    )
    seen = world.observations()
    [fall] = alerts_of(seen, 90)
    anew = model_of(seen, 92)
    assert [alert.domain for alert in anew.refresh(morning(92))] == ["turns.example"]
    told = model_of(seen, 92)
    told.recall(fall)
    assert told.refresh(morning(92)) == []
    assert told.alerts() == (fall,)
    assert told.levels(morning(92)) == []


def test_whose_fault_it_is_may_become_clear_later() -> None:
    steps = [(0, 0.02), (60, 0.75)]
    world = World(
        {f"d{n}.example": list(steps) for n in range(5)}, mails_a_day=30, days=85, patrons=2000, seed=2
    )
    seen = world.observations()
    first = alerts_of(seen, 80)[0]
    late = model_of(seen, 84)
    late.recall(first)
    late.refresh(morning(84))
    assert late.suspect(first, morning(84)) is Suspect.LIBRARY
    alone = model_of([s for s in seen if not isinstance(s, Mailed) or s.address.endswith(first.domain)], 84)
    alone.recall(first)
    alone.refresh(morning(84))
    assert alone.suspect(first, morning(84)) is Suspect.PROVIDER


def test_weeks_show_what_a_domain_misses() -> None:
    world = World({"bad.example": [(0, 0.8)], "good.example": FINE}, days=60, seed=2)
    model = model_of(world.observations(), 59)
    model.refresh(morning(59))
    weeks = model.weeks(morning(59), 6)
    assert {week.begins.weekday() for week in weeks} == {0}
    assert len({week.begins for week in weeks}) == 6
    shares = {}
    for domain in world.loss:
        mine = [week for week in weeks if week.domain == domain]
        shares[domain] = sum(w.signs for w in mine) / sum(w.expected for w in mine)
    assert shares["bad.example"] < 0.75
    assert 0.9 < shares["good.example"] < 1.1


def test_refusals_that_name_our_fault_are_no_silence_of_the_provider() -> None:
    world = World({"a.example": FINE, "b.example": FINE}, days=60, seed=4)
    seen = world.observations()
    refused = [
        mailed(
            f"r{n}", START + timedelta(days=50, hours=9 + n), address=f"r{n}@a.example", failure=Failure.OURS
        )
        for n in range(30)
    ]
    assert alerts_of(sorted([*seen, *refused], key=lambda s: s.at), 62) == []


def mails(rng: random.Random, n: int, lost: float) -> list[tuple[float, float]]:
    """Mails whose fate is fairly clear: (a, b) of the likelihood a + b * q."""
    return [(1.0, -0.9) if rng.random() >= lost else (0.1, 0.9) for _ in range(n)]


def test_the_level_follows_the_mail_and_fades_into_the_prior_without() -> None:
    rng = random.Random(1)
    track = LossTrack()
    for day in range(40):
        track.put(day, mails(rng, 3, 0.5))
    assert 0.35 < mean(track.belief(40)) < 0.65
    assert abs(mean(track.belief(4000)) - mean(DEFAULT_PRIOR)) < 0.01


def test_settling_old_days_changes_no_belief() -> None:
    rng = random.Random(2)
    track = LossTrack()
    for day in range(0, 60, 3):
        track.put(day, mails(rng, 4, 0.2))
    before = track.belief(60)
    for day in (10, 30, 45):
        track.settle(day)
    assert track.belief(60) == pytest.approx(before)


def test_hindsight_sees_the_step_where_it_was() -> None:
    rng = random.Random(3)
    track = LossTrack()
    for day in range(80):
        track.put(day, mails(rng, 3, 0.03 if day < 40 else 0.7))
    history = track.history()
    assert max(history[day] for day in range(30)) < 0.2
    assert min(history[day] for day in range(50, 80)) > 0.4


def test_false_alarms_keep_to_the_limit() -> None:
    # 150 domains of 300 days, watched for one false alarm in 20,000 domain-days: two are expected
    rng = random.Random(4)
    alarms = 0
    for _ in range(150):
        track = LossTrack()
        for day in range(300):
            track.put(day, mails(rng, 1, 0.05))
            if day % 10 == 0:
                found = track.change(day, 20_000)
                alarms += found is not None
                track.regime_from = found.since if found else track.regime_from
    assert alarms <= 6


def test_a_change_is_a_clear_one() -> None:
    rng = random.Random(5)
    track = LossTrack()
    for day in range(120):
        track.put(day, mails(rng, 4, 0.02 if day < 60 else 0.6))
    change = track.change(119, 20_000)
    assert change is not None
    assert abs(change.since - 60) <= 3
    assert change.now - change.was >= CLEAR


def test_the_grid_covers_all_shares() -> None:
    assert list(GRID) == sorted(GRID)
    assert 0 < GRID[0] < 0.01
    assert 0.95 < GRID[-1] < 1
    assert abs(sum(DEFAULT_PRIOR) - 1) < 1e-12


class Tail(World):
    """Mail beside another world's: its notices have numbers of their own."""

    def _one(self, rng: random.Random, number: int, *rest: Any) -> list[Observation]:
        return super()._one(rng, 1_000_000 + number, *rest)


def test_domains_with_a_mail_or_two_do_not_hide_a_change() -> None:
    """A city has hundreds of them. They can raise no alarm, so the false alarms that are stood are shared by
    the others alone."""
    turning = World(
        {"good.example": FINE, "turns.example": [(0, 0.03), (60, 0.5)]}, mails_a_day=6, days=90, seed=7
    )
    many = Tail({f"small{n}.example": FINE for n in range(400)}, mails_a_day=8, days=90, seed=7, patrons=400)
    seen = sorted([*turning.observations(), *many.observations()], key=lambda item: item.at)
    [alert] = alerts_of(seen, 90)
    assert alert.domain == "turns.example"
    assert 60 < day_of(alert) <= 85
