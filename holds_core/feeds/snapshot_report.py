"""What became of one snapshot file, for people: figures, and each row that could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from holds_core.feeds.cells import shown
from holds_core.feeds.changes import Change, Counts
from holds_core.feeds.faults import Fault
from holds_core.feeds.mapping import Kind
from holds_core.feeds.staging import Tally
from holds_core.ledger.event_rules import Applied

_KEPT = 200
_KIND = {Kind.PATRONS: "利用者 patrons", Kind.HOLDS: "予約 holds"}


@dataclass(slots=True)
class SnapshotReport:
    """The outcome of a run. `refused` says why nothing was applied; `overruled` what a person overruled.

    `applied` counts events that changed the ledger. `kept_gone` holds are missing in the file but not ended,
    because a row of the file could not be told whose it was. `strange_branches` are codes that the settings do
    not have: such a branch has no name in mail, and no closed days.
    """

    file: str
    feed: str
    dry_run: bool = False
    kind: Kind | None = None
    as_of: datetime | None = None
    baseline: bool = False
    resumed: bool = False
    tally: Tally = field(default_factory=Tally)
    counts: Counts = field(default_factory=Counts)
    refused: list[str] = field(default_factory=list)
    can_be_forced: bool = False
    overruled: list[str] = field(default_factory=list)
    applied: int = 0
    repeats: int = 0
    stale: int = 0
    notices: int = 0
    prompts: int = 0
    held: int = 0
    kept_gone: int = 0
    strange_branches: list[str] = field(default_factory=list)
    conflict_count: int = 0
    conflicts: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the file, or a row of it, could not be used."""
        return bool(self.refused) or self.tally.faults.count > 0

    def add(
        self,
        applied: Iterable[Applied],
        conflicts: Iterable[tuple[Change, str]],
        failed: Iterable[tuple[Change, str]],
        prompts: int,
        held: int,
    ) -> None:
        """Counts a chunk that was committed."""
        for item in applied:
            self.repeats += item.outcome == "repeat"
            self.stale += item.outcome == "stale"
            self.applied += item.outcome == "applied"
            self.notices += len(item.notices)
        for change, note in conflicts:
            self.conflict_count += 1
            if len(self.conflicts) < _KEPT:
                self.conflicts.append(f"{_where(change)}要確認: {note} / conflict")
        for change, note in failed:
            line = change.new.line if change.new else 0
            self.tally.faults.add(
                Fault(line, 0, "", f"保存できません。{note}", f"could not be stored: {note or 'a value'}")
            )
        self.prompts += prompts
        self.held += held

    def lines(self) -> Iterator[str]:
        """The report, one sentence a line, Japanese first."""
        yield self._head()
        yield from self._verdict()
        yield from self.tally.faults.lines(self.file)
        for conflict in self.conflicts:
            yield f"{self.file}: {conflict}"
        if rest := self.conflict_count - len(self.conflicts):
            yield f"{self.file}: 要確認ほか{rest:,}件 / {rest:,} more conflicts"
        if self.kept_gone:
            yield (
                f"{self.file}: だれの行か分からない行があるため、ファイルにない予約{self.kept_gone:,}件を終了にして"
                f"いません / a row could be anybody's, so {self.kept_gone:,} missing holds were not ended"
            )
        if self.strange_branches:
            codes = ", ".join(shown(code) for code in self.strange_branches[:10])
            more = " …" if len(self.strange_branches) > 10 else ""
            yield (
                f"{self.file}: 設定 (library.branches) にない館コードがあります: {codes}{more} / "
                "branches that the settings do not have: no name in mail, no closed days"
            )
        if not self.refused:
            yield self._figures()

    def _head(self) -> str:
        kind = f" {_KIND[self.kind]}" if self.kind else ""
        as_of = f" · {self.as_of:%Y-%m-%d %H:%M %Z} 現在" if self.as_of else ""
        return f"{self.file} → {self.feed}{kind}{as_of}"

    def _verdict(self) -> Iterator[str]:
        if self.refused:
            yield "取り込みませんでした。何も変わっていません / not taken in, nothing was changed:"
            yield from (f"  {reason}" for reason in self.refused)
            if self.can_be_forced:
                yield (
                    "  内容が正しければ --force を付けて取り込めます / "
                    "if it is right all the same: todoku import --force"
                )
        for reason in self.overruled:
            yield f"  承知で取り込みます / taken in all the same: {reason}"
        if self.baseline and not self.refused:
            yield "最初の取り込みのため、通知は作りません / the first snapshot: nobody is told"
        if self.resumed:
            yield "中断した取り込みの続きです / goes on where a run was interrupted"

    def _figures(self) -> str:
        counts = self.counts
        figures: Sequence[tuple[str, int]] = (
            ("行 rows", self.tally.rows),
            ("新規 new", counts.added),
            ("変更 changed", counts.changed),
            ("消えた行 gone", counts.lost),
            ("取り込み applied", self.applied),
            ("既知 repeated", self.repeats),
            ("古い stale", self.stale),
            ("要確認 conflicts", self.conflict_count),
            ("失敗 failed", self.tally.faults.count),
            ("通知 notices", self.notices),
        )
        kept = "(保存していません / nothing was kept) " if self.dry_run else ""
        held = f" · 保留 held {self.held:,} (todoku resume --held)" if self.held else ""
        return kept + " · ".join(f"{name} {number:,}" for name, number in figures) + held


def _where(change: Change) -> str:
    return f"{change.new.line}行目 (line {change.new.line}): " if change.new else ""
