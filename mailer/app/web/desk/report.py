"""不達レポート: mail that did not reach or gave no sign, on the page, as CSV, as JSON and on paper.

And 図書館システムへ未反映: the addresses that staff corrected and the library system still has wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.errors import BadInput
from holds_core.ledger import desk_mail, queries
from holds_core.ledger.queries import Undelivered
from holds_core.ledger.session import Transaction
from mailer.app.web.desk import words
from mailer.app.web.desk.pages import Part
from mailer.app.web.desk.sheets import as_csv, download
from mailer.app.web.desk.visit import Visit, query_of

PAGE = 100
SPAN = 7
"""Days that the report covers unless it is asked for others."""
LONGEST = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report with what the page adds to the contract's fields."""

    item: Undelivered
    provider: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The period, both days included, and what the report is narrowed to."""

    first: date
    last: date
    branch: str = ""
    provider: str = ""
    reason: str = ""

    @classmethod
    def of(cls, visit: Visit) -> Wanted:
        """Raises BadInput for days that are none."""
        first = _day(visit.said("from")) or visit.today - timedelta(days=SPAN - 1)
        last = _day(visit.said("to")) or visit.today
        if not first <= last <= first + LONGEST:
            raise BadInput("期間の指定を確認してください。 Please check the period.")
        return cls(first, last, visit.said("branch"), visit.said("provider"), visit.said("reason"))

    def query(self, **other: object) -> str:
        said: dict[str, object] = {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "branch": self.branch,
            "provider": self.provider,
            "reason": self.reason,
        }
        return query_of({name: str(value) for name, value in (said | other).items()})


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise BadInput(f"日付ではありません: {text} (not a date)") from None


class Reports(Part):
    """The report's handlers."""

    def routes(self) -> list[Route]:
        return [
            self.get("/report", self.show),
            self.get("/report/print", self.on_paper),
            self.get("/report.csv", self.as_csv),
            self.get("/report.json", self.as_json),
            self.get("/unsynced", self.unsynced),
            self.get("/unsynced.csv", self.unsynced_csv),
        ]

    async def _lines(self, visit: Visit, wanted: Wanted) -> tuple[list[Line], list[Line]]:
        """(all lines of the period that the account may see, those that fit the choices)."""
        zone = self._desk.library.timezone
        start = datetime.combine(wanted.first, time(0), zone)
        end = min(datetime.combine(wanted.last + timedelta(days=1), time(0), zone), visit.local)
        current = end == visit.local
        async with self._services.ledger.read() as connection:
            found = await queries.undelivered(connection, end, start, current=current)
        of = self._desk.provider_of
        mine = [
            Line(item, of(item.address.rpartition("@")[2]) if item.address else "")
            for item in found
            if visit.account.may_see([item.branch])
        ]
        return mine, [line for line in mine if _fits(line, wanted)]

    async def show(self, request: Request, visit: Visit) -> Response:
        wanted = Wanted.of(visit)
        mine, lines = await self._lines(visit, wanted)
        pages = max(1, -(-len(lines) // PAGE))
        page = visit.page(pages)
        return await self._desk.render(
            visit,
            "report.html",
            wanted=wanted,
            lines=lines[(page - 1) * PAGE : page * PAGE],
            total=len(lines),
            page=page,
            pages=pages,
            outcomes=Counter(outcome(line.item) for line in lines),
            open_count=sum(line.item.open for line in lines),
            outcome=outcome,
            choices={
                "branch": _counted(mine, lambda line: line.item.branch),
                "provider": _counted(mine, lambda line: line.provider),
                "reason": _counted(mine, lambda line: line.item.reason),
            },
        )

    async def on_paper(self, request: Request, visit: Visit) -> Response:
        wanted = Wanted.of(visit)
        _, lines = await self._lines(visit, wanted)
        return await self._desk.render(
            visit, "report_print.html", wanted=wanted, lines=lines, outcome=outcome, total=len(lines)
        )

    async def as_csv(self, request: Request, visit: Visit) -> Response:
        wanted = Wanted.of(visit)
        _, lines = await self._lines(visit, wanted)
        await self.note(visit, "report.csv", "report", rows=len(lines))
        content = as_csv(_HEADER[visit.language], [self._row(line, visit) for line in lines])
        return download(
            content, "text/csv; charset=utf-8", f"fudatsu_{wanted.first:%Y%m%d}-{wanted.last:%Y%m%d}.csv"
        )

    def _row(self, line: Line, visit: Visit) -> Sequence[object]:
        item, pick = line.item, int(visit.language == "en")
        local = self._services.rulebook.local
        return (
            item.patron_id,
            item.patron_name,
            item.address,
            line.provider,
            self._desk.branch_name(line.item.branch, visit.language),
            _say(words.KINDS, item.kind, pick),
            _say(words.STATES, item.state, pick),
            _say(words.FINDINGS, item.finding, pick),
            _say(words.REASONS, item.reason, pick),
            _say(words.FAULTS, item.fault, pick),
            local(item.sent_at).strftime("%Y-%m-%d %H:%M") if item.sent_at else "",
            item.deadline.isoformat() if item.deadline else "",
            " ".join(item.hold_ids),
            item.notice_id,
        )

    async def as_json(self, request: Request, visit: Visit) -> Response:
        """The contract's shape, as `todoku report --format json` prints it."""
        wanted = Wanted.of(visit)
        _, lines = await self._lines(visit, wanted)
        await self.note(visit, "report.json", "report", rows=len(lines))
        text = json.dumps([line.item.as_json() for line in lines], ensure_ascii=False, indent=1)
        return download(
            text.encode(), "application/json", f"fudatsu_{wanted.first:%Y%m%d}-{wanted.last:%Y%m%d}.json"
        )

    # -- 図書館システムへ未反映 ---------------------------------------------------------------------

    async def _unsynced(self, connection: Transaction, visit: Visit) -> list[desk_mail.Unsynced]:
        found = await desk_mail.unsynced(connection)
        return [item for item in found if visit.account.may_see([item.branch])]

    async def unsynced(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            found = await self._unsynced(connection, visit)
        return await self._desk.render(visit, "unsynced.html", found=found)

    async def unsynced_csv(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            found = await self._unsynced(connection, visit)
        await self.note(visit, "unsynced.csv", "report", rows=len(found))
        local = self._services.rulebook.local
        rows = [
            (
                item.patron_id,
                item.name,
                " ".join(item.feed_emails),
                item.address,
                local(item.since).strftime("%Y-%m-%d %H:%M"),
            )
            for item in found
        ]
        header = _UNSYNCED[visit.language]
        return download(as_csv(header, rows), "text/csv; charset=utf-8", f"mihanei_{visit.today:%Y%m%d}.csv")


_HEADER = {
    "ja": (
        "利用者番号",
        "氏名",
        "メールアドレス",
        "提供元",
        "受取館",
        "お知らせ",
        "送信の状態",
        "到着の状況",
        "理由",
        "原因の所在",
        "送信日時",
        "取置期限",
        "予約番号",
        "通知番号",
    ),
    "en": (
        "patron_id",
        "name",
        "address",
        "provider",
        "branch",
        "notice",
        "state",
        "finding",
        "reason",
        "fault",
        "sent_at",
        "deadline",
        "hold_ids",
        "notice_id",
    ),
}
_UNSYNCED = {
    "ja": ("利用者番号", "氏名", "図書館システムのアドレス", "正しいアドレス", "訂正日時"),
    "en": ("patron_id", "name", "address in the library system", "correct address", "corrected at"),
}


def outcome(item: Undelivered) -> str:
    """The one thing to say of a line: bounced beats unanswered, which beats the transmission state."""
    return item.finding if item.finding in ("bounced", "unanswered") else item.state


def _fits(line: Line, wanted: Wanted) -> bool:
    return (
        (not wanted.branch or wanted.branch == line.item.branch)
        and (not wanted.provider or wanted.provider == line.provider)
        and (not wanted.reason or wanted.reason == line.item.reason)
    )


def _counted(lines: Sequence[Line], what: Callable[[Line], str]) -> list[tuple[str, int]]:
    found = Counter(what(line) for line in lines)
    return [(name, count) for name, count in found.most_common(40) if name]


def _say(table: words.Words, code: str, pick: int) -> str:
    return table[code][pick] if code in table else code
