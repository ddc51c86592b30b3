"""Survival curves learned from counts: how soon people come, press a button, look at the web page.

In go events ("collected 2.3 days after the mail") and exposure ("waited 4 days without"), both with weights;
out come hazards, the chance per day that it happens now if it has not happened yet. Pure arithmetic; it
knows nothing of mail. Source: piecewise exponential survival with gamma frailty, as in any textbook
(Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, chapters 2 and 4).
"""

from __future__ import annotations

from bisect import bisect_right
from math import log1p
from typing import Final

EDGES: Final = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.5, 11.0, 15.0, 22.0)
"""Where the pieces begin, in days since the mail; the last one has no end."""

PIECES: Final = len(EDGES)


PRIOR_EVENTS: Final = 5.0
"""Events that the height of a prior curve is worth, all pieces together."""


class Hazard:
    """A hazard that is constant within each piece of `EDGES`; unit: 1/day."""

    __slots__ = ("cumulated", "rates")

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates
        self.cumulated = [0.0]
        for i in range(PIECES - 1):
            self.cumulated.append(self.cumulated[-1] + rates[i] * (EDGES[i + 1] - EDGES[i]))

    @classmethod
    def flat(cls, rate: float) -> Hazard:
        return cls([rate] * PIECES)

    def at(self, days: float) -> float:
        """The hazard at an age of `days` >= 0."""
        return self.rates[bisect_right(EDGES, days) - 1]

    def until(self, days: float) -> float:
        """The cumulative hazard from 0 to `days` >= 0; exp of its negative is the survival."""
        i = bisect_right(EDGES, days) - 1
        return self.cumulated[i] + self.rates[i] * (days - EDGES[i])


class Counts:
    """Weighted events and exposure per piece, gathered in one pass over a history."""

    __slots__ = ("_partial", "_whole", "events")

    def __init__(self) -> None:
        self.events = [0.0] * PIECES
        self._partial = [0.0] * PIECES
        self._whole = [0.0] * PIECES  # weight whose exposure ends in this piece: all earlier ones are whole

    def exposed(self, days: float, weight: float) -> None:
        """Someone of this weight was watched from 0 to `days`."""
        i = bisect_right(EDGES, days) - 1
        self._partial[i] += weight * (days - EDGES[i])
        self._whole[i] += weight

    def happened(self, days: float, weight: float) -> None:
        self.events[bisect_right(EDGES, days) - 1] += weight

    def exposure(self) -> list[float]:
        """Person-days watched in each piece."""
        out = list(self._partial)
        beyond = 0.0
        for i in range(PIECES - 2, -1, -1):
            beyond += self._whole[i + 1]
            out[i] += beyond * (EDGES[i + 1] - EDGES[i])
        return out

    def hazard(self, prior: Hazard, prior_days: float) -> Hazard:
        """Posterior mean under a gamma prior worth `prior_days` person-days at the prior's rate.

        The prior of each piece is itself drawn towards the overall level that these counts show, so that
        a thin library gets the usual shape at its own height.
        """
        exposure = self.exposure()
        expected = sum(e * r for e, r in zip(exposure, prior.rates, strict=True))
        level = (sum(self.events) + PRIOR_EVENTS) / (expected + PRIOR_EVENTS)
        return Hazard(
            [
                (n + prior_days * r * level) / (e + prior_days)
                for n, e, r in zip(self.events, exposure, prior.rates, strict=True)
            ]
        )


class Frailty:
    """How often one person comes anyway: a factor on the common hazard, with a gamma belief.

    `shape / rate` is its mean; a stranger has `Frailty(a, a)`, mean 1. Each visit that was not owed to the
    mail adds 1 to the shape, each unit of cumulative common hazard lived through adds 1 to the rate.
    """

    __slots__ = ("rate", "shape")

    def __init__(self, shape: float, rate: float) -> None:
        self.shape, self.rate = shape, rate

    def log_survival(self, start: float, end: float) -> float:
        """Log of the chance to pass from cumulative hazard `start` to `end` without coming."""
        return -self.shape * log1p((end - start) / (self.rate + start))

    def mean_at(self, cumulated: float) -> float:
        """Expected factor of someone who has not come until this cumulative hazard."""
        return self.shape / (self.rate + cumulated)
