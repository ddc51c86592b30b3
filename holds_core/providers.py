"""Who runs a patron's mailbox, and how that mailbox likes its mail.

In: an address or a domain. Out: a `Provider` from `providers.tsv`, or the default for a domain of its
own. Pure apart from `Providers.load`, which reads the table that is shipped in this package. Never asks
DNS: the table is a curated hint, and what the mails themselves tell is worth more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from importlib import resources
from typing import Any

from holds_core.errors import BadInput

FEW_PATRONS = 10
"""A mail domain that fewer patrons use may be a family's or a small office's: its name says who is meant."""


class ProviderKind(StrEnum):
    """What sort of mailbox it is."""

    CARRIER = "carrier"  # a mobile phone company: filters on the phone, silent or not
    FREEMAIL = "freemail"
    ISP = "isp"  # comes with the line at home
    PUBLIC = "public"  # a municipality, ministry, school or university: each has its own servers
    DISPOSABLE = "disposable"  # gone within the hour: no place for a hold notice
    OWN = "own"  # in no table: a company's or a person's own domain


class Status(StrEnum):
    """Whether mailboxes there still exist."""

    LIVE = "live"
    UNVERIFIED = "unverified"  # an old list has it, nobody could say; treated as live
    DEAD = "dead"  # the service has ended: mail goes nowhere, perhaps without a bounce


class SilentLoss(StrEnum):
    """What is known of mail that is accepted and then vanishes. A weak prior, for the first weeks only."""

    NONE = "none"  # nothing was found
    REPORTED = "reported"  # libraries and senders say so
    DOCUMENTED = "documented"  # the provider's own pages, or published tests, say so


class Quoting(StrEnum):
    """How an address with dots that RFC 5321 forbids (`a..b`, `a.`) is written in the envelope."""

    AS_IS = "as_is"
    QUOTED = "quoted"  # "a..b"@: legal


class Charset(StrEnum):
    """The character set of a mail's text."""

    UTF_8 = "utf-8"
    ISO_2022_JP = "iso-2022-jp"


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of the table.

    `name` groups the domains of one company, for pacing and for the watch on silence; a domain of its
    own is its own group. `url_filter`: many of its users block mail that contains links. `per_minute`
    is the most mails to send it in a minute, 0 for no limit.
    """

    pattern: str
    kind: ProviderKind
    name: str
    status: Status = Status.LIVE
    silent_loss: SilentLoss = SilentLoss.NONE
    url_filter: bool = False
    quoting: Quoting = Quoting.QUOTED
    charset: Charset = Charset.UTF_8
    per_minute: int = 60
    source: str = ""
    checked: date | None = None

    @property
    def is_dead(self) -> bool:
        return self.status is Status.DEAD


class Providers:
    """The table. An exact domain beats a suffix, a longer suffix a shorter one."""

    __slots__ = ("_exact", "_suffixes", "rows")

    def __init__(self, rows: tuple[Provider, ...]) -> None:
        self.rows = rows
        self._exact = {row.pattern: row for row in rows if not row.pattern.startswith("*.")}
        self._suffixes = {row.pattern[2:]: row for row in rows if row.pattern.startswith("*.")}

    @classmethod
    def parse(cls, text: str) -> Providers:
        """A table from its text: tab-separated, a header with COLUMNS, `#` lines are remarks.

        A pattern is a domain, or `*.` and a domain for that one and all below it. The provider `-` makes
        each matching domain its own provider. Raises BadInput naming line and column.
        """
        rows: dict[str, tuple[int, Provider]] = {}
        header_seen = False
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            cells = line.split("\t")
            if not header_seen:
                _check_header(number, cells)
                header_seen = True
                continue
            row = _row(number, cells)
            if row.pattern in rows:
                earlier = rows[row.pattern][0]
                raise BadInput(f"providers line {number}, column pattern: also on line {earlier}")
            rows[row.pattern] = number, row
        if not header_seen:
            raise BadInput(f"providers line 1: expected the header {' '.join(COLUMNS)}")
        return cls(tuple(row for _, row in rows.values()))

    @classmethod
    def load(cls) -> Providers:
        """The table shipped with Todoku."""
        return cls.parse(resources.files("holds_core").joinpath("providers.tsv").read_text("utf-8"))

    def extended(self, text: str) -> Providers:
        """This table with a library's own rows (same format), which replace ours of the same pattern."""
        own = Providers.parse(text).rows
        replaced = {row.pattern for row in own}
        return Providers((*(row for row in self.rows if row.pattern not in replaced), *own))

    def of(self, address_or_domain: str) -> Provider:
        """The provider of an address or a domain; a domain in no row gets a provider of its own.

        Case, a final dot and the spelling of international domains do not matter.
        """
        domain = normal_domain(address_or_domain.rpartition("@")[2])
        row = self._find(domain)
        if row is None:
            # too few patrons share such a domain to trouble its server
            return Provider(domain, ProviderKind.OWN, domain, per_minute=0)
        return row if row.name != EACH else replace(row, name=domain)

    def public_name(self, domain: str) -> str:
        """What logs may call a domain without pointing at anybody: itself if the table lists it, the company's
        name if it lies below one of theirs, "" for all others, a single school's or office's among them.
        """
        domain = normal_domain(domain)
        if domain in self._exact or domain in self._suffixes:
            return domain
        row = self._find(domain)
        return "" if row is None or row.name == EACH else row.name

    def _find(self, domain: str) -> Provider | None:
        if found := self._exact.get(domain):
            return found
        suffix = domain
        while suffix:
            if found := self._suffixes.get(suffix):
                return found
            suffix = suffix.partition(".")[2]
        return None


def normal_domain(domain: str) -> str:
    """A domain as it is compared: lower case, no final dot, international labels as `xn--` (RFC 3490).

    A name that cannot be a domain comes back in lower case, so that it still equals itself.
    """
    domain = domain.strip().lower()
    while domain.endswith(".") or domain[-1:].isspace():
        domain = domain[:-1]
    if domain.isascii():
        return domain
    try:
        coded = domain.encode("idna").decode("ascii").rstrip(".")
    except UnicodeError:
        return domain
    return coded if set(coded) <= _DOMAIN_LETTERS else domain


_DOMAIN_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")

EACH = "-"
"""In the column provider: every domain that matches is a provider of its own."""

COLUMNS = (
    "pattern",
    "kind",
    "provider",
    "status",
    "silent_loss",
    "url_filter",
    "quoting",
    "charset",
    "per_minute",
    "source",
    "checked",
)


def _check_header(number: int, cells: list[str]) -> None:
    if tuple(cells) != COLUMNS:
        raise BadInput(f"providers line {number}: expected the header {' '.join(COLUMNS)}, tab-separated")


def _row(number: int, cells: list[str]) -> Provider:
    if len(cells) != len(COLUMNS):
        raise BadInput(f"providers line {number}: expected {len(COLUMNS)} columns, found {len(cells)}")
    values = []
    for column, cell in zip(COLUMNS, cells, strict=True):
        read, expected = _READERS[column]
        try:
            values.append(read(cell.strip()))
        except ValueError:
            raise BadInput(
                f"providers line {number}, column {column}: expected {expected}, found {cell.strip()!r}"
            ) from None
    return Provider(*values)


def _pattern(cell: str) -> str:
    domain = cell.removeprefix("*.")
    if domain != normal_domain(domain) or not all(domain.split(".")) or not set(domain) <= _DOMAIN_LETTERS:
        raise ValueError(cell)
    return cell


def _text(cell: str) -> str:
    if not cell:
        raise ValueError(cell)
    return cell


def _yes_or_no(cell: str) -> bool:
    if cell not in ("yes", "no"):
        raise ValueError(cell)
    return cell == "yes"


def _pace(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit() and int(cell)):
        raise ValueError(cell)
    return int(cell)


def _choice(kind: type[StrEnum]) -> tuple[Callable[[str], StrEnum], str]:
    return kind, "one of " + ", ".join(kind)


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "pattern": (_pattern, "a domain in lower case, or *. and a domain"),
    "kind": _choice(ProviderKind),
    "provider": (_text, "a name, or - if each domain is its own provider"),
    "status": _choice(Status),
    "silent_loss": _choice(SilentLoss),
    "url_filter": (_yes_or_no, "yes or no"),
    "quoting": _choice(Quoting),
    "charset": _choice(Charset),
    "per_minute": (_pace, "a number of mails, at least 1"),
    "source": (_text, "where it was read"),
    "checked": (date.fromisoformat, "a date such as 2026-11-22"),
}
"""How each column is read, and what the error says if that raises ValueError."""
