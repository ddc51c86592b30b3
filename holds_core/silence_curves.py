"""What one notice's fate says of whether its mail was seen, and what becomes of it if it was not.

In go notices of the book; out come log-likelihood ratios (seen against not seen) and lapse probabilities.
The curves are learned by `holds_core.silence_fit`; see `holds_core.silence` for the whole model. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, log
from typing import Final

from holds_core.notices import Kind
from holds_core.observations import Ending
from holds_core.silence_book import Notice
from holds_core.survival import EDGES, PIECES, Frailty, Hazard

SURE: Final = log(300.0)
"""A person's sign against chance, a scanner or a mix-up: about one in three hundred is not one."""

PRIOR_COME: Final = Hazard([0.30 if e < 4 else 0.15 if e < 7 else 0.05 for e in EDGES])
PRIOR_ANYWAY: Final = Hazard.flat(0.08)
PRIOR_SEEN: Final = Hazard([c + a for c, a in zip(PRIOR_COME.rates, PRIOR_ANYWAY.rates, strict=True)])
PRIOR_PRESS: Final = Hazard([0.10 if e < 1 else 0.01 for e in EDGES])
PRIOR_REGISTRATION: Final = Hazard([0.40 if e < 1 else 0.05 if e < 4 else 0.005 for e in EDGES])
PRIOR_LOOK: Final = Hazard.flat(0.04)
PRIOR_AFTER: Final = Hazard.flat(0.30)
"""Shapes before any data; a few days of a library's own history outweigh them."""

WATCHED: Final = 21.0
"""Days for which a missing button press is still counted as silence."""


@dataclass(frozen=True)
class Curves:
    """Hazards per day of a patron's doings after a hold-ready mail, by whether they saw it.

    come, press: because of the mail (only if seen); anyway: without it (all); look_*: first look at the web
    page; after_look: collecting once they looked; registration: pressing the button in such a mail.
    """

    come: Hazard = PRIOR_COME
    anyway: Hazard = PRIOR_ANYWAY
    press: Hazard = PRIOR_PRESS
    registration: Hazard = PRIOR_REGISTRATION
    look_seen: Hazard = PRIOR_LOOK
    look_unseen: Hazard = PRIOR_LOOK
    after_look: Hazard = PRIOR_AFTER
    frailty: float = 2.5
    silence: Hazard = field(init=False)
    """Cumulated: how strongly silence speaks against "seen"."""

    def __post_init__(self) -> None:
        rates = [
            self.come.rates[i] + self.press.rates[i] + self.look_seen.rates[i] - self.look_unseen.rates[i]
            for i in range(PIECES)
        ]
        object.__setattr__(self, "silence", Hazard(rates))

    def stranger(self) -> Frailty:
        return Frailty(self.frailty, self.frailty)

    def owed_to_mail(self, age: float) -> float:
        """Of a seen mail's patron who comes at this age: the chance that the mail was the cause."""
        come = self.come.at(age)
        anyway = self.anyway.at(age) * self.stranger().mean_at(self.anyway.until(age))
        return come / (come + anyway) if come > 0 else 0.0

    def ratio(self, notice: Notice, now: float) -> float:
        """log P(what happened | seen) - log P(what happened | not seen), from what is known at `now`.

        Competing hazards: what both have in common, coming anyway, cancels. An unknown end says nothing.
        """
        if notice.confirmed is not None:
            return SURE
        if notice.denied is not None:
            return -SURE
        return max(-SURE, min(self._unsaid_ratio(notice, now), SURE))

    def _unsaid_ratio(self, notice: Notice, now: float) -> float:
        if notice.kind is Kind.REGISTRATION_CHANGED:
            return -self.registration.until(min(max(now - notice.sent, 0.0), WATCHED)) if notice.asks else 0.0
        if notice.kind is not Kind.HOLD_READY or not notice.told:
            return 0.0
        return self._hold_ratio(notice, now)

    def _silence(self, notice: Notice, age: float) -> float:
        """How strongly silence until this age speaks against "seen"; nobody presses where nothing asks."""
        return self.silence.until(age) - (0.0 if notice.asks else self.press.until(age))

    def _hold_ratio(self, notice: Notice, now: float) -> float:
        end = watched_until(notice, now)
        if notice.looked is not None and notice.looked <= end:
            age = notice.looked - notice.sent
            return log(self.look_seen.at(age) / self.look_unseen.at(age)) - self._silence(notice, age)
        age = max(end - notice.sent, 0.0)
        silence = -self._silence(notice, age)
        if notice.fate is Ending.COLLECTED:
            return silence - log(1.0 - self.owed_to_mail(age))
        return silence

    def lapse_if_unseen(self, notice: Notice, now: float, patron: Frailty) -> float:
        """P(the hold lapses | mail not seen, still waiting at `now`)."""
        assert notice.deadline is not None
        left = notice.deadline - now
        if left <= 0:
            return 1.0
        if notice.looked is not None:
            start = max(now - notice.looked, 0.0)
            return exp(self.after_look.until(start) - self.after_look.until(start + left))
        age = max(now - notice.sent, 0.0)
        return self._lapse_unlooked(age, left, patron)

    def _lapse_unlooked(self, age: float, left: float, patron: Frailty) -> float:
        """No look so far: sums over when they might still look, and then not come in time."""
        steps = 6
        width = left / steps
        start = self.anyway.until(age)
        looked = self.look_unseen.until(age)
        total = 0.0
        unlooked = 1.0
        for i in range(steps):
            middle = (i + 0.5) * width
            after = exp(looked - self.look_unseen.until(age + (i + 1) * width))
            here = exp(patron.log_survival(start, self.anyway.until(age + middle)))
            total += (unlooked - after) * here * exp(-self.after_look.until(left - middle))
            unlooked = after
        return total + unlooked * exp(patron.log_survival(start, self.anyway.until(age + left)))


def watched_until(notice: Notice, now: float) -> float:
    """The end of what was observed of a hold's waiting: its end, its deadline, staff's word, or now."""
    end = now if notice.ended is None else min(now, notice.ended)
    end = end if notice.told_at is None else min(end, notice.told_at)
    return end if notice.deadline is None else max(min(end, notice.deadline), notice.sent)
