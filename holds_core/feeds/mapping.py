"""Cells of a snapshot -> rows of our own fields, by a library's mapping of columns and words. Pure.

Enters a heading and records; leaves for each record a `Reading`: a row, or what is wrong with it and, if it
can be told, whose row it was. A row is good or it is not: no half of a bad one is used.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holds_core.errors import BadInput
from holds_core.feeds.cells import (
    BY,
    CONTACT,
    FLAG,
    TITLES,
    VIA,
    BadCell,
    Convert,
    day,
    email,
    identifier,
    one_of,
    shown,
    table,
    text_of,
    volume,
)
from holds_core.feeds.csv import Record
from holds_core.feeds.faults import Fault
from holds_core.holds import LABELS, Hold
from holds_core.settings.feeds import Snapshot, Words


class Kind(StrEnum):
    """What the rows of a file are."""

    PATRONS = "patrons"
    HOLDS = "holds"


@dataclass(frozen=True, slots=True)
class Row:
    """One row in our own words.

    `fields` is the JSON of the event fields. `mark` is what the guard watches: a hold's state, or a digest
    of a patron's addresses. `until` is the deadline of a hold on the shelf. `digest` covers all the rest.
    """

    key: str
    line: int
    mark: str
    until: str
    digest: str
    fields: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one record said. `key` is empty if it cannot be told whose row it was.

    `odd`: the row has an address without "@": nothing wrong once in a while, a wrong column if often.
    `branch`: the code that it names, or "".
    """

    key: str
    row: Row | None
    faults: tuple[Fault, ...] = ()
    odd: bool = False
    branch: str = ""


def _state_words(snapshot: Snapshot) -> dict[str, Any]:
    theirs = {state: getattr(snapshot.holds.states, state.value) for state in Hold}
    own = {state: (state.value, LABELS[state][0], LABELS[state][1]) for state in Hold}
    return table(own, theirs)


# -- fields ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    """One of our fields: its default heading, how a cell becomes its value, and what an empty cell means."""

    name: str
    heading: str
    convert: Convert
    empty: Any = None
    required: bool = False
    several: bool = False


def _patron_fields(words: Words, default_contact: str) -> list[_Field]:
    contact = {name: getattr(words, name) for name in CONTACT}
    flag = one_of(table(FLAG, {True: words.yes, False: words.no}), "はい・いいえ", "yes or no")
    return [
        _Field("patron_id", "patron_id", identifier, required=True),
        _Field("emails", "email", email, several=True),
        _Field("name", "name", text_of(200), ""),
        _Field("name_kana", "name_kana", text_of(200), ""),
        _Field(
            "contact",
            "contact",
            one_of(table(CONTACT, contact), "連絡方法", "a way of contact"),
            default_contact,
        ),
        _Field("phones", "phone", text_of(40), several=True),
        _Field("phone_note", "phone_note", text_of(200), ""),
        _Field("guardian_id", "guardian_id", identifier),
        _Field("branch", "branch", identifier),
        _Field("language", "language", text_of(40), ""),
        _Field("title_policy", "title_policy", one_of(table(TITLES, {}), "書名の表示", "titles in mail"), ""),
        _Field("provisional", "provisional", flag, False),
        _Field("overdue", "overdue", flag, False),
    ]


def _hold_fields(snapshot: Snapshot) -> list[_Field]:
    words = snapshot.words
    contact = {name: getattr(words, name) for name in CONTACT}
    via, by = {"web": words.web, "desk": words.desk}, {"patron": words.patron, "library": words.library}
    return [
        _Field("hold_id", "hold_id", identifier, required=True),
        _Field("patron_id", "patron_id", identifier, required=True),
        _Field("state", "state", one_of(_state_words(snapshot), "予約状態", "a state"), required=True),
        _Field("title", "title", text_of(300), ""),
        _Field("material", "material", text_of(40), ""),
        _Field("branch", "branch", identifier),
        _Field("via", "via", one_of(table(VIA, via), "受付方法", "web or desk")),
        _Field("availability", "availability", text_of(40), ""),
        _Field("set_id", "set_id", identifier),
        _Field("volume", "volume", volume),
        _Field("contact", "contact", one_of(table(CONTACT, contact), "連絡方法", "a way of contact")),
        _Field("reason", "reason", text_of(200), ""),
        _Field("by", "by", one_of(table(BY, by), "取消をした人", "who cancelled")),
        _Field("ready_on", "ready_on", day),
        _Field("deadline", "deadline", day),
    ]


class Mapper:
    """Reads the records below one heading. Raises BadInput, naming every column that is missing."""

    def __init__(self, snapshot: Snapshot, kind: Kind, heading: Sequence[str], default_contact: str) -> None:
        self._kind = kind
        self._width = len(heading)
        self._heading = [cell.strip() for cell in heading]
        holds = kind is Kind.HOLDS
        fields = _hold_fields(snapshot) if holds else _patron_fields(snapshot.words, default_contact)
        columns = snapshot.holds.columns if holds else snapshot.patrons.columns
        self._fields = [
            (field, places)
            for field in fields
            if (places := self._places(field, getattr(columns, field.name)))
        ]
        self._key = self._fields[0][1][0] if self._fields else 0
        self._check(fields, columns)

    def _places(self, field: _Field, named: str | Sequence[str] | None) -> list[int]:
        """The columns of a field, counted from 0; those that the settings name and the file lacks are left out."""
        wanted = [named] if isinstance(named, str) else list(named or [field.heading])
        return [self._heading.index(name) for name in wanted if name in self._heading]

    def _check(self, fields: Iterable[_Field], columns: object) -> None:
        missing = []
        for field in fields:
            named = getattr(columns, field.name)
            wanted = [named] if isinstance(named, str) else list(named or ())
            if not wanted and field.required:
                wanted = [field.heading]
            missing += [name for name in wanted if name not in self._heading]
        twice = sorted({name for name in self._heading if name and self._heading.count(name) > 1})
        used = {self._heading[place] for _, places in self._fields for place in places}
        if missing:
            raise BadInput(_missing(missing, self._heading))
        if clash := [name for name in twice if name in used]:
            names = "、".join(clash)
            raise BadInput(
                f"見出し「{names}」の列が2つ以上あります。 / more than one column is headed {', '.join(clash)}"
            )

    @property
    def key(self) -> tuple[int, str]:
        """The column of the ids, counted from 1, and its heading."""
        return self._key + 1, self._heading[self._key]

    def read(self, record: Record) -> Reading:
        """What the record says."""
        cells = record.cells
        if record.fault is not None:
            return Reading(self._guess(cells), None, (self._named(record.fault),))
        # empty cells beyond the heading are what spreadsheets leave behind
        if len(cells) < self._width or any(cells[self._width :]):
            return Reading(self._guess(cells), None, (self._misfit(record),))
        said: dict[str, Any] = {}
        faults: list[Fault] = []
        for field, places in self._fields:
            try:
                # nearly all fields have one column, and there are millions of cells
                if len(places) == 1 and not field.several and (text := cells[places[0]].strip()):
                    said[field.name] = field.convert(text)
                else:
                    said[field.name] = self._value(field, places, cells)
            except BadCell as error:
                place = next((p for p in places if cells[p].strip()), places[0])
                ja, en = error.args
                faults.append(Fault(record.line, place + 1, self._heading[place], ja, en))
        if faults:
            return Reading(self._guess(cells), None, tuple(faults))
        odd = any("@" not in email for email in said.get("emails", ()))
        row = _row(self._kind, record.line, said)
        return Reading(row.key, row, odd=odd, branch=said.get("branch") or "")

    @staticmethod
    def _value(field: _Field, places: Sequence[int], cells: Sequence[str]) -> Any:
        found = [text for place in places if (text := cells[place].strip())]
        if field.several:
            return list(dict.fromkeys(field.convert(text) for text in found))
        if found:
            return field.convert(found[0])
        if field.required:
            raise BadCell("値がありません。", "the cell is empty")
        return field.empty

    def _guess(self, cells: Sequence[str]) -> str:
        """The key of a damaged row, if there is something like one where it should be."""
        cell = cells[self._key].strip() if self._key < len(cells) else ""
        try:
            return "" if "\ufffd" in cell else identifier(cell)
        except BadCell:
            return ""

    def _misfit(self, record: Record) -> Fault:
        """Too many cells or too few; the place is the first that is too many, or that is missing."""
        found, wanted = len(record.cells), self._width
        surplus = (place for place, cell in enumerate(record.cells) if place >= wanted and cell)
        at = found if found < wanted else next(surplus)
        return Fault(
            record.line,
            at + 1,
            self._heading[at] if at < wanted else "",
            f"列が{found:,}個あります (見出しは{wanted:,}個)。",
            f"{found:,} columns, the heading has {wanted:,}",
        )

    def _named(self, fault: Fault) -> Fault:
        if not 0 < fault.column <= self._width:
            return fault
        return Fault(fault.line, fault.column, self._heading[fault.column - 1], fault.ja, fault.en)


def kind_of(snapshot: Snapshot, heading: Sequence[str]) -> Kind | None:
    """What a file is by its heading: only holds have ids of holds, and states. One that has either under a heading
    that the settings do not name is a file of holds too, of which the mapper says what it lacks.
    """
    names = {cell.strip() for cell in heading}
    columns = snapshot.holds.columns
    if not names.isdisjoint({"hold_id", columns.hold_id, columns.state} - {None}):
        return Kind.HOLDS
    return Kind.PATRONS if (snapshot.patrons.columns.patron_id or "patron_id") in names else None


_DELIMITERS = {"\t": ("タブ", "tab"), ";": ("セミコロン", "semicolon"), ",": ("コンマ", "comma")}


def check_delimiter(heading: Sequence[str]) -> None:
    """Raises BadInput for a heading that came as one cell because something else separates its columns."""
    if len(heading) != 1:
        return
    for mark, (ja, en) in _DELIMITERS.items():
        if heading[0].count(mark) > 1:
            raise BadInput(
                f"1行目: {ja}区切りのようです。feeds.snapshots の delimiter を {en} にしてください。 / "
                f"line 1: the columns seem to be separated by {en}; set delimiter in feeds.snapshots"
            )


def _missing(missing: Sequence[str], heading: Sequence[str]) -> str:
    said_ja, said_en = [], []
    for name in missing:
        near = difflib.get_close_matches(name, [cell for cell in heading if cell][:500], 1, 0.5)
        said_ja.append(f"「{name}」" + (f" (「{near[0]}」の誤りではありませんか)" if near else ""))
        said_en.append(f'"{name}"' + (f' (did you mean "{near[0]}"?)' if near else ""))
    there = ", ".join(shown(cell) for cell in heading[:20]) + (" …" if len(heading) > 20 else "")
    return (
        f"1行目: 見出しに{'、'.join(said_ja)}の列がありません。 / "
        f"line 1: the heading lacks {', '.join(said_en)}; it has: {there}"
    )


_WATCHED = frozenset({"emails", "provisional", "state", "deadline"})


def _row(kind: Kind, line: int, said: dict[str, Any]) -> Row:
    """What is said, split into what the comparison looks at separately."""
    if kind is Kind.PATRONS:
        watched = (said.get("emails"), said.get("provisional"))
        rest = [item for item in said.items() if item[0] not in _WATCHED]
        return Row(said["patron_id"], line, digest_of(watched), "", digest_of(rest), _encode(said))
    state = said["state"]
    until = (said.get("deadline") or "") if state is Hold.READY else ""
    rest = [item for item in said.items() if item[0] not in _WATCHED]
    return Row(said["hold_id"], line, state.value, until, digest_of(rest), _encode(said))


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def digest_of(value: object) -> str:
    """96 bits: enough that no change goes unseen, and nothing that could be read back."""
    return hashlib.blake2b(repr(value).encode("utf-8", "replace"), digest_size=12).hexdigest()
