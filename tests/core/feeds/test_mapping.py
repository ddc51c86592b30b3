"""Cells to rows: columns and words of a library's own, and what is wrong with a row."""

import json

import pytest

from holds_core.errors import BadInput
from holds_core.feeds.csv import Record
from holds_core.feeds.mapping import Kind, Mapper, Reading, kind_of
from holds_core.settings import Snapshot
from tests.core.feeds.conftest import settings

MAPPED = """
feeds:
  snapshots:
    - name: nightly
      patrons:
        columns: {patron_id: 利用者番号, emails: [メール1, メール2], name: 氏名, contact: 連絡, overdue: 延滞}
      holds:
        columns: {hold_id: 予約番号, patron_id: 利用者番号, state: 状態, deadline: 期限}
        states: {placed: [予約済, 割当待], ready: [確保済]}
      words: {phone: [TEL連絡], "yes": [該当]}
"""


def snapshot(config: str = MAPPED) -> Snapshot:
    return settings(config).feeds.snapshots[0]


def patron(*cells: str, heading: str = "利用者番号,氏名,メール1,メール2,連絡,延滞") -> Reading:
    mapper = Mapper(snapshot(), Kind.PATRONS, heading.split(","), "email")
    return mapper.read(Record(2, list(cells)))


def hold(*cells: str) -> Reading:
    mapper = Mapper(snapshot(), Kind.HOLDS, ["予約番号", "利用者番号", "状態", "期限"], "email")
    return mapper.read(Record(7, list(cells)))


def fields(reading: Reading) -> dict[str, object]:
    assert reading.row is not None, reading.faults
    found: dict[str, object] = json.loads(reading.row.fields)
    return found


def test_a_patron() -> None:
    said = fields(patron(" 0001 ", "佐藤　花子", "a@x.jp", "", "ＴＥＬ連絡", "該当"))
    assert said == {
        "patron_id": "0001",
        "emails": ["a@x.jp"],
        "name": "佐藤　花子",
        "contact": "phone",
        "overdue": True,
    }


def test_empty_cells_say_that_there_is_nothing_and_missing_columns_say_nothing() -> None:
    said = fields(patron("1", "", "", "", "", ""))
    assert said == {"patron_id": "1", "emails": [], "name": "", "contact": "email", "overdue": False}


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("予約済", "placed"),
        ("割当待", "placed"),
        ("確保済", "ready"),
        ("お取り置き", "ready"),
        ("COLLECTED", "collected"),
    ],
)
def test_words_of_theirs_and_ours(word: str, state: str) -> None:
    assert fields(hold("H1", "P1", word, ""))["state"] == state


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2026-11-30", "2026-11-30"),
        ("2026/1/5", "2026-01-05"),
        ("20261130", "2026-11-30"),
        ("２０２６／１１／３０", "2026-11-30"),
        ("2026年11月30日", "2026-11-30"),
        ("2026-11-30 23:59:59", "2026-11-30"),
        ("2026-11-30T00:00:00+09:00", "2026-11-30"),
        ("令和8年11月30日", "2026-11-30"),
        ("R08.11.30", "2026-11-30"),
        ("令和元年5月1日", "2019-05-01"),
        ("H31.4.30", "2019-04-30"),
        ("", None),
        ("00000000", None),
        ("0000/00/00", None),
        ("99999999", None),
        ("9999/99/99", None),
        ("9999-12-31", None),
    ],
)
def test_dates(cell: str, day: str | None) -> None:
    assert fields(hold("H1", "P1", "ready", cell))["deadline"] == day


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("H1", "P1", "貸出予約", ""), "7行目 3列目「状態」: 「貸出予約」は予約状態の対応表にありません。"),
        (("H1", "P1", "ready", "2026-02-30"), "7行目 4列目「期限」: 「2026-02-30」という日付はありません。"),
        (
            ("H1", "P1", "ready", "1926-11-30"),
            "7行目 4列目「期限」: 「1926-11-30」は取置の日付としてありえません",
        ),
        (
            ("H1", "P1", "ready", "昭和8年11月30日"),
            "7行目 4列目「期限」: 「昭和8年11月30日」は取置の日付として",
        ),
        (
            ("H1", "P1", "ready", "2826-11-30"),
            "7行目 4列目「期限」: 「2826-11-30」は取置の日付としてありえません",
        ),
        (("H1", "P1", "ready", "来週"), "7行目 4列目「期限」: 「来週」は日付として読めません"),
        (("H1", "", "ready", ""), "7行目 2列目「利用者番号」: 値がありません。"),
        (("", "P1", "ready", ""), "7行目 1列目「予約番号」: 値がありません。"),
        (("H1", "P1", "ready"), "7行目 4列目「期限」: 列が3個あります (見出しは4個)。"),
        (("H1", *["x"] * 9999), "7行目 5列目: 列が10,000個あります (見出しは4個)。"),
        (("H" * 201, "P1", "ready", ""), "7行目 1列目「予約番号」: 番号は印刷できる文字200字までです。"),
    ],
    ids=[
        "state",
        "date",
        "long-ago",
        "wrong-era",
        "never",
        "no-date",
        "patron",
        "key",
        "few",
        "10000-columns",
        "long-key",
    ],
)
def test_faults_name_line_and_column(cells: tuple[str, ...], said: str) -> None:
    reading = hold(*cells)
    assert reading.row is None
    assert str(reading.faults[0]).startswith(said)
    assert "line 7" in str(reading.faults[0])


def test_all_faults_of_a_row_come_at_once_and_its_key_is_known() -> None:
    reading = hold("H1", "P1", "?", "?")
    assert len(reading.faults) == 2
    assert reading.key == "H1"


def test_no_address_or_name_stands_in_a_fault() -> None:
    reading = patron("1", "佐藤", "a" * 330 + "@x.jp", "", "伝書鳩", "")
    text = " ".join(map(str, reading.faults))
    assert "佐藤" not in text
    assert "aaa" not in text
    assert "伝書鳩" in text


def test_cells_that_a_spreadsheet_left_behind_are_no_fault() -> None:
    assert fields(hold("H1", "P1", "ready", "", "", ""))["hold_id"] == "H1"
    assert fields(hold('="0012"', "P1", "ready", ""))["hold_id"] == "0012"


def test_missing_columns_come_at_once_with_what_was_probably_meant() -> None:
    with pytest.raises(BadInput) as caught:
        Mapper(snapshot(), Kind.HOLDS, ["予約No", "利用者番号", "状態コード", "期限"], "email")
    assert "「予約番号」" in str(caught.value)
    assert "「状態」 (「状態コード」の誤りではありませんか)" in str(caught.value)
    assert "line 1" in str(caught.value)


def test_a_heading_that_stands_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="more than one column"):
        Mapper(snapshot(), Kind.HOLDS, ["予約番号", "利用者番号", "状態", "期限", "状態"], "email")


@pytest.mark.parametrize(
    ("heading", "kind"),
    [("予約番号,利用者番号", Kind.HOLDS), ("利用者番号,氏名", Kind.PATRONS), ("a,b", None)],
)
def test_the_heading_says_what_a_file_is(heading: str, kind: Kind | None) -> None:
    assert kind_of(snapshot(), heading.split(",")) is kind


def test_a_word_of_two_states_is_an_error_of_the_settings() -> None:
    from holds_core.config import ConfigError

    with pytest.raises(ConfigError, match=r"feeds\.snapshots\[0\]\.holds\.states\.ready"):
        snapshot("feeds: {snapshots: [{name: n, holds: {states: {placed: [確保], ready: [確保]}}}]}")


@pytest.mark.parametrize(("cell", "meant"), [("非表示", "none"), ("short", "short"), ("", "")])
def test_a_column_says_how_much_of_a_title_a_patrons_mail_shows(cell: str, meant: str) -> None:
    heading = "利用者番号,氏名,メール1,メール2,連絡,延滞,title_policy"
    said = fields(patron("1", "", "", "", "", "", cell, heading=heading))
    assert said["title_policy"] == meant
