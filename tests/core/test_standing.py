"""The judge of an address: each of its rules, and what never counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.evidence import FAILURES, PERSONAL, Evidence, Sign
from holds_core.standing import LABELS, SOFT_SPAN, Standing, judge

T0 = datetime(2026, 10, 1, tzinfo=UTC)
UNPROVEN, REACHABLE, DOUBTFUL, UNREACHABLE = (
    Standing.UNPROVEN,
    Standing.REACHABLE,
    Standing.DOUBTFUL,
    Standing.UNREACHABLE,
)


def seen(
    day: float,
    sign: Sign,
    delivery: int | None = None,
    reason: str = "",
    fault: str = "",
    severity: str = "",
) -> Evidence:
    return Evidence(T0 + timedelta(days=day), sign, delivery, reason, fault, severity)


def hard(day: float, delivery: int = 1, sign: Sign = Sign.BOUNCED) -> Evidence:
    return seen(day, sign, delivery, "userunknown", "patron", "hard")


def full(day: float, delivery: int) -> Evidence:
    return seen(day, Sign.BOUNCED, delivery, "mailboxfull", "patron", "soft")


def filtered(day: float, delivery: int) -> Evidence:
    return seen(day, Sign.REFUSED, delivery, "filtered", "patron", "soft")


CASES: list[tuple[str, list[Evidence], Standing, tuple[str, ...]]] = [
    ("nothing known", [], UNPROVEN, ()),
    ("a receipt proves nothing", [seen(0, Sign.DELIVERED, 1)], UNPROVEN, ()),
    ("nor does a relay's word", [seen(0, Sign.RELAYED, 1)], UNPROVEN, ()),
    ("a machine's answer is no person", [seen(0, Sign.AUTO_REPLY, 1)], UNPROVEN, ()),
    ("an OPAC visit is not about mail", [seen(0, Sign.SEEN, 1)], UNPROVEN, ()),
    ("a delay is nothing yet", [seen(0, Sign.DELAYED, 1, "mailboxfull", "patron", "soft")], UNPROVEN, ()),
    ("confirmed", [seen(0, Sign.CONFIRMED, 1)], REACHABLE, ("sign_of_life",)),
    ("replied", [seen(0, Sign.REPLIED, 1)], REACHABLE, ("sign_of_life",)),
    ("staff know", [seen(0, Sign.STAFF_WORKS)], REACHABLE, ("sign_of_life",)),
    ("collected", [seen(0, Sign.COLLECTED, 1)], REACHABLE, ("collected",)),
    ("unknown user", [hard(0)], UNREACHABLE, ("userunknown",)),
    ("refused on the wire alike", [hard(0, sign=Sign.REFUSED)], UNREACHABLE, ("userunknown",)),
    ("a sign wipes out what came before", [hard(0), seen(1, Sign.CONFIRMED, 2)], REACHABLE, ("sign_of_life",)),
    ("and nothing after it", [seen(0, Sign.CONFIRMED, 1), hard(1, 2)], UNREACHABLE, ("userunknown",)),
    ("collecting repairs no dead mailbox", [hard(0), seen(1, Sign.COLLECTED, 1)], UNREACHABLE, ("userunknown",)),
    ("full once", [full(0, 1)], DOUBTFUL, ("mailboxfull",)),
    ("full twice", [full(0, 1), full(5, 2)], DOUBTFUL, ("mailboxfull",)),
    ("full for three mails", [full(0, 1), full(5, 2), full(20, 3)], UNREACHABLE, ("mailboxfull", "repeated")),
    ("one mail that bounces thrice is one", [full(0, 1), full(1, 1), full(2, 1)], DOUBTFUL, ("mailboxfull",)),
    ("three in too long a time", [full(0, 1), full(20, 2), full(31, 3)], DOUBTFUL, ("mailboxfull",)),
    ("full, then collected", [full(0, 1), seen(1, Sign.COLLECTED, 1)], REACHABLE, ("collected",)),
    ("filtered once", [filtered(0, 1)], DOUBTFUL, ("filtered",)),
    ("one mail filtered twice is one", [filtered(0, 1), filtered(1, 1)], DOUBTFUL, ("filtered",)),
    ("filtered twice is a habit", [filtered(0, 1), filtered(200, 2)], UNREACHABLE, ("filtered",)),
    ("no form of an address", [seen(0, Sign.INVALID, None, "full_width")], UNREACHABLE, ("invalid", "full_width")),
    ("mistyped, say staff", [seen(0, Sign.STAFF_MISTYPED)], UNREACHABLE, ("mistyped",)),
    ("a stranger's", [seen(0, Sign.CONFIRMED, 1), seen(1, Sign.NOT_ME, 2)], UNREACHABLE, ("mistyped",)),
    ("a stranger's after all not", [seen(0, Sign.NOT_ME, 1), seen(1, Sign.STAFF_WORKS)], REACHABLE, ("sign_of_life",)),
    ("it never came", [seen(0, Sign.STAFF_NEVER_GOT)], DOUBTFUL, ("never_got",)),
    ("it never came, then collected", [seen(0, Sign.STAFF_NEVER_GOT), seen(1, Sign.COLLECTED, 1)], REACHABLE, ("collected",)),
    ("a lapsed hold", [seen(0, Sign.LAPSED, 1)], DOUBTFUL, ("lapsed",)),
    ("lapsed, though proven once", [seen(0, Sign.CONFIRMED, 1), seen(9, Sign.LAPSED, 2)], DOUBTFUL, ("lapsed",)),
    ("unanswered once", [seen(0, Sign.UNANSWERED, 1)], UNPROVEN, ()),
    ("unanswered once, proven", [seen(0, Sign.CONFIRMED, 1), seen(1, Sign.UNANSWERED, 2)], REACHABLE, ("sign_of_life",)),
    ("unanswered twice", [seen(0, Sign.UNANSWERED, 1), seen(9, Sign.UNANSWERED, 2)], DOUBTFUL, ("unanswered",)),
    ("unanswered, collected, unanswered", [seen(0, Sign.UNANSWERED, 1), seen(5, Sign.COLLECTED, 1), seen(9, Sign.UNANSWERED, 2)], REACHABLE, ("collected",)),
    ("called spam", [seen(0, Sign.COMPLAINT, 1)], DOUBTFUL, ("complaint",)),
    ("a failure of unknown fault is a doubt", [seen(0, Sign.BOUNCED, 1)], DOUBTFUL, ("bounced",)),
    ("many doubts", [seen(0, Sign.STAFF_NEVER_GOT), full(1, 1), seen(2, Sign.LAPSED, 2), seen(3, Sign.COMPLAINT, 2)], DOUBTFUL, ("never_got", "mailboxfull", "lapsed", "complaint")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("items", "standing", "reasons"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_each_rule(items: list[Evidence], standing: Standing, reasons: tuple[str, ...]) -> None:
    found = judge(items)
    assert (found.standing, found.reasons) == (standing, reasons)
    assert found.proven is any(item.sign in PERSONAL for item in items)


@pytest.mark.parametrize("fault", ["us", "provider"])
@pytest.mark.parametrize("sign", sorted(FAILURES))
@pytest.mark.parametrize("severity", ["hard", "soft"])
def test_what_is_not_the_patrons_fault_never_counts(fault: str, sign: Sign, severity: str) -> None:
    items = [seen(day, sign, day, "authfailure", fault, severity) for day in range(1, 20)]
    assert judge(items).standing is UNPROVEN
    assert judge([seen(0, Sign.CONFIRMED, 99), *items]).standing is REACHABLE


def test_the_span_of_soft_failures_includes_its_ends() -> None:
    days = SOFT_SPAN.days
    assert judge([full(0, 1), full(1, 2), full(days, 3)]).standing is UNREACHABLE
    assert judge([full(0, 1), full(1, 2), full(days + 0.001, 3)]).standing is DOUBTFUL


def test_a_failure_at_the_moment_of_a_sign_counts_whatever_came_first() -> None:
    items = [seen(0, Sign.CONFIRMED, 1), hard(0, 2)]
    assert judge(items) == judge(items[::-1])
    assert judge(items).standing is UNREACHABLE


def test_every_standing_has_its_words() -> None:
    assert set(LABELS) == set(Standing)


evidence = st.builds(
    Evidence,
    at=st.integers(0, 60).map(lambda day: T0 + timedelta(days=day)),
    sign=st.sampled_from(Sign),
    delivery_id=st.none() | st.integers(1, 5),
    reason=st.sampled_from(["", "userunknown", "mailboxfull", "filtered", "authfailure"]),
    fault=st.sampled_from(["", "patron", "provider", "us"]),
    severity=st.sampled_from(["", "hard", "soft"]),
)


@given(st.lists(evidence, max_size=12), st.randoms())
def test_the_order_of_the_evidence_does_not_matter(items: list[Evidence], random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(iter(shuffled)) == judge(items)


@given(st.lists(evidence, max_size=12))
def test_adding_our_fault_changes_no_judgement(items: list[Evidence]) -> None:
    ours = [item for item in items if not (item.sign in FAILURES and item.fault in ("us", "provider"))]
    assert judge(ours) == judge(items)


@given(st.lists(evidence, max_size=12))
def test_a_persons_sign_at_the_end_always_makes_it_reachable(items: list[Evidence]) -> None:
    last = seen(61, Sign.CONFIRMED, 9)
    found = judge([*items, last])
    assert (found.standing, found.proven, found.mistyped) == (REACHABLE, True, False)


@given(st.lists(evidence, max_size=12))
def test_the_same_evidence_twice_over_is_no_new_evidence(items: list[Evidence]) -> None:
    """Counts go by mail, not by report."""
    assert judge(items * 2) == judge(items)
