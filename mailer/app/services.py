"""Everything one library's process is made of, put together once. The composition root's shopping list.

Enters settings, secrets, a clock and a source of randomness; leaves the parts, wired. Starts nothing: the
daemon, the commands, the demo and the tests all take their parts from here. What settings and secrets decide
is made apart (`Decided`), so that a running process can take it anew, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time

from bounces.ingest import Ingest
from holds_core.feeds.intake import EventIntake
from holds_core.ledger.event_rules import EventRules
from holds_core.ledger.session import Ledger
from holds_core.providers import Providers
from holds_core.receiving import ReceivingGuide
from holds_core.rulebook import Days, Rulebook, limit_rules
from holds_core.settings import Authority, Reception, Settings
from holds_core.settings.secrets import Secrets
from holds_core.tokens import TokenKeys
from mailer import maillog
from mailer.app.days import DayKeeper, holidays_of
from mailer.clock import Clock
from mailer.compose import Composer
from mailer.courtesy import Courtesy
from mailer.dkim import Signer, load
from mailer.render import Renderer
from mailer.samples import template_faults
from mailer.sender import Sender
from mailer.smtp import Relay, RelayOptions, Tls


@dataclass(frozen=True, slots=True)
class Decided:
    """What settings and secrets decide, made whole before any of it is used."""

    settings: Settings
    secrets: Secrets
    rulebook: Rulebook
    keys: TokenKeys
    guide: ReceivingGuide
    renderer: Renderer
    composer: Composer
    sign: Callable[[bytes, datetime], bytes] | None

    @classmethod
    def by(
        cls, settings: Settings, secrets: Secrets, providers: Providers, days: Days | None = None
    ) -> Decided:
        """Raises TodokuError for settings, keys or templates that cannot be used."""
        rulebook = Rulebook.of(settings, holidays_of(settings), days)
        keys = TokenKeys(secrets.token_keys)
        renderer = Renderer(settings.library.templates_folder)
        sign = signing(settings, secrets)
        return cls(
            settings=settings,
            secrets=secrets,
            rulebook=rulebook,
            keys=keys,
            guide=ReceivingGuide.load(settings.library.templates_folder),
            renderer=renderer,
            composer=Composer(rulebook, keys, providers, renderer, sign),
            sign=sign,
        )


@dataclass(slots=True)
class Services:
    """The parts of one process. `owner` names this process in leases and is new with every start.

    Ask for what the settings decide when it is needed: `take` puts others in their place.
    """

    settings: Settings
    secrets: Secrets
    rulebook: Rulebook
    ledger: Ledger
    keys: TokenKeys
    providers: Providers
    guide: ReceivingGuide
    renderer: Renderer
    composer: Composer
    sender: Sender
    ingest: Ingest
    clock: Clock
    jitter: Callable[[], float]
    owner: str
    days: DayKeeper
    courtesy: Courtesy
    sign: Callable[[bytes, datetime], bytes] | None = None
    """Adds our DKIM signatures, where we have keys."""

    @classmethod
    def build(
        cls,
        settings: Settings,
        secrets: Secrets,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        owner: str,
    ) -> Services:
        """Wires the parts. Raises TodokuError for settings, keys or templates that cannot be used."""
        providers = Providers.load()
        made = Decided.by(settings, secrets, providers)
        # works out the year's holidays (40 ms), which nobody should have to wait for in mid-batch
        made.rulebook.deadline(made.rulebook.default_branch(), sent_on=clock.now().date(), ready_on=None)
        ledger = Ledger.open(settings.database.async_url)
        connect, courtesy = connector(settings, secrets), Courtesy()
        return cls(
            settings=settings,
            secrets=secrets,
            rulebook=made.rulebook,
            ledger=ledger,
            keys=made.keys,
            providers=providers,
            guide=made.guide,
            renderer=made.renderer,
            composer=made.composer,
            sender=Sender(
                ledger, made.rulebook, made.composer, made.keys, connect, clock, jitter, owner, courtesy
            ),
            ingest=Ingest(ledger, made.keys, maillog, settings.sender.confirm_addresses),
            clock=clock,
            jitter=jitter,
            owner=owner,
            days=DayKeeper(ledger),
            courtesy=courtesy,
            sign=made.sign,
        )

    def decide(self, settings: Settings, secrets: Secrets) -> Decided:
        """What other settings would bring, with the closings that were entered since.

        Raises TodokuError, also for a template that cannot be rendered: mail that leaves well is at stake.
        """
        made = Decided.by(settings, secrets, self.providers, self.days.known)
        for fault in template_faults(made.renderer):
            raise fault
        return made

    def take(self, made: Decided) -> None:
        """Goes on by other settings: texts, days, keys, signatures, and the relay of later connections."""
        self.settings, self.secrets, self.rulebook = made.settings, made.secrets, made.rulebook
        self.keys, self.guide, self.sign = made.keys, made.guide, made.sign
        self.renderer, self.composer = made.renderer, made.composer
        self.sender.reload(made.rulebook, made.composer)
        self.sender.reconnect(made.keys, connector(made.settings, made.secrets))
        self.ingest.reload(made.keys, made.settings.sender.confirm_addresses)

    async def refresh_days(self) -> None:
        """What was entered about days since we last looked is in force from now on."""
        await self.days.refresh(self.rulebook, self.sender.rulebook)

    def intake(self, *, nightly: bool = False) -> EventIntake:
        """Takes library events in. `nightly`: prompt notices of this feed wait for the morning."""
        return EventIntake(
            self.ledger,
            event_rules(self.rulebook, nightly=nightly),
            self.clock.now,
            self.settings.feeds.max_prompt_per_run,
        )

    async def close(self) -> None:
        await self.ledger.close()


def event_rules(rulebook: Rulebook, *, nightly: bool = False) -> EventRules:
    quiet_from, quiet_to = rulebook.quiet()
    return EventRules(
        zone=rulebook.settings.library.timezone,
        max_age=rulebook.settings.feeds.max_age,
        quiet_from=quiet_from,
        quiet_to=quiet_to or time(0),
        default_branch=rulebook.default_branch(),
        nightly=nightly,
        tell_extended=rulebook.settings.deadline.tell_extended,
        binding=rulebook.settings.library.authority is Authority.TODOKU,
        waits=rulebook.settings.holds.reception is Reception.NEXT_OPEN_MORNING,
        limits=limit_rules(rulebook.settings.holds),
        default_contact=rulebook.settings.holds.default_contact.value,
        last_day=lambda branch, told_on, ready_on: rulebook.deadline(
            branch, sent_on=told_on, ready_on=ready_on
        ),
    )


def signing(settings: Settings, secrets: Secrets) -> Callable[[bytes, datetime], bytes] | None:
    """What signs our mail with DKIM; None where the relay does. Raises BadDkimKey, DkimUnavailable."""
    wanted = settings.sender.dkim
    if not wanted.keys:
        return None
    keys = [load(key.selector, pem) for key, pem in zip(wanted.keys, secrets.dkim_keys, strict=True)]
    return Signer(keys, wanted.domain or "").sign


def relay_options(settings: Settings, secrets: Secrets) -> RelayOptions:
    relay = settings.relay
    return RelayOptions(
        host=relay.host,
        port=relay.port,
        tls=Tls(relay.tls.value),
        local_hostname=relay.helo_name or settings.sender.address.rpartition("@")[2],
        username=relay.username or "",
        password=secrets.relay_password or "",
        ca_file=relay.ca_file,
        verify=relay.verify_tls,
        timeout=relay.timeout.total_seconds(),
    )


def connector(settings: Settings, secrets: Secrets) -> Callable[[], Relay]:
    """Makes connections to the relay, which dial when they are first used."""
    options = relay_options(settings, secrets)
    return lambda: Relay(options)
