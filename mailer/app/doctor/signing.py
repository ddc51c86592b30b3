"""The check of DKIM: the public key is in DNS, and a signature made with its private half holds.

Where we sign, a sample is signed and verified here, with the keys that DNS really has. Where the relay signs,
the mail of `--probe` shows what it does; without one, only the key in DNS can be looked at.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from holds_core.errors import TodokuError
from mailer import dkim as signer
from mailer.app.doctor.check import CannotCheck, Said, Status, Verdict, failed, ok, warning
from mailer.app.doctor.names import Names, tags
from mailer.app.doctor.probe import Came
from mailer.app.doctor.site import Site
from mailer.app.services import signing
from mailer.clock import SystemClock
from mailer.message import Letter, Letterhead, build

SHORT_KEY = 200
"""Octets of a public key in DNS. RSA with 1024 bits takes 162, with 2048 bits 294 (RFC 8301 section 3.2)."""


async def dkim(site: Site) -> Verdict:
    """Our own signatures, else the relay's as the probe shows them, else the relay's key in DNS."""
    if site.settings.sender.dkim.keys:
        return await _ours(site)
    if site.probe is not None and not site.selector:
        return await _relays(site)
    if not site.selector:
        raise CannotCheck(
            Said("DKIM のセレクターが分かりません。", "The DKIM selector is not known."),
            Said(
                "中継サーバーの管理者に聞いて --dkim-selector で指定するか、--probe を付けて実行してください。",
                "Ask who runs the relay, and name it with --dkim-selector; or run with --probe.",
            ),
        )
    looked = await _key_in_dns(site.names, f"{site.selector}._domainkey.{site.header_domain}")
    return looked.verdict


# Ours ---------------------------------------------------------------------------------------------


async def _ours(site: Site) -> Verdict:
    """Each key is in DNS, is the one we have, and its signature on a sample holds."""
    try:
        sign = signing(site.settings, site.known_secrets())
        assert sign is not None  # there are keys
        data = sign(_sample(site), SystemClock().now())
        signatures = signer.signatures(data)
    except TodokuError as error:
        if isinstance(error, CannotCheck):
            raise
        ja, _, en = str(error).partition(" / ")
        todo = Said(
            "sender.dkim.keys の鍵ファイルを確認してください。", "Look at the key files of sender.dkim.keys."
        )
        return failed(Said(ja, en or ja), todo)
    weak: Verdict | None = None
    for signature in signatures:
        looked = await _key_in_dns(site.names, signature.record)
        if looked.verdict.status is Status.FAILED:
            return looked.verdict
        if looked.verdict.status is Status.WARNING:
            weak = looked.verdict
        if not signer.verifies(data, signature, looked.record):
            return failed(
                Said(
                    f"{signature.record} の公開鍵が、手元の秘密鍵と合いません。",
                    f"The public key at {signature.record} does not belong to the private key here.",
                ),
                _publish(signature.record),
            )
    if (apart := _not_aligned(site, signatures)) is not None:
        return apart
    names = ", ".join(signature.record for signature in signatures)
    return weak or ok(
        f"Todoku が署名します。見本の署名を DNS の公開鍵で検証できました ({names})。",
        f"Todoku signs, and a sample's signature holds by the keys in DNS ({names}).",
    )


def _sample(site: Site) -> bytes:
    address = site.identity.address
    letter = Letter(
        to=address,
        subject="予約資料のご用意ができました",
        body="見本です。\nA sample.\n",
        date=SystemClock().now(),
        message_id=f"<sample@{site.envelope_domain}>",
        token="sample",  # noqa: S106 - names no delivery, and is no secret
    )
    return build(Letterhead(site.settings.library.name, address), letter)


def _not_aligned(site: Site, signatures: list[signer.Signature]) -> Verdict | None:
    """DMARC counts a signature only if its domain is From's, or one above or below (RFC 7489 section 3.1.1)."""
    own = site.header_domain
    domains = {signature.domain for signature in signatures}
    if any(own == one or own.endswith(f".{one}") or one.endswith(f".{own}") for one in domains):
        return None
    shown = ", ".join(sorted(domains))
    return warning(
        Said(
            f"署名のドメイン {shown} が、差出人のドメイン {own} と整合しません。",
            f"Signatures are of {shown}, which is not aligned with From ({own}).",
        ),
        Said(
            "sender.dkim.domain を差出人のドメインにするか、中継サーバーの署名をそのドメインにしてもらってください。",
            "Let sender.dkim.domain, or the relay's signature, be the domain of From.",
        ),
    )


# The relay's --------------------------------------------------------------------------------------


async def _relays(site: Site) -> Verdict:
    """What the relay made of the probe's mail."""
    assert site.probe is not None
    came = await site.probe.result(site)
    if not isinstance(came, Came):
        raise CannotCheck(
            Said("試験メールが届かないため確認できません。", "The probe's mail did not arrive."),
            Said(
                "「返送先への試験メール」の項目を先に直してください。",
                "Mend the probe of the return path first.",
            ),
        )
    signatures = signer.signatures(came.raw)
    if not signatures:
        return warning(
            Said(
                "届いた試験メールに DKIM 署名がありません。",
                "The probe's mail arrived without a DKIM signature.",
            ),
            Said(
                "中継サーバーで署名してもらうか、sender.dkim で Todoku に署名させてください。",
                "Have the relay sign, or let Todoku sign (sender.dkim).",
            ),
        )
    for signature in signatures:
        looked = await _key_in_dns(site.names, signature.record)
        if not looked.record or not signer.verifies(came.raw, signature, looked.record):
            return failed(
                Said(
                    f"届いた試験メールの DKIM 署名 ({signature.record}) を検証できません。",
                    f"The signature of the probe's mail ({signature.record}) does not hold.",
                ),
                _publish(signature.record),
            )
    names = ", ".join(signature.record for signature in signatures)
    return _not_aligned(site, signatures) or ok(
        f"届いた試験メールの DKIM 署名を検証できました ({names})。",
        f"The signature of the probe's mail holds ({names}).",
    )


# The key in DNS -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Looked:
    verdict: Verdict
    record: str


def _publish(name: str) -> Said:
    return Said(f"{name} に公開鍵を登録してもらってください。", f"Have the public key published at {name}.")


async def _key_in_dns(names: Names, name: str) -> _Looked:
    """The public key at `name` (RFC 6376 section 3.6)."""
    todo = _publish(name)
    records = await names.texts(name)
    if len(records) != 1:
        message = Said(
            f"{name} のレコードが{len(records)}件あります。", f"{name} has {len(records)} records, not one."
        )
        return _Looked(failed(message, todo), "")
    said = tags(records[0])
    key = _key(said.get("p", ""))
    if said.get("v", "DKIM1") != "DKIM1" or not key:
        message = Said(
            f"{name} に使える公開鍵がありません。", f"{name} has no usable public key (it may be revoked)."
        )
        return _Looked(failed(message, todo), "")
    if said.get("k", "rsa") == "rsa" and len(key) < SHORT_KEY:
        message = Said(f"{name} の鍵が短すぎます。", f"The key at {name} is short.")
        better = Said("2048 ビットの鍵に替えてもらってください。", "Have it replaced by one of 2048 bits.")
        return _Looked(warning(message, better), records[0])
    return _Looked(ok(f"{name} に公開鍵があります。", f"{name} has a public key."), records[0])


def _key(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
