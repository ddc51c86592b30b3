"""The contract's events: each type parsed, every wrong field named, and nothing but BadInput raised."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core import events as ev
from holds_core.errors import BadInput
from holds_core.feeds.wire import MAX_LINE, parse, parse_line
from holds_core.patrons import clean_text

AT = "2026-11-22T09:10:00+09:00"
TIME = datetime(2026, 11, 22, 0, 10, tzinfo=UTC)
BASE = {"id": "e1", "at": AT}
HOLD = {**BASE, "type": "hold.shelved", "hold_id": "H1", "patron_id": "P1"}
PATRON = {**BASE, "type": "patron", "patron_id": "P1"}
MAIL = {**BASE, "type": "patron.email_changed", "patron_id": "P1"}

GOOD: list[tuple[dict[str, Any], ev.Event]] = [
    (PATRON, ev.Patron(id="e1", at=TIME, patron_id="P1")),
    (PATRON | {"email": "a@example.jp"}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=("a@example.jp",))),
    (PATRON | {"email": ""}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=())),
    (PATRON | {"email": "\u3000"}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=())),
    (PATRON | {"email": None}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=())),
    (PATRON | {"emails": None}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=())),
    (PATRON | {"emails": []}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=())),
    (PATRON | {"emails": ["", "a@example.jp", "\u200b"]}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=("a@example.jp",))),
    (PATRON | {"emails": "a@example.jp"}, ev.Patron(id="e1", at=TIME, patron_id="P1", emails=("a@example.jp",))),
    (
        PATRON | {"emails": ["a@example.jp", "b@example.jp"], "name": "図書　花子", "name_kana": "トショ ハナコ", "contact": "phone", "phones": ["03-5550-0100"], "phone_note": "夜のみ", "guardian_id": "P0", "branch": "main", "language": "en", "provisional": True, "overdue": False},
        ev.Patron(id="e1", at=TIME, patron_id="P1", emails=("a@example.jp", "b@example.jp"), name="図書　花子", name_kana="トショ ハナコ", contact="phone", phones=("03-5550-0100",), phone_note="夜のみ", guardian_id="P0", branch="main", language="en", provisional=True, overdue=False),
    ),
    (MAIL | {"email": "b@example.jp"}, ev.EmailChanged(id="e1", at=TIME, patron_id="P1", emails=("b@example.jp",))),
    (MAIL | {"email": ["b@example.jp", "c@example.jp"]}, ev.EmailChanged(id="e1", at=TIME, patron_id="P1", emails=("b@example.jp", "c@example.jp"))),
    (MAIL | {"email": ""}, ev.EmailChanged(id="e1", at=TIME, patron_id="P1", emails=())),
    ({**BASE, "type": "patron.password_changed", "patron_id": "P1"}, ev.PasswordChanged(id="e1", at=TIME, patron_id="P1")),
    ({**BASE, "type": "patron.seen", "patron_id": "P1"}, ev.PatronSeen(id="e1", at=TIME, patron_id="P1", via="opac")),
    ({**BASE, "type": "patron.seen", "patron_id": "P1", "via": "desk"}, ev.PatronSeen(id="e1", at=TIME, patron_id="P1", via="desk")),
    (
        HOLD | {"type": "hold.requested", "title": "吾輩は猫である", "material": "book", "branch": "main", "via": "web", "availability": "on_loan", "set_id": "S1", "volume": 3, "contact": "email"},
        ev.HoldEvent(type="hold.requested", id="e1", at=TIME, hold_id="H1", patron_id="P1", title="吾輩は猫である", material="book", branch="main", via="web", availability="on_loan", set_id="S1", volume=3, contact="email"),
    ),
    (HOLD | {"deadline": "2026-11-29"}, ev.HoldEvent(type="hold.shelved", id="e1", at=TIME, hold_id="H1", patron_id="P1", deadline=date(2026, 11, 29))),
    # some systems write the last date of all for a deadline that is not set
    (HOLD | {"deadline": "9999-12-31"}, ev.HoldEvent(type="hold.shelved", id="e1", at=TIME, hold_id="H1", patron_id="P1")),
    (HOLD | {"deadline": "2026-11-29T23:59:00+09:00"}, ev.HoldEvent(type="hold.shelved", id="e1", at=TIME, hold_id="H1", patron_id="P1", deadline=date(2026, 11, 29))),
    # some systems write numbers
    (HOLD | {"hold_id": 17, "patron_id": 42, "volume": "2"}, ev.HoldEvent(type="hold.shelved", id="e1", at=TIME, hold_id="17", patron_id="42", volume=2)),
    *(
        ({**BASE, "type": type_, "hold_id": "H1"}, ev.HoldEvent(type=type_, id="e1", at=TIME, hold_id="H1"))
        for type_ in ("hold.placed", "hold.refused", "hold.cancel_requested", "hold.cancelled", "hold.collected", "hold.lapsed")
    ),
    ({**BASE, "type": "hold.refused", "hold_id": "H1", "reason": "overdue"}, ev.HoldEvent(type="hold.refused", id="e1", at=TIME, hold_id="H1", reason="overdue")),
    ({**BASE, "type": "hold.cancelled", "hold_id": "H1", "by": "library", "reason": "lost"}, ev.HoldEvent(type="hold.cancelled", id="e1", at=TIME, hold_id="H1", by="library", reason="lost")),
    ({**BASE, "type": "hold.extended", "hold_id": "H1", "deadline": "2026-12-06"}, ev.HoldEvent(type="hold.extended", id="e1", at=TIME, hold_id="H1", deadline=date(2026, 12, 6))),
]  # fmt: skip


@pytest.mark.parametrize(("data", "event"), GOOD)
def test_a_good_event(data: dict[str, Any], event: ev.Event) -> None:
    assert parse(data) == event
    assert parse_line(json.dumps(data).encode()) == event
    assert parse_line(b"\xef\xbb\xbf" + json.dumps(data, ensure_ascii=False).encode() + b"\r\n") == event


def test_every_type_of_the_contract_is_parsed() -> None:
    assert {event.type for _, event in GOOD} == {
        *("patron", "patron.email_changed", "patron.password_changed", "patron.seen"),
        *("hold.requested", "hold.placed", "hold.refused", "hold.shelved", "hold.extended"),
        *("hold.cancel_requested", "hold.cancelled", "hold.collected", "hold.lapsed"),
    }


CONTACT = "Input should be 'email', 'phone', 'post' or 'none'"
IDENTIFIER = "must be 1 to 200 printable characters without blanks at its ends"
NUMBER = "must be a text such as 2026-11-22T09:10:00+09:00, not a number"
LONE = "Input should be a valid string, unable to parse raw data as a unicode string"

BAD: list[tuple[Any, str]] = [
    ([], "an event is a JSON object with id, at and type"),
    (None, "an event is a JSON object with id, at and type"),
    ("patron", "an event is a JSON object with id, at and type"),
    ({}, "type is missing"),
    (BASE, "type is missing"),
    (
        BASE | {"type": "mail.sent"},
        "type is not one of patron, patron.email_changed, patron.password_changed, patron.seen, hold.requested, "
        "hold.shelved, hold.placed, hold.refused, hold.cancel_requested, hold.cancelled, hold.collected, "
        "hold.lapsed, hold.extended",
    ),
    ({"type": "patron"}, "id is missing; at is missing; patron_id is missing"),
    (BASE | {"type": "patron"}, "patron_id is missing"),
    (BASE | {"type": "hold.shelved", "hold_id": "H1"}, "patron_id is missing"),
    (BASE | {"type": "hold.requested", "patron_id": "P1"}, "hold_id is missing"),
    (BASE | {"type": "hold.extended", "hold_id": "H1"}, "deadline is missing"),
    (MAIL, "email is missing"),
    (PATRON | {"mail": "x"}, "mail is not a field of patron"),
    (HOLD | {"titel": "x", "colour": 1}, "titel is not a field of hold.shelved; colour is not a field of hold.shelved"),
    (PATRON | {"email": "a@x.jp", "emails": ["b@x.jp"]}, "the event: give email or emails, not both"),
    (PATRON | {"contact": "fax"}, f"contact: {CONTACT}"),
    (HOLD | {"via": "phone"}, "via: Input should be 'web' or 'desk'"),
    (HOLD | {"type": "hold.cancelled", "by": "cat"}, "by: Input should be 'patron' or 'library'"),
    (PATRON | {"provisional": "perhaps"}, "provisional: Input should be a valid boolean, unable to interpret input"),
    (HOLD | {"volume": -1}, "volume: Input should be greater than or equal to 0"),
    (HOLD | {"volume": 1.5}, "volume: Input should be a valid integer, got a number with a fractional part"),
    (PATRON | {"patron_id": ""}, "patron_id: String should have at least 1 character"),
    (PATRON | {"patron_id": " P1"}, f"patron_id: {IDENTIFIER}"),
    (PATRON | {"patron_id": "P\x001"}, f"patron_id: {IDENTIFIER}"),
    (PATRON | {"patron_id": "P\n1"}, f"patron_id: {IDENTIFIER}"),
    (PATRON | {"patron_id": "P" * 201}, "patron_id: String should have at most 200 characters"),
    (PATRON | {"patron_id": "\ud800"}, f"patron_id: {LONE}"),
    (PATRON | {"patron_id": None}, "patron_id: Input should be a valid string"),
    (PATRON | {"patron_id": True}, "patron_id: Input should be a valid string"),
    (PATRON | {"name": "half \udcff"}, f"name: {LONE}"),
    (HOLD | {"title": "\ud83d"}, f"title: {LONE}"),
    (HOLD | {"title": "長" * 30_000}, "title: String should have at most 20000 characters"),
    (HOLD | {"title": ["a"]}, "title: Input should be a valid string"),
    (PATRON | {"emails": ["a@x.jp"] * 11}, "emails: Value should have at most 10 items after validation, not 11"),
    (PATRON | {"emails": [1, {}]}, "emails.1: Input should be a valid string"),
    (PATRON | {"email": "a" * 321}, "email: String should have at most 320 characters"),
    (PATRON | {"at": "2026-11-22T09:10:00"}, "at has no UTC offset (write 2026-11-22T09:10:00+09:00)"),
    (PATRON | {"at": "2026-11-22"}, "at has no UTC offset (write 2026-11-22T09:10:00+09:00)"),
    (PATRON | {"at": "yesterday"}, "at: Input should be a valid datetime or date, input is too short"),
    (PATRON | {"at": 20261122}, f"at: {NUMBER}"),
    (PATRON | {"at": "20261122"}, f"at: {NUMBER}"),
    (PATRON | {"at": 1764000000.5}, f"at: {NUMBER}"),
    (PATRON | {"at": True}, f"at: {NUMBER}"),
    (PATRON | {"at": "0001-01-01T00:00:00+09:00"}, "at: lies before 1970"),
    (HOLD | {"deadline": 86400}, f"deadline: {NUMBER}"),
    (HOLD | {"deadline": "20261129"}, f"deadline: {NUMBER}"),
    (HOLD | {"deadline": "soon"}, "deadline: Input should be a valid date or datetime, input is too short"),
    (HOLD | {"deadline": "1926-11-29"}, "deadline: a day on the hold shelf lies in the years 2000 to 2150"),
    (HOLD | {"deadline": "9998-12-31"}, "deadline: a day on the hold shelf lies in the years 2000 to 2150"),
    (BASE | {"type": "hold.extended", "hold_id": "H1", "deadline": "9999-12-31"}, "deadline: a hold is extended to a day"),
    (HOLD | {"deadline": "2026-02-30"}, "deadline: Input should be a valid date or datetime, day value is outside expected range"),
    (HOLD | {"deadline": "2026-11-29Tnoon"}, "deadline: Invalid isoformat string: '2026-11-29Tnoon'"),
    *(
        (BASE | {"type": "patron.password_changed", "patron_id": "P1", name: "hunter2"}, f"{name} must not be sent: passwords are never accepted or stored")
        for name in ("password", "new_password", "old_password")
    ),
    (PATRON | {"password": ""}, "password must not be sent: passwords are never accepted or stored"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "text"), BAD)
def test_a_bad_event_is_refused_with_every_wrong_field(data: Any, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(data)
    assert str(caught.value) == text


def test_an_error_never_quotes_what_was_given() -> None:
    secret = "himitsu-no-namae"
    with pytest.raises(BadInput) as caught:
        parse(PATRON | {"name": [secret], "contact": secret, "patron_id": f" {secret}", "at": secret})
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", "not JSON at character 1"),
        (b"{", "not JSON at character 2"),
        (b"{'id': 1}", "not JSON at character 2"),
        ("{\"name\": \"図書\"}".encode("cp932"), "byte 11 is not UTF-8; save the file as UTF-8"),
        ("{\"name\": \"図書\"}".encode("utf-16"), "byte 1 is not UTF-8; save the file as UTF-8"),
        ("{\"name\": \"図書\"}".encode("euc-jp"), "byte 11 is not UTF-8; save the file as UTF-8"),
        (b'{"volume": NaN}', "not JSON"),
        (b'{"volume": -Infinity}', "not JSON"),
        (b'{"volume": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"id": "' + b"x" * MAX_LINE + b'"}', f"the line is longer than {MAX_LINE} bytes"),
        (b"null", "an event is a JSON object with id, at and type"),
        (b'"\\ud800"', "an event is a JSON object with id, at and type"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event(line: bytes, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_line(line)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("吾輩は\x00猫\x1bである", "吾輩は猫である"),
        ("一行目\r\nBcc: x@example.jp", "一行目 Bcc: x@example.jp"),
        ("\u202e逆さ\u202c", "逆さ"),
        ("長" * 300, "長" * 300),
        ("長" * 301, "長" * 299 + "…"),
        ("長" * 20_000, "長" * 299 + "…"),
        ("", ""),
    ],
)
def test_a_title_is_stored_on_one_line_of_300_characters(title: str, kept: str) -> None:
    event = parse(HOLD | {"title": title})
    assert isinstance(event, ev.HoldEvent)
    assert event.title == kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({name for data, _ in GOOD for name in data} | {"password", "unknown", "\ud800"})
near_events = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=6).flatmap(
    lambda odd: st.sampled_from([data for data, _ in GOOD]).map(lambda data: data | odd)
)


@given(json_values | near_events)
def test_no_json_raises_anything_but_bad_input(data: Any) -> None:
    try:
        event = parse(data)
    except BadInput as error:
        str(error).encode()
        return
    _is_safe(event)


@given(st.binary(max_size=200) | near_events.map(lambda data: json.dumps(data).encode()))
def test_no_line_raises_anything_but_bad_input(line: bytes) -> None:
    try:
        event = parse_line(line)
    except BadInput as error:
        str(error).encode()
        return
    _is_safe(event)


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_any_title_is_stored_safely_or_refused(title: str) -> None:
    try:
        event = parse(HOLD | {"title": title})
    except BadInput:
        return
    assert isinstance(event, ev.HoldEvent)
    assert event.title == clean_text(title)
    _is_safe(event)


def _is_safe(event: ev.Event) -> None:
    """What any database stores and no mail header minds."""
    assert event.at.utcoffset() is not None
    assert event.at.astimezone(UTC) > datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=1)
    for name in ("id", "patron_id", "hold_id", "title", "name", "reason", "branch", "emails", "phones"):
        value = getattr(event, name, None) or ()
        for text in (value,) if isinstance(value, str) else value:
            text.encode()
            assert not set("\0\r\n\t") & set(text)
