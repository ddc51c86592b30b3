"""How an attempt ended, and what becomes of its delivery."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from holds_core.config import parse
from holds_core.evidence import Sign
from holds_core.ledger.sending import Claimed, Finish, Start
from holds_core.notices import TRANSMISSION, Kind, Outcome, Phase, Result, Transmission
from holds_core.rulebook import Rulebook
from mailer.outcome import DOUBT_WAIT, finished

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
BOOK = Rulebook.of(
    parse(
        """
library: {name: L, branches: [{id: main, name: 中央図書館}]}
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
sending: {retry_delays: [5m, 15m], give_up_after: 1h}
""",
        base=Path("/"),
        env={},
    )
)
ITEM = Claimed(
    delivery_id=7,
    notice_id="N1",
    kind=Kind.HOLD_READY,
    patron_id="P1",
    patron_name="図書 花子",
    language="",
    branch="main",
    reason="",
    address="a@docomo.ne.jp",
    domain="docomo.ne.jp",
    token="t",
    state=Transmission.PENDING,
    tries=0,
    doubts=0,
    created_at=NOW,
    first_attempt_at=None,
    standing="unproven",
    holds=(),
)
LATER = NOW + timedelta(seconds=9)


def end(outcome: Outcome, item: Claimed = ITEM, now: datetime = LATER) -> Finish:
    begun = Start(item.delivery_id, item.tries + 1, NOW, date(2026, 12, 1), NOW + timedelta(minutes=20))
    return finished(BOOK, item, begun, outcome, now, 0.0)


def test_handed_over_opens_the_window() -> None:
    done = end(Outcome(Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", "ok", "relay"))
    assert (done.state, done.handed_over_at, done.deadline) == (
        Transmission.HANDED_OVER,
        LATER,
        date(2026, 12, 1),
    )
    assert done.window_ends_at == LATER + timedelta(days=3)
    assert (done.next_at, done.evidence, done.reason, done.fault, done.number) == (None, None, "", "", 1)


def test_a_notice_that_nobody_answers_has_no_window() -> None:
    done = end(Outcome(Result.HANDED_OVER, Phase.DATA, 250), replace(ITEM, kind=Kind.HOLD_LAPSED))
    assert done.window_ends_at is None


@pytest.mark.parametrize(
    ("phase", "code", "status", "text", "reason", "fault", "severity"),
    [
        # docomo says the same of an unknown user and of a filter: the phase tells (design rule 6)
        (Phase.RCPT, 550, "", "550 Unknown user a@docomo.ne.jp", "userunknown", "patron", "hard"),
        (Phase.DATA, 550, "", "550 Unknown user a@docomo.ne.jp", "filtered", "patron", "soft"),
        (Phase.RCPT, 550, "5.1.1", "User unknown", "userunknown", "patron", "hard"),
        (Phase.DATA, 550, "5.7.515", "Access denied, sending domain", "authfailure", "us", None),
        (Phase.MAIL, 553, "5.7.1", "Sender address rejected: not owned by user", None, "us", None),
    ],
)
def test_a_refusal_is_final_and_is_evidence(
    phase: Phase, code: int, status: str, text: str, reason: str | None, fault: str, severity: str | None
) -> None:
    done = end(Outcome(Result.REFUSED, phase, code, status, text, "mfsmax.docomo.ne.jp"))
    assert (done.state, done.next_at, done.handed_over_at, done.window_ends_at) == (
        Transmission.REFUSED,
        None,
        None,
        None,
    )
    seen = done.evidence
    assert seen is not None
    assert (seen.sign, seen.at, seen.delivery_id, seen.source) == (Sign.REFUSED, LATER, 7, "smtp")
    assert (seen.phase, seen.code, seen.status, seen.text) == (phase, code, status, text)
    assert (seen.reason, seen.fault) == (done.reason, done.fault)
    assert done.fault == fault
    assert reason in (None, done.reason)
    assert severity in (None, seen.severity)
    assert seen.fingerprint == "refused:7:1"


def test_a_refusal_of_a_second_attempt_is_new_evidence() -> None:
    said = Outcome(Result.REFUSED, Phase.RCPT, 550, "5.1.1", "unknown")
    second = end(said, replace(ITEM, tries=1)).evidence
    assert second is not None
    assert second.fingerprint == "refused:7:2"


GREYLISTED = Outcome(Result.DEFERRED, Phase.RCPT, 450, "4.2.0", "Greylisted, try again later")


@pytest.mark.parametrize(("tries", "wait"), [(0, 5), (1, 15), (5, 15)])
def test_deferred_is_tried_again_with_growing_waits(tries: int, wait: int) -> None:
    done = end(GREYLISTED, replace(ITEM, tries=tries, first_attempt_at=NOW))
    assert (done.state, done.next_at) == (Transmission.RETRYING, LATER + timedelta(minutes=wait))
    assert (done.evidence, done.handed_over_at) == (None, None)


def test_deferred_too_long_is_given_up() -> None:
    old = replace(ITEM, tries=9, first_attempt_at=NOW - timedelta(hours=1), state=Transmission.RETRYING)
    done = end(GREYLISTED, old)
    assert (done.state, done.next_at, done.evidence) == (Transmission.EXPIRED, None, None)
    assert TRANSMISSION.allows(Transmission.RETRYING, Transmission.EXPIRED)


def test_a_relay_that_is_down_is_never_given_up() -> None:
    old = replace(ITEM, tries=99, first_attempt_at=NOW - timedelta(days=9))
    done = end(Outcome(Result.NOT_STARTED, Phase.CONNECT, text="connection refused"), old)
    assert done.state is Transmission.PENDING
    assert done.next_at is not None
    assert done.next_at > LATER


@pytest.mark.parametrize("doubts", [0, 1])
def test_a_connection_lost_after_the_final_dot_is_in_doubt(doubts: int) -> None:
    done = end(Outcome(Result.UNCERTAIN, Phase.DATA, text="connection lost"), replace(ITEM, doubts=doubts))
    assert (done.state, done.doubts, done.next_at) == (Transmission.UNCERTAIN, doubts + 1, LATER + DOUBT_WAIT)
    assert (done.reason, done.fault, done.evidence) == ("interrupted", "us", None)
    # after the second doubt it counts as handed over: then its window is there already
    assert done.window_ends_at == LATER + timedelta(days=3)


@pytest.mark.parametrize("result", Result)
def test_every_result_leads_to_a_legal_state(result: Result) -> None:
    done = end(Outcome(result, Phase.DATA, 450 if result is Result.DEFERRED else None))
    assert TRANSMISSION.allows(Transmission.SENDING, done.state)
    assert (done.delivery_id, done.notice_id, done.at, done.outcome.result) == (7, "N1", LATER, result)
