"""The desk's words, Japanese and English, and how days and times are written. Data; no requests, no ledger.

Each entry is (Japanese, English). Unknown codes are shown as they are: a word too many beats an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from holds_core.evidence import Sign
from holds_core.ledger.cases import REASONS as CASE_REASONS
from holds_core.ledger.desk import Status, View
from holds_core.ledger.desk_actions import Action
from holds_core.notices import Finding, Kind, Phase, Result, Transmission
from holds_core.reasons import MEANING, Fault
from holds_core.standing import LABELS as STANDING_LABELS

Words = Mapping[str, tuple[str, str]]

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

STATES: Words = {
    Transmission.PENDING: ("送信待ち", "waiting to be sent"),
    Transmission.SENDING: ("送信中", "being sent"),
    Transmission.HANDED_OVER: ("送信処理済み(到着未確認)", "handed over (arrival not confirmed)"),
    Transmission.REFUSED: ("受信側が受け取らず", "not accepted"),
    Transmission.RETRYING: ("再送待ち", "waiting to be tried again"),
    Transmission.UNCERTAIN: ("送信結果不明", "uncertain"),
    Transmission.EXPIRED: ("期限内に送信できず", "could not be sent in time"),
    Transmission.CANCELLED: ("送信取りやめ", "not sent any more"),
    Transmission.WITHHELD: ("送信見合わせ", "withheld"),
}

FINDINGS: Words = {
    Finding.WAITING: ("到着確認待ち", "waiting for a sign"),
    Finding.CONFIRMED: ("到着確認あり", "arrival confirmed"),
    Finding.BOUNCED: ("不達", "bounced"),
    Finding.UNANSWERED: ("到着確認なし", "no sign of arrival"),
}

KINDS: Words = {
    Kind.HOLD_PLACED: ("予約完了のお知らせ", "hold placed"),
    Kind.HOLD_REFUSED: ("予約をお受けできないお知らせ", "hold not accepted"),
    Kind.HOLD_READY: ("取置のお知らせ", "hold ready"),
    Kind.HOLD_EXPIRING: ("取置期限のお知らせ", "hold expiring"),
    Kind.HOLD_LAPSED: ("予約解除のお知らせ", "hold lapsed"),
    Kind.CANCEL_DONE: ("予約取消のお知らせ", "hold cancelled"),
    Kind.CANCEL_REFUSED: ("取消をお受けできないお知らせ", "cancellation not accepted"),
    Kind.HOLD_CANCELLED_BY_LIBRARY: ("図書館からの予約取消のお知らせ", "hold cancelled by the library"),
    Kind.REGISTRATION_CHANGED: ("登録情報変更のお知らせ", "registration changed"),
    Kind.REGISTRATION_CHANGED_OLD: (
        "登録情報変更のお知らせ(変更前のアドレスあて)",
        "registration changed, to the former address",
    ),
    Kind.SENDER_MIGRATION: ("送信元アドレス変更のお知らせ", "new sender address"),
}

_OWN_REASONS: Words = {
    "off_the_shelf": ("お取り置きが終わったため", "the hold left the shelf"),
    "unreachable": ("登録のアドレスに届かないため", "the address cannot be reached"),
    "no_address": ("アドレスの登録がないため", "there is no address"),
    "address_changed": ("アドレスが変わったため", "the address has changed"),
    "patron_known": ("利用者情報が届いたため", "the patron's record has arrived"),
    "too_late": ("お知らせの時機を過ぎたため", "too late to be of use"),
    "not_on_allowlist": ("試験送信先の一覧にないため", "not on the list for trial sending"),
    "undone": ("職員の取り消しによる", "taken back by staff"),
    "interrupted": ("送信中に停止したため", "the program stopped while sending"),
    "evidence": ("届いた通知により確定", "settled by a report"),
    "uncertain": ("結果不明のまま確定", "taken for handed over"),
    "no_sign": ("到着確認なし", "no sign of arrival"),
    "bounced": ("不達", "bounced"),
    "mistyped": ("アドレスの誤り", "mistyped"),
    "invalid": ("メールアドレスとして使えない形です", "this cannot be a mail address"),
    "repeated": ("くり返し不達", "again and again"),
    "never_got": ("届いていないとの申し出", "the patron says mail never came"),
    "lapsed": ("取りに来られず予約解除", "a hold lapsed"),
    "unanswered": ("到着確認なしが続いています", "no sign of arrival, more than once"),
    "complaint": ("迷惑メールとしての報告", "reported as spam"),
    "sign_of_life": ("本人の反応がありました", "the patron gave a sign"),
    "collected": ("お知らせ後に貸出がありました", "a hold was collected after the mail"),
}

REASONS: Words = {str(code): words for code, words in MEANING.items()} | dict(_OWN_REASONS)
"""Why a mail or an address is as it is: what servers say, then our own words."""

FAULTS: Words = {
    Fault.PATRON: ("受信者側", "recipient"),
    Fault.PROVIDER: ("受信側サーバー", "provider"),
    Fault.US: ("図書館側", "our side"),
}

SIGNS: Words = {
    Sign.INVALID: ("アドレスが使えない形です", "the address cannot exist"),
    Sign.REFUSED: ("受信側が受け取りませんでした", "the server did not accept the mail"),
    Sign.BOUNCED: ("不達の通知が戻りました", "the mail came back"),
    Sign.DELAYED: ("配送が遅れているとの通知", "delivery is delayed"),
    Sign.DELIVERED: ("受信側に届いたとの通知(確証ではありません)", "reported as delivered (no proof)"),
    Sign.RELAYED: ("次のサーバーに渡ったとの通知", "relayed to the next server"),
    Sign.COMPLAINT: ("迷惑メールとして報告されました", "reported as spam"),
    Sign.AUTO_REPLY: ("自動返信がありました", "an automatic reply"),
    Sign.CONFIRMED: ("利用者が到着確認を押しました", "the patron confirmed the mail"),
    Sign.REPLIED: ("利用者から返信がありました", "the patron wrote back"),
    Sign.SEEN: ("利用者ページの利用など、来訪がありました", "the patron was seen"),
    Sign.COLLECTED: ("予約資料の貸出がありました", "the hold was collected"),
    Sign.LAPSED: ("取りに来られず予約解除となりました", "the hold lapsed"),
    Sign.UNANSWERED: ("期間内に到着確認がありませんでした", "no sign within the window"),
    Sign.CANARY_INBOX: ("到達確認用アドレス:受信箱", "canary: inbox"),
    Sign.CANARY_JUNK: ("到達確認用アドレス:迷惑メール", "canary: junk"),
    Sign.CANARY_MISSING: ("到達確認用アドレス:届かず", "canary: missing"),
    Sign.STAFF_WORKS: ("職員の記録:メールは届いている", "staff: mail arrives"),
    Sign.STAFF_NEVER_GOT: ("職員の記録:メールは届いていない", "staff: mail never came"),
    Sign.STAFF_MISTYPED: ("職員の記録:アドレスの誤り", "staff: the address is wrong"),
    Sign.NOT_ME: ("「心当たりがない」との回答がありました", "the reader says: not me"),
}

RESULTS: Words = {
    Result.HANDED_OVER: ("送信処理済み", "handed over"),
    Result.REFUSED: ("受け取られず", "refused"),
    Result.DEFERRED: ("一時的に受け取られず(再送します)", "deferred, will be tried again"),
    Result.UNCERTAIN: ("結果不明(接続が切れました)", "uncertain: the connection broke"),
    Result.NOT_STARTED: ("送信できず(接続前)", "not started"),
}

PHASES: Words = {
    Phase.CONNECT: ("接続", "connecting"),
    Phase.HELLO: ("あいさつ", "greeting"),
    Phase.TLS: ("暗号化", "encryption"),
    Phase.LOGIN: ("認証", "login"),
    Phase.MAIL: ("差出人", "sender"),
    Phase.RCPT: ("あて先", "recipient"),
    Phase.DATA: ("本文", "text"),
}

CONTACTS: Words = {
    "email": ("メール", "mail"),
    "phone": ("電話", "phone"),
    "post": ("郵便", "letter"),
    "none": ("連絡不要", "no contact"),
}

CASES: Words = CASE_REASONS

STANDINGS: Words = {str(code): words for code, words in STANDING_LABELS.items()}

INBOUND_KINDS: Words = {
    "hard": ("不達", "bounce"),
    "soft": ("一時的な不達", "soft bounce"),
    "delayed": ("配送の遅れ", "delay"),
    "delivered": ("到達の報告", "delivery report"),
    "feedback": ("迷惑メールの報告", "spam complaint"),
    "auto_reply": ("自動返信", "automatic reply"),
    "human_reply": ("返信", "reply"),
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
    "report.csv": ("不達レポートをCSVで取得", "took the report as CSV"),
    "report.json": ("不達レポートをJSONで取得", "took the report as JSON"),
    "unsynced.csv": ("未反映の一覧をCSVで取得", "took the list of corrected addresses"),
    "pause": ("メールの送信を停止", "stopped all mail"),
    "resume": ("メールの送信を再開", "let mail go on"),
    "held.release": ("保留していたお知らせを送信", "let held notices go"),
    "user.add": ("アカウントを作成", "made an account"),
    "user.disable": ("アカウントを停止", "disabled an account"),
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
