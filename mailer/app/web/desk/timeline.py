"""A patron's story as lines that people read: what happened, when, in plain words.

Enters what the ledger remembers and what staff did; leaves lines, newest first. Titles and phone numbers in
an event's payload are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holds_core.ledger.desk_deeds import Deed
from holds_core.ledger.desk_patrons import Moment
from mailer.app.web.desk import words


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story. `tone`: event, mail, good, bad, staff, case."""

    at: datetime
    tone: str
    text: str
    detail: str = ""
    delivery_id: int | None = None
    inbound_id: int | None = None
    action_id: int | None = None
    undone: str = ""


def lines(
    moments: Iterable[Moment],
    deeds: Sequence[Deed],
    names: Mapping[str, str],
    language: str,
    branch_name: Callable[[str], str],
) -> list[Line]:
    """All lines, newest first. Evidence that staff gave is told by their own action, not twice."""
    pick = 1 if language == "en" else 0
    own = [moment for moment in moments if moment.detail.get("source") != "staff" or moment.type == "address"]
    told = [line for moment in own if (line := _line(moment, pick, branch_name)) is not None]
    told += [_deed(item, names, pick) for item in deeds]
    # sorting keeps the causes-first order of what happened at once; turned round, effects come first
    return sorted(told, key=lambda line: line.at)[::-1]


def _word(table: words.Words, code: Any, pick: int) -> str:
    pair = table.get(str(code))
    return str(code or "") if pair is None else pair[pick]


def _line(moment: Moment, pick: int, branch_name: Callable[[str], str]) -> Line | None:
    said = moment.detail
    match moment.type:
        case "event":
            return _event(moment, pick, branch_name)
        case "address":
            label = ("アドレスの登録: ", "Address registered: ")[pick] + said["address"]
            source = ("職員が訂正", "corrected by staff")[pick] if said["source"] == "staff" else ""
            return Line(moment.at, "event", label, source)
        case "mail":
            text = _word(words.KINDS, said["kind"], pick)
            state = _word(words.STATES, said["state"], pick)
            reason = _word(words.REASONS, said["reason"], pick) if said["reason"] else ""
            return Line(moment.at, "mail", text, _joined(said["address"], state, reason), moment.delivery_id)
        case "attempt":
            return _attempt(moment, pick)
        case "evidence":
            return _evidence(moment, pick)
        case "case":
            return _case(moment, pick)
    return None


_EVENTS: Mapping[str, tuple[str, str]] = {
    "patron": ("利用者情報が届きました", "The patron's record arrived"),
    "patron.email_changed": (
        "図書館システムでアドレスが変更されました",
        "The address was changed in the library system",
    ),
    "patron.password_changed": ("パスワードが変更されました", "The password was changed"),
    "patron.seen": ("利用者ページの利用がありました", "The patron was seen"),
    "hold.shelved": ("予約資料をお取り置きしました", "A hold was put on the shelf"),
    "hold.collected": ("お取り置きの資料が貸し出されました", "A hold was collected"),
    "hold.lapsed": ("取置期限が過ぎ、予約が解除されました", "A hold lapsed"),
    "hold.extended": ("取置期限が延長されました", "The deadline was extended"),
    "hold.cancelled": ("予約が取り消されました", "A hold was cancelled"),
}
"""Events that explain mail and cases. What was merely requested or placed is not told here."""


def _event(moment: Moment, pick: int, branch_name: Callable[[str], str]) -> Line | None:
    kind = str(moment.detail["type"])
    if kind not in _EVENTS:
        return None
    branch = branch_name(str(moment.detail.get("branch") or ""))
    outcome = {
        "conflict": ("取り込めませんでした", "could not be applied"),
        "ignored": ("古い情報のため使いませんでした", "out of date"),
        "stale": ("古い情報のため使いませんでした", "out of date"),
    }.get(str(moment.detail["outcome"]))
    return Line(moment.at, "event", _EVENTS[kind][pick], _joined(branch, outcome[pick] if outcome else ""))


def _attempt(moment: Moment, pick: int) -> Line:
    said = moment.detail
    result = _word(words.RESULTS, said["result"], pick) if said["result"] else ("送信中", "being sent")[pick]
    number = (f"送信 {said['number']}回目: ", f"Attempt {said['number']}: ")[pick]
    phase = _word(words.PHASES, said["phase"], pick) if said["phase"] else ""
    answer = " ".join(str(part) for part in (said["code"], said["status"], said["text"]) if part)
    bad = said["result"] in ("refused", "uncertain", "not_started", "deferred")
    detail = _joined(phase if bad else "", answer)
    return Line(moment.at, "bad" if bad else "mail", number + result, detail, None)


_GOOD = frozenset({"confirmed", "wrote", "replied", "collected", "staff_works", "seen"})
_NEUTRAL = frozenset({"delivered", "relayed", "delayed", "auto_reply"})


def _evidence(moment: Moment, pick: int) -> Line:
    said = moment.detail
    kind = str(said["kind"])
    tone = "good" if kind in _GOOD else "mail" if kind in _NEUTRAL else "bad"
    reason = _word(words.REASONS, said["reason"], pick) if said["reason"] else ""
    answer = " ".join(str(part) for part in (said["code"], said["status"]) if part)
    text = str(said["text"])[:300] if kind in ("replied", "wrote", "bounced", "refused") else ""
    if answer and answer in text:
        answer = ""
    return Line(
        moment.at,
        tone,
        _word(words.SIGNS, kind, pick),
        _joined(reason, answer, text),
        inbound_id=moment.inbound_id,
    )


def _case(moment: Moment, pick: int) -> Line:
    """A step of the case by itself; its reasons are those of a case, of its end, or of the risk."""
    what, codes = str(moment.detail["what"]), moment.detail["why"]
    table = words.CLOSED if what == "closed" else words.CASES | words.RISKS
    why = ("、", "; ")[pick].join(_word(table, code, pick) for code in codes)
    return Line(moment.at, "case", _word(words.STEPS, what, pick), why)


def _deed(item: Deed, names: Mapping[str, str], pick: int) -> Line:
    undone = ""
    if item.undone_at is not None:
        by = names.get(item.undone_by or "", item.undone_by or "")
        undone = (f"取り消し: {by}", f"taken back by {by}")[pick]
    who = names.get(item.who, item.who)
    return Line(
        item.at,
        "staff",
        _word(words.ACTIONS, item.kind, pick),
        _joined(who, item.note),
        action_id=item.action_id,
        undone=undone,
    )


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
