"""What the demo tells: a moving table (plain lines in a pipe) on standard error, and the end on standard output.

Numbers and rows enter, text leaves. Japanese first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bounces import report as reports
from holds_core.ledger.cases import REASONS
from holds_core.ledger.desk import Case
from holds_core.ledger.queries import Undelivered
from holds_core.ledger.silence import ProviderAlert
from holds_core.silence_reasons import SENTENCES
from mailer.app.demo.judge import Verdict
from mailer.app.demo.town import Fate, Score, Town

ROWS_ON_SCREEN = 30

COUNTS = (
    ("送信処理済み", "handed over"),
    ("受取拒否", "refused"),
    ("再送待ち", "deferred"),
    ("不達返送", "bounced"),
    ("消失", "vanished"),
    ("到着確認", "confirmed"),
    ("貸出", "collected"),
    ("期限切れ", "lapsed"),
)
"""The fields of `Score`, in order."""

FATES = {
    Fate.REFUSED: ("その場で受取拒否", "refused at once"),
    Fate.BOUNCED: ("後から不達返送", "bounced later"),
    Fate.DEFERRED: ("容量超過のまま", "mailbox full"),
    Fate.VANISHED: ("受け取られた後に消失", "accepted, then vanished"),
}

COLUMNS = ("deadline", "patron_id", "name", "address", "kind", "finding", "reason")
"""The report's columns that fit a screen; report.html has all."""


class Progress:
    """Follows the town. Use `shown` around the run."""

    def __init__(self, console: Console, zone: ZoneInfo, town: Town) -> None:
        self._console, self._zone, self._town = console, zone, town
        self._live: Live | None = None
        self._days: list[tuple[str, ...]] = []
        self._before = Score()
        self._day = ""

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as self._live:
            yield

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def update(self, now: datetime, batches: int) -> None:
        """Once a step: on a terminal redraws, in a pipe writes a line when a day is over."""
        local = now.astimezone(self._zone)
        day = reports.day(local.date())
        if day != self._day:
            if self._day:
                self._close_day(batches)
            self._day = day
        if self._live is not None:
            self._live.update(self._table(f"{day} {local:%H:%M}", batches))

    def _close_day(self, batches: int) -> None:
        counts = self._counts()
        self._days = [*self._days[-13:], (self._day, str(batches), *counts)]
        if self._live is None:
            said = " · ".join(f"{ja} {count}" for (ja, _), count in zip(COUNTS, counts, strict=True))
            self.say(f"{self._day} 便 {batches} · {said}")

    def _counts(self) -> tuple[str, ...]:
        return tuple(str(count) for count in astuple(self._town.score))

    def _table(self, moment: str, batches: int) -> Table:
        table = Table(title="見本の町の累計(消失は Todoku からは見えません) / the sandbox town so far")
        table.add_column("日時\nday", no_wrap=True, min_width=18)
        for ja, en in (("便", "batches"), *COUNTS):
            table.add_column(f"{ja}\n{en}", justify="right")
        for row in self._days:
            table.add_row(*row, style="dim")
        table.add_row(moment, str(batches), *self._counts(), style="bold")
        return table


def report(console: Console, lines: Sequence[Undelivered], zone: ZoneInfo) -> None:
    """The undelivered-mail report: a table on a terminal, tab-separated lines in a pipe."""
    rows = [reports.cells(line, zone) for line in lines]
    if not console.is_terminal:
        console.file.write("\t".join(ja for ja, _ in reports.COLUMNS) + "\n")
        console.file.writelines("\t".join(row) + "\n" for row in rows)
        return
    shown = [number for number, (_, en) in enumerate(reports.COLUMNS) if en in COLUMNS]
    table = Table(title="不達レポート / the undelivered-mail report")
    for number in shown:
        table.add_column("\n".join(reports.COLUMNS[number]), overflow="fold")
    for row in rows[:ROWS_ON_SCREEN]:
        table.add_row(*(row[number] for number in shown))
    console.print(table)
    if len(rows) > ROWS_ON_SCREEN:
        console.print(f"ほか {len(rows) - ROWS_ON_SCREEN} 件は report.html に / the rest is in report.html")


def comparison(console: Console, verdict: Verdict) -> None:
    """How the report stands against what really happened."""
    table = Table(
        "実際に起きたこと\nwhat really happened",
        "利用者\npatrons",
        "レポートに記載\nnamed",
        "自分で来館\ncame anyway",
        "確認待ち\nstill waiting",
        "見落とし\nmissed",
        title="町だけが知る真実との照合(利用者の人数) / against the truth that only the town knows",
    )
    for fate, row in verdict.rows.items():
        counts = [len(found) for found in (row.named, row.came, row.waiting, row.missed)]
        table.add_row("\n".join(FATES[fate]), str(row.patrons), *(str(count) for count in counts))
    console.print(table)
    console.print(
        f"すべて届いた利用者 {verdict.arrived}人のうち、不達と誤って記載 {len(verdict.wronged)}人、"
        f"反応がなく「到着確認なし」と記載 {len(verdict.quiet)}人",
        f"of {verdict.arrived} patrons whose mail all arrived, {len(verdict.wronged)} are wrongly named as "
        f"bounced, and {len(verdict.quiet)} as unanswered because they gave no sign",
        sep="\n",
        markup=False,
        highlight=False,
    )


def found(
    console: Console,
    alerts: Sequence[ProviderAlert],
    calls: Sequence[Case],
    town: Town,
    zone: ZoneInfo,
) -> None:
    """What Todoku found out by itself: providers that lose mail, and whom to phone first."""
    said = ["", "Todoku が自分で見つけたこと / what Todoku found by itself"]
    for alert in alerts:
        provider = town.providers.get(alert.domain)
        said += [*(f"  {text}" for text in alert.sentence(zone))]
        said.append(f"    町の真実 the truth: {provider.note if provider else '?'}")
    if not alerts:
        said.append("  メールを失うサービスはまだ見つかっていません / no provider is known to lose mail yet")
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)
    if not calls:
        return
    table = Table(
        "利用者\npatron",
        "期限\ndeadline",
        "見られていないおそれ\nrisk",
        "理由\nwhy",
        title="今朝、先に電話するとよい利用者 / whom to phone first this morning",
    )
    for case in calls:
        risk = "" if case.risk is None else f"{case.risk_word[0]} {case.risk:.0%}"
        why = [SENTENCES[reason][0] for reason in case.risk_reasons[:2]] or [REASONS[case.reasons[0]][0]]
        deadline = reports.day(case.deadline) if case.deadline else ""
        table.add_row(f"{case.patron_id} {case.name}", deadline, risk, "\n".join(why))
    console.print(table)


def early(console: Console) -> None:
    """Stopped before the first batch."""
    console.print("まだ取置のお知らせは送られていません / no hold-ready mail was sent yet", highlight=False)


def where(console: Console, folder: Path, example: str, pages: Sequence[tuple[str, str]]) -> None:
    """Where to look on. `pages`: a name and a URL each, only while the daemon runs."""
    config = folder / "config.yaml"
    said = [
        "",
        "続きはこちら / where to look on",
        *(f"  {name}: {url}" for name, url in pages),
        f"  フォルダー folder: {folder} (config.yaml, todoku.db, todoku.log, truth.json)",
        f"  レポート report: {folder / 'report.html'} · {folder / 'report.csv'}",
        f"  一人の経緯 one patron's story: todoku --config {config} explain patron:{example}",
    ]
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)


def hello(console: Console, days: int, seconds: float | None) -> None:
    """What is about to happen. `seconds` per day, None for as fast as it goes."""
    pace = (
        f"1日 {seconds:.0f}秒 / {seconds:.0f} s a day" if seconds else "できるだけ速く / as fast as it goes"
    )
    console.print(
        f"見本の町を {days}日分動かします ({pace})。Ctrl-C でいつでも終われます / "
        f"plays {days} days in a sandbox town; Ctrl-C ends it at any time",
        markup=False,
        highlight=False,
    )


def gone(console: Console) -> None:
    """A demo that ends by itself leaves nothing, unless it was given a folder."""
    console.print(
        "一時フォルダーは削除します。残すには --folder を指定してください / "
        "the temporary folder goes; --folder keeps it",
        markup=False,
        highlight=False,
    )
