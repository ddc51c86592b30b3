"""Both libraries' limits as their pages state them, and the sentences a patron gets."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.errors import BadInput
from holds_core.holds import Hold
from holds_core.limits import (
    BOTH,
    COUNTED_AT_RECEPTION,
    COUNTED_WHEN_ASKED,
    NOWHERE,
    WEB_ONLY,
    Availability,
    LimitRules,
    Request,
    Situation,
    Via,
    VolumeOrder,
    check_cancellation,
    check_request,
    order_for,
    volumes_due,
)
from holds_core.refusals import WORDS, Limit, Refusal, RefusalCode, Spoilt

C = RefusalCode
BOOKS = Limit(10, frozenset({"book"}), "本", "books")
AUDIO_VISUAL = Limit(3, frozenset({"cd", "dvd"}), "視聴覚資料", "audio-visual items")
TOGETHER = Limit(10)

TOSU = LimitRules(
    limits=(BOOKS, AUDIO_VISUAL, TOGETHER),
    overdue_blocks=WEB_ONLY,
    on_loan_only=WEB_ONLY,
    email_required=WEB_ONLY,
    card_pattern="000[0-9]{6}",
)
MINAMISATSUMA = LimitRules(limits=(Limit(10, name_ja="おひとり", unit_ja="冊"),))

WEB = Request(Via.WEB, "book", Availability.ON_LOAN, "000123456")
DESK = replace(WEB, via=Via.DESK)
WELL = Situation(has_email=True)


def codes(refusals: tuple[Refusal, ...]) -> list[RefusalCode]:
    return [refusal.code for refusal in refusals]


@pytest.mark.parametrize(
    ("rules", "request_", "situation", "expected"),
    [
        (TOSU, WEB, WELL, []),
        (TOSU, WEB, Situation(has_email=False), [C.EMAIL_REQUIRED]),
        (TOSU, DESK, Situation(has_email=False), []),
        (TOSU, WEB, Situation(True, overdue=True), [C.OVERDUE]),
        (TOSU, DESK, Situation(True, overdue=True), []),
        (TOSU, replace(WEB, availability=Availability.AVAILABLE), WELL, [C.NOT_ON_LOAN]),
        (TOSU, replace(DESK, availability=Availability.AVAILABLE), WELL, []),
        (TOSU, replace(WEB, availability=Availability.UNKNOWN), WELL, []),
        (TOSU, replace(WEB, card_number="0001234567"), WELL, [C.CARD_NUMBER]),
        (TOSU, replace(WEB, card_number="００0123456"), WELL, [C.CARD_NUMBER]),
        (TOSU, replace(WEB, card_number="000123456\n"), WELL, [C.CARD_NUMBER]),
        (TOSU, replace(WEB, card_number=""), WELL, [C.CARD_NUMBER]),
        # too long for any card, whatever a library's pattern would say
        (LimitRules(card_pattern="0+"), replace(WEB, card_number="0" * 65), WELL, [C.CARD_NUMBER]),
        (LimitRules(card_pattern="0+"), replace(WEB, card_number="0" * 64), WELL, []),
        (TOSU, replace(WEB, card_number=None), WELL, []),
        (TOSU, replace(WEB, order=VolumeOrder.IN_ORDER), WELL, [C.VOLUME_ORDER]),
        (TOSU, replace(WEB, order=VolumeOrder.ANY), WELL, []),
        (TOSU, replace(DESK, order=VolumeOrder.IN_ORDER), WELL, []),
        # all reasons at once, in a fixed order
        (
            TOSU,
            Request(Via.WEB, "dvd", Availability.DAMAGED, "1", VolumeOrder.TOGETHER),
            Situation(has_email=False, overdue=True, held={"dvd": 3, "book": 7}),
            [C.CARD_NUMBER, C.EMAIL_REQUIRED, C.OVERDUE, C.DAMAGED, C.VOLUME_ORDER, C.LIMIT, C.LIMIT],
        ),
        (MINAMISATSUMA, WEB, Situation(has_email=False, overdue=True), []),
        (MINAMISATSUMA, replace(WEB, availability=Availability.AVAILABLE), WELL, []),
        (MINAMISATSUMA, replace(WEB, availability=Availability.NEWEST_ISSUE), WELL, [C.NEWEST_ISSUE]),
        (MINAMISATSUMA, replace(DESK, availability=Availability.IN_LIBRARY), WELL, [C.IN_LIBRARY]),
        (MINAMISATSUMA, replace(WEB, availability=Availability.MISSING), WELL, [C.MISSING]),
        (MINAMISATSUMA, replace(WEB, availability=Availability.SOILED), WELL, [C.SOILED]),
        (LimitRules(), Request(Via.WEB), Situation(False, True, {"": 999}), []),
    ],
)
def test_requests(
    rules: LimitRules, request_: Request, situation: Situation, expected: list[RefusalCode]
) -> None:
    assert codes(check_request(rules, request_, situation)) == expected


@pytest.mark.parametrize(
    ("rules", "material", "held", "reached"),
    [
        (TOSU, "book", {"book": 9}, []),
        (TOSU, "book", {"book": 10}, [BOOKS, TOGETHER]),
        (TOSU, "dvd", {"dvd": 2, "cd": 0}, []),
        (TOSU, "dvd", {"dvd": 2, "cd": 1}, [AUDIO_VISUAL]),
        (TOSU, "book", {"dvd": 3, "book": 6}, []),
        (TOSU, "book", {"dvd": 3, "book": 7}, [TOGETHER]),
        (TOSU, "book", {"magazine": 10}, [TOGETHER]),
        (TOSU, "unheard of", {"book": 9}, []),
        (MINAMISATSUMA, "dvd", {"book": 9}, []),
        (MINAMISATSUMA, "dvd", {"book": 10}, list(MINAMISATSUMA.limits)),
        (LimitRules(limits=(Limit(0, frozenset({"dvd"})),)), "dvd", {}, [Limit(0, frozenset({"dvd"}))]),
    ],
)
def test_limits_bind_at_the_desk_too(
    rules: LimitRules, material: str, held: dict[str, int], reached: list[Limit]
) -> None:
    for via in Via:
        refusals = check_request(rules, Request(via, material), Situation(True, held=held))
        assert [refusal.limit for refusal in refusals] == reached
        assert set(codes(refusals)) <= {C.LIMIT}
    desk_free = replace(rules, limits_bind=WEB_ONLY)
    assert check_request(desk_free, Request(Via.DESK, material), Situation(True, held=held)) == ()


def test_a_reception_run_places_as_many_as_are_allowed() -> None:
    # twelve requests wait, two holds were made at the desk: eight are placed, in the order of reception
    states = [Hold.PLACED, Hold.READY] + [Hold.REQUESTED] * 12
    for index, state in enumerate(states):
        if state is Hold.REQUESTED:
            counted = sum(one in COUNTED_AT_RECEPTION for one in states)
            refusals = check_request(MINAMISATSUMA, WEB, Situation(True, held={"book": counted}))
            states[index] = Hold.REFUSED if refusals else Hold.PLACED
    assert states == [Hold.PLACED, Hold.READY] + [Hold.PLACED] * 8 + [Hold.REFUSED] * 4


def test_what_counts() -> None:
    accepted = {Hold.PLACED, Hold.CANCEL_REQUESTED, Hold.READY}
    assert accepted == COUNTED_AT_RECEPTION
    assert accepted | {Hold.REQUESTED} == COUNTED_WHEN_ASKED


ENDED = (Hold.REFUSED, Hold.CANCELLED, Hold.COLLECTED, Hold.LAPSED, Hold.ENDED)
ASKED = (Hold.WITHDRAWN, Hold.CANCEL_REQUESTED)


@pytest.mark.parametrize("state", Hold)
@pytest.mark.parametrize("via", Via)
@pytest.mark.parametrize("received", [False, True])
def test_cancellations_in_every_state(state: Hold, via: Via, received: bool) -> None:
    web = via is Via.WEB
    if state in ENDED:
        expected = [C.ALREADY_ENDED]
    elif state is Hold.READY and web:
        expected = [C.ALREADY_SHELVED]
    elif state in ASKED and web and not received:
        expected = [C.ALREADY_ASKED]
    else:
        expected = []
    found = check_cancellation(MINAMISATSUMA, via=via, state=state, has_email=False, received=received)
    assert codes(found) == expected


@pytest.mark.parametrize(
    ("via", "has_email", "expected"),
    [
        (Via.WEB, False, [C.EMAIL_REQUIRED]),
        (Via.WEB, True, []),
        (Via.DESK, False, []),
    ],
)
def test_an_address_is_needed_to_cancel_on_the_web(
    via: Via, has_email: bool, expected: list[RefusalCode]
) -> None:
    assert codes(check_cancellation(TOSU, via=via, state=Hold.PLACED, has_email=has_email)) == expected


R, P, X = Hold.READY, Hold.PLACED, Hold.CANCELLED


@pytest.mark.parametrize(
    ("volumes", "any_", "in_order", "first", "together"),
    [
        ([(1, R), (2, R), (3, R)], {1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {1, 2, 3}),
        ([(1, P), (2, R), (3, R)], {2, 3}, set(), set(), set()),
        ([(1, R), (2, P), (3, R)], {1, 3}, {1}, {1, 3}, set()),
        ([(3, R), (2, P), (1, Hold.COLLECTED)], {3}, set(), {3}, set()),
        ([(1, Hold.COLLECTED), (2, R), (3, P)], {2}, {2}, {2}, set()),
        # a first volume that never comes holds nobody up
        ([(1, X), (2, R)], {2}, {2}, {2}, {2}),
        ([(1, X), (2, P), (3, R)], {3}, set(), {3}, set()),
        ([(1, Hold.CANCEL_REQUESTED), (2, R)], {2}, set(), set(), set()),
        # two copies of one number, one still awaited
        ([(1, R), (1, P), (2, R)], {1, 2}, set(), set(), set()),
        ([(1, P)], set(), set(), set(), set()),
        ([], set(), set(), set(), set()),
    ],
)
def test_volumes_of_a_set(
    volumes: list[tuple[int, Hold]], any_: set[int], in_order: set[int], first: set[int], together: set[int]
) -> None:
    wanted = zip(VolumeOrder, (any_, in_order, first, together), strict=True)
    for order, expected in wanted:
        assert volumes_due(order, iter(volumes)) == expected, order


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(Hold)), max_size=12))
def test_no_order_offers_what_is_not_there(volumes: list[tuple[int, Hold]]) -> None:
    there = {number for number, state in volumes if state is Hold.READY}
    due = {order: volumes_due(order, volumes) for order in VolumeOrder}
    assert due[VolumeOrder.ANY] == there
    assert due[VolumeOrder.TOGETHER] <= due[VolumeOrder.IN_ORDER] <= due[VolumeOrder.WAIT_FOR_FIRST] <= there


IBARAKI = replace(
    TOSU, volumes=VolumeOrder.WAIT_FOR_FIRST, volumes_except=frozenset({"comic"}), order_asked_via=NOWHERE
)


@pytest.mark.parametrize(
    ("rules", "request_", "expected"),
    [
        (TOSU, WEB, VolumeOrder.ANY),
        (TOSU, replace(DESK, order=VolumeOrder.IN_ORDER), VolumeOrder.IN_ORDER),
        # placed by a library system that decides itself: what the web cannot ask for is not given
        (TOSU, replace(WEB, order=VolumeOrder.IN_ORDER), VolumeOrder.ANY),
        (IBARAKI, WEB, VolumeOrder.WAIT_FOR_FIRST),
        (IBARAKI, replace(WEB, material="comic"), VolumeOrder.ANY),
        (IBARAKI, replace(DESK, order=VolumeOrder.ANY), VolumeOrder.WAIT_FOR_FIRST),
        (replace(IBARAKI, order_asked_via=BOTH), replace(DESK, order=VolumeOrder.ANY), VolumeOrder.ANY),
    ],
)
def test_the_order_a_patron_gets(rules: LimitRules, request_: Request, expected: VolumeOrder) -> None:
    assert order_for(rules, request_) is expected


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_has_its_words(code: RefusalCode) -> None:
    for limit in (None, BOOKS) if code is C.LIMIT else (None,):
        refusal = Refusal(code, limit)
        ja, en = refusal.sentence("ja"), refusal.sentence("en")
        assert "拒否" not in ja
        assert ja.endswith(("。", "ください。"))
        assert re.search("[ぁ-ん]", ja)
        assert en.isascii()
        assert en.endswith(".")
        assert not re.search(r"[{}]|refus|reject|den(y|ied)", ja + en)
        assert refusal.sentence("fr") == en
        easy = refusal.sentence("ja-easy")
        assert easy.endswith(("。", "ください。"))
        assert "拒否" not in easy
        assert easy != ja
        words = (limit.name_ja, limit.unit_ja) if limit else ()
        assert not re.search("[一-鿿]", re.sub("|".join(map(re.escape, words)) or "$^", "", easy))
    assert WORDS[code].rule_ja
    assert WORDS[code].rule_en.isascii()


def test_no_two_refusals_say_the_same() -> None:
    for language in ("ja", "en", "ja-easy"):
        assert len({Refusal(code).sentence(language) for code in RefusalCode}) == len(RefusalCode)


def test_a_limit_is_told_with_its_number() -> None:
    (refusal,) = check_request(TOSU, Request(Via.WEB, "dvd"), Situation(True, held={"dvd": 3}))
    assert "視聴覚資料3点まで(窓口でのお申し込みを含みます)" in refusal.sentence("ja")
    assert "up to 3 audio-visual items on hold" in refusal.sentence("en")
    assert "おひとり10冊まで" in Refusal(C.LIMIT, MINAMISATSUMA.limits[0]).sentence("ja")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("limit", C.LIMIT),
        (" Missing ", C.MISSING),
        ("", C.OTHER),
        ("拒否", C.OTHER),
        ("LOST?", C.OTHER),
        ("行方不明", C.MISSING),
        ("紛失", C.MISSING),
        ("汚損 ", C.SOILED),
        ("予約冊数超過", C.LIMIT),
        ("延滞", C.OVERDUE),
        ("ﾒｰﾙｱﾄﾞﾚｽ未登録", C.EMAIL_REQUIRED),
    ],
)
def test_a_feeds_own_reason(reason: str, code: RefusalCode) -> None:
    assert RefusalCode.of(reason) is code


@pytest.mark.parametrize(
    ("reason", "spoilt"),
    [
        ("missing", Spoilt.MISSING),
        ("所在不明", Spoilt.MISSING),
        ("Lost", Spoilt.LOST),
        ("亡失", Spoilt.LOST),
        ("汚損", Spoilt.SOILED),
        ("汚破損", Spoilt.DAMAGED),
        ("延滞", None),
        ("", None),
    ],
)
def test_why_a_library_cancels(reason: str, spoilt: Spoilt | None) -> None:
    assert Spoilt.of(reason) is spoilt


@pytest.mark.parametrize("code", RefusalCode)
def test_a_notice_keeps_its_refusal(code: RefusalCode) -> None:
    odd = Limit(3, frozenset({"cd"}), '本"、:]', "b:[ooks", "冊\\")
    for limit in (None, Limit(10), odd) if code is C.LIMIT else (None,):
        refusal = Refusal(code, limit)
        found = Refusal.noted(refusal.note)
        assert [found.sentence(spoken) for spoken in ("ja", "en", "ja-easy")] == [
            refusal.sentence(spoken) for spoken in ("ja", "en", "ja-easy")
        ]
        assert "\n" not in refusal.note


@given(st.text(max_size=40))
def test_a_feed_may_write_what_it_likes(text: str) -> None:
    Refusal.noted(text)
    found = Refusal.noted(f"limit:{text}")
    assert found.code is C.LIMIT
    assert found.sentence("ja")


def test_rules_that_cannot_be_meant() -> None:
    with pytest.raises(BadInput, match="card_pattern"):
        LimitRules(card_pattern="000[0-9")
    with pytest.raises(BadInput, match="negative"):
        Limit(-1)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("on_loan", Availability.ON_LOAN),
        ("貸出中", Availability.ON_LOAN),
        (" 雑誌最新刊 ", Availability.NEWEST_ISSUE),
        ("館内閲覧のみ", Availability.IN_LIBRARY),
        ("行方不明", Availability.MISSING),
        ("汚損", Availability.SOILED),
        ("破損", Availability.DAMAGED),
        ("Missing", Availability.MISSING),
        ("整理中", Availability.UNKNOWN),
        ("", Availability.UNKNOWN),
        (None, Availability.UNKNOWN),
    ],
)
def test_a_catalogues_own_words(word: str | None, meant: Availability) -> None:
    assert Availability.of(word) is meant
