"""Checks that send something: the probe of the return path; and of the ways that alerts would take."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from holds_core.notices import Result
from mailer.app.alerts.post import ways
from mailer.app.doctor.check import CannotCheck, Said, Verdict, failed, ok, warning
from mailer.app.doctor.probe import PATIENCE_S, Came
from mailer.app.doctor.site import Site
from mailer.smtp import Relay, RelayOptions

_WAYS = {
    "lmtp": Said("LMTP", "LMTP"),
    "imap": Said("IMAP", "IMAP"),
    "daemon": Said("常駐プログラム", "the running daemon"),
}


async def return_path_probe(site: Site) -> Verdict:
    """A mail to the return path comes back to us, through the relay and the domain's MX."""
    if site.probe is None:
        raise CannotCheck(
            Said("試していません。", "Not tried."),
            Said(
                "--probe を付けると、返送先へ試験メールを1通送り、届くのを待ちます。",
                "With --probe one mail is sent to the return path, and waited for.",
            ),
        )
    found = await site.probe.result(site)
    domain = site.envelope_domain
    if isinstance(found, Came):
        way = _WAYS[found.way]
        return ok(
            f"{domain} への試験メールが {found.seconds:.0f} 秒で届きました ({way.ja})。",
            f"A mail to {domain} came back within {found.seconds:.0f} seconds ({way.en}).",
        )
    if found.refused is not None and found.refused.result is Result.NOT_STARTED:
        raise CannotCheck(
            Said("中継サーバーを使えないため試していません。", "The relay cannot be used."),
            Said("「中継サーバー」の項目を先に直してください。", "Mend what the check of the relay names."),
        )
    if found.refused is not None:
        said = " ".join(str(part) for part in (found.refused.code, found.refused.text) if part)
        return failed(
            Said(
                f"中継サーバーが {domain} への試験メールを受け付けません ({found.refused.phase}: {said})。",
                f"The relay does not take a mail to {domain} ({found.refused.phase}: {said}).",
            ),
            Said(
                f"中継サーバーで {domain} 宛てのメールの配送先を設定してもらってください。",
                f"Have the relay told where mail to {domain} goes.",
            ),
        )
    return failed(
        Said(
            f"{domain} への試験メールが {found.waited:.0f} 秒待っても届きません。",
            f"A mail to {domain} did not come back within {found.waited:.0f} seconds.",
        ),
        Said(
            f"{domain} の MX、メールサーバーから Todoku への転送 (LMTP) または IMAP の受信箱を確認してください。"
            "配送が遅いだけなら --probe-wait を延ばします。",
            f"Look at the MX of {domain}, and at how its mail server hands mail to us (LMTP) or to the IMAP "
            "mailbox. If it is only slow, give it more --probe-wait.",
        ),
    )


async def alerts(site: Site) -> Verdict:
    """Somebody is told of trouble, and there is a way to tell when the relay is the trouble."""
    settings = site.settings
    if not settings.alerts.to:
        return warning(
            Said("異常を知らせるあて先がありません。", "Nobody is told of trouble by mail."),
            Said(
                "alerts.to に担当者のメールアドレスを書いてください。", "Put IT's addresses into alerts.to."
            ),
        )
    routes = ways(settings, site.known_secrets())
    answers = await asyncio.gather(*(_answers(route) for route in routes))
    open_ = [route for route, answered in zip(routes, answers, strict=True) if answered]
    listed = ", ".join(f"{route.host}:{route.port}" for route in open_)
    if not open_:
        return failed(
            Said("異常を知らせるメールを送れるサーバーがありません。", "No server takes alerts."),
            Said(
                "relay を直すか、alerts.relay に別のサーバーを指定してください。",
                "Mend the relay, or name another server in alerts.relay.",
            ),
        )
    main = settings.relay
    if all((route.host, route.port) == (main.host, main.port) for route in open_):
        return warning(
            Said(
                f"中継サーバー ({listed}) が使えないときに、異常を知らせる手段がありません。",
                f"When the relay ({listed}) is down, there is no other way to tell.",
            ),
            Said(
                "alerts.relay に別のサーバーを指定するか、この機械のメールサーバーを 127.0.0.1:25 で動かしてください。",
                "Name another server in alerts.relay, or run a mail server on 127.0.0.1:25 of this machine.",
            ),
        )
    return ok(f"異常は {listed} から知らせます。", f"Alerts leave by {listed}.")


async def _answers(options: RelayOptions) -> bool:
    relay = Relay(replace(options, timeout=min(options.timeout, PATIENCE_S)))
    try:
        return await relay.connect() is None
    finally:
        await relay.close()
