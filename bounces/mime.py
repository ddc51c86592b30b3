"""A tolerant, bounded MIME reader: bytes in, a tree of `Part` out.

It never raises and never recurses without a limit: at most `MAX_BYTES` of a mail are read, `MAX_PARTS`
parts, `MAX_DEPTH` levels, `MAX_HEADER` characters of a header block. Line ends of every kind become LF.
Bodies stay undecoded until `Part.text` is asked for. It reads mail to find what a report says; it is
no general MIME library and writes nothing.

Inside, a mail is a str with one character per octet (latin-1), which is as fast as bytes and lets one
regular expression serve everywhere.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_BYTES: Final = 512 * 1024
"""Octets read of a mail. A report says what it has to say before it quotes the original."""
MAX_HEADER: Final = 64 * 1024
MAX_PARTS: Final = 64
MAX_DEPTH: Final = 6
MAX_TEXT: Final = 64 * 1024
"""Characters decoded of one part."""

_FIELD = re.compile(r"^([!-9;-~]+)[ \t]*:[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_FOLD = re.compile(r"\n[ \t]+")
_PARAMETER = re.compile(r";\s*([a-z0-9*_-]+)\s*=\s*(?:\"([^\"]{0,500})\"|([^;\s]{0,500}))", re.IGNORECASE)
_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9_.:-]{1,40})(?:\*[A-Za-z-]{1,20})?\?([BbQq])\?([^?\n]{0,2000})\?=")
_ADJACENT = re.compile(r"(\?=)\s+(?==\?)")
_LOST_BOUNDARY = re.compile(
    r"^--([^\s-][^\n]{0,200}?)[ \t]*\n(?=content-[a-z]+[ \t]*:)", re.IGNORECASE | re.MULTILINE
)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")

_CHARSETS: Final = {
    "usascii": "utf-8",
    "ascii": "utf-8",
    "utf8": "utf-8",
    "utf8mb4": "utf-8",
    "iso88591": "cp1252",
    "latin1": "cp1252",
    "windows1252": "cp1252",
    "cp1252": "cp1252",
    "iso885915": "iso8859-15",
    "iso88592": "iso8859-2",
    "windows1250": "cp1250",
    "windows1251": "cp1251",
    "iso88595": "iso8859-5",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "iso2022jp": "iso2022_jp_ext",
    "iso2022jp1": "iso2022_jp_ext",
    "iso2022jp2": "iso2022_jp_2",
    "iso2022jpms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "shiftjis": "cp932",
    "sjis": "cp932",
    "xsjis": "cp932",
    "windows31j": "cp932",
    "cp932": "cp932",
    "mskanji": "cp932",
    "eucjp": "euc_jp",
    "xeucjp": "euc_jp",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
    "euckr": "cp949",
    "ksc56011987": "cp949",
}
"""Charset names that mail uses, letters and digits only, to codecs of ours. A closed list, because the
codec registry also knows `punycode`, `zip` and other names that a hostile mail must not choose."""


class Headers:
    """A header block: names in lower case, values unfolded, in order."""

    __slots__ = ("_fields",)

    def __init__(self, block: str) -> None:
        fields: dict[str, list[str]] = {}
        for name, value in _FIELD.findall(block[:MAX_HEADER]):
            if "\n" in value:
                value = _FOLD.sub(" ", value)
            fields.setdefault(name.lower(), []).append(value.rstrip())
        self._fields = fields

    def get(self, name: str) -> str:
        """The first value of the field `name` (lower case), or ""."""
        values = self._fields.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def items(self) -> Iterator[tuple[str, str]]:
        """Every field, in the order in which its name came first."""
        return ((name, value) for name, values in self._fields.items() for value in values)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(slots=True)
class Part:
    """One MIME entity. `body` is undecoded, one character per octet; `parts` is empty but for multiparts."""

    headers: Headers
    body: str
    type: str
    parameters: dict[str, str]
    depth: int
    parts: list[Part] = field(default_factory=list)
    _text: str | None = None

    @property
    def text(self) -> str:
        """The body with transfer encoding and charset undone; at most MAX_TEXT characters."""
        if self._text is None:
            self._text = _decode_body(self)
        return self._text

    def leaves(self) -> Iterator[Part]:
        """The parts that hold text or attachments, in order; attached mails are leaves."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


@dataclass(slots=True)
class _Budget:
    parts: int = MAX_PARTS


def parse(raw: bytes) -> Part:
    """Reads one mail. Works on anything: what is no mail becomes a part without headers."""
    text = raw[:MAX_BYTES].decode("latin-1")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.lstrip("\n")
    if text.startswith(("From ", ">From ")):  # the line that mbox files and some forwarders leave on top
        text = text.partition("\n")[2]
    return _parse(text, 0, _Budget(), "text/plain")


def as_octets(text: str) -> str:
    """Decoded text back in the form that `parse_entity` takes: one character per octet, of its UTF-8."""
    return text.encode("utf-8", "replace").decode("latin-1")


def parse_entity(text: str) -> Part:
    """Reads an attached mail or header block that was cut out of another; it gets a budget of its own."""
    return _parse(text.lstrip("\n"), 0, _Budget(), "text/plain")


def _parse(text: str, depth: int, budget: _Budget, default_type: str) -> Part:
    if text.startswith("\n"):  # no header at all: RFC 2046 section 5.1 allows that for a body part
        head, body = "", text[1:]
    else:
        end = text.find("\n\n")
        head, body = (text, "") if end < 0 else (text[:end], text[end + 2 :])
    headers = Headers(head)
    content_type = headers.get("content-type")
    kind, parameters = parse_content_type(content_type, default_type)
    part = Part(headers, body, kind, parameters, depth)
    if depth < MAX_DEPTH and (
        kind.startswith("multipart/") or (depth == 0 and _lost_its_header(content_type, body))
    ):
        child_type = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        for piece in _split(body, _boundary(parameters, body), budget):
            part.parts.append(_parse(piece, depth + 1, budget, child_type))
    return part


def _lost_its_header(content_type: str, body: str) -> bool:
    """A report whose MIME header a gateway took away, with its parts still in the body."""
    return not content_type and "\ncontent-type: message/" in body[: 2 * MAX_TEXT].lower()


def _boundary(parameters: dict[str, str], body: str) -> str:
    """The declared boundary; where it is not in the body (rewritten by a gateway), the first line that
    looks like one."""
    boundary = parameters.get("boundary", "")
    if boundary and (body.startswith("--" + boundary) or "\n--" + boundary in body):
        return boundary
    lost = _LOST_BOUNDARY.search(body)
    return lost.group(1) if lost else boundary


def parse_content_type(value: str, default: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case and its parameters (RFC 2045 section 5.1), however badly written."""
    kind = value.partition(";")[0].strip().lower()
    if "/" not in kind:
        kind = default
    parameters: dict[str, str] = {}
    if ";" in value:
        for name, quoted, bare in _PARAMETER.findall(value[:4000]):
            parameters.setdefault(name.lower(), quoted or bare)
    return kind, parameters


def _split(body: str, boundary: str, budget: _Budget) -> Iterator[str]:
    """The pieces between the boundary lines (RFC 2046 section 5.1.1); the last may lack its end line."""
    if not boundary:
        return
    mark = "\n--" + boundary
    body = "\n" + body
    start = body.find(mark)
    while start >= 0 and budget.parts > 0:
        begin = start + len(mark)
        if body.startswith("--", begin):
            return
        begin = body.find("\n", begin)
        if begin < 0:
            return
        start = body.find(mark, begin)
        budget.parts -= 1
        yield body[begin + 1 : start] if start >= 0 else body[begin + 1 :]


def _decode_body(part: Part) -> str:
    body = part.body[: MAX_TEXT * 2]
    encoding = part.headers.get("content-transfer-encoding").strip().lower()
    if encoding == "base64":
        body = unbase64(body)
    elif encoding == "quoted-printable":
        body = binascii.a2b_qp(body.encode("latin-1")).decode("latin-1")
    if "\r" in body:
        body = body.replace("\r\n", "\n").replace("\r", "\n")
    return decode(body[:MAX_TEXT], part.parameters.get("charset", ""))


def unbase64(text: str) -> str:
    """RFC 4648 base64 to a str of octets, with whatever does not belong there dropped."""
    clean = _NOT_BASE64.sub("", text.partition("=\n\n")[0])
    return binascii.a2b_base64(clean[: len(clean) // 4 * 4] + _padding(clean)).decode("latin-1")


def _padding(clean: str) -> str:
    rest = len(clean) % 4
    return clean[len(clean) - rest :] + "=" * (4 - rest) if rest > 1 else ""


def decode(octets: str, charset: str) -> str:
    """A str of octets as text. The label is believed only if the octets fit it.

    EUC-JP and Shift_JIS labelled as ISO-2022-JP, and unlabelled Japanese, are common in reports.
    """
    escaped = "\x1b$" in octets or "\x1b(" in octets
    if octets.isascii() and not escaped:
        return octets
    raw = octets.encode("latin-1")
    named = _CHARSETS.get("".join(c for c in charset.lower() if c.isalnum()), "")
    order = ["iso2022_jp_ext"] if escaped else []
    if named and named not in order and not (named.startswith("iso2022") and not escaped):
        order.append(named)
    for codec in (*order, "utf-8"):
        try:
            return raw.decode(codec)
        except UnicodeDecodeError:
            continue
    return _guess(raw, named)


def _guess(raw: bytes, named: str) -> str:
    """Text that fits neither its label nor UTF-8: UTF-8 with a few broken letters (a text cut short), or
    Japanese under a wrong name, or whatever the label makes of it."""
    lossy = raw.decode("utf-8", errors="replace")
    if lossy.count("\ufffd") * 10 <= len(lossy):
        return lossy
    for codec in ("euc_jp", "cp932"):
        try:
            return raw.decode(codec)
        except UnicodeDecodeError:
            continue
    return raw.decode(named or "cp1252", errors="replace")


def decode_words(value: str) -> str:
    """A header value with its RFC 2047 encoded words, or its raw octets, turned into text."""
    if "=?" in value:
        return _ENCODED_WORD.sub(_decode_word, _ADJACENT.sub(r"\1", value))
    return decode(value, "")


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    if encoding in "bB":
        octets = unbase64(text)
    else:
        octets = binascii.a2b_qp(text.encode("latin-1", "replace"), header=True).decode("latin-1")
    return decode(octets, charset)
