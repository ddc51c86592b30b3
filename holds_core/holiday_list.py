"""The Cabinet Office's list of public holidays (syukujitsu.csv): bytes in, days and names out. Pure.

For a library without internet that must know a holiday moved by law. A list that is cut short is refused: it
would quietly turn holidays into working days.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date

from holds_core.errors import BadInput

MAX_CSV_BYTES = 1 << 20  # the list of 70 years has 20 KB

_HEADER = "国民の祝日・休日月日,国民の祝日・休日名称"


def read_official(data: bytes) -> dict[date, str]:
    """Reads the Cabinet Office's list of public holidays (syukujitsu.csv) for `Holidays.official`.

    CP932 as published, or UTF-8 with a BOM as spreadsheets save it; header 国民の祝日・休日月日,
    国民の祝日・休日名称; dates as 2024/1/1 (2024-01-01 is taken too). Raises BadInput that names the line.
    """
    if len(data) > MAX_CSV_BYTES:
        raise BadInput(f"holiday list: {len(data)} bytes is too long to be the Cabinet Office's file")
    encoding = "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "cp932"
    try:
        lines = data.decode(encoding).splitlines()
    except UnicodeDecodeError as error:
        where = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"holiday list, line {where}: not readable as {encoding}") from error
    if not lines or lines[0].strip() != _HEADER:
        raise BadInput(f"holiday list, line 1: expected the header {_HEADER}")
    days: dict[date, str] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip(" ,"):  # spreadsheets leave empty rows behind
            day, name = _holiday(line, number)
            if day in days:
                raise BadInput(f"holiday list, line {number}: {day} stands there twice")
            days[day] = name
    _check_years(days)
    return days


def _holiday(line: str, number: int) -> tuple[date, str]:
    # names hold no comma and need no quotes; a third column means that something has shifted
    found = re.fullmatch(r"([0-9]{4})([/-])([0-9]{1,2})\2([0-9]{1,2}),([^,]*[^, ])", line.strip())
    try:
        if found:
            return date(int(found[1]), int(found[3]), int(found[4])), found[5].strip()
    except ValueError:
        pass
    raise BadInput(f"holiday list, line {number}: expected date and name as in 2024/1/1,元日: {line[:40]!r}")


def _check_years(days: Mapping[date, str]) -> None:
    # A list cut short would quietly turn holidays into working days.
    if not days:
        raise BadInput("holiday list: it holds no day at all")
    count = Counter(day.year for day in days)
    for year, number in sorted(count.items()):
        # no year of the law had fewer than nine holidays, and each began with New Year's Day
        if number < 9 or date(year, 1, 1) not in days:
            raise BadInput(f"holiday list: year {year} has {number} day(s) only; the file seems to be cut")
