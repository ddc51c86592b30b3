"""The web side's log lines. A line never carries a token, an address, a path or a query: it names the
first part of a path at most, for a confirmation link is a secret."""

from __future__ import annotations

import traceback
from pathlib import Path

import structlog

_log = structlog.get_logger("todoku.web")


def listening(name: str, where: str) -> None:
    _log.info("listening", server=name, at=where)


def stopped(name: str, cut_off: int) -> None:
    """`cut_off`: requests that did not end within the time they were given."""
    _log.info("stopped_listening", server=name, cut_off=cut_off)


def answered(delivery: int, sign: str, *, new: bool) -> None:
    """A reader pressed a button on the confirmation page."""
    _log.info("reader_answered", delivery=delivery, sign=sign, new=new)


def limited(what: str) -> None:
    """A client asks too much; which client is nobody's business."""
    _log.warning("requests_limited", what=what)


def refused(why: str) -> None:
    """The API refused a caller."""
    _log.warning("api_refused", why=why)


def failed(method: str, part: str, error: BaseException) -> None:
    """A request ended in an error of ours. Only its kind and place: a text may quote stored values."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    _log.error("request_failed", method=method, part=part, error=type(error).__name__, place=place)
