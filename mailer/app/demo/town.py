"""The town: its providers, its patrons, and the truth about every mail. Pure data from a seed.

Only this module knows what really became of a mail; `show` compares it with what Todoku's report says.
Never talks to the daemon, the network or a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Any


class Way(StrEnum):
    """What a provider does with mail to a mailbox that exists."""

    DELIVERS = "delivers"
    GREYLISTS = "greylists"  # 450 to the first try from a stranger, then delivers
    DROPS = "drops"  # 250, and nothing more is heard
    TURNS_DROPPING = "turns_dropping"  # delivers until the middle of the run


class Trouble(StrEnum):
    """What is wrong with one patron's address or mailbox."""

    NONE = "none"
    MISTYPED = "mistyped"  # 550 5.1.1 to RCPT
    FILTER = "filter"  # the carrier's filter: 550 5.7.1 after the data
    FULL = "full"  # 452 4.2.2, for ever
    MOVED = "moved"  # accepted, and bounced by a report within hours


class Manner(StrEnum):
    """What a patron does once a mail has arrived."""

    CONFIRMS = "confirms"  # presses the button, then collects
    LOOKS = "looks"  # looks at the OPAC, then collects
    COLLECTS = "collects"
    ANSWERS = "answers"  # writes back to the no-reply address, then collects
    AWAY = "away"  # a vacation reply; collects on the return
    FORGETS = "forgets"  # reads it and never comes


class Fate(StrEnum):
    """What really became of one hold-ready mail."""

    ARRIVED = "arrived"
    REFUSED = "refused"
    BOUNCED = "bounced"
    DEFERRED = "deferred"  # not accepted yet, tried again by Todoku
    VANISHED = "vanished"


LOST = (Fate.REFUSED, Fate.BOUNCED, Fate.DEFERRED, Fate.VANISHED)


@dataclass(frozen=True, slots=True)
class Provider:
    """One domain. `receipt`: the DSN action it sends back (RFC 3464 section 2.3.3), "" for none."""

    domain: str
    note: str
    way: Way
    patrons: int
    receipt: str = ""
    links: bool = True
    troubles: tuple[Trouble, ...] = ()


PROVIDERS = (
    Provider("minato.example", "プロバイダー(配信通知あり)", Way.DELIVERS, 14, "delivered",
             troubles=(Trouble.MISTYPED, Trouble.MISTYPED)),
    Provider("kawabe.example", "プロバイダー", Way.DELIVERS, 11, "relayed",
             troubles=(Trouble.MOVED, Trouble.MOVED)),
    # many of a carrier's users filter mail with links, so it gets none, and nobody can press a button
    Provider("keitai.example", "携帯電話(受信拒否設定あり)", Way.DELIVERS, 13, links=False,
             troubles=(Trouble.FILTER, Trouble.FILTER, Trouble.MISTYPED)),
    Provider("yamabiko.example", "プロバイダー(グレイリスト)", Way.GREYLISTS, 8,
             troubles=(Trouble.MOVED,)),
    Provider("gakuen.example", "学校(容量が小さい)", Way.DELIVERS, 5,
             troubles=(Trouble.FULL,)),
    # the false friend: its next server says "relayed", and then drops
    Provider("hiroba.example", "フリーメール(初日から消失)", Way.DROPS, 9, "relayed"),
    Provider("sorami.example", "フリーメール(途中から消失)", Way.TURNS_DROPPING, 8),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patron:
    patron_id: str
    name: str
    email: str
    phone: str
    branch: str
    trouble: Trouble
    manner: Manner
    drops_in: bool
    """Comes by and collects now and then, mail or no mail."""

    @property
    def domain(self) -> str:
        return self.email.rpartition("@")[2]


@dataclass(slots=True)
class Score:
    """What has happened so far, as the town counts it."""

    handed_over: int = 0
    refused: int = 0
    deferred: int = 0
    bounced: int = 0
    vanished: int = 0
    confirmed: int = 0
    collected: int = 0
    lapsed: int = 0


@dataclass(slots=True)
class Told:
    """What really became of one patron's hold-ready mails. Bounded: counts and the last loss."""

    fates: Counter[Fate] = field(default_factory=Counter)
    lost_at: datetime | None = None
    came_anyway: bool = False
    """A hold was collected although its mail was lost."""

    def lost(self) -> list[Fate]:
        return [fate for fate in LOST if self.fates[fate]]


class Town:
    """Everybody, and what became of their mail. `turns_at` is when the second free mailer begins to drop."""

    def __init__(self, seed: int, branches: tuple[str, ...], turns_at: datetime) -> None:
        self.seed = seed
        self.turns_at = turns_at
        self.providers = {provider.domain: provider for provider in PROVIDERS}
        self.patrons = {patron.patron_id: patron for patron in _people(Random(seed), branches)}  # noqa: S311
        self.by_address = {patron.email: patron for patron in self.patrons.values()}
        self.told = {patron_id: Told() for patron_id in self.patrons}
        self.score = Score()

    def chance(self, *about: object) -> Random:
        """Randomness that depends on the matter alone, not on the order in which sockets answer."""
        return Random(":".join(map(str, (self.seed, *about))))  # noqa: S311

    def drops(self, domain: str, now: datetime) -> bool:
        way = self.providers[domain].way
        return way is Way.DROPS or (way is Way.TURNS_DROPPING and now >= self.turns_at)

    def mistype(self, patron_id: str) -> str:
        """The patron registers a new address and gets it wrong. Returns what was typed."""
        patron = self.patrons[patron_id]
        local, _, domain = patron.email.partition("@")
        typed = replace(patron, email=f"{local[:-1]}@{domain}", trouble=Trouble.MISTYPED)
        self.patrons[patron_id] = self.by_address[typed.email] = typed
        return typed.email

    def record(self, patron: Patron, fate: Fate, now: datetime) -> None:
        """What became of a hold-ready mail, or of one that was refused. Tries of one mail count once."""
        told = self.told[patron.patron_id]
        if fate is Fate.DEFERRED and told.fates[fate]:
            return
        told.fates[fate] += 1
        if fate in LOST:
            told.lost_at = now

    def truth(self, now: datetime) -> dict[str, Any]:
        """What is true at `now`, as JSON, for whoever wants to check the report."""
        return {
            "as_of": now.isoformat(),
            "patrons": [self._truth_of(patron_id) for patron_id in self.patrons],
        }

    def _truth_of(self, patron_id: str) -> dict[str, Any]:
        patron, told = self.patrons[patron_id], self.told[patron_id]
        return {
            "patron_id": patron_id,
            "address": patron.email,
            "trouble": patron.trouble.value,
            "provider": self.providers[patron.domain].way.value,
            "fates": {fate.value: told.fates[fate] for fate in Fate if told.fates[fate]},
            "lost_at": told.lost_at.isoformat() if told.lost_at else None,
            "came_anyway": told.came_anyway,
        }


_FAMILIES = (
    ("青木", "aoki"), ("石井", "ishii"), ("上田", "ueda"), ("江口", "eguchi"), ("岡本", "okamoto"),
    ("加藤", "kato"), ("木村", "kimura"), ("久保", "kubo"), ("小林", "kobayashi"), ("斎藤", "saito"),
    ("清水", "shimizu"), ("鈴木", "suzuki"), ("高橋", "takahashi"), ("中村", "nakamura"), ("西田", "nishida"),
    ("野口", "noguchi"), ("林", "hayashi"), ("藤田", "fujita"), ("松本", "matsumoto"), ("三浦", "miura"),
    ("森", "mori"), ("山口", "yamaguchi"), ("吉田", "yoshida"), ("渡辺", "watanabe"),
)  # fmt: skip
_GIVEN = (
    ("陽子", "yoko"), ("健一", "kenichi"), ("美咲", "misaki"), ("拓也", "takuya"), ("千尋", "chihiro"),
    ("直樹", "naoki"), ("さくら", "sakura"), ("誠", "makoto"), ("結衣", "yui"), ("大輔", "daisuke"),
    ("恵", "megumi"), ("翔太", "shota"), ("由美子", "yumiko"), ("隆", "takashi"), ("葵", "aoi"),
    ("蓮", "ren"),
)  # fmt: skip
_MANNERS = (Manner.CONFIRMS, Manner.LOOKS, Manner.COLLECTS, Manner.FORGETS)
_WEIGHTS = (50, 20, 24, 6)


def _people(chance: Random, branches: tuple[str, ...]) -> Iterator[Patron]:
    names = [(f"{family} {given}", f"{a}.{b}") for family, a in _FAMILIES for given, b in _GIVEN]
    chosen = iter(chance.sample(names, sum(provider.patrons for provider in PROVIDERS)))
    number = 0
    for provider in PROVIDERS:
        for place in range(provider.patrons):
            number += 1
            name, local = next(chosen)
            trouble = provider.troubles[place] if place < len(provider.troubles) else Trouble.NONE
            yield Patron(
                patron_id=f"P{number:04}",
                name=name,
                email=f"{local}@{provider.domain}",
                phone=f"0900-00-{number:04}",
                branch=chance.choice(branches),
                trouble=trouble,
                manner=_manner(provider, place, chance),
                drops_in=chance.random() < 0.15,
            )


def _manner(provider: Provider, place: int, chance: Random) -> Manner:
    """One vacation and one reply in town, at the first provider; the rest as people are."""
    drawn = chance.choices(_MANNERS, _WEIGHTS)[0]
    if provider is PROVIDERS[0]:
        drawn = {12: Manner.AWAY, 13: Manner.ANSWERS}.get(place, drawn)
    return Manner.LOOKS if drawn is Manner.CONFIRMS and not provider.links else drawn
