"""The transmission machine: all pairs, and what the sender relies on."""

from __future__ import annotations

from itertools import product

import pytest

from holds_core.errors import IllegalTransition
from holds_core.notices import AFTER, BATCHED, SENDABLE, TRANSMISSION, UNSENT, Kind, Result, Transmission

T = Transmission

LEGAL = {
    T.PENDING: {T.SENDING, T.CANCELLED, T.WITHHELD},
    T.SENDING: {T.HANDED_OVER, T.REFUSED, T.RETRYING, T.UNCERTAIN, T.PENDING},
    T.RETRYING: {T.SENDING, T.EXPIRED, T.CANCELLED, T.WITHHELD},
    T.UNCERTAIN: {T.SENDING, T.HANDED_OVER},
    T.WITHHELD: {T.PENDING, T.CANCELLED},
    T.HANDED_OVER: set(),
    T.REFUSED: {T.PENDING},
    T.EXPIRED: set(),
    T.CANCELLED: set(),
}


@pytest.mark.parametrize(("state", "wanted"), list(product(Transmission, Transmission)))
def test_every_pair_of_states(state: Transmission, wanted: Transmission) -> None:
    assert TRANSMISSION.allows(state, wanted) == (wanted in LEGAL[state])
    if wanted in LEGAL[state]:
        assert TRANSMISSION.check(state, wanted) is wanted
        return
    before = dict(TRANSMISSION.table)
    with pytest.raises(IllegalTransition) as caught:
        TRANSMISSION.check(state, wanted, "delivery:7")
    error = caught.value
    assert (error.machine, error.state, error.wanted, error.subject) == (
        "delivery",
        state,
        wanted,
        "delivery:7",
    )
    assert str(error) == f"delivery of delivery:7: {state} -> {wanted} is not a legal step"
    assert TRANSMISSION.table == before


def test_nothing_leaves_a_final_state() -> None:
    final = {T.HANDED_OVER, T.EXPIRED, T.CANCELLED}
    assert {state for state in Transmission if TRANSMISSION.is_final(state)} == final


def test_every_result_of_an_attempt_is_a_legal_step() -> None:
    assert set(AFTER) == set(Result)
    assert {TRANSMISSION.check(T.SENDING, state) for state in AFTER.values()} == TRANSMISSION.table[T.SENDING]


def test_what_may_be_claimed_and_what_may_be_taken_back() -> None:
    assert set(SENDABLE) == TRANSMISSION.sources(T.SENDING)
    assert set(UNSENT) == TRANSMISSION.sources(T.CANCELLED)
    # an uncertain mail may have left: it is never called back as if it had not
    assert T.UNCERTAIN not in UNSENT
    assert T.SENDING not in UNSENT


def test_only_a_waiting_delivery_reaches_the_relay() -> None:
    # handed over follows an attempt, or evidence about an uncertain one; nothing else
    assert TRANSMISSION.sources(T.HANDED_OVER) == {T.SENDING, T.UNCERTAIN}
    assert TRANSMISSION.sources(T.REFUSED) == {T.SENDING}


def test_batched_kinds() -> None:
    assert {kind.value for kind in BATCHED} == {"hold_ready", "hold_expiring", "sender_migration"}
    assert len(Kind) == 12
