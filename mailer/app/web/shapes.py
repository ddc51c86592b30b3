"""The shapes of the API's answers, for its OpenAPI description. Nothing is checked against them at run time:
the contract's own tests do that."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class ErrorSaid(BaseModel):
    """What was wrong with the request as a whole."""

    code: str
    message: str
    message_ja: str


class ErrorAnswer(BaseModel):
    """Every answer that is not 200."""

    error: ErrorSaid


class EventResult(BaseModel):
    """What became of one event. `error` says why, for conflict and failed."""

    id: str | None
    outcome: Literal["applied", "repeat", "stale", "conflict", "failed"]
    error: str | None = None


class EventsAnswer(BaseModel):
    """Results in the order of the events, then their counts. `held` notices wait for a person."""

    results: list[EventResult]
    applied: int
    repeats: int
    stale: int
    conflicts: int
    failed: int
    notices: int
    held: int


class ReportLine(BaseModel):
    """One delivery that did not reach, or gave no sign."""

    notice_id: str
    patron_id: str
    address: str
    kind: str
    state: str
    finding: str
    reason: str
    fault: str
    sent_at: datetime | None
    deadline: str | None
    hold_ids: list[str]


class StoryEvent(BaseModel):
    """One thing that happened."""

    at: datetime
    type: str
    detail: dict[str, Any]


class StoryAnswer(BaseModel):
    """Everything known of one thing, oldest first."""

    subject: str
    events: list[StoryEvent]
