"""Asks DNS whether patrons' mail domains take mail, slowly and in the background. Off unless the settings say so.

Enters the ledger's domains that were never asked about, or too long ago; leaves a verdict for each. No
answer is no verdict: many municipal networks have no DNS for the outside at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from holds_core.address_checks import MailDomain
from holds_core.ledger import mail_domains
from holds_core.ledger.session import Ledger
from holds_core.providers import FEW_PATRONS
from holds_core.settings import AddressChecks
from mailer import maillog
from mailer.clock import Clock, wait
from mailer.compose import OTHER

AT_ONCE = 4
"""Questions on the way at a time."""
PAUSE_S = 30.0
"""Between two looks into the ledger: somebody at the counter waits for the answer."""
UNKNOWN_FOR = timedelta(hours=1)
UNDELIVERABLE_FOR = timedelta(days=1)
"""A domain without mail may be a morning's fault of its own; it is asked about again soon."""


class Resolver:
    """MX by dnspython (RFC 5321 section 5.1, RFC 7505)."""

    def __init__(self, settings: AddressChecks) -> None:
        self._timeout = settings.timeout.total_seconds()
        self._resolver: dns.asyncresolver.Resolver | None = None
        server = settings.nameserver
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        except (dns.exception.DNSException, OSError):
            return  # no /etc/resolv.conf, or nothing in it
        if server is not None:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(server.host, server.port)]
        self._resolver.lifetime = self._timeout

    async def ask(self, domain: str) -> MailDomain:
        """The verdict on a domain; UNKNOWN where nobody answers in time. Never raises."""
        if self._resolver is None:
            return MailDomain.UNKNOWN
        try:
            name = dns.name.from_text(domain)
        except (dns.exception.DNSException, UnicodeError):
            return MailDomain.NO_DOMAIN  # what cannot be a name has no server
        try:
            # the resolver counts its own lifetime per question, and TCP after a cut answer is another
            async with asyncio.timeout(2 * self._timeout):
                return await self._mail_of(self._resolver, name)
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN):
            return MailDomain.NO_DOMAIN
        except (dns.exception.DNSException, OSError, TimeoutError):
            return MailDomain.UNKNOWN

    async def _mail_of(self, resolver: dns.asyncresolver.Resolver, name: dns.name.Name) -> MailDomain:
        exchanges = list(await resolver.resolve(name, "MX", raise_on_no_answer=False))
        if exchanges:
            null = all(record.exchange == dns.name.root for record in exchanges)
            return MailDomain.NULL_MX if null else MailDomain.OK
        for kind in ("A", "AAAA"):  # without MX, the name's own address takes the mail
            if list(await resolver.resolve(name, kind, raise_on_no_answer=False)):
                return MailDomain.OK
        return MailDomain.NO_MX


class DomainChecks:
    """The background task."""

    def __init__(self, ledger: Ledger, settings: AddressChecks, clock: Clock) -> None:
        self._ledger, self._settings, self._clock = ledger, settings, clock
        self._resolver = Resolver(settings)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if not await self.look():
                await wait(self._clock, stop, PAUSE_S)

    async def look(self) -> int:
        """Asks about what is due now. Returns how many domains that was."""
        async with self._ledger.read() as connection:
            domains = await mail_domains.due(connection, self._clock.now())
        for start in range(0, len(domains), AT_ONCE):
            chunk = domains[start : start + AT_ONCE]
            verdicts = await asyncio.gather(*(self._resolver.ask(domain) for domain in chunk))
            await self._keep(zip(chunk, verdicts, strict=True))
        return len(domains)

    async def _keep(self, answers: Iterable[tuple[str, MailDomain]]) -> None:
        now = self._clock.now()
        for domain, verdict in answers:
            async with self._ledger.write() as connection:
                concerned = await mail_domains.record(connection, domain, verdict, now, self._for(verdict))
            if verdict not in (MailDomain.OK, MailDomain.UNKNOWN):
                # of few patrons, the domain may say who they are; the desk tells staff
                named = domain if concerned >= FEW_PATRONS else OTHER
                maillog.event("mail_domain", domain=named, verdict=verdict.value, patrons=concerned)

    def _for(self, verdict: MailDomain) -> timedelta:
        if verdict is MailDomain.UNKNOWN:
            return UNKNOWN_FOR
        return (
            self._settings.keep if verdict is MailDomain.OK else min(UNDELIVERABLE_FOR, self._settings.keep)
        )
