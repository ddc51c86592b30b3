"""One domain's silent loss over time: its level today, and the day on which it changed.

In go likelihoods, one pair per mail (what its silence or its sign says), day by day; out come the belief in
the share of mail that this domain loses without a word, and a `Change` when that share is no longer what it
was. Pure arithmetic: it knows no notice, no name and no clock.

**Level.** The share lost, q, lives on `GRID`. A mail with likelihood a + b·q multiplies the belief by that.
Each day the share may have jumped, with chance `JUMP`, to a fresh draw from `prior`: the forward filter of
a hidden Markov model, so old evidence fades by itself exactly as far as new evidence contradicts it.

**Change.** For every day t of the last `MEMORY` days, the evidence ratio

    R(t) = P(mail since t | a share drawn anew, clearly unlike the old one) / P(mail since t | as before t)

where "as before t" is the belief of the regime that ended at t. Their sum is Shiryaev and Roberts' statistic:
under no change its expectation on day n is n, hence it crosses C at most once per C days on average
(Pollak 1985; Shin, Ramdas and Rinaldo 2022, "E-detectors"). C is given by the caller from the number of
domains watched and the false alarms it will stand. `since` is the t with the largest ratio. After an alarm
the next regime is judged against this one: a recovery is a change like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import Final

GRID: Final = (
    0.003, 0.007, 0.013, 0.02, 0.03, 0.045, 0.065, 0.09, 0.12, 0.16, 0.21,
    0.27, 0.34, 0.42, 0.5, 0.58, 0.66, 0.74, 0.82, 0.9, 0.97,
)  # fmt: skip
"""Shares of mail lost, finer where libraries differ in who is fine, coarser where all is bad."""

WIDTHS: Final = tuple((GRID[min(i + 1, len(GRID) - 1)] - GRID[max(i - 1, 0)]) / 2 for i in range(len(GRID)))
"""What each point of the grid stands for, so that a changed share is equally likely to be any."""

JUMP: Final = 1 / 300
"""Chance per day that a provider changes its ways: about twice a year."""

MEMORY: Final = 90
"""Days back to which a change is still looked for; what took longer is no change but a level."""

CLEAR: Final = 0.15
"""Least difference in share lost that is worth an alert."""

SETTLED: Final = 12
FIRST_SETTLED: Final = 100
"""Mails that a regime must have shown before a change from it can be told; the first one is judged while
the model is still learning how people come, hence more."""

WORTH_A_LOOK: Final = 3.0
"""Log-likelihood that some other share must gain over the old one before a day is examined."""

CHUNK: Final = 40
"""Likelihoods multiplied before the logarithm is taken; each lies between 1e-6 and 1e6."""

Belief = tuple[float, ...]


def normal(weights: Iterable[float]) -> Belief:
    """The weights as probabilities."""
    row = tuple(weights)
    total = sum(row)
    return tuple(w / total for w in row)


_usual = normal((0.04 / (0.04 + q)) ** 2 for q in GRID)
DEFAULT_PRIOR: Final = tuple(0.75 * u + 0.25 / len(GRID) for u in _usual)
"""Before any data: most providers lose a few per cent, some lose any share."""


def mean(belief: Sequence[float]) -> float:
    return sum(p * q for p, q in zip(belief, GRID, strict=True))


@dataclass(frozen=True, slots=True)
class Change:
    """The share lost changed between `since` - 1 and `since` (day numbers); from and to are means."""

    since: int
    was: float
    now: float
    log_ratio: float


class LossTrack:
    """The loss of one domain through time."""

    def __init__(self, prior: Belief = DEFAULT_PRIOR) -> None:
        self.prior = prior
        self.regime_from: int | None = None  # first day of the present regime; None: the beginning
        self._days: dict[int, tuple[tuple[float, ...], int]] = {}
        self._base: tuple[int, Belief] | None = None  # filtered belief at the end of an old, settled day

    def put(self, day: int, mails: Sequence[tuple[float, float]]) -> None:
        """Sets what a day's mail says, as pairs (a, b): its likelihood given a share q lost is a + b·q."""
        if not mails:
            self._days.pop(day, None)
            return
        total = [0.0] * len(GRID)
        for start in range(0, len(mails), CHUNK):
            product = [1.0] * len(GRID)
            for a, b in mails[start : start + CHUNK]:
                product = [p * (a + b * q) for p, q in zip(product, GRID, strict=True)]
            total = [t + log(p) for t, p in zip(total, product, strict=True)]
        self._days[day] = (tuple(total), len(mails))

    def clear(self) -> None:
        self._days.clear()
        self._base = None

    @property
    def mails(self) -> int:
        return sum(n for _, n in self._days.values())

    def mails_before(self, day: int) -> int:
        return sum(n for d, (_, n) in self._days.items() if d < day)

    @property
    def may_tell(self) -> bool:
        """Whether it has shown mail enough for a change to be told of it at all."""
        return self.regime_from is not None or self.mails > FIRST_SETTLED

    def settle(self, day: int) -> None:
        """Promises that days before `day` are final until `clear`: the filter need not see them again."""
        self._base = (day - 1, self.belief(day - 1))

    def _drift(self, belief: Belief, days: int) -> Belief:
        stay = (1 - JUMP) ** days
        return tuple(stay * p + (1 - stay) * r for p, r in zip(belief, self.prior, strict=True))

    def belief(self, day: int) -> Belief:
        """What is believed at the end of `day`."""
        at, belief = self._base or (None, self.prior)
        for d in sorted(k for k in self._days if (at is None or k > at) and k <= day):
            if at is not None:
                belief = self._drift(belief, d - at)
            belief = _update(belief, self._days[d][0])
            at = d
        return belief if at is None or at >= day else self._drift(belief, day - at)

    def history(self) -> dict[int, float]:
        """The mean share lost on each day with mail, judged with all that came before and after."""
        days = sorted(self._days)
        forward: list[Belief] = []
        belief = self.prior
        for i, d in enumerate(days):
            if i:
                belief = self._drift(belief, d - days[i - 1])
            belief = _update(belief, self._days[d][0])
            forward.append(belief)
        out: dict[int, float] = {}
        later = tuple(1.0 for _ in GRID)
        for i in range(len(days) - 1, -1, -1):
            out[days[i]] = mean(normal(f * s for f, s in zip(forward[i], later, strict=True)))
            if i:
                seen = _scaled(later, self._days[days[i]][0])
                stay = (1 - JUMP) ** (days[i] - days[i - 1])
                fresh = (1 - stay) * sum(s * r for s, r in zip(seen, self.prior, strict=True))
                later = tuple(stay * s + fresh for s in seen)
        return out

    def onset(self, today: int, level: float) -> int:
        """The day from which the mail up to `today` most likely shows a share of at least `level`, if it does.

        The first day with mail if it was never otherwise. Raises ValueError if there was none.
        """
        days = sorted(d for d in self._days if d <= today)
        if not days:
            raise ValueError("no mail, no onset")
        fine = normal(p if q < level else 0.0 for p, q in zip(self.prior, GRID, strict=True))
        bad = normal(w if q >= level else 0.0 for w, q in zip(WIDTHS, GRID, strict=True))
        since = [sum(column) for column in zip(*(self._days[d][0] for d in days), strict=True)]
        before = [0.0] * len(GRID)
        best, found = -inf, days[0]
        for d in days:
            fits = _evidence(fine, before) + _evidence(bad, since)
            if fits > best:
                best, found = fits, d
            row = self._days[d][0]
            before = [b + x for b, x in zip(before, row, strict=True)]
            since = [s - x for s, x in zip(since, row, strict=True)]
        return found

    def change(self, today: int, threshold: float) -> Change | None:
        """The change that the mail up to `today` proves beyond `threshold` (in days between false alarms)."""
        start = self.regime_from
        settled = FIRST_SETTLED if start is None else SETTLED
        days = sorted(d for d in self._days if (start is None or d >= start) and d <= today)
        regime = [0.0] * len(GRID)
        seen: list[int] = []
        base: list[tuple[list[float], int]] = []
        mails = 0
        for d in days:
            base.append((list(regime), mails))
            row, n = self._days[d]
            regime = [r + x for r, x in zip(regime, row, strict=True)]
            mails += n
            seen.append(d)
        total = 0.0
        best: Change | None = None
        for d, (before, n) in zip(seen, base, strict=True):
            if n < settled or d < today - MEMORY:
                continue
            since = [r - b for r, b in zip(regime, before, strict=True)]
            if max(since) - since[before.index(max(before))] < WORTH_A_LOOK:
                continue
            found = self._ratio(d, before, since)
            if found is None:
                continue
            total += exp(min(found.log_ratio, 300.0))
            if best is None or found.log_ratio > best.log_ratio:
                best = found
        return best if best is not None and total >= threshold else None

    def _ratio(self, day: int, before: list[float], since: list[float]) -> Change | None:
        old = _update(self.prior, tuple(before))
        was = mean(old)
        top = max(since)
        like = [exp(s - top) for s in since]
        same = sum(p * x for p, x in zip(old, like, strict=True))
        fresh = [width if abs(q - was) >= CLEAR else 0.0 for width, q in zip(WIDTHS, GRID, strict=True)]
        weight = sum(fresh)
        parts = [r / weight * x for r, x in zip(fresh, like, strict=True)]
        other = sum(parts)
        if other <= 0.0 or other < same * 0.01:
            return None
        ratio = log(other / same) if same > 0 else inf
        return Change(day, was, mean(normal(parts)), ratio)


def _evidence(belief: Belief, row: Sequence[float]) -> float:
    """Log of the likelihood of a row, on average over a belief."""
    top = max(row)
    return top + log(sum(p * exp(x - top) for p, x in zip(belief, row, strict=True)))


def _update(belief: Belief, row: tuple[float, ...]) -> Belief:
    top = max(row)
    return normal(p * exp(x - top) for p, x in zip(belief, row, strict=True))


def _scaled(later: Belief, row: tuple[float, ...]) -> Belief:
    top = max(row)
    return normal(s * exp(x - top) for s, x in zip(later, row, strict=True))
