"""Hostile and broken mail: the reader never raises, and bounds what it reads, keeps and runs.

`examine` is called, not `read`: the net under it would hide what these tests are for.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bounces import mime
from bounces.dsn import MAX_RECIPIENTS
from bounces.judge import MAX_SAID
from bounces.parse import MAX_ADDRESSES, MAX_HUMAN_TEXT, MailKind, Report, examine, read

MAILS = Path(__file__).parent / "mails"
SAMPLES = [p.read_bytes() for p in sorted(MAILS.glob("*.eml"))]
RUNS = int(os.environ.get("TODOKU_FUZZ_RUNS", "400"))

many = settings(max_examples=RUNS, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(report: Report) -> None:
    """What holds of every report, whatever went in."""
    assert report.kind in MailKind
    assert len(report.recipients) <= MAX_RECIPIENTS
    assert all(len(r.text) <= MAX_SAID for r in report.recipients)
    assert all("@" in r.address for r in report.recipients)
    assert len(report.to_addresses) <= MAX_ADDRESSES
    assert len(report.text) <= MAX_HUMAN_TEXT
    assert report.is_bounce == any(r.kind in ("hard", "soft", "delayed") for r in report.recipients)
    record = report.as_json("x")
    assert record["is_bounce"] == report.is_bounce


@many
@given(st.binary(max_size=4000))
def test_any_bytes(raw: bytes) -> None:
    check(examine(raw))


PIECES = [
    b"\n", b"\r", b"\r\n", b"\n\n", b"--b", b"--b--", b"\n--b\n", b" ", b"\t", b":", b"=?utf-8?B?", b"?=",
    b"From: MAILER-DAEMON@x.example\n", b"Subject: failure notice\n", b"X-Failed-Recipients: a@b.example\n",
    b"Content-Type: multipart/report; boundary=b\n", b"Content-Type: multipart/mixed; boundary=\"b\n",
    b"Content-Type: message/delivery-status\n", b"Content-Type: message/rfc822\n", b"Content-Type: text/html\n",
    b"Content-Type: message/feedback-report\n", b"Content-Type: message/disposition-notification\n",
    b"Content-Type: text/plain; charset=iso-2022-jp\n", b"Content-Type: text/plain; charset=punycode\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n", b"=", b"=3",
    b"Final-Recipient: rfc822; a@b.example\n", b"Original-Recipient: ;\n", b"Action: failed\n", b"Status: 5.1.1\n",
    b"Diagnostic-Code: smtp; 550 user unknown\n", b"Reporting-MTA: dns; x\n", b"Auto-Submitted: auto-replied\n",
    b"<a@b.example>:\n", b"a@b.example", b"\"a.\"@docomo.ne.jp", b"@", b"<", b">", b"> ", b"{\"notificationType\":",
    b"{\"Message\":\"", b"Hi. This is the qmail-send program\n", b"The following address(es) failed:\n",
    b">>> RCPT To:<a@b.example>\n", b"<<< 550 no\n", b"550 5.7.1 blocked", b"\x1b$B", b"\x1b(B", b"\xa4\xb3", b"\x82\xb1",
    b"\xff\xfe", b"\0", b"<style>", b"</style>", b"----- Transcript of session follows -----\n", b"a" * 200, b"5." * 50,
]  # fmt: skip


@many
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=60).map(b"".join))
def test_any_order_of_what_reports_are_made_of(raw: bytes) -> None:
    check(examine(raw))


@many
@given(
    st.sampled_from(SAMPLES),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 80), st.sampled_from(PIECES) | st.binary(max_size=20)),
        min_size=1,
        max_size=8,
    ),
)
def test_real_mails_with_bytes_changed(raw: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    for place, length, new in changes:
        at = int(place * len(raw))
        raw = raw[:at] + new + raw[at + length :]
    check(examine(raw))


@many
@given(st.sampled_from(SAMPLES), st.floats(0, 1))
def test_real_mails_cut_short(raw: bytes, share: float) -> None:
    check(examine(raw[: int(share * len(raw))]))


DAEMON = b"From: MAILER-DAEMON@x.example\nSubject: failure notice\n"
LIST = b"\nI wasn't able to deliver your message to the following addresses\n\n"
STATUS = b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"

BOMBS: dict[str, bytes] = {
    "50 MB of text": DAEMON + b"\n" + b"line of text\n" * 4_000_000,
    "10,000 parts": DAEMON + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nhello\n" * 10_000,
    "5,000 levels": b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5000)),
    "a child with its parent's boundary": b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 5000,
    "a boundary that is never there": DAEMON + b"Content-Type: multipart/mixed; boundary=z\n\n" + b"--a\n" * 100_000,
    "100,000 header fields": b"X-Bomb: y\n" * 100_000 + b"\nbody",
    "a header of 1 MB": b"Subject: " + b"deliver " * 130_000 + b"\n\nbody",
    "a header of 100,000 folds": b"Subject: a" + b"\n b" * 100_000,
    "20,000 encoded words": b"Subject: " + b"=?utf-8?Q?=41?= " * 20_000 + b"\n\nbody",
    "a quoted boundary without end": b'Content-Type: multipart/mixed; boundary="' + b"x" * 100_000 + b"\n\nbody",
    "50,000 parameters": b"Content-Type: multipart/mixed" + b"; a=b" * 50_000 + b"\n\nbody",
    "only CR": b"\r" * 1_000_000,
    "only LF": b"\n" * 1_000_000,
    "only NUL": b"\0" * 1_000_000,
    "only @": DAEMON + LIST + b"a@" * 300_000,
    "a domain without end": DAEMON + LIST + b"a@" + b"a." * 300_000,
    "30,000 recipients in text": DAEMON + LIST + b"".join(b"<u%d@b.example>:\n" % n for n in range(30_000)),
    "30,000 recipients in fields": DAEMON + STATUS
    + b"".join(b"Final-Recipient: rfc822; u%d@b.example\nAction: failed\n\n" % n for n in range(30_000)),
    "a diagnostic of 1 MB": DAEMON + STATUS + b"Final-Recipient: rfc822; a@b.example\nDiagnostic-Code: " + b"user x\n " * 130_000,
    "long diagnostics": DAEMON + STATUS
    + b"".join(b"Final-Recipient: rfc822; u%d@b.example\nDiagnostic-Code: smtp; %s\n\n" % (n, b"550 user " * 400) for n in range(200)),
    "blank lines with tabs": DAEMON + LIST + b"\t \n" * 200_000,
    "one line of blanks": DAEMON + LIST + b" " * 500_000 + b"a@b.example",
    "lines of dashes": DAEMON + b"\n" + b"--- \n" * 100_000,
    "open tags": DAEMON + b"Content-Type: text/html\n\n" + b"<a" * 200_000,
    "open styles": DAEMON + b"Content-Type: text/html\n\n" + b"<style>" * 60_000,
    "X.400 without end": DAEMON + b"\ndid not reach the following recipient\n" + b"c=" * 200_000,
    "pipes": DAEMON + b"\nThe following address(es) failed:\n" + b"pipe to |\n " * 30_000,
    "deep JSON": b"From: x@sns.amazonaws.com\n\n{\"notificationType\":" + b"[" * 100_000,
    "quotes": DAEMON + b"\n" + b'"a' * 200_000,
    "status after status": DAEMON + b"\n" + b"5.1.1." * 80_000,
}  # fmt: skip

STEPS = 400_000
"""Lines of our own Python that one mail may run, about a hundred recipients' worth."""


def steps(work: Callable[[], object]) -> int:
    """How many lines of code of ours `work` runs: a bound that a busy machine does not change."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "/bounces/" not in frame.f_code.co_filename and "/holds_core/" not in frame.f_code.co_filename:
            return None
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def cpu(work: Callable[[], object], times: int = 3) -> float:
    """Processor time of `work`, the best of three."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_are_bounded_in_work(name: str) -> None:
    """Regular expressions run no lines of ours, so they are held against a yardstick: five times what
    it takes this processor to count to a million."""
    raw = BOMBS[name]
    assert cpu(lambda: examine(raw)) < 5 * cpu(lambda: sum(n & 1 for n in range(1_000_000)))


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_are_bounded_in_steps_and_results(name: str) -> None:
    raw = BOMBS[name]
    assert steps(lambda: check(examine(raw))) < STEPS


@pytest.mark.parametrize("name", ["50 MB of text", "10,000 parts", "100,000 header fields", "only @"])
def test_bombs_are_bounded_in_memory(name: str) -> None:
    raw = BOMBS[name]
    tracemalloc.start()
    try:
        examine(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * mime.MAX_BYTES


def test_parts_and_levels_are_counted() -> None:
    def depth(part: mime.Part) -> int:
        return 1 + max(map(depth, part.parts), default=0)

    assert len(list(mime.parse(BOMBS["10,000 parts"]).leaves())) == mime.MAX_PARTS
    assert depth(mime.parse(BOMBS["5,000 levels"])) == mime.MAX_DEPTH + 1


@pytest.mark.parametrize(
    "charset", ["punycode", "zip", "rot13", "unicode_escape", "idna", "../../etc", "utf-7", ""]
)
def test_a_mail_does_not_choose_codecs(charset: str) -> None:
    raw = (
        f"From: a@b.example\nSubject: Re: x\nContent-Type: text/plain; charset={charset}\n\n".encode()
        + b"\xe3\x81\x82"
    )
    assert read(raw).text == "あ"


@pytest.mark.parametrize("raw", [b"", b"\n", b":", b"From", b"\n\n\n", b"--", b"From \n", b">From x\r"])
def test_hardly_a_mail(raw: bytes) -> None:
    assert examine(raw).kind is MailKind.NONE
