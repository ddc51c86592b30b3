"""The hold's machine and its inferred paths, by complete tables."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from holds_core.errors import IllegalTransition
from holds_core.holds import FIRST, HOLD, LABELS, OPEN, Hold, path

H = Hold
_SHORT = {
    "Q": H.REQUESTED,
    "P": H.PLACED,
    "F": H.REFUSED,
    "W": H.WITHDRAWN,
    "K": H.CANCEL_REQUESTED,
    "X": H.CANCELLED,
    "R": H.READY,
    "C": H.COLLECTED,
    "L": H.LAPSED,
    "E": H.ENDED,
}

# Written from the libraries' pages, not from the table under test.
LEGAL = {
    H.REQUESTED: {H.PLACED, H.REFUSED, H.WITHDRAWN, H.ENDED},
    H.WITHDRAWN: {H.CANCELLED, H.PLACED, H.ENDED},
    H.PLACED: {H.READY, H.CANCEL_REQUESTED, H.CANCELLED, H.ENDED},
    H.CANCEL_REQUESTED: {H.CANCELLED, H.READY, H.PLACED, H.ENDED},
    H.READY: {H.COLLECTED, H.LAPSED, H.CANCELLED, H.PLACED, H.ENDED},
    H.LAPSED: {H.READY, H.COLLECTED},
    H.REFUSED: set(),
    H.CANCELLED: set(),
    H.COLLECTED: set(),
    # a bad snapshot lost it, a later one has it again
    H.ENDED: {H.REQUESTED, H.PLACED, H.READY},
}


@pytest.mark.parametrize(("state", "wanted"), list(product(Hold, Hold)))
def test_every_pair_of_states(state: Hold, wanted: Hold) -> None:
    if wanted in LEGAL[state]:
        assert HOLD.check(state, wanted) is wanted
        return
    before = dict(HOLD.table)
    with pytest.raises(IllegalTransition) as caught:
        HOLD.check(state, wanted, "hold:7")
    assert (caught.value.machine, caught.value.state, caught.value.wanted) == ("hold", state, wanted)
    assert "hold:7" in str(caught.value)
    assert HOLD.table == before


def test_final_states_and_sources() -> None:
    assert {state for state in Hold if HOLD.is_final(state)} == {H.REFUSED, H.CANCELLED, H.COLLECTED}
    assert HOLD.sources(H.READY) == {H.PLACED, H.CANCEL_REQUESTED, H.LAPSED, H.ENDED}
    assert HOLD.sources(H.ENDED) == set(OPEN)


def test_the_names_on_the_page() -> None:
    assert set(LABELS) == set(Hold)
    names = [LABELS[state][0] for state in (H.REQUESTED, H.PLACED, H.REFUSED, H.READY)]
    names += [LABELS[state][0] for state in (H.WITHDRAWN, H.CANCEL_REQUESTED, H.CANCELLED)]
    page = "予約申請中・予約中・予約拒否・お取り置き・予約申請取消・取消申請中・予約取消済み"
    assert names == page.split("・")


# One row for each known state (- : never seen), one column for each state a snapshot may show. A word
# is the way to go, a dot means to be there already, ! a conflict. Columns:
#    requested placed refused withdrawn cancel_requested cancelled ready collected lapsed ended
PATHS = """
-    Q   P    QF  QW  PK   PX   R    PRC   PRL   PE
Q    .   P    F   W   PK   PX   PR   PRC   PRL   E
P    !   .    !   !   K    X    R    RC    RL    E
F    !   !    .   !   !    !    !    !     !     !
W    !   P    !   .   PK   X    PR   PRC   PRL   E
K    !   P    !   !   .    X    R    RC    RL    E
X    !   !    !   !   !    .    !    !     !     !
R    !   P    !   !   !    X    .    C     L     E
C    !   !    !   !   !    !    !    .     !     !
L    !   !    !   !   !    !    R    C     .     !
E    Q   P    QF  QW  PK   PX   R    RC    RL    .
"""


def cells() -> list[tuple[Hold | None, Hold, str]]:
    table = []
    for line in PATHS.strip().splitlines():
        start, *ways = line.split()
        table += [(_SHORT.get(start), wanted, way) for wanted, way in zip(_SHORT.values(), ways, strict=True)]
    return table


def test_the_table_is_complete() -> None:
    assert {(state, wanted) for state, wanted, _ in cells()} == set(product([None, *Hold], Hold))


@pytest.mark.parametrize(("state", "wanted", "way"), cells())
def test_the_way_a_snapshot_left_out(state: Hold | None, wanted: Hold, way: str) -> None:
    if way == "!":
        with pytest.raises(LookupError, match="no legal way"):
            path(state, wanted)
        return
    found = path(state, wanted)
    assert found == (() if way == "." else tuple(_SHORT[letter] for letter in way))
    steps = found if state is None else (state, *found)
    if state is None:
        assert found[0] in FIRST
    for before, after in pairwise(steps):
        assert HOLD.allows(before, after)
    # a patron's own request is seen, never invented on the way to something else
    assert not set(found[:-1]) & {H.WITHDRAWN, H.CANCEL_REQUESTED}
