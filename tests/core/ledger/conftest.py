"""A feed of events at a time that the test moves, into the `ledger` of `tests/conftest.py`."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from holds_core.feeds.intake import EventIntake, ImportReport, Parsed
from holds_core.feeds.wire import parse
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.session import Ledger

TOKYO = ZoneInfo("Asia/Tokyo")
NOON = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)  # 12:00 in Tokyo, a Tuesday


class Feed:
    """Hands events in at a time that the test moves."""

    def __init__(self, ledger: Ledger, max_prompt: int = 200, **rules_: Any) -> None:
        self.ledger = ledger
        self.now = NOON
        self.serial = 0
        rules = EventRules(
            zone=TOKYO,
            max_age=timedelta(hours=24),
            quiet_from=time(21),
            quiet_to=time(8),
            default_branch="main",
            **rules_,
        )
        self.rules = rules
        self.intake = EventIntake(ledger, rules, lambda: self.now, max_prompt)

    async def __call__(self, type_: str, **fields: object) -> ImportReport:
        """One event, as the contract writes it; `at` is now unless given."""
        self.serial += 1
        data = {"id": f"e{self.serial}", "at": self.now.isoformat(), "type": type_} | fields
        return await self.intake.run([Parsed(1, parse(data))], "test")

    async def ok(self, type_: str, **fields: object) -> None:
        report = await self(type_, **fields)
        assert not report.failed, report.failed
        assert not report.conflicts, report.conflicts


@pytest.fixture
def feed(ledger: Ledger) -> Feed:
    return Feed(ledger)
