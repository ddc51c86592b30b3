"""The provider watch: what every domain loses today, and an alert on the day that it is seen to change.

In go the book and the model's beliefs; out come each delivery's share of loss (kept on the delivery), each
domain's level, and `Alert`s with their evidence in plain counts. The mathematics of one domain is in
`holds_core.loss_track`; here is what joins the domains: kin lend each other their experience, the false
alarms of all of them together are limited, and a loss that befalls most of them at once is laid at the
library's own door. Pure; times are days since 1970 unless they are datetimes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import exp
from typing import Final

from holds_core.loss_track import DEFAULT_PRIOR, GRID, Belief, Change, LossTrack, mean, normal
from holds_core.notices import Kind
from holds_core.observations import Ending, Failure
from holds_core.silence_beliefs import Beliefs
from holds_core.silence_book import Book, Delivery
from holds_core.silence_curves import watched_until

YOUNG: Final = 9
"""Days for which a mail's silence still gains weight from one morning to the next."""

FINAL: Final = 35
"""Days after which news of a mail waits for the next refit."""

FALSE_ALARM_DAYS: Final = 3 * 365.0
"""Days between false alarms that a library stands, over all domains together."""

LEANS: Final = 20.0
"""Evidence ratio at which another domain is said to suffer the same at the same time."""

KINDRED: Final = 2.0
"""How many relatives the wider prior is worth when relatives lend their experience."""


class Suspect(StrEnum):
    """Whose change it looks like."""

    PROVIDER = "provider"
    LIBRARY = "library"  # most domains at once, or refusals that name our own fault


@dataclass(frozen=True, slots=True)
class ProviderHint:
    """What a list says of a domain: a weak prior, never a verdict.

    `silent_loss`: the list has heard of mail vanishing there; it only makes a high share less surprising.
    """

    provider: str
    kind: str
    silent_loss: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """A domain's share of signs changed. "outlook.jp: 11 of 40 since 3 May, 80% expected".

    observed, expected: shares (0 to 1) of the `n` mails since `since` that show a sign of life (a press, a
    visit, a collection), and that would have under the loss before. loss_before, loss_now: shares of mail
    that the model believes lost without a word. A recovery has observed > expected.
    """

    raised: datetime
    domain: str
    since: datetime
    observed: float
    expected: float
    n: int
    loss_before: float
    loss_now: float
    suspect: Suspect


class ProviderWatch:
    """Follows the loss of every domain in the book."""

    def __init__(self, book: Book, beliefs: Beliefs, hints: Mapping[str, ProviderHint]) -> None:
        self._book = book
        self._beliefs = beliefs
        self._hints = hints
        self._tracks: dict[str, LossTrack] = {}
        self._alarmed_at: dict[str, int] = {}

    def kin(self, domain: str) -> tuple[str, ...]:
        """The groups of a domain, widest first; keys that no domain name can have."""
        hint = self._hints.get(domain)
        return (f"kind {hint.kind}", f"provider {hint.provider}") if hint else ()

    def rebuild(self, now: float) -> None:
        """After a refit: every day of every domain anew, and every delivery's loss with hindsight."""
        for domain, by_day in self._book.by_day.items():
            track = self._track(domain)
            track.clear()
            self._fill(domain, {*by_day, *self._book.canaries.get(domain, ())}, now)
        self._lend(int(now))
        for domain, by_day in self._book.by_day.items():
            history = self._tracks[domain].history()
            for day, deliveries in by_day.items():
                for delivery in deliveries:
                    delivery.loss = history.get(day, delivery.loss)
        self._book.touched.clear()

    def follow(self, now: float) -> None:
        """Each morning: the young days anew, and older ones of which something was heard."""
        today = int(now)
        heard: dict[str, list[int]] = defaultdict(list)
        for domain, day in self._book.touched:
            if today - FINAL <= day < today - YOUNG:
                heard[domain].append(day)
        self._book.touched.clear()
        young = range(today - YOUNG, today + 1)
        for domain, by_day in self._book.by_day.items():
            canaries = self._book.canaries.get(domain, {})
            self._fill(domain, [*(d for d in young if d in by_day or d in canaries), *heard[domain]], now)
            track = self._tracks[domain]
            track.settle(today - FINAL)
            loss = self._beliefs.loss_at[domain] = mean(track.belief(today))
            for day in young:
                for delivery in by_day.get(day, ()):
                    delivery.loss = loss

    def alerts(self, at: datetime, now: float) -> list[Alert]:
        """Changes that today's evidence proves and no earlier day has reported."""
        threshold = FALSE_ALARM_DAYS * max(len(self._tracks), 1)
        found = []
        for domain in sorted(self._tracks):
            track = self._tracks[domain]
            change = track.change(int(now), threshold)
            if change is not None:
                found.append(self._alert(domain, change, at, now))
                track.regime_from = change.since
        return found

    def _track(self, domain: str) -> LossTrack:
        track = self._tracks.get(domain)
        if track is None:
            track = self._tracks[domain] = LossTrack(self._hinted(domain))
        return track

    def _hinted(self, domain: str) -> Belief:
        hint = self._hints.get(domain)
        if hint is None or not hint.silent_loss:
            return DEFAULT_PRIOR
        return normal(p * (3.0 if q >= 0.2 else 1.0) for p, q in zip(DEFAULT_PRIOR, GRID, strict=True))

    def _fill(self, domain: str, days: Iterable[int], now: float) -> None:
        track = self._track(domain)
        by_day = self._book.by_day[domain]
        canaries = self._book.canaries.get(domain, {})
        for day in days:
            pairs = [p for d in by_day.get(day, ()) if (p := self._likelihood(d, now)) is not None]
            # 0.05: our own mailbox may have a fault of its own
            pairs += [(1.0, -0.95) if arrived else (0.05, 0.95) for arrived in canaries.get(day, ())]
            track.put(day, pairs)

    def _likelihood(self, delivery: Delivery, now: float) -> tuple[float, float] | None:
        """(a, b): the likelihood of what became of it is a + b * q. None: it says nothing of silence.

        It is unseen with u = others * (deaf + (1 - deaf) q); the likelihood, up to a factor, is
        u + (1 - u) * exp(ratio).
        """
        notice = delivery.notice
        if not notice.told or (delivery.failure is not None and notice.confirmed is None):
            return None
        like = exp(self._beliefs.ratio(notice, now))
        if like == 1.0:
            return None
        deaf = self._beliefs.deaf_before(self._book, delivery, now)
        others = self._beliefs.others(delivery)
        return like + (1 - like) * others * deaf, (1 - like) * others * (1 - deaf)

    def _lend(self, today: int) -> None:
        """Every domain's prior from its kin: all domains, then its kind, then its provider, itself left out."""
        shown: dict[str, tuple[Belief, float]] = {}
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(GRID))
        for domain, track in self._tracks.items():
            weight = track.mails / (track.mails + 20.0)
            belief = track.belief(today)
            shown[domain] = belief, weight
            for group in ("", *self.kin(domain)):
                sums[group] = [s + weight * p for s, p in zip(sums[group], belief, strict=True)]
        for domain, track in self._tracks.items():
            belief, weight = shown[domain]
            prior = self._hinted(domain)
            for group in ("", *self.kin(domain)):
                prior = normal(
                    KINDRED * p + max(s - weight * b, 0.0)
                    for p, s, b in zip(prior, sums[group], belief, strict=True)
                )
            track.prior = prior

    def _alert(self, domain: str, change: Change, at: datetime, now: float) -> Alert:
        signs = 0
        expected = 0.0
        n = 0
        for delivery in self._since(domain, change.since):
            notice = delivery.notice
            if delivery.failure is not None or notice.kind is not Kind.HOLD_READY or not notice.told:
                continue
            n += 1
            came = notice.how is Ending.COLLECTED
            signs += came or notice.confirmed is not None or notice.looked is not None
            horizon = watched_until(notice, now) if notice.ended is None else min(now, notice.deadline or now)
            expected += self._sign_by(domain, max(horizon - notice.sent, 0.0), change.was)
        return Alert(
            raised=at,
            domain=domain,
            since=datetime.fromtimestamp(change.since * 86400.0, at.tzinfo),
            observed=signs / n if n else 0.0,
            expected=expected / n if n else 0.0,
            n=n,
            loss_before=change.was,
            loss_now=change.now,
            suspect=self._suspect(domain, change, int(now)),
        )

    def _sign_by(self, domain: str, age: float, loss: float) -> float:
        """The chance that a mail of this domain shows a sign by an age, if it loses `loss`."""
        curves = self._beliefs.curves
        deaf = self._beliefs.deaf_at.get(domain, self._beliefs.deaf)
        unseen = deaf + (1 - deaf) * loss
        stays = curves.stranger().log_survival(0.0, curves.anyway.until(age)) - curves.look_unseen.until(age)
        return 1.0 - exp(stays) * (unseen + (1 - unseen) * exp(-curves.silence.until(age)))

    def _since(self, domain: str, day: int) -> Iterable[Delivery]:
        for d, deliveries in self._book.by_day[domain].items():
            if d >= day:
                yield from deliveries

    def _suspect(self, domain: str, change: Change, today: int) -> Suspect:
        """Ours if servers name our fault, or if most other domains lean the same way at the same time."""
        mine = list(self._since(domain, change.since))
        if sum(d.failure is Failure.OURS for d in mine) > 0.2 * len(mine):
            return Suspect.LIBRARY
        if change.now <= change.was:
            return Suspect.PROVIDER
        leaning = total = 0
        for other, track in self._tracks.items():
            if other == domain or not any(True for _ in self._since(other, change.since)):
                continue
            total += 1
            same = track.change(today, LEANS)
            leaning += same is not None and same.now > same.was and abs(same.since - change.since) <= 14
        return Suspect.LIBRARY if total >= 3 and leaning > total / 2 else Suspect.PROVIDER
