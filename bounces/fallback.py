"""flufl.bounce as the last detector: it knows old and rare formats by heart, but gives addresses only.

Its errors stay here: one of its detectors raising costs this mail's fallback, nothing else.
"""

from __future__ import annotations

import email
import logging
from email.policy import compat32
from typing import Final

from flufl.bounce import all_failures

from bounces.letter import Draft, Finding, clean_address

MAX_BYTES: Final = 24 * 1024
MAX_LINE: Final = 200
MAX_LINES: Final = 600
"""What the fallback may see. Some of its expressions take time with the square of a line's length, and the
standard library's parser has no limits of its own."""
MAX_RECIPIENTS: Final = 100

# It logs the traceback of a failing detector, which may quote the mail; that is contained here instead.
logging.getLogger("flufl.bounce").addHandler(logging.NullHandler())
logging.getLogger("flufl.bounce").propagate = False


def fallback(raw: bytes) -> Finding | None:
    """What flufl.bounce finds in a mail, with its line ends made LF and cut to the limits above."""
    lines = raw[:MAX_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    text = b"\n".join(line[:MAX_LINE] for line in lines[:MAX_LINES])
    try:
        temporary, permanent = all_failures(email.message_from_bytes(text, policy=compat32))
    except Exception:  # whatever a third party's detector raises on hostile input
        return None
    drafts = [Draft(address, action="failed") for address in _addresses(permanent)]
    drafts += [Draft(address, action="delayed") for address in _addresses(temporary)]
    return Finding("flufl.bounce", drafts[:MAX_RECIPIENTS]) if drafts else None


def _addresses(found: object) -> list[str]:
    """flufl gives sets of bytes or str; junk without an @ is dropped."""
    if not isinstance(found, set | frozenset):
        return []
    names = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in found]
    return sorted({clean_address(name) for name in names if "@" in name and len(name) < 400})
