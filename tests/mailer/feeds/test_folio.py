"""FOLIO's feed against a FOLIO on loopback: tokens of three kinds, requests that are closed, and one erased."""

from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from holds_core.ledger.models import holds
from mailer.app.feeds.http import FeedDown
from mailer.app.web.serve import WebServer
from tests.mailer.feeds.conftest import Library, at, library_at
from tests.mailer.web.conftest import serving
from tests.servers.folio import FakeFolio


@pytest.fixture
def town(folio: FakeFolio) -> FakeFolio:
    for number in range(1, 6):
        folio.user(f"u{number}", at(number), email=f"p{number}@docomo.ne.jp", mobilePhone="090-0000-0000")
        folio.request(f"r{number}", f"u{number}", "Open - Not yet filled", at(number))
    return folio


async def test_users_and_requests(with_folio: Library, town: FakeFolio) -> None:
    town.user("u1", at(1), email="p1@docomo.ne.jp", preferredContactTypeId="004", phone="0993-00-0000")
    town.request("r9", "u1", "Closed - Filled", at(9))
    patrons, requests = await with_folio.poll()
    assert (patrons.applied, requests.applied) == (5, 5)
    assert await with_folio.states() == dict.fromkeys(("r1", "r2", "r3", "r4", "r5"), "placed")
    first = next(row for row in await with_folio.patrons() if row.patron_id == "u1")
    assert (first.name, first.contact, first.phones) == ("佐藤 花子", "phone", ["0993-00-0000"])
    assert {(row.title, row.branch) for row in await with_folio.rows(holds)} == {("門", "main")}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Open - In transit", "placed"),
        ("Open - Awaiting delivery", "placed"),
        ("Open - Awaiting pickup", "ready"),
        ("Closed - Filled", "collected"),
        ("Closed - Cancelled", "cancelled"),
        ("Closed - Pickup expired", "lapsed"),
        ("Closed - Unfilled", "ended"),
    ],
)
async def test_every_status(with_folio: Library, town: FakeFolio, status: str, state: str) -> None:
    await with_folio.poll()
    town.request("r3", "u3", status, at(60), holdShelfExpirationDate="2026-12-01T14:59:59.000+00:00")
    await with_folio.poll()
    assert (await with_folio.states())["r3"] == state
    await with_folio.full()
    assert (await with_folio.states())["r3"] == state
    if state == "ready":
        row = next(row for row in await with_folio.rows(holds) if row.hold_id == "r3")
        assert str(row.deadline) == "2026-12-01"
        assert await with_folio.mail() == [("hold_ready", "p3@docomo.ne.jp")]


async def test_who_cancelled(with_folio: Library, town: FakeFolio) -> None:
    await with_folio.poll()
    town.request("r1", "u1", "Closed - Cancelled", at(60), cancelledByUserId="u1")
    town.request("r2", "u2", "Closed - Cancelled", at(60), cancelledByUserId="staff")
    await with_folio.poll()
    assert await with_folio.mail() == [
        ("cancel_done", "p1@docomo.ne.jp"),
        ("hold_cancelled_by_library", "p2@docomo.ne.jp"),
    ]


async def test_a_request_that_was_closed_unseen_is_looked_up(with_folio: Library, town: FakeFolio) -> None:
    await with_folio.poll()
    # closed, but its time of change says otherwise: only the whole list shows that it is gone
    town.request("r2", "u2", "Closed - Filled", at(-999))
    del town.requests["r4"]
    await with_folio.full()
    states = await with_folio.states()
    assert (states["r2"], states["r4"]) == ("collected", "ended")


async def test_a_look_up_that_fails_leaves_everything_as_it_was(with_folio: Library, town: FakeFolio) -> None:
    await with_folio.poll()
    del town.requests["r4"]
    with_folio.clock.advance(with_folio.poller._options.full_every)
    town.answers_next = []
    original = town._refused

    def refusing(request):  # type: ignore[no-untyped-def]
        found = original(request)
        return PlainTextResponse("", 500) if "requests/" in request.url.path else found

    town._refused = refusing  # type: ignore[method-assign]
    with pytest.raises(FeedDown):
        await with_folio.poller.poll()
    assert (await with_folio.states())["r4"] == "placed"


async def test_a_folio_of_old_gives_its_token_in_a_header(with_folio: Library, town: FakeFolio) -> None:
    town.modern = False
    await with_folio.poll()
    assert len(await with_folio.states()) == 5


async def test_a_token_that_ran_out_is_fetched_anew(with_folio: Library, town: FakeFolio) -> None:
    await with_folio.poll()
    town.tokens.clear()
    town.answers_next = [PlainTextResponse("Token expired", 401)]
    town.request("r1", "u1", "Open - Awaiting pickup", at(60))
    await with_folio.poll()
    assert (await with_folio.states())["r1"] == "ready"


async def test_a_wrong_password_is_told_without_saying_it(with_folio: Library, town: FakeFolio) -> None:
    town.password = "another"
    with pytest.raises(FeedDown, match="no token: HTTP 422") as raised:
        await with_folio.poll()
    assert "s3cret" not in str(raised.value)


async def test_an_answer_of_another_shape(with_folio: Library, town: FakeFolio) -> None:
    town.answers_next = [JSONResponse([])]
    with pytest.raises(FeedDown, match="no list of records"):
        await with_folio.poll()


async def test_eureka_takes_a_client_of_keycloak(tmp_path: Path, town: FakeFolio) -> None:
    async with serving(WebServer(town.app(), "127.0.0.1", 0)) as url:
        feeds = f"""
feeds:
  folio:
    url: {url}
    tenant: diku
    auth: eureka
    token_url: {url}/realms/diku/protocol/openid-connect/token
    username: todoku
"""
        async for library in library_at(tmp_path, feeds):
            await library.poll()
            assert len(await library.states()) == 5
