"""Bytes to records: encodings, quotes, damage. Every damaged line costs itself and no other."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holds_core.errors import BadInput
from holds_core.feeds import csv as module
from holds_core.feeds.csv import MAX_LINE, Encoding, Record, records, sniff


def read(folder: Path, data: bytes, encoding: Encoding = Encoding.AUTO, delimiter: str = ",") -> list[Record]:
    path = folder / "list.csv"
    path.write_bytes(data)
    return list(records(path, encoding, delimiter))


def good(found: list[Record]) -> list[list[str]]:
    return [record.cells for record in found if record.fault is None]


def faults(found: list[Record]) -> list[str]:
    return [str(record.fault) for record in found if record.fault is not None]


TEXT = "番号,書名\r\n1,こころ\r\n2,髙村の①ー〜\r\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), Encoding.UTF_8),
        (b"\xef\xbb\xbf" + TEXT.encode(), Encoding.UTF_8),
        (TEXT.replace("〜", "～").encode("cp932"), Encoding.CP932),
        (b"id,title\n1,plain\n", Encoding.UTF_8),
        ("番号\nｱｲｳ\nﾂｷ\n".encode("cp932"), Encoding.CP932),
    ],
    ids=["utf-8", "bom", "cp932", "ascii", "half-width"],
)
def test_the_encoding_is_found(tmp_path: Path, data: bytes, encoding: Encoding) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(data)
    assert sniff(path) is encoding
    text = data.decode("utf-8-sig" if encoding is Encoding.UTF_8 else "cp932")
    found = read(tmp_path, data)
    assert not faults(found)
    assert good(found) == [line.split(",") for line in text.split()]


def test_utf_16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="UTF-16"):
        read(tmp_path, TEXT.encode("utf-16"))


@pytest.mark.parametrize(
    ("main", "stray", "said"),
    [
        ("utf-8", "cp932", "2列目: 3バイト目が UTF-8 として読めません。この行だけ別の文字コードのようです。"),
        ("cp932", "utf-8", "この行だけ UTF-8 のようです"),
    ],
)
def test_a_line_of_another_encoding_is_named_and_the_others_count(
    tmp_path: Path, main: str, stray: str, said: str
) -> None:
    # 「図書」 in UTF-8 passes for CP932, as 「蝗ｳ譖ｸ」
    lines = [
        "番号,書名\n".encode(main),
        *("1,三四郎\n".encode(main),) * 3,
        "2,図書\n".encode(stray),
        "3,門\n".encode(main),
    ]
    found = read(tmp_path, b"".join(lines))
    assert good(found) == [["番号", "書名"], *[["1", "三四郎"]] * 3, ["3", "門"]]
    assert len(faults(found)) == 1
    assert faults(found)[0].startswith("5行目")
    assert said in faults(found)[0]
    assert next(record for record in found if record.fault).cells[0] == "2"


def test_octets_that_are_no_characters_are_named(tmp_path: Path) -> None:
    found = read(tmp_path, "番号,書名\n1,門\n2,".encode("cp932") + b"\xfe\n3,x\n", Encoding.CP932)
    assert good(found) == [["番号", "書名"], ["1", "門"], ["3", "x"]]
    assert faults(found) == [
        "3行目 2列目: 3バイト目が CP932 として読めません。 / line 3, column 2: byte 3 of the line is not CP932"
    ]


@pytest.mark.parametrize(
    ("data", "rows", "bad"),
    [
        (b'a,b\n1,"x, y"\n2,"say ""hi"""\n', [["1", "x, y"], ["2", 'say "hi"']], []),
        (b'a,b\n1,"two\nlines"\n2,x\n', [["1", "two\nlines"], ["2", "x"]], []),
        (b'a,b\n1,"x\n2,y\n3,z\n', [["2", "y"], ["3", "z"]], ["2"]),
        (b'a,b\n1,"x\n2,y\n3,"z"\n4,w\n', [["2", "y"], ["3", "z"], ["4", "w"]], ["2"]),
        (b'a,b\n1,"x"y\n2,z\n', [["2", "z"]], ["2"]),
        (b'a,b\n1,"x\n2,\xff\n3,z\n', [["3", "z"]], ["2", "3"]),
        (b"a,b\n1,x\x00\n2,y\n", [["2", "y"]], ["2"]),
        (b"a,b\n\n1,x\n,\n\n", [["1", "x"]], []),
        (b"a,b\r\n1,x\r\n\x1a", [["1", "x"]], []),
        (b"a,b\n1," + b"x" * 2 * MAX_LINE + b"\n2,y\n", [["2", "y"]], ["2"]),
        (b"a,b\r1,x\r", [], ["1"]),
    ],
    ids=[
        "quotes",
        "two-lines",
        "open-quote",
        "open-quote-closed-later",
        "letters-behind-quote",
        "unreadable-within-quote",
        "nul",
        "empty-lines",
        "dos-end",
        "endless-line",
        "cr-only",
    ],
)
def test_damage_costs_the_line_it_is_in(
    tmp_path: Path, data: bytes, rows: list[object], bad: list[str]
) -> None:
    found = read(tmp_path, data, Encoding.UTF_8)
    assert [cells for cells in good(found) if cells != ["a", "b"]] == rows
    assert [fault.partition("行目")[0] for fault in faults(found)] == bad


def test_a_file_beyond_all_measure_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("wb") as file:
        file.truncate(1024 * 1024 * 1024)  # sparse: takes no room
    with pytest.raises(BadInput, match=r"1,074 MB"):
        next(records(path, Encoding.AUTO, ","))


def test_a_quote_in_every_line_does_not_take_forever(tmp_path: Path) -> None:
    found = read(tmp_path, b"a,b\n" + b'1,"x\n' * 20_000, Encoding.UTF_8)
    assert len(found) == 20_001
    assert len(faults(found)) == 20_000


cells = st.lists(
    st.lists(
        st.text(st.characters(codec="cp932", exclude_characters="\0\r\x1a\x80¢£¬‖−〜"), max_size=8),
        min_size=2,
        max_size=2,
    ).filter(any),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(cells, st.sampled_from(["utf-8", "utf-8-sig", "cp932"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], codec: str
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b"], *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode(codec))
    wanted = Encoding.CP932 if codec == "cp932" else Encoding.UTF_8
    found = list(records(path, wanted, ","))
    assert good(found) == [["a", "b"], *rows] or any("UTF-8" in fault for fault in faults(found))


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(list(Encoding)))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, encoding: Encoding
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        found = list(records(path, encoding, ","))
    except BadInput:
        return
    numbers = [record.line for record in found]
    assert numbers == sorted(set(numbers))


def test_our_own_limits_are_what_the_messages_say() -> None:
    assert f"{MAX_LINE:,}" in module._LONG[0]
