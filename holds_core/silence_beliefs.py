"""What the risk model believes between two fits, and how it weighs one address, one notice, one patron.

In go the book and learned curves and shares; out come probabilities. Nothing is learned here
(`holds_core.silence_fit` and `holds_core.provider_watch` do that). See `holds_core.silence` for the model.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp
from typing import Final

from holds_core.loss_track import DEFAULT_PRIOR, mean
from holds_core.observations import Ending, Failure
from holds_core.silence_book import Book, Delivery, Notice
from holds_core.silence_curves import WATCHED, Curves, watched_until
from holds_core.survival import Frailty

MEMORY: Final = {Failure.UNKNOWN: 0.97, Failure.FILTERED: 0.95, Failure.SOFT: 0.5}
"""Belief that an address is deaf after such a failure, if the next mail does not fail at once."""

USUAL_LOSS: Final = mean(DEFAULT_PRIOR)
"""Loss of a domain of which nothing was ever heard."""

DEATH: Final = 0.02 / 365
"""Chance per day that a good address goes deaf without a word."""

DEAF_PRIOR: Final = 0.02
"""Share of addresses that are deaf from the start, before any data."""

TEMPER: Final = 0.8
"""How far one hold's story counts towards a patron's habit: people are less constant than a gamma makes them."""

MISTYPED: Final = 0.3
"""Belief that an address is deaf from the start when an address check doubts it."""


@dataclass
class Beliefs:
    """What the model has learned at its last fit, and keeps up to date between fits."""

    curves: Curves = field(default_factory=Curves)
    deaf: float = DEAF_PRIOR
    deaf_at: dict[str, float] = field(default_factory=dict)
    loss_at: dict[str, float] = field(default_factory=dict)

    def born_deaf(self, delivery: Delivery) -> float:
        share = self.deaf_at.get(delivery.domain, self.deaf)
        return max(share, MISTYPED) if delivery.mistyped else share

    def loss(self, delivery: Delivery) -> float:
        """The share of mail that its domain lost when it was sent."""
        if delivery.loss is not None:
            return delivery.loss
        return self.loss_at.get(delivery.domain, USUAL_LOSS)

    def ratio(self, notice: Notice, now: float) -> float:
        """`Curves.ratio`, remembered once nothing more can happen."""
        if notice.ratio is not None:
            return notice.ratio
        ratio = self.curves.ratio(notice, now)
        if notice.ended is not None or now - notice.sent > WATCHED + 10 or notice.confirmed is not None:
            notice.ratio = ratio
        return ratio

    def others(self, delivery: Delivery) -> float:
        """P(the notice's other addresses all failed to show it), from their domains alone."""
        product = 1.0
        if len(delivery.notice.deliveries) > 1:
            for other in delivery.notice.deliveries.values():
                if other is not delivery:
                    product *= self.prior(self.born_deaf(other), other)
        return product

    def prior(self, belief: float, delivery: Delivery) -> float:
        """P(this delivery is not seen), before anything is known of what became of it."""
        if delivery.failure is not None and delivery.notice.confirmed is None:
            return 1.0
        return belief + (1 - belief) * self.loss(delivery)

    def listen(self, belief: float, delivery: Delivery, now: float) -> float:
        """The belief that an address is deaf, after one mail to it."""
        like = exp(self.ratio(delivery.notice, now))
        others = self.others(delivery)
        if_deaf = (1 - others) * like + others
        if_loss = self.loss(delivery) * others
        if_live = (1 - if_loss) * like + if_loss
        heard = belief * if_deaf / (belief * if_deaf + (1 - belief) * if_live)
        failure = delivery.failure
        if failure is None or delivery.notice.confirmed is not None:
            return heard
        # our own fault, or nothing sent: no mail came near the address
        return max(belief, heard, MEMORY[failure]) if failure in MEMORY else belief

    def deaf_before(self, book: Book, delivery: Delivery, now: float, *, later: bool = False) -> float:
        """The belief that the address of a delivery was deaf then, from all earlier mail to it.

        `later`: from all other mail to it, also what was sent since.
        """
        belief = self.born_deaf(delivery)
        last = delivery.sent
        for i, other in enumerate(book.addresses[delivery.address]):
            if i:
                belief = age_belief(belief, other.sent - last)
            last = other.sent
            if other is not delivery:
                belief = self.listen(belief, other, now)
            elif not later:
                break
        return belief

    def unseen_before(self, book: Book, notice: Notice, now: float) -> float:
        """P(notice not seen) from all but its own fate: every address must have failed."""
        product = 1.0
        for delivery in notice.deliveries.values():
            product *= self.prior(self.deaf_before(book, delivery, now, later=True), delivery)
        return product

    def unseen(self, book: Book, notice: Notice, now: float) -> float:
        """P(notice not seen) from everything."""
        return unseen(self.unseen_before(book, notice, now), self.ratio(notice, now))

    def habit(self, book: Book, patron: str, now: float, skip: Notice | None = None) -> Frailty:
        """How often this patron comes anyway, from the notices that are over."""
        shape = rate = self.curves.frailty
        for notice in book.patrons.get(patron, ()):
            if notice is skip or notice.ended is None or not notice.told:
                continue
            if notice.share is None:
                notice.share = visit_share(notice, self.unseen(book, notice, now), self.curves)
            came, exposure = notice.share
            shape += TEMPER * came
            rate += TEMPER * exposure
        return Frailty(shape, rate)


def age_belief(belief: float, days: float) -> float:
    """Addresses die in silence: the belief after `days` without mail."""
    return belief + (1 - belief) * (1 - exp(-DEATH * days)) if days > 0 else belief


def unseen(prior: float, ratio: float) -> float:
    """P(not seen) after evidence of that log ratio."""
    return prior / (prior + (1 - prior) * exp(ratio)) if prior > 0 else 0.0


def visit_share(notice: Notice, w: float, curves: Curves) -> tuple[float, float]:
    """(expected visits not owed to the mail, cumulative common hazard lived through) of an ended notice."""
    assert notice.ended is not None
    end = watched_until(notice, notice.ended)
    looked = notice.looked is not None and notice.looked <= end
    age = max((notice.looked if looked and notice.looked is not None else end) - notice.sent, 0.0)
    came = 0.0
    if not looked and notice.fate is Ending.COLLECTED:
        came = 1 - (1 - w) * curves.owed_to_mail(age)
    return came, curves.anyway.until(age)
