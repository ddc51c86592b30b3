"""`todoku backtest`: its formats, what of a history it may use, and what it says to bad lines."""

from __future__ import annotations

import json
import sys
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from holds_core.backtest import Morning, Problem, parse_line, replay
from holds_core.observations import (
    Bounced,
    Confirmed,
    DeadlineMoved,
    Ending,
    Failure,
    HoldEnded,
    Mailed,
    Observation,
    PatronSeen,
)
from mailer.app.commands.backtest import app
from tests.core.silence_world import START, World, mailed

EIGHT_THIRTY = time(8, 30)
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "town" / "town.py"

MAIL = {
    "at": "2031-04-07T09:07:00+09:00",
    "type": "mail.accepted",
    "notice_id": "N1",
    "kind": "hold_ready",
    "patron_id": "P1",
    "address": "p1@one.example",
    "hold_ids": ["H1"],
}
REFUSED = {
    **MAIL,
    "type": "mail.refused",
    "phase": "rcpt",
    "code": 550,
    "status": "5.1.1",
    "text": "User unknown",
}


def parsed(fields: dict[str, Any]) -> Observation | Problem | None:
    return parse_line(1, json.dumps(fields))


@pytest.mark.parametrize(
    ("fields", "type_"),
    [
        (MAIL, Mailed),
        (REFUSED, Mailed),
        ({**MAIL, "kind": "registration_changed", "hold_ids": []}, Mailed),
        (
            {"at": MAIL["at"], "type": "mail.bounced", "notice_id": "N1", "recipient": "p1@one.example",
             "action": "failed", "status": "5.1.1", "text": "user unknown"},
            Bounced,
        ),
        ({"at": MAIL["at"], "type": "mail.confirmed", "notice_id": "N1"}, Confirmed),
        ({"at": MAIL["at"], "type": "patron.seen", "patron_id": "P1", "via": "opac"}, PatronSeen),
        ({"at": MAIL["at"], "type": "hold.collected", "hold_id": "H1"}, HoldEnded),
        ({"at": MAIL["at"], "type": "hold.lapsed", "hold_id": "H1"}, HoldEnded),
        ({"at": MAIL["at"], "type": "hold.extended", "hold_id": "H1", "deadline": MAIL["at"]}, DeadlineMoved),
        ({"at": MAIL["at"], "type": "mail.bounced", "notice_id": "N1", "action": "delayed"}, type(None)),
        ({"at": MAIL["at"], "type": "mail.receipt", "notice_id": "N1", "action": "relayed"}, type(None)),
        ({"at": MAIL["at"], "type": "patron", "patron_id": "P1", "email": "p1@one.example"}, type(None)),
        ({"at": MAIL["at"], "type": "hold.shelved", "hold_id": "H1", "patron_id": "P1"}, type(None)),
    ],
)  # fmt: skip
def test_every_type_of_a_history_is_understood(fields: dict[str, Any], type_: type) -> None:
    assert type(parsed(fields)) is type_


def test_a_mail_keeps_its_deadline_and_a_refusal_its_meaning() -> None:
    mail, refused = parsed(MAIL), parsed(REFUSED)
    assert isinstance(mail, Mailed)
    assert isinstance(refused, Mailed)
    assert mail.deadline is not None
    assert mail.deadline.isoformat() == "2031-04-14T20:00:00+09:00"
    assert (mail.failure, refused.failure) == (None, Failure.UNKNOWN)


def test_an_unknown_end_is_known_to_be_unknown() -> None:
    for type_ in ("hold.cancelled", "hold.ended"):
        ended = parsed({"at": MAIL["at"], "type": type_, "hold_id": "H1"})
        assert isinstance(ended, HoldEnded)
        assert ended.how is Ending.UNKNOWN


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"at": "yesterday"}, "at"),
        ({"at": "2031-04-07T09:07:00"}, "at"),
        ({"at": None}, "at"),
        ({"type": ""}, "type"),
        ({"kind": "love_letter"}, "kind"),
        ({"notice_id": 7}, "notice_id"),
        ({"patron_id": ""}, "patron_id"),
        ({"address": "nobody"}, "address"),
        ({"hold_ids": "H1"}, "hold_ids"),
        ({"hold_ids": [1]}, "hold_ids"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], field: str) -> None:
    problem = parsed({**MAIL, **change})
    assert isinstance(problem, Problem)
    assert problem.field == field
    assert str(problem).startswith(f"line 1: {field}: expected")


@pytest.mark.parametrize(
    ("change", "field"), [({"code": "550"}, "code"), ({"code": True}, "code"), ({"phase": "later"}, "phase")]
)
def test_a_bad_field_of_a_refusal_is_named(change: dict[str, Any], field: str) -> None:
    problem = parsed({**REFUSED, **change})
    assert isinstance(problem, Problem)
    assert problem.field == field


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*REFUSED, "action", "hold_id", "deadline"]), json_values))
def test_no_record_breaks_the_parser(change: dict[str, Any]) -> None:
    for whole in (MAIL, REFUSED, {}):
        parse_line(3, json.dumps({**whole, **change}))


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_line_breaks_the_parser(line: str | bytes) -> None:
    parse_line(3, line)


def mornings(seen: list[Observation]) -> list[Morning]:
    return list(replay(seen, EIGHT_THIRTY))


def test_a_morning_knows_nothing_of_what_comes_later() -> None:
    seen = World({"a.example": [(0, 0.4)], "b.example": [(0, 0.02)]}, days=40).observations()
    whole = mornings(seen)
    for day in (7, 20, 33):
        at = whole[day].at
        known = [s for s in seen if s.at < at]
        bell = HoldEnded(at, "nothing", Ending.UNKNOWN)
        assert mornings([*known, bell])[day].calls == whole[day].calls


def test_what_happens_at_the_very_moment_comes_after_it() -> None:
    sent = START + timedelta(hours=9)
    at = START + timedelta(days=1, hours=8, minutes=30)
    lists = mornings(
        [mailed(1, sent), HoldEnded(at, "h1", Ending.COLLECTED), mailed(2, at + timedelta(days=1))]
    )
    assert [[call.notice_id for call in m.calls] for m in lists] == [[], ["n1"], []]


def test_a_notice_is_listed_until_its_hold_is_over_and_never_after() -> None:
    world = World({"a.example": [(0, 0.5)]}, days=30)
    seen = world.observations()
    ends = {s.hold_id.replace("h", "n"): s.at for s in seen if isinstance(s, HoldEnded)}
    for m in mornings(seen):
        assert len({call.notice_id for call in m.calls}) == len(m.calls) <= 40
        assert all(ends[call.notice_id] >= m.at < call.deadline for call in m.calls)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


LAST = {"at": "2031-04-09T10:00:00+09:00", "type": "patron.seen", "patron_id": "P9"}


def test_the_command_writes_a_call_list(tmp_path: Path) -> None:
    result = run(write(tmp_path / "h.jsonl", [REFUSED, LAST]))
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert result.stderr == ""
    assert [row["date"] for row in rows] == ["2031-04-08", "2031-04-09"]
    risk = rows[0].pop("risk")
    assert 0.2 < risk < 0.9
    assert rows[0] == {
        "date": "2031-04-08",
        "rank": 1,
        "notice_id": "N1",
        "patron_id": "P1",
        "deadline": "2031-04-14T20:00:00+09:00",
        "reasons": ["refused_user"],
    }


def test_bad_lines_are_named_and_good_lines_still_count(tmp_path: Path) -> None:
    history = write(tmp_path / "h.jsonl", ["{", REFUSED, {**MAIL, "at": "soon"}, "", "[]", LAST])
    result = run(history)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    told = result.stderr.splitlines()
    assert told[0].endswith("line 1: not JSON")
    assert "line 3: at: expected a time" in told[1]
    assert told[2].endswith("line 5: expected a JSON object")
    assert "3" in told[3]


def test_the_hour_of_the_calls_can_be_chosen(tmp_path: Path) -> None:
    history = write(tmp_path / "h.jsonl", [REFUSED, LAST])
    assert [json.loads(x)["date"] for x in run(history, "--calls-at", "09:30").stdout.splitlines()] == [
        "2031-04-07",
        "2031-04-08",
        "2031-04-09",
    ]


@pytest.mark.parametrize("arguments", [["--calls-at", "half past eight"], ["--calls-at", "25:00"]])
def test_a_wrong_option_is_a_usage_error(tmp_path: Path, arguments: list[str]) -> None:
    assert run(write(tmp_path / "h.jsonl", [LAST]), *arguments).exit_code == 2
    assert run(tmp_path / "missing.jsonl").exit_code == 2


def test_an_empty_history_has_no_mornings(tmp_path: Path) -> None:
    result = run(write(tmp_path / "h.jsonl", []), "--alerts", tmp_path / "a.jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "a.jsonl").read_text() == ""


@pytest.mark.skipif(not SHARED.exists(), reason="needs the published town beside the checkout")
def test_on_a_made_up_town_the_list_beats_every_simple_habit(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    try:
        from bench.town import impoverish, make, measure
    finally:
        sys.path.pop(0)
    params = {
        "patrons": 1500,
        "days": 150,
        "score_from_day": 60,
        "providers": {
            "quiet.example": {"share": 0.2, "silent": [[0, 0.5]]},
            "turns.example": {"share": 0.2, "silent": [[0, 0.02], [80, 0.7]]},
            "fine.example": {"share": 0.6, "silent": [[0, 0.02]]},
        },
    }
    make(tmp_path, 11, params)
    for history in (tmp_path / "history.jsonl", impoverish(tmp_path)):
        result = measure(tmp_path, history, history.stem)
        for shares in result.saved.values():
            ours = shares["this worklist"]
            assert ours > max(
                s for name, s in shares.items() if name not in ("this worklist", "knows the truth")
            )
        assert {alert["domain"] for alert in result.alerts} == {"turns.example"}
        assert set(result.alerts[0]) >= {"date", "domain", "since", "observed", "expected", "n"}
