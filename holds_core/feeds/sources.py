"""Which feed a snapshot file belongs to, what is in it, and what time it speaks of. Reads no file's content."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from zoneinfo import ZoneInfo

from holds_core.errors import BadInput
from holds_core.feeds.mapping import Kind
from holds_core.settings.feeds import Snapshot

_STAMP = re.compile(
    r"(?<![0-9])(20[0-9]{2})-?([0-9]{2})-?([0-9]{2})[-_T]?([0-9]{2})-?([0-9]{2})(?:[0-9]{2})?(?![0-9])"
)


def kind_by_name(snapshot: Snapshot, name: str) -> Kind | None:
    """What a file of the feed is by its name; None if neither pattern fits it, or both do."""
    patrons = fnmatchcase(name.lower(), snapshot.patrons.files.lower())
    holds = fnmatchcase(name.lower(), snapshot.holds.files.lower())
    if patrons == holds:
        return None
    return Kind.PATRONS if patrons else Kind.HOLDS


def choose(configured: tuple[Snapshot, ...], name: str, feed: str | None) -> tuple[Snapshot, Kind | None]:
    """The feed of a file and what it holds; with None for the latter, its heading must say.

    `feed` None: the only feed whose pattern fits the name. Without any configured feed, one with our own
    headings and words is assumed. Raises BadInput if no feed, or several, could be meant.
    """
    names = ", ".join(snapshot.name for snapshot in configured)
    if feed is not None:
        for snapshot in configured:
            if snapshot.name == feed:
                return snapshot, kind_by_name(snapshot, name)
        if configured:
            raise BadInput(
                f"「{feed}」という取り込み元は設定にありません (あるもの: {names})。 / "
                f"feeds.snapshots has no {feed}; it has {names}"
            )
        return _ours(feed), None
    fitting = [snapshot for snapshot in configured if kind_by_name(snapshot, name) is not None]
    if len(fitting) == 1:
        return fitting[0], kind_by_name(fitting[0], name)
    if len(configured) == 1:
        return configured[0], None
    if not configured:
        return _ours("import"), None
    raise BadInput(
        f"どの取り込み元のファイルか分かりません。--feed で指定してください ({names})。 / "
        f"which feed is {name} of? Say it with --feed: {names}"
    )


def _ours(name: str) -> Snapshot:
    try:
        return Snapshot.model_validate({"name": name})
    except ValueError:
        raise BadInput(
            f"「{name}」は取り込み元の名前に使えません (英数字・-・_、40字まで)。 / "
            f"{name} is no name of a feed (letters, digits, - and _, at most 40)"
        ) from None


def time_of(path: Path, zone: ZoneInfo, now: datetime) -> datetime:
    """The time a file speaks of: the one in its name (`holds_20261122_0210.csv`, in the library's time
    zone), else when it was last written. Never later than now.
    """
    stamp = _STAMP.search(path.stem)
    found = None
    if stamp:
        try:
            found = datetime(*(int(part) for part in stamp.groups()), tzinfo=zone)  # type: ignore[arg-type,misc]
        except ValueError:
            found = None
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return min(found or written, now).astimezone(zone)
