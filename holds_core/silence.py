"""Silence: the probability that a waiting hold will lapse because its mail was not seen, and whom to phone.

In go observations (`holds_core.observations`) in any order; out come risks with reasons, the morning's call
list and provider alerts. The model learns everything from the library's own history. No domain name has a
built-in verdict; a list of providers (`ProviderHint`) may be given as a weak prior. Pure: no I/O, no clock,
no randomness. The daemon and `todoku backtest` run this same code.

The model
---------
A hold-ready mail was **seen** or **unseen**; nobody tells which. It is unseen if every address it went to
failed to show it. An address fails in one of three ways:

    refused or bounced     somebody said so: unseen
    deaf                   a wrong address, a stranger's, a mute filter: every mail to it vanishes
    lost                   its domain dropped this one mail, with share q(domain, day)

    u = P(unseen) = d + (1 - d) q      with d = P(the address is deaf); several addresses: the product

**What silence says.** After a seen mail a patron may press the button, look at the web page, come because of
the mail, or come anyway; after an unseen one only look, or come anyway. Each is a hazard h(t) per day, by
the mail's age t. With H the cumulative hazards, the log-likelihood ratio of "seen" against "unseen" is

    nothing so far, or lapsed    -R(t)      R = H_come + H_press + H_look,seen - H_look,unseen
    collected at t               -R(t) + log((h_come + h_anyway) / h_anyway)
    looked at t                  -R(t) + log(h_look,seen / h_look,unseen)
    a person's sign              +5.7 (one in three hundred is a scanner or a mix-up)

Coming anyway is common to both and cancels. So age without a sign raises the odds of "unseen" exactly as far
as people who saw their mail would have shown it by then: w = u / (u + (1 - u) exp(ratio)).

**Will it lapse?** If unseen and not looked, the patron must not come anyway until the deadline T, nor look
and then come. People differ in how often they come: the hazard of coming anyway carries a gamma frailty per
patron, whose posterior is Gamma(a + visits not owed to mails, a + H_anyway lived through) over earlier holds
(each counted a little less than whole, for people change); a is fitted on those whose mail certainly failed.

    risk = w * P(not come anyway, nor after a look, from now to T | patron)

**Learning** (`holds_core.silence_fit`) is expectation-maximisation: each notice counts w to the unseen and
1 - w to the seen side. Refusals pin down how people come unaided, presses how they come when told. The
hazards have weak gamma priors; the share of deaf addresses of a domain is drawn towards its provider's, its
kind's and that of all. An address's own d is a forward pass over all mail to it: it rises with each lapse
(less so where the domain loses much anyway), falls with each sign, jumps with a failure, and creeps upwards
with time, since addresses die. A mail that asks for a press and gets none speaks the same language.
A refit runs when the ended notices have grown by a seventh, so that its cost over a history stays linear.

**Providers change.** q(domain, day) is a belief on a grid, filtered day by day with a chance of a jump
(`holds_core.loss_track`); waiting notices count already with what their age says. The same evidence feeds
the alerts (`holds_core.provider_watch`). A small domain starts from what its kin shows.

**Whom to phone.** A call saves the hold only if it would have been lost, and comes `call_margin` days before
the deadline. Waiting a day costs nothing as long as a later morning can still call, and may spare the call,
for by then the patron may have come; but tomorrow's calls may be needed by others. Hence a notice's worth is
its risk, times `patience` for every later morning on which it could still be called, so that the last
chance goes first unless the risk of another is far greater. One half did well on towns where calls are
scarce and where they abound; the order need not know which. What is too late for a call goes last.

A hold that ended for an unknown reason teaches nothing. Receipts weigh nothing: black holes send them too.
Once staff told the patron, what follows teaches nothing of the mail; whom they reached is at no risk. Of a mail
that asks for no press, none is expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import exp, floor
from typing import Final

from holds_core.errors import NotFound
from holds_core.notices import Kind
from holds_core.observations import Ending, Failure, Observation
from holds_core.provider_watch import Alert, ProviderHint, ProviderWatch, Suspect, Week
from holds_core.silence_beliefs import Beliefs, unseen
from holds_core.silence_book import Book, Delivery, Notice, days
from holds_core.silence_fit import refit
from holds_core.silence_reasons import RiskReason
from holds_core.survival import Frailty

__all__ = ["Alert", "Call", "ProviderHint", "Risk", "Settings", "SilenceModel", "Suspect", "Week", "worth"]

FIRST_ROUNDS: Final = 6
ROUNDS: Final = 2
"""Rounds of a fit: the first one starts from the priors, the later ones from the fit before."""

MUCH_LOSS: Final = 0.12
"""Share of silent loss from which the provider is named as a reason."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How calls work at this library. `call_margin`: days that a patron needs to come after a call;
    `patience`: worth of a call that could as well be made a day later; `least_risk`: below it, no row."""

    call_margin: float = 2.0
    patience: float = 0.5
    least_risk: float = 0.02


@dataclass(frozen=True, slots=True)
class Risk:
    """One notice's risk: `probability` that its hold lapses because the mail was not seen, `unseen` that the
    mail was not seen; reasons for it first, those against it last."""

    notice_id: str
    probability: float
    unseen: float
    reasons: tuple[RiskReason, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One row of a call list; rank from 1. `worth` is what the rows are sorted by."""

    rank: int
    notice_id: str
    patron_id: str
    risk: float
    worth: float
    deadline: datetime
    reasons: tuple[RiskReason, ...]


def worth(probability: float, left: float, settings: Settings) -> float:
    """What a call this morning is worth to a notice of that risk whose deadline is `left` days away."""
    slack = left - settings.call_margin
    if slack < 0:
        return 0.05 * probability
    return probability * settings.patience ** floor(slack)


class SilenceModel:
    """Observes a library's mail and says whom to phone."""

    def __init__(
        self, hints: Mapping[str, ProviderHint] | None = None, settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._book = Book()
        self._beliefs = Beliefs()
        self._watch = ProviderWatch(self._book, self._beliefs, dict(hints or {}))
        self._fitted = 0
        self._alerts: list[Alert] = []

    def observe(self, seen: Observation) -> None:
        """Takes one fact. Facts may come late, twice, or in any order."""
        self._book.add(seen)

    def refresh(self, now: datetime) -> list[Alert]:
        """Brings all beliefs up to `now`, once a morning; returns the provider alerts that are new.

        Between two refreshes `risk` uses new facts about a notice at once, with the morning's beliefs.
        """
        at = days(now)
        if self._book.ended >= self._fitted * 1.15 + 15:
            rounds = ROUNDS if self._fitted else FIRST_ROUNDS
            self._fitted = self._book.ended
            for _ in range(rounds):
                refit(self._book, self._beliefs, at, self._watch.kin)
                self._watch.rebuild(at)
        self._watch.follow(at)
        new = self._watch.alerts(now, at)
        self._alerts += new
        return new

    def alerts(self) -> tuple[Alert, ...]:
        """All provider alerts so far, oldest first."""
        return tuple(self._alerts)

    def recall(self, alert: Alert) -> None:
        """An alert of an earlier run, before the first `refresh`: what it told is no news any more."""
        self._alerts.append(alert)
        self._watch.recall(alert)

    def levels(self, now: datetime) -> list[Alert]:
        """Domains that lose much mail and did so from the first: as of the last refresh, told every time."""
        return self._watch.levels(now, days(now))

    def suspect(self, alert: Alert, now: datetime) -> Suspect:
        """Whose change an alert looks like by now: others may have followed since it was raised."""
        return self._watch.suspect(alert, days(now))

    def weeks(self, now: datetime, count: int = 26) -> list[Week]:
        """What each domain's mail of the last weeks shows, and what it would show if nothing were lost."""
        return self._watch.weeks(days(now), count)

    def waiting(self, now: datetime) -> list[Risk]:
        """The risk of every notice that waits, in no order."""
        at = days(now)
        return [self._risk(notice, at) for notice in self._book.open.values()]

    def lapses_at(self, notice_id: str) -> datetime | None:
        """When a waiting notice's first hold lapses, in UTC; None if nobody knows. Raises NotFound."""
        deadline = self._notice(notice_id).deadline
        return None if deadline is None else _time(deadline, UTC)

    def losses(self) -> dict[str, float]:
        """The share of mail that each domain loses without a word, as of the last refresh."""
        return dict(self._beliefs.loss_at)

    def risk(self, notice_id: str, now: datetime) -> Risk:
        """The risk of one notice; zero if it holds nothing or is over. Raises NotFound."""
        return self._risk(self._notice(notice_id), days(now))

    def _notice(self, notice_id: str) -> Notice:
        notice = self._book.notices.get(notice_id)
        if notice is None:
            raise NotFound(f"no notice {notice_id}")
        return notice

    def worklist(self, now: datetime, limit: int | None = 40) -> list[Call]:
        """Waiting notices in the order in which they deserve a call, as of the last refresh."""
        at = days(now)
        rows = []
        for notice in self._book.open.values():
            if notice.deadline is None or notice.deadline <= at:
                continue
            risk = self._risk(notice, at)
            if risk.probability >= self.settings.least_risk:
                rows.append((worth(risk.probability, notice.deadline - at, self.settings), notice, risk))
        rows.sort(key=lambda row: (-row[0], row[1].deadline, row[1].id))
        return [
            Call(rank, n.id, n.patron, r.probability, value, _time(n.deadline, now.tzinfo), r.reasons)
            for rank, (value, n, r) in enumerate(rows[:limit], 1)
        ]

    def _risk(self, notice: Notice, now: float) -> Risk:
        before = self._beliefs.unseen_before(self._book, notice, now)
        w = unseen(before, self._beliefs.ratio(notice, now))
        if notice.deadline is None or notice.ended is not None:
            return Risk(notice.id, 0.0, w, ())
        if notice.knows:
            return Risk(notice.id, 0.0, w, (RiskReason.TOLD,))
        habit = self._beliefs.habit(self._book, notice.patron, now, skip=notice)
        lapse = self._beliefs.curves.lapse_if_unseen(notice, now, habit)
        return Risk(notice.id, w * lapse, w, tuple(sorted(self._reasons(notice, habit, now), key=_order)))

    # --- reasons

    def _reasons(self, notice: Notice, habit: Frailty, now: float) -> Iterable[RiskReason]:
        if notice.confirmed is not None:
            yield RiskReason.CONFIRMED
        elif notice.denied is not None:
            yield RiskReason.NEVER_GOT
        elif not notice.reached:
            yield from {REFUSALS[d.failure] for d in notice.deliveries.values() if d.failure is not None}
        else:
            yield from self._silent(notice, now)
        if notice.looked is not None:
            yield RiskReason.SEEN_SINCE
        mean = habit.shape / habit.rate
        if mean < 0.65:
            yield RiskReason.RARE_VISITOR
        elif mean > 1.6:
            yield RiskReason.FREQUENT_VISITOR
        if notice.deadline is not None and notice.deadline - now < self.settings.call_margin:
            yield RiskReason.TOO_LATE

    def _silent(self, notice: Notice, now: float) -> Iterable[RiskReason]:
        """Why a mail that nobody refused may still not have been seen."""
        if notice.looked is None and exp(-self._beliefs.ratio(notice, now)) >= 2.0:
            yield RiskReason.NO_SIGN
        deliveries = [d for d in notice.deliveries.values() if d.failure is None]
        if all(self._beliefs.loss(d) >= MUCH_LOSS for d in deliveries):
            yield RiskReason.PROVIDER_SILENT
        if any(d.mistyped for d in deliveries):
            yield RiskReason.TYPO
        for delivery in deliveries:
            yield from self._past(delivery, now)

    def _past(self, delivery: Delivery, now: float) -> set[RiskReason]:
        """What other mail to the same address tells."""
        found: set[RiskReason] = set()
        for other in self._book.addresses[delivery.address]:
            if other is delivery:
                continue
            notice = other.notice
            if notice.confirmed is not None or self._beliefs.ratio(notice, now) > 1.0:
                found.add(RiskReason.CAME_BEFORE)
            elif other.failure not in (None, Failure.OURS, Failure.UNSENT):
                found.add(RiskReason.FAILED_BEFORE)
            elif notice.fate is Ending.LAPSED and other.failure is None:
                found.add(RiskReason.LAPSED_BEFORE)
            elif notice.kind is Kind.REGISTRATION_CHANGED and self._beliefs.ratio(notice, now) < -0.3:
                found.add(RiskReason.NEVER_CONFIRMED)
        return found


REFUSALS: Final = {
    Failure.UNKNOWN: RiskReason.REFUSED_USER,
    Failure.FILTERED: RiskReason.REFUSED_FILTER,
    Failure.SOFT: RiskReason.REFUSED_OTHER,
    Failure.OURS: RiskReason.REFUSED_OTHER,
    Failure.UNSENT: RiskReason.NOT_SENT,
}

_ORDER: Final = {reason: i for i, reason in enumerate(RiskReason)}


def _order(reason: RiskReason) -> int:
    return _ORDER[reason]


def _time(at: float | None, zone: tzinfo | None) -> datetime:
    assert at is not None
    # whole seconds: days as a float carry about a microsecond of noise
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=round(at * 86400))).astimezone(zone)
