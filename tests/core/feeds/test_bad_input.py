"""What a library system may hand in by mistake: each with file, line and column, the good rows counting, and
nothing applied by halves.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from holds_core.ledger.models import events, hold_steps, holds, patrons, snapshot_rows, snapshot_runs
from tests.core.feeds.conftest import Nightly

HEADING = "hold_id,patron_id,state,title,deadline\n"
GOOD = "H1,P1,placed,門,\nH2,P2,placed,三四郎,\n"
WIDE = "H9,P9,ready" + ",x" * 9_997

CASES: dict[str, tuple[bytes, list[str]]] = {
    "unknown status": (
        f"{HEADING}{GOOD}H3,P3,宇宙,,\n".encode(),
        ["{file}: 4行目 3列目「state」: 「宇宙」は予約状態の対応表にありません。", "line 4, column 3"],
    ),
    "impossible date": (
        f"{HEADING}{GOOD}H3,P3,ready,,2026-02-30\n".encode(),
        ["{file}: 4行目 5列目「deadline」: 「2026-02-30」という日付はありません。", "line 4, column 5"],
    ),
    "a date of another century": (
        f"{HEADING}{GOOD}H3,P3,ready,,1926-12-05\n".encode(),
        ["{file}: 4行目 5列目「deadline」: 「1926-12-05」は取置の日付としてありえません", "line 4, column 5"],
    ),
    "duplicate id, other values": (
        f"{HEADING}{GOOD}H3,P3,ready,,\nH3,P3,placed,,\n".encode(),
        ["{file}: 5行目 1列目「hold_id」: 4行目と番号が同じで内容が違います。", "line 5, column 1"],
    ),
    "10,000 columns": (
        f"{HEADING}{GOOD}{WIDE}\n".encode(),
        ["{file}: 4行目 6列目: 列が10,000個あります (見出しは5個)。", "line 4, column 6"],
    ),
    "too few columns": (
        f"{HEADING}{GOOD}H3,P3,ready\n".encode(),
        ["{file}: 4行目 4列目「title」: 列が3個あります (見出しは5個)。", "line 4, column 4"],
    ),
    "CP932 in UTF-8": (
        f"{HEADING}{GOOD}".encode() + "H3,P3,placed,髙瀬舟,\n".encode("cp932"),
        ["{file}: 4行目 4列目「title」:", "line 4, column 4", "CP932"],
    ),
    "UTF-8 in CP932": (
        f"{HEADING}{GOOD}".encode("cp932") * 1 + "H3,P3,placed,図書館,\n".encode(),
        ["{file}: 4行目 4列目「title」: この行だけ UTF-8 のようです", "line 4, column 4"],
    ),
    "no id": (
        f"{HEADING}{GOOD},P3,placed,,\n".encode(),
        ["{file}: 4行目 1列目「hold_id」: 値がありません。"],
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_bad_row_is_named_and_the_good_ones_count(nightly: Nightly, case: str) -> None:
    data, said = CASES[case]
    path = nightly.write(data)
    report = await nightly.intake.take(path, nightly.snapshot)
    assert report.failed
    assert not report.refused
    text = "\n".join(report.lines())
    for words in said:
        assert words.format(file=path.name) in text, text
    assert await nightly.states() == {"H1": "placed", "H2": "placed"}
    assert await _nothing_by_halves(nightly, 2)


FILES: dict[str, tuple[str, bytes, list[str]]] = {
    "wrong column mapping": (
        "feeds: {snapshots: [{name: nightly, holds: {columns: {hold_id: 予約番号, state: 状態}}}]}",
        f"{HEADING}{GOOD}".encode(),
        ["1行目: 見出しに「予約番号」、「状態」の列がありません。", "line 1: the heading lacks"],
    ),
    "a mapping to another column": (
        "feeds: {snapshots: [{name: nightly, holds: {columns: {state: title}}}]}",
        f"{HEADING}{GOOD}".encode(),
        ["使える行が1つもありません", "{file}: 2行目 4列目「title」: 「門」は予約状態の対応表にありません。"],
    ),
    "a column twice": (
        "",
        b"hold_id,patron_id,state,state\nH1,P1,placed,placed\n",
        ["「state」の列が2つ以上"],
    ),
    "UTF-16": ("", f"{HEADING}{GOOD}".encode("utf-16"), ["UTF-16 で保存されています"]),
    "a workbook": ("", b"PK\x03\x04\x14\x00\x06\x00" + bytes(range(256)), ["Excel のブックです", "workbook"]),
    "an old workbook": ("", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ["Excel のブックです"]),
    "tabs where commas are configured": (
        "feeds: {snapshots: [{name: nightly, holds: {columns: {hold_id: 予約番号, state: 状態}}}]}",
        "予約番号\tpatron_id\t状態\nH1\tP1\t予約中\n".encode("cp932"),
        ["1行目: タブ区切りのようです。", "delimiter を tab に", "separated by tab"],
    ),
    "commas where tabs are configured": (
        "feeds: {snapshots: [{name: nightly, delimiter: tab, holds: {columns: {hold_id: 予約番号, state: 状態}}}]}",
        "予約番号,patron_id,状態\nH1,P1,予約中\n".encode(),
        ["1行目: コンマ区切りのようです。"],
    ),
}


@pytest.mark.parametrize("case", FILES)
async def test_a_file_that_cannot_be_used_changes_nothing(nightly: Nightly, case: str) -> None:
    config, data, said = FILES[case]
    if config:
        nightly.use(config)
    path = nightly.write(data)
    report = await nightly.intake.take(path, nightly.snapshot)
    assert report.refused
    text = "\n".join(report.lines())
    assert text.startswith(path.name)
    for words in said:
        assert words.format(file=path.name) in text, text
    assert await nightly.states() == {}
    assert await _nothing_by_halves(nightly, 0)


async def test_a_file_of_a_gigabyte_is_refused_unread(nightly: Nightly) -> None:
    path = nightly.folder / "20261124_0210_holds.csv"
    with path.open("wb") as file:
        file.truncate(1024**3)  # sparse: takes no room
    report = await nightly.intake.take(path, nightly.snapshot)
    text = "\n".join(report.lines())
    assert "20261124_0210_holds.csv" in text
    assert "1,074 MB" in text
    assert await _nothing_by_halves(nightly, 0)


async def test_a_table_of_addresses_in_the_wrong_column_is_refused(nightly: Nightly, tmp_path: Path) -> None:
    rows = "".join(f"P{number},利用者 {number},0993-00-{number:04}\n" for number in range(30))
    nightly.use("feeds: {snapshots: [{name: nightly, patrons: {columns: {emails: [電話]}}}]}")
    report = await nightly(f"patron_id,name,電話\n{rows}")
    assert "メールアドレスに @ がありません" in report.refused[0]
    assert await _nothing_by_halves(nightly, 0)


async def test_a_branch_that_the_settings_do_not_have_is_told(nightly: Nightly) -> None:
    nightly.use("feeds: {snapshots: [{name: nightly}]}", branches="branches: [{id: '1', name: 本館}]")
    ours = "1"
    heading = "hold_id,patron_id,state,branch\n"
    report = await nightly(f"{heading}H1,P1,placed,{ours}\nH2,P2,placed,99\nH3,P3,placed,\n")
    assert report.strange_branches == ["99"]
    assert "設定 (library.branches) にない館コードがあります: 99" in "\n".join(report.lines())
    assert not report.failed
    assert (await nightly(f"{heading}H1,P1,placed,{ours}\nH2,P2,placed,{ours}\n")).strange_branches == []


async def _nothing_by_halves(nightly: Nightly, rows: int) -> bool:
    """As many of everything as there were good rows: an event, a hold, a step and a remembered row for each."""
    async with nightly.ledger.read() as connection:
        counts = {
            table.name: await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in (events, holds, snapshot_rows, hold_steps, patrons)
        }
        applying = await connection.scalar(
            sa.select(sa.func.count()).where(snapshot_runs.c.state == "applying")
        )
    assert counts.pop("hold_steps") >= rows  # states that were passed on the way have a step, too
    assert counts.pop("patrons") == 0
    assert applying == 0
    return set(counts.values()) == {rows}
