"""Two snapshots -> what differs -> library events, and whether to believe it. Pure.

Enters rows of the last and of the new snapshot; leaves changes, and for each the events that take the ledger
from the one to the other. A row that cannot be read says nothing: it changes nothing and is not gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from holds_core import events as ev
from holds_core.feeds.mapping import Kind, Row
from holds_core.holds import OPEN, Hold
from holds_core.settings.feeds import Guard, WhenGone

_TYPE_OF = {state: type_ for type_, state in ev.STATE_AFTER.items()}


@dataclass(frozen=True, slots=True)
class Known:
    """A row of the last snapshot, as much of it as is kept: no name, address or title."""

    key: str
    mark: str
    until: str
    digest: str


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `old` None: the row is new. `new` None: the row is gone."""

    key: str
    old: Known | None
    new: Row | None

    @property
    def marked(self) -> bool:
        """Whether what the guard watches has changed: the addresses, the state."""
        return self.old is not None and self.new is not None and self.old.mark != self.new.mark


def known(row: Row) -> Known:
    """What is kept of a row."""
    return Known(row.key, row.mark, row.until, row.digest)


def differences(old: Iterable[Known], new: Iterable[Row], unread: Iterable[str] = ()) -> list[Change]:
    """What differs, by key in ascending order. `unread` are keys of rows that could not be read."""
    before = {row.key: row for row in old}
    after = {row.key: row for row in new}
    gone = before.keys() - after.keys() - set(unread)
    changed = {key for key, row in after.items() if key not in before or known(row) != before[key]}
    return [Change(key, before.get(key), after.get(key)) for key in sorted(gone | changed)]


# -- the guard -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Counts:
    """How two snapshots differ, in rows. `odd` rows have an address without "@"."""

    old: int = 0
    new: int = 0
    unread: int = 0
    odd: int = 0
    added: int = 0
    lost: int = 0
    changed: int = 0
    marked: int = 0

    def add(self, change: Change) -> None:
        if change.old is None:
            self.added += 1
        elif change.new is None:
            self.lost += 1
        else:
            self.changed += 1
            self.marked += change.marked

    @property
    def differ(self) -> bool:
        """Whether there is anything to apply."""
        return bool(self.added or self.lost or self.changed)

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def objections(counts: Counts, kind: Kind, guard: Guard) -> list[str]:
    """Why a file is not to be believed, with the figures; empty if it is."""
    found = []
    if (counts.old or counts.unread) and not counts.new:
        found.append(
            f"使える行が1つもありません (前回{counts.old:,}行)。 / "
            f"not one usable row (last time {counts.old:,})"
        )
    elif _too_many(counts.lost, counts.old, guard.lost_rows, guard.at_least):
        found.append(
            f"前回の{counts.old:,}行のうち{counts.lost:,}行 ({_percent(counts.lost, counts.old)}) がありません "
            f"(上限 {guard.lost_rows:.0%})。 / of {counts.old:,} rows {counts.lost:,} "
            f"({_percent(counts.lost, counts.old)}) are missing (at most {guard.lost_rows:.0%})"
        )
    kept = counts.old - counts.lost
    if _too_many(counts.marked, kept, guard.changed, guard.at_least):
        ja, en = ("メールアドレス", "addresses") if kind is Kind.PATRONS else ("状態", "states")
        found.append(
            f"{kept:,}行のうち{counts.marked:,}行 ({_percent(counts.marked, kept)}) で{ja}が変わっています "
            f"(上限 {guard.changed:.0%})。列がずれていませんか。 / in {counts.marked:,} of {kept:,} rows "
            f"({_percent(counts.marked, kept)}) the {en} changed (at most {guard.changed:.0%}): a shifted column?"
        )
    if _too_many(counts.odd, counts.new, guard.changed, guard.at_least):
        found.append(
            f"{counts.new:,}行のうち{counts.odd:,}行 ({_percent(counts.odd, counts.new)}) で、メールアドレスに "
            f"@ がありません。列がずれていませんか。 / {counts.odd:,} of {counts.new:,} rows "
            f"({_percent(counts.odd, counts.new)}) have an address without @: a shifted column?"
        )
    return found


def _too_many(part: int, whole: int, share: float, at_least: int) -> bool:
    return part >= at_least and part > share * whole


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0%"


# -- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wording:
    """What events are made with: the feed, the number of the run, the time the snapshot speaks of.

    `at` stands in the library's time zone: its date says whether a deadline has passed. `announce_new`: patrons who are new in the file are told of their registration.
    """

    feed: str
    run: str
    at: datetime
    when_gone: WhenGone
    announce_new: bool = False

    def id(self, key: str, type_: str) -> str:
        """Always the same for the same difference in the same run, so that it is applied once."""
        text = f"{self.feed}:{self.run}:{key}:{type_}"
        if len(text) <= 200:
            return text
        return f"{self.feed}:{self.run}:{hashlib.sha256(key.encode()).hexdigest()[:40]}:{type_}"


def events_of(change: Change, kind: Kind, wording: Wording, *, patron_known: bool = False) -> list[ev.Event]:
    """The events that make a difference true, in order; none where it means nothing to us.

    `patron_known`: the ledger has the patron of a new row already, from elsewhere.
    """
    if kind is Kind.PATRONS:
        return _patron_events(change, wording, patron_known=patron_known)
    return _hold_events(change, wording)


def _patron_events(change: Change, wording: Wording, *, patron_known: bool) -> list[ev.Event]:
    if change.new is None:
        return []  # a patron who left the file has left the library, or not: nothing to tell anyone
    fields = _fields(change.new)
    emails = fields.pop("emails", None)
    emails = None if emails is None else tuple(emails)
    phones = fields.pop("phones", None)
    fields["phones"] = None if phones is None else tuple(phones)
    new = change.old is None and not patron_known
    tell = wording.announce_new and new and emails and not fields.get("provisional")
    record = ev.Patron(
        id=wording.id(change.key, ev.Patron.type), at=wording.at, emails=None if tell else emails, **fields
    )
    if not tell:
        return [record]
    assert emails is not None
    return [
        record,
        ev.EmailChanged(
            id=wording.id(change.key, ev.EmailChanged.type),
            at=wording.at,
            patron_id=fields["patron_id"],
            emails=emails,
        ),
    ]


def _hold_events(change: Change, wording: Wording) -> list[ev.Event]:
    if change.new is None:
        return _gone(change, wording)
    row, old = change.new, change.old
    fields = _fields(row)
    state = Hold(fields.pop("state"))
    deadline, ready_on = _day(fields.pop("deadline", None)), _day(fields.pop("ready_on", None))
    moved = old is None or old.mark != row.mark
    made: list[ev.Event] = []
    if moved or (old is not None and old.digest != row.digest):
        # of a state that it has already, the event brings the other fields up to date and moves nothing
        made.append(
            ev.HoldEvent(
                type=_TYPE_OF[state],
                id=wording.id(change.key, _TYPE_OF[state]),
                at=wording.at,
                deadline=deadline if moved and state is Hold.READY else None,
                ready_on=ready_on if state is Hold.READY else None,
                **fields,
            )
        )
    if not moved and old is not None and old.until != row.until and row.until:
        type_ = "hold.extended"
        made.append(
            ev.HoldEvent(
                type=type_,
                id=wording.id(change.key, type_),
                at=wording.at,
                hold_id=fields["hold_id"],
                patron_id=fields["patron_id"],
                deadline=deadline,
            )
        )
    return made


def _gone(change: Change, wording: Wording) -> list[ev.Event]:
    """A hold that left the file while it was open. One that had ended before is simply forgotten."""
    assert change.old is not None
    state = Hold(change.old.mark)
    if state not in OPEN:
        return []
    if state is not Hold.READY:
        became = wording.when_gone.waiting.value
    elif change.old.until and date.fromisoformat(change.old.until) < wording.at.date():
        became = wording.when_gone.overdue.value
    else:
        became = wording.when_gone.ready.value
    type_ = _TYPE_OF[Hold(became)]
    return [ev.HoldEvent(type=type_, id=wording.id(change.key, type_), at=wording.at, hold_id=change.key)]


def is_open(row: Known) -> bool:
    """Whether a hold was still open when it was seen last."""
    return Hold(row.mark) in OPEN


def is_silent(change: Change, kind: Kind) -> bool:
    """Whether a change owes nobody a mail: a hold that was over before we ever saw it."""
    if kind is not Kind.HOLDS or change.old is not None or change.new is None:
        return False
    return Hold(change.new.mark) in (Hold.COLLECTED, Hold.LAPSED, Hold.CANCELLED, Hold.ENDED)


def _fields(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(row.fields)
    return fields


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def merged(old: Mapping[str, Known], changes: Sequence[Change]) -> dict[str, Known]:
    """The last snapshot's rows once the changes are applied."""
    rows = dict(old)
    for change in changes:
        if change.new is None:
            rows.pop(change.key, None)
        else:
            rows[change.key] = known(change.new)
    return rows
