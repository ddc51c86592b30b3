"""What is wrong with a file from outside: where, in Japanese and English, and never more than fits a page.

Pure values. A fault names file, line and column; it repeats a cell only where the cell is no personal data
(a status word, a date), never a name or an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

KEPT = 1000
"""Faults that are kept in full. A file with one wrong column has as many faults as lines."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `line` and `column` count from 1, 0 where none can be named.

    `name` is the column's heading in the file, if it is known.
    """

    line: int
    column: int
    name: str
    ja: str
    en: str

    def __str__(self) -> str:
        """One line, Japanese first."""
        where_ja = f"{self.line}行目" if self.line else ""
        where_en = f"line {self.line}" if self.line else ""
        if self.column:
            heading = f"「{self.name}」" if self.name else ""
            where_ja += f" {self.column}列目{heading}"
            where_en += f", column {self.column}"
        if not where_ja:
            return f"{self.ja} / {self.en}"
        return f"{where_ja}: {self.ja} / {where_en}: {self.en}"


@dataclass(slots=True)
class Faults:
    """Faults as they are found: all are counted, the first `KEPT` are kept."""

    count: int = 0
    kept: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        self.count += 1
        if len(self.kept) < KEPT:
            self.kept.append(fault)

    def lines(self, file: str) -> Iterator[str]:
        """One line for each that was kept, and one for the rest."""
        for fault in self.kept:
            yield f"{file}: {fault}"
        if rest := self.count - len(self.kept):
            yield f"{file}: ほか{rest:,}件 / {rest:,} more"
