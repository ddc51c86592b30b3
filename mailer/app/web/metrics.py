"""Numbers for Prometheus, worked out when they are asked for. No address, name, title or own domain leaves.

Enters what the ledger and the sender know; leaves the text of `/metrics`. Providers appear by the names of
`holds_core/providers.tsv` alone: a domain of a patron's own would point to a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from holds_core.alerts import Trouble
from holds_core.ledger.figures import Figures, Group, Slow, figures, slow
from holds_core.providers import Providers
from mailer.app.feeds.live import Lag, lags
from mailer.app.services import Services
from mailer.sender import SenderState

CENSUS_EVERY = timedelta(minutes=1)
OTHER = "other"

BUCKETS = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
"""Seconds of a batch; one of a big consortium at a carrier's pace takes hours."""

Restarts = Callable[[], Mapping[str, int]]
"""Task name -> how often the supervisor had to start it again."""


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, services: Services, restarts: Restarts) -> None:
        self._services, self._restarts = services, restarts
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._now = _Now()
        self._registry.register(self._now)
        self._known = frozenset(row.name for row in services.providers.rows)
        self._slow: tuple[datetime, Slow] | None = None

    async def scrape(self, *, ready: bool) -> bytes:
        """The text that Prometheus reads. Without a database it tells of the process alone."""
        now = self._services.clock.now()
        state = self._services.sender.state
        found = [*_process(state, self._restarts(), ready=ready), self._attempts(state)]
        if ready:
            async with self._services.ledger.read() as connection:
                if self._slow is None or not timedelta() <= now - self._slow[0] < CENSUS_EVERY:
                    self._slow = now, await slow(connection)
                read = await figures(connection, now)
                feeds = await lags(connection, self._services.settings, now)
            found += [*_notices(self._slow[1].groups), *_scanned(self._slow[1]), *_ledger(read, now)]
            found += [self._recent(read), *_feeds(feeds)]
        self._now.families = found
        return generate_latest(self._registry)

    def _attempts(self, state: SenderState) -> Metric:
        by_provider: Counter[tuple[str, str, str]] = Counter()
        for (domain, result, fault), attempts in state.ended.items():
            by_provider[provider_label(self._services.providers, self._known, domain), result, fault] += (
                attempts
            )
        family = CounterMetricFamily(
            "todoku_attempts",
            "Attempts ended by this process, by provider, result and whose fault it was",
            labels=("provider", "result", "fault"),
        )
        for key, value in by_provider.items():
            family.add_metric(key, value)
        return family

    def _recent(self, read: Figures) -> Metric:
        by_provider: Counter[tuple[str, str]] = Counter()
        for (domain, finding), mails in read.recent.items():
            by_provider[provider_label(self._services.providers, self._known, domain), finding] += mails
        return _gauge(
            "todoku_handed_over_last_day",
            "Mails handed over within 24 hours, by provider and finding",
            ("provider", "finding"),
            by_provider.items(),
        )


class _Now(Collector):
    """Hands the registry what the last scrape worked out."""

    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.families

    def describe(self) -> Iterable[Metric]:
        return ()


def provider_label(providers: Providers, known: frozenset[str], domain: str) -> str:
    """The provider's name from the table; OTHER for a domain of one's own."""
    name = providers.of(domain).name
    return name if name in known else OTHER


def _gauge(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _notices(groups: Iterable[Group]) -> Iterator[Metric]:
    states: Counter[tuple[str, str]] = Counter()
    findings: Counter[tuple[str, str]] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    for group in groups:
        states[group.kind, group.state] += group.count
        findings[group.kind, group.finding] += group.count
        if group.fault:
            failures[group.fault, group.reason] += group.count
    yield _gauge("todoku_notices", "Deliveries kept, by kind and state", ("kind", "state"), states.items())
    yield _gauge(
        "todoku_findings", "Deliveries kept, by kind and finding", ("kind", "finding"), findings.items()
    )
    yield _gauge(
        "todoku_failures",
        "Deliveries that failed, by fault and reason",
        ("fault", "reason"),
        failures.items(),
    )


def _scanned(read: Slow) -> Iterator[Metric]:
    yield _gauge(
        "todoku_inbound", "Mails that came back, by kind and state", ("kind", "state"), read.inbound.items()
    )
    yield _gauge(
        "todoku_trouble",
        "What IT is told of, by kind: 1 and more while it lasts",
        ("trouble",),
        (((kind.value,), read.troubles.get(kind, 0)) for kind in Trouble),
    )
    counts = [(str(float(most)), sum(took <= most for took in read.batches)) for most in BUCKETS]
    durations = HistogramMetricFamily(
        "todoku_batch_duration_seconds", "From a batch's release to its last hand-over, of all batches kept"
    )
    durations.add_metric((), [*counts, ("+Inf", len(read.batches))], sum(read.batches))
    yield durations


def _ledger(read: Figures, now: datetime) -> Iterator[Metric]:
    ages = {"due": read.due_since, "next_batch": read.batch_waits_since}
    yield _gauge(
        "todoku_oldest_pending_age_seconds",
        "How long the oldest unsent delivery has waited: since it was due, or for its batch",
        ("waits_for",),
        (((name,), (now - since).total_seconds() if since else 0.0) for name, since in ages.items()),
    )
    plain = {
        "todoku_unanswered": ("Deliveries whose window passed without a sign", read.unanswered),
        "todoku_quarantine_size": ("Inbound mails that could not be used", read.quarantined),
        "todoku_inbound_unread": ("Inbound mails stored and not yet read", read.unread),
        "todoku_open_cases": ("Patrons who need a person's attention", read.open_cases),
        "todoku_breaker_open": ("Whether the circuit breaker keeps mail back", int(read.breaker_open)),
    }
    for name, (text, value) in plain.items():
        yield GaugeMetricFamily(name, text, value)
    times = {
        "todoku_newest_event_timestamp_seconds": ("The time of the newest event applied", read.newest_event),
        "todoku_last_batch_timestamp_seconds": ("When the last batch was released", read.last_batch),
    }
    for name, (text, moment) in times.items():
        if moment is not None:
            yield GaugeMetricFamily(name, text, moment.timestamp())


def _feeds(found: Sequence[Lag]) -> Iterator[Metric]:
    yield _gauge(
        "todoku_feed_lag_seconds",
        "How old a feed's data are; a feed of which nothing was ever taken in is left out",
        ("feed",),
        (((item.feed,), item.lag.total_seconds()) for item in found if item.lag is not None),
    )
    yield _gauge(
        "todoku_feed_late",
        "Whether a feed's data are older than they may become",
        ("feed",),
        (((item.feed,), int(item.late)) for item in found),
    )
    yield _gauge(
        "todoku_feed_failures",
        "How often in a row a feed could not be asked",
        ("feed",),
        (((item.feed,), item.failures) for item in found),
    )


def _process(state: SenderState, restarts: Mapping[str, int], *, ready: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily("todoku_ready", "Whether the daemon can do its work", int(ready))
    if state.relay_up is not None:
        yield GaugeMetricFamily(
            "todoku_relay_up", "Whether the relay could be reached last", int(state.relay_up)
        )
    yield GaugeMetricFamily("todoku_sending_stopped", "Whether no mail may leave", int(bool(state.paused)))
    yield GaugeMetricFamily("todoku_in_flight", "Mails being handed over now", len(state.in_flight))
    outcomes = CounterMetricFamily("todoku_outcomes", "Attempts ended by this process", labels=("outcome",))
    outcomes.add_metric(("handed_over",), state.sent)
    outcomes.add_metric(("refused",), state.refused)
    yield outcomes
    tasks = CounterMetricFamily(
        "todoku_task_restarts", "Tasks that died and were restarted", labels=("task",)
    )
    for name, times in restarts.items():
        tasks.add_metric((name,), times)
    yield tasks
