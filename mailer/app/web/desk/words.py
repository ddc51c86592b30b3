"""The desk's words, Japanese and English, and how days and times are written. Data; no requests, no ledger.

Each entry is (Japanese, English). Unknown codes are shown as they are: a word too many beats an error.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from holds_core.labels import (
    CONTACTS,
    FAULTS,
    FINDINGS,
    KINDS,
    PHASES,
    REASONS,
    RESULTS,
    SIGNS,
    STATES,
    Words,
    say,
)
from holds_core.ledger.canaries import LABELS as CANARY_LABELS
from holds_core.ledger.cases import CLOSED, STEPS
from holds_core.ledger.cases import REASONS as CASE_REASONS
from holds_core.ledger.desk import Status, View
from holds_core.ledger.desk_deeds import Action
from holds_core.silence_reasons import SENTENCES
from holds_core.standing import LABELS as STANDING_LABELS

__all__ = [
    "CLOSED",
    "CONTACTS",
    "FAULTS",
    "FINDINGS",
    "KINDS",
    "PHASES",
    "REASONS",
    "RESULTS",
    "SIGNS",
    "STATES",
    "STEPS",
    "Words",
    "say",
]

VIEWS: Words = {
    View.TODAY: ("きょう連絡する", "To call today"),
    View.LATER: ("後日・ほかの方法", "Later, or another way"),
    View.DONE: ("連絡済み", "Reached"),
    View.ALL: ("すべて", "All"),
}

STATUS: Words = {
    Status.NOT_REACHED: ("不在", "no answer"),
    Status.MESSAGE: ("伝言済み", "message left"),
    Status.REACHED: ("連絡済み", "reached"),
    Status.WRONG_NUMBER: ("電話番号違い", "wrong number"),
    Status.IGNORED: ("保留", "put off"),
}

ACTIONS: Words = {
    Action.REACHED: ("連絡できた", "Reached"),
    Action.LETTER: ("手紙を出した", "Sent a letter"),
    Action.NOT_REACHED: ("不在・つながらない", "No answer"),
    Action.MESSAGE: ("留守電・家族に伝言", "Left a message"),
    Action.WRONG_NUMBER: ("電話番号が違う", "Wrong number"),
    Action.ADDRESS: ("アドレスを訂正", "Address corrected"),
    Action.WORKS: ("メールは届いている", "Mail arrives"),
    Action.NEVER_GOT: ("メールは届いていない", "Mail never came"),
    Action.IGNORE: ("指定日まで保留", "Put off"),
    Action.NOTE: ("メモ", "Note"),
    Action.RESEND: ("お知らせを再送", "Sent again"),
}

CASES = CASE_REASONS

RISKS = {str(code): (ja.rstrip("。"), en.rstrip(".")) for code, (ja, en) in SENTENCES.items()}

STANDINGS: Words = {str(code): words for code, words in STANDING_LABELS.items()}

CANARIES: Words = {str(code): words for code, words in CANARY_LABELS.items()}

INBOUND_KINDS: Words = {
    "hard": ("不達", "bounce"),
    "soft": ("一時的な不達", "soft bounce"),
    "delayed": ("配送の遅れ", "delay"),
    "delivered": ("到達の報告", "delivery report"),
    "feedback": ("迷惑メールの報告", "spam complaint"),
    "auto_reply": ("自動返信", "automatic reply"),
    "human_reply": ("返信", "reply"),
    "confirmation": ("到着確認の空メール", "empty mail of confirmation"),
    "none": ("不達通知ではないメール", "no bounce"),
    "loop": ("自館のメールのループ", "loop of our own mail"),
}

LANGUAGES: Words = {
    "ja": ("日本語", "Japanese"),
    "ja-easy": ("やさしい日本語", "easy Japanese"),
    "en": ("英語", "English"),
}

AUDIT: Words = {
    "login": ("ログイン", "logged in"),
    "phone.shown": ("電話番号を表示", "saw a phone number"),
    "phone.printed": ("電話番号を印刷", "printed phone numbers"),
    "mail.read": ("届いたメールの原文を表示", "read a mail that came back"),
    "mail.replay": ("判別できないメールを読み直し", "had a mail read again"),
    "mail.attach": ("判別できないメールを結び付け", "attached a mail by hand"),
    "mail.dismiss": ("判別できないメールを一覧から除外", "put a mail away"),
    "snapshot_forced": ("差の大きい一覧を、確認のうえ取り込み", "took in a list that the guard had refused"),
    "report.csv": ("不達レポートをCSVで取得", "took the report as CSV"),
    "report.json": ("不達レポートをJSONで取得", "took the report as JSON"),
    "provisional.csv": ("仮のアドレスの一覧をCSVで取得", "took the list of provisional addresses"),
    "audit.csv": ("操作の記録をCSVで取得", "took the audit trail as CSV"),
    "export": ("利用者の保存情報をすべて書き出し", "wrote out all that is kept of a patron"),
    "forget": ("利用者の情報を消去", "erased a patron"),
    "unsynced.csv": ("未反映の一覧をCSVで取得", "took the list of corrected addresses"),
    "closure.add": ("臨時休館を登録", "entered a closing"),
    "closure.remove": ("臨時休館を取り消し", "took a closing back"),
    "holidays.import": ("祝日の一覧を取り込み", "imported public holidays"),
    "holidays.drop": ("取り込んだ祝日の一覧を削除", "forgot imported holidays"),
    "campaign.start": ("一斉のお知らせを開始", "started an announcement"),
    "campaign.stop": ("一斉のお知らせを停止", "stopped an announcement"),
    "pause": ("メールの送信を停止", "stopped all mail"),
    "resume": ("メールの送信を再開", "let mail go on"),
    "breaker.resume": ("自動停止を解除", "closed the circuit breaker"),
    "held.release": ("保留していたお知らせを送信", "let held notices go"),
    "user.add": ("アカウントを作成", "made an account"),
    "user.change": ("アカウントを変更", "changed an account"),
    "user.disable": ("アカウントを停止", "disabled an account"),
    "user.enable": ("アカウントを再開", "enabled an account"),
    "user.password": ("パスワードを変更", "set a password"),
    "case.undo": ("対応の記録を取り消し", "took an action back"),
} | {f"case.{kind}": (f"対応: {ja}", f"case: {en}") for kind, (ja, en) in ACTIONS.items()}

_WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS_EN = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day(value: date, language: str, today: date | None = None) -> str:
    """A day with its weekday; with the year if it is not `today`'s.

    >>> day(date(2026, 11, 22), "ja"), day(date(2025, 1, 5), "en", date(2026, 11, 22))
    ('11月22日(日)', 'Sun 5 Jan 2025')
    """
    other_year = today is not None and today.year != value.year
    if language == "en":
        text = f"{_WEEKDAYS_EN[value.weekday()]} {value.day} {_MONTHS_EN[value.month]}"
        return f"{text} {value.year}" if other_year else text
    text = f"{value.month}月{value.day}日({'月火水木金土日'[value.weekday()]})"
    return f"{value.year}年{text}" if other_year else text


def moment(local: datetime, language: str, today: date | None = None) -> str:
    """A time of the library's day.

    >>> moment(datetime(2026, 11, 22, 9, 5), "ja")
    '11月22日(日) 9:05'
    """
    return f"{day(local.date(), language, today)} {local.hour}:{local.minute:02}"


def span(length: timedelta, language: str) -> str:
    """A length of time in its largest unit.

    >>> span(timedelta(minutes=125), "ja"), span(timedelta(seconds=20), "en"), span(timedelta(days=3), "ja")
    ('2時間', '1 min', '3日')
    """
    minutes = max(1, int(length / timedelta(minutes=1)))
    if minutes < 60:
        return f"{minutes} min" if language == "en" else f"{minutes}分"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" if language == "en" else f"{minutes // 60}時間"
    return f"{minutes // 1440} days" if language == "en" else f"{minutes // 1440}日"


def days_left(number: int | None, language: str) -> str:
    """How long a hold still waits."""
    if number is None:
        return ""
    if language == "en":
        if number == 0:
            return "today"
        if number < 0:
            return f"{-number} days over" if number < -1 else "1 day over"
        return f"{number} days" if number > 1 else "1 day"
    if number == 0:
        return "きょうまで"
    return f"あと{number}日" if number > 0 else f"{-number}日経過"
