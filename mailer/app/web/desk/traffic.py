"""送信状況: today's batches with their progress, what waits, signs per provider over weeks, bounces by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.ledger import desk_traffic, slots
from holds_core.notices import Finding, Transmission
from mailer.app.web.desk import words
from mailer.app.web.desk.charts import Bar, fill, hatch, line_bar, stacked
from mailer.app.web.desk.pages import Desk, Visit

WEEKS = 12
PROVIDERS = 8
"""Charts on the page: the providers with the most mail."""
BOUNCES = timedelta(days=30)
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
    """A provider's mails of the weeks shown. `share`: of those that are settled, how many gave a sign."""

    name: str
    counts: dict[str, int]
    chart: Markup

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def share(self) -> int | None:
        settled = self.total - self.counts.get(Finding.WAITING, 0)
        return round(100 * self.counts.get(Finding.CONFIRMED, 0) / settled) if settled else None


class Traffic:
    """The page, and the part of it that renews itself."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._services = desk.services

    def routes(self) -> list[Route]:
        page = self._desk.page
        return [
            Route("/traffic", page(self.show), methods=["GET"]),
            Route("/traffic/now", page(self.now), methods=["GET"]),
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
        ends = datetime.combine(visit.today + timedelta(days=1), time(0), zone)
        async with self._services.ledger.read() as connection:
            weeks = await desk_traffic.signs_by_week(connection, ends, WEEKS)
            bounces = await desk_traffic.bounces_by_reason(connection, visit.now - BOUNCES)
        most = max((number for _, _, number in bounces), default=0)
        return await self._desk.render(
            visit,
            "traffic.html",
            providers=self._providers(weeks, ends, visit),
            bounces=[(reason, fault, number, line_bar(number, most)) for reason, fault, number in bounces],
            parts=_PARTS,
            fill=fill,
            hatch=hatch(),
            weeks=WEEKS,
            **await self._now(visit),
        )

    def _providers(
        self, weeks: list[dict[tuple[str, str], int]], ends: datetime, visit: Visit
    ) -> list[ProviderLine]:
        by_week: list[dict[str, Counter[str]]] = []
        for week in weeks:
            counted: dict[str, Counter[str]] = {}
            for (domain, finding), number in week.items():
                counted.setdefault(self._desk.provider_of(domain), Counter())[finding] += number
            by_week.append(counted)
        totals: dict[str, Counter[str]] = {}
        for counted in by_week:
            for name, counts in counted.items():
                totals.setdefault(name, Counter()).update(counts)
        names = sorted(totals, key=lambda name: (-totals[name].total(), name))[:PROVIDERS]
        return [
            ProviderLine(name, dict(totals[name]), self._chart(name, by_week, ends, visit)) for name in names
        ]

    def _chart(
        self, name: str, by_week: list[dict[str, Counter[str]]], ends: datetime, visit: Visit
    ) -> Markup:
        pick = int(visit.language == "en")
        bars = []
        for number, counted in enumerate(by_week):
            first = (ends - (len(by_week) - number) * desk_traffic.WEEK).date()
            counts = counted.get(name, Counter())
            parts = tuple((str(part), counts[part], words.FINDINGS[part][pick]) for part in _PARTS)
            bars.append(Bar(f"{first.month}/{first.day}", parts))
        return stacked(bars, visit.say(f"{name}の週ごとの到着状況", f"{name}: signs of arrival per week"))
