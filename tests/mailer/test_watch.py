"""The lookout as the daemon has it: what its log says of a provider that loses mail names nobody's own domain."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holds_core.config import parse
from holds_core.ledger import silence
from holds_core.rulebook import Rulebook
from mailer.app.watch import lookout
from tests.clock import HandClock
from tests.core.ledger.history import Scribe
from tests.core.silence_world import World, morning
from tests.e2e.library import config, library


@pytest.mark.parametrize(
    ("domain", "named"), [("outlook.jp", "outlook.jp"), ("yamada-hanako.example", "other")]
)
async def test_a_domain_of_ones_own_is_not_named_in_the_log(tmp_path: Path, domain: str, named: str) -> None:
    losses = {"good.example": [(0, 0.03)], domain: [(0, 0.03), (45, 0.75)]}
    seen = World(losses, mails_a_day=8, days=80, seed=5).observations()
    clock, at = HandClock(morning(39)), 0
    async with library(tmp_path, clock, RELAY_PORT=9) as town:
        scribe = Scribe(town.services.ledger)
        text = config(tmp_path, RELAY_PORT=9).replace("confirm: {", "confirm: {base_url: https://k.example, ")
        book = Rulebook.of(parse(text, base=tmp_path, env={}))
        looking = lookout(town.services, lambda: book)
        with capture_logs() as logs:
            for day in range(44, 70, 5):
                end = next((i for i, item in enumerate(seen) if item.at >= morning(day)), len(seen))
                await scribe.write(seen[at:end])
                at = end
                clock.set(morning(day))
                await looking.look()
        async with town.services.ledger.read() as connection:
            [alert] = await silence.alerts(connection)
    assert alert.domain == domain
    told = [(line["alert"], line["domain"]) for line in logs if line["event"] == "provider_alert"]
    assert told == [(alert.id, named)]
    assert "yamada" not in str(logs)
    assert any(line["event"] == "silence_weighed" for line in logs)
