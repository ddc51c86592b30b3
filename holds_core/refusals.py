"""Why a library says no: a code, its name for staff, its sentence for the patron, in Japanese, English and
やさしい日本語. Pure.

Enters a refusal of ours, or the word that a library system wrote; leaves sentences, and the one line by which a
notice keeps its refusal until it is written. What is refused and when stands in `holds_core.limits`.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from holds_core.errors import BadInput


class RefusalCode(StrEnum):
    """Why a request or a cancellation is refused; the words are in `WORDS`."""

    CARD_NUMBER = "card_number"
    EMAIL_REQUIRED = "email_required"
    OVERDUE = "overdue"
    NOT_ON_LOAN = "not_on_loan"
    NEWEST_ISSUE = "newest_issue"
    IN_LIBRARY = "in_library"
    MISSING = "missing"
    SOILED = "soiled"
    DAMAGED = "damaged"
    VOLUME_ORDER = "volume_order"
    LIMIT = "limit"
    ALREADY_SHELVED = "already_shelved"
    ALREADY_ASKED = "already_asked"
    ALREADY_ENDED = "already_ended"
    OTHER = "other"

    @classmethod
    def of(cls, reason: str) -> RefusalCode:
        """The code of a feed's own reason: our word, or one that Japanese library systems write. OTHER for
        any other."""
        word = _folded(reason)
        return _FEEDS_WORDS.get(word) or (cls(word) if word in _CODES else cls.OTHER)


_CODES = frozenset(RefusalCode)
_C = RefusalCode


def _folded(reason: str) -> str:
    return unicodedata.normalize("NFKC", reason).strip().lower()


_FEEDS_WORDS: dict[str, RefusalCode] = {
    **dict.fromkeys(("上限", "上限超過", "予約上限", "予約上限超過", "予約数超過"), _C.LIMIT),
    **dict.fromkeys(("予約点数超過", "予約冊数超過", "点数超過", "冊数超過"), _C.LIMIT),
    **dict.fromkeys(("延滞", "延滞中", "延滞あり", "延滞資料あり"), _C.OVERDUE),
    **dict.fromkeys(("メールアドレス未登録", "メール未登録"), _C.EMAIL_REQUIRED),
    **dict.fromkeys(("在庫", "在架", "在庫あり", "貸出可"), _C.NOT_ON_LOAN),
    **dict.fromkeys(("雑誌最新刊", "雑誌最新号", "最新刊", "最新号"), _C.NEWEST_ISSUE),
    **dict.fromkeys(("館内閲覧のみ", "館内閲覧", "館内のみ", "禁帯出", "貸出不可"), _C.IN_LIBRARY),
    **dict.fromkeys(("行方不明", "所在不明", "不明", "紛失", "亡失", "lost"), _C.MISSING),
    "汚損": _C.SOILED,
    **dict.fromkeys(("破損", "汚破損", "毀損"), _C.DAMAGED),
    **dict.fromkeys(("取置済", "取置済み", "取り置き済み", "お取り置き済み"), _C.ALREADY_SHELVED),
}
"""What Japanese library systems write, beside our own words."""

_LOST_FOR_GOOD = frozenset({"lost", "紛失", "亡失"})


class Spoilt(StrEnum):
    """Why a library cancels a hold that it had accepted."""

    MISSING = "missing"
    LOST = "lost"
    SOILED = "soiled"
    DAMAGED = "damaged"

    @classmethod
    def of(cls, reason: str) -> Spoilt | None:
        """By a feed's own reason, in the same words as `RefusalCode.of`; None for any other."""
        if _folded(reason) in _LOST_FOR_GOOD:
            return cls.LOST
        code = RefusalCode.of(reason)
        return cls(code.value) if code in (_C.MISSING, _C.SOILED, _C.DAMAGED) else None


@dataclass(frozen=True, slots=True)
class Words:
    """A refusal in words: the rule's name for staff, the sentence for the patron."""

    rule_ja: str
    rule_en: str
    ja: str
    en: str
    easy: str

    def sentence(self, language: str) -> str:
        """What the patron reads: Japanese for "ja", やさしい日本語 for "ja-easy", English for any other."""
        return {"ja": self.ja, "ja-easy": self.easy}.get(language, self.en)


_NOT_ACCEPTED = "ご予約をお受けできませんでした。"

WORDS: dict[RefusalCode, Words] = {
    _C.CARD_NUMBER: Words(
        "利用者番号の形式",
        "card number",
        "利用者番号をご確認のうえ、利用者カードに記載の番号を半角数字でご入力ください。",
        "Please check your card number and enter it as it is printed on your card.",
        "カードの ばんごうを たしかめて、はんかくの すうじで いれてください。",
    ),
    _C.EMAIL_REQUIRED: Words(
        "メールアドレス必須",
        "e-mail address required",
        "インターネットからのご予約・お取消しには、メールアドレスのご登録が必要です。",
        "To place or cancel holds online, please register an e-mail address first.",
        "インターネットで よやくや とりけしを するには、メールアドレスの とうろくが いります。",
    ),
    _C.OVERDUE: Words(
        "延滞資料あり",
        "overdue items",
        f"返却期限を過ぎた資料があるため、{_NOT_ACCEPTED}ご返却のあと、あらためてお申し込みください。",
        "We could not accept your hold because you have overdue items. Please return them and ask again.",
        "かえす ひを すぎた ものが あります。かえしてから、もういちど よやくしてください。",
    ),
    _C.NOT_ON_LOAN: Words(
        "貸出中の資料のみ",
        "items on loan only",
        "貸出中でない資料は、インターネットではご予約いただけません。図書館の窓口へお越しください。",
        "Items that are not on loan cannot be put on hold online. Please come to the library for them.",
        "かしだしちゅうで ない ものは、インターネットで よやくできません。としょかんに きてください。",
    ),
    _C.NEWEST_ISSUE: Words(
        "雑誌最新号",
        "newest issue of a magazine",
        f"雑誌の最新号は予約の対象外のため、{_NOT_ACCEPTED}",
        "The newest issue of a magazine cannot be put on hold.",
        "いちばん あたらしい ざっしは、よやくできません。",
    ),
    _C.IN_LIBRARY: Words(
        "館内閲覧のみの資料",
        "for use in the library only",
        f"館内でのみご覧いただける資料のため、{_NOT_ACCEPTED}",
        "This item is for use in the library only and cannot be put on hold.",
        "としょかんの なかで よむ ものなので、よやくできません。",
    ),
    _C.MISSING: Words(
        "所在不明の資料",
        "item missing",
        f"資料の所在を確認できないため、{_NOT_ACCEPTED}",
        "We could not accept your hold because the item cannot be found at present.",
        "その ものが いま みつからないので、よやくできません。",
    ),
    _C.SOILED: Words(
        "汚損した資料",
        "item soiled",
        f"資料が汚れており貸出しができないため、{_NOT_ACCEPTED}",
        "We could not accept your hold because the item is soiled and cannot be lent.",
        "よごれていて、かすことが できません。",
    ),
    _C.DAMAGED: Words(
        "破損した資料",
        "item damaged",
        f"資料が傷んでおり貸出しができないため、{_NOT_ACCEPTED}",
        "We could not accept your hold because the item is damaged and cannot be lent.",
        "こわれていて、かすことが できません。",
    ),
    _C.VOLUME_ORDER: Words(
        "巻順の指定は窓口のみ",
        "volumes in order at the desk only",
        "巻の順番のご指定は、インターネットでは承っておりません。ご希望の場合は窓口でお申し込みください。",
        "Volumes of a set cannot be reserved in order online. Please ask for that at the desk.",
        "よむ じゅんばんは、インターネットでは えらべません。としょかんの カウンターで いってください。",
    ),
    _C.LIMIT: Words(
        "予約点数の上限",
        "limit of holds",
        f"ご予約いただける点数(窓口でのお申し込みを含みます)の上限を超えるため、{_NOT_ACCEPTED}",
        "We could not accept your hold because you have reached the limit, counting holds made at the desk.",
        "よやくできる かずを こえるので、よやくできません(カウンターでの よやくも かぞえます)。",
    ),
    _C.ALREADY_SHELVED: Words(
        "取置き済みの取消し",
        "already on the hold shelf",
        "ご予約の資料はすでに受取館にご用意しております。お取消しは、お手数ですが受取館へ直接ご連絡ください。",
        "Your item is already waiting at the pickup branch. To cancel, please contact the branch directly.",
        "もう としょかんに よういしてあります。とりけす ときは、うけとる としょかんに れんらくしてください。",
    ),
    _C.ALREADY_ASKED: Words(
        "取消申請済み",
        "cancellation already asked for",
        "このご予約のお取消しは、すでに承っております。",
        "We have already received your cancellation of this hold.",
        "とりけしは、もう うけつけています。",
    ),
    _C.ALREADY_ENDED: Words(
        "終了した予約",
        "hold already ended",
        "このご予約はすでに終了しているため、お取消しの手続きはできませんでした。",
        "This hold has already ended, so there is nothing to cancel.",
        "この よやくは もう おわっています。とりけしは できません。",
    ),
    _C.OTHER: Words(
        "その他",
        "other reason",
        "お申し込みをお受けできませんでした。くわしくは図書館へお問い合わせください。",
        "We could not accept your request. Please ask the library for details.",
        "くわしいことは、としょかんに きいてください。",
    ),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `at_most` holds of these materials together; no materials: of all.

    `name_ja` and `name_en` go into the patron's sentence: 本 / books, 合計 / items in all.
    """

    at_most: int
    materials: frozenset[str] = frozenset()
    name_ja: str = "合計"
    name_en: str = "items in all"
    unit_ja: str = "点"

    def __post_init__(self) -> None:
        if self.at_most < 0:
            raise BadInput(f"limit {self.name_en}: {self.at_most} is negative")

    def covers(self, material: str) -> bool:
        return not self.materials or material in self.materials

    def sentence(self, language: str) -> str:
        """For the patron, with the number."""
        if language == "ja-easy":
            number = f"{self.name_ja} {self.at_most}{self.unit_ja}まで"
            return f"よやくできるのは {number}です(カウンターでの よやくも かぞえます)。"
        if language == "ja":
            number = f"{self.name_ja}{self.at_most}{self.unit_ja}まで(窓口でのお申し込みを含みます)"
            return f"ご予約いただけるのは{number}です。これを超えるため、{_NOT_ACCEPTED}"
        most = f"{self.at_most} {self.name_en} on hold, counting holds made at the desk"
        return f"You may have up to {most}, so we could not accept this one."


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why not. `limit` is set for LIMIT alone; a feed that refuses does not say which."""

    code: RefusalCode
    limit: Limit | None = None

    def sentence(self, language: str) -> str:
        """What the patron reads, see `Words.sentence`."""
        return (self.limit or WORDS[self.code]).sentence(language)

    @property
    def note(self) -> str:
        """One line by which a notice keeps it; `noted` reads it."""
        if self.limit is None:
            return self.code.value
        said = [self.limit.at_most, self.limit.name_ja, self.limit.name_en, self.limit.unit_ja]
        return _LIMIT_NOTE + json.dumps(said, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def noted(cls, note: str) -> Refusal:
        """What `note` wrote down, or the refusal that a feed's own reason means."""
        if not note.startswith(_LIMIT_NOTE):
            return cls(RefusalCode.of(note))
        try:
            at_most, name_ja, name_en, unit_ja = json.loads(note.removeprefix(_LIMIT_NOTE))
            limit = Limit(int(at_most), frozenset(), str(name_ja), str(name_en), str(unit_ja))
        except (ValueError, TypeError, BadInput, RecursionError):
            # a feed may write what it likes behind our word: it is a limit, we do not know which
            return cls(RefusalCode.LIMIT)
        return cls(RefusalCode.LIMIT, limit)


_LIMIT_NOTE = "limit:"
