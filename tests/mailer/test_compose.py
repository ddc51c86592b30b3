"""What is checked again at send time, and what then stands in the mail and on its envelope."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from holds_core.config import parse
from holds_core.errors import BadInput
from holds_core.holds import Hold
from holds_core.ledger.sending import Claimed, HoldLine
from holds_core.notices import Kind, Transmission
from holds_core.providers import Providers
from holds_core.refusals import RefusalCode
from holds_core.rulebook import Rulebook
from holds_core.tokens import Purpose, TokenKeys
from mailer.compose import Composed, Composer, Dropped
from mailer.render import Renderer
from mailer.sentences import sentence
from mailer.view import day
from mailer.wrapping import columns

NOW = datetime(2026, 11, 24, 0, 10, tzinfo=UTC)  # 9:10 in Tokyo, a Tuesday
KEYS = TokenKeys([b"0123456789abcdef" * 4])
CONFIG = """
library:
  name: とどく市立図書館
  name_en: Todoku City Library
  phone: 03-5550-0100
  url: https://library.example/
  opac_url: https://opac.library.example/
  branches:
    - {id: main, name: 中央図書館, name_en: Central Library, phone: 03-5550-0101, hours: 9時から19時, closed: {weekly: [mon]}}
sender: {address: noreply@library.example, return_path_domain: bounce.library.example}
relay: {host: 127.0.0.1}
confirm: {base_url: https://confirm.library.example}
"""
H1 = HoldLine("H1", "吾輩は猫である", None, Hold.READY, date(2026, 11, 23), None, None)
H2 = HoldLine("H2", "坊っちゃん", None, Hold.READY, date(2026, 11, 23), None, None)
ITEM = Claimed(
    delivery_id=7,
    notice_id="N1",
    kind=Kind.HOLD_READY,
    patron_id="P1",
    patron_name="図書 花子",
    language="",
    branch="main",
    reason="",
    address="hanako@example.jp",
    domain="example.jp",
    token=KEYS.make(7),
    state=Transmission.PENDING,
    tries=0,
    doubts=0,
    created_at=NOW - timedelta(hours=1),
    first_attempt_at=None,
    standing="unproven",
    holds=(H1,),
)
WITH_SETTINGS = [kind for kind in Kind if kind is not Kind.SENDER_MIGRATION]
"""An announcement needs a change of the sender in the settings; it has its own tests below."""
PROMPT = replace(ITEM, kind=Kind.REGISTRATION_CHANGED, holds=(), branch="", reason="email")


def composer(extra: str = "") -> Composer:
    settings = parse(CONFIG + extra, base=Path("/"), env={})
    return Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer())


@pytest.fixture(scope="module")
def plain() -> Composer:
    return composer()


def sent(made: Composer, item: Claimed, now: datetime = NOW) -> Composed:
    mail = made.compose(item, now)
    assert isinstance(mail, Composed), mail
    return mail


def message(mail: Composed) -> EmailMessage:
    return email.message_from_bytes(mail.data, policy=email.policy.default)


def body(mail: Composed) -> str:
    return str(message(mail).get_content())


# -- what stands in it -----------------------------------------------------------------------------


def test_a_mail_and_its_envelope(plain: Composer) -> None:
    mail = sent(plain, ITEM)
    assert (mail.sender, mail.recipient, mail.envid) == (
        f"{ITEM.token}@bounce.library.example",
        "hanako@example.jp",
        ITEM.token,
    )
    headers = message(mail)
    assert headers["To"].addresses[0].addr_spec == "hanako@example.jp"
    assert headers["From"].addresses[0].display_name == "とどく市立図書館"
    assert headers["Message-ID"] == f"<{ITEM.token}@bounce.library.example>"
    assert headers["Date"].datetime == NOW
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["X-Todoku-Notice"] == ITEM.token
    text = body(mail)
    for said in ("図書 様", "吾輩は猫である", "中央図書館", "12月1日(火)", "03-5550-0101", "9時から19時"):
        assert said in text
    assert "吾輩は猫である" not in str(headers["Subject"]) + mail.subject
    assert mail.deadline == date(2026, 12, 1)


def test_the_same_mail_again_has_the_same_names(plain: Composer) -> None:
    first, second = sent(plain, ITEM), sent(plain, replace(ITEM, tries=1), NOW + timedelta(hours=1))
    assert (first.sender, first.envid, message(first)["Message-ID"]) == (
        second.sender,
        second.envid,
        message(second)["Message-ID"],
    )


def test_a_retry_on_a_later_day_has_a_later_deadline(plain: Composer) -> None:
    assert sent(plain, ITEM, NOW + timedelta(days=2)).deadline == date(2026, 12, 3)


@pytest.mark.parametrize(
    ("extra", "sender"),
    [
        ("", f"{ITEM.token}@bounce.library.example"),
        ("return_path: plus", f"bounce+{ITEM.token}@bounce.library.example"),
        ("return_path: fixed, return_path_mailbox: mail", "mail@bounce.library.example"),
    ],
)
def test_the_return_path_as_the_library_has_it(extra: str, sender: str) -> None:
    config = CONFIG.replace(
        "return_path_domain:", f"{extra}, return_path_domain:" if extra else "return_path_domain:"
    )
    settings = parse(config, base=Path("/"), env={})
    made = Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer())
    assert sent(made, ITEM).sender == sender


@pytest.mark.parametrize("kind", WITH_SETTINGS)
@pytest.mark.parametrize("language", ["", "ja", "en", "en-GB", "zh-Hant"])
def test_every_notice_in_every_language_can_be_written(plain: Composer, kind: Kind, language: str) -> None:
    state = {Kind.HOLD_LAPSED: Hold.LAPSED, Kind.HOLD_PLACED: Hold.PLACED}.get(kind, Hold.READY)
    mail = sent(plain, replace(ITEM, kind=kind, language=language, holds=(replace(H1, state=state),)))
    english = language.startswith("en")
    assert message(mail)["From"].addresses[0].display_name == (
        "Todoku City Library" if english else "とどく市立図書館"
    )
    assert ("図書館" in mail.subject or "予約" in mail.subject or "登録" in mail.subject) is not english
    assert "拒否" not in body(mail) + mail.subject


@pytest.mark.parametrize(
    ("kind", "reason", "shown"),
    [
        (Kind.HOLD_REFUSED, "overdue", "返却期限を過ぎた資料があるため、ご予約をお受けできませんでした。"),
        (Kind.HOLD_REFUSED, " OVERDUE ", "返却期限を過ぎた資料があるため、ご予約をお受けできませんでした。"),
        (Kind.HOLD_REFUSED, "予約拒否(延滞)", "お申し込みをお受けできませんでした。"),
        (Kind.HOLD_REFUSED, 'limit:[10,"本","books","点"]', "ご予約いただけるのは本10点まで"),
        (Kind.HOLD_REFUSED, "limit", "ご予約いただける点数"),
        (Kind.HOLD_REFUSED, "", ""),
        (Kind.CANCEL_REFUSED, "already_shelved", "ご予約の資料はすでに受取館にご用意しております。"),
        (Kind.CANCEL_REFUSED, "code 17", ""),
        (Kind.HOLD_CANCELLED_BY_LIBRARY, "lost", "資料が失われたためです。"),
        (Kind.HOLD_CANCELLED_BY_LIBRARY, "damaged", "資料が傷み、貸出しができなくなったためです。"),
        (Kind.HOLD_CANCELLED_BY_LIBRARY, "汚損", "資料が汚れ、貸出しができなくなったためです。"),
        (Kind.HOLD_CANCELLED_BY_LIBRARY, "拒否", ""),
    ],
)
def test_a_reason_is_a_sentence_for_patrons(plain: Composer, kind: Kind, reason: str, shown: str) -> None:
    holds = (replace(H1, state=Hold.READY if kind is Kind.CANCEL_REFUSED else Hold.CANCELLED),)
    text = body(sent(plain, replace(ITEM, kind=kind, reason=reason, holds=holds)))
    assert ("■理由" in text) is bool(shown)
    assert shown.partition("。")[0] in "".join(text.split())
    assert reason.strip() == "" or reason not in text


@pytest.mark.parametrize("code", [*RefusalCode, "lost", "x", ""])
@pytest.mark.parametrize("kind", Kind)
def test_no_reason_is_a_code_or_a_refusal_in_so_many_words(kind: Kind, code: str) -> None:
    for language in ("ja", "en-GB"):
        said = sentence(kind, code, language)
        assert "拒否" not in said
        assert said == "" or said.endswith(("。", "."))
        assert said == "" or said.isascii() is (language == "en-GB")


@pytest.mark.parametrize(
    ("reason", "said"), [("email", "メールアドレス"), ("password", "パスワード"), ("", "メールアドレス")]
)
def test_what_changed_in_the_registration(plain: Composer, reason: str, said: str) -> None:
    text = body(sent(plain, replace(PROMPT, reason=reason)))
    assert f"ご登録の{said}" in text


def test_the_former_address_learns_nothing_of_the_patron(plain: Composer) -> None:
    mail = sent(plain, replace(PROMPT, kind=Kind.REGISTRATION_CHANGED_OLD))
    assert "図書 様" not in body(mail)
    assert "花子" not in mail.data.decode("ascii", "replace") + body(mail) + mail.subject


# -- links -----------------------------------------------------------------------------------------


def test_the_links_of_a_delivery(plain: Composer) -> None:
    page = "https://confirm.library.example/c/"
    text = body(sent(plain, PROMPT))
    assert page + KEYS.make(7, Purpose.CONFIRM) in text
    assert page + KEYS.make(7, Purpose.NOT_ME) in text
    assert KEYS.make(7, Purpose.NOT_ME) not in body(sent(plain, ITEM))


@pytest.mark.parametrize("kind", [Kind.HOLD_READY, Kind.REGISTRATION_CHANGED, Kind.HOLD_PLACED])
def test_a_provider_whose_users_filter_links_gets_none(plain: Composer, kind: Kind) -> None:
    hold = replace(H1, state=Hold.PLACED if kind is Kind.HOLD_PLACED else Hold.READY)
    phone = replace(ITEM, kind=kind, address="a@docomo.ne.jp", domain="docomo.ne.jp", holds=(hold,))
    assert "http" not in body(sent(plain, phone))
    assert "http" in body(sent(plain, replace(phone, address="a@example.jp", domain="example.jp")))


@pytest.mark.parametrize(
    ("domain", "own", "links"),
    [("docomo.ne.jp", "true", True), ("example.jp", "false", False)],
)
def test_the_librarys_own_word_on_links_wins(domain: str, own: str, links: bool) -> None:
    made = composer(f"providers: [{{domain: {domain}, links: {own}}}]")
    assert ("http" in body(sent(made, replace(ITEM, address=f"a@{domain}", domain=domain)))) is links


@pytest.mark.parametrize("extra", ["confirmation: {ask: {hold_ready: false}}"])
def test_no_confirmation_is_asked_for_if_the_library_does_not(extra: str) -> None:
    assert "/c/" not in body(sent(composer(extra), ITEM))


# -- checked again at send time --------------------------------------------------------------------

SHELF = [Hold.COLLECTED, Hold.LAPSED, Hold.CANCELLED, Hold.PLACED, Hold.ENDED]
UNTRUE: list[tuple[Kind, Hold, str]] = [
    *((kind, state, "off_the_shelf") for kind in (Kind.HOLD_READY, Kind.HOLD_EXPIRING) for state in SHELF),
    (Kind.HOLD_PLACED, Hold.CANCELLED, "overtaken"),
    (Kind.HOLD_PLACED, Hold.REFUSED, "overtaken"),
    (Kind.HOLD_PLACED, Hold.COLLECTED, "overtaken"),
    # put back on the shelf, or handed over at the desk after all
    (Kind.HOLD_LAPSED, Hold.READY, "overtaken"),
    (Kind.HOLD_LAPSED, Hold.COLLECTED, "overtaken"),
    (Kind.CANCEL_REFUSED, Hold.CANCELLED, "overtaken"),
]


@pytest.mark.parametrize(("kind", "state", "why"), UNTRUE)
def test_what_is_no_longer_true_is_not_sent(plain: Composer, kind: Kind, state: Hold, why: str) -> None:
    item = replace(ITEM, kind=kind, holds=(replace(H1, state=state),))
    assert plain.compose(item, NOW) == Dropped(Transmission.CANCELLED, why)


STILL_TRUE = [
    (Kind.HOLD_PLACED, Hold.PLACED),
    (Kind.HOLD_PLACED, Hold.READY),
    (Kind.HOLD_PLACED, Hold.CANCEL_REQUESTED),
    (Kind.HOLD_LAPSED, Hold.LAPSED),
    (Kind.HOLD_REFUSED, Hold.REFUSED),
    (Kind.CANCEL_DONE, Hold.CANCELLED),
    (Kind.CANCEL_REFUSED, Hold.READY),
    (Kind.HOLD_CANCELLED_BY_LIBRARY, Hold.CANCELLED),
]


@pytest.mark.parametrize(("kind", "state"), STILL_TRUE)
def test_what_is_still_true_is_sent(plain: Composer, kind: Kind, state: Hold) -> None:
    sent(plain, replace(ITEM, kind=kind, holds=(replace(H1, state=state),)))


def test_only_the_holds_still_on_the_shelf_are_listed(plain: Composer) -> None:
    text = body(sent(plain, replace(ITEM, holds=(replace(H1, state=Hold.COLLECTED), H2))))
    assert "坊っちゃん" in text
    assert "吾輩は猫である" not in text


@pytest.mark.parametrize("kind", WITH_SETTINGS)
def test_an_address_that_turned_unreachable_gets_only_the_mail_that_tests_it(
    plain: Composer, kind: Kind
) -> None:
    state = {Kind.HOLD_LAPSED: Hold.LAPSED, Kind.HOLD_PLACED: Hold.PLACED}.get(kind, Hold.READY)
    item = replace(ITEM, kind=kind, standing="unreachable", holds=(replace(H1, state=state),))
    found = plain.compose(item, NOW)
    if kind is Kind.REGISTRATION_CHANGED:
        assert isinstance(found, Composed)
    else:
        assert found == Dropped(Transmission.WITHHELD, "unreachable")


def test_a_mail_in_doubt_is_neither_withheld_nor_late(plain: Composer) -> None:
    """It may have left already."""
    old = NOW - timedelta(days=9)
    item = replace(ITEM, state=Transmission.UNCERTAIN, standing="unreachable", created_at=old)
    assert isinstance(plain.compose(item, NOW), Composed)


@pytest.mark.parametrize(
    ("kind", "state", "late"),
    [
        (Kind.HOLD_PLACED, Hold.PLACED, True),
        (Kind.HOLD_LAPSED, Hold.LAPSED, True),
        # a batch may wait over closed days
        (Kind.HOLD_READY, Hold.READY, False),
        (Kind.HOLD_EXPIRING, Hold.READY, False),
        # somebody else may have made the change: better told late
        (Kind.REGISTRATION_CHANGED, Hold.READY, False),
        (Kind.REGISTRATION_CHANGED_OLD, Hold.READY, False),
    ],
)
def test_old_news_is_not_sent(plain: Composer, kind: Kind, state: Hold, late: bool) -> None:
    item = replace(ITEM, kind=kind, holds=(replace(H1, state=state),), created_at=NOW - timedelta(hours=24))
    assert isinstance(plain.compose(item, NOW), Composed)
    found = plain.compose(item, NOW + timedelta(seconds=1))
    assert (found == Dropped(Transmission.CANCELLED, "too_late")) is late


# -- sending mode ----------------------------------------------------------------------------------


def test_redirected_mail_goes_to_one_address_and_says_whose_it_is() -> None:
    made = composer("sending: {mode: redirect, redirect_to: it@library.example}")
    mail = sent(made, ITEM)
    assert mail.recipient == "it@library.example"
    assert message(mail)["To"].addresses[0].addr_spec == "hanako@example.jp"


@pytest.mark.parametrize(
    ("address", "listed"),
    [
        ("hanako@example.jp", True),
        ("Hanako@EXAMPLE.jp", True),
        ('"hanako"@example.jp', True),
        ("taro@example.jp", False),
        ("hanako@example.jp.evil.example", False),
    ],
)
def test_the_allowlist(address: str, listed: bool) -> None:
    made = composer("sending: {mode: allowlist, allowlist: [HANAKO@example.jp]}")
    found = made.compose(replace(ITEM, address=address), NOW)
    if listed:
        assert isinstance(found, Composed)
    else:
        assert found == Dropped(Transmission.CANCELLED, "not_on_allowlist")


# -- the deadline ----------------------------------------------------------------------------------


def test_the_library_systems_deadline_beats_an_extension_beats_the_formula(plain: Composer) -> None:
    formula, early, late = date(2026, 12, 1), date(2026, 11, 27), date(2026, 12, 24)
    for source, given, expected in [
        ("feed", late, late),
        ("feed", early, early),
        ("extended", late, late),
        ("reached", early, early),
        ("mail", early, formula),
        # moved since by a closing, or by time that did not count: no second mail takes days away
        ("mail", late, late),
        (None, None, formula),
    ]:
        line = replace(H1, deadline=given, deadline_source=source)
        assert sent(plain, replace(ITEM, holds=(line,))).deadline == expected, source


def test_holds_with_different_last_days_each_have_their_own_promised() -> None:
    made = composer("deadline: {start: ready_day}")
    later = replace(H2, ready_on=date(2026, 11, 25))
    mail = sent(made, replace(ITEM, holds=(H1, later)))
    assert mail.deadline == date(2026, 11, 29)
    assert mail.promised == (("H1", date(2026, 11, 29)), ("H2", date(2026, 12, 1)))
    assert sent(made, replace(ITEM, holds=(H1, H2))).promised == ()


def test_a_reminder_repeats_the_deadline_in_force_and_sets_none(plain: Composer) -> None:
    line = replace(H1, deadline=date(2026, 11, 26), deadline_source="mail")
    mail = sent(plain, replace(ITEM, kind=Kind.HOLD_EXPIRING, holds=(line,)))
    assert (mail.deadline, mail.promised) == (None, ())
    assert "11月26日(木)" in body(mail)


# -- a deadline that moved -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "reason", "says"),
    [
        ("ja", "closure:2026-12-01..2026-12-02", "12月1日(火)から12月2日(水)まで臨時休館するためです。"),
        ("ja", "closure:2026-12-01..2026-12-01", "12月1日(火)に臨時休館するためです。"),
        ("en", "closure:2026-12-01..2026-12-01", "The library will be closed on Tuesday 1 December 2026."),
        (
            *("en", "closure:2026-12-01..2026-12-02"),
            "The library will be closed from Tuesday 1 December 2026 to Wednesday 2 December 2026.",
        ),
        (
            "ja-easy",
            "closure:2026-12-01..2026-12-02",
            "12月1日(火曜日)から 12月2日(水曜日)まで おやすみです。",
        ),
        ("ja", "", ""),
        ("ja", "停電 / staff's own shorthand", ""),
    ],
)
def test_why_a_deadline_moved(plain: Composer, language: str, reason: str, says: str) -> None:
    line = replace(H1, deadline=date(2026, 12, 3), deadline_source="mail")
    item = replace(ITEM, kind=Kind.DEADLINE_CHANGED, holds=(line,), reason=reason, language=language)
    text = body(sent(plain, item))
    assert day(date(2026, 12, 3), language) in text
    assert says.replace(" ", "") in "".join(text.split())
    assert bool(says) == any(word in text for word in ("変更の理由", "WHY IT HAS", "かわった わけ"))
    assert "shorthand" not in text


def test_a_new_deadline_is_news_until_the_hold_leaves_the_shelf(plain: Composer) -> None:
    item = replace(ITEM, kind=Kind.DEADLINE_CHANGED, created_at=NOW - timedelta(days=3))
    assert isinstance(plain.compose(item, NOW), Composed)
    gone = replace(item, holds=(replace(H1, state=Hold.COLLECTED),))
    assert plain.compose(gone, NOW) == Dropped(Transmission.CANCELLED, "overtaken")


# -- who it is from --------------------------------------------------------------------------------

MIDNIGHT = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)  # 0:00 on 1 December in Tokyo
MOVING = CONFIG.replace(
    "return_path_domain: bounce.library.example}",
    "return_path_domain: bounce.library.example, reply_confirm_address: ok@library.example, "
    "changes: [{since: 2026-12-01, address: noreply@city.example, return_path_domain: bounce.city.example, "
    "name: 市立図書館, reply_confirm_address: ok@city.example}]}",
)


def moving() -> Composer:
    settings = parse(MOVING, base=Path("/"), env={})
    return Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer())


@pytest.mark.parametrize(
    ("now", "first_attempt_at", "domain"),
    [
        (MIDNIGHT - timedelta(seconds=1), None, "library.example"),
        (MIDNIGHT, None, "city.example"),
        (MIDNIGHT + timedelta(days=400), None, "city.example"),
        # tried before midnight and again after it: the names of the first attempt stay
        (MIDNIGHT + timedelta(hours=1), MIDNIGHT - timedelta(minutes=5), "library.example"),
    ],
)
def test_the_sender_changes_at_midnight_of_the_library(
    now: datetime, first_attempt_at: datetime | None, domain: str
) -> None:
    item = replace(PROMPT, created_at=now, first_attempt_at=first_attempt_at)
    mail = sent(moving(), item, now)
    headers = message(mail)
    assert headers["From"].addresses[0].addr_spec == f"noreply@{domain}"
    assert headers["From"].addresses[0].display_name == (
        "市立図書館" if domain == "city.example" else "とどく市立図書館"
    )
    assert mail.sender == f"{ITEM.token}@bounce.{domain}"
    assert headers["Message-ID"] == f"<{ITEM.token}@bounce.{domain}>"
    text = body(mail)
    assert f"noreply@{domain}" in text


@pytest.mark.parametrize("language", ["ja", "en", "ja-easy"])
def test_the_announcement_names_both_senders_and_the_day(language: str) -> None:
    item = replace(PROMPT, kind=Kind.SENDER_MIGRATION, reason="sender-change 2026-12-01", language=language)
    mail = sent(moving(), item)
    assert message(mail)["From"].addresses[0].addr_spec == "noreply@library.example"
    for said in ("noreply@library.example", "noreply@city.example", day(date(2026, 12, 1), language)):
        assert said in body(mail)


def test_an_announcement_of_a_change_that_was_called_off_is_not_sent() -> None:
    item = replace(PROMPT, kind=Kind.SENDER_MIGRATION, reason="sender-change 2026-12-24")
    with pytest.raises(BadInput, match="2026-12-24"):
        moving().compose(item, NOW)


# -- by patron, by library, by provider ------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "patron", "shown"),
    [
        ("full", "", "吾輩は猫であるI am a Cat"),
        ("full", "short", "吾輩は猫であるI a…"),
        ("full", "none", ""),
        ("none", "", ""),
        ("none", "full", ""),
        ("short", "", "吾輩は猫であるI a…"),
    ],
)
def test_titles_by_library_and_patron(library: str, patron: str, shown: str) -> None:
    config = CONFIG.replace("library:\n", f"library:\n  title_policy: {library}\n")
    settings = parse(config, base=Path("/"), env={})
    made = Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer())
    line = replace(H1, title="吾輩は猫であるI am a Cat")
    mail = sent(made, replace(ITEM, holds=(line,), title_policy=patron))
    assert ("吾輩" in body(mail)) == bool(shown)
    assert shown in body(mail)
    assert "吾輩" not in mail.subject
    assert "吾輩".encode() not in mail.data.partition(b"\r\n\r\n")[0]


def test_the_librarys_own_names_of_its_pages_and_card() -> None:
    config = CONFIG.replace(
        "library:\n",
        "library:\n  wording: {account_menu: 利用状況照会, address_menu: 個人情報変更, card_name: 利用者カード}\n",
    )
    settings = parse(config, base=Path("/"), env={})
    text = body(sent(Composer(Rulebook.of(settings), KEYS, Providers.load(), Renderer()), ITEM))
    for said in ("「利用状況照会」", "「個人情報変更」", "利用者カードをお持ちください"):
        assert said in text
    for not_said in ("利用照会", "Eメールアドレスの変更", "貸出券"):
        assert not_said not in text


def test_each_option_of_a_provider() -> None:
    made = composer(
        "providers: [{domain: example.jp, charset: iso-2022-jp, links: false, quoting: quoted, line_width: 24}]"
    )
    item = replace(ITEM, address="a..b@example.jp", holds=(replace(H1, title="とても長い書名～" * 3),))
    mail = sent(made, item)
    headers = message(mail)
    assert headers.get_content_charset() == "iso-2022-jp"
    assert headers["Content-Transfer-Encoding"] == "7bit"
    text = body(mail)
    assert "とても長い書名〜とても" in text.replace("\n", "")  # the wave dash that the charset has
    assert "http" not in text
    assert mail.recipient == '"a..b"@example.jp'
    assert b'To: "a..b"@example.jp' in mail.data
    assert max(columns(line) for line in text.splitlines() if not line.startswith("----")) <= 24
    plain = sent(composer("providers: [{domain: example.jp, quoting: as_is}]"), item)
    assert message(plain).get_content_charset() == "utf-8"
    assert (plain.recipient, "http" in body(plain)) == ("a..b@example.jp", True)
    assert max(columns(line) for line in body(plain).splitlines()) > 24


def test_a_name_that_the_charset_lacks_falls_back_to_utf_8() -> None:
    made = composer("providers: [{domain: example.jp, charset: iso-2022-jp}]")
    mail = sent(made, replace(ITEM, patron_name="髙﨑 花子"))
    assert message(mail).get_content_charset() == "utf-8"
    assert "髙﨑 様" in body(mail)


def test_with_several_holds_the_earliest_stands_at_the_top_and_others_beside_them(plain: Composer) -> None:
    early = replace(H2, deadline=date(2026, 11, 28), deadline_source="feed")
    mail = sent(plain, replace(ITEM, holds=(H1, early)))
    assert mail.deadline == date(2026, 11, 28)
    text = body(mail)
    assert "11月28日(土)" in text
    assert "12月1日(火)" in text


def test_a_deadline_is_pushed_off_a_closed_day(plain: Composer) -> None:
    monday_week = datetime(2026, 11, 30, 0, 10, tzinfo=UTC)
    assert sent(plain, ITEM, monday_week).deadline == date(2026, 12, 8)


# -- providers -------------------------------------------------------------------------------------


def test_docomos_dots_are_sent_as_they_are(plain: Composer) -> None:
    mail = sent(plain, replace(ITEM, address="a..b.@docomo.ne.jp", domain="docomo.ne.jp"))
    assert mail.recipient == "a..b.@docomo.ne.jp"
    assert b"a..b.@docomo.ne.jp" in mail.data


def test_a_provider_that_wants_iso_2022_jp_gets_it() -> None:
    made = composer("providers: [{domain: example.jp, charset: iso-2022-jp}]")
    mail = sent(made, ITEM)
    assert message(mail).get_content_charset() == "iso-2022-jp"
    assert "吾輩は猫である" in body(mail)


def test_pace_and_groups() -> None:
    made = composer(
        "providers: [{domain: ezweb.ne.jp, per_minute: 5}, {domain: softbank.ne.jp, links: true}]"
    )
    assert (made.mailbox("docomo.ne.jp").pace, made.mailbox("docomo.ne.jp").per_minute) == ("NTT docomo", 60)
    # a pace of the library's own is a group of its own
    assert (made.mailbox("ezweb.ne.jp").pace, made.mailbox("ezweb.ne.jp").per_minute) == ("ezweb.ne.jp", 5)
    assert (made.mailbox("softbank.ne.jp").pace, made.mailbox("softbank.ne.jp").links) == ("SoftBank", True)
    assert made.mailbox("own.example").pace == "own.example"
