"""Settings of the canaries: mailboxes of the library's own at providers, which show where today's mail lands."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo
from pydantic import field_validator as check

from holds_core.settings.base import Section, unique
from holds_core.settings.mail import ImapTls
from holds_core.settings.tokens import Tokens
from holds_core.settings.values import Address, FilePath, Flag, Host, Line, Port, choice, duration, expected


class Canary(Tokens):
    """One mailbox. Its password, or an OAuth 2.0 access token (XOAUTH2) from a file or a command's output, is
    read anew at each login: tokens live for an hour. Of several the command wins, then the token's file."""

    address: Address
    host: Host
    tls: Annotated[ImapTls, PlainValidator(choice(ImapTls))] = ImapTls.IMPLICIT
    port: Port = Field(default_factory=lambda data: 143 if data.get("tls") is ImapTls.NONE else 993)
    verify_tls: Flag = True
    ca_file: FilePath | None = None
    username: Line | None = None
    password_file: FilePath | None = None
    inbox: Line = "INBOX"
    junk: Line | None = None

    @check("password_file")
    @classmethod
    def _some_secret(cls, file: Any, info: ValidationInfo) -> Any:
        # one that cannot be used is missing here, and has its own error
        given = (file, info.data.get("token_file", "?"), info.data.get("token_command", "?"))
        if all(item is None for item in given):
            raise expected(
                "password_file・token_file・token_command のいずれか",
                "one of password_file, token_file, token_command",
            )
        return file

    @property
    def login(self) -> str:
        return self.username or self.address


class Canaries(Section):
    """All of them, and the patience with each: mail not seen after `missing_after` counts as lost."""

    mailboxes: tuple[Canary, ...] = ()
    poll: Annotated[timedelta, PlainValidator(duration("1s", "1d"))] = timedelta(minutes=10)
    missing_after: Annotated[timedelta, PlainValidator(duration("1s", "7d"))] = timedelta(hours=24)

    @check("mailboxes")
    @classmethod
    def _differ(cls, mailboxes: tuple[Canary, ...]) -> tuple[Canary, ...]:
        unique(mailboxes, "address", "ほかの行と重ならないアドレス", "an address that no other entry has")
        return mailboxes
