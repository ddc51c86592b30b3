"""Pacing: how soon the next mail to a provider may leave. Pure; times are arguments.

Carriers ask for slow sending and may block sources that hurry. Each provider has its own pace; the relay's
own rate is one more. The algorithm is the virtual scheduling form of GCRA (ITU-T I.371): it keeps one time
per provider and allows a small burst.
"""

from __future__ import annotations

from datetime import datetime, timedelta

BURST = timedelta(seconds=5)
"""Mails that a pace allows within this time may leave together."""


class Pacer:
    """Knows for each provider when its next mail may leave."""

    def __init__(self) -> None:
        self._due: dict[str, datetime] = {}

    def earliest(self, name: str, now: datetime) -> datetime:
        """When the next mail of `name` may leave: `now` or later."""
        return max(now, self._due.get(name, now) - BURST)

    def take(self, name: str, per_minute: int, now: datetime) -> None:
        """One mail of `name` leaves now; `per_minute` 0 means that there is no limit."""
        if per_minute > 0:
            self._due[name] = max(self._due.get(name, now), now) + interval(per_minute)


def interval(per_minute: int) -> timedelta:
    return timedelta(minutes=1) / per_minute
