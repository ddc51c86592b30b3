"""The memory of the risk model: every notice with what was observed of it, in any order.

In go observations; what is kept depends only on the set of them, never on the order in which they came: a
bounce before its notice, a collection before the mail and a repeat all end in the same book. No judgement
and no arithmetic is made here. Pure; times are kept as days since 1970 (UTC) for speed.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import singledispatchmethod

from holds_core.notices import Kind
from holds_core.observations import (
    Bounced,
    CanaryResult,
    Confirmed,
    DeadlineMoved,
    Ending,
    Failure,
    HoldEnded,
    Mailed,
    NeverGot,
    Observation,
    PatronSeen,
    Told,
)


def days(at: datetime) -> float:
    """A time as days since 1970."""
    return at.timestamp() / 86400.0


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower().rstrip(".")


@dataclass(slots=True, eq=False)
class Delivery:
    """One notice to one address. `failed_at` counts only if no later offer was accepted."""

    notice: Notice
    address: str
    domain: str
    sent: float
    accepted_at: float | None = None
    failures: dict[float, Failure] = field(default_factory=dict)
    loss: float | None = None  # share its domain lost at that time, as the model last believed
    mistyped: bool = False  # an address check says that it looks mistyped

    @property
    def failure(self) -> Failure | None:
        """Why it failed, if its last word was a failure."""
        if not self.failures:
            return None
        last = max(self.failures)
        return self.failures[last] if self.accepted_at is None or last >= self.accepted_at else None


@dataclass(slots=True, eq=False)
class Notice:
    """One notice and what became of it; times in days."""

    id: str
    kind: Kind
    patron: str
    sent: float
    holds: tuple[str, ...] = ()
    deadline: float | None = None
    asks: bool = True  # a press or an answer is asked for
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    confirmed: float | None = None
    denied: float | None = None
    looked: float | None = None  # first sight of the patron while the hold waited
    told_at: float | None = None  # staff told the patron: what comes after teaches nothing
    knows: bool = False  # staff reached the patron in person
    ended: float | None = None
    how: Ending | None = None
    # what the model has worked out since the last refit; None: to be worked out
    ratio: float | None = None
    share: tuple[float, float] | None = None

    @property
    def reached(self) -> bool:
        """At least one address took the mail and did not send it back, or a person answered it."""
        return self.confirmed is not None or any(d.failure is None for d in self.deliveries.values())

    @property
    def fate(self) -> Ending | None:
        """How it ended, as far as that may be owed to the mail."""
        if self.told_at is not None and (self.ended is None or self.told_at < self.ended):
            return None
        return self.how

    @property
    def told(self) -> bool:
        """Whether its end teaches anything."""
        return self.how is not Ending.UNKNOWN


# Of several failures at one instant the gravest stands, so that the order of reports cannot matter.
GRAVITY = {Failure.UNSENT: 0, Failure.OURS: 1, Failure.SOFT: 2, Failure.FILTERED: 3, Failure.UNKNOWN: 4}


class Book:
    """All observations, by notice, address, patron, hold and domain."""

    def __init__(self) -> None:
        self.notices: dict[str, Notice] = {}
        self.addresses: dict[str, list[Delivery]] = defaultdict(list)
        self.patrons: dict[str, list[Notice]] = defaultdict(list)
        self.by_day: dict[str, dict[int, list[Delivery]]] = defaultdict(lambda: defaultdict(list))
        self.open: dict[str, Notice] = {}
        self.canaries: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
        self.ended = 0  # notices whose end teaches something
        self.touched: set[tuple[str, int]] = set()  # domains and days of which something was heard
        self._by_hold: dict[str, list[Notice]] = defaultdict(list)
        self._ends: dict[str, list[tuple[float, int, Ending]]] = defaultdict(list)
        self._moved: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._sights: dict[str, list[float]] = defaultdict(list)
        self._told: dict[str, list[tuple[float, bool]]] = defaultdict(list)
        self._due: dict[str, float] = {}
        self._early: dict[str, list[Observation]] = defaultdict(list)

    @singledispatchmethod
    def add(self, seen: Observation) -> None:
        raise TypeError(f"not an observation: {seen!r}")

    @add.register
    def _(self, seen: Mailed) -> None:
        sent = days(seen.at)
        notice = self.notices.get(seen.notice_id)
        if notice is None:
            notice = self._new(seen, sent)
        delivery = self._delivery(notice, seen, sent)
        delivery.mistyped = delivery.mistyped or seen.mistyped
        notice.asks = notice.asks or seen.asks
        if seen.failure is None:
            delivery.accepted_at = max(sent, delivery.accepted_at or sent)
        else:
            _fail(delivery, sent, seen.failure)
        self._touch(notice)
        for early in self._early.pop(seen.notice_id, ()):
            self.add(early)

    def _new(self, seen: Mailed, sent: float) -> Notice:
        deadline = days(seen.deadline) if seen.deadline else None
        notice = Notice(seen.notice_id, seen.kind, seen.patron_id, sent, seen.hold_ids, deadline, seen.asks)
        self.notices[notice.id] = notice
        self.patrons[notice.patron].append(notice)
        if notice.kind is Kind.HOLD_READY:
            self.open[notice.id] = notice
            self._tell(notice)
            for hold in notice.holds:
                self._by_hold[hold].append(notice)
            self._look(notice)
            self._end(notice)
            self._extend(notice)
        return notice

    def _delivery(self, notice: Notice, seen: Mailed, sent: float) -> Delivery:
        address = seen.address.strip().casefold()
        delivery = notice.deliveries.get(address)
        if delivery is None:
            delivery = Delivery(notice, address, domain_of(address), sent)
            notice.deliveries[address] = delivery
            insort(self.addresses[address], delivery, key=lambda d: (d.sent, d.notice.id))
            self.by_day[delivery.domain][int(sent)].append(delivery)
        return delivery

    @add.register
    def _(self, seen: Bounced) -> None:
        notice = self._known(seen.notice_id, seen)
        if notice is None:
            return
        delivery = notice.deliveries.get(seen.recipient.strip().casefold())
        if delivery is None and len(notice.deliveries) == 1:
            # forwarders bounce under the address they forward to
            delivery = next(iter(notice.deliveries.values()))
        if delivery is not None:
            _fail(delivery, days(seen.at), seen.failure)
            self._touch(notice)

    @add.register
    def _(self, seen: Confirmed) -> None:
        notice = self._known(seen.notice_id, seen)
        if notice is not None:
            notice.confirmed = min(days(seen.at), notice.confirmed or 1e9)
            self._touch(notice)

    @add.register
    def _(self, seen: NeverGot) -> None:
        notice = self._known(seen.notice_id, seen)
        if notice is not None:
            notice.denied = min(days(seen.at), notice.denied or 1e9)
            self._touch(notice)

    @add.register
    def _(self, seen: PatronSeen) -> None:
        insort(self._sights[seen.patron_id], days(seen.at))
        for notice in self.patrons.get(seen.patron_id, ()):
            self._look(notice)

    @add.register
    def _(self, seen: Told) -> None:
        insort(self._told[seen.patron_id], (days(seen.at), seen.reached))
        for notice in self.patrons.get(seen.patron_id, ()):
            self._tell(notice)

    @add.register
    def _(self, seen: HoldEnded) -> None:
        # at one instant: collected, lapsed, unknown, in this order of what teaches more
        rank = (Ending.COLLECTED, Ending.LAPSED, Ending.UNKNOWN).index(seen.how)
        insort(self._ends[seen.hold_id], (days(seen.at), rank, seen.how))
        for notice in self._by_hold.get(seen.hold_id, ()):
            self._end(notice)

    @add.register
    def _(self, seen: DeadlineMoved) -> None:
        insort(self._moved[seen.hold_id], (days(seen.at), days(seen.deadline)))
        for notice in self._by_hold.get(seen.hold_id, ()):
            self._extend(notice)

    @add.register
    def _(self, seen: CanaryResult) -> None:
        self.canaries[seen.domain.lower()][int(days(seen.at))].append(seen.arrived)

    def _touch(self, notice: Notice) -> None:
        notice.ratio = notice.share = None
        for delivery in notice.deliveries.values():
            self.touched.add((delivery.domain, int(delivery.sent)))

    def _known(self, notice_id: str, seen: Observation) -> Notice | None:
        notice = self.notices.get(notice_id)
        if notice is None:
            self._early[notice_id].append(seen)
        return notice

    def _look(self, notice: Notice) -> None:
        sights = self._sights.get(notice.patron)
        if sights and notice.kind is Kind.HOLD_READY:
            i = bisect_right(sights, notice.sent)
            notice.looked = sights[i] if i < len(sights) else None
            self._touch(notice)

    def _tell(self, notice: Notice) -> None:
        """Staff told the patron while this notice's holds waited."""
        if notice.kind is not Kind.HOLD_READY:
            return
        after = [(at, reached) for at, reached in self._told.get(notice.patron, ()) if at >= notice.sent]
        if after:
            notice.told_at = after[0][0]
            notice.knows = any(reached for _, reached in after)
            self._touch(notice)

    def _end(self, notice: Notice) -> None:
        """A notice ends when the patron came for one of its holds, or when all have left the shelf."""
        ends = [end for hold in notice.holds if (end := self._first_end(hold, notice.sent))]
        came = [at for at, how in ends if how is Ending.COLLECTED]
        if came:
            at, how = min(came), Ending.COLLECTED
        elif ends and len(ends) == len(notice.holds):
            at = max(at for at, _ in ends)
            how = Ending.LAPSED if any(how is Ending.LAPSED for _, how in ends) else Ending.UNKNOWN
        else:
            return
        taught = notice.ended is not None and notice.told
        notice.ended, notice.how = at, how
        self.ended += notice.told and not taught
        self._touch(notice)
        self.open.pop(notice.id, None)

    def _first_end(self, hold: str, sent: float) -> tuple[float, Ending] | None:
        for at, _, how in self._ends.get(hold, ()):
            if at >= sent:
                return at, how
        return None

    def _extend(self, notice: Notice) -> None:
        """The earliest of its holds' latest deadlines; of a hold that was not extended, the mail's own."""
        moved = [self._moved[hold][-1][1] for hold in notice.holds if self._moved.get(hold)]
        if not moved:
            return
        own = self._due.setdefault(notice.id, notice.deadline if notice.deadline is not None else max(moved))
        notice.deadline = min(moved if len(moved) == len(notice.holds) else [own, *moved])


def _fail(delivery: Delivery, at: float, failure: Failure) -> None:
    old = delivery.failures.get(at)
    if old is None or GRAVITY[failure] > GRAVITY[old]:
        delivery.failures[at] = failure
