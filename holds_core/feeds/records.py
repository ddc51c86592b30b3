"""What another system's records become: rows as a snapshot has them, and why one cannot be used. Pure.

A record is a JSON object of someone else's interface; a row is what `holds_core.feeds.changes` compares. Of a
value that cannot be used only its name is told: it may be personal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any

from holds_core.deadline import shelf_day
from holds_core.errors import BadInput
from holds_core.feeds.cells import BadCell, identifier
from holds_core.feeds.mapping import Row, digest_of
from holds_core.holds import Hold
from holds_core.patrons import clean_text

Json = Mapping[str, Any]
"""A JSON object."""


class BadRecord(ValueError):  # noqa: N818
    """A record that cannot be used; the text names the field."""


@dataclass(frozen=True, slots=True)
class Told:
    """One record as it was understood. `row` None: it cannot be used, because of `fault`; `key` is empty where
    it cannot even be told which it is. `work` names what the hold is for, where titles are asked for apart.
    """

    key: str
    row: Row | None
    fault: str = ""
    work: str = ""


def hold_row(
    hold_id: str,
    patron_id: str,
    state: Hold,
    *,
    branch: str | None,
    work: str = "",
    title: str | None = None,
    deadline: str | None = None,
    ready_on: str | None = None,
    reason: str = "",
    by: str | None = None,
) -> Row:
    """A hold's row. What a title says is not compared: it is asked for only once something else has changed."""
    said: dict[str, Any] = {"hold_id": hold_id, "patron_id": patron_id, "state": state.value}
    said |= {"branch": branch} if branch else {}
    said |= {"title": title} if title else {}
    if state is Hold.READY:
        said |= {"deadline": deadline, "ready_on": ready_on}
    said |= {"reason": reason} if reason else {}
    said |= {"by": by} if by else {}
    until = (deadline or "") if state is Hold.READY else ""
    return Row(hold_id, 0, state.value, until, digest_of((patron_id, branch, work)), _encode(said))


def patron_row(patron_id: str, emails: Sequence[str], **rest: Any) -> Row:
    """A patron's row; what is None in `rest` the other system does not say."""
    said = {name: value for name, value in rest.items() if value is not None}
    fields = {"patron_id": patron_id, "emails": list(emails)} | said
    return Row(
        patron_id, 0, digest_of((list(emails), None)), "", digest_of(sorted(said.items())), _encode(fields)
    )


def with_title(row: Row, title: str) -> Row:
    """The same row, with a title."""
    said = json.loads(row.fields) | {"title": title}
    return Row(row.key, row.line, row.mark, row.until, row.digest, _encode(said))


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# -- values of a record ------------------------------------------------------------------------------


def number(record: Json, name: str) -> str:
    """An id, as a number or as text. Raises BadRecord."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise BadRecord(f"{name} is missing")
    try:
        return identifier(str(value).strip())
    except BadCell as error:
        raise BadRecord(f"{name}: {error.args[1]}") from None


def text(record: Json, name: str, limit: int = 200) -> str:
    """One line of text; empty where there is none. Raises BadRecord for half a character."""
    value = record.get(name)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise BadRecord(f"{name} is no text")
    try:
        return clean_text(value, limit)
    except BadInput:
        raise BadRecord(f"{name} has half a character") from None


def texts(record: Json, names: Iterable[str], limit: int = 200) -> list[str]:
    """The texts of these fields that are not empty, each once."""
    return list(dict.fromkeys(found for name in names if (found := text(record, name, limit))))


def day(record: Json, name: str, zone: tzinfo | None = None) -> str | None:
    """The day of a date or a time (RFC 3339), as ISO text: in `zone`, or as it stands there. None for none, and
    for one that means "not set". Raises BadRecord."""
    value = record.get(name)
    if value is None or value == "":
        return None
    try:
        found = shelf_day(_local_day(str(value), zone))
    except (ValueError, OverflowError):
        raise BadRecord(f"{name} is no date") from None
    except BadInput as error:
        raise BadRecord(f"{name}: {error}") from None
    return found.isoformat() if found else None


def _local_day(value: str, zone: tzinfo | None) -> date:
    """The library's day of a moment: FOLIO tells the end of 30 November in UTC, which may be another date."""
    if zone is None or len(value) <= 10:
        return date.fromisoformat(value[:10])
    moment = datetime.fromisoformat(value)
    return (moment.astimezone(zone) if moment.tzinfo else moment).date()
