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


Decided = Literal["placed", "refused", "cancelled", "cancel_refused", "deadline", "lapsed", "warned"]


class RuleSaid(BaseModel):
    """What our rules made of a request. `reason` is the code of the rule that refused or warned; `rule` is its
    name for staff, `sentence` what the patron may read. A doubt about a new address names the `address` and,
    where it can be guessed, what was meant (`suggestion`)."""

    decision: Decided
    reason: str | None = None
    rule: str | None = None
    rule_ja: str | None = None
    sentence: str | None = None
    sentence_ja: str | None = None
    address: str | None = None
    suggestion: str | None = None


class EventResult(BaseModel):
    """What became of one event. `error` says why, for conflict and failed.

    `decisions` on a request under `authority: todoku`, `warnings` under `ils` and about new addresses; left
    out where there are none.
    """

    id: str | None
    outcome: Literal["applied", "repeat", "stale", "conflict", "failed"]
    error: str | None = None
    decisions: list[RuleSaid] | None = None
    warnings: list[RuleSaid] | None = None


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


class DecisionLine(BaseModel):
    """One decision about a hold. `binding` false: a warning only, the library system decides. `deadline` is
    set for `deadline`; `event_id` is the event, or the reception run, that it answers."""

    id: int
    at: datetime
    decision: Decided
    binding: bool
    hold_id: str
    patron_id: str
    reason: str
    rule: str
    rule_ja: str
    sentence: str
    sentence_ja: str
    deadline: str | None
    event_id: str | None


class ProvisionalLine(BaseModel):
    """One patron with a provisional address. `used_at`: when they first used the web service with it."""

    patron_id: str
    name: str
    branch: str
    address: str
    since: datetime
    used_at: datetime | None


class StoryEvent(BaseModel):
    """One thing that happened."""

    at: datetime
    type: str
    detail: dict[str, Any]


class StoryAnswer(BaseModel):
    """Everything known of one thing, oldest first."""

    subject: str
    events: list[StoryEvent]
