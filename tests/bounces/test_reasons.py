"""One table of evidence: what servers answer at SMTP time or in a report, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core import reason_tables
from holds_core.notices import Phase
from holds_core.reasons import FAULT, HARD, MAX_TEXT, MEANING, Fault, Reason, Severity, classify, verdict

R = Reason
DATA, RCPT, MAIL = Phase.DATA, Phase.RCPT, Phase.MAIL

ANSWERS = [
    # (phase, code, status, text, remote, recipient) -> reason
    # docomo and au: the same words, two meanings
    (RCPT, 550, "", "550 Unknown user a@docomo.ne.jp", "mfsmax.docomo.ne.jp", "a@docomo.ne.jp", R.USERUNKNOWN),
    (DATA, 550, "", "550 Unknown user a@docomo.ne.jp", "mfsmax.docomo.ne.jp", "a@docomo.ne.jp", R.FILTERED),
    (DATA, 550, "5.2.0", "550 Unknown user a@docomo.ne.jp", "", "a@docomo.ne.jp", R.FILTERED),
    (DATA, 552, "", "552 Too much mail data", "", "a@docomo.ne.jp", R.MAILBOXFULL),
    (RCPT, 552, "", "552 Too many recipients", "", "a@docomo.ne.jp", R.RATELIMITED),
    (RCPT, 550, "", "550 <a@ezweb.ne.jp>: User unknown", "", "a@ezweb.ne.jp", R.USERUNKNOWN),
    (None, 550, "", "550 <a@ezweb.ne.jp>: User unknown", "lsean.ezweb.ne.jp", "a@ezweb.ne.jp", R.USERUNKNOWN),
    (RCPT, 550, "", "550 : User unknown", "", "a@ezweb.ne.jp", R.FILTERED),
    (RCPT, 550, "", "550 : User unknown", "msmx.au.com", "a@uqmobile.jp", R.FILTERED),
    (RCPT, 550, "", "550 Invalid recipient: <a@softbank.ne.jp>", "", "a@softbank.ne.jp", R.USERUNKNOWN),
    (MAIL, 553, "", "553 library.example does not exist", "", "a@softbank.ne.jp", R.REJECTED),
    # Gmail
    (RCPT, 550, "5.1.1", "550-5.1.1 The email account that you tried to reach does not exist.", "", "", R.USERUNKNOWN),
    (RCPT, 452, "4.2.2", "The email account that you tried to reach is over quota.", "", "", R.MAILBOXFULL),
    (RCPT, 550, "5.2.1", "The email account that you tried to reach is disabled.", "", "", R.SUSPEND),
    (DATA, 421, "4.7.28", "Our system has detected an unusual rate of unsolicited mail", "", "", R.RATELIMITED),
    (DATA, 550, "5.7.26", "This mail is unauthenticated", "", "", R.AUTHFAILURE),
    (DATA, 550, "5.7.25", "The IP address sending this message does not have a PTR record", "", "", R.REQUIREPTR),
    (DATA, 550, "5.7.1", "very low reputation of the sending domain", "", "", R.BADREPUTATION),
    (DATA, 550, "5.7.1", "Messages with multiple addresses in From: header", "", "", R.NOTCOMPLIANTRFC),
    # Microsoft
    (DATA, 550, "5.7.515", "Access denied, sending domain does not meet the required level", "", "", R.AUTHFAILURE),
    (MAIL, 451, "4.7.650", "The mail server has been temporarily rate limited due to IP reputation", "", "", R.BADREPUTATION),
    (MAIL, 550, "5.7.1", "part of their network is on our block list (S3150)", "", "", R.BLOCKED),
    (MAIL, 550, "5.7.606", "Access denied, banned sending IP [192.0.2.1]", "", "", R.BLOCKED),
    (None, 550, "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found", "x.outlook.com", "", R.USERUNKNOWN),
    (RCPT, 550, "5.4.1", "Recipient address rejected: Access denied.", "x.mail.protection.outlook.com", "", R.USERUNKNOWN),
    # Postfix's access table elsewhere: about us as likely as about the address, so never hard
    (RCPT, 554, "5.7.1", "<a@b.example>: Recipient address rejected: Access denied", "", "", R.SECURITYERROR),
    (None, 550, "5.5.0", "Requested action not taken: mailbox unavailable", "", "", R.USERUNKNOWN),
    (None, 550, "5.4.310", "DNS domain example.invalid does not exist", "", "", R.HOSTUNKNOWN),
    (None, 550, "5.7.64", "TenantAttribution; Relay Access Denied", "", "", R.NORELAYING),
    # Yahoo, iCloud, others
    (MAIL, 421, "4.7.0", "[TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", "", "", R.BADREPUTATION),
    (DATA, 554, "5.7.9", "Message not accepted for policy reasons.", "mta5.am0.yahoodns.net", "", R.POLICYVIOLATION),
    (Phase.CONNECT, 554, "", "554 Blocked - see https://support.proofpoint.com/", "mx01.mail.icloud.com", "", R.BLOCKED),
    (Phase.CONNECT, 421, "", "421 4.7.1 try again", "", "", R.BLOCKED),
    (DATA, 550, "5.2.0", "550 5.2.0 Mail rejete. Mail rejected. OFR_506 [506]", "", "", R.SPAMDETECTED),
    (RCPT, 554, "", "554 RBL Reject. IB104", "", "", R.BLOCKED),
    # the general case
    (RCPT, 550, "5.1.1", "<a@b.example>: Recipient address rejected: User unknown", "", "", R.USERUNKNOWN),
    (RCPT, 550, "", "No such user here", "", "", R.USERUNKNOWN),
    (DATA, 550, "", "No such user here", "", "", R.FILTERED),
    (None, 550, "", "No such user here", "", "", R.FILTERED),
    (MAIL, 550, "", "User unknown", "", "", R.REJECTED),
    (RCPT, 552, "5.2.2", "", "", "", R.MAILBOXFULL),
    (RCPT, 550, "5.1.1", "mailbox is full", "", "", R.MAILBOXFULL),
    (RCPT, 554, "5.7.1", "Relay access denied", "", "", R.NORELAYING),
    (RCPT, 550, "5.7.1", "Relaying denied. IP name lookup failed [192.0.2.1]", "", "", R.NORELAYING),
    (RCPT, 554, "", "Client host [192.0.2.1] blocked using zen.spamhaus.org", "", "", R.BLOCKED),
    (DATA, 552, "5.3.4", "Message size exceeds fixed limit", "", "", R.EMAILTOOLARGE),
    (DATA, 554, "", "message looks like spam", "", "", R.SPAMDETECTED),
    (RCPT, 550, "5.1.6", "not our customer", "", "", R.HASMOVED),
    (RCPT, 521, "5.3.2", "521 closed", "", "", R.NOTACCEPT),
    (None, None, "5.1.2", "", "", "", R.HOSTUNKNOWN),
    (None, None, "4.4.7", "", "", "", R.EXPIRED),
    (None, None, "4.4.1", "connect to mx.b.example[192.0.2.1]:25: Connection timed out", "", "", R.EXPIRED),
    (None, None, "4.4.4", "", "", "", R.NETWORKERROR),
    (RCPT, 450, "4.2.0", "<a@b.example>: Recipient address rejected: Greylisted for 60 seconds", "", "", R.EXPIRED),
    (MAIL, 451, "4.3.0", "try later", "", "", R.REJECTED),
    (RCPT, 504, "", "Command parameter not implemented", "", "", R.SYNTAXERROR),
    (RCPT, 450, "", "something that nobody has seen", "", "", R.ONHOLD),
    (None, None, "", "", "", "", R.UNDEFINED),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "code", "status", "text", "remote", "recipient", "reason"), ANSWERS)
def test_answer(
    phase: Phase | None, code: int | None, status: str, text: str, remote: str, recipient: str, reason: Reason
) -> None:
    found = classify(phase=phase, code=code, status=status, text=text, remote=remote, recipient=recipient)
    assert found.reason is reason


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_meaning_in_both_languages_a_fault_and_a_severity(reason: Reason) -> None:
    japanese, english = MEANING[reason]
    assert any("぀" <= letter <= "ヿ" for letter in japanese)
    assert english.isascii()
    assert "\n" not in japanese + english
    found = verdict(reason)
    assert found.fault is FAULT[reason]
    assert (found.severity is Severity.HARD) == (reason in HARD)


def test_the_tables_name_only_reasons_that_exist() -> None:
    rules = [*reason_tables.WORDS, *(r for rules in reason_tables.PROVIDERS.values() for r in rules)]
    codes = [
        table.values()
        for table in (
            reason_tables.CODES,
            reason_tables.ORANGE,
            reason_tables.GODADDY,
            reason_tables.COX,
            reason_tables.FACEBOOK,
            reason_tables.STATUS,
            reason_tables.STATUS_SUBJECT,
        )
    ]
    named = {reason for reason, _ in rules} | {reason for values in codes for reason in values}
    named |= {reason for *_, reason in reason_tables.CODE_RANGES}
    assert named <= {reason.value for reason in Reason}


def test_phrases_are_in_the_form_they_are_compared_in() -> None:
    rules = [*reason_tables.WORDS, *(r for rules in reason_tables.PROVIDERS.values() for r in rules)]
    phrases = [p for _, phrases in rules for p in phrases]
    phrases += [*reason_tables.UNKNOWN_USER, *reason_tables.SURELY_UNKNOWN]
    assert [p for p in phrases if p != p.lower() or "  " in p or len(p.strip(" *")) < 3] == []


@pytest.mark.parametrize(("status", "severity"), [("5.3.2", Severity.HARD), ("4.3.2", Severity.SOFT)])
def test_a_host_that_takes_nothing_for_now_is_soft(status: str, severity: Severity) -> None:
    found = classify(phase=None, code=None, status=status, text="System not accepting network messages")
    assert (found.reason, found.severity) == (R.NOTACCEPT, severity)


def test_full_is_soft_even_with_a_permanent_status() -> None:
    assert classify(phase=RCPT, code=552, status="5.2.2", text="").severity is Severity.SOFT


@pytest.mark.parametrize(
    "reason",
    [R.AUTHFAILURE, R.BADREPUTATION, R.BLOCKED, R.RATELIMITED, R.REQUIREPTR, R.SPAMDETECTED, R.NORELAYING],
)
def test_what_is_about_us_is_never_held_against_a_patron(reason: Reason) -> None:
    assert verdict(reason).fault is Fault.US


@given(
    phase=st.none() | st.sampled_from(Phase),
    code=st.none() | st.integers(-1, 999),
    status=st.text(max_size=12) | st.from_regex(r"[245]\.\d{1,3}\.\d{1,3}", fullmatch=True),
    text=st.text(max_size=300),
    remote=st.text(max_size=40),
    recipient=st.text(max_size=40),
)
def test_any_answer_has_a_verdict(
    phase: Phase | None, code: int | None, status: str, text: str, remote: str, recipient: str
) -> None:
    found = classify(phase=phase, code=code, status=status, text=text, remote=remote, recipient=recipient)
    assert found.fault is FAULT[found.reason]


def test_only_the_start_of_an_endless_answer_is_read() -> None:
    text = "x" * MAX_TEXT + " mailbox is full"
    assert classify(phase=None, code=None, status="", text=text).reason is R.ONHOLD
