"""DNS for the doctor: names enter, records leave; an empty list means that there are none.

What cannot be asked (no server, no answer in time, SERVFAIL) raises `CannotCheck`: it says nothing about the
records. The only module of the doctor that knows dnspython.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
import dns.reversename

from holds_core.errors import BadInput
from mailer.app.doctor.check import CannotCheck, Said

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PATIENCE = 3.0
"""Seconds for one question, all tries and servers together."""

_TODO = Said(
    "この機械から DNS が引けるようにするか、--resolver で DNS サーバーを指定してください。",
    "Let this machine use DNS, or name a DNS server with --resolver.",
)


class Names:
    """Asks the machine's DNS servers, or the one that `resolver` names as HOST:PORT.

    Raises BadInput if `resolver` is no such thing. HOST is an IP address; PORT may be left out.
    """

    def __init__(self, resolver: str | None = None) -> None:
        server = _server(resolver) if resolver else None
        self._resolver: dns.asyncresolver.Resolver | None
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        except (dns.exception.DNSException, OSError):
            self._resolver = None  # no /etc/resolv.conf, or nothing in it
            return
        if server is not None:
            self._resolver.nameservers = [server]
        self._resolver.lifetime = PATIENCE
        self._resolver.cache = dns.resolver.Cache()

    async def _ask(self, name: str | dns.name.Name, kind: str) -> list[Any]:
        if self._resolver is None:
            raise CannotCheck(
                Said("DNS サーバーが設定されていません。", "No DNS server is configured."), _TODO
            )
        try:
            full = dns.name.from_text(name) if isinstance(name, str) else name
        except dns.exception.DNSException:
            return []  # what cannot be a name has no records
        try:
            return list(await self._resolver.resolve(full, kind, raise_on_no_answer=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN):
            return []
        except (dns.exception.DNSException, OSError) as error:
            shown = str(full).rstrip(".")
            raise CannotCheck(
                Said(
                    f"DNS に問い合わせできませんでした ({shown} {kind})。",
                    f"DNS could not be asked for {shown} {kind} ({type(error).__name__}).",
                ),
                _TODO,
            ) from error

    async def texts(self, name: str) -> list[str]:
        """TXT records, each with its strings joined (RFC 7208 section 3.3)."""
        return [
            b"".join(record.strings).decode("utf-8", "replace") for record in await self._ask(name, "TXT")
        ]

    async def addresses(self, name: str) -> list[Address]:
        """A and AAAA."""
        found = await asyncio.gather(self._ask(name, "A"), self._ask(name, "AAAA"))
        return [ipaddress.ip_address(record.address) for records in found for record in records]

    async def exchanges(self, name: str) -> list[str]:
        """The hosts of MX, best first; "" is the null MX (RFC 7505): this domain takes no mail."""
        records = sorted(await self._ask(name, "MX"), key=lambda record: record.preference)
        return [str(record.exchange).rstrip(".").lower() for record in records]

    async def names_of(self, address: Address) -> list[str]:
        """PTR."""
        records = await self._ask(dns.reversename.from_address(str(address)), "PTR")
        return [str(record.target).rstrip(".").lower() for record in records]


def tags(record: str) -> dict[str, str]:
    """A tag list (RFC 6376 section 3.2); white space within values has no meaning in keys and policies."""
    pairs = (part.partition("=") for part in record.split(";"))
    return {name.strip().lower(): re.sub(r"\s+", "", value) for name, sep, value in pairs if sep}


def _server(text: str) -> dns.nameserver.Nameserver:
    host, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "53")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise BadInput(
            f"--resolver {text}: expected an IP address, such as 192.0.2.53 or [::1]:5353"
        ) from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadInput(f"--resolver {text}: expected a port from 1 to 65535 after the colon")
    return dns.nameserver.Do53Nameserver(str(address), int(port))
