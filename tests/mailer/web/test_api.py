"""The API over a real socket: events in, answers out, and no input that makes it fall over."""

import asyncio
import json
from typing import Any, get_args

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holds_core.feeds.wire import EventIn
from mailer.app.services import Services
from mailer.app.web import api
from mailer.app.web.app import staff_app
from mailer.app.web.serve import WebServer
from mailer.app.web.shapes import ReportLine
from tests.mailer.web.conftest import NOON, TOKEN, MakeServices, event, notify, serving

EVENTS = "/api/v1/events"


def outcomes(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [result["outcome"] for result in response.json()["results"]]


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "message_ja"}
    assert error["code"] == code
    assert all(error.values())


async def test_one_event_or_a_list(services: Services, staff: httpx.AsyncClient) -> None:
    one = event("patron", patron_id="p-1", name="佐藤 花子", email="hanako@example.ne.jp")
    assert (await staff.post(EVENTS, json=one)).json() == {
        "results": [{"id": one["id"], "outcome": "applied"}],
        **{"applied": 1, "repeats": 0, "stale": 0, "conflicts": 0, "failed": 0, "notices": 0, "held": 0},
    }
    several = [
        event("hold.shelved", hold_id="h-1", patron_id="p-1", title="坊っちゃん", branch="main"),
        event("patron.seen", patron_id="p-1"),
    ]
    answer = await staff.post(EVENTS, json=several)
    assert outcomes(answer) == ["applied", "applied"]
    assert answer.json()["notices"] == 1


async def test_every_outcome_in_one_request(services: Services, staff: httpx.AsyncClient) -> None:
    await notify(services)
    again = event("patron.seen", patron_id="p-1")
    assert outcomes(await staff.post(EVENTS, json=again)) == ["applied"]
    twin = event("patron.seen", patron_id="p-1")
    older = event("hold.placed", hold_id="h-1") | {"at": "2026-11-01T09:00:00+09:00"}
    body: list[Any] = [
        again,
        twin,
        twin,
        older,
        event("hold.collected", hold_id="unheard-of"),
        event("hold.shelved", hold_id="h-2"),
        {"id": "odd", "at": "yesterday", "type": "patron.seen", "patron_id": "p-1"},
        17,
        event("patron.seen", patron_id="p-1") | {"at": "2026-11-26T09:00:00+09:00"},
        event("patron.seen", patron_id="p-1"),
    ]
    answer = await staff.post(EVENTS, json=body)
    assert outcomes(answer) == [
        *("repeat", "applied", "repeat", "stale", "conflict", "failed", "failed", "failed", "failed"),
        "applied",
    ]
    said = answer.json()
    assert [said[key] for key in ("applied", "repeats", "stale", "conflicts", "failed")] == [2, 2, 1, 1, 4]
    results = said["results"]
    assert results[5] == {"id": body[5]["id"], "outcome": "failed", "error": "patron_id is missing"}
    assert results[6]["id"] == "odd"
    assert results[6]["error"].startswith("at: ")
    assert results[7]["id"] is None
    assert "more than a day ahead" in results[8]["error"]
    assert [result["outcome"] for result in results if result.get("error")] == ["conflict"] + ["failed"] * 4


async def test_a_lost_answer_can_be_asked_for_again(services: Services, staff: httpx.AsyncClient) -> None:
    body = [event("patron", patron_id=f"p{number}", email=f"p{number}@example.jp") for number in range(50)]
    first, second = await asyncio.gather(staff.post(EVENTS, json=body), staff.post(EVENTS, json=body))
    assert sorted([set(outcomes(first)), set(outcomes(second))], key=sorted) == [{"applied"}, {"repeat"}]


async def test_token_is_required(staff: httpx.AsyncClient, services: Services) -> None:
    paths = [("POST", EVENTS), ("GET", "/api/v1/report"), ("GET", "/api/v1/explain/patron:p-1")]
    wrong = ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
    for method, path in paths:
        for header in wrong:
            response = await staff.request(method, path, headers={"Authorization": header}, content=b"{}")
            assert_error(response, 401, "unauthorized")
            assert response.headers["www-authenticate"].startswith("Bearer")
        odd = await staff.request(method, path, headers=[(b"authorization", b"Bearer \xe3\x81\x82\xff")])
        assert_error(odd, 401, "unauthorized")


async def test_several_tokens(make_services: MakeServices) -> None:
    services = make_services(tokens="first-token second-token")
    await services.ledger.upgrade()
    async with serving(WebServer(staff_app(services), "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
        for token, status in (("first-token", 200), ("second-token", 200), ("first-token second-token", 401)):
            response = await client.get(f"{url}/api/v1/report", headers={"Authorization": f"Bearer {token}"})
            assert response.status_code == status


async def test_without_tokens_every_call_is_refused(make_services: MakeServices) -> None:
    services = make_services(tokens="")
    async with serving(WebServer(staff_app(services), "127.0.0.1", 0)) as url, httpx.AsyncClient() as client:
        for header in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKEN}"}):
            assert_error(await client.post(url + EVENTS, headers=header, json=[]), 403, "no_tokens")


NOT_JSON = {
    "empty": b"",
    "open": b"{",
    "list": b"[1,",
    "bytes": b"\xff\xfe",
    "text": b"not json",
    "two": b'{"a": 1}{"a": 2}',
    "number of thousands of digits": b"1" * 5000,
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
}


async def test_a_body_that_is_not_json(staff: httpx.AsyncClient) -> None:
    for body in NOT_JSON.values():
        assert_error(await staff.post(EVENTS, content=body), 400, "not_json")


async def test_a_byte_order_mark_is_passed_over(staff: httpx.AsyncClient) -> None:
    assert outcomes(await staff.post(EVENTS, content=b"\xef\xbb\xbf[]")) == []


async def test_too_much_is_refused(staff: httpx.AsyncClient) -> None:
    assert_error(await staff.post(EVENTS, json=[1] * (api.MAX_EVENTS + 1)), 413, "too_many_events")
    assert_error(await staff.post(EVENTS, content=b" " * (api.MAX_BODY + 1)), 413, "too_large")

    async def undeclared() -> Any:
        for _ in range(api.MAX_BODY // 100_000 + 1):
            yield b" " * 100_000

    assert_error(await staff.post(EVENTS, content=undeclared()), 413, "too_large")
    assert outcomes(await staff.post(EVENTS, json=[])) == []


async def test_a_body_that_never_comes(staff: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "READ_S", 0.1)
    reader, writer = await asyncio.open_connection(staff.base_url.host, staff.base_url.port)
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n["
    writer.write(head.encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_the_most_that_is_taken(staff: httpx.AsyncClient) -> None:
    body = [event("patron.seen", patron_id=f"p{number}") for number in range(api.MAX_EVENTS)]
    text = json.dumps(body).encode()
    answer = await staff.post(EVENTS, content=text.ljust(api.MAX_BODY), timeout=60)
    assert set(outcomes(answer)) == {"applied"}


ENDS_OF_TIME = (
    "0001-01-01T00:00:00+09:00",
    "9999-12-31T23:59:59-09:00",
    "0000-00-00T00:00:00Z",
    1e308,
    -1e308,
)


async def test_times_at_the_end_of_the_calendar(staff: httpx.AsyncClient) -> None:
    good = event("patron", patron_id="p-1")
    body = [*(event("patron", patron_id="p-2") | {"at": at} for at in ENDS_OF_TIME), good]
    assert outcomes(await staff.post(EVENTS, json=body)) == [*(["failed"] * len(ENDS_OF_TIME)), "applied"]


async def test_half_a_character_comes_back_as_it_was_sent(staff: httpx.AsyncClient) -> None:
    """A lone surrogate is legal JSON (RFC 8259 section 8.2) and no UTF-8."""
    body = [event("patron", patron_id="p") | {"id": "half \ud83d"}, event("patron", patron_id="\udc00")]
    answer = await staff.post(EVENTS, content=json.dumps(body))
    assert outcomes(answer) == ["failed", "failed"]
    assert answer.json()["results"][0]["id"] == "half \ud83d"


async def test_report(services: Services, staff: httpx.AsyncClient) -> None:
    await services_with_bounce(services)
    lines = (await staff.get("/api/v1/report")).json()
    assert [(line["patron_id"], line["finding"], line["hold_ids"]) for line in lines] == [
        ("p-1", "bounced", ["h-1"])
    ]
    assert set(lines[0]) == set(ReportLine.model_fields)
    earlier = await staff.get("/api/v1/report", params={"as_of": "2026-11-01T00:00:00+09:00"})
    assert earlier.json() == []


async def services_with_bounce(services: Services) -> None:
    from holds_core.evidence import Sign
    from holds_core.ledger.observations import Observation, observe

    _, hold = await notify(services)
    async with services.ledger.write() as connection:
        bounce = Observation(
            NOON, Sign.BOUNCED, "lmtp", "b1", hold, reason="user_unknown", fault="patron", severity="hard"
        )
        await observe(connection, bounce, NOON)


async def test_report_parameters(staff: httpx.AsyncClient) -> None:
    queries = (
        "as_of=yesterday",
        "as_of=0001-01-01T00:00:00%2B09:00",
        "as_of=2026-11-24T00:00:00",
        "since=9999",
    )
    for query in queries:
        response = await staff.get(f"/api/v1/report?{query}")
        assert_error(response, 422, "bad_parameter")
        assert query.partition("=")[0] in response.json()["error"]["message"]


async def test_explain(services: Services, staff: httpx.AsyncClient) -> None:
    await notify(services)
    for name in ("hold:h-1", "h-1", "patron:p-1", "address:hanako@example.ne.jp"):
        told = (await staff.get(f"/api/v1/explain/{name}")).json()
        assert set(told) == {"subject", "events"}
        assert all(set(item) == {"at", "type", "detail"} for item in told["events"])
    for name in ("patron:nobody", "", ":", "a/b/c", "%00", "%ff", "x" * 5000, "patron:", "%F0%9F%98%80", "@"):
        assert_error(await staff.get(f"/api/v1/explain/{name}"), 404, "not_found")


async def test_errors_have_one_shape(staff: httpx.AsyncClient) -> None:
    for method, path, status, code in (
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1", 404, "not_found"),
        ("GET", "/api/v2/events", 404, "not_found"),
        ("GET", EVENTS, 405, "method_not_allowed"),
        ("DELETE", "/api/v1/report", 405, "method_not_allowed"),
        ("GET", "/api/v1/docs", 404, "not_found"),
    ):
        assert_error(await staff.request(method, path, follow_redirects=True), status, code)


async def test_without_a_database_the_api_says_try_again(make_services: MakeServices) -> None:
    services = make_services()  # no tables
    header = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        serving(WebServer(staff_app(services), "127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url, headers=header) as client,
    ):
        for response in (await client.post(EVENTS, json=[]), await client.get("/api/v1/report")):
            if response.status_code != 200:  # an empty list asks nothing of the database
                assert_error(response, 503, "unavailable")
        assert_error(await client.post(EVENTS, json=event("patron", patron_id="p")), 503, "unavailable")


async def test_description(staff: httpx.AsyncClient) -> None:
    response = await staff.get("/api/v1/openapi.json", headers={"Authorization": ""})
    described = response.json()
    assert described["openapi"].startswith("3.")
    assert set(described["paths"]) == {
        "/events",
        "/report",
        "/decisions",
        "/provisional",
        "/explain/{name}",
    }
    assert described["servers"] == [{"url": "/api/v1"}]
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["security"] == [{"HTTPBearer": []}]
    schemas = described["components"]["schemas"]
    kinds = {model.__name__ for model in get_args(get_args(EventIn)[0])}
    assert "PatronIn" in kinds
    assert kinds <= set(schemas)
    text = json.dumps(described)
    named = {word.split('"')[0] for word in text.split("#/components/schemas/")[1:]}
    assert named <= set(schemas), "every reference leads somewhere"


async def test_the_front_door_leads_to_the_desk(staff: httpx.AsyncClient) -> None:
    response = await staff.get("/")
    assert response.status_code == 303
    assert response.url.join(response.headers["location"]).path == "/desk/"


async def test_no_other_page_of_the_staff_side(staff: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/c/anything", "/healthz/x", "/docs", "/openapi.json"):
        response = await staff.get(path)
        assert response.status_code == 404, path
        assert "ページが見つかりません" in response.text, path
        assert "default-src 'none'" in response.headers["content-security-policy"], path


# -- anything at all -------------------------------------------------------------------------------

_words = st.sampled_from(
    [
        *("id", "at", "type", "patron_id", "hold_id", "email", "emails", "name", "phones", "title", "volume"),
        *("deadline", "branch", "password", "provisional", "contact", "by", "via", "reason", "language"),
    ]
)
_types = st.sampled_from(["patron", "patron.email_changed", "patron.seen", "hold.shelved", "hold.extended"])
_texts = st.text(max_size=30) | st.text(st.characters(), max_size=5).map(lambda text: text * 100)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _texts
    | _types
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
    | st.dates().map(str)
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3)
)
_events = st.fixed_dictionaries(
    {"id": _texts, "at": _scalars | st.just(NOON.isoformat()), "type": _types, "patron_id": _texts}
).flatmap(lambda base: st.dictionaries(_words, _values, max_size=6).map(lambda more: more | base))


async def test_no_json_makes_it_fall_over(services: Services, staff: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_events | _values, max_size=4) | _values)
    def fuzz(body: Any) -> None:
        text = json.dumps(body).encode()
        posted = asyncio.run_coroutine_threadsafe(staff.post(EVENTS, content=text), loop)
        response = posted.result(30)
        items = body if isinstance(body, list) else [body]
        assert len(outcomes(response)) == len(items)
        for item, result in zip(items, response.json()["results"], strict=True):
            assert result["outcome"] in ("applied", "repeat", "stale", "conflict", "failed")
            assert result["outcome"] != "failed" or result["error"]
            assert isinstance(item, dict) or result["outcome"] == "failed"

    await asyncio.to_thread(fuzz)


async def test_no_bytes_make_it_fall_over(services: Services, staff: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60) | st.text().map(lambda text: text.encode("utf-8", "replace")))
    def fuzz(body: bytes) -> None:
        posted = asyncio.run_coroutine_threadsafe(staff.post(EVENTS, content=body), loop)
        assert posted.result(30).status_code in (200, 400)

    await asyncio.to_thread(fuzz)
