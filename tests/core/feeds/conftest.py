"""Snapshots on both databases, at a time that the test moves."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from holds_core.config import parse
from holds_core.feeds.mapping import Kind
from holds_core.feeds.snapshot import SnapshotIntake
from holds_core.feeds.snapshot_report import SnapshotReport
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.models import deliveries, holds
from holds_core.ledger.session import Ledger
from holds_core.settings import Settings
from tests.core.ledger.conftest import TOKYO

CONFIG = """
library: {name: 市立図書館}
sender: {address: yoyaku@library.example.jp, return_path_domain: bounce.library.example.jp}
relay: {host: 127.0.0.1, tls: none}
"""
NIGHT = datetime(2026, 11, 24, 2, 30, tzinfo=TOKYO)


def settings(feeds: str = "", branches: str = "") -> Settings:
    """The least settings with a `feeds` section."""
    library = CONFIG.replace("市立図書館}", f"市立図書館, {branches}}}") if branches else CONFIG
    return parse(f"{library}\n{feeds}", base=Path("/etc/todoku"), env={})


FEED = """
feeds:
  snapshots:
    - name: nightly
"""


class Nightly:
    """One feed: writes files and takes them in, a day after the other."""

    def __init__(self, ledger: Ledger, folder: Path, config: str = FEED) -> None:
        self.ledger, self.folder = ledger, folder
        self.now = NIGHT
        self.use(config)

    def use(self, config: str, branches: str = "") -> None:
        self.settings = settings(config, branches)
        self.snapshot = self.settings.feeds.snapshots[0]
        rules = EventRules(
            zone=TOKYO,
            max_age=timedelta(hours=24),
            quiet_from=time(21),
            quiet_to=time(8),
            default_branch="main",
        )
        self.intake = SnapshotIntake(self.ledger, rules, self.settings, lambda: self.now)

    def write(self, text: str | bytes, name: str = "list.csv") -> Path:
        stamp = (self.now - timedelta(minutes=20)).astimezone(TOKYO)
        path = self.folder / f"{stamp:%Y%m%d_%H%M}_{name}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    async def __call__(
        self,
        text: str | bytes,
        *,
        kind: Kind | None = None,
        force_by: str = "",
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> SnapshotReport:
        """Takes a file in, then a day passes."""
        report = await self.intake.take(
            self.write(text), self.snapshot, kind, force_by=force_by, dry_run=dry_run, progress=progress
        )
        self.now += timedelta(days=1)
        return report

    async def ok(self, text: str | bytes, **options: Any) -> SnapshotReport:
        report = await self(text, **options)
        assert not report.failed, list(report.lines())
        assert not report.conflicts, report.conflicts
        return report

    async def states(self) -> dict[str, str]:
        async with self.ledger.read() as connection:
            rows = await connection.execute(sa.select(holds.c.hold_id, holds.c.state))
            return {row.hold_id: row.state for row in rows}

    async def mail(self) -> list[tuple[str, str, str]]:
        async with self.ledger.read() as connection:
            rows = await connection.execute(
                sa.select(deliveries.c.kind, deliveries.c.address, deliveries.c.state).order_by(
                    deliveries.c.delivery_id
                )
            )
            return [(row.kind, row.address, row.state) for row in rows]


@pytest.fixture
async def nightly(ledger: Ledger, tmp_path: Path) -> Nightly:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return Nightly(ledger, folder)


def with_rules(nightly: Nightly, **changes: Any) -> None:
    """The same feed under other rules of the registry."""
    nightly.intake._rules = replace(nightly.intake._rules, **changes)
