"""What must hold of the risk model whatever is observed, and in whatever order."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holds_core.notices import Kind
from holds_core.observations import (
    Bounced,
    Confirmed,
    DeadlineMoved,
    Ending,
    Failure,
    HoldEnded,
    Mailed,
    NeverGot,
    Observation,
    PatronSeen,
)
from holds_core.silence import SilenceModel
from holds_core.survival import EDGES, Counts, Frailty, Hazard
from tests.core.silence_world import START, mailed

NOW = START + timedelta(days=30)
HOUR = timedelta(hours=1)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# few of everything, so that notices, holds, patrons and addresses meet often
numbers = st.integers(0, 5)
times = st.integers(0, 29 * 24).map(lambda hours: START + timedelta(hours=hours))
addresses = st.sampled_from(["a@one.example", "b@one.example", "c@two.example"])
failures = st.sampled_from(Failure)


@st.composite
def mails(draw: st.DrawFn) -> Observation:
    kind = draw(st.sampled_from([Kind.HOLD_READY, Kind.HOLD_READY, Kind.REGISTRATION_CHANGED]))
    number = draw(numbers)
    return mailed(
        number if kind is Kind.HOLD_READY else f"r{number}",
        draw(times),
        address=draw(addresses),
        kind=kind,
        failure=draw(st.none() | st.none() | failures),
    )


notices = numbers.map(lambda n: f"n{n}") | numbers.map(lambda n: f"nr{n}")
observations = st.one_of(
    mails(),
    mails(),
    st.builds(Bounced, times, notices, failures, addresses | st.just("")),
    st.builds(Confirmed, times, notices),
    st.builds(NeverGot, times, notices),
    st.builds(PatronSeen, times, addresses),
    st.builds(HoldEnded, times, numbers.map(lambda n: f"h{n}"), st.sampled_from(Ending)),
    st.builds(
        DeadlineMoved, times, numbers.map(lambda n: f"h{n}"), times.map(lambda at: at + timedelta(days=20))
    ),
)
histories = st.lists(observations, max_size=30)


def told(seen: list[Observation]) -> SilenceModel:
    model = SilenceModel()
    for item in seen:
        model.observe(item)
    model.refresh(NOW)
    return model


FOCUS = mailed("x", NOW - timedelta(days=3), address="a@one.example")


def focus(model: SilenceModel) -> float:
    return model.risk("nx", NOW).probability


@quick
@given(histories)
def test_a_risk_is_a_probability(seen: list[Observation]) -> None:
    model = told([*seen, FOCUS])
    for item in seen:
        if isinstance(item, Mailed):
            risk = model.risk(item.notice_id, NOW)
            assert 0.0 <= risk.probability <= risk.unseen <= 1.0
    calls = model.worklist(NOW)
    assert [call.rank for call in calls] == list(range(1, len(calls) + 1))
    assert [call.worth for call in calls] == sorted((call.worth for call in calls), reverse=True)
    assert all(call.reasons or call.risk < 0.5 for call in calls)


@quick
@given(histories, st.lists(failures, min_size=1, max_size=3))
def test_more_bounces_of_a_notice_never_lower_its_risk(seen: list[Observation], why: list[Failure]) -> None:
    model = told([*seen, FOCUS])
    risk = focus(model)
    for hours, failure in enumerate(why):
        model.observe(Bounced(FOCUS.at + hours * HOUR, "nx", failure))
        assert focus(model) >= risk - 1e-12
        risk = focus(model)


@quick
@given(histories, st.sampled_from([Failure.UNKNOWN, Failure.FILTERED]))
def test_an_earlier_bounce_never_lowers_the_odds_of_unseen(seen: list[Observation], why: Failure) -> None:
    earlier = mailed("y", NOW - timedelta(days=12), address="a@one.example")
    model = told([*seen, earlier, FOCUS])
    before = model.risk("nx", NOW).unseen
    model.observe(Bounced(earlier.at + HOUR, "ny", why))
    assert model.risk("nx", NOW).unseen >= before - 1e-12


@quick
@given(histories, st.booleans())
def test_a_confirmation_never_raises_the_risk(seen: list[Observation], registration: bool) -> None:
    asked = mailed("y", NOW - timedelta(days=12), address="a@one.example", kind=Kind.REGISTRATION_CHANGED)
    model = told([*seen, asked, FOCUS])
    before = focus(model)
    model.observe(Confirmed(NOW - HOUR, "ny" if registration else "nx"))
    assert focus(model) <= before + 1e-12


@quick
@given(histories, st.randoms(use_true_random=False))
def test_the_order_of_observations_does_not_matter(seen: list[Observation], random: object) -> None:
    # of two mails with one name the first one heard of decides; a ledger never has two
    named: dict[str, Observation] = {}
    for item in seen:
        if isinstance(item, Mailed):
            named.setdefault(item.notice_id, item)
    seen = [item for item in seen if not isinstance(item, Mailed) or named[item.notice_id] is item]
    shuffled = list(seen)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ordered, mixed = told([*seen, FOCUS]), told([FOCUS, *shuffled])
    assert ordered.worklist(NOW) == mixed.worklist(NOW)
    assert ordered.losses() == mixed.losses()


@quick
@given(histories)
def test_a_repeat_changes_nothing(seen: list[Observation]) -> None:
    assert told([*seen, *seen]).worklist(NOW) == told(seen).worklist(NOW)


@quick
@given(st.sampled_from(Ending), st.integers(1, 3))
def test_stable_with_three_patrons(how: Ending, patrons: int) -> None:
    seen: list[Observation] = []
    for n in range(patrons):
        mail = mailed(n, NOW - timedelta(days=15), address=f"p{n}@one.example")
        seen += [mail, HoldEnded(mail.at + timedelta(days=7), f"h{n}", how)]
    model = told([*seen, FOCUS])
    assert 0.02 < focus(model) < 0.6
    assert model.alerts() == ()


@given(st.lists(st.floats(0, 3), min_size=len(EDGES), max_size=len(EDGES)), st.floats(0, 40), st.floats(0, 5))
def test_a_cumulative_hazard_never_falls(rates: list[float], age: float, more: float) -> None:
    hazard = Hazard(rates)
    assert hazard.until(age + more) >= hazard.until(age) - 1e-9
    assert hazard.at(age) in rates


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 2)), max_size=20))
def test_exposure_adds_up_to_the_days_watched(watched: list[tuple[float, float]]) -> None:
    counts = Counts()
    for days, weight in watched:
        counts.exposed(days, weight)
    assert abs(sum(counts.exposure()) - sum(d * w for d, w in watched)) < 1e-6


def test_a_frequent_visitor_comes_sooner() -> None:
    often, seldom = Frailty(4.0, 1.0), Frailty(1.0, 4.0)
    assert often.log_survival(0.0, 1.0) < seldom.log_survival(0.0, 1.0) < 0
    assert often.mean_at(0.0) > seldom.mean_at(0.0)
