"""What the checks work on: one library's settings, secrets, database and DNS, gathered once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from holds_core.identities import Identity, identities, identity_on
from holds_core.ledger.session import Ledger
from holds_core.ledger.upkeep import Health, LedgerDown, health
from holds_core.settings import Settings
from holds_core.settings.problems import Problem
from holds_core.settings.secrets import Secrets
from mailer.app.doctor.check import CannotCheck, Said
from mailer.app.doctor.names import Address, Names
from mailer.sender import PAUSED

if TYPE_CHECKING:
    from mailer.app.doctor.probe import Probe


@dataclass(frozen=True, slots=True)
class Site:
    """One library's installation.

    `secrets` is None if they cannot be read; `faults` says why then. `ledger` is None if there is no
    database file yet. `outgoing` are the addresses that the relay sends from, if a person named them.
    `selector` is the relay's DKIM selector, "" if unknown. `probe` is the mail that tries the return path; None
    if nobody asked for it. `synchronised`: whether something keeps the machine's clock right; None if unknown.
    """

    settings: Settings
    secrets: Secrets | None
    faults: tuple[Problem, ...]
    ledger: Ledger | None
    names: Names
    now: datetime
    outgoing: tuple[Address, ...] = ()
    selector: str = ""
    probe: Probe | None = None
    synchronised: bool | None = None

    @property
    def identity(self) -> Identity:
        """The sender of today's mail: it changes on a day (`sender.changes`)."""
        day = self.now.astimezone(self.settings.library.timezone).date()
        return identity_on(identities(self.settings.sender), day)

    @property
    def header_domain(self) -> str:
        """The domain of From."""
        return self.identity.address.rpartition("@")[2]

    @property
    def envelope_domain(self) -> str:
        """The domain of the return path."""
        return self.identity.return_path_domain

    @property
    def database_file(self) -> Path | None:
        """None on PostgreSQL."""
        file = self.settings.database.sqlite_file
        return None if file is None else Path(file)

    def known_secrets(self) -> Secrets:
        """Raises CannotCheck."""
        if self.secrets is None:
            raise CannotCheck(
                Said("パスワードなどのファイルを読めません。", "The files with secrets cannot be read."),
                Said(
                    "「設定」の項目を先に直してください。", "Mend what the check of the configuration names."
                ),
            )
        return self.secrets

    async def health(self) -> Health:
        """What the ledger says of times and of the stop button. Raises CannotCheck if it cannot be read."""
        todo = Said(
            "「データベース」の項目を先に直してください。", "Mend what the check of the database names."
        )
        if self.ledger is None:
            raise CannotCheck(Said("データベースがまだありません。", "There is no database yet."), todo)
        try:
            return await health(self.ledger, PAUSED)
        except LedgerDown as error:
            raise CannotCheck(
                Said("データベースを読めませんでした。", "The database could not be read."), todo
            ) from error
