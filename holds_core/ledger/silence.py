"""What the risk model found, kept in the ledger: risks of waiting notices, weeks per domain, provider alerts.

In go the model's results; what leaves are rows for the desk, the API, charts and the mail to IT. What
changed is written and nothing else; a case opens or changes where a risk says so. All functions but `store`
work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.holds import Hold
from holds_core.ledger import cases
from holds_core.ledger.models import holds, notice_holds, notices, provider_alerts, provider_weeks, risks
from holds_core.ledger.session import Ledger
from holds_core.ledger.sql import get_flag, insert_new, put_flag
from holds_core.provider_watch import Alert, Suspect, Week
from holds_core.silence import Risk

CALM: Final = 0.6
"""A risk that opened a case stands for it until it falls below this part of what opens one."""
MOVED: Final = 0.005
"""A change of risk that is worth a write."""
RECOVERED: Final = 0.25
"""Part of the way back to the loss before from which an alert counts as over."""
FEW: Final = 5
"""Mails below which a domain has no weeks to show: chance, and perhaps one person's own domain."""
PART: Final = 100
"""Risks written in one transaction: some tens of milliseconds with the cases that change."""
LEASE: Final = "silence"
"""The flag of the daemon that does the weighing."""


# -- risks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weighed:
    """A waiting notice's risk with the moment at which its hold lapses."""

    risk: Risk
    lapses_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What `store` did: notices at risk now, how many rows changed, patrons whose case was looked at."""

    waiting: int
    written: int
    alarming: int
    reviewed: tuple[str, ...]


async def store(ledger: Ledger, found: Iterable[Weighed], now: datetime, case_from: float) -> Stored:
    """Makes the table hold exactly the given risks. `case_from`: the risk that opens a case by itself.

    A notice whose holds have left the shelf since the model heard of it gets no row. Written in parts, each a
    transaction of its own with the cases it changes: a morning's thousands would keep every other writer of a
    SQLite file waiting. What a part that failed has left, the next look finds different and writes.
    """
    async with ledger.read() as connection:
        known = {row.notice_id: row for row in (await connection.execute(sa.select(risks))).all()}
        waiting = await _waiting(connection)
    rows = {
        item.risk.notice_id: _row(item, known.get(item.risk.notice_id), now, case_from)
        for item in found
        if item.risk.notice_id in waiting
    }
    changed = {name: row for name, row in rows.items() if _differs(row, known.get(name))}
    touched = [*changed, *(name for name in known if name not in rows)]
    touched.sort(key=lambda name: waiting.get(name, ""))
    patrons: set[str] = set()
    for start in range(0, len(touched), PART):
        names = touched[start : start + PART]
        part = _Part(names, changed, known, now)
        patrons |= await ledger.write_many(part.write)
    alarming = sum(row["alarming"] for row in rows.values())
    return Stored(len(rows), len(changed), alarming, tuple(sorted(patrons)))


@dataclass(frozen=True, slots=True)
class _Part:
    """Some notices whose risk is another now: `changed` has the new rows, what is not there has none any more."""

    names: list[str]
    changed: Mapping[str, Mapping[str, Any]]
    known: Mapping[str, Any]
    now: datetime

    async def write(self, connection: AsyncConnection) -> set[str]:
        """Returns the patrons whose case was looked at."""
        waiting = await _waiting(connection, self.names)
        doomed = [{"old": name} for name in self.names if name in self.known]
        if doomed:
            await connection.execute(sa.delete(risks).where(risks.c.notice_id == sa.bindparam("old")), doomed)
        rows = [dict(self.changed[name]) for name in self.names if name in self.changed and name in waiting]
        if rows:
            await connection.execute(sa.insert(risks), rows)
        gone = [name for name in self.names if name not in self.changed]
        patrons = {waiting[name] for name in _news(rows, gone, self.known) if name in waiting}
        for patron_id in sorted(patrons):
            await cases.review(connection, patron_id, self.now)
        await _note_falls(connection, rows, self.known, waiting, self.now)
        return patrons


async def _waiting(connection: AsyncConnection, among: Sequence[str] | None = None) -> dict[str, str]:
    """Notices with a hold on the shelf, and their patrons."""
    rows = await connection.execute(
        sa.select(notice_holds.c.notice_id, holds.c.patron_id)
        .join(holds, holds.c.hold_id == notice_holds.c.hold_id)
        .join(notices, notices.c.notice_id == notice_holds.c.notice_id)
        .where(
            holds.c.state == Hold.READY,
            sa.true() if among is None else notice_holds.c.notice_id.in_(among),
        )
    )
    return {row.notice_id: row.patron_id for row in rows.all()}


def _row(item: Weighed, known: Any, now: datetime, case_from: float) -> dict[str, Any]:
    risk = item.risk
    least = case_from * CALM if known is not None and known.alarming else case_from
    return {
        "notice_id": risk.notice_id,
        "risk": risk.probability,
        "unseen": risk.unseen,
        "reasons": [str(reason) for reason in risk.reasons],
        "lapses_at": item.lapses_at,
        "alarming": risk.probability >= least,
        "computed_at": now,
    }


def _differs(row: Mapping[str, Any], known: Any) -> bool:
    return (
        known is None
        or abs(row["risk"] - known.risk) >= MOVED
        or any(row[name] != getattr(known, name) for name in ("reasons", "alarming", "lapses_at"))
    )


def _news(changed: Iterable[Mapping[str, Any]], gone: Iterable[str], known: Mapping[str, Any]) -> set[str]:
    """Notices that have become alarming, or are so no more."""
    found = {row["notice_id"] for row in changed if row["alarming"] != _was_alarming(known, row["notice_id"])}
    return found | {name for name in gone if _was_alarming(known, name)}


def _was_alarming(known: Mapping[str, Any], name: str) -> bool:
    return name in known and bool(known[name].alarming)


async def _note_falls(
    connection: AsyncConnection,
    changed: Iterable[Mapping[str, Any]],
    known: Mapping[str, Any],
    waiting: Mapping[str, str],
    now: datetime,
) -> None:
    """A risk that news has halved is said in the story of the patron's open case."""
    for row in changed:
        before = known.get(row["notice_id"])
        if before is None or before.risk < 0.2 or row["risk"] > before.risk / 2:
            continue
        why = [reason for reason in row["reasons"] if reason not in before.reasons]
        if why:
            await cases.lowered(connection, waiting[row["notice_id"]], why, now)


# -- weeks -----------------------------------------------------------------------------------------


async def store_weeks(connection: AsyncConnection, found: Sequence[Week]) -> None:
    """Makes the table hold these weeks, without domains of hardly any mail."""
    mails: dict[str, int] = {}
    for week in found:
        mails[week.domain] = mails.get(week.domain, 0) + week.mails
    rows = [
        {
            "domain": week.domain,
            "begins": week.begins,
            "mails": week.mails,
            "signs": week.signs,
            "expected": week.expected,
        }
        for week in found
        if week.domain and mails[week.domain] >= FEW
    ]
    await connection.execute(sa.delete(provider_weeks))
    if rows:
        await connection.execute(sa.insert(provider_weeks), rows)


async def weeks(connection: AsyncConnection) -> list[Week]:
    """By domain, oldest first; shares are `signs / mails` and `expected / mails`."""
    rows = await connection.execute(
        sa.select(provider_weeks).order_by(provider_weeks.c.domain, provider_weeks.c.begins)
    )
    return [Week(row.domain, row.begins, row.mails, row.signs, row.expected) for row in rows]


# -- alerts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProviderAlert:
    """An alert as it is kept. Of the `sent` mails since `since`, `shown` show a sign of life; `expected` is
    the share that would have, as before. `closed_at` None: it is so still."""

    id: int
    domain: str
    opened_at: datetime
    since: datetime
    sent: int
    shown: int
    expected: float
    loss_before: float
    loss_now: float
    suspect: Suspect
    closed_at: datetime | None = None
    closed_why: str = ""

    def sentence(self, zone: tzinfo) -> tuple[str, str]:
        """What happened, with its evidence: Japanese, English."""
        return _in_words(self, self.since.astimezone(zone).date())


def _in_words(alert: ProviderAlert, since: date) -> tuple[str, str]:
    ja = (
        f"{alert.domain}: {since.month}月{since.day}日以降の{alert.sent}通のうち、届いた手がかりがあるのは"
        f"{alert.shown}通です(通常なら{alert.expected:.0%})。"
    )
    en = (
        f"{alert.domain}: {alert.shown} of {alert.sent} since {since.day} {since:%B}, "
        f"{alert.expected:.0%} expected. "
    )
    if alert.closed_at is not None:
        return f"{ja}回復しました。", f"{en}It has recovered."
    if alert.suspect is Suspect.LIBRARY:
        return (
            f"{ja}ほかのメールサービスでも同じ時期に減っています。当館側の送信設定(SPF・DKIM・DMARC、"
            "送信元の評判)を確認してください。",
            f"{en}Other providers fell at the same time: check our own sending (SPF, DKIM, DMARC, reputation).",
        )
    return (
        f"{ja}このメールサービスで、エラーも返らずにメールが失われている疑いがあります。",
        f"{en}The provider seems to lose our mail without an error.",
    )


async def alerts(connection: AsyncConnection, *, open_only: bool = False) -> list[ProviderAlert]:
    """Provider alerts, newest first."""
    query = sa.select(provider_alerts).order_by(provider_alerts.c.alert_id.desc())
    if open_only:
        query = query.where(provider_alerts.c.closed_at.is_(None))
    return [_alert(row) for row in await connection.execute(query)]


def _alert(row: Any) -> ProviderAlert:
    return ProviderAlert(
        id=row.alert_id,
        domain=row.domain,
        opened_at=row.opened_at,
        since=row.since,
        sent=row.sent,
        shown=row.shown,
        expected=row.expected,
        loss_before=row.loss_before,
        loss_now=row.loss_now,
        suspect=Suspect(row.suspect),
        closed_at=row.closed_at,
        closed_why=row.closed_why,
    )


def as_told(alert: ProviderAlert) -> Alert:
    """An alert as the model told it, for a model that begins anew; of one that is over, its end."""
    observed = alert.shown / alert.sent if alert.sent else 0.0
    since, before, after = alert.since, alert.loss_before, alert.loss_now
    if alert.closed_at is not None:
        since = alert.closed_at.replace(hour=0, minute=0, second=0, microsecond=0)
        before, after = after, before
    return Alert(
        raised=alert.opened_at,
        domain=alert.domain,
        since=since,
        observed=observed,
        expected=alert.expected,
        n=alert.sent,
        loss_before=before,
        loss_now=after,
        suspect=alert.suspect,
    )


async def store_alert(connection: AsyncConnection, alert: Alert, now: datetime) -> ProviderAlert | None:
    """A change that the model has noticed: a fall opens an alert, a recovery closes the open one.

    Returns the alert as it is now; None where there is nothing new (another daemon told it).
    """
    if alert.loss_now < alert.loss_before:
        return await close_alert(connection, alert.domain, "recovered", now)
    row = {
        "domain": alert.domain,
        "opened_at": now,
        "since": alert.since,
        "sent": alert.n,
        "shown": round(alert.observed * alert.n),
        "expected": alert.expected,
        "loss_before": alert.loss_before,
        "loss_now": alert.loss_now,
        "suspect": alert.suspect,
        "changed_at": now,
    }
    if not await insert_new(connection, provider_alerts, row):
        return None
    return await _open_alert(connection, alert.domain)


async def _open_alert(connection: AsyncConnection, domain: str) -> ProviderAlert | None:
    row = (
        await connection.execute(
            sa.select(provider_alerts).where(
                provider_alerts.c.domain == domain, provider_alerts.c.closed_at.is_(None)
            )
        )
    ).first()
    return None if row is None else _alert(row)


async def close_alert(
    connection: AsyncConnection, domain: str, why: str, now: datetime
) -> ProviderAlert | None:
    """Closes the domain's open alert. Returns it, or None if there was none."""
    found = (
        await connection.execute(
            sa.update(provider_alerts)
            .where(provider_alerts.c.domain == domain, provider_alerts.c.closed_at.is_(None))
            .values(closed_at=now, closed_why=why, changed_at=now)
            .returning(provider_alerts)
        )
    ).first()
    return None if found is None else _alert(found)


async def blame(connection: AsyncConnection, alert_id: int, suspect: Suspect, now: datetime) -> bool:
    """Whose change it looks like by now. Returns whether that is news."""
    changed = await connection.execute(
        sa.update(provider_alerts)
        .where(provider_alerts.c.alert_id == alert_id, provider_alerts.c.suspect != suspect)
        .values(suspect=suspect, changed_at=now)
    )
    return changed.rowcount == 1


def is_over(alert: ProviderAlert, loss: float | None) -> bool:
    """Whether the loss believed now is back near what it was before the alert."""
    return loss is not None and loss <= alert.loss_before + RECOVERED * (alert.loss_now - alert.loss_before)


# -- who weighs ------------------------------------------------------------------------------------


async def take_turn(connection: AsyncConnection, owner: str, now: datetime, span: timedelta) -> bool:
    """Whether this daemon weighs until `now` + `span`: of several on one ledger, one is enough."""
    held = await get_flag(connection, LEASE) or {}
    if held.get("owner") not in (None, owner) and datetime.fromisoformat(held["until"]) > now:
        return False
    turn = {"owner": owner, "until": (now + span).isoformat(), "weighed": held.get("weighed", "")}
    await put_flag(connection, LEASE, turn, now)
    return True


async def has_weighed(connection: AsyncConnection, now: datetime) -> None:
    """Notes for whoever asks that the risks are those of `now`."""
    held = await get_flag(connection, LEASE) or {}
    await put_flag(connection, LEASE, held | {"weighed": now.isoformat()}, now)


async def weighed_at(connection: AsyncConnection) -> datetime | None:
    """As of when the risks are."""
    held = await get_flag(connection, LEASE) or {}
    return datetime.fromisoformat(held["weighed"]) if held.get("weighed") else None


async def give_up_turn(connection: AsyncConnection, owner: str, now: datetime) -> None:
    """This daemon stops: another one need not wait."""
    held = await get_flag(connection, LEASE) or {}
    if held.get("owner") == owner:
        await put_flag(connection, LEASE, held | {"owner": None, "until": None}, now)
