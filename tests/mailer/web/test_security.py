"""Rates, addresses and tokens as values."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from mailer.app.web.security import BearerTokens, Rate, RateLimit, client_of, is_automatic

RATE = Rate(burst=3, per_second=0.5)


def test_a_burst_then_the_long_run() -> None:
    limit = RateLimit(RATE)
    assert [limit.take("a", 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert limit.take("b", 100.0)
    assert [limit.take("a", 102.0), limit.take("a", 102.0)] == [True, False]
    assert [limit.take("a", 1e9) for _ in range(4)] == [True, True, True, False]


def test_a_clock_set_back_gives_nothing() -> None:
    limit = RateLimit(RATE)
    assert [limit.take("a", now) for now in (100.0, 100.0, 100.0, 50.0, 40.0)] == [True] * 3 + [False] * 2
    assert limit.take("a", 42.0)


def test_memory_is_bounded() -> None:
    limit = RateLimit(RATE, clients=10)
    for number in range(1000):
        limit.take(str(number), float(number))
    assert len(limit) == 10


@given(st.lists(st.floats(0, 1000), max_size=100))
def test_never_more_than_allowed(steps: list[float]) -> None:
    limit, now, taken = RateLimit(RATE), 0.0, 0
    for step in steps:
        now += step
        taken += limit.take("a", now)
    assert taken <= RATE.burst + now * RATE.per_second + 1e-6


def test_retry_after_is_long_enough() -> None:
    for rate in (RATE, Rate(1, 10), Rate(20, 0.1), Rate(5, 3)):
        limit = RateLimit(rate)
        while limit.take("a", 0.0):
            pass
        assert limit.take("a", float(rate.retry_after))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", [], "198.51.100.7"),
        # only our own proxy is believed, and only what it wrote itself
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("::1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["10.0.0.1, 203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["invented", "203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9, 127.0.0.1"], "203.0.113.9"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::/64"),
        ("127.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9, nonsense"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        (None, [], "unknown"),
        ("not an address", [], "unknown"),
    ],
)
def test_client(peer: str | None, forwarded: list[str], expected: str) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "client": (peer, 1) if peer else None, "headers": headers}
    assert client_of(scope) == expected


PROXIES = (ip_network("192.0.2.0/28"), ip_network("2001:db8:ffff::/48"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8:ffff::1", ["203.0.113.9"], "203.0.113.9"),
        # two of our own in a row, and what the client invented before them
        ("192.0.2.1", ["198.51.100.1, 203.0.113.9, 192.0.2.2"], "203.0.113.9"),
        ("192.0.2.1", ["198.51.100.1, 203.0.113.9", "127.0.0.1"], "203.0.113.9"),
        # not of the range: no word of it is believed
        ("192.0.2.99", ["203.0.113.9"], "192.0.2.99"),
        ("192.0.2.1", [], "192.0.2.1"),
    ],
)
def test_client_behind_the_librarys_proxies(peer: str, forwarded: list[str], expected: str) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    assert client_of(scope, PROXIES) == expected


@pytest.mark.parametrize(
    ("headers", "automatic"),
    [
        ({}, False),
        ({"User-Agent": "DoCoMo/2.0 P03B(c500;TB;W24H16)"}, False),
        ({"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Purpose": "prefetch;prerender"}, True),
        ({"Purpose": "prefetch"}, True),
        ({"X-Purpose": "preview"}, True),
        ({"X-Moz": "prefetch"}, True),
        ({"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, True),
        ({"User-Agent": "BarracudaCentral LinkScanner"}, True),
        ({"User-Agent": "Slackbot-LinkExpanding 1.0"}, True),
    ],
)
def test_programs_that_say_so(headers: dict[str, str], automatic: bool) -> None:
    assert is_automatic(Headers(headers)) is automatic


@given(st.binary(max_size=80))
def test_any_forwarded_header_gives_some_client(value: bytes) -> None:
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", value)]}
    assert len(client_of(scope)) < 60


@given(st.text(st.characters(), max_size=40))
def test_no_word_is_a_token_but_ours(word: str) -> None:
    tokens = BearerTokens(["right-token"])
    assert tokens.knows(word) == (word == "right-token")
    assert not BearerTokens([]).knows(word)
