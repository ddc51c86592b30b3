"""What a call to a patron may save: the risks of the holds that wait for them, as the model last weighed them.

Draws conclusions from rows that were read; `holds_core.ledger.silence` writes them. The worth of a call is the model's own measure, so that the
desk's list, the API's and that of `todoku backtest` have one order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from holds_core.ledger.models import risks
from holds_core.ledger.sql import as_text, time_in, words_in
from holds_core.silence import Settings, worth
from holds_core.silence_reasons import SENTENCES, RiskReason

ASSUMED: Final = 0.6
ASSUMED_SILENT: Final = 0.3
"""Risks of a case that opened since the model last looked: mail that failed, and mail unanswered."""
SILENT: Final = frozenset({"unanswered", "at_risk"})
"""Reasons of a case that are silence and nothing worse."""


class Stake(NamedTuple):
    """One hold that a call may save."""

    hold_id: str
    risk: float
    lapses_at: datetime | None


class PatronRisk(NamedTuple):
    """What a call to one patron is about: the greatest `risk` among the notices that wait, its `reasons`,
    and every hold with its own."""

    risk: float
    reasons: tuple[RiskReason, ...]
    stakes: tuple[Stake, ...]

    def worth(self, now: datetime, settings: Settings) -> float:
        """What a call is worth at `now`: `holds_core.silence.worth` over all holds."""
        return sum(worth(stake.risk, _left(stake, now, settings), settings) for stake in self.stakes)


def _left(stake: Stake, now: datetime, settings: Settings) -> float:
    """Days until the hold lapses; one that waits for ever is never urgent and never too late."""
    return settings.call_margin if stake.lapses_at is None else (stake.lapses_at - now) / timedelta(days=1)


RISK: Final = (risks.c.risk, as_text(risks.c.reasons), as_text(risks.c.lapses_at))
"""The columns of a notice's risk, in the order in which `at_stake` takes them."""


def at_stake(told: Iterable[tuple[str, float | None, str | None, str | None]]) -> PatronRisk | None:
    """What is at stake for one patron: (hold, and `RISK` of a notice that announced it), None if nothing was
    weighed. Of several notices of one hold, one that was seen is enough: the least risk counts."""
    least: dict[str, tuple[float, str | None, str | None]] = {}
    for hold_id, risk, reasons, lapses_at in told:
        if risk is not None and (hold_id not in least or risk < least[hold_id][0]):
            least[hold_id] = risk, reasons, lapses_at
    if not least:
        return None
    risk, reasons, _ = max(least.values(), key=itemgetter(0))
    stakes = [Stake(hold_id, risk, time_in(lapses_at)) for hold_id, (risk, _, lapses_at) in least.items()]
    return PatronRisk(risk, _reasons(reasons or ""), tuple(stakes))


@lru_cache(maxsize=4096)
def _reasons(text: str) -> tuple[RiskReason, ...]:
    return tuple(RiskReason(reason) for reason in words_in(text))


LEVELS: Final[tuple[tuple[float, str, str], ...]] = (
    (0.5, "高い", "high"),
    (0.2, "やや高い", "raised"),
    (0.0, "低い", "low"),
)
"""From which risk a word is used: Japanese, English."""


def level(risk: float) -> tuple[str, str]:
    """A risk as a word for the counter.

    >>> level(0.62), level(0.03)
    (('高い', 'high'), ('低い', 'low'))
    """
    return next((ja, en) for least, ja, en in LEVELS if risk >= least)


def sentences(reasons: Iterable[RiskReason]) -> list[tuple[str, str]]:
    """The reasons in words: Japanese, English."""
    return [SENTENCES[reason] for reason in reasons]


def assumed(reasons: Collection[str], hold_ids: Iterable[str], lapses_at: datetime) -> PatronRisk:
    """What is at stake in a case that the model has not weighed yet. `reasons` are the case's."""
    risk = ASSUMED_SILENT if set(reasons) <= SILENT else ASSUMED
    return PatronRisk(risk, (), tuple(Stake(hold_id, risk, lapses_at) for hold_id in hold_ids))
