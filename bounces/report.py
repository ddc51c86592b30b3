"""The undelivered-mail report as staff read it: rows in, CSV for Excel or a printable page out. Pure."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from holds_core.ledger.queries import Undelivered
from holds_core.reasons import MEANING, Reason

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

KINDS = {
    "hold_placed": "予約完了",
    "hold_refused": "予約不可",
    "hold_ready": "取置のお知らせ",
    "hold_expiring": "期限のお知らせ",
    "hold_lapsed": "予約解除",
    "cancel_done": "取消完了",
    "cancel_refused": "取消不可",
    "hold_cancelled_by_library": "図書館による取消",
    "registration_changed": "登録情報変更",
    "registration_changed_old": "登録情報変更(旧)",
    "sender_migration": "送信元変更",
}
STATES = {
    "pending": "送信待ち",
    "sending": "送信中",
    "handed_over": "送信処理済み(到着未確認)",
    "refused": "受信側が受け付けず",
    "retrying": "再送待ち",
    "uncertain": "送信結果不明",
    "expired": "送信断念",
    "cancelled": "送信取りやめ",
    "withheld": "送信見合わせ",
}
FINDINGS = {"waiting": "確認待ち", "confirmed": "到着確認", "bounced": "不達", "unanswered": "到着確認なし"}
FAULTS = {"patron": "利用者側", "provider": "メール事業者", "us": "図書館側", "": ""}
REASONS = {
    "no_sign": "反応がありません",
    "no_address": "メールアドレスの登録なし",
    "provisional": "仮のメールアドレス",
    "unreachable": "届かないアドレス",
    "contact_phone": "電話連絡を希望",
    "contact_post": "郵便連絡を希望",
    "patron_unknown": "利用者情報が未着",
    "interrupted": "送信中に接続が切れた",
    "uncertain": "送信結果不明",
    "cannot_be_written": "メールを作成できず",
    "too_late": "時機を過ぎた",
    "evidence": "送信結果は後の報告で判明",
}


def reason_ja(reason: str) -> str:
    """A reason in a word or two of Japanese."""
    if reason in REASONS:
        return REASONS[reason]
    return MEANING[Reason(reason)][0] if reason in list(Reason) else reason


def cells(line: Undelivered, zone: ZoneInfo) -> tuple[str, ...]:
    """One row in the order of COLUMNS, in Japanese."""
    return (
        day(line.deadline),
        line.patron_id,
        line.patron_name,
        line.address,
        KINDS.get(line.kind, line.kind),
        STATES.get(line.state, line.state),
        FINDINGS.get(line.finding, line.finding),
        reason_ja(line.reason),
        FAULTS.get(line.fault, line.fault),
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
    return "'" + cell if cell.startswith(_FORMULA) else cell


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What may begin a formula; a Japanese Excel takes the full-width forms too."""


def as_html(lines: Sequence[Undelivered], zone: ZoneInfo, as_of: datetime, library: str) -> str:
    """One page that prints on A4, with nothing from outside."""
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
        body=body if lines else empty,
    )


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
<p>{library} · {as_of} 現在 · {count}件</p>
{body}
</body></html>
"""
