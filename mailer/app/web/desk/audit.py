"""操作の記録: the audit trail, for admins: who did what to whom, when, and what it changed.

Narrowed by period, person, kind of action and patron; as CSV for Excel, which is itself written down. Which
lines there are is the ledger's (`holds_core.ledger.trail`), how one reads is `told`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.errors import BadInput
from holds_core.ledger import accounts, trail
from holds_core.ledger.session import Transaction
from holds_core.ledger.trail import Choice, Entry, Undone
from mailer.app.web.desk import told, words
from mailer.app.web.desk.pages import Part
from mailer.app.web.desk.sheets import as_csv, download
from mailer.app.web.desk.told import Change, Voice
from mailer.app.web.desk.visit import Visit, query_of

PAGE = 50
SPAN = 30
"""Days that the page shows unless it is asked for others."""
LONGEST = timedelta(days=5 * 366)
LATELY = timedelta(days=60)
"""Who has no account, such as a command line, may be chosen if they did anything this long before."""
MOST_ROWS = 50_000
"""Of a CSV file; a longer period is refused rather than cut."""

GROUPS: words.Words = {
    "case": ("対応", "work on cases"),
    "seen": ("閲覧・出力", "what was seen or taken"),
    "mail": ("判別できないメール", "quarantine"),
    "sending": ("送信の停止・再開", "stopping and sending"),
    "calendar": ("休館日", "closed days"),
    "user": ("ログイン・アカウント", "log-ins and accounts"),
    "data": ("データ", "data"),
}
_GROUP_OF: Mapping[str, str] = {
    **dict.fromkeys(("phone.shown", "phone.printed", "mail.read", "export"), "seen"),
    **dict.fromkeys(("report.csv", "report.json", "unsynced.csv", "provisional.csv", "audit.csv"), "seen"),
    **dict.fromkeys(("pause", "resume", "breaker.resume", "held.release"), "sending"),
    **dict.fromkeys(("campaign.start", "campaign.stop"), "sending"),
    **dict.fromkeys(("closure.add", "closure.remove", "holidays.import", "holidays.drop"), "calendar"),
    **dict.fromkeys(("snapshot_forced", "forget"), "data"),
    "login": "user",
}


def group_of(what: str) -> str:
    """Under which heading an action stands in the choice.

    >>> group_of("case.reached"), group_of("mail.read"), group_of("mail.attach")
    ('case', 'seen', 'mail')
    """
    return _GROUP_OF.get(what) or what.partition(".")[0]


def actions_of(group: str) -> tuple[str, ...]:
    return tuple(what for what in words.AUDIT if group_of(what) == group)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the page is narrowed to; both days included. `what`: an action, or "group:" and a group."""

    first: date
    last: date
    who: str
    what: str
    patron: str

    @classmethod
    def of(cls, visit: Visit) -> Wanted:
        """Raises BadInput for days that are none."""
        first = _day(visit, "from") or visit.today - timedelta(days=SPAN - 1)
        last = _day(visit, "to") or visit.today
        if not first <= last <= first + LONGEST:
            raise BadInput(visit.say("期間の指定を確認してください。", "Please check the period."))
        return cls(first, last, visit.said("who", 100), visit.said("what", 60), visit.said("patron", 100))

    def query(self, **other: str) -> str:
        said = {"from": self.first.isoformat(), "to": self.last.isoformat()}
        return query_of(said | {"who": self.who, "what": self.what, "patron": self.patron} | other)


def _day(visit: Visit, name: str) -> date | None:
    text = visit.said(name, 20)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise BadInput(visit.say(f"日付ではありません: {text}", f"not a date: {text}")) from None


@dataclass(frozen=True, slots=True)
class Line:
    """A line as the page shows it. `facts` have no former value, `steps` have."""

    entry: Entry
    subject: str
    patron_id: str
    facts: list[Change]
    steps: list[Change]


class Audit(Part):
    """The handlers."""

    def routes(self) -> list[Route]:
        return [
            self.get("/system/audit", self.show, admin=True),
            self.get("/system/audit.csv", self.as_csv, admin=True),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        wanted = Wanted.of(visit)
        choice = self._choice(visit, wanted)
        async with self._services.ledger.read() as connection:
            total = await trail.count(connection, choice)
            found, undone = await self._found(connection, choice, PAGE + 1)
            lately = await trail.who_did(connection, max(choice.start, choice.end - LATELY), choice.end)
            names = await accounts.names(connection)
        shown = found[:PAGE]
        return await self._desk.render(
            visit,
            "audit.html",
            wanted=wanted,
            lines=self._lines(shown, undone, visit),
            total=total,
            older=str(shown[-1].number) if len(found) > PAGE else "",
            newest=not choice.before,
            names=names,
            people=list(dict.fromkeys([*names, *lately, *filter(None, [wanted.who])])),
            groups=[(group, actions_of(group)) for group in GROUPS],
            group_names=GROUPS,
        )

    async def as_csv(self, request: Request, visit: Visit) -> Response:
        """All lines of the choice, the newest first. Raises BadInput if they are too many."""
        wanted = Wanted.of(visit)
        choice = self._choice(visit, wanted)
        async with self._services.ledger.read() as connection:
            found, undone = await self._found(connection, choice, MOST_ROWS + 1)
            names = await accounts.names(connection)
        if len(found) > MOST_ROWS:
            raise BadInput(
                visit.say(
                    f"{MOST_ROWS}行を超えます。期間を短くしてください。",
                    f"More than {MOST_ROWS} lines: choose a shorter period.",
                )
            )
        await self.note(visit, "audit.csv", "audit", rows=len(found))
        rows = [self._row(line, names, visit) for line in self._lines(found, undone, visit)]
        name = f"kiroku_{wanted.first:%Y%m%d}-{wanted.last:%Y%m%d}.csv"
        return download(as_csv(_HEADER[visit.language], rows), "text/csv; charset=utf-8", name)

    def _choice(self, visit: Visit, wanted: Wanted) -> Choice:
        zone = self._desk.library.timezone
        before = visit.said("before", 18)
        what = wanted.what
        return Choice(
            start=datetime.combine(wanted.first, time(0), zone).astimezone(UTC),
            end=datetime.combine(wanted.last + timedelta(days=1), time(0), zone).astimezone(UTC),
            who=wanted.who,
            what=actions_of(what.removeprefix("group:"))
            if what.startswith("group:")
            else (what,) * bool(what),
            patron_id=wanted.patron,
            before=int(before) if before.isdecimal() and before.isascii() else 0,
        )

    async def _found(
        self, connection: Transaction, choice: Choice, limit: int
    ) -> tuple[list[Entry], dict[int, Undone]]:
        found = await trail.lines(connection, choice, limit)
        return found, await trail.undone(connection, found)

    def _lines(self, found: Sequence[Entry], undone: Mapping[int, Undone], visit: Visit) -> list[Line]:
        local, language = self._services.rulebook.local, visit.language
        voice = Voice(
            language,
            lambda branch_id: self._desk.branch_name(branch_id, language),
            lambda at: words.moment(local(at), language, visit.today),
        )
        lines = []
        for entry in found:
            said = told.changes(entry, undone, voice)
            subject, patron_id = told.subject(entry, voice)
            facts, steps = [one for one in said if not one.before], [one for one in said if one.before]
            lines.append(Line(entry, subject, patron_id, facts, steps))
        return lines

    def _row(self, line: Line, names: Mapping[str, str], visit: Visit) -> Sequence[object]:
        entry, colon = line.entry, visit.say(":", ": ")
        return (
            self._services.rulebook.local(entry.at).strftime("%Y-%m-%d %H:%M:%S"),
            entry.who,
            names.get(entry.who, ""),
            words.AUDIT[entry.what][visit.language == "en"] if entry.what in words.AUDIT else entry.what,
            line.subject,
            " / ".join(f"{step.label}{colon}{step.before}" for step in line.steps),
            " / ".join(f"{step.label}{colon}{step.after}" for step in line.steps),
            " / ".join(f"{fact.label}{colon}{fact.after}" for fact in line.facts),
        )


_HEADER = {
    "ja": ("日時", "ログイン名", "氏名", "操作", "対象", "変更前", "変更後", "内容"),
    "en": ("at", "login", "name", "action", "subject", "before", "after", "detail"),
}
