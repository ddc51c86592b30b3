"""What strangers wrote, on a terminal: shown, and never obeyed.

Names, titles, bounces and file names enter; text leaves without the control characters that move a cursor,
change a title bar or paste a command, and without Rich's markup.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ODD_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """The text with its lines and tabs, and U+FFFD for every other control character.

    >>> harmless("a\\x1b]0;b\\n\\tc")
    'a\ufffd]0;b\\n\\tc'
    """
    if text.isprintable():
        return text
    return "".join("\ufffd" if _steers(letter) else letter for letter in text)


def _steers(letter: str) -> bool:
    # isprintable is false for odd blanks too, which harm nobody
    return letter not in "\n\t" and (letter < " " or "\x7f" <= letter <= "\x9f" or letter in _BIDI)


def cell(text: str) -> str:
    """One cell of a line: neither a tab nor a line end, which would make another cell or line of it."""
    return harmless(text) if text.isprintable() else " ".join(harmless(text).split())


def say(text: str) -> None:
    """Lines on standard output."""
    typer.echo(harmless(text))


def show(
    columns: Iterable[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    nothing: str,
    line_after: int = 0,
) -> None:
    """A table on a terminal, tab-separated lines in a pipe. `columns` are Japanese and English headings;
    `nothing` is said on a terminal when there are no rows; a line is drawn below row `line_after`."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(map(cell, row)))
        return
    if not rows:
        typer.echo(nothing)
        return
    table = Table(*(f"{ja}\n{en}" for ja, en in columns))
    for place, row in enumerate(rows, start=1):
        table.add_row(*(Text(cell(text)) for text in row), end_section=place == line_after)
    Console().print(table)


def in_json(text: str) -> str:
    """A JSON document with what its own escapes leave as it is, written as escapes too."""
    return _ODD_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
