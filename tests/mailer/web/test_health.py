"""Health and metrics against a real ledger: ready told from alive, numbers right, nobody named."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from holds_core.alerts import Known, Trouble
from holds_core.breaker import Limit, Window
from holds_core.evidence import Sign
from holds_core.ledger import breaker, troubles
from holds_core.ledger.models import batches, deliveries, inbound
from holds_core.ledger.observations import Observation, observe
from holds_core.ledger.sql import put_flag
from holds_core.notices import Transmission
from mailer.app.services import Services
from mailer.app.web.app import staff_app
from mailer.app.web.serve import WebServer
from mailer.sender import PAUSED
from tests.mailer.web.conftest import NOON, SECRETS, HandClock, MakeServices, event, notify, serving, take_in


async def get(services: Services, path: str, restarts: dict[str, int] | None = None) -> httpx.Response:
    app = staff_app(services, restarts=lambda: restarts or {})
    async with serving(WebServer(app, "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
        return await client.get(url + path)


async def samples(services: Services, **restarts: int) -> dict[tuple[str, ...], float]:
    response = await get(services, "/metrics", restarts)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_healthy(services: Services) -> None:
    response = await get(services, "/healthz")
    assert response.status_code == 200
    assert response.json() == {
        **{"alive": True, "ready": True, "database": "ok", "relay": "unknown", "sending": "on"},
        "in_flight": 0,
    }
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("up", "said"), [(True, "up"), (False, "down")])
async def test_a_relay_that_is_down_leaves_it_ready(services: Services, up: bool, said: str) -> None:
    services.sender.state.relay_up = up
    response = await get(services, "/healthz")
    assert (response.status_code, response.json()["relay"]) == (200, said)


async def test_paused_and_off(services: Services, make_services: MakeServices) -> None:
    async with services.ledger.write() as connection:
        await put_flag(connection, PAUSED, {"by": "佐藤", "why": "hanako complained"}, NOON)
    response = await get(services, "/healthz")
    assert response.json()["sending"] == "paused"
    assert "佐藤" not in response.text
    assert "hanako" not in response.text
    async with services.ledger.write() as connection:
        await put_flag(connection, PAUSED, None, NOON)
        await breaker.open_(connection, Limit(), NOON, Window(Limit()), "authfailure", "550")
    response = await get(services, "/healthz")
    assert (response.status_code, response.json()["sending"]) == (200, "breaker")
    off = make_services('mode: "on"', 'mode: "off"')
    assert (await get(off, "/healthz")).json()["sending"] == "off"


async def test_alive_and_not_ready(make_services: MakeServices, tmp_path: Path) -> None:
    without_tables = make_services()
    response = await get(without_tables, "/healthz")
    assert response.status_code == 503
    assert response.json()["alive"] is True
    assert (response.json()["ready"], response.json()["database"]) == (False, "wrong_schema")
    (tmp_path / "todoku.db").write_bytes(b"no database at all" * 100)
    (tmp_path / "todoku.db-wal").unlink(missing_ok=True)
    broken = make_services()
    response = await get(broken, "/healthz")
    assert (response.status_code, response.json()["database"]) == (503, "unavailable")
    found = await samples(broken)
    assert found["todoku_ready",] == 0
    assert ("todoku_quarantine_size",) not in found


async def fill(services: Services, clock: HandClock) -> None:
    """Two mails handed over (one bounced, one silent), one owed, mail in quarantine, a batch an hour ago."""
    registration, hold = await notify(services)
    async with services.ledger.write() as connection:
        await connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_id.in_([registration, hold]))
            .values(state=Transmission.HANDED_OVER, handed_over_at=NOON, next_at=None, slot="s")
        )
        await connection.execute(
            sa.update(deliveries).where(deliveries.c.delivery_id == hold).values(domain="docomo.ne.jp")
        )
        await observe(connection, Observation(NOON, Sign.UNANSWERED, "clock", "u", registration), NOON)
        bounce = Observation(
            NOON, Sign.BOUNCED, "lmtp", "b", hold, reason="user_unknown", fault="patron", severity="hard"
        )
        await observe(connection, bounce, NOON)
        mail = {
            **{"received_at": NOON, "source": "lmtp", "envelope_from": "hanako@example.ne.jp"},
            **{"envelope_to": [], "truncated": False},
        }
        for number, state in enumerate(["quarantined", "quarantined", "new", "used"]):
            await connection.execute(sa.insert(inbound).values(**mail, digest=str(number), state=state))
        await connection.execute(
            sa.insert(batches).values(slot="s", due_at=NOON, released_at=NOON, released=1, outcome="run")
        )
    clock.time += timedelta(hours=1)
    await take_in(
        services,
        event("patron", patron_id="p-2", email="jiro@own-domain.example"),
        event("hold.shelved", hold_id="h-2", patron_id="p-2", title="こころ", branch="main"),
    )
    clock.time += timedelta(minutes=5)


async def test_metrics(services: Services, clock: HandClock) -> None:
    await fill(services, clock)
    services.sender.state.sent, services.sender.state.refused = 7, 2
    services.sender.state.relay_up = False
    services.sender.state.ended["docomo.ne.jp", "handed_over", ""] = 5
    # two patrons' own domains are one line
    services.sender.state.ended["own-domain.example", "refused", "us"] = 2
    services.sender.state.ended["another.example", "refused", "us"] = 1
    async with services.ledger.write() as connection:
        await connection.execute(sa.update(batches).values(finished_at=NOON + timedelta(seconds=90)))
        await connection.execute(sa.update(inbound).where(inbound.c.state == "used").values(kind="hard"))
        await troubles.keep(connection, [Known(Trouble.RELAY_DOWN, "", NOON, {}, NOON)])
    found = await samples(services, sender=3)
    expected = {
        ("todoku_notices", "hold_ready", "handed_over"): 1,
        ("todoku_notices", "hold_ready", "pending"): 1,
        ("todoku_notices", "registration_changed", "handed_over"): 1,
        ("todoku_findings", "bounced", "hold_ready"): 1,
        ("todoku_findings", "unanswered", "registration_changed"): 1,
        ("todoku_failures", "patron", "user_unknown"): 1,
        ("todoku_handed_over_last_day", "bounced", "NTT docomo"): 1,
        ("todoku_handed_over_last_day", "unanswered", "other"): 1,
        ("todoku_oldest_pending_age_seconds", "next_batch"): 300,
        ("todoku_unanswered",): 1,
        ("todoku_quarantine_size",): 2,
        ("todoku_inbound_unread",): 1,
        ("todoku_open_cases",): 1,
        ("todoku_newest_event_timestamp_seconds",): NOON.timestamp(),
        ("todoku_last_batch_timestamp_seconds",): NOON.timestamp(),
        ("todoku_outcomes_total", "handed_over"): 7,
        ("todoku_outcomes_total", "refused"): 2,
        ("todoku_task_restarts_total", "sender"): 3,
        ("todoku_relay_up",): 0,
        ("todoku_ready",): 1,
        ("todoku_sending_stopped",): 0,
        ("todoku_attempts_total", "", "NTT docomo", "handed_over"): 5,
        ("todoku_attempts_total", "us", "other", "refused"): 3,
        ("todoku_inbound", "hard", "used"): 1,
        ("todoku_inbound", "", "quarantined"): 2,
        ("todoku_trouble", "relay_down"): 1,
        ("todoku_trouble", "disk_low"): 0,
        ("todoku_breaker_open",): 0,
        ("todoku_batch_duration_seconds_bucket", "60.0"): 0,
        ("todoku_batch_duration_seconds_bucket", "120.0"): 1,
        ("todoku_batch_duration_seconds_bucket", "+Inf"): 1,
        ("todoku_batch_duration_seconds_count",): 1,
        ("todoku_batch_duration_seconds_sum",): 90,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert ("process_resident_memory_bytes",) in found


async def test_age_of_what_is_due(services: Services, clock: HandClock) -> None:
    await notify(services)  # the registration's mail is due at once
    clock.time += timedelta(minutes=10)
    assert (await samples(services))["todoku_oldest_pending_age_seconds", "due"] == 600


async def test_metrics_name_nobody(services: Services, clock: HandClock) -> None:
    await fill(services, clock)
    text = (await get(services, "/metrics")).text
    assert not [word for word in (*SECRETS, "jiro", "own-domain", "p-2", "こころ") if word in text]


async def test_every_number_is_explained(services: Services, clock: HandClock) -> None:
    await fill(services, clock)
    families = list(text_string_to_metric_families((await get(services, "/metrics")).text))
    assert all(family.documentation for family in families)
    assert len({family.name for family in families}) == len(families)


async def test_figures_use_indexes(services: Services) -> None:
    """What a scrape asks stays cheap however many mails were ever sent."""
    import sqlite3

    from holds_core.ledger.models import CLAIMABLE, UNRELEASED

    asked = [
        f"SELECT min(next_at) FROM deliveries WHERE {CLAIMABLE} AND next_at <= 'x' AND prompt IN (1, 0)",
        f"SELECT min(created_at) FROM deliveries WHERE {UNRELEASED}",
        "SELECT count(*) FROM deliveries WHERE finding = 'unanswered'",
        "SELECT count(*) FROM inbound WHERE state = 'quarantined'",
        "SELECT count(*) FROM cases WHERE state = 'open'",
        "SELECT max(at) FROM events WHERE outcome = 'applied'",
        "SELECT domain, finding, count(*) FROM deliveries WHERE handed_over_at > 'x' GROUP BY 1, 2",
    ]
    path = services.settings.database.async_url.partition(":///")[2]
    connection = sqlite3.connect(path)
    try:
        for query in asked:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert any("USING" in step and "INDEX" in step for step in plan), (query, plan)
    finally:
        connection.close()
