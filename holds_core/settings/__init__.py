"""The settings as frozen, typed classes: one class per section of config.yaml, one field per key.

`holds_core.config` fills them and reports what does not fit; nobody else builds them by hand. A check
that concerns one section stands in it as a field validator, so that it runs even when another field of
the section is wrong and all errors come at once. config.yaml explains each key for its readers; here
stand units and reasons only. Secrets are not settings: `holds_core.config.read_secrets` reads them.
"""

from __future__ import annotations

from datetime import time

from pydantic import PrivateAttr, ValidationInfo
from pydantic import field_validator as check

from holds_core.settings.alerts import AlertRelay, Alerts
from holds_core.settings.base import Section, unique
from holds_core.settings.canaries import Canaries, Canary
from holds_core.settings.days import DateRange, MonthDay, Weekday, YearlyRange
from holds_core.settings.feeds import Snapshot
from holds_core.settings.holds import Contact, HoldLimit, Holds, Reception, Volumes
from holds_core.settings.library import (
    Authority,
    Branch,
    Closed,
    Language,
    Library,
    MonthEnd,
    NthWeekday,
    PublicHolidays,
    Substitute,
    TitlePolicy,
    Wording,
)
from holds_core.settings.live_feeds import Addresses, Folio, FolioAuth, Koha, LiveFeed
from holds_core.settings.mail import (
    AddressChecks,
    Batch,
    BatchRules,
    Charset,
    Database,
    Imap,
    ImapTls,
    Intake,
    Lmtp,
    Mode,
    MxCheck,
    OnClosedDays,
    Provider,
    QuietHours,
    Quoting,
    Relay,
    ReturnPath,
    Sender,
    SenderChange,
    Sending,
    Tls,
)
from holds_core.settings.outgoing import Breaker, Dkim, DkimKey
from holds_core.settings.problems import Problem
from holds_core.settings.service import (
    Api,
    Ask,
    Case,
    Confirm,
    Confirmation,
    Count,
    Deadline,
    Desk,
    Feeds,
    Level,
    LogFormat,
    Logging,
    OnClosure,
    PhoneFallback,
    Proxy,
    Retention,
    Start,
    Summary,
    SummaryWhen,
    Way,
    WhileUndelivered,
    Windows,
)
from holds_core.settings.values import Complaint, Listen, refused

__all__ = [
    "AddressChecks",
    "Addresses",
    "AlertRelay",
    "Alerts",
    "Api",
    "Ask",
    "Authority",
    "Batch",
    "BatchRules",
    "Branch",
    "Breaker",
    "Canaries",
    "Canary",
    "Case",
    "Charset",
    "Closed",
    "Confirm",
    "Confirmation",
    "Contact",
    "Count",
    "Database",
    "DateRange",
    "Deadline",
    "Desk",
    "Dkim",
    "DkimKey",
    "Feeds",
    "Folio",
    "FolioAuth",
    "HoldLimit",
    "Holds",
    "Imap",
    "ImapTls",
    "Intake",
    "Koha",
    "Language",
    "Level",
    "Library",
    "Listen",
    "LiveFeed",
    "Lmtp",
    "LogFormat",
    "Logging",
    "Mode",
    "MonthDay",
    "MonthEnd",
    "MxCheck",
    "NthWeekday",
    "OnClosedDays",
    "OnClosure",
    "PhoneFallback",
    "Problem",
    "Provider",
    "Proxy",
    "PublicHolidays",
    "QuietHours",
    "Quoting",
    "Reception",
    "Relay",
    "Retention",
    "ReturnPath",
    "Sender",
    "SenderChange",
    "Sending",
    "Settings",
    "Snapshot",
    "Start",
    "Substitute",
    "Summary",
    "SummaryWhen",
    "TitlePolicy",
    "Tls",
    "Volumes",
    "Way",
    "Weekday",
    "WhileUndelivered",
    "Windows",
    "Wording",
    "YearlyRange",
]

_SLOTS = (Batch(name="朝", at=time(9, 10)), Batch(name="夕", at=time(16, 10)))


class Settings(Section):
    """All settings of one library, frozen. An empty `batches` sends batched notices at once."""

    library: Library
    sender: Sender
    sending: Sending
    batches: tuple[Batch, ...] = _SLOTS
    batch_rules: BatchRules
    relay: Relay
    providers: tuple[Provider, ...] = ()
    intake: Intake
    address_checks: AddressChecks
    canaries: Canaries
    database: Database
    confirmation: Confirmation
    deadline: Deadline
    holds: Holds
    feeds: Feeds
    retention: Retention
    case: Case
    desk: Desk
    confirm: Confirm
    api: Api
    alerts: Alerts
    logging: Logging

    _warnings: tuple[Problem, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is allowed but probably not meant; filled by `holds_core.config.parse`."""
        return self._warnings

    def provider_for(self, domain: str) -> Provider | None:
        """The entry of `providers` for a mail domain: itself, else the longest `*.` above it, else None."""
        labels = domain.lower().split(".")
        names = [domain.lower(), *("*." + ".".join(labels[cut:]) for cut in range(1, len(labels)))]
        entries = {entry.domain: entry for entry in self.providers}
        return next((entries[name] for name in names if name in entries), None)

    @check("batches")
    @classmethod
    def _batches_differ(cls, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
        unique(batches, "name", "ほかの便と重ならない名前", "a name that no other batch has")
        unique(batches, "at", "ほかの便と異なる時刻", "a time that no other batch has")
        return batches

    @check("providers")
    @classmethod
    def _providers_differ(cls, providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
        unique(providers, "domain", "ほかの行と重ならないドメイン", "a domain that no other entry has")
        return providers

    @check("confirm")
    @classmethod
    def _listeners_differ(cls, confirm: Confirm, info: ValidationInfo) -> Confirm:
        """Patrons' and staff's pages are separate so that only the former need face the internet."""
        desk = info.data.get("desk")
        if desk is not None and desk.listen == confirm.listen and confirm.listen.port != 0:
            raise refused(
                Complaint("desk.listen と異なる待ち受け先", "an address other than desk.listen", ("listen",))
            )
        return confirm
