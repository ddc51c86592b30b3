"""Secrets: files named by the settings, or the environment, enter; passwords, tokens and keys leave.

Kept apart from Settings so that printing or logging the settings shows no secret.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holds_core.settings import Settings
from holds_core.settings.live_feeds import FOLIO_PASSWORD, KOHA_SECRET
from holds_core.settings.problems import ConfigError, Problem, misfit
from holds_core.settings.problems import Path as KeyPath
from holds_core.tokens import MIN_KEY_LENGTH

RELAY_PASSWORD = "TODOKU_RELAY_PASSWORD"  # noqa: S105 - the name of a variable
IMAP_PASSWORD = "TODOKU_IMAP_PASSWORD"  # noqa: S105 - the name of a variable
ALERTS_PASSWORD = "TODOKU_ALERTS_PASSWORD"  # noqa: S105 - the name of a variable
API_TOKENS = "TODOKU_API_TOKENS"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the daemon needs and no one may see. The environment wins over a file.

    `token_keys`: the first signs, all verify. `dkim_keys` are PEM, in the order of `sender.dkim.keys`.
    `warnings` concern files that others can read.
    """

    relay_password: str | None = field(default=None, repr=False)
    imap_password: str | None = field(default=None, repr=False)
    former_imap_password: str | None = field(default=None, repr=False)
    alerts_password: str | None = field(default=None, repr=False)
    dkim_keys: tuple[bytes, ...] = field(default=(), repr=False)
    api_tokens: tuple[str, ...] = field(default=(), repr=False)
    koha_secret: str | None = field(default=None, repr=False)
    folio_password: str | None = field(default=None, repr=False)
    token_keys: tuple[bytes, ...] = field(default=(), repr=False)
    warnings: tuple[Problem, ...] = ()


def read_secret(path: Path) -> str:
    """The text of a secret file without its trailing newline. Raises OSError or UnicodeDecodeError."""
    return path.read_text("utf-8").rstrip("\r\n")


def open_to_others(path: Path) -> bool:
    """Whether users other than the owner and group may read the file, which doctor warns of."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def secret_lines(text: str) -> tuple[str, ...]:
    """One secret a line; blank lines and lines that begin with # are left out."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_secrets(settings: Settings, env: Mapping[str, str]) -> Secrets:
    """All secrets that the settings call for. Raises ConfigError with every file that cannot be used."""
    reader = _Reader()
    imap = settings.intake.imap
    relay_password = env.get(RELAY_PASSWORD) or reader.text(
        ("relay", "password_file"), settings.relay.password_file
    )
    imap_password = env.get(IMAP_PASSWORD) or reader.text(
        ("intake", "imap", "password_file"), imap.password_file if imap else None
    )
    former = settings.intake.former_imap
    # its own file first: the variable holds the password of the mailbox in use
    former_imap_password = reader.text(
        ("intake", "former_imap", "password_file"), former.password_file if former else None
    ) or env.get(IMAP_PASSWORD)
    second = settings.alerts.relay
    alerts_password = env.get(ALERTS_PASSWORD) or reader.text(
        ("alerts", "relay", "password_file"), second.password_file if second else None
    )
    dkim = [
        reader.text(("sender", "dkim", "keys", place, "key_file"), key.key_file)
        for place, key in enumerate(settings.sender.dkim.keys)
    ]
    tokens = env.get(API_TOKENS) or reader.text(("api", "tokens_file"), settings.api.tokens_file) or ""
    koha, folio = settings.feeds.koha, settings.feeds.folio
    koha_secret = env.get(KOHA_SECRET) or reader.text(
        ("feeds", "koha", "client_secret_file"), koha.client_secret_file if koha else None
    )
    folio_password = env.get(FOLIO_PASSWORD) or reader.text(
        ("feeds", "folio", "password_file"), folio.password_file if folio else None
    )
    keys = reader.keys(("sender", "token_keys_file"), settings.sender.token_keys_file)
    if reader.problems:
        raise ConfigError(reader.problems)
    return Secrets(
        relay_password=relay_password,
        imap_password=imap_password,
        former_imap_password=former_imap_password,
        alerts_password=alerts_password,
        dkim_keys=tuple(text.encode() for text in dkim if text is not None),
        api_tokens=tuple(
            token for line in secret_lines(tokens) for token in re.split(r"[\s,]+", line) if token
        ),
        koha_secret=koha_secret,
        folio_password=folio_password,
        token_keys=tuple(key.encode() for key in keys),
        warnings=tuple(reader.warnings),
    )


class _Reader:
    """Reads files, collecting what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def text(self, key: KeyPath, path: Path | None) -> str | None:
        """The secret in the file; None without a file or with one that is unusable."""
        if path is None:
            return None
        try:
            found = read_secret(path)
        except (OSError, UnicodeDecodeError):
            self.problems.append(
                misfit(key, None, str(path), "読み取れるファイル", "a file that can be read")
            )
            return None
        if not found.strip():
            self.problems.append(misfit(key, None, str(path), "空でないファイル", "a file that is not empty"))
            return None
        if open_to_others(path):
            self.warnings.append(
                misfit(key, None, str(path), "所有者だけが読めるファイル (chmod 600)", "a file of mode 0600")
            )
        return found

    def keys(self, key: KeyPath, path: Path) -> tuple[str, ...]:
        """The signing keys in the file, none of them too short."""
        text = self.text(key, path)
        if text is None:
            return ()
        found = secret_lines(text)
        if not found or any(len(item.encode()) < MIN_KEY_LENGTH for item in found):
            ja = f"{MIN_KEY_LENGTH}文字以上の鍵だけのファイル (例 openssl rand -hex 32)"
            en = f"a file of keys of {MIN_KEY_LENGTH} characters or more (try openssl rand -hex 32)"
            self.problems.append(misfit(key, None, str(path), ja, en))
        return found
