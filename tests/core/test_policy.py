"""What events owe whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.holds import HOLD, Hold
from holds_core.notices import Kind
from holds_core.policy import (
    AddressRecord,
    PatronRecord,
    hold_notice,
    hold_owed,
    mailable,
    may_tell_former,
    prompt_at,
    registration_owed,
    withheld_because,
)
from holds_core.standing import Standing

TOKYO = ZoneInfo("Asia/Tokyo")
GOOD = AddressRecord("good@example.jp", "good@example.jp")
PROVEN = replace(GOOD, proven=True, standing=Standing.REACHABLE)
DEAD = AddressRecord("dead@example.jp", "dead@example.jp", standing=Standing.UNREACHABLE)
PROVISIONAL = AddressRecord("kari@example.jp", "kari@example.jp", provisional=True)
MISTYPED = AddressRecord("typo@example.jp", "typo@example.jp", mistyped=True)
DOUBTFUL = AddressRecord("doubt@example.jp", "doubt@example.jp", standing=Standing.DOUBTFUL)


def patron(*addresses: AddressRecord, contact: str = "email") -> PatronRecord:
    return PatronRecord("P1", contact, addresses)


@pytest.mark.parametrize(
    ("addresses", "kept", "why"),
    [
        ((), (), "no_address"),
        ((GOOD,), (GOOD,), None),
        ((DOUBTFUL,), (DOUBTFUL,), None),
        ((GOOD, DEAD), (GOOD,), None),
        ((DEAD,), (), "unreachable"),
        ((MISTYPED,), (), "unreachable"),
        ((PROVISIONAL,), (), "provisional"),
        ((PROVISIONAL, DEAD), (), "unreachable"),
        ((GOOD, DOUBTFUL, PROVEN), (GOOD, DOUBTFUL, PROVEN), None),
    ],
)
def test_who_gets_hold_mail(
    addresses: tuple[AddressRecord, ...], kept: tuple[AddressRecord, ...], why: str | None
) -> None:
    assert mailable(patron(*addresses)) == kept
    if not kept:
        assert withheld_because(patron(*addresses)) == why


@pytest.mark.parametrize(
    ("before", "after", "by", "kind"),
    [
        (None, Hold.REQUESTED, None, None),
        (Hold.REQUESTED, Hold.PLACED, None, Kind.HOLD_PLACED),
        (None, Hold.PLACED, None, Kind.HOLD_PLACED),
        (Hold.REQUESTED, Hold.REFUSED, None, Kind.HOLD_REFUSED),
        (Hold.PLACED, Hold.READY, None, Kind.HOLD_READY),
        (Hold.LAPSED, Hold.READY, None, Kind.HOLD_READY),
        (Hold.CANCEL_REQUESTED, Hold.READY, None, Kind.HOLD_READY),
        (Hold.CANCEL_REQUESTED, Hold.PLACED, None, Kind.CANCEL_REFUSED),
        (Hold.CANCEL_REQUESTED, Hold.CANCELLED, None, Kind.CANCEL_DONE),
        (Hold.WITHDRAWN, Hold.CANCELLED, None, Kind.CANCEL_DONE),
        (Hold.WITHDRAWN, Hold.PLACED, None, Kind.HOLD_PLACED),
        (Hold.PLACED, Hold.CANCELLED, "patron", Kind.CANCEL_DONE),
        (Hold.PLACED, Hold.CANCELLED, None, None),
        (Hold.PLACED, Hold.CANCELLED, "library", Kind.HOLD_CANCELLED_BY_LIBRARY),
        (Hold.CANCEL_REQUESTED, Hold.CANCELLED, "library", Kind.HOLD_CANCELLED_BY_LIBRARY),
        (Hold.READY, Hold.PLACED, None, None),
        (Hold.READY, Hold.COLLECTED, None, None),
        (Hold.READY, Hold.LAPSED, None, Kind.HOLD_LAPSED),
        (Hold.PLACED, Hold.CANCEL_REQUESTED, None, None),
        (Hold.PLACED, Hold.ENDED, None, None),
        # listed again after one bad snapshot
        (Hold.ENDED, Hold.PLACED, None, None),
        (Hold.ENDED, Hold.READY, None, Kind.HOLD_READY),
    ],
)
def test_the_notice_of_each_step(before: Hold | None, after: Hold, by: str | None, kind: Kind | None) -> None:
    assert before is None or HOLD.allows(before, after)
    assert hold_notice(before, after, by=by) is kind


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("contact", ["phone", "post", "none"])
@pytest.mark.parametrize("own", [True, False])
def test_who_wants_no_mail_gets_none_and_is_phoned_about_ready_holds_only(
    kind: Kind, contact: str, own: bool
) -> None:
    """The hold's own contact method beats the patron's."""
    record = patron(GOOD, contact="email" if own else contact)
    owed = hold_owed(kind, record, "H1", contact=contact if own else None)
    if kind is Kind.HOLD_READY and contact != "none":
        assert owed is not None
        assert (owed.recipients, owed.why, owed.hold_ids) == ((), f"contact_{contact}", ("H1",))
    else:
        assert owed is None


@pytest.mark.parametrize("addresses", [(), (DEAD,), (PROVISIONAL,), (MISTYPED,)])
@pytest.mark.parametrize("kind", [Kind.HOLD_READY, Kind.HOLD_PLACED, Kind.HOLD_LAPSED])
def test_without_an_address_only_a_ready_hold_is_withheld(
    addresses: tuple[AddressRecord, ...], kind: Kind
) -> None:
    owed = hold_owed(kind, patron(*addresses), "H1", contact=None)
    if kind is Kind.HOLD_READY:
        assert owed is not None
        assert owed.recipients == ()
        assert owed.why
    else:
        assert owed is None


def test_a_hold_contact_of_mail_beats_a_patron_who_wants_calls() -> None:
    owed = hold_owed(Kind.HOLD_READY, patron(GOOD, contact="phone"), "H1", contact="email", reason="x")
    assert owed is not None
    assert (owed.recipients, owed.why, owed.reason) == ((GOOD,), "", "x")


@pytest.mark.parametrize(
    ("former", "told"),
    [
        (PROVEN, True),
        (replace(PROVEN, standing=Standing.DOUBTFUL), True),
        (GOOD, False),
        (replace(PROVEN, standing=Standing.UNREACHABLE), False),
        (replace(PROVEN, provisional=True), False),
        (replace(PROVEN, mistyped=True), False),
    ],
)
def test_only_an_address_proven_to_be_the_patrons_is_told_that_it_is_the_former(
    former: AddressRecord, told: bool
) -> None:
    assert may_tell_former(former) is told
    new = AddressRecord("new@example.jp", "new@example.jp")
    owed = registration_owed(patron(new), [former])
    assert [(item.kind, item.recipients) for item in owed] == [
        (Kind.REGISTRATION_CHANGED, (new,)),
        *([(Kind.REGISTRATION_CHANGED_OLD, (former,))] if told else []),
    ]


def test_an_address_that_stays_is_not_a_former_one() -> None:
    [owed] = registration_owed(patron(replace(PROVEN, address="Good@Example.jp")), [PROVEN])
    assert owed.kind is Kind.REGISTRATION_CHANGED


def test_a_new_address_is_told_even_if_it_is_unreachable_but_not_if_it_is_a_strangers() -> None:
    [owed] = registration_owed(patron(DEAD, MISTYPED, PROVISIONAL), [])
    assert owed.recipients == (DEAD,)
    assert registration_owed(patron(MISTYPED), []) == ()


def test_a_registration_notice_says_what_changed() -> None:
    assert [item.reason for item in registration_owed(patron(GOOD), [])] == ["email"]
    assert [item.reason for item in registration_owed(patron(GOOD), [], changed="password")] == ["password"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=TOKYO).astimezone(UTC)


@pytest.mark.parametrize(
    ("received", "leaves"),
    [
        ("2026-11-24 12:00", "2026-11-24 12:00"),
        ("2026-11-24 20:59", "2026-11-24 20:59"),
        ("2026-11-24 21:00", "2026-11-25 08:00"),
        ("2026-11-24 23:59", "2026-11-25 08:00"),
        ("2026-11-25 00:00", "2026-11-25 08:00"),
        ("2026-11-25 07:59", "2026-11-25 08:00"),
        ("2026-11-25 08:00", "2026-11-25 08:00"),
        ("2026-12-31 22:00", "2027-01-01 08:00"),
    ],
)
def test_quiet_hours_run_over_midnight(received: str, leaves: str) -> None:
    found = prompt_at(at(received), nightly=False, quiet_from=time(21), quiet_to=time(8), zone=TOKYO)
    assert found == at(leaves)


@pytest.mark.parametrize(
    ("received", "nightly", "leaves"),
    [
        ("2026-11-24 00:30", False, "2026-11-24 00:30"),
        ("2026-11-24 00:30", True, "2026-11-24 06:00"),
        ("2026-11-24 01:00", False, "2026-11-24 06:00"),
        ("2026-11-24 06:00", True, "2026-11-24 06:00"),
    ],
)
def test_quiet_hours_within_a_day_and_a_nightly_feed(received: str, nightly: bool, leaves: str) -> None:
    found = prompt_at(at(received), nightly=nightly, quiet_from=time(1), quiet_to=time(6), zone=TOKYO)
    assert found == at(leaves)


@given(
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    quiet_from=st.times(),
    quiet_to=st.times(),
    zone=st.sampled_from(["Asia/Tokyo", "Europe/Berlin", "America/New_York"]).map(ZoneInfo),
    nightly=st.booleans(),
)
def test_a_prompt_notice_waits_less_than_a_day_and_never_leaves_early(
    moment: datetime, quiet_from: time, quiet_to: time, zone: ZoneInfo, nightly: bool
) -> None:
    quiet_from, quiet_to = (item.replace(second=0, microsecond=0) for item in (quiet_from, quiet_to))
    leaves = prompt_at(moment, nightly=nightly, quiet_from=quiet_from, quiet_to=quiet_to, zone=zone)
    assert moment <= leaves <= moment + timedelta(hours=25)
    assert leaves.tzinfo is UTC
