"""The ledger kept small and well: retention, and what `todoku doctor` asks of it.

`purge` erases what is older than the settings allow, in short transactions of its own, so that the daemon
sends on meanwhile; what is still needed (mail that has not left, holds that are not over, what is known of
an address in use) stays whatever its age. Forgetting one person is `holds_core.ledger.personal`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import TodokuError
from holds_core.holds import OPEN
from holds_core.ledger.accounts import LONGEST
from holds_core.ledger.inbox import MailState
from holds_core.ledger.models import (
    addresses,
    audit,
    batches,
    canaries,
    case_actions,
    cases,
    claims,
    decisions,
    deliveries,
    events,
    evidence,
    flags,
    holds,
    inbound,
    mail_domains,
    notice_holds,
    notices,
    patron_addresses,
    patrons,
    provider_alerts,
    sessions,
    snapshot_rows,
    snapshot_runs,
)
from holds_core.ledger.session import Ledger
from holds_core.ledger.sql import get_flag, put_flag
from holds_core.notices import SENDABLE, Transmission
from holds_core.settings import Retention

AT_ONCE = 500
"""Rows in one transaction: some milliseconds, which a sender that waits for its turn does not notice."""

_ON_ITS_WAY = (*SENDABLE, Transmission.SENDING)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is erased of a table: the rows that `where` finds, or with `values` only those columns.

    `key` is the table's primary key, by which the rows are walked.
    """

    name: str
    key: sa.Column[Any]
    where: sa.ColumnElement[bool]
    values: Mapping[str, Any] | None = None


def rules(retention: Retention, now: datetime, dialect: str) -> tuple[Rule, ...]:
    """Everything that retention asks for at `now`, in the order in which it is done: what refers to
    other rows goes before them."""
    titles, raw = now - retention.titles, now - retention.raw_mail
    old, audited = now - retention.events, now - retention.audit
    return (
        Rule("titles", holds.c.hold_id, _told_of(titles), {"title": ""}),
        Rule("event_titles", events.c.event_id, _with_title(titles), {"payload": _untitled(dialect)}),
        Rule("raw_mail", inbound.c.inbound_id, _raw(raw), {"raw": None, "envelope_from": ""}),
        Rule("inbound", inbound.c.inbound_id, sa.and_(_read, inbound.c.received_at < min(old, raw))),
        Rule("events", events.c.event_id, events.c.received_at < old),
        Rule("mail", notices.c.notice_id, _done_mail(old)),
        Rule("evidence", evidence.c.evidence_id, sa.and_(evidence.c.at < old, ~_in_use(evidence))),
        Rule(
            "evidence_texts",
            evidence.c.evidence_id,
            sa.and_(evidence.c.at < old, evidence.c.text != "", _in_use(evidence)),
            {"text": ""},
        ),
        Rule("holds", holds.c.hold_id, _over(old)),
        Rule("cases", cases.c.case_id, sa.and_(cases.c.state == "closed", cases.c.closed_at < old)),
        Rule("patrons", patrons.c.patron_id, _departed(old)),
        Rule("former_addresses", patron_addresses.c.id, patron_addresses.c.until < old),
        Rule("addresses", addresses.c.address_key, _unowned(old)),
        Rule("claims", claims.c.patron_id, claims.c.until < old),
        Rule("decisions", decisions.c.decision_id, decisions.c.at < old),
        Rule("canaries", canaries.c.canary_id, canaries.c.settled_at < old),
        Rule("provider_alerts", provider_alerts.c.alert_id, provider_alerts.c.closed_at < old),
        Rule("mail_domains", mail_domains.c.domain, mail_domains.c.ask_again_at < old),
        Rule("snapshot_runs", snapshot_runs.c.run_id, _replaced_run(old)),
        Rule("sessions", sessions.c.session_key, sessions.c.created_at < now - LONGEST),
        Rule("staff_actions", case_actions.c.action_id, case_actions.c.at < audited),
        Rule("audit", audit.c.audit_id, audit.c.at < audited),
    )


_read = inbound.c.state != MailState.NEW


def _told_of(before: datetime) -> sa.ColumnElement[bool]:
    """Holds with a title that ended before then, and of which no mail is still to be written."""
    unsent = (
        sa.select(notice_holds.c.hold_id)
        .join(deliveries, deliveries.c.notice_id == notice_holds.c.notice_id)
        .where(notice_holds.c.hold_id == holds.c.hold_id, deliveries.c.state.in_(_ON_ITS_WAY))
    )
    return sa.and_(
        holds.c.title != "", holds.c.state.not_in(OPEN), holds.c.event_at < before, ~sa.exists(unsent)
    )


def _with_title(before: datetime) -> sa.ColumnElement[bool]:
    """Events that still name a title. The hold's row has it as long as it is needed."""
    return sa.and_(events.c.received_at < before, events.c.payload["title"].as_string().is_not(None))


def _untitled(dialect: str) -> sa.ColumnElement[Any]:
    if dialect == "sqlite":
        return sa.func.json_remove(events.c.payload, "$.title")
    jsonb = sa.cast(events.c.payload, postgresql.JSONB)
    return sa.cast(jsonb.op("-")(sa.cast("title", sa.Text)), sa.JSON)


def _raw(before: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(inbound.c.raw.is_not(None), _read, inbound.c.received_at < before)


def _done_mail(before: datetime) -> sa.ColumnElement[bool]:
    """Notices of that age with their deliveries and attempts, unless one of them may still leave."""
    open_ones = sa.select(deliveries.c.delivery_id).where(
        deliveries.c.notice_id == notices.c.notice_id, deliveries.c.state.in_(_ON_ITS_WAY)
    )
    return sa.and_(notices.c.created_at < before, ~sa.exists(open_ones))


def _in_use(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether some patron has the address now. What is known of it then stays: an address that was found
    to be a stranger's must not be written to again because that was long ago."""
    return sa.exists(
        sa.select(patron_addresses.c.id).where(
            patron_addresses.c.address_key == table.c.address_key, patron_addresses.c.until.is_(None)
        )
    )


def _over(before: datetime) -> sa.ColumnElement[bool]:
    named = sa.select(notice_holds.c.hold_id).where(notice_holds.c.hold_id == holds.c.hold_id)
    return sa.and_(holds.c.state.not_in(OPEN), holds.c.event_at < before, ~sa.exists(named))


def _unowned(before: datetime) -> sa.ColumnElement[bool]:
    """Addresses that no patron, mail or evidence has any more."""
    return sa.and_(
        addresses.c.since < before,
        *(
            ~sa.exists(
                sa.select(sa.literal(1))
                .select_from(table)
                .where(table.c.address_key == addresses.c.address_key)
            )
            for table in (patron_addresses, deliveries, evidence)
        ),
    )


def _departed(before: datetime) -> sa.ColumnElement[bool]:
    """Patrons who left the library system's lists, with nothing left that concerns them. Who was never on a
    list has not left one: some are known by events alone, also where a nightly list names the others."""
    listed = sa.select(snapshot_rows.c.key).where(
        snapshot_rows.c.kind == "patrons", snapshot_rows.c.key == patrons.c.patron_id
    )
    concerns = (
        listed,
        sa.select(sa.literal(1)).where(holds.c.patron_id == patrons.c.patron_id, holds.c.state.in_(OPEN)),
        sa.select(sa.literal(1)).where(deliveries.c.patron_id == patrons.c.patron_id),
    )
    return sa.and_(
        patrons.c.departed_at < before,
        patrons.c.event_at < before,
        *(~sa.exists(query) for query in concerns),
    )


def _replaced_run(before: datetime) -> sa.ColumnElement[bool]:
    """The last run of a feed says what the next one is compared with: it stays."""
    later = snapshot_runs.alias()
    return sa.and_(
        snapshot_runs.c.finished_at < before,
        sa.exists(
            sa.select(later.c.run_id).where(
                later.c.feed == snapshot_runs.c.feed,
                later.c.kind == snapshot_runs.c.kind,
                later.c.state == "done",
                later.c.run_id > snapshot_runs.c.run_id,
            )
        ),
    )


async def due(ledger: Ledger, retention: Retention, now: datetime) -> dict[str, int]:
    """What `purge` would erase, by kind. Rows that it could reach only after others are not counted."""
    counts = {}
    for rule in rules(retention, now, ledger.dialect):
        async with ledger.read() as connection:
            query = sa.select(sa.func.count()).select_from(rule.key.table).where(rule.where)
            counts[rule.name] = await connection.scalar(query) or 0
    return counts


async def purge(ledger: Ledger, retention: Retention, now: datetime) -> dict[str, int]:
    """Erases what is older than `retention` allows. Returns how many rows of each kind.

    May be called at any time, by several daemons, and again after it was cut off.
    """
    return {rule.name: await _erase(ledger, rule) for rule in rules(retention, now, ledger.dialect)}


async def _erase(ledger: Ledger, rule: Rule) -> int:
    """Walks the table by its key: rows are looked for in readers' time, and changed a few at once."""
    count = 0
    last: Any = None
    while True:
        ahead = rule.where if last is None else sa.and_(rule.where, rule.key > last)
        async with ledger.read() as connection:
            found = list(
                await connection.scalars(sa.select(rule.key).where(ahead).order_by(rule.key).limit(AT_ONCE))
            )
        if not found:
            return count
        async with ledger.write() as connection:
            count += await _change(connection, rule, found)
        last = found[-1]


async def _change(connection: AsyncConnection, rule: Rule, found: list[Any]) -> int:
    # once more with the condition: since they were found, they may have become needed
    where = sa.and_(rule.key.in_(found), rule.where)
    if rule.values is None:
        return (await connection.execute(sa.delete(rule.key.table).where(where))).rowcount
    return (await connection.execute(sa.update(rule.key.table).where(where).values(**rule.values))).rowcount


# For the doctor -----------------------------------------------------------------------------------


class LedgerDown(TodokuError):  # noqa: N818
    """The database cannot be read or written. The text is the kind of the driver's error only: its own
    words may hold a URL with a password."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise LedgerDown(type(getattr(error, "orig", None) or error).__name__) from error


@dataclass(frozen=True, slots=True)
class Health:
    """`heard_at`: when the last event of the library system came in; `recorded_at`: the latest time that
    we wrote down by our own clock; None where there is nothing. `paused`: somebody stopped all mail."""

    heard_at: datetime | None
    recorded_at: datetime | None
    paused: bool


async def health(ledger: Ledger, stop_flag: str) -> Health:
    """`stop_flag` names the flag of the stop button. Reads every event: for a person who waits, not for
    a loop. Raises LedgerDown."""
    with _told():
        async with ledger.read() as connection:
            heard, *others = [
                await connection.scalar(sa.select(sa.func.max(column)))
                for column in (events.c.received_at, batches.c.released_at, flags.c.at, inbound.c.received_at)
            ]
            paused = await get_flag(connection, stop_flag)
    newest = max((time for time in (heard, *others) if time is not None), default=None)
    return Health(heard, newest, bool(paused))


async def versions(ledger: Ledger) -> tuple[str | None, str]:
    """`Ledger.schema`. Raises LedgerDown."""
    with _told():
        return await ledger.schema()


async def probe(ledger: Ledger, now: datetime) -> None:
    """Commits one row of its own (the flag "doctor"). Raises LedgerDown."""
    with _told():
        async with ledger.write() as connection:
            await put_flag(connection, "doctor", {}, now)


async def newest_mail(ledger: Ledger) -> int:
    """The number of the mail that came in last, 0 without any. Raises LedgerDown."""
    with _told():
        async with ledger.read() as connection:
            return await connection.scalar(sa.select(sa.func.max(inbound.c.inbound_id))) or 0


async def put_away(ledger: Ledger, after: int, marker: bytes) -> bytes | None:
    """The mail with `marker` among those that came in after number `after`, once the daemon has read it; it
    leaves the quarantine, since it is the doctor's own. Raises LedgerDown."""
    with _told():
        async with ledger.read() as connection:
            rows = await connection.execute(
                sa.select(inbound.c.inbound_id, inbound.c.raw).where(
                    inbound.c.inbound_id > after, inbound.c.state != MailState.NEW
                )
            )
            found = next(((number, raw) for number, raw in rows if raw and marker in raw), None)
        if found is None:
            return None
        async with ledger.write() as connection:
            await connection.execute(
                sa.update(inbound)
                .where(inbound.c.inbound_id == found[0], inbound.c.state == MailState.QUARANTINED)
                .values(state=MailState.DISMISSED, why="doctor")
            )
        return bytes(found[1])
