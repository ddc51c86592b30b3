"""Replays a history: the call lists and provider alerts that a library would have had, morning by morning.

In go the lines of a history (JSON Lines); out come mornings with the rows of their lists. The model is the
daemon's own (`holds_core.silence`); of a morning's list it has seen only what was before that morning. Pure:
no files, no clock. The formats of rows are those that `todoku backtest` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final

from holds_core.observations import BadField, Observation, record
from holds_core.silence import Alert, Call, ProviderHint, Settings, SilenceModel

SHELF_DAYS: Final = 7
SHELF_ENDS: Final = time(20, 0)
"""A history names no deadlines: a hold waits until 20:00 on the seventh day after its mail."""

ROWS: Final = 40
"""Rows of one morning; more calls than this nobody makes."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be used. `field` is "" when it is no JSON object at all."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Morning:
    """What the library would have been told at `at`."""

    at: datetime
    calls: tuple[Call, ...]
    alerts: tuple[Alert, ...]


def deadline(sent: datetime) -> datetime:
    """When a hold announced at `sent` lapses, in the time zone of `sent`."""
    return datetime.combine(sent.date() + timedelta(days=SHELF_DAYS), SHELF_ENDS, sent.tzinfo)


def parse_line(number: int, line: str | bytes) -> Observation | Problem | None:
    """One line of a history: an observation, a problem, or None where nothing is to be learned from it."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return Problem(number, "", "not JSON")
    if not isinstance(fields, dict):
        return Problem(number, "", "expected a JSON object")
    try:
        return record(fields, deadline)
    except BadField as bad:
        return Problem(number, bad.field, str(bad))


def replay(
    observations: Iterable[Observation],
    calls_at: time,
    *,
    rows: int = ROWS,
    hints: Mapping[str, ProviderHint] | None = None,
    settings: Settings | None = None,
) -> Iterator[Morning]:
    """A morning for every day from the first observation to the last, in the first one's time zone.

    Observations must be in time order. An observation at the very moment of a list comes after it. No call
    is assumed to be made: a notice is listed every morning on which it still deserves one.
    """
    model = SilenceModel(hints, settings)
    morning: datetime | None = None
    for seen in observations:
        if morning is None:
            morning = datetime.combine(seen.at.date(), calls_at, seen.at.tzinfo)
        while seen.at >= morning:
            alerts = model.refresh(morning)
            yield Morning(morning, tuple(model.worklist(morning, rows)), tuple(alerts))
            morning += timedelta(days=1)
        model.observe(seen)


def call_row(morning: datetime, call: Call) -> dict[str, Any]:
    """One line of the call list."""
    return {
        "date": morning.date().isoformat(),
        "rank": call.rank,
        "notice_id": call.notice_id,
        "patron_id": call.patron_id,
        "risk": round(call.risk, 4),
        "deadline": call.deadline.isoformat(timespec="seconds"),
        "reasons": [str(reason) for reason in call.reasons],
    }


def alert_row(alert: Alert) -> dict[str, Any]:
    """One line of the alerts. observed and expected are shares of the n mails since `since`."""
    return {
        "date": alert.raised.date().isoformat(),
        "domain": alert.domain,
        "since": alert.since.date().isoformat(),
        "observed": round(alert.observed, 4),
        "expected": round(alert.expected, 4),
        "n": alert.n,
        "loss_before": round(alert.loss_before, 4),
        "loss_now": round(alert.loss_now, 4),
        "suspect": str(alert.suspect),
    }
