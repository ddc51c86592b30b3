"""The lookout: brings the risk model what the ledger has learned, and the ledger what the model finds. A loop.

Each morning before the desk opens the model is made anew from the whole history, as after a restart, so
that it knows exactly what the ledger knows and nothing that was erased. In between, news is weighed every
few minutes with the morning's beliefs. The thinking is done in a thread: a sender waits for none of it. Of
several daemons on one ledger one does this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from holds_core.ledger import silence
from holds_core.ledger.session import Ledger
from holds_core.ledger.silence import ProviderAlert, Stored, Weighed
from holds_core.ledger.silence_facts import Asks, Facts
from holds_core.observations import Observation
from holds_core.provider_watch import Alert, ProviderHint, Suspect, Week
from holds_core.rulebook import Rulebook
from holds_core.settings import Case
from holds_core.silence import SilenceModel

TURN = 3.0
"""How many looks a daemon may miss before another one takes its turn."""


class LookoutLog(Protocol):
    """The log's verbs that the lookout speaks. A domain is a provider's; no address is ever handed in."""

    def silence_weighed(
        self, waiting: int, alarming: int, changed: int, observations: int, seconds: float
    ) -> None: ...

    def provider_alert(
        self, what: str, alert: int, domain: str, suspect: str, sent: int, shown: int
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look found. `alerts` and `weeks` only come with a morning."""

    risks: list[Weighed]
    alerts: list[Alert]
    weeks: list[Week] | None
    losses: dict[str, float]


class Lookout:
    """`now` and `sleep` are the daemon's clock, `rulebook` the one in force, `owner` this process's name."""

    def __init__(
        self,
        ledger: Ledger,
        rulebook: Callable[[], Rulebook],
        asks: Asks,
        hints: Mapping[str, ProviderHint],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
        log: LookoutLog,
        owner: str,
    ) -> None:
        self._ledger, self._rulebook, self._asks, self._hints = ledger, rulebook, asks, hints
        self._now, self._sleep, self._log, self._owner = now, sleep, log, owner
        self._facts = Facts(rulebook(), asks)
        self._model: SilenceModel | None = None
        self._began: datetime | None = None
        self.stored: Stored | None = None
        """What the last look of this process wrote."""

    @property
    def _case(self) -> Case:
        return self._rulebook().settings.case

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.look()
                await self._sleep(self._pause())
        finally:
            async with self._ledger.write() as connection:
                await silence.give_up_turn(connection, self._owner, self._now())

    async def look(self) -> None:
        """Looks once: at everything if the morning is due, else at the news."""
        now = self._now()
        async with self._ledger.write() as connection:
            mine = await silence.take_turn(connection, self._owner, now, self._case.weigh_every * TURN)
        if not mine:
            self._model = None
            return
        began = asyncio.get_running_loop().time()
        morning = self._model is None or self._facts.stale or self._is_morning(now)
        seen = await self._begin(now) if morning else await self._facts.news(self._ledger, now)
        model = self._model
        assert model is not None
        found = await asyncio.to_thread(self._think, model, seen, now, morning=morning)
        await self._write(found, now)
        async with self._ledger.write() as connection:
            await silence.has_weighed(connection, now)
        assert self.stored is not None
        seconds = asyncio.get_running_loop().time() - began
        self._log.silence_weighed(
            self.stored.waiting, self.stored.alarming, self.stored.written, len(seen), seconds
        )

    async def _begin(self, now: datetime) -> list[Observation]:
        """A model without a past, and all observations for it."""
        self._facts = Facts(self._rulebook(), self._asks)
        model = SilenceModel(self._hints)
        async with self._ledger.read() as connection:
            for alert in reversed(await silence.alerts(connection)):
                model.recall(silence.as_told(alert))
        seen = await self._facts.everything(self._ledger)
        self._model, self._began = model, now
        return seen

    def _think(self, model: SilenceModel, seen: list[Observation], now: datetime, *, morning: bool) -> _Found:
        """In a thread: touches nothing but the model, which nobody else has meanwhile."""
        for item in seen:
            model.observe(item)
        alerts = [*model.refresh(now), *model.levels(now)] if morning else []
        risks = [Weighed(risk, model.lapses_at(risk.notice_id)) for risk in model.waiting(now)]
        return _Found(risks, alerts, model.weeks(now) if morning else None, model.losses())

    async def _write(self, found: _Found, now: datetime) -> None:
        self.stored = await silence.store(self._ledger, found.risks, now, self._case.open_from)
        if found.weeks is None:
            return
        weeks = found.weeks
        await self._ledger.write_many(lambda connection: silence.store_weeks(connection, weeks))
        await self._write_alerts(found, now)

    async def _write_alerts(self, found: _Found, now: datetime) -> None:
        for alert in found.alerts:
            async with self._ledger.write() as connection:
                told = await silence.store_alert(connection, alert, now)
            if told is not None:
                self._tell("closed" if told.closed_at else "opened", told)
        async with self._ledger.read() as connection:
            still = await silence.alerts(connection, open_only=True)
        for known in still:
            await self._look_again(known, found.losses.get(known.domain), now)

    async def _look_again(self, alert: ProviderAlert, loss: float | None, now: datetime) -> None:
        """An open alert: is it over, and is it still the same one's fault?"""
        assert self._model is not None
        if alert.opened_at != now and silence.is_over(alert, loss):
            async with self._ledger.write() as connection:
                closed = await silence.close_alert(connection, alert.domain, "recovered", now)
            if closed is not None:
                self._model.recall(silence.as_told(closed))
                self._tell("closed", closed)
            return
        suspect = self._model.suspect(silence.as_told(alert), now)
        # who was blamed by all the evidence at once is not cleared because the others have recovered since
        if suspect is not alert.suspect and suspect is Suspect.LIBRARY:
            async with self._ledger.write() as connection:
                news = await silence.blame(connection, alert.id, suspect, now)
            if news:
                self._tell("blamed", alert)

    def _tell(self, what: str, alert: ProviderAlert) -> None:
        self._log.provider_alert(what, alert.id, alert.domain, alert.suspect.value, alert.sent, alert.shown)

    # -- when --------------------------------------------------------------------------------------

    def _is_morning(self, now: datetime) -> bool:
        """Whether the time of the day's whole weighing has come since the last one."""
        return self._began is not None and self._began < self._last_morning(now)

    def _last_morning(self, now: datetime) -> datetime:
        local = self._rulebook().local(now)
        due = datetime.combine(local.date(), self._case.weigh_at, local.tzinfo)
        return due if due <= local else datetime.combine(
            local.date() - timedelta(days=1), self._case.weigh_at, local.tzinfo
        )  # fmt: skip

    def _pause(self) -> float:
        """Seconds until the next look: no later than the next morning."""
        now = self._now()
        local = self._rulebook().local(self._last_morning(now))
        morning = datetime.combine(local.date() + timedelta(days=1), self._case.weigh_at, local.tzinfo)
        return max(1.0, min(self._case.weigh_every, morning - now).total_seconds())
