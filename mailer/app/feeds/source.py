"""What a live feed must be able to say; Koha and FOLIO say it each in their own way.

Everything is asked page by page. All methods raise FeedDown.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from holds_core.feeds.mapping import Kind
from holds_core.feeds.records import Told
from holds_core.settings import LiveFeed
from mailer.app.feeds.http import FeedDown


@dataclass(frozen=True, slots=True)
class Page:
    """Some records as they were understood. `newest`: the latest change among them; `at`: the server's time."""

    told: list[Told]
    newest: datetime | None = None
    at: datetime | None = None


class Source(Protocol):
    """Another library system. Use as `async with`."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> LiveFeed: ...

    async def __aenter__(self) -> Source: ...

    async def __aexit__(self, *_: object) -> None: ...

    def pages(self, kind: Kind, since: datetime | None) -> AsyncIterator[Page]:
        """All patrons, or all open holds; with `since` those that changed from then on."""
        ...

    async def look_up(self, hold_id: str, patron_id: str) -> Told | None:
        """What became of a hold that is no longer listed; None if nobody can tell any more."""
        ...

    async def titles(self, hold_ids: Sequence[str]) -> Mapping[str, str]:
        """Titles of holds that the last pages had, where they did not come with the hold."""
        ...


def listed(found: Any, path: str) -> list[dict[str, Any]]:
    """The records of a list. Raises FeedDown if it is none."""
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FeedDown(f"{path}: the answer is no list of records")
    return found


def newest(
    records: Sequence[Mapping[str, Any]], changed: Callable[[Mapping[str, Any]], Any]
) -> datetime | None:
    """The latest time of change among the records; one that cannot be read is passed over."""
    times = (moment(changed(record)) for record in records)
    return max((time for time in times if time is not None), default=None)


def moment(value: Any) -> datetime | None:
    """An RFC 3339 time with its offset."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def compact(value: object) -> str:
    """JSON for a query."""
    return json.dumps(value, separators=(",", ":"))
