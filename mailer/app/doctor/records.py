"""Checks of what DNS says about the library's domains: DMARC, MX.

Receivers judge by these records; carriers judge the header-From domain as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import re

from mailer.app.doctor import signing
from mailer.app.doctor.check import CannotCheck, Said, Status, Verdict, failed, ok, warning
from mailer.app.doctor.names import Names, tags
from mailer.app.doctor.site import Site

# DMARC --------------------------------------------------------------------------------------------


async def dmarc(site: Site) -> Verdict:
    """A policy for the header-From domain, and whether the return path is aligned with it."""
    domain = site.header_domain
    found = await _policies(site.names, domain)
    if not found:
        return warning(
            Said(f"{domain} に DMARC レコードがありません。", f"{domain} has no DMARC record."),
            Said(
                f'DNS の管理者に、まず "v=DMARC1; p=none" を _dmarc.{domain} に登録してもらってください。',
                f'Have "v=DMARC1; p=none" published at _dmarc.{domain}, to begin with.',
            ),
        )
    place, records = next(iter(found.items()))
    policy = tags(records[0]).get("p", "").lower()
    if len(records) > 1 or policy not in ("none", "quarantine", "reject"):
        return failed(
            Said(
                f"_dmarc.{place} の内容に誤りがあります。", f"The DMARC record at _dmarc.{place} is broken."
            ),
            Said(
                "1レコードだけにし、p= を直してもらってください。", "Have it made one record with a valid p=."
            ),
        )
    strict = tags(records[0]).get("aspf", "r").lower() == "s"
    if await _aligned(site, found, strict=strict):
        return ok(
            f"_dmarc.{place} (p={policy}) があり、返送先のドメインと整合しています。",
            f"_dmarc.{place} has p={policy}, and the return path is aligned.",
        )
    return await _unaligned(site, place, policy)


async def _policies(names: Names, domain: str) -> dict[str, list[str]]:
    """DMARC records by domain, the nearest first, up the tree (DMARCbis, "DNS Tree Walk"; at most 8)."""
    labels = domain.split(".")
    walk = [".".join(labels[cut:]) for cut in range(len(labels))]
    walk = [walk[0], *walk[1:][-7:]]
    texts = await asyncio.gather(*(names.texts(f"_dmarc.{place}") for place in walk))
    found = {}
    for place, records in zip(walk, texts, strict=True):
        policies = [text for text in records if re.match(r"v=DMARC1\s*(;|$)", text)]
        if policies:
            found[place] = policies
    return found


def _organisation(found: dict[str, list[str]], domain: str) -> str:
    """The organisational domain by the same walk: the highest one with a record, short of a registry's."""
    above = domain
    for place, records in found.items():
        psd = tags(records[0]).get("psd", "u").lower()
        if psd == "n":
            return place
        if psd == "y":
            return above if place == domain else ".".join(domain.split(".")[-place.count(".") - 2 :])
        above = place
    return above


async def _aligned(site: Site, found: dict[str, list[str]], *, strict: bool) -> bool:
    """RFC 7489 section 3.1.2: the same domain, or under relaxed alignment the same organisation."""
    sender, envelope = site.header_domain, site.envelope_domain
    if sender == envelope or strict:
        return sender == envelope
    own = _organisation(found, sender)
    return own == _organisation(await _policies(site.names, envelope), envelope)


async def _unaligned(site: Site, place: str, policy: str) -> Verdict:
    """SPF cannot satisfy DMARC then; with a DKIM signature of the header-From domain all is well."""
    message = Said(
        f"返送先 {site.envelope_domain} が {site.header_domain} と整合せず、SPF では DMARC (p={policy}) に合格しません。",
        f"The return path {site.envelope_domain} is not aligned with {site.header_domain}: "
        f"SPF cannot satisfy DMARC (p={policy}).",
    )
    todo = Said(
        f"返送先を {place} の下位ドメインにするか、中継サーバーで {site.header_domain} の DKIM 署名をしてください。",
        f"Use a return path below {place}, or have the relay sign with DKIM as {site.header_domain}.",
    )
    if policy == "none":
        return warning(message, todo)
    signed = Status.NOT_CHECKED
    with contextlib.suppress(CannotCheck):
        signed = (await signing.dkim(site)).status
    return warning(message, todo) if signed is Status.OK else failed(message, todo)


# MX -----------------------------------------------------------------------------------------------


async def from_domain(site: Site) -> Verdict:
    """Carriers refuse mail from a domain that could not take an answer (RFC 5321 section 5.1)."""
    return await _takes_mail(site, site.header_domain)


async def return_path_mx(site: Site) -> Verdict:
    """Bounces must find their way back. Whether they reach us is what `--probe` tries."""
    return await _takes_mail(site, site.envelope_domain)


async def _takes_mail(site: Site, domain: str) -> Verdict:
    hosts = await site.names.exchanges(domain)
    todo = Said(
        f"DNS の管理者に、{domain} の MX を登録してもらってください。", f"Have MX published for {domain}."
    )
    if hosts == [""]:
        return failed(
            Said(
                f"{domain} はメールを受け取らないと宣言しています。", f"{domain} says that it takes no mail."
            ),
            todo,
        )
    for host in hosts or [domain]:
        if await site.names.addresses(host):
            via = "MX" if hosts else "A"
            return ok(
                f"{domain} のメールは {host} に届きます ({via})。",
                f"Mail to {domain} goes to {host} ({via}).",
            )
    if hosts:
        return failed(
            Said(
                f"{domain} の MX {hosts[0]} にアドレスがありません。",
                f"The MX {hosts[0]} of {domain} has no address.",
            ),
            todo,
        )
    return failed(
        Said(f"{domain} に MX も A もありません。", f"{domain} has neither MX nor an address."), todo
    )
