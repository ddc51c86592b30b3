"""Why a mail waits in quarantine, in one sentence, Japanese first and English second. Pure.

In: a `Why` and what belongs into its sentence. Out: the text that the ledger keeps with the mail and that
every list shows. Nothing else in `bounces` writes a reason for staff.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Why(StrEnum):
    """What kept a mail from being used."""

    LOOP = "loop"  # our own mail, with our header at its top level
    FORWARDED = "forwarded"  # a bounce that a person passed on: anyone may have written it
    NOTHING = "nothing"  # the reader found no report and no answer in it
    UNREADABLE = "unreadable"  # the reader itself failed on it
    FOR_IT = "for_it"  # a provider's feedback on our own authentication or a virus, no patron's complaint
    UNTIED = "untied"  # no token, ENVID or Message-ID of ours (RFC 3464 section 4: anyone can write a bounce)
    LIKELY = "likely"  # the same, but a mail of ours went to that recipient shortly before
    UNKNOWN_WRITER = (
        "unknown_writer"  # to the confirmation address, with no token and from nobody we wrote to
    )
    TOO_LATE = "too_late"  # a confirmation of a notice that is long past
    ERASED = "erased"  # retention took the bytes, so there is nothing to read again
    UNRECORDED = "unrecorded"  # read and matched, and the ledger refused its content


_TEXT: Final[dict[Why, tuple[str, str]]] = {
    Why.LOOP: (
        "本システムから送ったメールがそのまま戻ってきました(転送のループの可能性があります)。",
        "Our own mail came back to us; it may be going round in a loop.",
    ),
    Why.FORWARDED: (
        "人が転送した不達通知のため、不達の証拠としては扱いません。",
        "A person passed a bounce on; it proves nothing.",
    ),
    Why.NOTHING: (
        "不達通知とも返信とも判別できませんでした。",
        "Neither a report nor an answer was recognised.",
    ),
    Why.UNREADABLE: (
        "プログラムの不具合のため、読み取れませんでした。",
        "It could not be read because of a fault in this program.",
    ),
    Why.FOR_IT: (
        "受信側から送信元認証の失敗またはウイルスの報告が届いたため、システム担当者の確認が必要です。",
        "A provider reports failed authentication or a virus in our mail, which IT should look at.",
    ),
    Why.UNTIED: (
        "どのお知らせに対するものか、手がかりがありません。",
        "Nothing in it ties it to a mail of ours.",
    ),
    Why.LIKELY: (
        "どのお知らせに対するものか、確かな手がかりがありません"
        "(宛先と日時からは、送信番号 {} のお知らせと思われます)。",
        "Nothing in it ties it to a mail of ours; by recipient and time it may be delivery {}.",
    ),
    Why.UNKNOWN_WRITER: (
        "到着確認の空メールですが、どのお知らせへの返事かを示す符号がなく、差出人も登録のアドレスと一致しません。",
        "An empty mail of confirmation without the sign of any notice, from an address that we did not write to.",
    ),
    Why.TOO_LATE: (
        "到着確認の空メールですが、確認の期限が過ぎたお知らせへのものです。",
        "An empty mail of confirmation for a notice that is long past.",
    ),
    Why.ERASED: (
        "保存期間が過ぎて原文が消去されているため、読み直せません。",
        "The mail itself was erased by retention and cannot be read again.",
    ),
    Why.UNRECORDED: (
        "読み取れましたが、内容を記録できませんでした({})。",
        "It was read, but what it says could not be recorded ({}).",
    ),
}

_BETWEEN: Final = "。 "
"""Ends the Japanese sentence; no sentence holds it inside."""


def tell(why: Why, detail: object = "") -> str:
    """The sentence in both languages. `detail` is the delivery's number for `LIKELY`, the error's type for
    `UNRECORDED`, and unused for the others."""
    return " ".join(_TEXT[why]).replace("{}", str(detail))


def in_language(text: str, language: str) -> str:
    """One language of what `tell` gave, "en" or Japanese; other text (an admin's note) as it is."""
    japanese, between, english = text.partition(_BETWEEN)
    if not between:
        return text
    return english if language == "en" else f"{japanese}。"
