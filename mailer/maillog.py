"""The log's verbs. Every line that speaks of mail is written here, so that one place keeps it private.

Nothing here takes an address, a name or a title: a delivery is named by its number, a notice by its id, a
provider by its domain; a domain that may be a patron's own is not named. Verbs instead of format strings
make the log a thing that can be searched and tested.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, TextIO, cast

import structlog

from holds_core.notices import Outcome, Transmission
from mailer import loglines

_log = structlog.get_logger("todoku")


def batch_released(slot: str, count: int, due_at: datetime, late: float) -> None:
    _log.info("batch_released", slot=slot, mails=count, due=due_at.isoformat(), late_s=round(late))


def batch_skipped(slot: str, why: str) -> None:
    _log.warning("batch_skipped", slot=slot, why=why)


def attempt_ended(delivery: int, notice: str, domain: str, outcome: Outcome, state: Transmission) -> None:
    """One line per attempt. The reply's text is left out: it may quote the address."""
    level = _log.info if state is Transmission.HANDED_OVER else _log.warning
    level(
        "attempt_ended",
        delivery=delivery,
        notice=notice,
        domain=domain,
        result=outcome.result.value,
        phase=outcome.phase.value,
        code=outcome.code,
        status=outcome.status,
        state=state.value,
    )


def not_sent(delivery: int, notice: str, state: Transmission, why: str) -> None:
    _log.info("not_sent", delivery=delivery, notice=notice, state=state.value, why=why)


def compose_failed(delivery: int, notice: str, error: Exception) -> None:
    _log.error("compose_failed", delivery=delivery, notice=notice, error=type(error).__name__)


def prompt_late(delivery: int, notice: str, waited_s: float, allowed_s: float) -> None:
    _log.warning(
        "prompt_late", delivery=delivery, notice=notice, waited_s=round(waited_s), allowed_s=round(allowed_s)
    )


def relay_down(host: str, outcome: Outcome, again_in_s: float) -> None:
    _log.error(
        "relay_down",
        relay=host,
        phase=outcome.phase.value,
        code=outcome.code,
        text=outcome.text,
        again_in_s=round(again_in_s, 1),
    )


def relay_back(host: str) -> None:
    _log.info("relay_back", relay=host)


def stopped_by_breaker(refused: int, mails: int, reason: str, code: str) -> None:
    _log.error("stopped_by_breaker", refused=refused, mails=mails, reason=reason, code=code)


def tested_by_breaker(position: str, passed: bool | None) -> None:
    """`passed` None: the test mail told nothing."""
    _log.warning("tested_by_breaker", position=position, passed="" if passed is None else passed)


def recovered(deliveries: int) -> None:
    if deliveries:
        _log.warning("recovered", uncertain=deliveries)


def ledger_busy(error: Exception, again_in_s: float) -> None:
    _log.error("ledger_busy", error=type(error).__name__, again_in_s=again_in_s)


def not_recorded(error: Exception) -> None:
    _log.error("not_recorded", error=type(error).__name__)


def received(inbound: int, source: str, kind: str, delivery: int | None, by: str) -> None:
    _log.info("mail_received", mail=inbound, source=source, kind=kind, delivery=delivery, matched_by=by)


def quarantined(inbound: int, source: str, why: str) -> None:
    _log.warning("mail_quarantined", mail=inbound, source=source, why=why)


def windows_passed(count: int) -> None:
    if count:
        _log.info("unanswered", deliveries=count)


def silence_weighed(waiting: int, alarming: int, changed: int, observations: int, seconds: float) -> None:
    """The risks of the notices that wait were worked out anew."""
    _log.info(
        "silence_weighed",
        waiting=waiting,
        alarming=alarming,
        changed=changed,
        observations=observations,
        took_s=round(seconds, 2),
    )


def provider_alert(what: str, alert: int, domain: str, suspect: str, sent: int, shown: int) -> None:
    """A provider loses our mail, or no longer does. `what`: opened, blamed (on someone else), closed."""
    level = _log.info if what == "closed" else _log.warning
    level("provider_alert", what=what, alert=alert, domain=domain, suspect=suspect, sent=sent, shown=shown)


def purged(erased: Mapping[str, int]) -> None:
    if any(erased.values()):
        _log.info("purged", **{name: count for name, count in erased.items() if count})


def imported(feed: str, applied: int, repeats: int, failed: int) -> None:
    _log.info("imported", feed=feed, applied=applied, repeats=repeats, failed=failed)


def task_failed(name: str, error: BaseException, again_in_s: float) -> None:
    _log.error("task_failed", task=name, error=type(error).__name__, again_in_s=again_in_s, exc_info=error)


def event(name: str, **facts: Any) -> None:
    """A line about the process itself: started, stopping, reloaded, paused."""
    _log.info(name, **facts)


def reloaded(tasks: Sequence[str], waiting: Sequence[str]) -> None:
    """`tasks` begin anew; `waiting` are keys that have changed and take effect after a restart."""
    _log.info("reloaded", tasks=" ".join(tasks))
    if waiting:
        _log.warning("reload_incomplete", changed=" ".join(waiting), todo="takes effect after a restart")


def reload_refused(why: str) -> None:
    """The configuration cannot be used: nothing has changed."""
    _log.error("reload_refused", why=why)


def feed_down(feed: str, why: str, again_in_s: float) -> None:
    _log.warning("feed_down", feed=feed, why=why, again_in_s=round(again_in_s))


def feed_late(feed: str, as_of: datetime | None, why: str) -> None:
    _log.warning("feed_late", feed=feed, as_of=as_of.isoformat() if as_of else "never", why=why)


class _StandardError:
    """Standard error as it is when a line is written: one that was replaced since may be closed, and a log
    must never be what a program fails of."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Shape:
    """How a line is written, and from which level up. Loggers keep their processors once they were used, so
    what may change while the daemon runs is asked for line by line."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self._json = structlog.processors.JSONRenderer(ensure_ascii=False)
        self._logfmt = structlog.processors.LogfmtRenderer(key_order=["level", "event"], drop_missing=True)
        self.json = False

    def sift(self, logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if logging.getLevelNamesMapping()[method.upper()] < self.level:
            raise structlog.DropEvent
        return line

    def render(self, logger: Any, method: str, line: MutableMapping[str, Any]) -> str | bytes:
        return self._json(logger, method, line) if self.json else self._logfmt(logger, method, line)


_shape = _Shape()


def reshape(*, json: bool, level: str) -> None:
    """From the next line on: as key=value (journald) or JSON, from `level` up."""
    _shape.json, _shape.level = json, getattr(logging, level.upper())


def setup(*, json: bool, level: str) -> None:
    """Configures the log: to standard error, as key=value (journald) or JSON, from `level` up."""
    reshape(json=json, level=level)
    structlog.configure(
        processors=[
            _shape.sift,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            loglines.without_words,
            loglines.without_controls,
            _shape.render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    # libraries' own lines: only what is serious, they may quote addresses
    handler = logging.StreamHandler(cast(TextIO, _StandardError()))
    handler.setFormatter(loglines.LibraryFormat())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
