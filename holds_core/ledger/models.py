"""The tables of the ledger. What stands here is the same on SQLite and PostgreSQL.

Only shapes: no queries, no rules. Times are stored in UTC and come back timezone-aware. States are the
values of the enums in `holds_core`; which step may follow which is in their transition tables, never here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC. SQLite has no time zones and would hand back naive times."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone must not reach the ledger")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        time: datetime = value
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


naming = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=naming)

_Id = sa.String(200)
_Word = sa.String(40)
# SQLite only gives a rowid to INTEGER; PostgreSQL wants 64 bits
_BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", _Id, primary_key=True),
    sa.Column("type", _Word, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("feed", _Id, nullable=False),
    # the event as it came, titles cleaned; erased after retention.events
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("patron_id", _Id, index=True),
    sa.Column("hold_id", _Id, index=True),
    # applied, ignored (stale), conflict
    sa.Column("outcome", _Word, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_events_outcome_at", "outcome", "at"),
)

patrons = sa.Table(
    "patrons",
    metadata,
    sa.Column("patron_id", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("name_kana", sa.Text, nullable=False, server_default=""),
    sa.Column("contact", _Word, nullable=False),
    sa.Column("language", _Word, nullable=False, server_default=""),
    # full, short, none: how much of a title their mail may show; empty: as the library has it
    sa.Column("title_policy", _Word, nullable=False, server_default=""),
    sa.Column("branch", _Id, nullable=False, server_default=""),
    sa.Column("phones", sa.JSON, nullable=False),
    sa.Column("phone_note", sa.Text, nullable=False, server_default=""),
    sa.Column("guardian_id", _Id),
    sa.Column("provisional", sa.Boolean, nullable=False),
    sa.Column("overdue", sa.Boolean, nullable=False),
    # what the library system last said; an address that staff corrected here holds until this changes
    sa.Column("feed_emails", sa.JSON, nullable=False),
    sa.Column("event_at", UtcTime, nullable=False),
    # since when no list has them any more; empty for those who were never on one, and when heard of again
    sa.Column("departed_at", UtcTime),
    # children whose guardian's address has changed; few patrons have one
    sa.Index(
        "ix_patrons_guardian",
        "guardian_id",
        sqlite_where=sa.text("guardian_id IS NOT NULL"),
        postgresql_where=sa.text("guardian_id IS NOT NULL"),
    ),
)

patron_addresses = sa.Table(
    "patron_addresses",
    metadata,
    sa.Column("id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("patron_id", sa.ForeignKey("patrons.patron_id", ondelete="CASCADE"), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("address_key", sa.Text, nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("source", _Word, nullable=False),  # feed, staff
    sa.Column("provisional", sa.Boolean, nullable=False),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
    sa.Index("ix_patron_addresses_patron_until", "patron_id", "until"),
)

addresses = sa.Table(
    "addresses",
    metadata,
    sa.Column("address_key", sa.Text, primary_key=True),
    sa.Column("domain", sa.Text, nullable=False, index=True),
    sa.Column("standing", _Word, nullable=False),
    # codes of the reasons that make the standing, strongest first
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("since", UtcTime, nullable=False),
    # a person's sign was seen at least once
    sa.Column("proven", sa.Boolean, nullable=False),
    sa.Column("mistyped", sa.Boolean, nullable=False),
    # why it probably cannot work, found when it was registered (holds_core.address_checks); empty: nothing
    sa.Column("doubt", _Word, nullable=False, server_default=""),
    # what was probably meant
    sa.Column("suggestion", sa.Text, nullable=False, server_default=""),
)

mail_domains = sa.Table(
    "mail_domains",
    metadata,
    # what DNS said of a domain's mail, until it is asked again
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("verdict", _Word, nullable=False),  # holds_core.address_checks.MailDomain
    sa.Column("checked_at", UtcTime, nullable=False),
    sa.Column("ask_again_at", UtcTime, nullable=False, index=True),
)

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("hold_id", _Id, primary_key=True),
    sa.Column("patron_id", _Id, nullable=False),
    sa.Column("branch", _Id, nullable=False, server_default=""),
    sa.Column("title", sa.Text, nullable=False, server_default=""),
    sa.Column("material", _Word, nullable=False, server_default=""),
    sa.Column("via", _Word, nullable=False, server_default=""),
    sa.Column("availability", _Word, nullable=False, server_default=""),
    sa.Column("set_id", _Id),
    sa.Column("volume", sa.Integer),
    # in which order the volumes of its set are announced: limits.VolumeOrder; empty: as they come
    sa.Column("volume_order", _Word, nullable=False, server_default=""),
    sa.Column("contact", _Word),
    sa.Column("state", _Word, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    # the time of the event that made the state; an older event changes nothing
    sa.Column("event_at", UtcTime, nullable=False),
    sa.Column("ready_on", sa.Date),
    # the last day of the hold shelf; from the feed, or in force since hand-over
    sa.Column("deadline", sa.Date),
    # feed, mail, extended; reached (the patron was told by phone or post), shelf (nobody is to be told)
    sa.Column("deadline_source", _Word),
    # since then the notice is known not to have arrived, and the deadline's clock stands still
    sa.Column("clock_stopped_at", UtcTime),
    sa.Index("ix_holds_patron_state", "patron_id", "state"),
    sa.Index("ix_holds_state_deadline", "state", "deadline"),
)

hold_steps = sa.Table(
    "hold_steps",
    metadata,
    sa.Column("id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("hold_id", sa.ForeignKey("holds.hold_id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("state", _Word, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("event_id", _Id),
    # true: no event showed it, it lies on the legal way to a state that an event showed
    sa.Column("inferred", sa.Boolean, nullable=False),
)

decisions = sa.Table(
    "decisions",
    metadata,
    # read by other programs in this order, and never changed
    sa.Column("decision_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("what", _Word, nullable=False),  # holds_core.ledger.decisions.What
    sa.Column("hold_id", _Id, nullable=False, index=True),
    sa.Column("patron_id", _Id, nullable=False, index=True),
    # the rule that refused or warned: limits.RefusalCode
    sa.Column("reason", _Word, nullable=False, server_default=""),
    sa.Column("sentence_ja", sa.Text, nullable=False, server_default=""),
    sa.Column("sentence_en", sa.Text, nullable=False, server_default=""),
    sa.Column("deadline", sa.Date),
    # the event, or the reception run, that it answers
    sa.Column("event_id", _Id),
    sa.Index("ix_decisions_at", "at"),
)

reception_runs = sa.Table(
    "reception_runs",
    metadata,
    # a branch's requests are taken once on each of its open days, whatever restarts
    sa.Column("branch", _Id, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    # what was asked for until then belongs to this run
    sa.Column("until", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    # empty: it was interrupted, and goes on
    sa.Column("finished_at", UtcTime),
    sa.Column("by", sa.Text, nullable=False, server_default=""),
    sa.Column("placed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("refused", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cancelled", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cancel_refused", sa.Integer, nullable=False, server_default="0"),
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("notice_id", _Id, primary_key=True),
    sa.Column("kind", _Word, nullable=False),
    sa.Column("patron_id", _Id, nullable=False, index=True),
    sa.Column("branch", _Id, nullable=False, server_default=""),
    sa.Column("event_id", _Id),
    sa.Column("created_at", UtcTime, nullable=False),
    # why it is refused or cancelled, for the template
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
)

notice_holds = sa.Table(
    "notice_holds",
    metadata,
    sa.Column("notice_id", sa.ForeignKey("notices.notice_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("hold_id", _Id, primary_key=True),
    sa.Index("ix_notice_holds_hold", "hold_id"),
)

# Written as text because SQLite uses a partial index only for the very same words in a query.
CLAIMABLE = "state IN ('pending', 'retrying', 'uncertain') AND lease_owner IS NULL AND next_at IS NOT NULL"
UNRELEASED = "state = 'pending' AND slot IS NULL AND next_at IS NULL"

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column(
        "notice_id", sa.ForeignKey("notices.notice_id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("kind", _Word, nullable=False),
    sa.Column("patron_id", _Id, nullable=False, index=True),
    # empty: the patron has no address that may be used; such a delivery is withheld
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("address_key", sa.Text, nullable=False, index=True),
    sa.Column("domain", sa.Text, nullable=False),
    # return path token, ENVID and left part of the Message-ID: fixed before the first attempt
    sa.Column("token", _Id, unique=True),
    sa.Column("state", _Word, nullable=False),
    sa.Column("finding", _Word, nullable=False),
    # batched deliveries wait with no slot and no next_at until a batch releases them
    sa.Column("slot", _Id),
    sa.Column("next_at", UtcTime),
    sa.Column("prompt", sa.Boolean, nullable=False),
    sa.Column("lease_owner", _Id),
    sa.Column("lease_until", UtcTime),
    # which of the owner's claims this is: a copy from an earlier claim may not be dialled any more
    sa.Column("lease_number", sa.Integer),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("doubts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("first_attempt_at", UtcTime),
    sa.Column("handed_over_at", UtcTime),
    # until then a sign of life is awaited
    sa.Column("window_ends_at", UtcTime),
    sa.Column("deadline", sa.Date),
    # what explains the state or the finding, for reports: Reason and Fault values, or our own words
    sa.Column("reason", _Word, nullable=False, server_default=""),
    sa.Column("fault", _Word, nullable=False, server_default=""),
    # small however many mails were ever sent: only what a sender may claim now or later
    sa.Index(
        "ix_deliveries_due",
        "prompt",
        "next_at",
        sqlite_where=sa.text(CLAIMABLE),
        postgresql_where=sa.text(CLAIMABLE),
    ),
    # so is this: what waits for the next batch
    sa.Index(
        "ix_deliveries_unreleased",
        "created_at",
        sqlite_where=sa.text(UNRELEASED),
        postgresql_where=sa.text(UNRELEASED),
    ),
    sa.Index("ix_deliveries_window", "finding", "window_ends_at"),
    sa.Index("ix_deliveries_handed_over", "handed_over_at"),
    sa.Index("ix_deliveries_created", "created_at"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("delivery_id", sa.ForeignKey("deliveries.delivery_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("result", _Word),
    sa.Column("phase", _Word),
    sa.Column("code", sa.Integer),
    sa.Column("status", _Word, nullable=False, server_default=""),
    sa.Column("text", sa.Text, nullable=False, server_default=""),
    sa.Column("remote", sa.Text, nullable=False, server_default=""),
    sa.Column("deadline", sa.Date),
)

evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("evidence_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", _Word, nullable=False),
    sa.Column("delivery_id", _BigId, index=True),
    sa.Column("address_key", sa.Text, nullable=False),
    sa.Column("patron_id", _Id, index=True),
    sa.Column("source", _Word, nullable=False),
    sa.Column("reason", _Word, nullable=False, server_default=""),
    sa.Column("fault", _Word, nullable=False, server_default=""),
    sa.Column("severity", _Word, nullable=False, server_default=""),
    sa.Column("phase", _Word, nullable=False, server_default=""),
    sa.Column("code", sa.Integer),
    sa.Column("status", _Word, nullable=False, server_default=""),
    sa.Column("text", sa.Text, nullable=False, server_default=""),
    sa.Column("inbound_id", _BigId),
    # one observation counts once, however often it is handed in
    sa.Column("fingerprint", _Id, nullable=False, unique=True),
    # staff pressed the wrong button: the row stays and counts for nothing
    sa.Column("withdrawn_at", UtcTime),
    sa.Column("withdrawn_by", _Id),
    sa.Index("ix_evidence_address_at", "address_key", "at"),
)

inbound = sa.Table(
    "inbound",
    metadata,
    sa.Column("inbound_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("source", _Word, nullable=False),  # lmtp, imap, file
    sa.Column("envelope_from", sa.Text, nullable=False),
    sa.Column("envelope_to", sa.JSON, nullable=False),
    # the bytes as they came; erased after retention.raw_mail
    sa.Column("raw", sa.LargeBinary),
    sa.Column("truncated", sa.Boolean, nullable=False),
    # SHA-256 of the raw bytes and the envelope recipients: a mail handed in twice counts once
    sa.Column("digest", _Id, nullable=False, unique=True),
    sa.Column("state", _Word, nullable=False),  # new, used, quarantined, dismissed
    sa.Column("kind", _Word, nullable=False, server_default=""),
    sa.Column("why", sa.Text, nullable=False, server_default=""),
    sa.Column("delivery_id", _BigId, index=True),
    sa.Index("ix_inbound_state", "state", "inbound_id"),
)

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("case_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("patron_id", _Id, nullable=False, index=True),
    sa.Column("state", _Word, nullable=False),  # open, closed
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("deadline", sa.Date),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
    sa.Column("closed_at", UtcTime),
    sa.Column("closed_why", _Word, nullable=False, server_default=""),
    sa.Index(
        "uq_cases_open_patron",
        "patron_id",
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    ),
    sa.Index("ix_cases_state_deadline", "state", "deadline"),
)

case_steps = sa.Table(
    "case_steps",
    metadata,
    # what became of a case by itself, and by which news; what staff do is in case_actions
    sa.Column("step_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("case_id", sa.ForeignKey("cases.case_id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("what", _Word, nullable=False),  # opened, raised, changed, lowered, closed
    # reasons gained, or what closed it
    sa.Column("why", sa.JSON, nullable=False),
)

risks = sa.Table(
    "risks",
    metadata,
    # only notices whose holds wait; computed, never the source of anything
    sa.Column("notice_id", sa.ForeignKey("notices.notice_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("risk", sa.Float, nullable=False),  # P(its hold lapses because the mail was not seen)
    sa.Column("unseen", sa.Float, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),  # holds_core.silence_reasons.RiskReason
    # the moment at which the hold lapses, as the computation took it
    sa.Column("lapses_at", UtcTime),
    # high enough for a case although nothing has happened yet
    sa.Column("alarming", sa.Boolean, nullable=False),
    sa.Column("computed_at", UtcTime, nullable=False),
)

provider_weeks = sa.Table(
    "provider_weeks",
    metadata,
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("begins", sa.Date, primary_key=True),  # a Monday
    sa.Column("mails", sa.Integer, nullable=False),
    sa.Column("signs", sa.Integer, nullable=False),  # of these, with a sign of life
    sa.Column("expected", sa.Float, nullable=False),  # signs, if the domain lost nothing
)

provider_alerts = sa.Table(
    "provider_alerts",
    metadata,
    sa.Column("alert_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("since", UtcTime, nullable=False),  # the day from which mail is missing
    sa.Column("sent", sa.Integer, nullable=False),
    sa.Column("shown", sa.Integer, nullable=False),  # of these, with a sign of life
    sa.Column("expected", sa.Float, nullable=False),  # the share that would have shown one, as before
    sa.Column("loss_before", sa.Float, nullable=False),
    sa.Column("loss_now", sa.Float, nullable=False),
    sa.Column("suspect", _Word, nullable=False),  # provider, library
    sa.Column("changed_at", UtcTime, nullable=False),
    sa.Column("closed_at", UtcTime),
    sa.Column("closed_why", _Word, nullable=False, server_default=""),
    sa.Index(
        "uq_provider_alerts_open_domain",
        "domain",
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    ),
)

batches = sa.Table(
    "batches",
    metadata,
    # "2026-11-22 morning": a slot runs once, whatever restarts and however many daemons run
    sa.Column("slot", _Id, primary_key=True),
    sa.Column("due_at", UtcTime, nullable=False),
    sa.Column("released_at", UtcTime, nullable=False),
    sa.Column("released", sa.Integer, nullable=False),
    # run, skipped (too late to catch up, or the library is closed)
    sa.Column("outcome", _Word, nullable=False),
    # when the last of its mails was handed over
    sa.Column("finished_at", UtcTime),
)

canaries = sa.Table(
    "canaries",
    metadata,
    # mail to mailboxes of the library's own at providers: one per batch and mailbox, no patron's notice
    sa.Column("canary_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("slot", _Id, nullable=False),
    sa.Column("address", sa.String(320), nullable=False),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("begun_at", UtcTime, nullable=False),
    sa.Column("sent_at", UtcTime),
    sa.Column("fate", _Word, nullable=False),  # holds_core.ledger.canaries.Fate
    sa.Column("settled_at", UtcTime, index=True),
    sa.Column("detail", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("slot", "address"),
    sa.Index("ix_canaries_address_fate", "address", "fate"),
)

flags = sa.Table(
    "flags",
    metadata,
    sa.Column("name", _Id, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)

closures = sa.Table(
    "closures",
    metadata,
    # 臨時休館: what the settings could not foresee; never deleted, so that a deadline can be explained
    sa.Column("closure_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("branch", _Id, nullable=False),  # empty: all branches
    sa.Column("first", sa.Date, nullable=False),
    sa.Column("last", sa.Date, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("entered_at", UtcTime, nullable=False),
    sa.Column("entered_by", sa.Text, nullable=False),
    # hold -> [last day before, last day since]: what it moved, to be taken back with it
    sa.Column("moved", sa.JSON),
    sa.Column("removed_at", UtcTime),
    sa.Column("removed_by", sa.Text, nullable=False, server_default=""),
)

public_holidays = sa.Table(
    "public_holidays",
    metadata,
    # the Cabinet Office's list as it was last imported; a year in it is taken from here alone
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
)

campaigns = sa.Table(
    "campaigns",
    metadata,
    # one announcement to everybody, fed into the day's batches part by part: "sender-change 2027-04-01"
    sa.Column("campaign_id", _Id, primary_key=True),
    sa.Column("switch_on", sa.Date, nullable=False),
    sa.Column("per_batch", sa.Integer, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("started_by", sa.Text, nullable=False),
    # the last patron who has the mail; the next part begins after them
    sa.Column("reached", sa.Text, nullable=False, server_default=""),
    sa.Column("queued", sa.Integer, nullable=False, server_default="0"),
    # done, stopped, or overtaken by the day of the change
    sa.Column("ended_at", UtcTime),
    sa.Column("ended_why", _Word, nullable=False, server_default=""),
)

troubles = sa.Table(
    "troubles",
    metadata,
    # what IT was told of, or is about to be: holds_core.alerts.Known. Names no patron
    sa.Column("key", _Id, primary_key=True),
    sa.Column("trouble", _Word, nullable=False),
    sa.Column("subject", _Id, nullable=False),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("told_at", UtcTime),
    sa.Column("gone_since", UtcTime),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("audit_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("what", _Word, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, server_default=""),
    sa.Column("detail", sa.JSON, nullable=False),
    # counting and narrowing a period reads no detail
    sa.Index("ix_audit_at_who_what", "at", "who", "what"),
    sa.Index("ix_audit_subject", "subject"),
)

# -- the staff desk --------------------------------------------------------------------------------

users = sa.Table(
    "users",
    metadata,
    sa.Column("login", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("role", _Word, nullable=False),  # staff, admin
    # branch codes the account may see; empty: all
    sa.Column("branches", sa.JSON, nullable=False),
    sa.Column("password", sa.Text, nullable=False),  # argon2id, with its parameters
    # an admin chose or drew the password: its owner has to choose another before anything else
    sa.Column("password_once", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("disabled_at", UtcTime),
)

sessions = sa.Table(
    "sessions",
    metadata,
    # SHA-256 of the cookie: whoever reads the database cannot take over a session
    sa.Column("session_key", _Id, primary_key=True),
    sa.Column("login", sa.ForeignKey("users.login", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("seen_at", UtcTime, nullable=False),
)

case_marks = sa.Table(
    "case_marks",
    metadata,
    # what staff have made of a case; a case without a row is untouched
    sa.Column("case_id", sa.ForeignKey("cases.case_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("status", _Word, nullable=False),  # holds_core.ledger.desk.Status
    # not listed for today before this day
    sa.Column("again_on", sa.Date),
    sa.Column("tries", sa.Integer, nullable=False),
    # what was known when the patron was reached: anything beyond it is news
    sa.Column("known", sa.JSON, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)

case_actions = sa.Table(
    "case_actions",
    metadata,
    sa.Column("action_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("patron_id", _Id, nullable=False, index=True),
    sa.Column("case_id", _BigId),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", _Id, nullable=False),
    sa.Column("kind", _Word, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    # what undo needs to bring things back
    sa.Column("before", sa.JSON, nullable=False),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("undone_at", UtcTime),
    sa.Column("undone_by", _Id),
)

claims = sa.Table(
    "claims",
    metadata,
    # who is working on a patron right now; runs out by itself
    sa.Column("patron_id", _Id, primary_key=True),
    sa.Column("who", _Id, nullable=False),
    sa.Column("until", UtcTime, nullable=False),
)

# -- nightly snapshots -----------------------------------------------------------------------------

snapshot_runs = sa.Table(
    "snapshot_runs",
    metadata,
    # part of the ids of the events that the run makes
    sa.Column("run_id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("feed", _Id, nullable=False),
    sa.Column("kind", _Word, nullable=False),  # patrons, holds
    sa.Column("file", sa.Text, nullable=False),
    # SHA-256 of the file: an interrupted run goes on with the same file only
    sa.Column("digest", _Id, nullable=False),
    # the time the file speaks of
    sa.Column("as_of", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("state", _Word, nullable=False),  # applying, done, refused, abandoned
    # the feed's first: makes no notice
    sa.Column("baseline", sa.Boolean, nullable=False),
    # who took it in although the guard refused it; empty: nobody had to
    sa.Column("forced_by", sa.Text, nullable=False, server_default=""),
    # prompt notices so far: they wait for a person beyond feeds.max_prompt_per_run
    sa.Column("prompts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("figures", sa.JSON, nullable=False),
    sa.Index("ix_snapshot_runs_feed_kind", "feed", "kind", "run_id"),
)

# Sorted by code points on both databases, as Python sorts: the comparison goes through both lists at once.
_Sorted = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")

snapshot_rows = sa.Table(
    "snapshot_rows",
    metadata,
    # the last snapshot, without a name, address or title: enough to see that a row is new, gone or changed
    sa.Column("feed", _Id, primary_key=True),
    sa.Column("kind", _Word, primary_key=True),
    sa.Column("key", _Sorted, primary_key=True),
    # holds: the state; patrons: a digest of the addresses
    sa.Column("mark", _Word, nullable=False),
    # holds on the shelf: the deadline as the file had it
    sa.Column("until", _Word, nullable=False, server_default=""),
    sa.Column("digest", _Word, nullable=False),
)
