"""A small library drawn from a seed, for the tests of the risk model: observations and the truth behind them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from holds_core.backtest import deadline
from holds_core.notices import Kind
from holds_core.observations import Bounced, Confirmed, Ending, Failure, HoldEnded, Mailed, Observation

JST = timezone(timedelta(hours=9))
START = datetime(2031, 4, 7, tzinfo=JST)


def morning(day: int) -> datetime:
    return START + timedelta(days=day, hours=8, minutes=30)


def mailed(
    number: int | str,
    at: datetime,
    *,
    address: str = "a@one.example",
    patron: str | None = None,
    kind: Kind = Kind.HOLD_READY,
    failure: Failure | None = None,
) -> Mailed:
    """Notice `n<number>` for hold `h<number>`."""
    holds = (f"h{number}",) if kind is Kind.HOLD_READY else ()
    due = deadline(at) if kind is Kind.HOLD_READY else None
    return Mailed(at, f"n{number}", kind, patron or address, address, holds, due, failure)


@dataclass
class World:
    """`loss` maps a domain to (day, share lost from then on) steps, first step at day 0."""

    loss: dict[str, list[tuple[int, float]]]
    mails_a_day: float = 8.0
    days: int = 90
    bounces: float = 0.05
    presses: float = 0.15
    patrons: int = 400
    seed: int = 1
    unseen: dict[str, bool] = field(default_factory=dict)
    lost: dict[str, bool] = field(default_factory=dict)

    def observations(self) -> list[Observation]:
        rng = random.Random(self.seed)
        domains = list(self.loss)
        out: list[Observation] = []
        number = 0
        for day in range(self.days):
            for _ in range(round(self.mails_a_day)):
                number += 1
                patron = rng.randrange(self.patrons)
                address = f"p{patron}@{domains[patron % len(domains)]}"
                sent = START + timedelta(days=day, hours=rng.choice((9, 16)), minutes=7)
                out += self._one(rng, number, address, sent, day)
        return sorted(out, key=lambda seen: seen.at)

    def _one(
        self, rng: random.Random, number: int, address: str, sent: datetime, day: int
    ) -> list[Observation]:
        bad = hash_share(address) < self.bounces
        steps = self.loss[address.partition("@")[2]]
        share = [s for since, s in steps if since <= day][-1]
        seen = not bad and rng.random() >= share
        out: list[Observation] = [mailed(number, sent, address=address)]
        if bad:
            out.append(Bounced(sent + timedelta(minutes=20), f"n{number}", Failure.UNKNOWN, address))
        if seen and rng.random() < self.presses:
            out.append(Confirmed(sent + timedelta(hours=2), f"n{number}"))
        comes = sent + timedelta(days=rng.expovariate(1 / 14))
        if seen and rng.random() < 0.9:
            comes = min(comes, sent + timedelta(days=rng.lognormvariate(0.8, 0.6)))
        due = deadline(sent)
        lapsed = comes >= due
        out.append(HoldEnded(min(comes, due), f"h{number}", Ending.LAPSED if lapsed else Ending.COLLECTED))
        self.unseen[f"n{number}"], self.lost[f"n{number}"] = not seen, lapsed and not seen
        return out


def hash_share(text: str) -> float:
    """A number in [0, 1) that belongs to a text, the same on every run."""
    return random.Random(text).random()
