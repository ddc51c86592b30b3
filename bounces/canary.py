"""The canary looker: where a mail of ours lies in a mailbox of the library's own at a provider.

In: a mailbox, its secret, Message-IDs. Out: for each mail that was found, inbox or junk. It reads nothing,
moves nothing and marks nothing: what a mailbox's owner does to mail is what a filter learns from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from bounces.imap import Connection, SecretSource
from bounces.mailbox import tls_context

ANSWER_S = 60.0
"""How long the server may be silent when asked."""


class Place(StrEnum):
    """Where a mail was found."""

    INBOX = "inbox"
    JUNK = "junk"


@dataclass(frozen=True, slots=True)
class CanaryBox:
    """Where the mailbox is. `junk` None takes the folder that the server marks as such (RFC 6154)."""

    host: str
    port: int
    tls: Literal["none", "implicit"]
    username: str
    secret: SecretSource
    inbox: str = "INBOX"
    junk: str | None = None
    verify: bool = True
    ca_file: Path | None = None
    answer: float = ANSWER_S


async def look(box: CanaryBox, message_ids: Sequence[str]) -> dict[str, Place]:
    """The mails of these Message-IDs (in angle brackets) that are there. Those that are not are left out.

    Raises Broken, LoginRefused, OSError (the file of authorities) and whatever `box.secret` raises.
    """
    logging.getLogger("aioimaplib").setLevel(logging.WARNING)  # below, it writes logins and whole answers
    secret = await box.secret()
    context = tls_context(box.tls, verify=box.verify, ca_file=box.ca_file)
    connection = Connection(box.host, box.port, context, box.answer)
    try:
        await connection.open(box.username, secret.text, token=secret.is_token)
        found = await _in_folder(connection, box.inbox, message_ids, Place.INBOX)
        left = [message_id for message_id in message_ids if message_id not in found]
        junk = box.junk or await connection.junk_folder()
        if left and junk:
            found |= await _in_folder(connection, junk, left, Place.JUNK)
        return found
    finally:
        await connection.close()


async def _in_folder(
    connection: Connection, folder: str, message_ids: Sequence[str], place: Place
) -> dict[str, Place]:
    await connection.select(folder)
    return {message_id: place for message_id in message_ids if await connection.has(message_id)}
