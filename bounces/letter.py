"""One mail as detectors see it: who sent it, what it says, what it brings along.

In goes the `Part` tree of `bounces.mime`; a detector takes a `Letter` and returns drafts of recipients.
Nothing here decides whether a mail is a bounce.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from bounces.mime import Headers, Part, as_octets, decode_words, parse_entity
from holds_core.notices import Phase

MAX_NOTICE: Final = 32 * 1024
"""Characters of human-readable text that detectors look at."""

ADDRESS: Final = (
    r"(?:\"[^\"\s@<>]{1,64}\"|[^\s<>()\[\]\\\",;:@'`]{1,128})"
    r"@(?:[A-Za-z0-9_\-]{1,63}\.){1,10}[A-Za-z0-9\-]{1,63}"
)
"""An address as reports print it: local parts may break every rule (`a..b@`, `.a@`, `"a."@`)."""

_ADDRESS = re.compile(ADDRESS)
_TAG = re.compile(r"<[a-z/!][^<>]{0,2000}>", re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li|p)\b[^<>]{0,200}>", re.IGNORECASE)
_ENTITY = {"&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&nbsp;": " ", "&#39;": "'", "&#64;": "@"}

_ORIGINAL_MARK = re.compile(
    # qmail, Exim, Courier, Sendmail, Notes, Exchange, Yahoo and many gateways: a line of dashes with words
    r"^[ \t|]*-{3,} ?(?:"
    r"below (?:this|the next) line|this is a copy of|undelivered message|message headers?|header|"
    r"(?:original|unsent|returned|unmodified|forwarded|the original|your original) (?:message|mail|header)|"
    r"(?:the )?(?:header|body|text) of (?:the |your )?(?:original )?(?:message|mail)|message text|"
    r"(?:begin|start|enclosed|the following).{0,40}(?:message|header)|here is|"
    r"your (?:original )?(?:message|mail)|mensaje original|attachment is a copy|copy of the).*$|"
    # the same without dashes: a sentence of its own
    r"^[ \t]*(?:"
    r"(?:below is|this is|here is|included is|the following is)(?: a copy of)? (?:the|your) "
    r"(?:original )?(?:message|first|header).*|"
    r"(?:the )?(?:unsent|original|returned) (?:message|mail)(?: headers?)?(?: as received)?(?: is)?(?: as)? ?"
    r"(?:follows|below)?[:.]? ?|"
    r"(?:your |the )?(?:original )?message (?:text |headers? )?follows.*|"
    r"(?:the )?(?:headers|first .{0,20}lines|beginning) of (?:the|your) (?:original )?message.*|"
    r"your (?:original )?message (?:reads|begins|follows).*|"
    r"a copy of (?:the|your) (?:original )?message.*|"
    r"original mail as follows.*)$|"
    # or the quoted header itself
    r"^(?:received|return-path|x-envelope-from|message-id|mime-version):[ \t].*$",
    re.IGNORECASE | re.MULTILINE,
)
"""Where a report in plain text stops speaking and starts to quote the mail it is about."""

_ENCODINGS: Final = frozenset({"base64", "quoted-printable"})
_ORIGINAL_TYPES: Final = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/rfc822-headers",
        "text/rfc822-headers",
        "text/rfc822-header",
        "text/rfc822",
        "message/global-headers",
        "message/partial",
    }
)


@dataclass(slots=True)
class Draft:
    """A recipient as a detector found it, before status, code and reason are worked out."""

    address: str
    original: str = ""
    action: str = ""
    status: str = ""
    text: str = ""
    remote: str = ""
    phase: Phase | None = None
    hint: str = ""
    """A reason that the format itself states; it wins over the tables."""


@dataclass(slots=True)
class Finding:
    """What one detector says: its name and a draft for each recipient."""

    detector: str
    drafts: list[Draft] = field(default_factory=list)


class Letter:
    """The mail and its parts by role. All properties are computed once, when first asked for."""

    def __init__(self, top: Part) -> None:
        self.top = top
        self.headers: Headers = top.headers
        self.leaves: list[Part] = list(top.leaves())

    @cached_property
    def subject(self) -> str:
        return decode_words(self.headers.get("subject")[:2000]).strip()

    @cached_property
    def sender(self) -> str:
        """The From field as it is shown, decoded."""
        return decode_words(self.headers.get("from")[:2000]).strip()

    @cached_property
    def from_address(self) -> str:
        return find_address(self.headers.get("from"))

    @cached_property
    def statuses(self) -> list[str]:
        """The delivery-status parts of this mail; not those in mails that are attached to it."""
        kinds = ("message/delivery-status", "message/global-delivery-status")
        return [p.text for p in self.leaves if p.type in kinds]

    def leaf(self, kind: str) -> Part | None:
        return next((p for p in self.leaves if p.type == kind), None)

    @cached_property
    def body_text(self) -> str:
        """All human-readable text of the mail in front of the first attached mail, decoded."""
        texts: list[str] = []
        size = 0
        for part in self.leaves:
            if part.type in _ORIGINAL_TYPES or size > MAX_NOTICE:
                break
            if part.type == "text/html":
                if not texts:
                    texts.append(strip_html(part.text))
            elif part.type.startswith(("text/", "multipart/")):  # a multipart leaf lost its boundary
                texts.append(part.text)
            size = sum(map(len, texts))
        return "\n".join(texts)[:MAX_NOTICE]

    @cached_property
    def _cut(self) -> tuple[str, str]:
        """Notice and quoted original of a report that is one text."""
        match = _ORIGINAL_MARK.search(self.body_text, 1)
        if match is None:
            return self.body_text, ""
        return self.body_text[: match.start()], self.body_text[match.start() :]

    @property
    def notice(self) -> str:
        """What the sending machine says in its own words, without the mail it quotes."""
        return self._cut[0]

    @cached_property
    def lower_notice(self) -> str:
        """`notice` in lower case; of equal length, so that places in one are places in the other."""
        lower = self.notice.lower()
        return lower if len(lower) == len(self.notice) else self.notice

    @cached_property
    def original(self) -> Part | None:
        """The mail that the report is about, or its headers, if it came along in any form."""
        for part in self.leaves:
            if part.type in _ORIGINAL_TYPES:
                encoded = part.headers.get("content-transfer-encoding").strip().lower() in _ENCODINGS
                entity = parse_entity(as_octets(part.text) if encoded else part.body)
                if len(entity.headers):
                    return entity
        quoted = self._cut[1]
        if not quoted:
            return None
        start = re.search(r"^[!-9;-~]+: ", quoted, re.MULTILINE)
        return parse_entity(as_octets(quoted[start.start() :])) if start else None


def find_address(text: str) -> str:
    """The first address in a header value, in lower case; the one in angle brackets if there is one."""
    angle = re.search(rf"<({ADDRESS})>", text[:4000])
    if angle:
        return clean_address(angle.group(1))
    match = _ADDRESS.search(text[:4000])
    return clean_address(match.group()) if match else ""


def find_addresses(text: str) -> list[str]:
    return [clean_address(a) for a in _ADDRESS.findall(text[:8000])]


def clean_address(text: str) -> str:
    """Lower case, without brackets; `"a."@x` becomes `a.@x`: relays quote what patrons really have."""
    address = text.strip().strip("<>").rstrip(".").lower()
    local, at, domain = address.rpartition("@")
    if len(local) > 2 and local[0] == local[-1] == '"' and '"' not in local[1:-1] and "\\" not in local:
        local = local[1:-1]
    return local + at + domain


def _without(text: str, name: str) -> str:
    """The text without the elements of one name; one that is never closed ends the text."""
    kept = []
    position = 0
    for opening in re.finditer(f"<{name}\\b", text, re.IGNORECASE):
        if opening.start() < position:
            continue
        kept.append(text[position : opening.start()])
        closing = re.compile(f"</{name}[^<>]{{0,20}}>", re.IGNORECASE).search(text, opening.end())
        if closing is None:
            return "".join(kept)
        position = closing.end()
    return "".join(kept) + text[position:]


def strip_html(text: str) -> str:
    """Text of an HTML part, with line breaks where a reader sees them. Good enough to find words in."""
    text = text[: MAX_NOTICE * 2]
    for name in ("style", "script"):
        text = _without(text, name)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    for entity, character in _ENTITY.items():
        text = text.replace(entity, character)
    return text
