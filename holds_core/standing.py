"""Standing of an address: evidence in any order -> unproven, reachable, doubtful or unreachable. Pure.

The rules are few and ordered; each says which evidence it rests on, so that staff can be told why. Our own
faults and the provider's never mark a patron. A person's sign wipes out what came before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from holds_core.evidence import FAILURES, PERSONAL, Evidence, Sign


class Standing(StrEnum):
    UNPROVEN = "unproven"
    REACHABLE = "reachable"
    DOUBTFUL = "doubtful"
    UNREACHABLE = "unreachable"


LABELS: dict[Standing, tuple[str, str]] = {
    Standing.UNPROVEN: ("未確認", "unproven"),
    Standing.REACHABLE: ("到着確認あり", "reachable"),
    Standing.DOUBTFUL: ("不達の疑い", "doubtful"),
    Standing.UNREACHABLE: ("不達", "unreachable"),
}

FILTERED_TWICE = 2
"""One refusal by the patron's filter may be a rule that is mended since; two mails make a habit."""
SOFT_SPAN = timedelta(days=30)
SOFT_LIMIT = 3
"""A full mailbox is soft; three mails that meet it within a month are not a passing state.
Windows made for mailing lists (a bounce a day) never fill up with a library's rare mail."""
UNANSWERED_LIMIT = 2

_WEAK = (Sign.WROTE, Sign.COLLECTED)
"""Signs that end doubts and never a failure: a forged sender, or news from the OPAC, could be behind them."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reasons` are codes, strongest first; `proven`: a person's sign was seen at least once, ever."""

    standing: Standing
    reasons: tuple[str, ...]
    proven: bool
    mistyped: bool = False


def judge(evidence: Iterable[Evidence]) -> Judgement:
    """All evidence about one address, in any order -> its standing."""
    history = sorted(evidence, key=_in_order)
    proven = any(item.sign in PERSONAL for item in history)
    since = _after_last_sign_of_life(history)
    if (invalid := next((item for item in since if item.sign is Sign.INVALID), None)) is not None:
        return Judgement(Standing.UNREACHABLE, ("invalid", invalid.reason), proven, mistyped=True)
    mistyped = any(item.sign in (Sign.STAFF_MISTYPED, Sign.NOT_ME) for item in since)
    if mistyped:
        return Judgement(Standing.UNREACHABLE, ("mistyped",), proven, mistyped=True)
    patron_failures = [item for item in since if item.sign in FAILURES and item.fault in ("patron", "")]
    hard = [item for item in patron_failures if item.severity == "hard"]
    if hard:
        return Judgement(Standing.UNREACHABLE, (hard[-1].reason or "bounced",), proven)
    filtered = {item.delivery_id for item in patron_failures if item.reason == "filtered"}
    if len(filtered) >= FILTERED_TWICE:
        return Judgement(Standing.UNREACHABLE, ("filtered",), proven)
    if (repeated := _repeated_soft(patron_failures)) is not None:
        return Judgement(Standing.UNREACHABLE, (repeated, "repeated"), proven)
    doubts = _doubts(since, patron_failures)
    if doubts:
        return Judgement(Standing.DOUBTFUL, doubts, proven)
    if proven:
        return Judgement(Standing.REACHABLE, ("sign_of_life",), proven)
    for sign in _WEAK:
        if any(item.sign is sign for item in history):
            return Judgement(Standing.REACHABLE, (sign.value,), proven)
    return Judgement(Standing.UNPROVEN, (), proven)


def _in_order(item: Evidence) -> tuple[datetime, bool, Sign, int, str, str, str]:
    """By time; of what was seen at one moment a person's sign comes first, so that it wipes out nothing
    that was not before it. The rest makes the order the same whatever order the evidence came in."""
    personal = item.sign in PERSONAL
    return (item.at, not personal, item.sign, item.delivery_id or 0, item.reason, item.fault, item.severity)


def _after_last_sign_of_life(history: list[Evidence]) -> list[Evidence]:
    last = max((i for i, item in enumerate(history) if item.sign in PERSONAL), default=-1)
    return history[last + 1 :]


def _repeated_soft(failures: list[Evidence]) -> str | None:
    """The reason of the latest soft failure if too many mails met one within the span."""
    if not failures:
        return None
    recent = {item.delivery_id for item in failures if failures[-1].at - item.at <= SOFT_SPAN}
    return failures[-1].reason or "bounced" if len(recent) >= SOFT_LIMIT else None


def _doubts(since: list[Evidence], failures: list[Evidence]) -> tuple[str, ...]:
    doubts: list[str] = []
    collected = [item.at for item in since if item.sign in _WEAK]
    last_collected = max(collected, default=None)
    later = [item for item in since if last_collected is None or item.at > last_collected]
    if any(item.sign is Sign.STAFF_NEVER_GOT for item in later):
        doubts.append("never_got")
    recent_failures = [item for item in failures if item in later]
    if recent_failures:
        doubts.append(recent_failures[-1].reason or "bounced")
    if sum(item.sign is Sign.LAPSED for item in later) >= 1:
        doubts.append("lapsed")
    if len({item.delivery_id for item in later if item.sign is Sign.UNANSWERED}) >= UNANSWERED_LIMIT:
        doubts.append("unanswered")
    if any(item.sign is Sign.COMPLAINT for item in later):
        doubts.append("complaint")
    return tuple(doubts)
