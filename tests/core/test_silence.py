"""The risk model: what raises and lowers a risk, what it learns, whom it would phone, in what order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from holds_core.errors import NotFound
from holds_core.notices import Kind
from holds_core.observations import (
    Bounced,
    CanaryResult,
    Confirmed,
    DeadlineMoved,
    Ending,
    Failure,
    HoldEnded,
    NeverGot,
    Observation,
    PatronSeen,
    Told,
)
from holds_core.silence import ProviderHint, SilenceModel
from holds_core.silence_reasons import RAISES, SENTENCES, RiskReason
from tests.core.silence_world import START, World, mailed, morning

SENT = START + timedelta(hours=9, minutes=7)
NOW = SENT + timedelta(days=3)
HOUR = timedelta(hours=1)


def model(*seen: Observation, **kwargs: object) -> SilenceModel:
    m = SilenceModel(**kwargs)  # type: ignore[arg-type]
    for item in seen:
        m.observe(item)
    return m


@pytest.fixture(scope="module")
def taught() -> tuple[World, list[Observation]]:
    world = World({"good.example": [(0, 0.02)], "bad.example": [(0, 0.6)], "so-so.example": [(0, 0.25)]})
    return world, world.observations()


def after(seen: list[Observation], *more: Observation) -> SilenceModel:
    m = model(*seen)
    m.refresh(morning(91))
    for item in more:
        m.observe(item)
    return m


FRESH = morning(89) + HOUR


def risk_of(taught: tuple[World, list[Observation]], address: str, *more: Observation) -> float:
    m = after(taught[1], mailed("x", FRESH, address=address), *more)
    return m.risk("nx", FRESH + timedelta(days=3)).probability


def test_learns_which_domain_loses_mail(taught: tuple[World, list[Observation]]) -> None:
    losses = after(taught[1]).losses()
    assert losses["good.example"] < 0.08
    assert 0.1 < losses["so-so.example"] < 0.45
    assert 0.4 < losses["bad.example"] < 0.8


def test_a_new_patron_at_a_silent_provider_is_at_risk(taught: tuple[World, list[Observation]]) -> None:
    good, middling, bad = (risk_of(taught, f"new@{d}.example") for d in ("good", "so-so", "bad"))
    assert good < middling < bad
    assert bad > 0.4


def test_a_small_domain_borrows_from_its_provider(taught: tuple[World, list[Observation]]) -> None:
    hints = {
        "bad.example": ProviderHint("Bad Mail", "free"),
        "bad2.example": ProviderHint("Bad Mail", "free"),
        "good.example": ProviderHint("Good Mail", "isp"),
        "good2.example": ProviderHint("Good Mail", "isp"),
    }
    risks = []
    for domain in ("bad2.example", "good2.example"):
        new = mailed("x", FRESH, address=f"new@{domain}")
        m = model(*taught[1], mailed("w", START, address=f"old@{domain}"), new, hints=hints)
        m.refresh(morning(91))
        risks.append(m.risk("nx", FRESH + timedelta(days=3)).probability)
    assert risks[0] > 1.5 * risks[1]


def test_a_hint_alone_is_no_verdict(taught: tuple[World, list[Observation]]) -> None:
    hints = {"good.example": ProviderHint("Good Mail", "free", silent_loss=True)}
    m = model(*taught[1], hints=hints)
    m.refresh(morning(91))
    assert m.losses()["good.example"] < 0.08


def test_age_without_a_sign_raises_the_odds_of_unseen() -> None:
    m = model(mailed(1, SENT))
    unseen = [m.risk("n1", SENT + timedelta(days=d)).unseen for d in range(7)]
    assert all(a < b for a, b in pairwise(unseen))


@pytest.mark.parametrize(
    ("past", "raises"),
    [
        ([HoldEnded(SENT - timedelta(days=13), "h0", Ending.LAPSED)], True),
        ([HoldEnded(SENT - timedelta(days=18), "h0", Ending.COLLECTED)], False),
        ([Confirmed(SENT - timedelta(days=19), "n0")], False),
        ([NeverGot(SENT - timedelta(days=19), "n0")], True),
        ([Bounced(SENT - timedelta(days=19), "n0", Failure.UNKNOWN)], True),
        ([Bounced(SENT - timedelta(days=19), "n0", Failure.FILTERED)], True),
    ],
)
def test_the_past_of_an_address_counts(past: list[Observation], raises: bool) -> None:
    before = mailed(0, SENT - timedelta(days=20))
    plain = model(mailed(1, SENT)).risk("n1", NOW).unseen
    told = model(before, *past, mailed(1, SENT)).risk("n1", NOW).unseen
    assert (told > plain) is raises


def test_our_own_fault_is_not_held_against_the_address() -> None:
    before = mailed(0, SENT - timedelta(days=2), failure=Failure.OURS)
    plain = model(mailed(1, SENT)).risk("n1", NOW).unseen
    assert model(before, mailed(1, SENT)).risk("n1", NOW).unseen == pytest.approx(plain, rel=0.02)


def test_a_registration_mail_that_nobody_confirms_speaks_against_the_address() -> None:
    notice = mailed(0, SENT - timedelta(days=20), kind=Kind.REGISTRATION_CHANGED)
    plain = model(mailed(1, SENT)).risk("n1", NOW).unseen
    silent = model(notice, mailed(1, SENT)).risk("n1", NOW)
    pressed = model(notice, Confirmed(notice.at + HOUR, "n0"), mailed(1, SENT)).risk("n1", NOW)
    assert pressed.unseen < plain < silent.unseen
    assert RiskReason.NEVER_CONFIRMED in silent.reasons
    assert RiskReason.CAME_BEFORE in pressed.reasons


def test_a_mail_that_asks_for_nothing_is_not_held_against_the_address() -> None:
    notice = mailed(0, SENT - timedelta(days=20), kind=Kind.REGISTRATION_CHANGED)
    plain = model(mailed(1, SENT)).risk("n1", NOW).unseen
    unasked = model(replace(notice, asks=False), mailed(1, SENT)).risk("n1", NOW)
    assert unasked.unseen == pytest.approx(plain, rel=0.02)
    assert RiskReason.NEVER_CONFIRMED not in unasked.reasons
    # nor is a press missed in a hold's mail that has no button
    assert model(replace(mailed(1, SENT), asks=False)).risk("n1", NOW).unseen < plain


def test_of_two_addresses_one_that_asks_is_enough() -> None:
    one = mailed(1, SENT, address="a@one.example", patron="P")
    two = replace(mailed(1, SENT, address="b@two.example", patron="P"), asks=False)
    assert model(one, two).risk("n1", NOW) == model(two, one).risk("n1", NOW)


def test_who_was_reached_is_at_no_risk_and_a_message_leaves_the_risk_as_it_is() -> None:
    day = timedelta(days=1)
    silent = model(mailed(1, SENT)).risk("n1", NOW)
    reached = model(mailed(1, SENT), Told(NOW - HOUR, "a@one.example", reached=True)).risk("n1", NOW)
    assert (reached.probability, reached.reasons) == (0.0, (RiskReason.TOLD,))
    message = model(mailed(1, SENT), Told(NOW - HOUR, "a@one.example", reached=False)).risk("n1", NOW)
    assert message.probability == pytest.approx(silent.probability, rel=0.1)
    # a call about an earlier hold says nothing of this one
    earlier = model(Told(SENT - day, "a@one.example", reached=True), mailed(1, SENT)).risk("n1", NOW)
    assert earlier == silent


def test_who_came_after_a_call_did_not_show_that_mail_arrives() -> None:
    first, came = SENT - timedelta(days=30), SENT - timedelta(days=29, hours=12)
    past = [mailed(0, first), HoldEnded(came, "h0", Ending.COLLECTED)]
    call = Told(came - HOUR, "a@one.example", reached=True)
    by_itself = model(*past, mailed(1, SENT)).risk("n1", NOW)
    after_a_call = model(*past, call, mailed(1, SENT)).risk("n1", NOW)
    assert RiskReason.CAME_BEFORE in by_itself.reasons
    assert RiskReason.CAME_BEFORE not in after_a_call.reasons
    assert after_a_call.unseen > by_itself.unseen
    # a call after the visit changes nothing
    late = Told(came + timedelta(days=1), "a@one.example", reached=True)
    assert model(*past, late, mailed(1, SENT)).risk("n1", NOW).unseen == pytest.approx(by_itself.unseen)


def test_mail_that_was_not_sent_leaves_the_address_alone() -> None:
    unsent = mailed(0, SENT - timedelta(days=2), failure=Failure.UNSENT)
    plain = model(mailed(1, SENT)).risk("n1", NOW).unseen
    assert model(unsent, mailed(1, SENT)).risk("n1", NOW).unseen == pytest.approx(plain, rel=0.02)
    alone = model(unsent).risk("n0", NOW)
    assert (alone.unseen, RiskReason.NOT_SENT in alone.reasons) == (1.0, True)


def test_of_two_holds_the_one_that_was_not_extended_keeps_its_deadline() -> None:
    both = replace(mailed(1, SENT), hold_ids=("h1", "h2"))
    moved = DeadlineMoved(SENT + HOUR, "h1", SENT + timedelta(days=20))
    for seen in ([both, moved], [moved, both]):
        assert model(*seen).lapses_at("n1") == both.deadline
    other = DeadlineMoved(SENT + HOUR, "h2", SENT + timedelta(days=10))
    assert model(both, moved, other).lapses_at("n1") == other.deadline


def test_a_second_address_lowers_the_risk_and_one_bounce_of_two_is_not_unreachable() -> None:
    first = mailed(1, SENT, address="a@one.example", patron="P")
    second = mailed(1, SENT, address="b@two.example", patron="P")
    bounce = Bounced(SENT + HOUR, "n1", Failure.UNKNOWN, "a@one.example")
    alone = model(first).risk("n1", NOW).unseen
    assert model(first, second).risk("n1", NOW).unseen < alone
    assert model(first, second, bounce).risk("n1", NOW).unseen < 0.5
    assert model(first, bounce).risk("n1", NOW).unseen == 1.0


def test_a_retry_that_was_accepted_undoes_the_refusal() -> None:
    refused = mailed(1, SENT, failure=Failure.SOFT)
    assert model(refused).risk("n1", NOW).unseen == 1.0
    assert model(refused, mailed(1, SENT + HOUR)).risk("n1", NOW).unseen < 0.5


def test_a_person_outweighs_a_bounce() -> None:
    m = model(mailed(1, SENT), Bounced(SENT + HOUR, "n1", Failure.FILTERED), Confirmed(SENT + 2 * HOUR, "n1"))
    risk = m.risk("n1", NOW)
    assert risk.unseen < 0.05
    assert RiskReason.CONFIRMED in risk.reasons


def test_ended_teaches_nothing(taught: tuple[World, list[Observation]]) -> None:
    world, seen = taught
    extra = [mailed(f"e{i}", FRESH - timedelta(days=30 + i), address=f"e{i}@good.example") for i in range(25)]
    ends = [HoldEnded(m.at + timedelta(days=2), m.hold_ids[0], Ending.UNKNOWN) for m in extra]
    plain = risk_of(taught, "new@good.example")
    with_ended = risk_of((world, [*seen, *extra, *ends]), "new@good.example")
    assert with_ended == pytest.approx(plain, abs=1e-9)


def test_a_moved_deadline_counts() -> None:
    moved = DeadlineMoved(SENT + HOUR, "h1", SENT + timedelta(days=14))
    assert model(mailed(1, SENT), moved).worklist(SENT + timedelta(days=9))[0].deadline == moved.deadline
    assert model(mailed(1, SENT)).worklist(SENT + timedelta(days=9)) == []


def test_canaries_teach_the_level_of_a_domain() -> None:
    days = [START + timedelta(days=d, hours=10) for d in range(10)]
    lost = model(mailed(1, SENT), *(CanaryResult(at, "one.example", arrived=False) for at in days))
    well = model(mailed(1, SENT), *(CanaryResult(at, "one.example", arrived=True) for at in days))
    lost.refresh(morning(10))
    well.refresh(morning(10))
    assert lost.losses()["one.example"] > 0.7
    assert well.losses()["one.example"] < 0.1


def test_whoever_looked_at_the_web_page_is_left_alone_at_first() -> None:
    looked = model(mailed(1, SENT), PatronSeen(NOW - HOUR, "a@one.example"))
    assert looked.risk("n1", NOW).probability < model(mailed(1, SENT)).risk("n1", NOW).probability
    assert RiskReason.SEEN_SINCE in looked.risk("n1", NOW).reasons


def test_the_last_chance_goes_before_what_can_wait_and_the_too_late_go_last() -> None:
    seen = [
        mailed(f"{d}", SENT - timedelta(days=d), address=f"{d}@one.example", failure=Failure.UNKNOWN)
        for d in (1, 4, 6)
    ]
    calls = model(*seen).worklist(START + timedelta(days=1, hours=8))
    assert [call.notice_id for call in calls] == ["n4", "n1", "n6"]
    assert [call.rank for call in calls] == [1, 2, 3]
    assert RiskReason.TOO_LATE in calls[2].reasons


def test_known_failures_come_before_mere_silence_of_the_same_age() -> None:
    fine = [mailed(f"f{i}", SENT, address=f"{i}@one.example") for i in range(5)]
    calls = model(*fine, mailed("bad", SENT, address="x@one.example", failure=Failure.UNKNOWN)).worklist(NOW)
    assert calls[0].notice_id == "nbad"
    assert calls[0].reasons[0] is RiskReason.REFUSED_USER


def test_what_is_over_is_not_listed() -> None:
    m = model(mailed(1, SENT), HoldEnded(SENT + HOUR, "h1", Ending.COLLECTED))
    assert m.worklist(NOW) == []
    assert m.risk("n1", NOW).probability == 0.0
    with pytest.raises(NotFound):
        m.risk("n2", NOW)


def test_every_reason_has_a_japanese_and_an_english_sentence() -> None:
    assert set(SENTENCES) == set(RiskReason)
    assert set(RiskReason) >= RAISES
    for japanese, english in SENTENCES.values():
        assert japanese.endswith("。")
        assert english.isascii()
        assert english.endswith(".")


def test_a_history_told_backwards_teaches_the_same(taught: tuple[World, list[Observation]]) -> None:
    world, seen = taught
    forward = risk_of(taught, "new@so-so.example")
    assert risk_of((world, seen[::-1]), "new@so-so.example") == pytest.approx(forward, rel=1e-6)


def test_risk_is_calibrated_on_a_world_it_was_not_made_for() -> None:
    world = World({"one.example": [(0, 0.35)], "two.example": [(0, 0.03)]}, days=120, mails_a_day=12, seed=3)
    said: dict[str, float] = {}
    m = SilenceModel()
    day = 0
    for seen in world.observations():
        while seen.at >= morning(day):
            m.refresh(morning(day))
            for call in m.worklist(morning(day)):
                said.setdefault(call.notice_id, call.risk)
            day += 1
        m.observe(seen)
    tenths: dict[int, list[str]] = {}
    for notice, risk in said.items():
        tenths.setdefault(int(risk * 10), []).append(notice)
    full = {k: v for k, v in tenths.items() if len(v) >= 60}
    assert len(full) >= 3
    for notices in full.values():
        was = sum(world.lost[n] for n in notices) / len(notices)
        assert abs(sum(said[n] for n in notices) / len(notices) - was) < 0.13
