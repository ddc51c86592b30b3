"""A line of the audit trail as people read it: what was changed, from what to what.

A recorded detail enters; leaves short texts in one language. Pure. An address is shown by its first letters
and its domain only (the patron's page has the whole one), and what a field might hold that is not known here
is counted, never shown: no title can stand on the page, whoever recorded what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from holds_core.ledger.trail import Entry, Undone
from mailer.app.web.desk import words
from mailer.app.web.desk.words import Words


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a line tells. A plain fact has no `before`."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Voice:
    """In which language, and how this library's branches and times are called."""

    language: str
    branch: Callable[[str], str]
    moment: Callable[[datetime], str]

    def say(self, ja: str, en: str) -> str:
        return en if self.language == "en" else ja

    def word(self, table: Words, code: str) -> str:
        pair = table.get(code)
        return self.say(*pair) if pair else code

    def day(self, text: str) -> str:
        return words.day(date.fromisoformat(text), self.language)

    def many(self, number: int, counter: str) -> str:
        """A number with its Japanese counter."""
        return self.say(f"{number}{counter}", str(number))


def masked(address: str) -> str:
    """Enough of an address to see what was mistyped in its domain, not enough to write to it.

    >>> masked("hanako.h@docomo.ne.jp"), masked("a@b.jp"), masked("本多")
    ('ha…@docomo.ne.jp', 'a…@b.jp', '本多')
    """
    local, at, domain = address.rpartition("@")
    return f"{local[:2]}…@{domain}" if at else address


def changes(entry: Entry, undone: Mapping[int, Undone], voice: Voice) -> list[Change]:
    """What the line tells beyond who, when and what. `undone`: what "case.undo" lines took back."""
    detail = entry.detail
    if entry.what in ("pause", "resume") and "after" in detail:
        now, then = _sending(detail["after"], voice), _sending(detail["before"], voice)
        return [Change(voice.say("送信", "sending"), then, now)]
    if entry.what == "case.undo":
        return list(_taken_back(undone.get(detail.get("action", 0)), voice))
    before, after = _as_dict(detail.get("before")), _as_dict(detail.get("after"))
    plain = {name: value for name, value in detail.items() if name not in ("before", "after", "action")}
    if "before" in detail and not isinstance(detail["before"], dict | None):
        plain["position"] = detail["before"]
    return [*_facts(plain, voice), *_steps(before, after, voice)]


def subject(entry: Entry, voice: Voice) -> tuple[str, str]:
    """(what the line is about, the patron's number if it is a patron)."""
    kind, colon, name = entry.subject.partition(":")
    if not entry.subject:
        return "—", ""
    shown = voice.word(SUBJECTS, kind) if kind in SUBJECTS else masked(entry.subject)
    if kind == "patron" and colon:
        return f"{shown} {name}", name
    return (f"{shown} {masked(name)}" if colon and kind in SUBJECTS else shown), ""


SUBJECTS: Words = {
    "patron": ("利用者", "patron"),
    "user": ("アカウント", "account"),
    "mail": ("届いたメール", "mail that came back,"),
    "notice": ("お知らせ", "notice"),
    "hold": ("予約", "hold"),
    "address": ("アドレス", "address"),
    "case": ("要連絡", "case"),
    "closure": ("臨時休館", "closing"),
    "sending": ("メールの送信", "sending"),
    "report": ("レポート", "report"),
    "provisional": ("仮のアドレスの一覧", "provisional addresses"),
    "audit": ("操作の記録", "audit trail"),
    "list": ("今日の連絡", "today's calls"),
}

FACTS: Words = {
    "note": ("メモ", "note"),
    "why": ("理由", "why"),
    "reason": ("理由", "why"),
    "rows": ("行数", "rows"),
    "count": ("通数", "notices"),
    "patrons": ("人数", "patrons"),
    "moved": ("期限が変わった取り置き", "deadlines moved"),
    "notices": ("作られたお知らせ", "notices made"),
    "released": ("送信待ちに戻したお知らせ", "notices that wait again"),
    "sent_again": ("もう一度送るお知らせ", "mails sent again"),
    "taken_back": ("取りやめたお知らせ", "notices taken back"),
    "delivery_id": ("結び付けた送信番号", "attached to mail"),
    "state": ("結果", "result"),
    "role": ("権限", "role"),
    "branch": ("館", "branch"),
    "branches": ("担当館", "branches"),
    "name": ("氏名", "name"),
    "first": ("最初の日", "first day"),
    "last": ("最後の日", "last day"),
    "days": ("日数", "days"),
    "file": ("ファイル", "file"),
    "by": ("方法", "how"),
    "position": ("自動停止の状態", "circuit breaker"),
    "take_over": ("引き継ぎ", "taken over"),
    "signs": ("メールについての記録", "what was recorded of the mail"),
    "deadlines": ("取置期限を計算し始めた予約", "holds whose deadline began"),
    "addresses": ("メールアドレス", "mail address"),
    "mark": ("対応の状況", "how it stands"),
    "closed": ("要連絡", "case"),
    "disabled": ("アカウント", "account"),
}

_VALUES: Mapping[str, Words] = {
    "state": {
        "used": ("取り込み", "used"),
        "quarantined": ("判別できず", "not understood"),
        "dismissed": ("一覧から除外", "put away"),
    },
    "role": {"staff": ("職員", "staff"), "admin": ("管理者", "admin")},
    "by": {
        "proxy": ("館内の認証", "by the library's own log-in"),
        "drawn": ("仮のパスワードを自動作成", "one-time password, drawn"),
        "typed": ("仮のパスワードを手入力", "one-time password, typed"),
        "owner": ("本人が変更", "by its owner"),
    },
    "position": {
        "closed": ("送信中", "mail leaves"),
        "open": ("停止中", "stopped"),
        "testing": ("1通で試行中", "one mail tests it"),
        "stopped": ("停止中(操作待ち)", "stopped until told"),
    },
}
_COUNTERS = {
    **dict.fromkeys(("rows", "patrons_seen", "signs", "deadlines", "moved"), "件"),
    **dict.fromkeys(("count", "notices", "released", "sent_again", "taken_back"), "通"),
    "patrons": "名",
    "days": "日",
}
_SILENT = frozenset({"action", "at", "who", "run", "mail_again", "until"})
"""Said elsewhere on the line, or of no use to a reader."""
_EMPTY_MEANS_ALL = ("branch", "branches")


def _facts(plain: Mapping[str, Any], voice: Voice) -> Iterator[Change]:
    for name, value in plain.items():
        nothing = value is None or value is False or value in ("", [])
        empty = nothing and name not in _EMPTY_MEANS_ALL
        if name in _SILENT or empty or not (name in FACTS or isinstance(value, int)):
            continue
        if shown := _shown(name, value, voice):
            yield Change(voice.word(FACTS, name), "", shown)


def _steps(before: Mapping[str, Any], after: Mapping[str, Any], voice: Voice) -> Iterator[Change]:
    """What stands in `after` was changed or made; `before` alone says how things stood."""
    for name, value in after.items():
        if name in _SILENT or (name == "closed" and not value):
            continue
        was = before.get(name)
        if name in before and was == value:
            continue
        if name in before or name in _NONE_MEANS:
            then, now = _shown(name, was, voice), _shown(name, value, voice)
            if then or now:
                yield Change(voice.word(FACTS, name), then or "—", now or "—")
        else:
            yield from _facts({name: value}, voice)


def _taken_back(item: Undone | None, voice: Voice) -> Iterator[Change]:
    """The action, and its steps the other way round."""
    if item is None:
        return
    action = voice.word(words.ACTIONS, item.kind)
    label = voice.say("取り消した対応", "taken back")
    yield Change(
        label, "", voice.say(f"{action}({voice.moment(item.at)})", f"{action} ({voice.moment(item.at)})")
    )
    for step in _steps(item.before, item.after, voice):
        if step.before:
            yield Change(step.label, step.after, step.before)


def _shown(name: str, value: Any, voice: Voice) -> str:
    """A value as a short text; "" for what is not for this page."""
    if name in _BY_NAME:
        return _BY_NAME[name](value, voice) if value is not None or name in _NONE_MEANS else ""
    counter = _COUNTERS.get(name, "")
    if isinstance(value, bool):
        return voice.say("はい", "yes") if value else voice.say("いいえ", "no")
    if isinstance(value, int | list):
        return voice.many(value if isinstance(value, int) else len(value), counter)
    if not isinstance(value, str) or name not in FACTS:
        return ""
    return voice.word(_VALUES[name], value) if name in _VALUES else value if name == "note" else masked(value)


def _mark(value: Any, voice: Voice) -> str:
    """How a case stood: what came of the last call, when it comes back, how often it was tried."""
    if not isinstance(value, dict):
        return voice.say("未対応", "nothing done yet")
    said = [voice.word(words.STATUS, value["status"])]
    if value.get("again_on"):
        day = voice.day(value["again_on"])
        said.append(voice.say(f"{day}に再度", f"again on {day}"))
    if value.get("tries"):
        said.append(voice.say(f"電話{value['tries']}回", f"calls: {value['tries']}"))
    return voice.say("・", ", ").join(said)


def _address(item: Any, voice: Voice) -> str:
    address = masked(str(item.get("address", "")))
    return address + voice.say("(仮)", " (provisional)") if item.get("provisional") else address


_BY_NAME: Mapping[str, Callable[[Any, Voice], str]] = {
    "mark": lambda value, voice: _mark(value, voice),
    "closed": lambda value, voice: voice.say("解決", "settled") if value else voice.say("未解決", "open"),
    "disabled": lambda value, voice: voice.say("停止", "disabled") if value else voice.say("有効", "active"),
    "addresses": lambda value, voice: voice.say("、", ", ").join(_address(item, voice) for item in value),
    "branches": lambda value, voice: (
        voice.say("・", ", ").join(map(voice.branch, value)) or voice.say("全館", "all")
    ),
    "branch": lambda value, voice: voice.branch(value) if value else voice.say("全館", "all"),
    "first": lambda value, voice: voice.day(value),
    "last": lambda value, voice: voice.day(value),
    "take_over": lambda value, voice: voice.say("ほかの職員から", "from a colleague"),
}
_NONE_MEANS = ("mark", "closed")
"""Where nothing recorded is a state of its own."""


def _sending(value: Any, voice: Voice) -> str:
    if not isinstance(value, dict):
        return voice.say("送信中", "mail leaves")
    why = str(value.get("why") or "")
    stopped = voice.say("停止", "stopped")
    return voice.say(f"{stopped}({why})", f"{stopped} ({why})") if why else stopped


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
