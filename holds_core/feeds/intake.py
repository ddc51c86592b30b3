"""Events from outside into the ledger: many at a time, all or nothing per event.

Enters parsed events or lines of JSON; leaves an `ImportReport` with one finding per event that could not be
used. A bad event never stops the good ones, and never leaves a half-applied trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holds_core.address_checks import AddressDoubt
from holds_core.errors import BadInput, TodokuError
from holds_core.events import Event
from holds_core.feeds.wire import parse_line
from holds_core.ledger import outbox, registry
from holds_core.ledger.decisions import Verdict, What
from holds_core.ledger.event_rules import Applied, EventRules
from holds_core.ledger.session import REFUSED, Ledger, Transaction

CHUNK = 200
AHEAD = timedelta(days=1)
"""A clock may be wrong by hours; an event further ahead would make all later ones look stale."""
SLACK = timedelta(minutes=30)
"""An event so far ahead is taken, and told: most likely local time is written as UTC."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one event that was not simply applied. `line` counts from 1."""

    line: int
    event_id: str
    outcome: str  # failed, conflict, stale, repeat
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(slots=True)
class ImportReport:
    """What a run did. `failed` events were not stored; `conflict` ones were, and wait for staff."""

    applied: int = 0
    repeats: int = 0
    stale: int = 0
    notices: int = 0
    held: int = 0
    failed: list[Finding] = field(default_factory=list)
    conflicts: list[Finding] = field(default_factory=list)
    verdicts: dict[int, tuple[Verdict, ...]] = field(default_factory=dict)
    """By line: what our rules decided of a request, or warned of."""
    doubts: dict[int, tuple[AddressDoubt, ...]] = field(default_factory=dict)
    """By line: what is probably wrong with new addresses; warnings, never errors."""
    ahead: dict[int, str] = field(default_factory=dict)
    """By line: events from the future; warnings."""

    def add(self, other: ImportReport) -> None:
        """Counts another part of the same run in."""
        self.applied += other.applied
        self.repeats += other.repeats
        self.stale += other.stale
        self.notices += other.notices
        self.held += other.held
        self.failed += other.failed
        self.conflicts += other.conflicts
        self.verdicts |= other.verdicts
        self.doubts |= other.doubts
        self.ahead |= other.ahead

    @property
    def objections(self) -> list[Finding]:
        """The verdicts that a person should read: warnings and refusals."""
        verdicts = [
            Finding(line, "", "warning" if verdict.what is What.WARNED else "refused", str(verdict))
            for line, found in self.verdicts.items()
            for verdict in found
            if verdict.refusal is not None
        ]
        doubts = [
            Finding(line, "", "warning", str(doubt)) for line, found in self.doubts.items() for doubt in found
        ]
        ahead = [Finding(line, "", "warning", text) for line, text in self.ahead.items()]
        return sorted([*verdicts, *doubts, *ahead], key=lambda finding: finding.line)

    def count(self, line: int, event_id: str, applied: Applied) -> None:
        match applied.outcome:
            case "repeat":
                self.repeats += 1
            case "stale":
                self.stale += 1
            case "conflict":
                self.conflicts.append(Finding(line, event_id, "conflict", applied.note))
            case _:
                self.applied += 1
        self.notices += len(applied.notices)
        if applied.verdicts:
            self.verdicts[line] = applied.verdicts
        if applied.doubts:
            self.doubts[line] = applied.doubts


@dataclass(frozen=True, slots=True)
class Parsed:
    """One line: an event, or what is wrong with it."""

    line: int
    event: Event | None
    error: str = ""


def lines_of(lines: Iterable[bytes]) -> Iterator[Parsed]:
    """Lines of JSON, parsed one at a time; empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Parsed(number, parse_line(line))
        except BadInput as error:
            yield Parsed(number, None, str(error))


class EventIntake:
    """Applies events to one ledger by one set of rules.

    `max_prompt` is the most prompt notices that one run may queue; beyond it they are held until a
    person releases them, because a feed gone wrong must not mail a whole town.
    """

    def __init__(
        self, ledger: Ledger, rules: EventRules, now: Callable[[], datetime], max_prompt: int
    ) -> None:
        self._ledger, self._rules, self._now, self._max_prompt = ledger, rules, now, max_prompt

    async def run(
        self,
        parsed: Iterable[Parsed],
        feed: str,
        *,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> ImportReport:
        """Applies all events in order, in transactions of `CHUNK`. With `dry_run` nothing is kept."""
        report = ImportReport()
        prompt = _PromptCount(self._max_prompt)
        chunk: list[Parsed] = []
        done = 0
        for item in parsed:
            chunk.append(item)
            if len(chunk) == CHUNK:
                await self._apply(chunk, feed, report, prompt, dry_run=dry_run)
                done += len(chunk)
                progress(done)
                chunk = []
        await self._apply(chunk, feed, report, prompt, dry_run=dry_run)
        progress(done + len(chunk))
        return report

    async def _apply(
        self, chunk: Sequence[Parsed], feed: str, report: ImportReport, prompt: _PromptCount, *, dry_run: bool
    ) -> None:
        if not chunk:
            return
        now = self._now()

        async def work(connection: Transaction) -> ImportReport:
            """The chunk's own report: nothing outside changes unless the transaction commits."""
            part = ImportReport()
            made = [
                notice_id
                for item in chunk
                for notice_id in await self._apply_one(connection, item, feed, part, now)
            ]
            prompt.add(await outbox.prompt_among(connection, made))
            part.held = await outbox.hold_back(connection, prompt.to_hold_back())
            if dry_run:
                raise _DryRun(part)
            return part

        try:
            part = await self._ledger.write_many(work)
        except _DryRun as looked:
            part = looked.report
        report.add(part)

    async def _apply_one(
        self, connection: Transaction, item: Parsed, feed: str, report: ImportReport, now: datetime
    ) -> tuple[str, ...]:
        """One event, all or nothing. Returns the notices it owes."""
        if item.event is None:
            report.failed.append(Finding(item.line, "", "failed", item.error))
            return ()
        if item.event.at > now + AHEAD:
            text = f"at {item.event.at.isoformat()} lies more than a day ahead"
            report.failed.append(Finding(item.line, item.event.id, "failed", text))
            return ()
        try:
            async with connection.begin_nested():
                applied = await registry.apply(connection, item.event, feed, now, self._rules)
        except (TodokuError, *REFUSED) as error:
            text = str(error) if isinstance(error, TodokuError) else "the database refused a value"
            report.failed.append(Finding(item.line, item.event.id, "failed", text))
            return ()
        report.count(item.line, item.event.id, applied)
        if item.event.at > now + SLACK and applied.outcome != "repeat":
            report.ahead[item.line] = _ahead(item.event.at - now)
        return applied.notices


def _ahead(by: timedelta) -> str:
    hours = by.total_seconds() / 3600
    return (
        f"警告 warning: at が{hours:.1f}時間先です。日本時間に Z や +00:00 を付けていませんか。 / "
        f"at lies {hours:.1f} hours ahead: is it local time, written as UTC?"
    )


class _DryRun(Exception):  # noqa: N818
    """Takes a transaction back that was only to be looked at; `report` says what it would have done."""

    def __init__(self, report: ImportReport) -> None:
        self.report = report


class _PromptCount:
    """Which notices of a run must wait for a person: all of them, once there are too many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._made: list[str] = []
        self._count = 0

    def add(self, notices: Iterable[str]) -> None:
        for notice_id in notices:
            self._made.append(notice_id)
            self._count += 1

    def to_hold_back(self) -> list[str]:
        if self._count <= self._limit:
            return []
        held, self._made = self._made, []
        return held
