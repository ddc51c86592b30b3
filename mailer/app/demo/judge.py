"""The report against the truth: whom it names, whom it misses, whom it names for nothing. Pure.

Todoku's report and the town's books enter; counts per fate leave.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holds_core.ledger.queries import Undelivered
from holds_core.notices import Finding
from mailer.app.demo.town import LOST, Fate, Told, Town


@dataclass(slots=True)
class Row:
    """Patrons of one fate, by id. A patron stands in one list only."""

    named: list[str] = field(default_factory=list)
    came: list[str] = field(default_factory=list)
    """Not named, and came to collect all the same: nothing was lost."""
    waiting: list[str] = field(default_factory=list)
    """Not named yet: the time to answer is not over."""
    missed: list[str] = field(default_factory=list)

    @property
    def patrons(self) -> int:
        return len(self.named) + len(self.came) + len(self.waiting) + len(self.missed)


@dataclass(slots=True)
class Verdict:
    """`rows`: patrons who lost mail, by the worst that happened. Then those whose mail all arrived:
    `quiet` are named because they gave no sign, `wronged` are said to have bounced."""

    rows: dict[Fate, Row] = field(default_factory=lambda: {fate: Row() for fate in LOST})
    arrived: int = 0
    quiet: list[str] = field(default_factory=list)
    wronged: list[str] = field(default_factory=list)

    @property
    def judged(self) -> int:
        """Patrons who were sent a hold-ready mail."""
        return self.arrived + sum(row.patrons for row in self.rows.values())


def compare(town: Town, lines: Iterable[Undelivered], now: datetime, patience: timedelta) -> Verdict:
    """`patience`: how long Todoku waits for a sign, or goes on trying."""
    silent: set[str] = set()
    failed: set[str] = set()
    for line in lines:
        (silent if line.finding == Finding.UNANSWERED else failed).add(line.patron_id)
    verdict = Verdict()
    for patron_id, told in town.told.items():
        if lost := told.lost():
            row = verdict.rows[lost[0]]
            _place(row, patron_id, told, named=patron_id in silent | failed, overdue=now - patience)
        elif told.fates[Fate.ARRIVED]:
            verdict.arrived += 1
            if patron_id in failed:
                verdict.wronged.append(patron_id)
            elif patron_id in silent:
                verdict.quiet.append(patron_id)
    return verdict


def _place(row: Row, patron_id: str, told: Told, *, named: bool, overdue: datetime) -> None:
    if named:
        row.named.append(patron_id)
    elif told.came_anyway:
        row.came.append(patron_id)
    elif told.lost_at is not None and told.lost_at > overdue:
        row.waiting.append(patron_id)
    else:
        row.missed.append(patron_id)
