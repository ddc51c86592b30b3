"""When IT is told of trouble: what is found enters, what is to be told leaves. Pure.

Trouble is told once, again while it lasts (`Policy.repeat`), and once more when it is over. It is over only
after it has stayed away for a while, so that what comes and goes is one trouble and not a mail an hour.
What happened at one moment (a batch that was missed) is told once and is never over. Nothing here names a
patron, an address or a title.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum


class Trouble(StrEnum):
    """What may go wrong, most urgent first."""

    RELAY_DOWN = "relay_down"
    BATCH_STOPPED = "batch_stopped"
    BATCH_MISSED = "batch_missed"
    PROMPT_LATE = "prompt_late"
    INTAKE_DEAD = "intake_dead"
    FEED_STALE = "feed_stale"
    PROVIDER_CHANGED = "provider_changed"
    DISK_LOW = "disk_low"
    QUARANTINE_GROWING = "quarantine_growing"


MOMENTS = frozenset({Trouble.BATCH_MISSED})
"""What happened and is not a state: told once, and never over."""

LASTING = frozenset({Trouble.PROVIDER_CHANGED})
"""What may last for weeks without anybody being able to mend it: told once, and once more when it is over."""

REMEMBER = timedelta(days=60)
"""How long a moment is remembered, so that it is not told again."""


@dataclass(frozen=True, slots=True)
class Found:
    """Trouble as it is seen now. `subject` tells two of a kind apart (a slot, a feed, a host; often "").

    `facts` are figures for the mail's text.
    """

    trouble: Trouble
    subject: str
    since: datetime
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.trouble}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Known(Found):
    """Trouble as it is remembered. `told_at` None: not told yet; `gone_since`: it was not found since then."""

    told_at: datetime | None = None
    gone_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """`calm`: how long trouble must have stayed away to be over. `an_hour`: the most mails in an hour."""

    repeat: timedelta = timedelta(hours=24)
    calm: timedelta = timedelta(minutes=10)
    an_hour: int = 6


@dataclass(frozen=True, slots=True)
class Decision:
    """What one mail is to say, and what is remembered: `told` if that mail leaves, `untold` if it does not."""

    tell: tuple[Known, ...]
    over: tuple[Known, ...]
    told: tuple[Known, ...]
    untold: tuple[Known, ...]

    @property
    def anything(self) -> bool:
        return bool(self.tell or self.over)


def decide(
    found: Iterable[Found],
    looked_at: Collection[Trouble],
    known: Iterable[Known],
    sent: Sequence[datetime],
    now: datetime,
    policy: Policy,
) -> Decision:
    """What to tell at `now`. `looked_at`: the kinds that could be judged; the others stay as they were.
    `sent` are the times of the mails before."""
    remembered = _merged(found, looked_at, known, now)
    free = sum(now - timedelta(hours=1) < at <= now for at in sent) < policy.an_hour
    tell = [item for item in remembered if free and _is_due(item, now, policy)]
    over = [item for item in remembered if free and _is_over(item, now, policy)]
    kept = [item for item in remembered if item not in over]
    return Decision(
        tuple(_by_urgency(tell)),
        tuple(_by_urgency(over)),
        tuple(replace(item, told_at=now) if item in tell else item for item in kept),
        tuple(remembered),
    )


def _merged(
    found: Iterable[Found], looked_at: Collection[Trouble], known: Iterable[Known], now: datetime
) -> list[Known]:
    """What is remembered, brought up to date. What was gone before anybody was told of it is forgotten."""
    seen = {item.key: item for item in found}
    kept = []
    for item in known:
        # a clock that was set back must not silence anything
        item = replace(item, told_at=min(item.told_at, now) if item.told_at else None)
        if (again := seen.pop(item.key, None)) is not None:
            kept.append(replace(item, facts=dict(again.facts), gone_since=None))
        elif item.trouble in MOMENTS:
            if item.told_at is None or now - item.told_at < REMEMBER:
                kept.append(item)
        elif item.trouble not in looked_at:
            kept.append(item)
        elif item.told_at is not None:
            kept.append(replace(item, gone_since=min(item.gone_since or now, now)))
    kept += [Known(item.trouble, item.subject, item.since, dict(item.facts)) for item in seen.values()]
    return kept


def _is_due(item: Known, now: datetime, policy: Policy) -> bool:
    if item.told_at is None:
        return True
    lasts = item.gone_since is None and item.trouble not in MOMENTS | LASTING
    return lasts and now - item.told_at >= policy.repeat


def _is_over(item: Known, now: datetime, policy: Policy) -> bool:
    return item.gone_since is not None and now - item.gone_since >= policy.calm


def _by_urgency(items: Iterable[Known]) -> list[Known]:
    order = list(Trouble)
    return sorted(items, key=lambda item: (order.index(item.trouble), item.since, item.subject))
