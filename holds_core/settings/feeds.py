"""Settings of nightly snapshots: which files, which columns, which words, and when to distrust them.

A column that is not named is taken from the heading that our own field has (`hold_id`, `email`), if the file
has it. The words of a library come on top of our own, which always count.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import PlainValidator, field_validator

from holds_core.settings.base import Section
from holds_core.settings.values import (
    Complaint,
    FilePath,
    Flag,
    Line,
    choice,
    duration,
    expected,
    refused,
    whole,
)

Lines = tuple[Line, ...]


def _feed_name(value: object) -> str:
    """Part of event ids, flags and file names; so it is short and plain."""
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", text):
        raise expected(
            "nightly のような名前 (英数字・-・_、40字まで)",
            "a name such as nightly (letters, digits, - and _, at most 40)",
        )
    return text


def _pattern(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not text.strip() or len(text) > 200 or "/" in text or not text.isprintable():
        raise expected(
            "yoyaku*.csv のようなファイル名 (* は任意の文字列)",
            "a file name such as holds*.csv (* stands for any letters)",
        )
    return text


def _share(value: object) -> float:
    """`20%` -> 0.2."""
    if isinstance(value, float):
        return value
    text = unicodedata.normalize("NFKC", value) if isinstance(value, str) else ""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%", text)
    if not match or float(match[1]) > 100:
        raise expected("20% のような割合 (0%〜100%)", "a share such as 20% (from 0% to 100%)")
    return float(match[1]) / 100


FeedName = Annotated[str, PlainValidator(_feed_name)]
Pattern = Annotated[str, PlainValidator(_pattern)]
Share = Annotated[float, PlainValidator(_share)]


class FileEncoding(StrEnum):
    """How the files' text is stored."""

    AUTO = "auto"
    UTF_8 = "utf-8"
    CP932 = "cp932"


class Delimiter(StrEnum):
    """What stands between two cells."""

    COMMA = "comma"
    TAB = "tab"
    SEMICOLON = "semicolon"

    @property
    def character(self) -> str:
        return {"comma": ",", "tab": "\t", "semicolon": ";"}[self.value]


class PatronColumns(Section):
    """Headings of the patrons' file. Several addresses and phone numbers may stand in columns of their own."""

    patron_id: Line | None = None
    emails: Lines = ()
    name: Line | None = None
    name_kana: Line | None = None
    contact: Line | None = None
    phones: Lines = ()
    phone_note: Line | None = None
    guardian_id: Line | None = None
    branch: Line | None = None
    language: Line | None = None
    title_policy: Line | None = None
    provisional: Line | None = None
    overdue: Line | None = None


class HoldColumns(Section):
    """Headings of the holds' file."""

    hold_id: Line | None = None
    patron_id: Line | None = None
    state: Line | None = None
    title: Line | None = None
    material: Line | None = None
    branch: Line | None = None
    via: Line | None = None
    availability: Line | None = None
    set_id: Line | None = None
    volume: Line | None = None
    contact: Line | None = None
    reason: Line | None = None
    by: Line | None = None
    ready_on: Line | None = None
    deadline: Line | None = None


class HoldWords(Section):
    """The library system's words for the states of a hold."""

    requested: Lines = ()
    placed: Lines = ()
    refused: Lines = ()
    withdrawn: Lines = ()
    cancel_requested: Lines = ()
    cancelled: Lines = ()
    ready: Lines = ()
    collected: Lines = ()
    lapsed: Lines = ()
    ended: Lines = ()


class Words(Section):
    """The library system's words in other columns."""

    email: Lines = ()
    phone: Lines = ()
    post: Lines = ()
    none: Lines = ()
    web: Lines = ()
    desk: Lines = ()
    patron: Lines = ()
    library: Lines = ()
    yes: Lines = ()
    no: Lines = ()


class PatronFile(Section):
    """The file of patrons."""

    files: Pattern = "patrons*.csv"
    columns: PatronColumns


class HoldFile(Section):
    """The file of holds."""

    files: Pattern = "holds*.csv"
    columns: HoldColumns
    states: HoldWords

    @field_validator("states")
    @classmethod
    def _one_meaning(cls, states: HoldWords) -> HoldWords:
        seen: set[str] = set()
        again = []
        for name in HoldWords.model_fields:
            for index, word in enumerate(getattr(states, name)):
                folded = unicodedata.normalize("NFKC", word).casefold()
                if folded in seen:
                    again.append(
                        Complaint("ほかの状態と重ならない語", "a word of one state only", (name, index))
                    )
                seen.add(folded)
        if again:
            raise refused(*again)
        return states


class Gone(StrEnum):
    """What became of a hold that left the shelf and the file."""

    ENDED = "ended"
    COLLECTED = "collected"
    LAPSED = "lapsed"
    CANCELLED = "cancelled"


class GoneUnshelved(StrEnum):
    """What became of a hold that left the file before it was shelved."""

    ENDED = "ended"
    CANCELLED = "cancelled"


class WhenGone(Section):
    """What a hold that is no longer in the file has become; `ended`: nobody knows.

    `ready` was on the shelf, `overdue` was there beyond its deadline, `waiting` was not there yet.
    """

    ready: Annotated[Gone, PlainValidator(choice(Gone))] = Gone.ENDED
    overdue: Annotated[Gone, PlainValidator(choice(Gone))] = Gone.ENDED
    waiting: Annotated[GoneUnshelved, PlainValidator(choice(GoneUnshelved))] = GoneUnshelved.ENDED


class Guard(Section):
    """When a file is too different to be believed. Fewer rows than `at_least` are never too many."""

    lost_rows: Share = 0.2
    changed: Share = 0.2
    at_least: Annotated[int, PlainValidator(whole(1, 1_000_000))] = 10


class Snapshot(Section):
    """One feed of snapshots: a file of patrons, one of holds, or both. Without `folder` none is watched.

    A feed of which nothing was taken in for `late_after` is late.
    """

    name: FeedName
    folder: FilePath | None = None
    late_after: Annotated[timedelta, PlainValidator(duration("1m", "30d"))] = timedelta(hours=36)
    nightly: Flag = True
    encoding: Annotated[FileEncoding, PlainValidator(choice(FileEncoding))] = FileEncoding.AUTO
    delimiter: Annotated[Delimiter, PlainValidator(choice(Delimiter))] = Delimiter.COMMA
    patrons: PatronFile
    holds: HoldFile
    words: Words
    when_gone: WhenGone
    guard: Guard

    @field_validator("holds")
    @classmethod
    def _patterns_differ(cls, holds: HoldFile, info: object) -> HoldFile:
        patrons = getattr(info, "data", {}).get("patrons")
        if patrons is not None and patrons.files == holds.files:
            raise refused(
                Complaint("patrons.files と異なるファイル名", "a name other than patrons.files", ("files",))
            )
        return holds
