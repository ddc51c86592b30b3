"""Who runs a mailbox: the shipped table, the look-up, and errors that name their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.errors import BadInput
from holds_core.providers import (
    COLUMNS,
    Charset,
    Provider,
    ProviderKind,
    Providers,
    Quoting,
    SilentLoss,
    Status,
    normal_domain,
)

SHIPPED = Providers.load()
HEADER = "\t".join(COLUMNS)
ROW = "mail.example\tisp\tExample\tlive\tnone\tno\tquoted\tutf-8\t60\tits own page\t2026-11-22"


def row(**changes: str) -> str:
    return "\t".join({**dict(zip(COLUMNS, ROW.split("\t"), strict=True)), **changes}.values())


def table(*rows: str) -> Providers:
    return Providers.parse("\n".join([HEADER, *rows]))


@pytest.mark.parametrize(
    ("domain", "named"),
    [
        ("Docomo.ne.jp.", "docomo.ne.jp"),
        ("gmail.com", "gmail.com"),
        ("ocn.ne.jp", "ocn.ne.jp"),
        # a customer's part of a company's name space may be a family's
        ("tanaka.ocn.ne.jp", "OCN"),
        # a town hall with one reader
        ("town.tiny.lg.jp", ""),
        ("lab.saga-u.ac.jp", ""),
        ("tanaka-family.example", ""),
        ("", ""),
    ],
)
def test_what_logs_may_call_a_domain(domain: str, named: str) -> None:
    assert SHIPPED.public_name(domain) == named


@pytest.mark.parametrize(
    ("address", "kind", "name"),
    [
        ("a..b@docomo.ne.jp", ProviderKind.CARRIER, "NTT docomo"),
        ("u@ezweb.ne.jp", ProviderKind.CARRIER, "KDDI au"),
        ("u@ab.ezweb.ne.jp", ProviderKind.CARRIER, "KDDI au"),
        ("u@i.softbank.jp", ProviderKind.CARRIER, "SoftBank"),
        ("u@t.vodafone.ne.jp", ProviderKind.CARRIER, "SoftBank"),
        ("u@pdx.ne.jp", ProviderKind.CARRIER, "Y!mobile"),
        ("u@wm.pdx.ne.jp", ProviderKind.CARRIER, "Y!mobile"),
        # one letter apart, and not the same kind of mailbox
        ("u@yahoo.ne.jp", ProviderKind.CARRIER, "Yahoo! JAPAN"),
        ("u@yahoo.co.jp", ProviderKind.FREEMAIL, "Yahoo! JAPAN"),
        ("u@gmail.com", ProviderKind.FREEMAIL, "Google"),
        ("u@hotmail.co.jp", ProviderKind.FREEMAIL, "Microsoft"),
        ("u@abc.ocn.ne.jp", ProviderKind.ISP, "OCN"),
        ("u@ocn.ne.jp", ProviderKind.ISP, "OCN"),
        # each body has servers of its own
        ("u@city.tosu.lg.jp", ProviderKind.PUBLIC, "city.tosu.lg.jp"),
        ("u@abc.saga-u.ac.jp", ProviderKind.PUBLIC, "abc.saga-u.ac.jp"),
        ("u@notdocomo.ne.jp", ProviderKind.OWN, "notdocomo.ne.jp"),
        ("u@company.example", ProviderKind.OWN, "company.example"),
        ("company.example", ProviderKind.OWN, "company.example"),
        ('"a@b"@gmail.com', ProviderKind.FREEMAIL, "Google"),
        ("", ProviderKind.OWN, ""),
    ],
)
def test_providers_of_common_addresses(address: str, kind: ProviderKind, name: str) -> None:
    provider = SHIPPED.of(address)
    assert (provider.kind, provider.name) == (kind, name)


@pytest.mark.parametrize(
    "spelling", ["DOCOMO.ne.jp", "docomo.ne.jp.", " docomo.ne.jp ", "ｄｏｃｏｍｏ。ne．jp"]
)
def test_spelling_does_not_matter(spelling: str) -> None:
    assert SHIPPED.of(spelling) == SHIPPED.of("u@docomo.ne.jp")


def test_international_domains_have_one_form() -> None:
    assert normal_domain("図書館.例え.テスト") == normal_domain("xn--lcss68aj21b.xn--r8jz45g.xn--zckzah")
    assert table(row(pattern="*.xn--r8jz45g.xn--zckzah")).of("u@図書館.例え.テスト").name == "Example"


@given(st.text())
def test_any_text_has_a_provider(text: str) -> None:
    provider = SHIPPED.of(text)
    assert provider == SHIPPED.of(text)
    assert SHIPPED.of(text.upper()).kind in ProviderKind


@given(st.sampled_from(SHIPPED.rows))
def test_every_row_is_found_by_its_pattern(shipped: Provider) -> None:
    pattern = shipped.pattern
    domain = pattern.removeprefix("*.")
    assert SHIPPED.of(f"u@{domain}").pattern in (domain, pattern)  # a row of its own comes first
    if pattern.startswith("*."):
        assert SHIPPED.of(f"u@any.{pattern[2:]}").pattern == pattern


@pytest.mark.parametrize("domain", ["excite.co.jp", "goo.jp", "mail.goo.ne.jp", "abc.willcomlive.jp"])
def test_services_that_ended(domain: str) -> None:
    assert SHIPPED.of(domain).is_dead


def test_what_is_known_of_the_first_names() -> None:
    docomo, softbank, hotmail = (SHIPPED.of(d) for d in ("docomo.ne.jp", "softbank.ne.jp", "hotmail.com"))
    assert (docomo.quoting, docomo.url_filter) == (Quoting.AS_IS, True)
    assert (softbank.silent_loss, hotmail.silent_loss) == (SilentLoss.DOCUMENTED, SilentLoss.REPORTED)
    assert docomo.per_minute < hotmail.per_minute
    own = SHIPPED.of("company.example")
    assert (own.status, own.charset, own.silent_loss) == (Status.LIVE, Charset.UTF_8, SilentLoss.NONE)


def test_the_longest_pattern_wins() -> None:
    rows = (
        row(pattern="*.mail.example"),
        row(pattern="*.a.mail.example", provider="A"),
        row(provider="Exact"),
    )
    names = {
        domain: table(*rows).of(domain).name
        for domain in ("b.mail.example", "x.a.mail.example", "mail.example")
    }
    assert names == {"b.mail.example": "Example", "x.a.mail.example": "A", "mail.example": "Exact"}


def test_a_library_adds_and_replaces_rows() -> None:
    own = "\n".join(["# ours", "", HEADER, row(pattern="docomo.ne.jp", per_minute="5"), row()])
    providers = SHIPPED.extended(own)
    assert providers.of("docomo.ne.jp").per_minute == 5
    assert providers.of("mail.example").name == "Example"
    assert providers.of("gmail.com") == SHIPPED.of("gmail.com")
    assert len(providers.rows) == len(SHIPPED.rows) + 1


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([], "line 1: expected the header"),
        (["pattern\tkind"], "line 1: expected the header"),
        ([HEADER, "mail.example\tisp"], "line 2: expected 11 columns, found 2"),
        (["# remark", HEADER, "", row(kind="spam")], "line 4, column kind: expected one of .*, found 'spam'"),
        ([HEADER, row(pattern="Mail.example")], "line 2, column pattern: .*'Mail.example'"),
        ([HEADER, row(pattern="a*.example")], "line 2, column pattern"),
        ([HEADER, row(pattern="*.")], "line 2, column pattern"),
        ([HEADER, row(pattern="u@mail.example")], "line 2, column pattern"),
        ([HEADER, row(pattern="例え.テスト")], "line 2, column pattern"),
        ([HEADER, row(provider="")], "line 2, column provider: expected a name"),
        ([HEADER, row(status="zombie")], "line 2, column status"),
        ([HEADER, row(silent_loss="maybe")], "line 2, column silent_loss"),
        ([HEADER, row(url_filter="1")], "line 2, column url_filter: expected yes or no, found '1'"),
        ([HEADER, row(quoting="")], "line 2, column quoting"),
        ([HEADER, row(charset="sjis")], "line 2, column charset"),
        ([HEADER, row(per_minute="0")], "line 2, column per_minute"),
        ([HEADER, row(per_minute="６０")], "line 2, column per_minute"),
        ([HEADER, row(source=" ")], "line 2, column source"),
        ([HEADER, row(checked="last year")], "line 2, column checked: expected a date"),
        ([HEADER, ROW, row(kind="own")], "line 3, column pattern: also on line 2"),
    ],
)
def test_errors_name_line_and_column(lines: list[str], error: str) -> None:
    with pytest.raises(BadInput, match=error):
        Providers.parse("\n".join(lines))
