"""How an attempt ended -> what becomes of its delivery. Pure: times and jitter are arguments."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from holds_core.evidence import Sign
from holds_core.ledger.observations import Observation
from holds_core.ledger.sending import Claimed, Finish, Start
from holds_core.notices import AFTER, Outcome, Result, Transmission
from holds_core.reasons import Fault, Verdict, classify
from holds_core.retry import next_try
from holds_core.rulebook import Rulebook

DOUBT_WAIT = timedelta(minutes=30)
"""Before a mail in doubt is sent again: time for a bounce or a receipt to settle it."""


def finished(
    rulebook: Rulebook, item: Claimed, start: Start, outcome: Outcome, now: datetime, jitter: float
) -> Finish:
    """The delivery's next state, with when to try again, why it failed and whose fault it was.

    4xx is retried until the rule gives up (`expired`), 5xx is final for the notice and becomes evidence
    about the address, a lost connection after the final dot is in doubt.
    """
    handed_over = outcome.result is Result.HANDED_OVER
    finish = Finish(
        delivery_id=item.delivery_id,
        notice_id=item.notice_id,
        number=start.number,
        at=now,
        outcome=outcome,
        state=AFTER[outcome.result],
        handed_over_at=now if handed_over else None,
        window_ends_at=rulebook.window_end(item.kind, item.branch, now, start.deadline)
        if handed_over
        else None,
        deadline=start.deadline,
        doubts=item.doubts,
        hold_ids=tuple([line.hold_id for line in item.holds]),
        patron_id=item.patron_id,
        promised=start.promised,
    )
    match outcome.result:
        case Result.HANDED_OVER:
            return finish
        case Result.UNCERTAIN:
            # taken for handed over after the second doubt, hence a window already now
            return replace(
                finish,
                doubts=item.doubts + 1,
                next_at=now + DOUBT_WAIT,
                window_ends_at=rulebook.window_end(item.kind, item.branch, now, start.deadline),
                reason="interrupted",
                fault=Fault.US,
            )
        case Result.REFUSED:
            verdict = _verdict(item, outcome)
            return replace(
                finish,
                reason=verdict.reason,
                fault=verdict.fault,
                evidence=_refusal(finish, outcome, verdict),
            )
        case _:
            return _deferred(finish, rulebook, item, start, jitter)


def _deferred(finish: Finish, rulebook: Rulebook, item: Claimed, start: Start, jitter: float) -> Finish:
    verdict = _verdict(item, finish.outcome)
    again = next_try(
        rulebook.retry,
        finish.outcome.result,
        tries=start.number,
        first_try=item.first_attempt_at or start.at,
        now=finish.at,
        jitter=jitter,
    )
    return replace(
        finish,
        state=Transmission.EXPIRED if again is None else finish.state,
        next_at=again,
        reason=verdict.reason,
        fault=verdict.fault,
    )


def _verdict(item: Claimed, said: Outcome) -> Verdict:
    return classify(
        phase=said.phase,
        code=said.code,
        status=said.status,
        text=said.text,
        remote=said.remote,
        recipient=item.address,
    )


def _refusal(finish: Finish, said: Outcome, verdict: Verdict) -> Observation:
    return Observation(
        at=finish.at,
        sign=Sign.REFUSED,
        source="smtp",
        fingerprint=f"refused:{finish.delivery_id}:{finish.number}",
        delivery_id=finish.delivery_id,
        reason=verdict.reason,
        fault=verdict.fault,
        severity=verdict.severity,
        phase=said.phase,
        code=said.code,
        status=said.status,
        text=said.text,
    )
