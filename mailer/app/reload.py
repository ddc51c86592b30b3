"""What a running daemon takes over from settings that were read again, and what waits for a restart.

In: the settings in force and those just read. Out: the settings to go on with, the keys that wait, and the
tasks that the settings call for, each with what it is made of, so that only those that change begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from bounces.mailbox import MailboxReader, MailboxState
from holds_core.settings import Imap, MxCheck, Settings
from mailer.app.canaries import Canaries
from mailer.app.domains import DomainChecks
from mailer.app.dropfolder import DropFolder
from mailer.app.feeds.live import pollers
from mailer.app.mailboxes import imap_options
from mailer.app.services import Services, relay_options
from mailer.app.supervisor import Task

NEEDS_RESTART = (("database", "url"), ("desk", "listen"), ("confirm", "listen"), ("intake", "lmtp"))
"""An open database, and addresses that are listened on before anything else starts."""


def held(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`new`, but what only a restart can change as in `old`; and the keys of which that is true.

    Their values are not told: a database's address may have a password in it.
    """
    waiting = []
    for section, key in NEEDS_RESTART:
        before = getattr(getattr(old, section), key)
        part = getattr(new, section)
        if getattr(part, key) != before:
            waiting.append(f"{section}.{key}")
            new = new.model_copy(update={section: part.model_copy(update={key: before})})
    return new, tuple(waiting)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task, and what it was made of: it begins anew when that has changed."""

    made_of: object
    task: Task


def wanted(services: Services, heard: Callable[[MailboxState], None]) -> dict[str, Wanted]:
    """The tasks that the settings in force call for. `heard` is told of the mailbox of bounces."""
    settings, secrets = services.settings, services.secrets
    # what is under way is finished by the relay it began with
    relay = (relay_options(settings, secrets), settings.relay.connections)
    found = {"sender": Wanted(relay, services.sender.run)}
    if settings.canaries.mailboxes:
        found["canaries"] = Wanted(None, Canaries(services).run)
    if (checks := settings.address_checks).mx is MxCheck.ON:
        domains = DomainChecks(services.ledger, checks, services.clock)
        found["address_checks"] = Wanted(checks, domains.run)
    if (folders := DropFolder(services)).watched:
        found["drop_folder"] = Wanted(None, folders.run)
    for poller in pollers(services):
        # always anew, once its poll has ended: it keeps the rules that it began with
        found[f"feed_{poller.name}"] = Wanted(object(), poller.run)
    for name, imap, password, told in _mailboxes(settings, services, heard):
        found[name] = Wanted((imap, password), until_stop(_reader(services, imap, password, told).run))
    return found


def _mailboxes(
    settings: Settings, services: Services, heard: Callable[[MailboxState], None]
) -> Iterator[tuple[str, Imap, str | None, Callable[[MailboxState], None]]]:
    intake, secrets = settings.intake, services.secrets
    if intake.imap is not None:
        yield "mailbox", intake.imap, secrets.imap_password, heard
    if intake.former_imap is not None:
        yield "former_mailbox", intake.former_imap, secrets.former_imap_password, lambda state: None


def _reader(
    services: Services, imap: Imap, password: str | None, told: Callable[[MailboxState], None]
) -> MailboxReader:
    return MailboxReader(
        imap_options(imap, password),
        services.ingest.store,
        services.clock.now,
        told,
        jitter=services.jitter,
    )


def until_stop(work: Callable[[], Coroutine[Any, Any, object]]) -> Task:
    """A task for the supervisor from a coroutine function that runs until it is cancelled."""

    async def task(stop: asyncio.Event) -> None:
        running = asyncio.create_task(work())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not running.done():
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    return task
