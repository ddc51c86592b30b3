"""Secrets stand in files and in the environment, and nowhere that somebody else may look."""

import re
from collections.abc import Iterator
from typing import cast

import click
import pytest
import typer

from mailer.app.cli import app


def commands(command: click.Command, path: str = "todoku") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


EVERY = dict(commands(cast(click.Command, typer.main.get_command(app))))


@pytest.mark.parametrize("path", EVERY)
def test_no_secret_is_an_argument(path: str) -> None:
    """What stands on a command line, everybody on the machine can read (`ps`)."""
    odd = [
        option
        for parameter in EVERY[path].params
        for option in (parameter.name or "", *parameter.opts)
        if re.search(r"pass|secret|token|credential", option)
        and not getattr(parameter, "is_flag", False)
        and parameter.type.name not in ("path", "file")
    ]
    assert odd == []
