"""What Todoku decided about holds, or warned of: written once, read by other programs in order.

Enters a verdict with its rule; leaves a row that `GET /api/v1/decisions` offers. Under `authority: todoku` a
row is a decision that the library system has to take over; under `ils` it is a warning that changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.holds import Hold
from holds_core.ledger.models import decisions, holds
from holds_core.refusals import WORDS, Refusal, RefusalCode


class What(StrEnum):
    """What was decided."""

    PLACED = "placed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    CANCEL_REFUSED = "cancel_refused"
    DEADLINE = "deadline"  # the last day on the shelf is this one now
    LAPSED = "lapsed"
    WARNED = "warned"  # the library system decides; by our rules it would have been refused


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision about one hold. `refusal` names the rule of what was refused or warned of."""

    what: What
    refusal: Refusal | None = None

    @property
    def rule(self) -> tuple[str, str]:
        """The rule's name for staff, Japanese and English."""
        words = WORDS[self.refusal.code] if self.refusal else None
        return (words.rule_ja, words.rule_en) if words else ("", "")

    def sentence(self, language: str) -> str:
        return self.refusal.sentence(language) if self.refusal else ""

    def __str__(self) -> str:
        """For a log of an import: what, and the rule."""
        ja, en = self.rule
        label = {What.WARNED: "警告 warning", What.REFUSED: "受付不可 refused"}.get(
            self.what,
            "取消不可 cancellation refused" if self.what is What.CANCEL_REFUSED else self.what.value,
        )
        return f"{label}: {ja} / {en}" if self.refusal else label

    def as_json(self) -> dict[str, Any]:
        """As it stands in an API result."""
        if self.refusal is None:
            return {"decision": self.what.value}
        ja, en = self.rule
        return {
            "decision": self.what.value,
            "reason": self.refusal.code.value,
            "rule": en,
            "rule_ja": ja,
            "sentence": self.sentence("en"),
            "sentence_ja": self.sentence("ja"),
        }


async def record(
    connection: AsyncConnection,
    at: datetime,
    verdict: Verdict,
    *,
    hold_id: str,
    patron_id: str,
    deadline: date | None = None,
    event_id: str | None = None,
) -> None:
    """Writes one decision. The order of the numbers is the order in which they become visible."""
    if connection.dialect.name == "postgresql":
        # or a reader who has seen 8 would never come back for a 7 that is committed later
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_IN_ORDER)))
    await connection.execute(
        sa.insert(decisions).values(
            at=at,
            what=verdict.what,
            hold_id=hold_id,
            patron_id=patron_id,
            reason=verdict.refusal.code if verdict.refusal else "",
            sentence_ja=verdict.sentence("ja"),
            sentence_en=verdict.sentence("en"),
            deadline=deadline,
            event_id=event_id,
        )
    )


_IN_ORDER = 0x746F646F6B75  # "todoku"


async def after(connection: AsyncConnection, number: int, limit: int) -> list[dict[str, Any]]:
    """The decisions beyond a number, the oldest first, as JSON."""
    rows = await connection.execute(
        sa.select(decisions)
        .where(decisions.c.decision_id > number)
        .order_by(decisions.c.decision_id)
        .limit(limit)
    )
    return [as_json(row) for row in rows]


def as_json(row: Any) -> dict[str, Any]:
    """One row of the table as the API and the story show it."""
    words = WORDS[RefusalCode.of(row.reason)] if row.reason else None
    return {
        "id": row.decision_id,
        "at": row.at.isoformat(),
        "decision": row.what,
        "binding": row.what != What.WARNED,
        "hold_id": row.hold_id,
        "patron_id": row.patron_id,
        "reason": row.reason,
        "rule": words.rule_en if words else "",
        "rule_ja": words.rule_ja if words else "",
        "sentence": row.sentence_en,
        "sentence_ja": row.sentence_ja,
        "deadline": row.deadline.isoformat() if row.deadline else None,
        "event_id": row.event_id,
    }


async def note_deadlines(connection: AsyncConnection, now: datetime, limit: int = 500) -> int:
    """Writes down the deadlines in force on the shelf that no decision tells yet. Returns how many.

    A deadline comes into force with the mail, or by what staff did; wherever that was, here it becomes a
    decision of ours. One that the library system gave is its own.
    """
    told = (
        sa.select(sa.func.max(decisions.c.decision_id))
        .where(decisions.c.hold_id == holds.c.hold_id, decisions.c.what == What.DEADLINE)
        .correlate(holds)
        .scalar_subquery()
    )
    same = sa.exists().where(decisions.c.decision_id == told, decisions.c.deadline == holds.c.deadline)
    rows = (
        await connection.execute(
            sa.select(holds.c.hold_id, holds.c.patron_id, holds.c.deadline)
            .where(
                holds.c.state == Hold.READY,
                holds.c.deadline.is_not(None),
                holds.c.deadline_source != "feed",
                ~same,
            )
            .order_by(holds.c.hold_id)
            .limit(limit)
        )
    ).all()
    for row in rows:
        await record(
            connection,
            now,
            Verdict(What.DEADLINE),
            hold_id=row.hold_id,
            patron_id=row.patron_id,
            deadline=row.deadline,
        )
    return len(rows)
