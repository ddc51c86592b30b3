"""The lookout for silence, made from a process's parts.

What asks a patron for a sign is known to those who write mail, who runs a mailbox to the table of
providers; the lookout is told of both.
"""

from __future__ import annotations

from collections.abc import Callable

from bounces.lookout import Lookout
from holds_core.ledger.silence_facts import Asks
from holds_core.notices import Kind
from holds_core.provider_watch import ProviderHint
from holds_core.providers import Providers, SilentLoss
from holds_core.rulebook import Rulebook
from holds_core.settings import Way
from mailer import maillog
from mailer.app.services import Services


def lookout(services: Services, rulebook: Callable[[], Rulebook]) -> Lookout:
    """`rulebook` gives the one in force."""
    return Lookout(
        services.ledger,
        rulebook,
        asks(services, rulebook),
        hints(services.providers),
        services.clock.now,
        services.clock.sleep,
        _Discreet(services),
        services.owner,
    )


class _Discreet:
    """The lookout's log. A mail domain that may be a patron's own is not named: the alert's number leads staff
    to it at the desk."""

    silence_weighed = staticmethod(maillog.silence_weighed)

    def __init__(self, services: Services) -> None:
        self._services = services

    def provider_alert(self, what: str, alert: int, domain: str, suspect: str, sent: int, shown: int) -> None:
        named = self._services.composer.mailbox(domain).shown
        maillog.provider_alert(what, alert, named, suspect, sent, shown)


def asks(services: Services, rulebook: Callable[[], Rulebook]) -> Asks:
    """Whether mail of a kind to a domain has a button to press or an address to answer to."""

    def asked(kind: Kind, domain: str) -> bool:
        settings = rulebook().settings
        ask = settings.confirmation.ask
        ways = {Kind.REGISTRATION_CHANGED: ask.registration_changed, Kind.HOLD_READY: ask.hold_ready}
        way = ways.get(kind, Way.NONE)
        links = services.composer.mailbox(domain).links
        page = way.link and links and settings.confirm.base_url is not None
        # where mail may carry no links the address takes the link's place
        address = way.reply or (way.link and not links)
        return page or (address and settings.sender.reply_confirm_address is not None)

    return asked


def hints(providers: Providers) -> dict[str, ProviderHint]:
    """The table of providers as a weak prior: who is kin to whom, and of whom silent loss was heard."""
    return {
        row.pattern: ProviderHint(row.name, row.kind, row.silent_loss is not SilentLoss.NONE)
        for row in providers.rows
        if not row.pattern.startswith("*.")
    }
