"""Everything one library's process is made of, put together once. The composition root's shopping list.

Enters settings, secrets, a clock and a source of randomness; leaves the parts, wired. Starts nothing: the
daemon, the commands, the demo and the tests all take their parts from here.
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
from holds_core.rulebook import Rulebook, limit_rules
from holds_core.settings import Authority, Reception, Settings
from holds_core.settings.secrets import Secrets
from holds_core.tokens import TokenKeys
from mailer import maillog
from mailer.app.days import DayKeeper, holidays_of
from mailer.clock import Clock
from mailer.compose import Composer
from mailer.dkim import Signer, load
from mailer.render import Renderer
from mailer.sender import Sender
from mailer.smtp import Relay, RelayOptions, Tls


@dataclass(frozen=True)
class Services:
    """The parts of one process. `owner` names this process in leases and is new with every start."""

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
        rulebook = Rulebook.of(settings, holidays_of(settings))
        # works out the year's holidays (40 ms), which nobody should have to wait for in mid-batch
        rulebook.deadline(rulebook.default_branch(), sent_on=clock.now().date(), ready_on=None)
        ledger = Ledger.open(settings.database.async_url)
        keys = TokenKeys(secrets.token_keys)
        providers = Providers.load()
        renderer = Renderer(settings.library.templates_folder)
        sign = signing(settings, secrets)
        composer = Composer(rulebook, keys, providers, renderer, sign)
        options = relay_options(settings, secrets)
        sender = Sender(ledger, rulebook, composer, keys, lambda: Relay(options), clock, jitter, owner)
        return cls(
            settings=settings,
            secrets=secrets,
            rulebook=rulebook,
            ledger=ledger,
            keys=keys,
            providers=providers,
            guide=ReceivingGuide.load(settings.library.templates_folder),
            renderer=renderer,
            composer=composer,
            sender=sender,
            ingest=Ingest(ledger, keys, maillog, settings.sender.confirm_addresses),
            clock=clock,
            jitter=jitter,
            owner=owner,
            days=DayKeeper(ledger),
            sign=sign,
        )

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
