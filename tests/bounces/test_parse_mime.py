"""The tolerant MIME reader: what it makes of well-formed, mislabelled and broken mail."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounces import mime
from bounces.letter import clean_address, find_address, strip_html

WORDS = "受信者のメールボックスがいっぱいです"


def text_of(body: bytes, charset: str, encoding: str = "") -> str:
    head = f"Content-Type: text/plain; charset={charset}\n"
    head += f"Content-Transfer-Encoding: {encoding}\n" if encoding else ""
    return mime.parse(head.encode() + b"\n" + body).text


@pytest.mark.parametrize("codec", ["utf-8", "iso2022_jp", "euc_jp", "cp932"])
@pytest.mark.parametrize("label", ["utf-8", "iso-2022-jp", "us-ascii", "", "x-unknown"])
def test_japanese_whatever_its_label(codec: str, label: str) -> None:
    assert text_of(WORDS.encode(codec), label) == WORDS


@pytest.mark.parametrize(
    ("label", "codec"), [("Shift_JIS", "cp932"), ("EUC-JP", "euc_jp"), ("x-sjis", "cp932"), ("UTF8", "utf-8")]
)
def test_the_label_decides_where_it_fits(label: str, codec: str) -> None:
    # half-width kana: the same octets are legal in several encodings
    assert text_of("ﾒｰﾙ".encode(codec), label) == "ﾒｰﾙ"


def test_transfer_encodings() -> None:
    raw = (WORDS + "\n").encode()
    assert text_of(base64.encodebytes(raw), "utf-8", "base64") == WORDS + "\n"
    assert text_of(quopri.encodestring(raw), "utf-8", "quoted-printable") == WORDS + "\n"
    assert text_of(raw, "utf-8", "x-nonsense") == WORDS + "\n"


@pytest.mark.parametrize("junk", ["*", "\n\n", " ", "\x80", "="])
def test_base64_with_junk_in_it(junk: str) -> None:
    clean = base64.b64encode(b"mailbox full").decode()
    assert mime.unbase64(clean[:5] + junk + clean[5:]) == "mailbox full"


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
def test_base64_of_anything_is_something(text: str) -> None:
    assert isinstance(mime.unbase64(text), str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?B?5LqI57SE?=", "予約"),
        ("=?UTF-8?q?=E4=BA=88?= =?utf-8?Q?=E7=B4=84?=", "予約"),
        ("=?iso-2022-jp?B?GyRCTT1McxsoQg==?= no. 1", "予約 no. 1"),
        ("=?iso-2022-jp*ja?B?GyRCTT1McxsoQg==?=", "予約"),
        ("=?shift_jis?B?l1yW8Q==?=", "予約"),
        ("=?utf-8?X?broken?=", "=?utf-8?X?broken?="),
        ("plain", "plain"),
    ],
)
def test_header_words(value: str, text: str) -> None:
    assert mime.decode_words(value) == text


def test_utf8_cut_in_the_middle_of_a_letter() -> None:
    assert text_of(WORDS.encode()[:-1], "utf-8") == WORDS[:-1] + "\ufffd"


def test_headers() -> None:
    headers = mime.Headers("Received: one\nSubject : a\n\tb\nreceived: two\nnot a header\nX-Empty:\n")
    assert headers.all("received") == ["one", "two"]
    assert headers.get("subject") == "a b"
    assert "x-empty" in headers
    assert headers.get("nothing") == ""
    assert next(iter(headers.items())) == ("received", "one")


def test_parts_in_order_and_attached_mail_closed() -> None:
    raw = (
        b'Content-Type: multipart/mixed; boundary="o"\n\npreamble\n--o\nContent-Type: multipart/alternative;'
        b" boundary=i\n\n--i\n\nfirst\n--i\nContent-Type: text/html\n\n<p>second\n--i--\n--o\n"
        b"Content-Type: message/rfc822\n\nSubject: inner\n\n--i\n\nnot ours\n--o--\nepilogue"
    )
    assert [(p.type, p.depth) for p in mime.parse(raw).leaves()] == [
        ("text/plain", 2),
        ("text/html", 2),
        ("message/rfc822", 1),
    ]


def test_a_child_with_its_parents_boundary_is_a_leaf() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n"
    assert [p.type for p in mime.parse(raw).leaves()] == ["multipart/mixed", "text/plain"]


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("Aoi <Aoi@Example.JP>", "aoi@example.jp"),
        ('"a..b."@docomo.ne.jp', "a..b.@docomo.ne.jp"),
        ("a..b@docomo.ne.jp", "a..b@docomo.ne.jp"),
        (".a-@ezweb.ne.jp", ".a-@ezweb.ne.jp"),
        ("rfc822; <x+y@b.example.>", "x+y@b.example"),
        ("postmaster <>", ""),
        ("no address", ""),
    ],
)
def test_addresses(written: str, address: str) -> None:
    assert find_address(written) == address


def test_a_quoted_local_part_that_needs_its_quotes_keeps_them() -> None:
    assert clean_address('"a\\"b"@x.example') == '"a\\"b"@x.example'


def test_html_is_read_as_a_reader_sees_it() -> None:
    html = "<style>p{}</style><p>Delivery failed<br>a@b.example</p><script>x()</script>&lt;c@d.example&gt;"
    assert [line for line in strip_html(html).split("\n") if line] == [
        "Delivery failed",
        "a@b.example",
        "<c@d.example>",
    ]
