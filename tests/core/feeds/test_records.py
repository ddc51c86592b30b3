"""Records of Koha and FOLIO as rows: which field becomes what, and which record cannot be used."""

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.feeds import folio, koha
from holds_core.feeds.records import with_title
from holds_core.holds import Hold

HOLD: dict[str, Any] = {
    "hold_id": 12,
    "patron_id": 7,
    "biblio_id": 3,
    "pickup_library_id": "CPL",
    "status": None,
    "waiting_date": None,
    "expiration_date": None,
    "cancellation_date": None,
    "cancellation_reason": None,
}


@pytest.mark.parametrize(
    ("status", "state"),
    [(None, "placed"), ("T", "placed"), ("P", "placed"), ("W", "ready"), ("F", "collected")],
)
def test_the_states_of_koha(status: str | None, state: str) -> None:
    told = koha.hold(HOLD | {"status": status})
    assert told.row is not None
    assert (told.key, told.row.mark, told.work) == ("12", state, "3")


def test_the_day_before_it_waits_is_no_deadline() -> None:
    wanted_until = HOLD | {"expiration_date": "2027-03-31"}
    queued, waiting = koha.hold(wanted_until), koha.hold(wanted_until | {"status": "W"})
    assert queued.row is not None
    assert waiting.row is not None
    assert (queued.row.until, waiting.row.until) == ("", "2027-03-31")


def test_a_title_that_changes_is_no_difference() -> None:
    row = koha.hold(HOLD).row
    assert row is not None
    named = with_title(row, "門")
    assert json.loads(named.fields)["title"] == "門"
    assert (named.mark, named.until, named.digest) == (row.mark, row.until, row.digest)


@pytest.mark.parametrize(
    ("change", "key", "fault"),
    [
        ({"hold_id": None}, "", "hold_id is missing"),
        ({"hold_id": True}, "", "hold_id is missing"),
        ({"patron_id": None}, "12", "patron_id is missing"),
        ({"status": "X"}, "12", "status is none of T, P, W, F or null"),
        ({"status": ["W"]}, "12", "status is none of T, P, W, F or null"),
        ({"status": "W", "expiration_date": "tomorrow"}, "12", "expiration_date is no date"),
        ({"status": "W", "expiration_date": "2026-02-30"}, "12", "expiration_date is no date"),
        (
            {"status": "W", "expiration_date": "1926-11-30"},
            "12",
            "expiration_date: a day on the hold shelf lies in the years 2000 to 2150",
        ),
        ({"pickup_library_id": 5}, "12", "pickup_library_id is no text"),
    ],
)
def test_a_hold_that_cannot_be_used(change: dict[str, Any], key: str, fault: str) -> None:
    told = koha.hold(HOLD | change)
    assert (told.key, told.row, told.fault) == (key, None, fault)


@pytest.mark.parametrize(
    ("record", "title"),
    [
        ({"title": "門 /"}, "門"),
        ({"title": "三四郎 :", "subtitle": "小説 /"}, "三四郎 : 小説"),
        ({"title": None}, ""),
    ],
)
def test_titles(record: dict[str, Any], title: str) -> None:
    assert koha.title(record) == title


@pytest.mark.parametrize(
    ("lang", "language"), [("ja-Jpan-JP", "ja"), ("default", ""), ("en", "en"), (None, "")]
)
def test_languages(lang: str | None, language: str) -> None:
    told = koha.patron({"patron_id": 1, "lang": lang}, all_addresses=False)
    assert told.row is not None
    assert json.loads(told.row.fields)["language"] == language


def test_every_status_of_folio_is_known() -> None:
    assert set(folio.STATES.values()) == {
        Hold.PLACED,
        Hold.READY,
        Hold.COLLECTED,
        Hold.CANCELLED,
        Hold.LAPSED,
        Hold.ENDED,
    }
    assert len(folio.STATES) == 8


@pytest.mark.parametrize(
    ("said", "zone", "day"),
    [
        ("2026-12-01T14:59:59.000+00:00", "Asia/Tokyo", "2026-12-01"),
        # the first minutes of a Japanese day are the day before in UTC
        ("2026-12-01T15:30:00.000+00:00", "Asia/Tokyo", "2026-12-02"),
        # and the end of an American one is the day after
        ("2026-12-02T04:59:59.000+00:00", "America/New_York", "2026-12-01"),
        ("2026-12-01", "Asia/Tokyo", "2026-12-01"),
        ("9999-12-31T00:00:00.000+00:00", "America/New_York", "fault"),
        ("9999-12-31", "Asia/Tokyo", None),
        (None, "Asia/Tokyo", None),
    ],
)
def test_the_last_day_is_the_librarys_own(said: str | None, zone: str, day: str | None) -> None:
    record = {
        "id": "r",
        "requesterId": "u",
        "status": "Open - Awaiting pickup",
        "holdShelfExpirationDate": said,
    }
    told = folio.request(record, ZoneInfo(zone))
    if day == "fault":
        assert told.row is None
    else:
        assert told.row is not None
        assert json.loads(told.row.fields)["deadline"] == day


def test_a_request_that_cannot_be_used() -> None:
    told = folio.request({"id": "r", "requesterId": "u", "status": "Open - Somewhere"})
    assert (told.key, told.row, told.fault) == ("r", None, "status is none that FOLIO has")
    assert folio.request({"status": "Open - In transit"}).key == ""


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_names = sorted(
    {*HOLD, "id", "requesterId", "personal", "metadata", "instance", "email", "surname", "lang", "phone"}
)


@given(st.dictionaries(st.sampled_from(_names), _json))
def test_any_record_is_a_row_or_a_fault(record: dict[str, Any]) -> None:
    made = (
        koha.hold(record),
        koha.patron(record, all_addresses=True),
        folio.request(record),
        folio.user(record),
    )
    for told in made:
        assert (told.row is None) == bool(told.fault)
        assert told.row is None or told.row.key == told.key
