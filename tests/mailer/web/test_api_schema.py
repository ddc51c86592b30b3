"""The API against its own description: schemathesis makes requests of it, right and wrong, on both databases.

Whatever comes in, no answer is an error of ours, and every answer is what `openapi.json` promises.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from holds_core.config import parse
from holds_core.settings.secrets import read_secrets
from mailer.app.services import Services
from mailer.app.web.app import staff_app
from mailer.app.web.serve import WebServer
from mailer.clock import SystemClock
from tests.mailer.web.conftest import CONFIG, TOKEN

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25


class Server:
    """The staff side on a loop and a port of its own: schemathesis asks from outside, and waits."""

    def __init__(self, folder: Path, database: str) -> None:
        (folder / "token-keys").write_text("k" * 64 + "\n")
        (folder / "token-keys").chmod(0o600)
        env = {"TODOKU_API_TOKENS": TOKEN}
        config = parse(CONFIG.replace("sqlite:///todoku.db", database), base=folder, env=env)
        self._settings, self._secrets = config, read_secrets(config, env)
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self.url = ""

    async def _run(self) -> None:
        services = Services.build(
            self._settings, self._secrets, clock=SystemClock(), jitter=lambda: 0.5, owner="test"
        )
        await services.ledger.upgrade()
        server = WebServer(staff_app(services), "127.0.0.1", 0)
        server.bind()
        self.url = f"http://127.0.0.1:{server.port}/api/v1"
        self._ready.set()
        await server.run(self._stop)
        await services.close()

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self._loop.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api")
    if request.param == "sqlite":
        with Server(folder, "sqlite:///todoku.db") as server:
            yield server
        return
    postgres = request.getfixturevalue("postgres")
    url = asyncio.run(postgres.new_database())
    with Server(folder, url.replace("postgresql+asyncpg", "postgresql")) as server:
        yield server
    asyncio.run(postgres.drop_database(url))


@pytest.fixture(scope="module")
def api(server: Server) -> schemathesis.BaseSchema:
    found = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    found.config.update(base_url=server.url)
    return found


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_described(
    api: schemathesis.BaseSchema, server: Server, mode: GenerationMode
) -> None:
    operations = [found.ok() for found in api.get_all_operations() if isinstance(found, Ok)]
    assert {"POST /events", "GET /report", "GET /explain/{name}"} <= {found.label for found in operations}
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            case.call_and_validate(
                base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, checks=CHECKS
            )

        ask()
