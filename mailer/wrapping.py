"""Lines of a mail's text made to fit a width. Pure: text in, text out.

For providers whose readers cut or squeeze long lines. Columns are those of a fixed font, where a kanji takes
two. Words and addresses are never broken, however long; of Japanese, lines neither begin nor end with what
the custom forbids (JIS X 4051, 行頭禁則・行末禁則).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_NOT_FIRST = frozenset(
    "、。，．,.・:;：；?!？！ー々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ)）」』】〉》〕]｝}…‥"
)
_NOT_LAST = frozenset("(（「『【〈《〔[｛{")
_PIECE = re.compile(r"[!-~]+|[ \u3000]+|.")
"""A run of ASCII (a word, an address, a URL), a run of spaces, or one character of anything else."""


def columns(text: str) -> int:
    """The width of `text` in columns; marks that sit on another character take none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WFA" else 1 for c in text
    )


def wrap(text: str, width: int) -> str:
    """`text` with every line of at most `width` columns, but for what may not be broken.

    A continued line keeps its line's indent; one that fits is left alone.
    """
    return "\n".join(part for line in text.split("\n") for part in _lines(line, width))


def _lines(line: str, width: int) -> Iterator[str]:
    if columns(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip(" \u3000"))]
    current = indent
    for piece in _unbroken(line[len(indent) :]):
        if current.strip() and columns(current + piece.rstrip()) > width:
            yield current.rstrip()
            current = indent
            piece = piece.lstrip()
        current += piece
    yield current.rstrip()


def _unbroken(text: str) -> Iterator[str]:
    """Pieces between which a line may end."""
    held = ""
    for found in _PIECE.finditer(text):
        piece = found[0]
        if held and not (piece[0] in _NOT_FIRST or held[-1] in _NOT_LAST or piece.isspace()):
            yield held
            held = ""
        held += piece
    if held:
        yield held
