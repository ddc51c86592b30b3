"""The daemon as a process: its relay turns against it in mid-batch, IT hears of it by another way."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from holds_core.ledger.models import deliveries
from tests.e2e.library import library
from tests.e2e.test_daemon import daemon, todoku, write_config
from tests.faults.moody import Moody
from tests.mailer.alerts.conftest import mails
from tests.servers.ports import wait_until
from tests.servers.sink import Sink

MAILS = 60


async def test_a_relay_that_turns_in_mid_batch(tmp_path: Path, smtp_sink: Callable[..., Sink]) -> None:
    second = smtp_sink()
    relay = Moody()
    relay.answer = lambda _: "" if len(relay.taken) < 20 else "550 5.7.1 Refused"
    alerts = (
        f"alerts: {{to: [it@city.example], relay: {{host: 127.0.0.1, port: {second.port}, tls: none}}}}\n"
    )
    async with relay.run():
        port = write_config(tmp_path, alerts, RELAY_PORT=relay.port)
        async with library(tmp_path, RELAY_PORT=relay.port) as town:
            for number in range(MAILS):
                await town.ready_hold(number, f"p{number}@far.example")
            await town.batch()

            async def states() -> Counter[str]:
                return Counter(row.state for row in await town.rows(deliveries))

            async with daemon(tmp_path, port):
                await wait_until(lambda: second.count() == 1, 40, "the alert")
                found = await states()
                assert found["pending"] > 0, "the batch was stopped, not used up"
                assert found["refused"] == len(relay.refused)
                relay.answer = lambda _: ""
                done = await asyncio.to_thread(
                    subprocess.run, todoku(tmp_path, "resume"), capture_output=True, check=True, timeout=60
                )
                assert re.search(rf"sent again {found['refused']}\b", done.stdout.decode())

                async def all_gone() -> bool:
                    return await states() == {"handed_over": MAILS}

                await wait_until(all_gone, 40, "the batch to be finished")
    [mail] = mails(second)
    assert mail["To"] == "it@city.example"
    assert "送信を自動で止めました" in mail["Subject"]
    assert Counter(relay.taken) == {f"p{number}@far.example": 1 for number in range(MAILS)}
    log = (tmp_path / "log").read_text()
    assert "event=stopped_by_breaker" in log
    assert "event=trouble " in log or "trouble=batch_stopped" in log
    assert not re.search(r"p\d+@far", log), "no address in the log"
