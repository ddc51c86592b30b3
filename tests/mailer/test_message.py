"""The bytes of a mail, read back with the standard library's parsers, old and new."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holds_core.errors import BadInput
from mailer.message import Letter, Letterhead, address_header, build, header, transliterate

LETTERHEAD = Letterhead("鳥栖市立図書館", "oshirase@lib.example.jp")
LETTER = Letter(
    to="hanako@patron.example",
    subject="予約資料がご用意できました(鳥栖市立図書館)",
    body="図書 様\n\nご予約の資料がご用意できました。\n",
    date=datetime(2026, 11, 22, 9, 10, 5, tzinfo=ZoneInfo("Asia/Tokyo")),
    message_id="<n1.abc@lib.example.jp>",
    token="n1abcdefghij",
)


def read(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=email.policy.default)


def text_of(mail: EmailMessage) -> str:
    """The body with the line ends it was given."""
    return str(mail.get_content()).replace("\r\n", "\n")


def head_lines(raw: bytes) -> list[bytes]:
    return raw.partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_a_letter_reads_back_as_it_was_written() -> None:
    mail = read(build(LETTERHEAD, LETTER))
    assert {name: str(mail[name]) for name in mail} == {
        "Date": "Sun, 22 Nov 2026 09:10:05 +0900",
        "From": "鳥栖市立図書館 <oshirase@lib.example.jp>",
        "To": "hanako@patron.example",
        "Subject": LETTER.subject,
        "Message-ID": LETTER.message_id,
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "base64",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "X-Todoku-Notice": LETTER.token,
    }
    assert text_of(mail) == LETTER.body
    assert not mail.defects


def test_optional_headers() -> None:
    letterhead = Letterhead("図書館", "a@lib.example.jp", {"X-Library": "鳥栖"})
    letter = replace(LETTER, reply_to="kakunin+t@lib.example.jp", extra={"List-Id": "<holds.lib.example.jp>"})
    mail = read(build(letterhead, letter))
    assert mail["X-Library"] == "鳥栖"
    assert mail["Reply-To"] == "kakunin+t@lib.example.jp"
    assert mail["List-Id"] == "<holds.lib.example.jp>"


@pytest.mark.parametrize("charset", ["utf-8", "iso-2022-jp"])
@pytest.mark.parametrize("body", ["一\n二\n", "一\r\n二\r\n", "一\r二", "一\n二", "", ".\n..\n", "長" * 3000])
def test_bodies_keep_their_lines_and_every_line_end_is_crlf(charset: str, body: str) -> None:
    raw = build(LETTERHEAD, replace(LETTER, body=body, charset=charset))
    assert raw.endswith(b"\r\n")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert read(raw).get_content().splitlines() == (body.splitlines() or [""])


@pytest.mark.parametrize(
    "zone",
    [UTC, ZoneInfo("Asia/Tokyo"), timezone(timedelta(hours=-3, minutes=-30)), ZoneInfo("Asia/Kolkata")],
)
@pytest.mark.parametrize("month", range(1, 13))
def test_date_is_what_the_standard_library_writes(zone: Any, month: int) -> None:
    at = datetime(2026, month, 3, 23, 5, 9, tzinfo=zone)
    assert read(build(LETTERHEAD, replace(LETTER, date=at)))["Date"] == format_datetime(at)


# Subjects

JAPANESE = "予約資料がご用意できました登録情報変更のお知らせ完了鳥栖市立図書館髙﨑①㈱ﾊﾝｶｸ～－、。「」ー　"
TEXT = st.one_of(
    st.text(st.sampled_from(JAPANESE), max_size=80),
    st.text(st.sampled_from(JAPANESE + 'abc XYZ  019=?_<>@,;:\\"()[]😀👨‍👩‍👧𠮷é'), max_size=120),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120),
    st.text(st.sampled_from("ab =?"), max_size=120),
)


@given(subject=TEXT, charset=st.sampled_from(["utf-8", "iso-2022-jp"]))
@example(subject=" 先頭と末尾に空白  ", charset="utf-8")
@example(subject="=?UTF-8?B?44GC?=", charset="utf-8")
@example(subject="予約 ABC  予約 DEF" * 8, charset="iso-2022-jp")
@example(subject="word " * 40, charset="utf-8")
@example(subject="x" * 300, charset="utf-8")
def test_subjects_round_trip_exactly(subject: str, charset: str) -> None:
    raw = build(LETTERHEAD, replace(LETTER, subject=subject, charset=charset))
    mail = read(raw)
    used = mail.get_content_charset()
    wanted = subject if used == "utf-8" else _as_iso_2022_jp(subject)
    assert str(mail["Subject"]) == wanted
    old = email.message_from_bytes(raw)
    assert str(make_header(decode_header(old["Subject"]))) == wanted


def _as_iso_2022_jp(text: str) -> str:
    try:
        text.encode("iso-2022-jp")
    except UnicodeEncodeError:
        return transliterate(text)
    return text


@given(name=TEXT, subject=TEXT, value=TEXT, charset=st.sampled_from(["utf-8", "iso-2022-jp"]))
@example(name="x" * 100, subject="y" * 100, value="z z " * 40, charset="utf-8")
@example(name='"' * 60, subject="", value="", charset="iso-2022-jp")
def test_header_lines_are_short_ascii_and_never_split_a_character(
    name: str, subject: str, value: str, charset: str
) -> None:
    letterhead = Letterhead(name, "oshirase@lib.example.jp")
    raw = build(
        letterhead,
        replace(LETTER, subject=subject, charset=charset, extra={"X-Note": " ".join(value.split())}),
    )
    lines = head_lines(raw)
    assert all(line.isascii() and line.strip() for line in lines)
    plain_word = re.compile(rb"X-Note: \S+")  # a word without a space cannot be folded
    assert all(len(line) <= 76 or plain_word.fullmatch(line) for line in lines)
    for word in re.findall(rb"(?<!\S)=\?\S+\?B\?\S*\?=(?!\S)", b"\n".join(lines)):
        assert len(word) <= 75
        ((data, used),) = decode_header(word.decode())
        assert isinstance(data, bytes)
        assert used is not None
        data.decode(used)


@pytest.mark.parametrize(
    "name",
    [
        "鳥栖市立図書館",
        "Todoku City Library",
        'The "Old" Library, Main',
        "東京都とどく市立中央図書館",
        "図書館 Library",
        "",
    ],
)
def test_sender_names_round_trip(name: str) -> None:
    for charset in ("utf-8", "iso-2022-jp"):
        raw = build(Letterhead(name, "oshirase@lib.example.jp"), replace(LETTER, charset=charset))
        (sender,) = read(raw)["From"].addresses
        assert (sender.display_name, sender.addr_spec) == (name, "oshirase@lib.example.jp")


# Addresses


@pytest.mark.parametrize(
    ("address", "as_is", "quoted"),
    [
        ("hanako@patron.example", "hanako@patron.example", "hanako@patron.example"),
        ("a..b@docomo.ne.jp", "a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'),
        ("taro.@docomo.ne.jp", "taro.@docomo.ne.jp", '"taro."@docomo.ne.jp'),
        (".taro@ezweb.ne.jp", ".taro@ezweb.ne.jp", '".taro"@ezweb.ne.jp'),
        ('"a..b"@docomo.ne.jp', '"a..b"@docomo.ne.jp', '"a..b"@docomo.ne.jp'),
        ("a+b/c=d@x.example", "a+b/c=d@x.example", "a+b/c=d@x.example"),
    ],
)
def test_addresses_stay_verbatim_or_get_quotes(address: str, as_is: str, quoted: str) -> None:
    assert address_header(address) == as_is
    assert address_header(address, "quoted") == quoted
    for quoting, shown in (("as_is", as_is), ("quoted", quoted)):
        raw = build(LETTERHEAD, replace(LETTER, to=address, quoting=quoting))
        assert f"To: {shown}".encode() in head_lines(raw)


@pytest.mark.parametrize(
    "address",
    [
        *("", "a", "@x.example", "a@", "a b@x.example", "a@x example", "a@b@x.example"),
        *(
            "abc@docomo,ne.jp",
            "a,b@x.example",
            "a;b@x.example",
            "A <a@x.example>",
            "a@x.example, b@x.example",
        ),
        *(
            "ａ@x.example",
            "a@図書館.example",
            "a@x.example\r\nBcc: b@x.example",
            "a\x00@x.example",
            'a"b@x.example',
        ),
    ],
)
def test_what_a_header_would_read_otherwise_is_refused(address: str) -> None:
    with pytest.raises(BadInput):
        address_header(address)


# Hostile values

BREAKING = ["\r", "\n", "\r\nBcc: x@x.example", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"]
PLACES: dict[str, Callable[[str], object]] = {
    "subject": lambda bad: build(LETTERHEAD, replace(LETTER, subject="件名" + bad)),
    "to": lambda bad: build(LETTERHEAD, replace(LETTER, to="a@x.example" + bad)),
    "reply_to": lambda bad: build(LETTERHEAD, replace(LETTER, reply_to="a@x.example" + bad)),
    "message_id": lambda bad: build(LETTERHEAD, replace(LETTER, message_id=LETTER.message_id + bad)),
    "token": lambda bad: build(LETTERHEAD, replace(LETTER, token="t" + bad)),
    "extra": lambda bad: build(LETTERHEAD, replace(LETTER, extra={"X-A": "v" + bad})),
    "extra name": lambda bad: build(LETTERHEAD, replace(LETTER, extra={"X-A" + bad: "v"})),
    "sender name": lambda bad: Letterhead("図書館" + bad, "a@x.example"),
    "sender address": lambda bad: Letterhead("図書館", "a@x.example" + bad),
    "constant": lambda bad: Letterhead("図書館", "a@x.example", {"X-A": "v" + bad}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", BREAKING, ids=ascii)
def test_control_characters_never_reach_a_header(place: str, bad: str) -> None:
    with pytest.raises(BadInput):
        PLACES[place](bad)


@pytest.mark.parametrize(
    "change",
    [
        {"date": datetime(2026, 11, 22)},  # noqa: DTZ001  the case under test
        {"charset": "shift_jis"},
        {"body": "lone surrogate \ud800"},
        {"message_id": "no-brackets@x.example"},
        {"token": ""},
        {"extra": {"X A": "v"}},
        {"extra": {"X" * 60: "v"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_unusable_input_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        build(LETTERHEAD, replace(LETTER, **change))


def test_a_long_url_stays_in_one_piece() -> None:
    url = "<https://lib.example.jp/" + "u" * 100 + ">"
    assert header("List-Unsubscribe", url) == f"List-Unsubscribe: {url}\r\n"


# ISO-2022-JP


@pytest.mark.parametrize(
    ("text", "plainer"),
    [
        ("①⑳❸㉑㊿⓪", "(1)(20)(3)(21)(50)(0)"),
        ("㈱図書㈲㊤㊦", "(株)図書(有)(上)(下)"),
        ("ﾊﾝｶｸｶﾞﾊﾟ｢ｰ｣", "ハンカクガパ「ー」"),
        ("10～12－3—4", "10〜12−3―4"),
        ("Ⅲⅳ№℡㍻㋿㎝㎧㌔", "IIIivNo.TEL平成令和cmm/sキロ"),
        ("Ａｂｃ１２３", "Ａｂｃ１２３"),  # full-width letters need no change
        ("髙﨑𠮷", "髙﨑𠮷"),  # nobody's name is respelt
    ],
)
def test_transliteration(text: str, plainer: str) -> None:
    assert transliterate(text) == plainer


def test_every_character_of_the_table_becomes_encodable() -> None:
    from mailer.message import _PLAINER

    for code, plainer in _PLAINER.items():
        with pytest.raises(UnicodeEncodeError):  # else there was nothing to mend
            chr(code).encode("iso-2022-jp")
        assert plainer.encode("iso-2022-jp"), hex(code)


def test_iso_2022_jp_is_seven_bits_in_subject_body_and_sender() -> None:
    raw = build(LETTERHEAD, replace(LETTER, body="上巻①～③\n", charset="iso-2022-jp"))
    mail = read(raw)
    assert mail.get_content_charset() == "iso-2022-jp"
    assert mail["Content-Transfer-Encoding"] == "7bit"
    assert text_of(mail) == "上巻(1)〜(3)\n"
    assert mail["Subject"] == LETTER.subject
    assert raw.isascii()
    assert raw.count(b"=?ISO-2022-JP?B?") >= 3
    assert b"UTF-8" not in raw.upper()


@pytest.mark.parametrize(
    "change",
    [
        {"body": "髙﨑 様\n"},
        {"subject": "髙島平図書館"},
        {"body": "😀\n"},
        {"body": "一" * 600 + "\n"},  # 1,206 octets in one line
        {"body": "escape \x1b$B\n"},
    ],
    ids=["name", "subject", "emoji", "long line", "stray escape"],
)
def test_what_iso_2022_jp_cannot_say_goes_out_in_utf_8(change: dict[str, Any]) -> None:
    letter = replace(LETTER, charset="iso-2022-jp", **change)
    mail = read(build(LETTERHEAD, letter))
    assert mail.get_content_charset() == "utf-8"
    assert (mail["Subject"], text_of(mail)) == (letter.subject, letter.body)
