"""The undelivered-mail report as staff read it: rows in, CSV for Excel or a printable page out. Pure."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from holds_core.labels import FAULTS, FINDINGS, KINDS, REASONS, STATES, say
from holds_core.ledger.queries import Undelivered

COLUMNS: tuple[tuple[str, str], ...] = (
    ("期限", "deadline"),
    ("利用者番号", "patron_id"),
    ("氏名", "name"),
    ("アドレス", "address"),
    ("通知", "kind"),
    ("状態", "state"),
    ("到着", "finding"),
    ("理由", "reason"),
    ("原因", "fault"),
    ("送信", "sent_at"),
    ("予約", "hold_ids"),
    ("通知番号", "notice_id"),
)


def cells(line: Undelivered, zone: ZoneInfo) -> tuple[str, ...]:
    """One row in the order of COLUMNS, in Japanese."""
    return (
        day(line.deadline),
        line.patron_id,
        line.patron_name,
        line.address,
        say(KINDS, line.kind),
        say(STATES, line.state),
        say(FINDINGS, line.finding),
        say(REASONS, line.reason),
        say(FAULTS, line.fault),
        f"{line.sent_at.astimezone(zone):%Y-%m-%d %H:%M}" if line.sent_at else "",
        " ".join(line.hold_ids),
        line.notice_id,
    )


def day(value: date | None) -> str:
    """11月22日(日), or nothing."""
    return f"{value.month}月{value.day}日({'月火水木金土日'[value.weekday()]})" if value else ""


def as_csv(lines: Sequence[Undelivered], zone: ZoneInfo) -> bytes:
    """UTF-8 with a byte order mark and CRLF, as Excel opens it; no cell is taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([ja for ja, _ in COLUMNS])
    writer.writerows([[harmless(cell) for cell in cells(line, zone)] for line in lines])
    return out.getvalue().encode("utf-8-sig")


def harmless(cell: str) -> str:
    """A cell that a spreadsheet shows and does not run (OWASP, CSV injection)."""
    # blanks before a formula are dropped by some spreadsheets when they open a CSV file
    begins = cell.startswith(_FORMULA) or cell.lstrip(" \u3000").startswith(_FORMULA)
    return "'" + cell if begins else cell


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What may begin a formula; a Japanese Excel takes the full-width forms too."""


def as_html(
    lines: Sequence[Undelivered],
    zone: ZoneInfo,
    as_of: datetime,
    library: str,
    data_as_of: datetime | None = None,
) -> str:
    """One page that prints on A4, with nothing from outside. `data_as_of`: of the library system's data."""
    head = "".join(f"<th>{html.escape(ja)}<br><small>{html.escape(en)}</small></th>" for ja, en in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(line, zone)) + "</tr>\n"
        for line in lines
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"
    empty = "<p>不達はありません。 Nothing is undelivered.</p>"
    return _PAGE.format(
        library=html.escape(library),
        as_of=f"{as_of.astimezone(zone):%Y-%m-%d %H:%M}",
        count=len(lines),
        data=f" · {data_line(data_as_of, zone)}" if data_as_of else "",
        body=body if lines else empty,
    )


def data_line(as_of: datetime, zone: ZoneInfo) -> str:
    """What the library system's data are as of: 「図書館システムのデータ 11月24日 02:10 現在」."""
    local = as_of.astimezone(zone)
    return f"図書館システムのデータ {local.month}月{local.day}日 {local:%H:%M} 現在"


_PAGE = """<!DOCTYPE html>
<html lang="ja"><head><meta charset="utf-8"><title>不達レポート {as_of}</title>
<style>
@page {{ size: A4 landscape; margin: 12mm }}
body {{ font: 10pt/1.5 "Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", sans-serif; color: #222 }}
h1 {{ font-size: 16pt; margin: 0 }} .secret {{ float: right; border: 2px solid #b00; color: #b00; padding: 0 .6em }}
table {{ border-collapse: collapse; width: 100% }} th, td {{ border: 1px solid #999; padding: .25em .4em;
text-align: left; vertical-align: top; overflow-wrap: anywhere }} th {{ background: #eef3f0; font-weight: 600 }}
small {{ color: #666; font-weight: normal }} tr {{ break-inside: avoid }}
</style></head><body>
<p class="secret">取扱注意</p>
<h1>不達レポート <small>Undelivered mail</small></h1>
<p>{library} · {as_of} 現在 · {count}件{data}</p>
{body}
</body></html>
"""
