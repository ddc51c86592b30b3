"""Bytes of a CSV file -> records, one at a time, in flat memory. Damage is a Fault of its record.

Decides the encoding, decodes strictly, splits into cells (RFC 4180). Knows no column and no library. A line
that is damaged costs that line: reading goes on with the next one.
"""

from __future__ import annotations

import codecs
import csv
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from holds_core.errors import BadInput
from holds_core.feeds.faults import Fault
from holds_core.feeds.opened import open_plain

MAX_SIZE = 512 * 1024 * 1024
"""Octets. A row has about 150: this is a library system of three million patrons, or the wrong file."""
MAX_LINE = 64 * 1024
"""Octets of one line; a longer one is damage (ends of lines lost), and would fill the memory."""
_BLOCK = 1 << 20


class Encoding(StrEnum):
    """How the file's text is stored. `AUTO` looks at all of it first."""

    AUTO = "auto"
    UTF_8 = "utf-8"
    CP932 = "cp932"


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one row. `line` is where it begins, counted from 1.

    With a `fault` the cells are only a guess: good for knowing whose row it was, for nothing else.
    """

    line: int
    cells: list[str]
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of text with its end."""

    number: int
    text: str
    fault: Fault | None = None


def sniff(path: Path) -> Encoding:
    """The encoding of the file: UTF-8 if all of it is, else CP932, else whichever fits more lines.

    Text in CP932 is practically never valid UTF-8, while UTF-8 often passes for CP932; so the order
    matters. Raises BadInput for UTF-16, which no line of the file would survive, and for a workbook.
    """
    with open_plain(path) as file:
        start = file.read(4)
        if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            raise BadInput(
                "Excel のブックです。「CSV (コンマ区切り)」で保存してください。 / "
                "the file is an Excel workbook; save it as CSV"
            )
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
            raise BadInput(
                "UTF-16 で保存されています。UTF-8 か Shift_JIS (CP932) で保存してください。 / "
                "the file is UTF-16; save it as UTF-8 or CP932"
            )
        if start.startswith(codecs.BOM_UTF8) or _decodes(file, Encoding.UTF_8):
            return Encoding.UTF_8
        if _decodes(file, Encoding.CP932):
            return Encoding.CP932
        return _by_majority(file)


def _decodes(file: BinaryIO, encoding: Encoding) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding.value)("strict")
    try:
        while block := file.read(_BLOCK):
            text = decoder.decode(block)
            if encoding is Encoding.CP932 and not _UNUSED.isdisjoint(text):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


_UNUSED = frozenset("\x80\uf8f0\uf8f1\uf8f2\uf8f3")
"""What Python's codec makes of 80, A0, FD, FE and FF, which are no characters of CP932."""


def _by_majority(file: BinaryIO) -> Encoding:
    file.seek(0)
    utf_8 = cp932 = 0
    for line in _physical_lines(file):
        if not line.isascii():
            utf_8 += _as(line, Encoding.UTF_8) is not None
            cp932 += _as(line, Encoding.CP932) is not None
    return Encoding.UTF_8 if utf_8 >= cp932 else Encoding.CP932


def _as(line: bytes, encoding: Encoding) -> str | None:
    try:
        return _decode(line, encoding)
    except UnicodeDecodeError:
        return None


def _decode(line: bytes, encoding: Encoding) -> str:
    """The text of a line. Raises UnicodeDecodeError with the place of the first octet that does not fit."""
    text = line.decode(encoding.value)
    if encoding is Encoding.CP932 and not _UNUSED.isdisjoint(text):
        at = next(place for place, character in enumerate(text) if character in _UNUSED)
        octets = len(text[:at].encode("cp932"))
        raise UnicodeDecodeError("cp932", line, octets, octets + 1, "no character")
    return text


def check_size(path: Path) -> None:
    """Before anything of a file is read. Raises BadInput beyond MAX_SIZE."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > MAX_SIZE:
        raise BadInput(
            f"ファイルが大きすぎます ({size / 1e6:,.0f} MB、上限 {MAX_SIZE / 1e6:,.0f} MB)。 / "
            f"the file is too large: {size / 1e6:,.0f} MB, at most {MAX_SIZE / 1e6:,.0f} MB"
        )


def records(path: Path, encoding: Encoding, delimiter: str) -> Iterator[Record]:
    """The file's rows in order; empty lines are passed over. `encoding` may be AUTO.

    Raises BadInput if the file as a whole cannot be a snapshot (UTF-16, a workbook, beyond MAX_SIZE).
    """
    check_size(path)
    known = sniff(path) if encoding is Encoding.AUTO else encoding
    with open_plain(path) as file:
        yield from _Splitter(_decoded(file, known, delimiter), delimiter)


def _physical_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends. One beyond MAX_LINE comes cut to MAX_LINE + 1 octets, its rest is dropped."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(_BLOCK)


def _decoded(file: BinaryIO, encoding: Encoding, delimiter: str) -> Iterator[_Line]:
    """Numbered lines of text. Neither encoding has a line feed, quote or comma inside a character."""
    for number, line in enumerate(_physical_lines(file), start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if len(line) > MAX_LINE:
            yield _Line(number, line.decode(encoding.value, "replace") + "\n", Fault(number, 0, "", *_LONG))
            continue
        try:
            text = _decode(line, encoding)
        except UnicodeDecodeError as error:
            column = line.count(delimiter.encode(), 0, error.start) + 1
            fault = Fault(number, column, "", *_undecodable(line, error.start, encoding))
            yield _Line(number, line.decode(encoding.value, "replace"), fault)
            continue
        if "\0" in text:
            column = text.count(delimiter, 0, text.index("\0")) + 1
            yield _Line(number, text.replace("\0", ""), Fault(number, column, "", *_NUL))
        elif encoding is Encoding.CP932 and _is_stray_utf_8(line):
            first = next(place for place, octet in enumerate(line) if octet > 0x7F)
            column = line.count(delimiter.encode(), 0, first) + 1
            yield _Line(number, line.decode(), Fault(number, column, "", *_MIXED))
        else:
            yield _Line(number, text)


_LONG = (
    f"1行が長すぎます (上限 {MAX_LINE:,} バイト)。",
    f"the line is longer than {MAX_LINE:,} bytes",
)
_NUL = ("NUL 文字があります。", "a NUL character")
_MIXED = (
    "この行だけ UTF-8 のようです (ほかの行は CP932)。文字コードを揃えてください。",
    "this line is UTF-8 in a file of CP932; use one encoding",
)


def _undecodable(line: bytes, at: int, encoding: Encoding) -> tuple[str, str]:
    name = {Encoding.UTF_8: "UTF-8", Encoding.CP932: "CP932"}[encoding]
    other = Encoding.CP932 if encoding is Encoding.UTF_8 else Encoding.UTF_8
    mixed = not line.isascii() and _as(line, other) is not None
    hint_ja = "この行だけ別の文字コードのようです。" if mixed else ""
    hint_en = f"; the line looks like {'CP932' if other is Encoding.CP932 else 'UTF-8'}" if mixed else ""
    return (
        f"{at + 1}バイト目が {name} として読めません。{hint_ja}",
        f"byte {at + 1} of the line is not {name}{hint_en}",
    )


def _is_stray_utf_8(line: bytes) -> bool:
    """Whether a line that passed for CP932 is Japanese in UTF-8 (「予約」 would show as 「莠育ｴ�」).

    Half-width katakana in CP932 may happen to be valid UTF-8, but of two octets a character, which is no
    Japanese; so a character from U+3000 on must be there.
    """
    if line.isascii():
        return False
    text = _as(line, Encoding.UTF_8)
    return text is not None and any(character >= "\u3000" for character in text)


class _Splitter:
    """Lines -> records. A quote that is never closed would swallow the rest of the file as one cell; so
    when a record of several lines is damaged, only its first line is given up and the others are read again.
    """

    def __init__(self, lines: Iterator[_Line], delimiter: str) -> None:
        self._lines, self._delimiter = lines, delimiter
        self._again: deque[_Line] = deque()
        self._record: list[_Line] = []
        self._size = 0

    def __iter__(self) -> Iterator[Record]:
        reader = self._new_reader()
        width = 0
        while True:
            self._record.clear()
            self._size = 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._give_up(*_said(str(error)))
                reader = self._new_reader()
                continue
            if not any(cells) or cells == [_DOS_END]:
                continue
            width = width or len(cells)
            if len(self._record) > 1 and len(cells) != width:
                yield self._give_up(*_QUOTE)
                reader = self._new_reader()
                continue
            fault = next((line.fault for line in self._record if line.fault), None)
            yield Record(self._record[0].number, cells, fault)

    def _new_reader(self) -> Iterator[list[str]]:
        # strict: a record that the lines end within is an error, and so are letters behind a closing quote
        return csv.reader(self._pull(), delimiter=self._delimiter, strict=True)

    def _pull(self) -> Iterator[str]:
        """Lines for the reader; ends within a record that does not end."""
        while True:
            line = self._again.popleft() if self._again else next(self._lines, None)
            if line is None:
                return
            self._record.append(line)
            self._size += len(line.text)
            if self._size > 2 * MAX_LINE:
                return
            yield line.text

    def _give_up(self, ja: str, en: str) -> Record:
        """The record's first line is lost; the others are read again, as records of their own."""
        first = self._record[0]
        self._again.extendleft(reversed(self._record[1:]))
        cells = [cell.strip('"') for cell in first.text.rstrip("\r\n").split(self._delimiter)]
        return Record(first.number, cells, first.fault or Fault(first.number, 0, "", ja, en))


_DOS_END = "\x1a"
"""What DOS programs write behind the last line."""
_QUOTE = ('引用符 (") の対応が取れません。', 'a quotation mark (") has no partner')
_CR = (
    "改行コードが CR だけです。CR LF か LF で保存してください。",
    "lines end with CR alone; save the file with CR LF or LF",
)


def _said(error: str) -> tuple[str, str]:
    """The csv module's errors in our words; all others of a strict reader concern quotation marks."""
    return _CR if "new-line" in error else _QUOTE
