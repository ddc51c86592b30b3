"""Why a notice has its risk, as codes with one Japanese and one English sentence each. Data only."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RiskReason(StrEnum):
    """What raises or lowers the risk of one notice."""

    REFUSED_USER = "refused_user"
    REFUSED_FILTER = "refused_filter"
    REFUSED_OTHER = "refused_other"
    NOT_SENT = "not_sent"
    NEVER_GOT = "never_got"
    PROVIDER_SILENT = "provider_silent"
    NO_SIGN = "no_sign"
    FAILED_BEFORE = "failed_before"
    LAPSED_BEFORE = "lapsed_before"
    NEVER_CONFIRMED = "never_confirmed"
    TYPO = "typo"
    RARE_VISITOR = "rare_visitor"
    TOO_LATE = "too_late"
    TOLD = "told"
    CONFIRMED = "confirmed"
    SEEN_SINCE = "seen_since"
    CAME_BEFORE = "came_before"
    FREQUENT_VISITOR = "frequent_visitor"


_R = RiskReason

SENTENCES: Final[dict[RiskReason, tuple[str, str]]] = {
    _R.REFUSED_USER: (
        "宛先のメールアドレスが存在しないとの応答がありました。",
        "The mail was refused: the address does not exist.",
    ),
    _R.REFUSED_FILTER: (
        "受信者の受信設定によりメールが受け取られませんでした。",
        "The mail was refused by the patron's own mail filter.",
    ),
    _R.REFUSED_OTHER: ("メールは届かずに戻ってきました。", "The mail came back undelivered."),
    _R.NOT_SENT: (
        "送れるメールアドレスがなく、お知らせを送っていません。",
        "No mail was sent: there is no address that can be used.",
    ),
    _R.NEVER_GOT: (
        "「メールが届いていない」と利用者の方からお申し出がありました。",
        "The patron told us that this mail never came.",
    ),
    _R.PROVIDER_SILENT: (
        "このメールサービスでは、エラーも返らずに届かないメールが多くなっています。",
        "This mail service loses many of our mails without an error.",
    ),
    _R.NO_SIGN: (
        "送信後、届いたことを示すものがまだありません。多くの方はこの頃までに来館されます。",
        "No sign since the mail; most people have come by now.",
    ),
    _R.FAILED_BEFORE: (
        "このアドレスへのメールは以前に不達となっています。",
        "Earlier mail to this address failed.",
    ),
    _R.LAPSED_BEFORE: (
        "このアドレスへのお知らせのあと、取置期限が切れたことがあります。",
        "An earlier hold lapsed after a mail to this address.",
    ),
    _R.NEVER_CONFIRMED: (
        "登録情報変更のお知らせに、到着の確認がいただけていません。",
        "The mail about the changed registration was never confirmed.",
    ),
    _R.TYPO: ("メールアドレスの入力誤りの疑いがあります。", "The address looks mistyped."),
    _R.RARE_VISITOR: (
        "メールをご覧にならない限り、来館の機会が少ない方です。",
        "This patron seldom comes unless a mail says so.",
    ),
    _R.TOO_LATE: (
        "取置期限まで日がなく、お電話をしても間に合わないおそれがあります。",
        "The deadline is so near that a call may come too late.",
    ),
    _R.TOLD: ("職員からの連絡がついています。", "Staff have reached the patron."),
    _R.CONFIRMED: ("メールの到着が確認されています。", "A person confirmed this mail."),
    _R.SEEN_SINCE: (
        "送信後に、ホームページの利用または来館がありました。",
        "The patron used the web page or came by since the mail.",
    ),
    _R.CAME_BEFORE: (
        "このアドレスへのメールは以前に届いています。",
        "Earlier mail to this address was read.",
    ),
    _R.FREQUENT_VISITOR: ("ふだんからよく来館される方です。", "This patron often comes anyway."),
}
"""(Japanese, English)."""

RAISES: Final = frozenset(
    set(RiskReason) - {_R.TOLD, _R.CONFIRMED, _R.SEEN_SINCE, _R.CAME_BEFORE, _R.FREQUENT_VISITOR}
)
"""Reasons for a call; the others speak against one."""
