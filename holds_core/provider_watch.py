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
from datetime import date, datetime
from enum import StrEnum
from math import exp
from typing import Final

from holds_core.loss_track import (
    DEFAULT_PRIOR,
    FIRST_SETTLED,
    GRID,
    Belief,
    Change,
    LossTrack,
    mean,
    normal,
)
from holds_core.notices import Kind
from holds_core.observations import Ending, Failure
from holds_core.silence_beliefs import Beliefs
from holds_core.silence_book import Book, Delivery, Notice, days
from holds_core.silence_curves import watched_until

YOUNG: Final = 9
"""Days for which a mail's silence still gains weight from one morning to the next."""

FINAL: Final = 35
"""Days after which news of a mail waits for the next refit."""

FALSE_ALARM_DAYS: Final = 3 * 365.0
"""Days between false alarms that a library stands, over all domains together."""

LEVEL: Final = 0.2
LEVEL_SURE: Final = 0.97
LEVEL_MAILS: Final = 8
"""The share of loss that is said even if it was never otherwise, how sure one must be of it, and the mails
that one must have seen."""

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


@dataclass(frozen=True, slots=True)
class Week:
    """One domain's hold-ready mail of one week: `signs` of its `mails` show a sign of life so far, where
    `expected` would if the domain lost nothing. `begins` is a Monday."""

    domain: str
    begins: date
    mails: int
    signs: int
    expected: float


class ProviderWatch:
    """Follows the loss of every domain in the book."""

    def __init__(self, book: Book, beliefs: Beliefs, hints: Mapping[str, ProviderHint]) -> None:
        self._book = book
        self._beliefs = beliefs
        self._hints = hints
        self._tracks: dict[str, LossTrack] = {}
        self._changes: dict[str, Change] = {}  # the last one told of each domain

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
        # the hundreds of domains with a mail or two can raise no alarm, so they take no share of what is stood
        judged = sum(track.may_tell for track in self._tracks.values())
        threshold = FALSE_ALARM_DAYS * max(judged, 1)
        found = []
        for domain in sorted(self._tracks):
            track = self._tracks[domain]
            change = track.change(int(now), threshold)
            if change is not None:
                found.append(self._alert(domain, change, at, now))
                self._remember(domain, change)
        return found

    def recall(self, alert: Alert) -> None:
        """What an earlier run has told is where the present regime begins."""
        self._remember(alert.domain, _change(alert))

    def suspect(self, alert: Alert, now: float) -> Suspect:
        """Whose change it looks like with what is known now."""
        return self._suspect(alert.domain, _change(alert), int(now))

    def levels(self, at: datetime, now: float) -> list[Alert]:
        """Domains that lose much and have done so for as long as they are known: no change, and worth saying.

        `loss_before` is what the other domains lose.
        """
        found = []
        today = int(now)
        for domain, track in sorted(self._tracks.items()):
            if domain in self._changes or track.mails < LEVEL_MAILS:
                continue
            belief = track.belief(today)
            if sum(p for p, q in zip(belief, GRID, strict=True) if q >= LEVEL) >= LEVEL_SURE:
                since = track.onset(today, LEVEL)
                if track.mails_before(since) >= FIRST_SETTLED:
                    continue  # it was fine for long enough: a change, and judged as one
                change = Change(since, self._others_lose(domain), mean(belief), 0.0)
                found.append(self._alert(domain, change, at, now))
        return found

    def _others_lose(self, domain: str) -> float:
        rows = [(t.mails, self._beliefs.loss_at.get(d, 0.0)) for d, t in self._tracks.items() if d != domain]
        mails = sum(n for n, _ in rows)
        return sum(n * loss for n, loss in rows) / mails if mails else mean(DEFAULT_PRIOR)

    def weeks(self, now: float, count: int) -> list[Week]:
        """The last `count` weeks with mail, of every domain."""
        first = _week(int(now)) - count + 1
        rows: dict[tuple[str, int], list[float]] = {}
        for domain, by_day in self._book.by_day.items():
            for day, deliveries in by_day.items():
                for delivery in deliveries if _week(day) >= first else ():
                    if (shown := self._shown(domain, delivery, 0.0, now)) is not None:
                        row = rows.setdefault((domain, _week(day)), [0.0, 0.0, 0.0])
                        row[:] = (row[0] + 1, row[1] + shown[0], row[2] + shown[1])
        return [
            Week(domain, date.fromordinal(MONDAY + 7 * week), int(mails), int(signs), expected)
            for (domain, week), (mails, signs, expected) in sorted(rows.items())
        ]

    def _remember(self, domain: str, change: Change) -> None:
        self._changes[domain] = change
        self._track(domain).regime_from = change.since

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

    def _fill(self, domain: str, wanted: Iterable[int], now: float) -> None:
        track = self._track(domain)
        by_day = self._book.by_day[domain]
        canaries = self._book.canaries.get(domain, {})
        for day in wanted:
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
            if (shown := self._shown(domain, delivery, change.was, now)) is not None:
                n += 1
                signs += shown[0]
                expected += shown[1]
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

    def _shown(self, domain: str, delivery: Delivery, loss: float, now: float) -> tuple[bool, float] | None:
        """(whether it shows a sign, the chance of one by now at that loss); None if it is not to count."""
        notice = delivery.notice
        if delivery.failure is not None or notice.kind is not Kind.HOLD_READY or not notice.told:
            return None
        horizon = watched_until(notice, now) if notice.ended is None else min(now, notice.deadline or now)
        horizon = horizon if notice.told_at is None else min(horizon, notice.told_at)
        return _signed(notice), self._sign_by(domain, max(horizon - notice.sent, 0.0), loss)

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
            told = self._changes.get(other)
            same = told if told is not None and told.now > told.was else track.change(today, LEANS)
            leaning += same is not None and same.now > same.was and abs(same.since - change.since) <= 14
        return Suspect.LIBRARY if total >= 3 and leaning > total / 2 else Suspect.PROVIDER


MONDAY: Final = date(1970, 1, 5).toordinal()
"""The first Monday since 1970; weeks are counted from it."""


def _week(day: int) -> int:
    """The week of a day since 1970."""
    return (day - 4) // 7


def _change(alert: Alert) -> Change:
    return Change(round(days(alert.since)), alert.loss_before, alert.loss_now, 0.0)


def _signed(notice: Notice) -> bool:
    """Whether a notice shows a sign of life: a press, a visit or a collection that may be owed to it."""
    looked = notice.looked is not None and (notice.told_at is None or notice.looked < notice.told_at)
    return notice.fate is Ending.COLLECTED or notice.confirmed is not None or looked
