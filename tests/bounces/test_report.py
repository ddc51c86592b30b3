"""The undelivered-mail report as Excel and a printer take it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounces.report import (
    COLUMNS,
    as_csv,
    as_html,
    cells,
    day,
)
from holds_core.address_checks import CASES as DOUBTS
from holds_core.address_checks import IMPOSSIBLE
from holds_core.labels import FAULTS, FINDINGS, KINDS, REASONS, STATES, Words, say
from holds_core.ledger.cases import REASONS as CASE_REASONS
from holds_core.ledger.queries import Undelivered
from holds_core.notices import Finding, Kind, Transmission
from holds_core.reasons import Fault, Reason

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LINE = Undelivered(
    notice_id="N1",
    patron_id="P1",
    address="p1@example.jp",
    kind="hold_ready",
    state="handed_over",
    finding="bounced",
    reason="userunknown",
    fault="patron",
    sent_at=NOW,
    deadline=date(2026, 11, 30),
    hold_ids=("H1", "H2"),
    patron_name="図書 花子",
)


def table(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_a_line_in_japanese() -> None:
    header, line = table(as_csv([LINE], TOKYO))
    assert dict(zip(header, line, strict=True)) == {
        "期限": "11月30日(月)",
        "利用者番号": "P1",
        "氏名": "図書 花子",
        "アドレス": "p1@example.jp",
        "通知": "取置のお知らせ",
        "状態": "送信処理済み(到着未確認)",
        "到着": "不達",
        "理由": say(REASONS, "userunknown"),
        "原因": "利用者側",
        "送信": "2026-11-24 12:00",
        "予約": "H1 H2",
        "通知番号": "N1",
    }


def test_excel_opens_it() -> None:
    data = as_csv([LINE, LINE], TOKYO)
    assert data.startswith(b"\xef\xbb\xbf")
    assert data.count(b"\r\n") == data.count(b"\n") == 3
    assert len(table(as_csv([], TOKYO))) == 1


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+81",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "＋1",
        "－1",
        "＠x",
        '=HYPERLINK("http://x")',
    ],
)
def test_no_cell_is_run_as_a_formula(name: str) -> None:
    [_, line] = table(as_csv([replace(LINE, patron_name=name, address=name, hold_ids=(name,))], TOKYO))
    assert [line[2], line[3], line[10]] == ["'" + name] * 3


@given(
    st.text(" \u3000", max_size=2),
    st.sampled_from(["", *"=+-@\t\r\n＝＋－＠"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_any_name_is_one_cell_that_is_no_formula(blanks: str, sign: str, rest: str) -> None:
    name = blanks + sign + rest
    [_, line] = table(as_csv([replace(LINE, patron_name=name)], TOKYO))
    assert line[2].removeprefix("'") == name.removeprefix("'")
    # some spreadsheets drop the blanks
    assert line[2].lstrip(" \u3000")[:1] not in set("=+-@\t\r\n＝＋－＠")


class Cells(HTMLParser):
    """The page's tags and the text of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [name for name, _ in attrs if name in ("src", "href", "onclick", "onerror")]
        self._inside = tag == "td"
        if self._inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


NASTY = '<script>alert("x")</script>&amp;{count}<img src=x onerror=y>'


def test_what_comes_from_outside_is_text_in_the_page() -> None:
    line = replace(LINE, patron_name=NASTY, address=NASTY, patron_id=NASTY, reason=NASTY, hold_ids=(NASTY,))
    page = as_html([line], TOKYO, NOW, NASTY)
    found = Cells(page)
    assert [cell for cell in found.cells if cell == NASTY] == [NASTY] * 5
    assert not {"script", "img", "link"} & set(found.tags)
    assert found.links == []
    assert "2026-11-24 12:00 現在 · 1件" in page


def test_a_page_without_lines_says_so() -> None:
    assert "不達はありません。" in as_html([], TOKYO, NOW, "とどく市立図書館")


@pytest.mark.parametrize(
    ("words", "names"), [(KINDS, Kind), (STATES, Transmission), (FINDINGS, Finding), (FAULTS, Fault)]
)
def test_everything_has_its_words(words: Words, names: list[str]) -> None:
    assert set(words) == set(names)
    assert all(not ja.isascii() and en.isascii() for ja, en in words.values())


def test_every_reason_is_said_in_japanese() -> None:
    of_cases_alone = {"not_me", "replied", "expired", "at_risk", *DOUBTS.values(), IMPOSSIBLE}
    for reason in [*Reason, *(set(CASE_REASONS) - of_cases_alone)]:
        assert not say(REASONS, reason).isascii(), reason
    assert say(REASONS, "") == ""


def test_mail_is_never_called_delivered() -> None:
    """A 250 is not delivery."""
    said = [ja for table in (STATES, FINDINGS, REASONS) for ja, _ in table.values()]
    assert "送信済み" not in "".join(said)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (date(2026, 11, 22), "11月22日(日)"), (date(2027, 1, 1), "1月1日(金)")],
)
def test_a_day(value: date | None, text: str) -> None:
    assert day(value) == text


def test_what_is_not_known_is_empty() -> None:
    bare = Undelivered("N1", "P1", "", "hold_ready", "withheld", "waiting", "", "", None, None, ())
    assert len(cells(bare, TOKYO)) == len(COLUMNS)
    assert [cell for cell in cells(bare, TOKYO) if cell] == [
        "P1",
        "取置のお知らせ",
        "送信見合わせ",
        "到着確認待ち",
        "N1",
    ]
