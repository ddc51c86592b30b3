"""Learns the model's curves, shares and persons from the book: expectation and maximisation, a few rounds.

In go the book and what is believed so far; out come new curves, the share of deaf addresses per domain, the
loss tracks filled anew and each patron's habit. Counts are expected counts: a notice whose mail was unseen
with probability w adds w to the unseen side and 1 - w to the seen side. See `holds_core.silence` for the
model. Pure; never changes what was observed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import lgamma, log
from typing import Final

from holds_core.notices import Kind
from holds_core.observations import Ending
from holds_core.silence_beliefs import DEAF_PRIOR, Beliefs, age_belief, unseen, visit_share
from holds_core.silence_book import Book, Notice
from holds_core.silence_curves import (
    PRIOR_AFTER,
    PRIOR_ANYWAY,
    PRIOR_LOOK,
    PRIOR_PRESS,
    PRIOR_REGISTRATION,
    PRIOR_SEEN,
    WATCHED,
    Curves,
    watched_until,
)
from holds_core.survival import Counts, Hazard

KIN: Final = 80
"""A domain's own share of deaf addresses weighs as much as its kin's once it has so many addresses."""

PRIOR_DAYS: Final = 8.0
"""Person-days per piece that the prior shape of a curve is worth."""

FRAILTIES: Final = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
USUAL_FRAILTY: Final = 2.5
"""Gamma shapes that are tried, and the middle of the log-normal prior over them."""

WEAK: Final = 50
"""Addresses that `DEAF_PRIOR` is worth."""

Kin = Callable[[str], tuple[str, ...]]
"""From a domain to the groups it belongs to, widest first."""


class Tally:
    """The expected counts of one round."""

    def __init__(self) -> None:
        self.seen, self.anyway, self.press, self.registration = Counts(), Counts(), Counts(), Counts()
        self.seen_anyway = Counts()  # exposure of those who saw the mail to coming anyway
        self.look_seen, self.look_unseen, self.after = Counts(), Counts(), Counts()

    def registration_mail(self, notice: Notice, w: float, now: float) -> None:
        age = min(max((notice.confirmed or now) - notice.sent, 0.0), WATCHED)
        self.registration.exposed(age, 1 - w)
        if notice.confirmed is not None and notice.confirmed - notice.sent <= WATCHED:
            self.registration.happened(age, 1.0)

    def hold_mail(self, notice: Notice, w: float, habit: float, now: float) -> None:
        end = watched_until(notice, now)
        age = max(end - notice.sent, 0.0)
        self._pressed(notice, w, age)
        if notice.looked is not None and notice.looked <= end:
            since = end - notice.looked
            self.after.exposed(since, 1.0)
            if notice.fate is Ending.COLLECTED:
                self.after.happened(since, 1.0)
            age = notice.looked - notice.sent
            self.look_seen.happened(age, 1 - w)
            self.look_unseen.happened(age, w)
        elif notice.fate is Ending.COLLECTED:
            self.seen.happened(age, 1 - w)
            self.anyway.happened(age, w)
        self.seen.exposed(age, 1 - w)
        self.anyway.exposed(age, w * habit)
        self.seen_anyway.exposed(age, (1 - w) * habit)
        self.look_seen.exposed(age, 1 - w)
        self.look_unseen.exposed(age, w)

    def _pressed(self, notice: Notice, w: float, age: float) -> None:
        if not notice.asks:
            return
        pressed = None if notice.confirmed is None else notice.confirmed - notice.sent
        if pressed is not None and 0 <= pressed <= age:
            self.press.exposed(pressed, 1.0)
            self.press.happened(pressed, 1.0)
        elif notice.confirmed is None:
            self.press.exposed(age, 1 - w)

    def curves(self, frailty: float) -> Curves:
        """The hazards that these counts show. What the mail brings is what the seen do beyond the unseen.

        Solved at once rather than by sharing out each visit, which would take hundreds of rounds.
        """
        anyway = self.anyway.hazard(PRIOR_ANYWAY, PRIOR_DAYS)
        seen = self.seen.hazard(PRIOR_SEEN, PRIOR_DAYS)
        come = [
            max(both - alone * (habit + PRIOR_DAYS) / (watched + PRIOR_DAYS), 0.0)
            for both, alone, habit, watched in zip(
                seen.rates, anyway.rates, self.seen_anyway.exposure(), self.seen.exposure(), strict=True
            )
        ]
        return Curves(
            come=Hazard(come),
            anyway=anyway,
            press=self.press.hazard(PRIOR_PRESS, PRIOR_DAYS),
            registration=self.registration.hazard(PRIOR_REGISTRATION, PRIOR_DAYS),
            look_seen=self.look_seen.hazard(PRIOR_LOOK, PRIOR_DAYS),
            look_unseen=self.look_unseen.hazard(PRIOR_LOOK, PRIOR_DAYS),
            after_look=self.after.hazard(PRIOR_AFTER, PRIOR_DAYS),
            frailty=frailty,
        )


def weigh(book: Book, beliefs: Beliefs, now: float) -> tuple[dict[str, float], dict[str, float]]:
    """P(unseen) of every notice from its address's past and its own fate, and P(deaf) of every address.

    Addresses with a failure are left out of the second: they say what they are, the share is of the mute.
    """
    priors: dict[str, float] = {}
    deaf: dict[str, float] = {}
    for address, deliveries in book.addresses.items():
        belief = beliefs.born_deaf(deliveries[0])
        born_deaf = belief
        last = deliveries[0].sent
        for delivery in deliveries:
            belief = age_belief(belief, delivery.sent - last)
            last = delivery.sent
            notice = delivery.notice
            priors[notice.id] = priors.get(notice.id, 1.0) * beliefs.prior(belief, delivery)
            heard = beliefs.listen(belief, delivery, now)
            born_deaf *= heard / belief
            belief = heard
        if all(d.failure is None for d in deliveries) and any(d.notice.told for d in deliveries):
            deaf[address] = born_deaf
    weights = {}
    for notice in book.notices.values():
        weights[notice.id] = unseen(priors[notice.id], beliefs.ratio(notice, now))
    return weights, deaf


def deaf_shares(book: Book, deaf: dict[str, float], kin: Kin) -> tuple[float, dict[str, float]]:
    """Shares of deaf addresses: over all, and per domain drawn towards its kin, those towards all."""
    overall = (WEAK * DEAF_PRIOR + sum(deaf.values())) / (WEAK + len(deaf))
    totals: dict[str, float] = defaultdict(float)
    members: dict[str, int] = defaultdict(int)
    domains = set()
    for address, belief in deaf.items():
        domain = book.addresses[address][0].domain
        domains.add(domain)
        for group in (*kin(domain), domain):
            totals[group] += belief
            members[group] += 1
    shares = {}
    for domain in domains:
        share = overall
        for group in (*kin(domain), domain):
            share = (KIN * share + totals[group]) / (KIN + members[group])
        shares[domain] = share
    return overall, shares


def frailty(book: Book, curves: Curves) -> float:
    """How alike people are in coming anyway: the gamma shape that best explains them (large: all alike).

    Judged only on holds whose mail is known to have failed, where nothing but their habits brought them:
    per person a gamma-Poisson likelihood, times a log-normal prior, over a short grid.
    """
    persons: dict[str, tuple[float, float]] = {}
    for notice in book.notices.values():
        if notice.kind is Kind.HOLD_READY and notice.ended is not None and notice.told and not notice.reached:
            came, exposure = visit_share(notice, 1.0, curves)
            before = persons.get(notice.patron, (0.0, 0.0))
            persons[notice.patron] = before[0] + came, before[1] + exposure

    def log_likelihood(a: float) -> float:
        prior = -0.5 * (log(a / USUAL_FRAILTY) / 0.5) ** 2
        return prior + sum(
            lgamma(a + came) - lgamma(a) + a * log(a) - (a + came) * log(a + exposure)
            for came, exposure in persons.values()
        )

    return max(FRAILTIES, key=log_likelihood)


def refit(book: Book, beliefs: Beliefs, now: float, kin: Kin) -> None:
    """One round over the whole book; changes `beliefs` and what the notices remember of them."""
    weights, deaf = weigh(book, beliefs, now)
    tally = Tally()
    curves = beliefs.curves
    for notice in book.notices.values():
        w = weights[notice.id]
        if notice.kind is Kind.REGISTRATION_CHANGED and notice.reached and notice.asks:
            tally.registration_mail(notice, w, now)
        elif notice.kind is Kind.HOLD_READY and notice.told:
            person = beliefs.habit(book, notice.patron, now)
            tally.hold_mail(notice, w, person.shape / person.rate, now)
    beliefs.curves = tally.curves(frailty(book, curves))
    beliefs.deaf, beliefs.deaf_at = deaf_shares(book, deaf, kin)
    for notice in book.notices.values():
        notice.ratio = notice.share = None
        if notice.ended is not None and notice.told:
            notice.share = visit_share(notice, weights[notice.id], beliefs.curves)
