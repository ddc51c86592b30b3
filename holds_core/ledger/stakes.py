"""What a call to a patron may save: the risks of the holds that wait for them, as the model last weighed them.

Reads only; `holds_core.ledger.silence` writes. The worth of a call is the model's own measure, so that the
desk's list, the API's and that of `todoku backtest` have one order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.holds import Hold
from holds_core.ledger.models import holds, notice_holds, risks
from holds_core.ledger.sql import as_text, words_in
from holds_core.silence import Settings, worth
from holds_core.silence_reasons import SENTENCES, RiskReason

ASSUMED: Final = 0.6
ASSUMED_SILENT: Final = 0.3
"""Risks of a case that opened since the model last looked: mail that failed, and mail unanswered."""
SILENT: Final = frozenset({"unanswered", "at_risk"})
"""Reasons of a case that are silence and nothing worse."""


@dataclass(frozen=True, slots=True)
class Stake:
    """One hold that a call may save."""

    hold_id: str
    risk: float
    lapses_at: datetime | None


@dataclass(frozen=True, slots=True)
class PatronRisk:
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


async def of_patrons(connection: AsyncConnection) -> dict[str, PatronRisk]:
    """The risk of every patron with a waiting notice. A hold that two notices announce counts once."""
    rows = await connection.execute(
        sa.select(
            holds.c.patron_id, holds.c.hold_id, risks.c.risk, as_text(risks.c.reasons), risks.c.lapses_at
        )
        .join(notice_holds, notice_holds.c.notice_id == risks.c.notice_id)
        .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
        .where(holds.c.state == Hold.READY)
        .order_by(holds.c.patron_id, holds.c.hold_id, risks.c.risk, risks.c.notice_id)
    )
    # of several notices of one hold, one that was seen is enough
    least: dict[str, Any] = {}
    for row in rows.all():
        least.setdefault(row.hold_id, row)
    found: dict[str, PatronRisk] = {}
    for row in least.values():
        stake = Stake(row.hold_id, row.risk, row.lapses_at)
        before = found.get(row.patron_id)
        stakes = (*before.stakes, stake) if before else (stake,)
        if before is None or row.risk > before.risk:
            found[row.patron_id] = PatronRisk(row.risk, _reasons(row.reasons), stakes)
        else:
            found[row.patron_id] = PatronRisk(before.risk, before.reasons, stakes)
    return found


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
