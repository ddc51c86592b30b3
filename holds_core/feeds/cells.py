"""One cell of a snapshot -> one value, or what is wrong with it: ids, texts, dates, and words of a library. Pure.

A converter gets a cell without blanks at its ends, never an empty one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias

from holds_core.deadline import SHELF_YEARS, shelf_day
from holds_core.errors import BadInput
from holds_core.patrons import clean_text


class BadCell(ValueError):  # noqa: N818
    """A cell that cannot be used; args are Japanese and English."""


Convert: TypeAlias = Callable[[str], Any]
"""One cell, blanks at its ends removed, never empty -> the field's value. Raises BadCell."""

_FORMULA = re.compile(r'="(.*)"')


def identifier(cell: str) -> str:
    """An id of at most 200 printable characters, as the event format has them."""
    # ="0012345": what exports write to keep Excel from eating leading zeros
    if match := _FORMULA.fullmatch(cell):
        cell = match[1].strip()
    if not cell or len(cell) > 200 or not cell.isprintable():
        raise BadCell("番号は印刷できる文字200字までです。", "an id has 1 to 200 printable characters")
    return cell


def text_of(limit: int) -> Convert:
    """A converter to one line of text; what is longer than `limit` characters is shortened."""

    def convert(cell: str) -> str:
        if len(cell) <= limit and cell.isprintable() and "  " not in cell:
            return cell  # nothing that `clean_text` would change, told faster
        try:
            return clean_text(cell, limit)
        except BadInput:
            raise BadCell("文字が壊れています。", "half a character") from None

    return convert


def email(cell: str) -> str:
    """An address as it was given. Whether mail can reach it is not judged here."""
    if len(cell) > 320:
        raise BadCell("メールアドレスが長すぎます (上限320字)。", "the address is longer than 320 characters")
    return str(text_of(320)(cell))


def volume(cell: str) -> int:
    """The number of a volume, also in full-width digits."""
    digits = unicodedata.normalize("NFKC", cell)
    if not re.fullmatch(r"[0-9]{1,6}", digits) or int(digits) > 100_000:
        raise BadCell("巻次は0〜100000の整数です。", "a volume is a whole number from 0 to 100000")
    return int(digits)


_ERAS = {"明": 1867, "M": 1867, "大": 1911, "T": 1911, "昭": 1925, "S": 1925}
_ERAS |= {"平": 1988, "H": 1988, "令": 2018, "R": 2018}
_TIME = r"(?:[ T].*)?"
_DATE = re.compile(
    rf"([0-9]{{4}})(?:[-/.年]([0-9]{{1,2}})[-/.月]([0-9]{{1,2}})日?|([0-9]{{2}})([0-9]{{2}})){_TIME}"
)
_ERA_DATE = re.compile(
    rf"(明治|大正|昭和|平成|令和|[明大昭平令MTSHR])\.?\s*(元|[0-9]{{1,2}})[-/.年]\s*([0-9]{{1,2}})[-/.月]\s*([0-9]{{1,2}})日?{_TIME}"
)
_NO_DATE = re.compile(r"0[0/.-]*|9999[/.-]?99[/.-]?99")


def day(cell: str) -> str | None:
    """2026-11-22, 2026/11/22, 20261122, 2026年11月22日, 令和8年11月22日, R8.11.22; a time may follow.

    All zeros, or all nines, means no date, as older systems write it.
    """
    text = unicodedata.normalize("NFKC", cell).upper()
    if _NO_DATE.fullmatch(text):
        return None
    try:
        found = _day(text)
        if found is None:
            raise BadCell(
                f"「{shown(cell)}」は日付として読めません (2026-11-22 など)。",
                f'"{shown(cell)}" is no date such as 2026-11-22',
            )
        return known.isoformat() if (known := shelf_day(found)) else None
    except BadCell:
        raise
    except BadInput as error:
        raise BadCell(
            f"「{shown(cell)}」は取置の日付としてありえません ({SHELF_YEARS[0]}〜{SHELF_YEARS[1]}年)。",
            f'"{shown(cell)}": {error}',
        ) from None
    except ValueError:
        raise BadCell(
            f"「{shown(cell)}」という日付はありません。", f'there is no such date: "{shown(cell)}"'
        ) from None


def _day(text: str) -> date | None:
    """Raises ValueError for 30 February."""
    if match := _DATE.fullmatch(text):
        return date(int(match[1]), int(match[2] or match[4]), int(match[3] or match[5]))
    if match := _ERA_DATE.fullmatch(text):
        year = _ERAS[match[1][0]] + (1 if match[2] == "元" else int(match[2]))
        return date(year, int(match[3]), int(match[4]))
    return None


def shown(cell: str) -> str:
    """A cell as it may stand in a sentence: one line, at most 30 characters."""
    text = "".join(character if character.isprintable() else "?" for character in cell[:31])
    return text if len(text) <= 30 else text[:29] + "…"


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).strip().casefold()


def one_of(words: dict[str, Any], ja: str, en: str) -> Convert:
    """A converter by a table of folded words; what it makes of a cell is remembered."""
    known: dict[str, Any] = {}

    def convert(cell: str) -> Any:
        if cell in known:
            return known[cell]
        try:
            value = words[_folded(cell)]
        except KeyError:
            raise BadCell(
                f"「{shown(cell)}」は{ja}の対応表にありません。",
                f'"{shown(cell)}" is no known word for {en}',
            ) from None
        known[cell] = value
        return value

    return convert


def table(own: Mapping[Any, Sequence[str]], theirs: Mapping[Any, Sequence[str]]) -> dict[str, Any]:
    """Folded word -> value; the library's words win over ours."""
    return {
        _folded(word): value
        for words in (own, theirs)
        for value, spellings in words.items()
        for word in spellings
    }


CONTACT = {
    "email": ("email", "e-mail", "mail", "メール", "電子メール", "eメール"),
    "phone": ("phone", "tel", "電話"),
    "post": ("post", "letter", "郵便", "郵送", "はがき", "ハガキ"),
    "none": ("none", "不要", "連絡不要", "なし"),
}
TITLES = {
    "full": ("full", "全体", "全部", "表示"),
    "short": ("short", "冒頭", "一部"),
    "none": ("none", "非表示", "なし", "載せない"),
}
VIA = {"web": ("web", "opac", "インターネット", "ウェブ"), "desk": ("desk", "窓口", "カウンター")}
BY = {"patron": ("patron", "利用者"), "library": ("library", "図書館", "館")}
FLAG = {
    True: ("1", "yes", "y", "true", "t", "on", "有", "あり", "○", "〇", "◯", "はい"),
    False: ("0", "no", "n", "false", "f", "off", "無", "なし", "×", "いいえ"),
}
