"""The whole way with real servers: a library event in, mail through Postfix, its reports back by LMTP."""

from collections.abc import AsyncIterator
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from holds_core.ledger import observations
from tests.e2e.library import Library, library, lmtp
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Relay


@pytest.fixture
async def town(tmp_path: Path, relay: Relay) -> AsyncIterator[Library]:
    """A library that sends through the real relay and listens for what comes back."""
    async with (
        library(tmp_path, RELAY_PORT=relay.port) as found,
        lmtp(found.services, relay.our_lmtp_port),
    ):
        yield found


async def test_hold_ready_mail_arrives_and_the_receipt_comes_back(town: Library, dovecot: Dovecot) -> None:
    patron = await town.ready_hold(1, "patron@good.example")
    assert await town.batch() == 1
    await town.send()
    row = await town.delivery(patron)
    assert (row.state, row.finding, row.reason) == ("handed_over", "waiting", "")
    [raw] = await dovecot.arrived("patron")
    mail = message_from_bytes(raw, policy=policy.default)
    assert mail["Message-ID"] == f"<{row.token}@lmtp.library.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    body = mail.get_content()
    assert "図書様" in body.replace(" ", "")
    assert "中央図書館" in body
    assert f"{row.deadline.month}月{row.deadline.day}日" in body
    assert "吾輩は猫である" not in mail["Subject"]
    await town.finds(patron, "relayed")
    assert (await town.delivery(patron)).finding == "waiting"
    assert await town.open_case(patron) is None


@pytest.mark.parametrize(
    ("address", "reason", "standing"),
    [
        ("p@nouser.example", "userunknown", "unreachable"),
        ("p@late.example", "userunknown", "unreachable"),
    ],
)
async def test_a_bounce_marks_the_address_and_opens_a_case(
    town: Library, address: str, reason: str, standing: str
) -> None:
    patron = await town.ready_hold(2, address)
    await town.batch()
    await town.send()
    await town.finds(patron, "bounced")
    row = await town.delivery(patron)
    assert (row.state, row.finding, row.reason, row.fault) == ("handed_over", "bounced", reason, "patron")
    assert await town.open_case(patron) == ["bounced"]
    assert not await town.quarantined()


async def test_a_refusal_at_rcpt_is_final_and_counts_like_a_bounce(town: Library) -> None:
    patron = await town.ready_hold(3, "p@nosuch.example")  # the relay itself refuses: 550 5.4.4
    await town.batch()
    await town.send()
    row = await town.delivery(patron)
    assert (row.state, row.finding) == ("refused", "bounced")
    [attempt] = await town.attempts(row.delivery_id)
    assert (attempt.result, attempt.phase, attempt.code, attempt.status) == ("refused", "rcpt", 550, "5.4.4")
    assert await town.open_case(patron) == ["bounced"]


async def test_delayed_first_and_failed_in_the_end(town: Library) -> None:
    patron = await town.ready_hold(4, "p@full.example")
    await town.batch()
    await town.send()
    await town.finds(patron, "delayed")
    assert (await town.delivery(patron)).finding == "waiting"
    await town.finds(patron, "bounced")
    row = await town.delivery(patron)
    assert (row.finding, row.reason) == ("bounced", "mailboxfull")


async def test_greylisted_mail_is_accepted_later(town: Library, dovecot: Dovecot) -> None:
    patron = await town.ready_hold(5, "grey5@grey.example")
    await town.batch()
    await town.send()
    await town.finds(patron, "relayed")
    assert len(await dovecot.arrived("grey5")) == 1


async def test_a_black_hole_says_nothing_and_the_window_tells(town: Library) -> None:
    patron = await town.ready_hold(6, "p@blackhole.example")
    await town.batch()
    await town.send()
    await town.finds(patron, "relayed")  # the false friend
    async with town.services.ledger.write() as connection:
        later = town.services.clock.now() + timedelta(days=3, minutes=1)
        assert len(await observations.windows_passed(connection, later)) == 1
    assert (await town.delivery(patron)).finding == "unanswered"
    assert await town.open_case(patron) == ["unanswered"]


async def test_registration_change_leaves_at_once_to_the_new_and_the_proven_old_address(
    town: Library, dovecot: Dovecot
) -> None:
    await town.event("patron", patron_id="P7", email="old7@good.example", name="図書 花子")
    await town.event("patron", patron_id="P7", email="new7@good.example")
    await town.send()
    [raw] = await dovecot.arrived("new7")
    mail = message_from_bytes(raw, policy=policy.default)
    assert "登録情報変更のお知らせ" in mail["Subject"]
    assert dovecot.mailbox("old7") == []  # never proven: it may be a stranger's
