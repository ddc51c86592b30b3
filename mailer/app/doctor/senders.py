"""Checks of the addresses that mail leaves from: SPF allows them, and their names fit.

The relay's outgoing addresses are those that `--outgoing` names; else the one that the probe's mail came from,
as the receiving server saw it; else the relay's own address is taken for them, and what does not fit is a
warning only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass

from holds_core.settings.doubts import is_loopback
from mailer.app.doctor.check import CannotCheck, Said, Verdict, failed, ok, warning
from mailer.app.doctor.names import Address
from mailer.app.doctor.probe import Came, Lost
from mailer.app.doctor.site import Site
from mailer.app.doctor.spf import LOOKUPS, PermError, Report, Spf, evaluate, record_of

_OUTGOING_TODO = Said(
    "送信元が別のアドレスなら --outgoing で指定してください。",
    "Name the relay's outgoing addresses with --outgoing if they are others.",
)


# Where mail leaves from ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The relay's addresses as the world sees them; `sure` if a person named them or a server saw them."""

    addresses: tuple[Address, ...]
    sure: bool

    def __str__(self) -> str:
        return ", ".join(map(str, self.addresses))

    def blame(self, message: Said, todo: Said) -> Verdict:
        """A fault that hangs on these addresses."""
        if self.sure:
            return failed(message, todo)
        return warning(message, Said(todo.ja + _OUTGOING_TODO.ja, f"{todo.en} {_OUTGOING_TODO.en}"))


_RECEIVED = re.compile(rb"^received:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
_LITERAL = re.compile(rb"\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]")


def _seen(came: Came | Lost) -> Address | None:
    """Where the probe's mail came from: the last hop that crossed the internet (RFC 5321 section 4.4).

    Received lines are the receiving server's own words, newest on top.
    """
    if not isinstance(came, Came):
        return None
    head = re.split(rb"\r?\n\r?\n", came.raw, maxsplit=1)[0]
    for line in _RECEIVED.findall(head):
        source = re.split(rb"\sby\s", line, maxsplit=1)[0]
        for literal in _LITERAL.findall(source):
            with contextlib.suppress(ValueError):
                address = ipaddress.ip_address(literal.decode("ascii"))
                if address.is_global:
                    return address
    return None


async def outgoing(site: Site) -> Outgoing:
    """Raises CannotCheck if they were not named and the relay's own address is a private one."""
    if site.outgoing:
        return Outgoing(site.outgoing, sure=True)
    if site.probe is not None and (seen := _seen(await site.probe.result(site))):
        return Outgoing((seen,), sure=True)
    host = site.settings.relay.host
    if is_loopback(host):
        found = await asyncio.to_thread(_own_addresses)
    else:
        try:
            found = [ipaddress.ip_address(host)]
        except ValueError:
            found = await site.names.addresses(host)
    public = tuple(address for address in found if address.is_global)
    if not public:
        raise CannotCheck(
            Said(
                "中継サーバーの送信元アドレスが分かりません。", "The relay's outgoing address is not known."
            ),
            Said("--outgoing で指定してください。", "Name it with --outgoing."),
        )
    return Outgoing(public, sure=False)


def _own_addresses() -> list[Address]:
    """The addresses that this machine would use; connecting a datagram socket sends nothing."""
    found: list[Address] = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(ipaddress.ip_address(probe.getsockname()[0]))
        except OSError:
            continue  # no route in this family
    return found


# SPF ----------------------------------------------------------------------------------------------


async def spf_return_path(site: Site) -> Verdict:
    """The domain that SPF itself looks at (RFC 7208 section 2.4)."""
    return await _spf(site, site.envelope_domain)


async def spf_from(site: Site) -> Verdict:
    """Not SPF's own matter, but carriers look at the header-From domain as well."""
    return await _spf(site, site.header_domain)


async def _spf(site: Site, domain: str) -> Verdict:
    try:
        record = await record_of(site.names, domain)
    except PermError as error:
        return _broken(domain, str(error))
    if record is None:
        return failed(
            Said(f"{domain} に SPF レコードがありません。", f"{domain} has no SPF record."),
            Said(
                f"DNS の管理者に、中継サーバーを許可する SPF を {domain} の TXT に登録してもらってください。",
                f"Have a TXT record with SPF that allows the relay published at {domain}.",
            ),
        )
    whole = await evaluate(site.names, domain, None)
    try:
        senders = await outgoing(site)
    except CannotCheck as error:
        if whole.result is Spf.PERMERROR:
            return _broken(domain, whole.why)
        raise CannotCheck(
            Said(
                f"{domain} の SPF はあります (参照 {whole.lookups} 回)。{error.message.ja}",
                f"{domain} has SPF ({whole.lookups} look-ups). {error.message.en}",
            ),
            error.todo,
        ) from None
    reports = [await evaluate(site.names, domain, address) for address in senders.addresses]
    return _judged(domain, senders, whole, reports)


def _judged(domain: str, senders: Outgoing, whole: Report, reports: list[Report]) -> Verdict:
    """The worst of all senders decides; then the record as a whole."""
    broken = next((report for report in reports if report.result is Spf.PERMERROR), None)
    if broken is not None:
        return _broken(domain, broken.why)
    bad = next((report for report in reports if report.result is not Spf.PASS), None)
    if bad is not None and bad.macros:
        raise CannotCheck(
            Said(f"{domain} の SPF はマクロを含むため判定できません。", f"SPF of {domain} uses macros."),
            Said(
                "受信側の Authentication-Results で確認してください。",
                "Look at Authentication-Results instead.",
            ),
        )
    if bad is not None:
        return senders.blame(
            Said(
                f"{domain} の SPF は {senders} を許可していません (結果 {bad.result})。",
                f"SPF of {domain} does not allow {senders} (result {bad.result}).",
            ),
            Said(
                f"DNS の管理者に、{domain} の SPF へ中継サーバーを加えてもらってください。",
                f"Have the relay added to SPF of {domain}.",
            ),
        )
    if whole.result is Spf.PERMERROR:
        return warning(
            Said(
                f"{domain} の SPF は {senders} を許可していますが、全体に誤りがあります ({whole.why})。",
                f"SPF of {domain} allows {senders}, but is broken further on ({whole.why}).",
            ),
            _mend(domain),
        )
    return ok(
        f"{domain} の SPF は {senders} を許可しています (参照 {whole.lookups} 回)。",
        f"SPF of {domain} allows {senders} ({whole.lookups} look-ups).",
    )


def _broken(domain: str, why: str) -> Verdict:
    return failed(
        Said(f"{domain} の SPF に誤りがあります ({why})。", f"SPF of {domain} is broken: {why}."),
        _mend(domain),
    )


def _mend(domain: str) -> Said:
    return Said(
        f"{domain} の SPF を1レコード、参照{LOOKUPS}回以内に直してもらってください。",
        f"Have SPF of {domain} mended: one record, at most {LOOKUPS} look-ups.",
    )


# PTR ----------------------------------------------------------------------------------------------


async def ptr(site: Site) -> Verdict:
    """Each outgoing address has a name that leads back to it; big receivers refuse mail otherwise."""
    senders = await outgoing(site)
    for address in senders.addresses:
        hosts = await site.names.names_of(address)
        back = [host for host in hosts if address in await site.names.addresses(host)]
        if not back:
            shown = hosts[0] if hosts else ""
            why = (
                Said(
                    f"{address} の逆引き {shown} が元のアドレスに戻りません。",
                    f"{address} is {shown}, which is not {address}.",
                )
                if shown
                else Said(f"{address} の逆引きがありません。", f"{address} has no PTR record.")
            )
            todo = Said(
                "回線または中継サーバーの事業者に、逆引きの登録を依頼してください。",
                "Ask whoever runs the line or the relay for a PTR record that fits.",
            )
            return senders.blame(why, todo)
    return ok(f"{senders} の逆引きと正引きが一致します。", f"PTR and address of {senders} fit together.")
