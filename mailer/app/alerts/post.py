"""The way that mail to IT takes: a second relay or this machine's own mail server when the first one fails.

In: a letter and the settings. Out: whether somebody took it. The envelope sender is the null one, so that
alerts make no bounces and no loops (RFC 5321 section 4.5.5); only where a server refuses that, From's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from holds_core.notices import Outcome, Phase, Result
from holds_core.settings import Settings
from holds_core.settings.secrets import Secrets
from mailer import maillog
from mailer.app.alerts.letters import Letter as Words
from mailer.app.services import relay_options
from mailer.message import Letter, Letterhead, build
from mailer.smtp import Relay, RelayOptions, Tls

PATIENCE_S = 20.0
LOCAL = ("127.0.0.1", 25)
"""This machine's own mail server. Not sendmail: the unit's sandbox keeps it from its queue."""


def ways(settings: Settings, secrets: Secrets, *, local: tuple[str, int] = LOCAL) -> list[RelayOptions]:
    """The servers to try, in order. A second relay, if there is one, is meant for this and comes first."""
    main = relay_options(settings, secrets)
    second = settings.alerts.relay
    if second is not None:
        other = RelayOptions(
            host=second.host,
            port=second.port,
            tls=Tls(second.tls.value),
            local_hostname=main.local_hostname,
            username=second.username or "",
            password=secrets.alerts_password or "",
            ca_file=second.ca_file,
            verify=second.verify_tls,
        )
        found = [other, main]
    else:
        host, port = local
        own = RelayOptions(host=host, port=port, tls=Tls.NONE, local_hostname=main.local_hostname)
        found = [main] if (main.host, main.port) in (local, ("localhost", port)) else [main, own]
    return [
        replace(way, timeout=min(way.timeout, PATIENCE_S), dot_timeout=min(way.dot_timeout, 60.0))
        for way in found
    ]


async def post(
    routes: Sequence[RelayOptions], settings: Settings, words: Words, now: datetime, number: int = 0
) -> bool:
    """Sends the letter to everybody in `alerts.to`. Returns whether each has it from some server."""
    sender = settings.alerts.sender or settings.sender.address
    letterhead = Letterhead("Todoku", sender)
    local = now.astimezone(settings.library.timezone)
    done = True
    for place, recipient in enumerate(settings.alerts.to):
        stamp = f"{int(now.timestamp() * 1000):x}.{number:x}.{place:x}"
        letter = Letter(
            to=recipient,
            subject=words.subject,
            body=words.body,
            date=local,
            message_id=f"<alert.{stamp}@{sender.rpartition('@')[2]}>",
            token="alert",  # noqa: S106 - names no delivery, and is no secret
        )
        done = await _by_some_way(routes, sender, recipient, build(letterhead, letter)) and done
    return done


async def _by_some_way(routes: Iterable[RelayOptions], sender: str, recipient: str, data: bytes) -> bool:
    for options in routes:
        outcome = await _by(options, sender, recipient, data)
        # in doubt counts as sent: a second copy of an alert from another server helps nobody
        if outcome.result in (Result.HANDED_OVER, Result.UNCERTAIN):
            return True
        maillog.event(
            "alert_not_sent",
            relay=options.host,
            result=outcome.result.value,
            phase=outcome.phase.value,
            code=outcome.code,
        )
    return False


async def _by(options: RelayOptions, sender: str, recipient: str, data: bytes) -> Outcome:
    relay = Relay(options)
    try:
        outcome = await relay.send("", recipient, data, dsn=False)
        if outcome.result is Result.REFUSED and outcome.phase is Phase.MAIL:
            outcome = await relay.send(sender, recipient, data, dsn=False)
        return outcome
    finally:
        await relay.close()
