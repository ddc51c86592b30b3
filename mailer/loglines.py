"""What keeps a line of the log one line, and private, whoever wrote its words.

Enters what is about to be written: facts, an exception, a library's own record. Leaves text without control
characters, and without an exception's message, which quotes what was being worked on: an address, a title, a
row. Where it happened and what kind of error it was remain, and those are what a programmer needs.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""C0, DEL and C1 move a terminal's cursor and end lines; the last ones turn the order of letters round."""
_FRAMES: Final = 12
_ADDRESS: Final = re.compile(r"[^\s@<>()\[\]\"',;:=]+@[^\s@<>()\[\]\"',;:]+")


def plain(text: str) -> str:
    """One line that cannot steer a terminal; what was a control character is shown as its number.

    >>> plain("a\\nlevel=error \\x1b[2J")
    'a\\\\x0alevel=error \\\\x1b[2J'
    """
    return text if text.isprintable() else _STEERING.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def place(error: BaseException) -> str:
    """Where an error came from, innermost first, and the kinds of those that led to it; never their words.

    >>> try:
    ...     {}["hanako@example.jp"]
    ... except KeyError as error:
    ...     "hanako" in place(error), place(error).startswith("KeyError at ")
    (False, True)
    """
    return "; caused by ".join(_places(error))


def _places(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)[-_FRAMES:]
        steps = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
        yield f"{_kind(current)} at {' < '.join(steps) or 'nowhere'}"
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _kind(error: BaseException) -> str:
    """The class, and of an error of the system's its number's name: `OSError ENOSPC` is worth knowing."""
    number = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{type(error).__name__} {number}".strip()


# -- our own lines -----------------------------------------------------------------------------------


def without_words(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: `exc_info` becomes `place`."""
    given = line.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        line["place"] = place(error)
    return line


def without_controls(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: every text in the line is plain."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            line[name] = plain(value)
    return line


# -- libraries' lines, and the end of the process ----------------------------------------------------


class LibraryFormat(logging.Formatter):
    """A library's record as one line: its logger, its words without what was put into them, and the place of
    its error. What a library puts in may be a mail, a command or a row."""

    def format(self, record: logging.LogRecord) -> str:
        words = str(record.msg).partition("\n")[0]
        said = plain(_ADDRESS.sub("***", words))[:200].replace('"', "'")
        line = f'level={record.levelname.lower()} event=library logger={plain(record.name)} said="{said}"'
        error = record.exc_info[1] if record.exc_info else None
        return f'{line} place="{place(error)}"' if error is not None else line


def last_words(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """For `sys.excepthook`: a program that ends by an error of ours names its place and quotes nothing."""
    del where
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\n")
        return
    sys.stderr.write(f"プログラムの誤りです / an error of the program: {place(error)}\n")
