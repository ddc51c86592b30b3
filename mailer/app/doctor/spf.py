"""SPF as a receiver reads it (RFC 7208): a domain and a sending address enter, a result leaves.

Knows `Names` only. Macros (section 7) name the sender or its address and are not expanded: a term with one
counts as a look-up that does not match, and `Report.macros` says that the result may be better than that.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from mailer.app.doctor.names import Address, Names

LOOKUPS = 10  # section 4.6.4: more are a permanent error
VOID_LOOKUPS = 2  # the same section; look-ups without an answer
EXCHANGES = 10  # the same section; hosts of one "mx"


class Spf(StrEnum):
    """Section 2.6. A temporary error is `CannotCheck` here."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a result
    FAIL = "fail"
    SOFTFAIL = "softfail"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Report:
    """A result, why it is a permanent error if it is one, and how many look-ups it took."""

    result: Spf
    why: str = ""
    lookups: int = 0
    macros: bool = False


class PermError(Exception):
    """The record is broken; the text says how."""


async def evaluate(names: Names, domain: str, sender: Address | None) -> Report:
    """What receivers make of mail from `sender`. Without one nothing matches, so that every term is read:
    the look-ups of the worst case. Raises CannotCheck."""
    walk = _Walk(names, sender)
    try:
        result = await walk.check(domain)
    except PermError as error:
        return Report(Spf.PERMERROR, str(error), walk.lookups, walk.macros)
    return Report(result, "", walk.lookups, walk.macros)


async def record_of(names: Names, domain: str) -> str | None:
    """The domain's record, None without one. Raises PermError for two (section 4.5), CannotCheck."""
    found = [text for text in await names.texts(domain) if re.match(r"v=spf1( |$)", text, re.IGNORECASE)]
    if len(found) > 1:
        raise PermError(f"{domain} has {len(found)} SPF records")
    return found[0] if found else None


_RESULTS = {"": Spf.PASS, "+": Spf.PASS, "-": Spf.FAIL, "~": Spf.SOFTFAIL, "?": Spf.NEUTRAL}
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_TERM = re.compile(
    r"([-+~?]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::([^/]*))?(?:/(\d+))?(?://(\d+))?", re.IGNORECASE
)
_NEEDS_VALUE = frozenset({"include", "exists", "ip4", "ip6"})


@dataclass(frozen=True, slots=True)
class _Term:
    result: Spf
    mechanism: str
    value: str
    cidr4: int
    cidr6: int


def _term(text: str) -> _Term:
    found = _TERM.fullmatch(text)
    if found is None or (found[2].lower() in _NEEDS_VALUE and not found[3]):
        raise PermError(f'"{text[:60]}" is no SPF term')
    sign, mechanism, value, first, second = found.groups()
    cidr6 = first if mechanism.lower() == "ip6" else second
    return _Term(
        _RESULTS[sign],
        mechanism.lower(),
        value or "",
        min(int(first or 32), 32),
        min(int(cidr6 or 128), 128),
    )


class _Walk:
    """One evaluation with its counters, which includes and redirects share."""

    def __init__(self, names: Names, sender: Address | None) -> None:
        self._names = names
        self._sender = sender
        self.lookups = 0
        self._voids = 0
        self.macros = False

    async def check(self, domain: str) -> Spf:
        """Section 4.6: the first term that matches decides."""
        record = await record_of(self._names, domain)
        if record is None:
            return Spf.NONE
        terms, redirect = self._read(record)
        for term in terms:
            if await self._matches(term, domain):
                return term.result
        if redirect and not any(term.mechanism == "all" for term in terms):
            return await self._redirected(redirect)
        return Spf.NEUTRAL

    def _read(self, record: str) -> tuple[list[_Term], str]:
        """Terms in order, and the target of `redirect`. Syntax is checked before anything is evaluated."""
        terms, redirect = [], ""
        for text in record.split()[1:]:
            modifier = _MODIFIER.fullmatch(text)
            if modifier is None:
                terms.append(_term(text))
            elif modifier[1].lower() == "redirect":
                redirect = modifier[2]
        return terms, redirect

    async def _redirected(self, domain: str) -> Spf:
        self._count()
        if "%" in domain:
            self.macros = True
            return Spf.NEUTRAL
        result = await self.check(domain)
        if result is Spf.NONE:
            raise PermError(f"redirect={domain} leads to no SPF record")
        return result

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > LOOKUPS:
            raise PermError(f"more than {LOOKUPS} DNS look-ups")

    async def _matches(self, term: _Term, domain: str) -> bool:
        if term.mechanism == "all":
            return self._sender is not None
        if term.mechanism in ("ip4", "ip6"):
            return self._within(_address(term.value), term)
        self._count()
        if "%" in term.value:
            self.macros = True
            return False
        target = term.value or domain
        match term.mechanism:
            case "include":
                return await self._includes(target)
            case "a":
                return self._any(await self._resolved(target), term)
            case "mx":
                return self._any(await self._of_exchanges(target), term)
            case "exists":
                return bool(await self._resolved(target)) and self._sender is not None
        return False  # ptr: section 5.5 advises against it, and receivers skip it

    async def _includes(self, domain: str) -> bool:
        result = await self.check(domain)
        if result is Spf.NONE:
            raise PermError(f"include:{domain} leads to no SPF record")
        return result is Spf.PASS

    async def _of_exchanges(self, domain: str) -> list[Address]:
        hosts = [host for host in await self._names.exchanges(domain) if host]
        if len(hosts) > EXCHANGES:
            raise PermError(f"mx:{domain} has more than {EXCHANGES} hosts")
        if not hosts:
            self._void(domain)
        return [address for host in hosts for address in await self._names.addresses(host)]

    async def _resolved(self, domain: str) -> list[Address]:
        found = await self._names.addresses(domain)
        if not found:
            self._void(domain)
        return found

    def _void(self, domain: str) -> None:
        self._voids += 1
        if self._voids > VOID_LOOKUPS:
            raise PermError(f"more than {VOID_LOOKUPS} look-ups without an answer, the last for {domain}")

    def _any(self, found: list[Address], term: _Term) -> bool:
        return any(self._within(address, term) for address in found)

    def _within(self, address: Address, term: _Term) -> bool:
        if self._sender is None or self._sender.version != address.version:
            return False
        cidr = term.cidr4 if address.version == 4 else term.cidr6
        return self._sender in ipaddress.ip_network(f"{address}/{cidr}", strict=False)


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise PermError(f'"{text[:60]}" is no IP address') from None
