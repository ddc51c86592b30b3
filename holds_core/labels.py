"""The words on screens, lists and paper for what the core knows by codes. Japanese first, English second.

One table per enum, so that a page, a CSV file, the report and a mail to staff say the same. Data and one
look-up; nothing here decides anything. A code that no table has is shown as it is: a word too many beats an
error.
"""

from __future__ import annotations

from collections.abc import Mapping

from holds_core.evidence import Sign
from holds_core.notices import Finding, Kind, Phase, Result, Transmission
from holds_core.reasons import MEANING, Fault

Words = Mapping[str, tuple[str, str]]

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
    Kind.DEADLINE_CHANGED: ("取置期限変更のお知らせ", "deadline changed"),
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

_OWN_REASONS: dict[str, tuple[str, str]] = {
    "off_the_shelf": ("お取り置きが終わったため", "the hold left the shelf"),
    "unreachable": ("登録のアドレスに届かないため", "the address cannot be reached"),
    "no_address": ("アドレスの登録がないため", "there is no address"),
    "provisional": ("仮のアドレスのため", "the address is provisional"),
    "contact_phone": ("電話での連絡をご希望のため", "the patron asked to be phoned"),
    "contact_post": ("郵便での連絡をご希望のため", "the patron asked for a letter"),
    "patron_unknown": ("利用者情報が届いていないため", "the patron's record has not arrived"),
    "cannot_be_written": ("メールを作成できなかったため", "the mail could not be written"),
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
    "wrote": ("到着確認の空メールがありました", "an empty mail came from the address"),
    "collected": ("お知らせ後に貸出がありました", "a hold was collected after the mail"),
}

REASONS: Words = {str(code): words for code, words in MEANING.items()} | _OWN_REASONS
"""Why a mail or an address is as it is: what servers say, then our own words."""

FAULTS: Words = {
    Fault.PATRON: ("利用者側", "recipient"),
    Fault.PROVIDER: ("メール事業者側", "provider"),
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
    Sign.CONFIRMED: ("利用者が到着を確認しました", "the patron confirmed the mail"),
    Sign.WROTE: ("到着確認の空メールがありました", "an empty mail confirmed the mail"),
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


def say(table: Words, code: str, language: str = "ja") -> str:
    """The word for a code.

    >>> say(STATES, "withheld"), say(STATES, "withheld", "en"), say(STATES, "of tomorrow")
    ('送信見合わせ', 'withheld', 'of tomorrow')
    """
    pair = table.get(code)
    return str(code) if pair is None else pair[language == "en"]
