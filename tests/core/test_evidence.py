"""What a delivery's evidence amounts to, in whatever order it came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.evidence import FAILURES, PERSONAL, WEIGHTS, Evidence, Sign, finding
from holds_core.notices import Finding

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
OPEN, PASSED = NOW + timedelta(seconds=1), NOW
W, C, B, U = Finding.WAITING, Finding.CONFIRMED, Finding.BOUNCED, Finding.UNANSWERED

CASES: list[tuple[list[Sign], datetime | None, Finding]] = [
    ([], None, W),
    ([], OPEN, W),
    ([], PASSED, U),
    # a receipt confirms nothing: black holes send them too
    ([Sign.DELIVERED], OPEN, W),
    ([Sign.DELIVERED], PASSED, U),
    ([Sign.RELAYED], PASSED, U),
    ([Sign.SEEN], PASSED, U),
    ([Sign.DELAYED], OPEN, W),
    ([Sign.AUTO_REPLY], PASSED, U),
    ([Sign.CANARY_INBOX], PASSED, U),
    ([Sign.COMPLAINT], OPEN, W),
    ([Sign.NOT_ME], OPEN, W),
    ([Sign.CONFIRMED], PASSED, C),
    ([Sign.REPLIED], PASSED, C),
    ([Sign.STAFF_WORKS], PASSED, C),
    ([Sign.COLLECTED], PASSED, C),
    ([Sign.COLLECTED, Sign.UNANSWERED], PASSED, C),
    ([Sign.LAPSED], OPEN, W),
    ([Sign.REFUSED], OPEN, B),
    ([Sign.BOUNCED], None, B),
    # collected after a bounce: they came by chance, the mail did not arrive
    ([Sign.BOUNCED, Sign.COLLECTED], OPEN, B),
    ([Sign.BOUNCED, Sign.DELIVERED], OPEN, B),
    # over-eager filters bounce mail that was read
    ([Sign.BOUNCED, Sign.CONFIRMED], OPEN, C),
    ([Sign.UNANSWERED], OPEN, U),
    ([Sign.UNANSWERED, Sign.BOUNCED], OPEN, B),
    ([Sign.UNANSWERED, Sign.CONFIRMED], OPEN, C),
]


@pytest.mark.parametrize(("signs", "window", "expected"), CASES)
def test_finding(signs: list[Sign], window: datetime | None, expected: Finding) -> None:
    items = [Evidence(NOW - timedelta(hours=n), sign, 1) for n, sign in enumerate(signs)]
    assert finding(items, window, NOW) is expected


evidence = st.builds(
    Evidence,
    at=st.timedeltas(timedelta(days=-9), timedelta()).map(lambda ago: NOW + ago),
    sign=st.sampled_from(Sign),
    delivery_id=st.just(1),
)


@given(st.lists(evidence, max_size=8), st.sampled_from([None, OPEN, PASSED]), st.randoms())
def test_the_order_of_the_evidence_does_not_matter(
    items: list[Evidence], window: datetime | None, random: object
) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert finding(items, window, NOW) is finding(iter(shuffled), window, NOW)


@given(st.lists(evidence, max_size=8))
def test_only_a_failure_bounces_and_only_a_sign_confirms(items: list[Evidence]) -> None:
    signs = {item.sign for item in items}
    found = finding(items, PASSED, NOW)
    assert (found is B) <= bool(signs & FAILURES)
    assert (found is C) <= bool(signs & (PERSONAL | {Sign.COLLECTED, Sign.WROTE}))
    assert found is not W


def test_every_sign_has_its_weight_explained() -> None:
    assert set(WEIGHTS) == set(Sign)
    strong = {sign for sign, (ja, _) in WEIGHTS.items() if ja.startswith("強い")}
    assert strong >= PERSONAL
    assert not strong & {Sign.DELIVERED, Sign.RELAYED, Sign.WROTE, Sign.SEEN}
