"""Tables as CSV that Excel opens rightly: UTF-8 with a byte order mark, CRLF, no cell that is a formula.

Pure: rows of text enter, a response leaves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from starlette.responses import Response

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""A cell that begins so is run by Excel or LibreOffice; what a patron typed as a name must not be."""


def cell(text: object) -> str:
    """The value as a cell: a formula becomes text by a leading apostrophe, line ends become blanks.

    >>> cell("=HYPERLINK(1)"), cell(3), cell(None)
    ("'=HYPERLINK(1)", '3', '')
    """
    said = "" if text is None else str(text)
    said = " ".join(said.replace("\x00", "").split("\n")).replace("\r", " ") if "\n" in said else said
    return f"'{said}" if said.lstrip(" \u3000").startswith(_FORMULA) else said


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(cell, header))
    writer.writerows([cell(value) for value in row] for row in rows)
    return b"\xef\xbb\xbf" + out.getvalue().encode("utf-8", "replace")


def download(content: bytes, media_type: str, name: str) -> Response:
    """`name` in ASCII."""
    return Response(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
