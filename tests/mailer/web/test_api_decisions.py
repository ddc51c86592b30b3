"""What a library system learns from us: decisions and warnings in each result, and in order afterwards."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from mailer.app.web.app import staff_app
from mailer.app.web.serve import WebServer
from tests.mailer.web.conftest import TOKEN, MakeServices, event, serving

EVENTS = "/api/v1/events"
DECISIONS = "/api/v1/decisions"
RULES = """
holds:
  limits: [{at_most: 1, name: 本, name_en: books}]
"""


@pytest.fixture(params=["todoku", "ils"])
async def library(
    request: pytest.FixtureRequest, make_services: MakeServices, empty_ledger: Path, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    shutil.copy(empty_ledger, tmp_path / "todoku.db")
    services = make_services("library:\n", f"{RULES}\nlibrary:\n  authority: {request.param}\n")
    async with (
        serving(WebServer(staff_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
    ):
        client.headers["X-Authority"] = request.param
        yield client


async def test_each_result_says_what_the_rules_made_of_it(library: httpx.AsyncClient) -> None:
    binding = library.headers["X-Authority"] == "todoku"
    requests = [
        event("patron", patron_id="p", email="hanako@example.ne.jp"),
        *(event("hold.requested", hold_id=f"h{number}", patron_id="p", branch="main") for number in range(2)),
    ]
    results = (await library.post(EVENTS, json=requests)).json()["results"]
    assert [result["outcome"] for result in results] == ["applied"] * 3
    if binding:
        assert results[1]["decisions"] == [{"decision": "placed"}]
        [said] = results[2]["decisions"]
        assert said["decision"] == "refused"
    else:
        assert "warnings" not in results[1]
        [said] = results[2]["warnings"]
        assert said["decision"] == "warned"
    assert (said["reason"], said["rule_ja"], said["rule"]) == ("limit", "予約点数の上限", "limit of holds")
    assert "本1点まで" in said["sentence_ja"]
    assert "1 books" in said["sentence"]

    listed = (await library.get(DECISIONS, params={"after": 0})).json()
    assert [(item["decision"], item["hold_id"], item["binding"]) for item in listed] == (
        [("placed", "h0", True), ("refused", "h1", True)] if binding else [("warned", "h1", False)]
    )
    assert all(item["event_id"] for item in listed)
    # asked again with the last id, there is nothing more; a page at a time is possible
    assert (await library.get(DECISIONS, params={"after": listed[-1]["id"]})).json() == []
    assert (await library.get(DECISIONS, params={"limit": 1})).json() == listed[:1]
    story = (await library.get("/api/v1/explain/hold:h1")).json()
    word = "refused" if binding else "warned"
    [told] = [item["detail"] for item in story["events"] if item["type"] == f"decision.{word}"]
    assert told["rule_ja"] == "予約点数の上限"


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", str(10**30), ""])
async def test_a_bad_cursor(staff: httpx.AsyncClient, bad: str) -> None:
    response = await staff.get(DECISIONS, params={"after": bad})
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "bad_parameter"


async def test_a_token_is_needed(staff: httpx.AsyncClient) -> None:
    for path in (DECISIONS, "/api/v1/provisional"):
        response = await staff.get(path, headers={"Authorization": "Bearer nobody"})
        assert response.status_code == 401


async def test_who_has_a_provisional_address(staff: httpx.AsyncClient) -> None:
    await staff.post(
        EVENTS,
        json=[
            event("patron", patron_id="p", email="kari@example.ne.jp", provisional=True, name="南 花子"),
            event("patron.seen", patron_id="p", via="opac"),
        ],
    )
    [line] = (await staff.get("/api/v1/provisional")).json()
    assert (line["patron_id"], line["name"], line["address"]) == ("p", "南 花子", "kari@example.ne.jp")
    assert line["used_at"]
