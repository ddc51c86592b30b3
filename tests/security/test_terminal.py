"""What strangers wrote, shown by commands on a terminal: names, titles, mail that nobody could read."""

import asyncio
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from bounces.intake import Inbound
from mailer.app.commands import terminal
from mailer.clock import SystemClock
from tests.e2e.library import config, library
from tests.e2e.test_daemon import todoku

EVIL = "花\x1b]0;title\x07\x1b[2J\x9b31m子[/red]\u202e"
"""Sets the title bar, clears the screen, colours; and what Rich would take for markup of its own."""
STEERING = re.compile("\x1b[\\]P^_]|\x1b\\[2J|\x07|[\x80-\x9f\u202e]")
RAW = b"From: stranger@x.example\r\nSubject: \x1b]0;evil\x07\r\n\r\n\x1b[2J\xc2\x9b31m\xe8\x8a\xb1\r\n"


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a command writes to a terminal. It must end well."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen(
        todoku(folder, *arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    said = bytearray()
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert process.wait(60) == 0, said.decode("utf-8", "replace")
    return said.decode("utf-8", "replace")


@pytest.fixture
async def place(tmp_path: Path) -> Path:
    """A library whose patron, book and mail were named by somebody with ideas."""
    async with library(tmp_path, RELAY_PORT=9) as found:
        await found.event("patron", patron_id="P1", email="p@good.example", name=EVIL)
        await found.event("hold.shelved", hold_id="H1", patron_id="P1", title=EVIL, branch="main")
        await found.event("patron", patron_id="P2", name=EVIL)
        await found.event("hold.shelved", hold_id="H2", patron_id="P2", title=EVIL, branch="main")
        mail = Inbound(
            RAW, "lmtp", "stranger@x.example", ("x@lmtp.library.example",), SystemClock().now(), False, ""
        )
        await found.services.ingest.store(mail)
        await found.services.ingest.read_all()
    (tmp_path / "config.yaml").write_text(config(tmp_path, RELAY_PORT=9))
    return tmp_path


COMMANDS = (
    ("report",),
    ("explain", "patron:P1"),
    ("explain", "hold:H1", "--json"),
    ("calls",),
    ("batch", "--dry-run"),
    ("quarantine", "list"),
    ("quarantine", "show", "1"),
    ("export", "P1"),
)


async def test_no_command_lets_a_stranger_steer_the_terminal(place: Path) -> None:
    for command in COMMANDS:
        said = await asyncio.to_thread(on_a_terminal, place, *command)
        assert said.strip(), command
        assert not STEERING.search(said), (command, said)


async def test_in_a_pipe_a_mail_is_as_it_came(place: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run, todoku(place, "quarantine", "show", "1"), capture_output=True, check=True
    )
    assert done.stdout == RAW


def test_a_cell_is_one_cell() -> None:
    """A name with a line end would be a line of its own, with somebody else's number before it."""
    assert terminal.cell("花\n1\t子\x1b[2J") == "花 1 子\ufffd[2J"
    assert terminal.harmless("一行\n二行\t終\x07\u3000") == "一行\n二行\t終\ufffd\u3000"
