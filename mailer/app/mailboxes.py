"""How mailboxes are opened: their settings enter, the options for the IMAP readers leave, and their secrets as
they are at the moment of each login.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bounces.imap import Secret
from bounces.mailbox import ImapOptions
from holds_core.settings import Canary, Imap
from holds_core.settings.secrets import read_secret

COMMAND_S = 60.0
"""How long a command may take to print a token."""


async def secret_of(box: Imap | Canary, password: str | None = None) -> Secret:
    """The secret as it is now: what the command prints, the token in its file, `password`, or that in its file.

    Raises OSError, TimeoutError among them, and ValueError.
    """
    if box.token_command is not None:
        return Secret(await _printed(shlex.split(box.token_command)), is_token=True)
    if box.token_file is not None:
        return Secret(await _read(box.token_file), is_token=True)
    if password is not None or box.password_file is None:
        return Secret(password or "")
    return Secret(await _read(box.password_file))


async def _read(file: Path) -> str:
    text = await asyncio.to_thread(read_secret, file)
    if not text.strip():
        raise ValueError(f"{file} is empty")
    return text


async def _printed(command: Sequence[str]) -> str:
    """What a command prints, without its line end. Its own errors go to the log of the service."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(COMMAND_S):
            out, _ = await process.communicate()
    except TimeoutError:
        raise TimeoutError(f"the token's command took longer than {COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    text = out.decode("utf-8", "replace").strip()
    if process.returncode or not text:
        raise ValueError(f"the token's command ended with {process.returncode}")
    return text


def imap_options(imap: Imap, password: str | None) -> ImapOptions:
    """For the reader; `password` is the one that was read with the settings."""
    return ImapOptions(
        host=imap.host,
        port=imap.port,
        tls="implicit" if imap.tls.value == "implicit" else "none",
        verify=imap.verify_tls,
        ca_file=imap.ca_file,
        username=imap.username,
        secret=lambda: secret_of(imap, password),
        folder=imap.folder,
        done_folder=imap.done_folder,
        poll=imap.poll,
    )
