"""The hold's life: states, their Japanese names, legal steps, and the path a snapshot leaves out.

Rule: everything that affects a hold's state lives in this file. Pure.
Source of the first seven states: the second library's own page; how a hold ends: circulation practice.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from holds_core.states import Machine


class Hold(StrEnum):
    """State of a hold."""

    REQUESTED = "requested"
    PLACED = "placed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    READY = "ready"
    COLLECTED = "collected"
    LAPSED = "lapsed"
    ENDED = "ended"


LABELS: dict[Hold, tuple[str, str]] = {
    Hold.REQUESTED: ("予約申請中", "requested"),
    Hold.PLACED: ("予約中", "on hold"),
    Hold.REFUSED: ("予約拒否", "not accepted"),
    Hold.WITHDRAWN: ("予約申請取消", "request withdrawn"),
    Hold.CANCEL_REQUESTED: ("取消申請中", "cancellation requested"),
    Hold.CANCELLED: ("予約取消済み", "cancelled"),
    Hold.READY: ("お取り置き", "ready for pickup"),
    Hold.COLLECTED: ("貸出済み", "collected"),
    Hold.LAPSED: ("予約解除(取置期限切れ)", "lapsed"),
    Hold.ENDED: ("終了(理由不明)", "ended, reason unknown"),
}
"""Names in Japanese and English; a library may relabel them."""

_H = Hold

HOLD: Machine[Hold] = Machine(
    "hold",
    {
        _H.REQUESTED: frozenset({_H.PLACED, _H.REFUSED, _H.WITHDRAWN, _H.ENDED}),
        # "not formally cancelled until the next open day"; placed: the library had acted on it already
        _H.WITHDRAWN: frozenset({_H.CANCELLED, _H.PLACED, _H.ENDED}),
        _H.PLACED: frozenset({_H.READY, _H.CANCEL_REQUESTED, _H.CANCELLED, _H.ENDED}),
        # ready: it was shelved first, the cancellation is refused
        _H.CANCEL_REQUESTED: frozenset({_H.CANCELLED, _H.READY, _H.PLACED, _H.ENDED}),
        # placed: unshelved
        _H.READY: frozenset({_H.COLLECTED, _H.LAPSED, _H.CANCELLED, _H.PLACED, _H.ENDED}),
        # a lapsed hold is sometimes put back, or handed over at the desk after all
        _H.LAPSED: frozenset({_H.READY, _H.COLLECTED}),
        _H.REFUSED: frozenset(),
        _H.CANCELLED: frozenset(),
        _H.COLLECTED: frozenset(),
        # one bad snapshot lost it, a later one lists it again: nobody ended it
        _H.ENDED: frozenset({_H.REQUESTED, _H.PLACED, _H.READY}),
    },
)

FIRST = (Hold.REQUESTED, Hold.PLACED, Hold.READY)
"""States in which a hold may first be seen."""

OPEN = (Hold.REQUESTED, Hold.WITHDRAWN, Hold.PLACED, Hold.CANCEL_REQUESTED, Hold.READY)

# Steps a feed may have skipped. A snapshot never shows these on the way to something else.
_NEVER_INFERRED = frozenset({Hold.WITHDRAWN, Hold.CANCEL_REQUESTED, Hold.LAPSED, Hold.ENDED})

# What was on the shelf is not unshelved, nor a lapsed hold revived, only to reach another state.
_ONE_STEP_ONLY = frozenset({Hold.READY, Hold.LAPSED})


def path(state: Hold | None, wanted: Hold) -> tuple[Hold, ...]:
    """The shortest legal way from `state` (None: never seen) to `wanted`, without the start.

    An empty tuple means that the hold is there already. A snapshot shows states, not steps, so the
    states in between are walked and marked as inferred by the caller.

    >>> path(Hold.REQUESTED, Hold.COLLECTED)
    (<Hold.PLACED: 'placed'>, <Hold.READY: 'ready'>, <Hold.COLLECTED: 'collected'>)

    Raises LookupError where no legal way exists: that is a conflict for staff, not an announcement.
    """
    if state == wanted:
        return ()
    if state is None:
        if wanted in FIRST:
            return (wanted,)
        first = Hold.REQUESTED if wanted in (Hold.REFUSED, Hold.WITHDRAWN) else Hold.PLACED
        return (first, *path(first, wanted))
    if state in _ONE_STEP_ONLY:
        if HOLD.allows(state, wanted):
            return (wanted,)
        raise LookupError(f"no legal way from {state} to {wanted}")
    seen = {state}
    queue: deque[tuple[Hold, ...]] = deque([(state,)])
    while queue:
        way = queue.popleft()
        for following in sorted(HOLD.table[way[-1]]):
            if following == wanted:
                return (*way[1:], wanted)
            if following not in seen and following not in _NEVER_INFERRED:
                seen.add(following)
                queue.append((*way, following))
    raise LookupError(f"no legal way from {state} to {wanted}")
