"""Settings of OAuth 2.0 access tokens (XOAUTH2), which open mailboxes where passwords no longer do.

A token lives for about an hour; fetching the next one is another program's work, whose output is read anew
at each login.
"""

from __future__ import annotations

import shlex

from pydantic import field_validator

from holds_core.settings.base import Section
from holds_core.settings.values import FilePath, Line, expected


class Tokens(Section):
    """Where a mailbox's access token is: in a file, or what a command prints. If both are given, the command's."""

    token_file: FilePath | None = None
    token_command: Line | None = None

    @field_validator("token_command")
    @classmethod
    def _words(cls, command: str | None) -> str | None:
        try:
            words = shlex.split(command or "x")
        except ValueError:
            words = []
        if not words:
            raise expected("実行できるコマンド", "a command that can be run")
        return command
