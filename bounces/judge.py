"""From what a report says of one recipient to code, status, phase and verdict.

In goes a `Draft` with the letter it was found in; out comes `Judged`. The meaning of words and codes is
`holds_core.reasons`' business; here is decided which words are about this recipient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from bounces.context import find_phase, find_remote, hint, paragraph, stated, transcript_phase
from bounces.letter import Draft, Letter
from holds_core.notices import Phase
from holds_core.reasons import Reason, Verdict, classify, verdict

MAX_SAID: Final = 1000
"""Characters kept of what a server said of one recipient."""
MAX_WHOLE: Final = 4000
"""Characters of the notice that are read where nothing is said of the recipient itself."""

ARRIVED: Final = frozenset({"delivered", "relayed", "expanded"})
"""RFC 3464 section 2.3.3: actions that report no failure."""

_CODE = re.compile(r"(?<![\d.\[])([45]\d\d)(?=[ \-#:,]|$)")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_VAGUE = frozenset({Reason.UNDEFINED, Reason.ONHOLD})


@dataclass(frozen=True, slots=True)
class Judged:
    """`text` is the server's answer in one line, `code` the SMTP reply code, `status` RFC 3463's or ""."""

    text: str
    code: int | None
    status: str
    remote: str
    phase: Phase | None
    verdict: Verdict


def judge(letter: Letter, draft: Draft, reporter: str, *, alone: bool) -> Judged:
    """`reporter` is the reporting server's name; `alone`: the report is about nobody else, so that all
    its words are about this recipient."""
    around = paragraph(letter.notice, letter.lower_notice, draft.address)
    text = " ".join((draft.text or around)[:MAX_SAID].split())
    wrapper = _WRAPPER.match(text)
    answer = text[wrapper.end() :] if wrapper else text
    code = _CODE.search(answer)
    number = int(code.group(1)) if code else None
    status = _best_status(draft.status, text, answer)
    remote = draft.remote or find_remote(around)
    phase = _phase(letter, draft, text, around, alone)
    ask = partial(
        classify,
        phase=phase,
        code=number,
        status=status,
        remote=f"{remote} {reporter}",
        recipient=draft.address,
    )
    return Judged(text, number, status, remote, phase, _meaning(letter, draft, answer, ask, alone))


def _meaning(letter: Letter, draft: Draft, text: str, ask: Callable[..., Verdict], alone: bool) -> Verdict:
    """What the format itself states counts first, then what is said of the recipient; if that is vague,
    the whole notice; a warning that says nothing is a delay."""
    if draft.action in ARRIVED:
        return verdict(Reason.DELIVERED)
    if reason := draft.hint or hint(letter.lower_notice) or _spam_mark(letter):
        return verdict(Reason(reason), temporary=draft.status.startswith("4"))
    found = stated(letter.notice, letter.lower_notice)
    texts = [*([found] if found else []), text, *([letter.notice[:MAX_WHOLE]] if alone else [])]
    vague = None
    for words in texts:
        answer = ask(text=words)
        if answer.reason not in _VAGUE:
            return answer
        vague = vague or answer
    return verdict(Reason.EXPIRED) if draft.action == "delayed" or vague is None else vague


def _spam_mark(letter: Letter) -> str:
    """au marks mail that a patron's filter refused in the header of what it sends back."""
    original = letter.original
    return "filtered" if original and original.headers.get("x-spasign").strip().upper() == "NG" else ""


def _phase(letter: Letter, draft: Draft, text: str, around: str, alone: bool) -> Phase | None:
    notice = letter.notice[:MAX_WHOLE]
    phase = find_phase(text) or find_phase(around) or transcript_phase(notice, draft.address)
    return find_phase(notice) if phase is None and alone else phase


_WRAPPER = re.compile(r"^\d\.\d\.\d - [A-Za-z ]{1,60}(?=\d{3}-')")
"""Cisco's gateway and Amazon SES put a class of their own in front of the answer that they quote:
"5.1.0 - Unknown address error 550-'5.7.1 …'"."""


def _best_status(field: str, text: str, answer: str) -> str:
    """The Status field, unless it is a mere x.0.0 and the server's words hold a code that says more; of a
    wrapped answer, its own code. `answer` is `text` without a wrapper."""
    if answer is not text and (inner := _STATUS.search(answer)):
        return inner.group(1)
    if field and not field.endswith(".0.0"):
        return field
    named = _STATUS.findall(text)
    exact = next((s for s in named if not s.startswith("2") and not s.endswith(".0.0")), "")
    return exact or field or next(iter(named), "")
