"""送信状況: today's batches with their progress, what waits, signs per provider over weeks, bounces by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.ledger import desk_traffic, silence, slots
from holds_core.ledger.session import Transaction
from holds_core.ledger.silence import ProviderAlert
from holds_core.notices import Finding, Transmission
from holds_core.provider_watch import Week
from mailer.app.web.desk import words
from mailer.app.web.desk.charts import Bar, fill, hatch, line_bar, stacked
from mailer.app.web.desk.pages import Desk, Part
from mailer.app.web.desk.visit import Visit

WEEKS = 12
FRESH = 4
"""Weeks in which signs still come in."""
RECOUNTED = timedelta(hours=1)
PROVIDERS = 8
"""Charts on the page: the providers with the most mail."""
BOUNCES = timedelta(days=30)
EXPECTED = ("これまでの割合からの見込み", "expected as before")
ALARM = ("届き方の変化", "fares differently")
_PARTS = (Finding.CONFIRMED, Finding.WAITING, Finding.UNANSWERED, Finding.BOUNCED)
_ENDED = (
    Transmission.HANDED_OVER,
    Transmission.REFUSED,
    Transmission.EXPIRED,
    Transmission.CANCELLED,
    Transmission.WITHHELD,
)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A batch and how far it is. `done` of `total` deliveries have come to an end."""

    name: str
    due_at: datetime
    outcome: str
    states: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def done(self) -> int:
        return sum(self.states.get(state, 0) for state in _ENDED)


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """A provider's mails of the weeks shown, and the alerts about it in that time.

    `share`: of those that are settled, how many gave a sign."""

    name: str
    counts: dict[str, int]
    chart: Markup
    alerts: tuple[ProviderAlert, ...]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def share(self) -> int | None:
        settled = self.total - self.counts.get(Finding.WAITING, 0)
        return round(100 * self.counts.get(Finding.CONFIRMED, 0) / settled) if settled else None


class Traffic(Part):
    """The page, and the part of it that renews itself."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._past: tuple[datetime, datetime, list[dict[tuple[str, str], int]]] | None = None

    def routes(self) -> list[Route]:
        return [
            self.get("/traffic", self.show),
            self.get("/traffic/now", self.now),
        ]

    async def now(self, request: Request, visit: Visit) -> Response:
        """Only the part about this moment, for the page's script to put in its place."""
        return await self._desk.render(visit, "traffic_now.html", **await self._now(visit))

    async def _now(self, visit: Visit) -> dict[str, Any]:
        async with self._services.ledger.read() as connection:
            recent = await slots.recent(connection, 6)
            states = await desk_traffic.by_slot(connection, [run.slot for run in recent])
            waiting = await desk_traffic.waiting(connection)
        lines = [
            BatchLine(
                run.slot.partition(" ")[2] or run.slot, run.due_at, run.outcome, states.get(run.slot, {})
            )
            for run in recent
        ]
        return {"batches": lines, "waiting": waiting}

    async def show(self, request: Request, visit: Visit) -> Response:
        zone = self._desk.library.timezone
        monday = visit.today - timedelta(days=visit.today.weekday())
        ends = datetime.combine(monday + timedelta(days=7), time(0), zone)
        starts = ends - WEEKS * desk_traffic.WEEK
        async with self._services.ledger.read() as connection:
            signs = await self._signs(connection, ends, visit.now)
            expected = await silence.weeks(connection)
            alerts = [
                alert for alert in await silence.alerts(connection) if (alert.closed_at or ends) > starts
            ]
            bounces = await desk_traffic.bounces_by_reason(connection, visit.now - BOUNCES)
        most = max((number for _, _, number in bounces), default=0)
        history = History(signs, expected, alerts, monday, visit, self._desk)
        return await self._desk.render(
            visit,
            "traffic.html",
            providers=history.lines(),
            bounces=[(reason, fault, number, line_bar(number, most)) for reason, fault, number in bounces],
            parts=_PARTS,
            fill=fill,
            hatch=hatch(),
            weeks=WEEKS,
            zone=zone,
            **await self._now(visit),
        )

    async def _signs(
        self, connection: Transaction, ends: datetime, now: datetime
    ) -> list[dict[tuple[str, str], int]]:
        """Counts per week. What is older than FRESH weeks hardly changes, and is counted once an hour."""
        settled = ends - FRESH * desk_traffic.WEEK
        if self._past is None or self._past[0] != settled or now - self._past[1] > RECOUNTED:
            older = await desk_traffic.signs_by_week(connection, settled, WEEKS - FRESH)
            self._past = settled, now, older
        return self._past[2] + await desk_traffic.signs_by_week(connection, ends, FRESH)


class History:
    """The weeks shown, by provider: mails by what became of them, what was to be expected, alerts."""

    def __init__(
        self,
        signs: Sequence[Mapping[tuple[str, str], int]],
        expected: Iterable[Week],
        alerts: Iterable[ProviderAlert],
        monday: date,
        visit: Visit,
        desk: Desk,
    ) -> None:
        self._visit, self._zone = visit, desk.library.timezone
        self._begins = [monday - timedelta(weeks=back) for back in range(len(signs) - 1, -1, -1)]
        of = desk.provider_of
        self._counts: list[dict[str, Counter[str]]] = []
        for week in signs:
            counted: dict[str, Counter[str]] = {}
            for (domain, finding), number in week.items():
                counted.setdefault(of(domain), Counter())[finding] += number
            self._counts.append(counted)
        self._expected: dict[tuple[str, date], tuple[float, int]] = {}
        for item in expected:
            key = of(item.domain), item.begins
            signs_, mails = self._expected.get(key, (0.0, 0))
            self._expected[key] = signs_ + item.expected, mails + item.mails
        self._alerts: dict[str, list[ProviderAlert]] = {}
        for alert in alerts:
            self._alerts.setdefault(of(alert.domain), []).append(alert)

    def lines(self) -> list[ProviderLine]:
        """The providers with the most mail, and all that an alert is about."""
        totals: dict[str, Counter[str]] = {}
        for counted in self._counts:
            for name, counts in counted.items():
                totals.setdefault(name, Counter()).update(counts)
        names = sorted(totals, key=lambda name: (name not in self._alerts, -totals[name].total(), name))
        return [
            ProviderLine(name, dict(totals[name]), self._chart(name), tuple(self._alerts.get(name, ())))
            for name in names[: max(PROVIDERS, len(self._alerts))]
        ]

    def _chart(self, name: str) -> Markup:
        bars = [
            self._bar(name, begins, counted.get(name, Counter()))
            for begins, counted in zip(self._begins, self._counts, strict=True)
        ]
        return stacked(
            bars, self._visit.say(f"{name}の週ごとの到着状況", f"{name}: signs of arrival per week")
        )

    def _bar(self, name: str, begins: date, counts: Counter[str]) -> Bar:
        pick = int(self._visit.language == "en")
        parts = tuple((str(part), counts[part], words.FINDINGS[part][pick]) for part in _PARTS)
        expected, mails = self._expected.get((name, begins), (0.0, 0))
        # small domains have no expectation of their own; they are taken to be like the others
        mark = (expected / mails * counts.total(), EXPECTED[pick]) if mails and counts else None
        alarm = (
            ALARM[pick] if any(self._lasted(alert, begins) for alert in self._alerts.get(name, ())) else ""
        )
        return Bar(f"{begins.month}/{begins.day}", parts, mark, alarm)

    def _lasted(self, alert: ProviderAlert, begins: date) -> bool:
        """Whether the alert's time touches the week."""
        first = alert.since.astimezone(self._zone).date()
        last = alert.closed_at.astimezone(self._zone).date() if alert.closed_at else self._visit.today
        return first < begins + timedelta(days=7) and begins <= last
