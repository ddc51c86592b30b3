"""What patrons read: that every notice says what it must, in every language, and never what it must not."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import fields, replace
from datetime import date
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holds_core.errors import BadInput, TodokuError
from holds_core.notices import Kind
from mailer.render import Rendered, Renderer, TemplateFault
from mailer.samples import sample_view, template_faults
from mailer.view import HoldLine, NoticeView, day

RENDERER = Renderer()
EVERY = [(kind, language) for kind in Kind for language in RENDERER.languages(kind)]


def rendered(kind: Kind, language: str = "ja", **changes: object) -> Rendered:
    return RENDERER.render(replace(sample_view(kind, language), **changes))  # type: ignore[arg-type]


def test_every_notice_has_its_languages() -> None:
    for kind in Kind:
        assert RENDERER.languages(kind) == ["en", "ja", "ja-easy"], kind


# What must be said, by the name of the field that says it.

BRANCH = ("branch_name", "branch_phone")
STATES: dict[Kind, tuple[str, ...]] = {
    Kind.HOLD_PLACED: ("family_name", *BRANCH, "confirm_url", "confirm_address"),
    Kind.HOLD_REFUSED: ("family_name", *BRANCH, "reason"),
    Kind.HOLD_READY: ("family_name", *BRANCH, "deadline", "card_name", "confirm_url", "confirm_address"),
    Kind.HOLD_EXPIRING: ("family_name", *BRANCH, "deadline", "card_name", "confirm_url", "confirm_address"),
    Kind.DEADLINE_CHANGED: ("family_name", *BRANCH, "deadline", "reason"),
    Kind.HOLD_LAPSED: ("family_name", *BRANCH, "deadline"),
    Kind.CANCEL_DONE: ("family_name",),
    Kind.CANCEL_REFUSED: ("family_name", *BRANCH, "deadline", "reason"),
    Kind.HOLD_CANCELLED_BY_LIBRARY: ("family_name", *BRANCH, "reason"),
    Kind.REGISTRATION_CHANGED: (
        *("family_name", "changed_on", "sender_address", "confirm_url", "confirm_address"),
    ),
    Kind.REGISTRATION_CHANGED_OLD: ("changed_on",),
    Kind.SENDER_MIGRATION: (
        *("family_name", "old_sender", "new_sender", "switch_on", "confirm_url", "confirm_address"),
    ),
}
ALWAYS = ("library_name", "library_phone", "library_url", "account_menu", "address_menu", "not_me_url")
SEND_ONLY = {"ja": "送信専用", "en": "only sends mail", "ja-easy": "へんじを しないでください"}


def flat(text: str) -> str:
    """Without blanks: long sentences are folded."""
    return "".join(text.split())


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_each_notice_says_what_it_must(kind: Kind, language: str) -> None:
    view = sample_view(kind, language)
    body = RENDERER.render(view).body
    for field in STATES[kind] + ALWAYS:
        value = getattr(view, field)
        said = day(value, language) if isinstance(value, date) else value
        assert flat(said) in flat(body), field
    assert SEND_ONLY[language] in body
    if "branch_name" in STATES[kind]:
        assert all(line in body for line in view.branch_hours.splitlines())
    if kind is not Kind.REGISTRATION_CHANGED_OLD and view.holds and "HOLD" in kind.name:
        assert all(line.title in body for line in view.holds)


@pytest.mark.parametrize(
    ("kind", "subject", "phrases"),
    [
        (Kind.HOLD_PLACED, "予約完了", ["ご予約が完了しました"]),
        (Kind.HOLD_REFUSED, "ご予約をお受けできませんでした", ["ご予約をお受けできませんでした"]),
        (Kind.HOLD_READY, "予約資料がご用意できました", ["貸出券をお持ちください", "本多 様"]),
        (Kind.HOLD_EXPIRING, "予約資料のお取り置き期限が近づいています", ["貸出券をお持ちください"]),
        (Kind.DEADLINE_CHANGED, "お取り置き期限変更のお知らせ", ["新しいお取り置き期限"]),
        (Kind.HOLD_LAPSED, "予約解除のお知らせ", ["ご予約を解除いたしました"]),
        (Kind.CANCEL_DONE, "予約取消完了", ["ご予約の取消が完了しました"]),
        (Kind.CANCEL_REFUSED, "予約の取消をお受けできませんでした", ["受取館へ直接ご連絡ください"]),
        (Kind.HOLD_CANCELLED_BY_LIBRARY, "予約取消のお知らせ", ["誠に申し訳ございません"]),
        (Kind.REGISTRATION_CHANGED, "登録情報変更のお知らせ", ["メールアドレスが変更されました"]),
        (Kind.REGISTRATION_CHANGED_OLD, "登録情報変更のお知らせ", ["このアドレスには届きません"]),
        (Kind.SENDER_MIGRATION, "送信元メールアドレス変更のお知らせ", ["指定受信"]),
    ],
)
def test_japanese_wording(kind: Kind, subject: str, phrases: list[str]) -> None:
    mail = rendered(kind)
    assert mail.subject == f"{subject}(とどく市立図書館)"
    for phrase in phrases:
        assert phrase in mail.body
    assert "「利用照会」" in mail.body
    assert "「Eメールアドレスの変更」" in mail.body


# What must never be said


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_never_said(kind: Kind, language: str) -> None:
    view = sample_view(kind, language)
    mail = RENDERER.render(view)
    assert "拒否" not in mail.subject + mail.body
    assert "送信済" not in mail.subject + mail.body
    for line in view.holds:
        assert line.title not in mail.subject
    assert view.family_name not in mail.subject


@pytest.mark.parametrize("language", ["ja", "en", "ja-easy"])
def test_the_former_address_learns_nothing_about_the_patron(language: str) -> None:
    view = sample_view(Kind.REGISTRATION_CHANGED_OLD, language)
    mail = RENDERER.render(view)
    for secret in (view.family_name, view.branch_name, view.confirm_url, view.confirm_address):
        assert secret
        assert secret not in mail.subject + mail.body
    assert not any(line.title in mail.body for line in view.holds)


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_without_links_there_is_no_web_address(kind: Kind, language: str) -> None:
    view = sample_view(kind, language).without_links()
    body = RENDERER.render(view).body
    assert not re.search(r"https?:|www\.", body)
    assert SEND_ONLY[language] in body
    if "confirm_address" in STATES[kind]:
        assert view.confirm_address in body


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_layout_reads_on_a_phone(kind: Kind, language: str) -> None:
    body = RENDERER.render(sample_view(kind, language)).body
    assert body.endswith("\n")
    assert not body.endswith("\n\n")
    assert "\n\n\n" not in body
    for line in body.splitlines():
        assert line == line.rstrip()
        columns = sum(2 if unicodedata.east_asian_width(c) in "WFA" else 1 for c in line)
        assert columns <= 68, line


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_what_is_unknown_leaves_no_hole(kind: Kind, language: str) -> None:
    bare = NoticeView(kind, language, "とどく市立図書館", "oshirase@lib.example.jp", holds=(HoldLine(),))
    if kind is Kind.SENDER_MIGRATION:
        bare = replace(bare, new_sender="oshirase@new.example.jp")
    body = RENDERER.render(bare).body
    assert "None" not in body
    assert "\n\n\n" not in body
    assert " 様" not in body.replace("ご利用者 様", "")
    assert not re.search(r"^(■\S+|[A-Z ,'-]+|\s*(電話|Phone:?))\s*\n\s*\n", body, re.MULTILINE), body


def test_own_words_and_menu_names() -> None:
    body = rendered(
        Kind.HOLD_READY,
        account_menu="利用状況照会",
        address_menu="個人情報変更",
        card_name="図書館利用者カード",
        send_only_note="※返信はできません。\n お電話ください。",
    ).body
    assert "「利用状況照会」" in body
    assert "「個人情報変更」" in body
    assert "図書館利用者カードをお持ちください" in body
    assert "※返信はできません。\n お電話ください。\n" in body
    assert "送信専用" not in body


@pytest.mark.parametrize(
    ("changed", "says", "not_says"),
    [
        ("email", "アドレスが変更", "パスワード"),
        ("password", "パスワードが", "届く"),
        ("both", "とパスワード", "届く"),
    ],
)
def test_what_changed_in_the_registration(changed: str, says: str, not_says: str) -> None:
    body = rendered(Kind.REGISTRATION_CHANGED, changed=changed).body
    assert says in body
    assert not_says not in body


# Titles


@pytest.mark.parametrize(("language", "count"), [("ja", "3点"), ("en", "3 items"), ("ja-easy", "3つ")])
def test_with_titles_hidden_the_number_is_told(language: str, count: str) -> None:
    view = sample_view(Kind.HOLD_READY, language, "none")
    assert count in RENDERER.render(view).body


def test_a_missing_title_among_others_is_not_left_out() -> None:
    holds = (HoldLine(""), HoldLine("乙"))
    assert "・(資料名なし)\n・乙\n" in rendered(Kind.HOLD_READY, holds=holds).body


def test_a_hold_with_its_own_deadline_shows_it() -> None:
    holds = (HoldLine("甲"), HoldLine("乙", date(2026, 12, 3)))
    body = rendered(Kind.HOLD_READY, holds=holds).body
    assert "・甲\n・乙\n (お取り置き期限:12月3日(木))\n" in body


# Hostile text


HOSTILE = "{{ library_name }}{% if x %}{# #}${7*7}"


def test_template_syntax_in_data_stays_literal() -> None:
    mail = rendered(
        Kind.HOLD_REFUSED,
        holds=(HoldLine(HOSTILE),),
        family_name=HOSTILE,
        reason=HOSTILE,
        branch_name=HOSTILE,
        branch_hours=HOSTILE,
    )
    assert mail.body.count(HOSTILE) == 5


@given(text=st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Lo"]), max_size=40))
def test_no_control_character_reaches_the_mail(text: str) -> None:
    view = sample_view(Kind.HOLD_READY)
    plain = RENDERER.render(replace(view, family_name="", holds=(HoldLine("題"),), branch_name="館"))
    mail = RENDERER.render(
        replace(view, family_name=text, holds=(HoldLine("題" + text),), branch_name="館" + text)
    )
    assert len(mail.body.splitlines()) == len(plain.body.splitlines())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", mail.subject + mail.body)


# Languages and the library's own folder


@pytest.mark.parametrize(
    ("language", "kind", "phrase"),
    [
        ("en-GB", Kind.HOLD_READY, "Dear"),
        ("ja-easy", Kind.HOLD_LAPSED, "もういちど よやくしてください"),
        ("zh", Kind.HOLD_READY, "本多 様"),
        ("", Kind.HOLD_READY, "本多 様"),
        ("../../hold_ready/en", Kind.HOLD_READY, "本多 様"),
    ],
)
def test_language_fallback(language: str, kind: Kind, phrase: str) -> None:
    assert phrase in rendered(kind, language=language).body


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A library's own template folder, empty."""
    return tmp_path


def put(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / "mail" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_own_files_replace_one_by_one(own: Path) -> None:
    put(own, "hold_ready/ja/subject.txt", "本が届きました\n")
    put(own, "_shared/ja/footer.txt", "\ufeff{{ library_name }} 係\r\n")  # as a Windows editor saves it
    view = sample_view(Kind.HOLD_READY)
    mail = Renderer(own).render(view)
    assert mail.subject == "本が届きました"
    assert mail.body.endswith("とどく市立図書館 係\n")
    assert "ご予約の資料がご用意できました" in mail.body
    assert "送信専用" not in mail.body
    assert Renderer().render(view) != mail


def test_own_language(own: Path) -> None:
    put(own, "hold_ready/zh/subject.txt", "预约资料已到馆")
    put(own, "hold_ready/zh/body.txt", "{{ deadline | day('ja') }}\n")
    renderer = Renderer(own)
    assert "zh" in renderer.languages(Kind.HOLD_READY)
    assert renderer.render(sample_view(Kind.HOLD_READY, "zh-CN")) == Rendered(
        "预约资料已到馆", "11月29日(日)\n"
    )
    assert "本多 様" in renderer.render(sample_view(Kind.HOLD_LAPSED, "zh-CN")).body


BAD = [
    ("hold_ready/ja/body.txt", "一行目\n\n{{ dead_line }}\n", 3, "'dead_line' is undefined"),
    (
        "hold_ready/ja/body.txt",
        '{% include "_shared/ja/greeting.txt" %}\n{{ dead_line }}\n',
        2,
        "'dead_line'",
    ),
    ("_shared/ja/holds.txt", "\n{% for hold in holds %}\n{{ hold.isbn }}\n{% endfor %}\n", 3, "isbn"),
    ("hold_ready/ja/body.txt", "一\n{% if deadline %}\n", 2, "endif"),
    ("_shared/ja/footer.txt", "一\n二\n{{ library_name | nosuch }}\n", 3, "nosuch"),
    ("hold_ready/ja/body.txt", '一\n{% include "_shared/ja/none.txt" %}\n', 2, "_shared/ja/none.txt"),
    ("hold_ready/ja/body.txt", "{{ ().__class__.__mro__ }}\n", 1, "unsafe"),
    ("hold_ready/ja/body.txt", "{{ 1 // 0 }}\n", 1, "zero"),
    ("hold_ready/ja/subject.txt", "{{ holds[0].title }}\n", 1, "'holds' is undefined"),
    ("hold_ready/ja/subject.txt", "{{ family_name }}様\n", 1, "'family_name' is undefined"),
    ("hold_ready/ja/subject.txt", "一\n二\n", 0, "one line"),
    ("hold_ready/ja/subject.txt", "\n", 0, "one line"),
    ("hold_ready/ja/body.txt", "予約".encode("cp932"), 0, "UTF-8"),
    ("_shared/ja/footer.txt", '{% include "_shared/ja/footer.txt" %}\n', 1, "recursion"),
    ("registration_changed_old/ja/body.txt", "{{ family_name }} 様\n", 1, "'family_name' is undefined"),
]


@pytest.mark.parametrize(("name", "text", "line", "problem"), BAD)
def test_a_faulty_template_is_named_with_its_line(
    own: Path, name: str, text: str | bytes, line: int, problem: str
) -> None:
    put(own, name, text)
    kind = Kind.REGISTRATION_CHANGED_OLD if "changed_old" in name else Kind.HOLD_READY
    with pytest.raises(TemplateFault, match=re.escape(problem)) as caught:
        Renderer(own).render(sample_view(kind))
    assert isinstance(caught.value, TodokuError)
    assert caught.value.file.endswith(name)
    assert caught.value.line == line
    assert name in str(caught.value)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        Renderer(tmp_path / "nowhere")


def test_the_built_in_templates_have_no_fault() -> None:
    assert template_faults(Renderer()) == []


def test_faults_are_found_before_any_mail_is_due(own: Path) -> None:
    put(own, "hold_ready/zh/body.txt", "no subject")
    put(own, "cancel_done/en/body.txt", "{{ opac_ulr }}")
    found = [(fault.file, fault.line) for fault in template_faults(Renderer(own))]
    assert len(found) == 2
    assert found[0][0].endswith("hold_ready/zh/subject.txt")
    assert found[1][0].endswith("cancel_done/en/body.txt")
    assert found[1][1] == 1


def test_warnings_name_unused_files_and_what_a_body_leaves_out(own: Path) -> None:
    assert Renderer().warnings() == []
    put(own, "hold_redy/ja/body.txt", "misspelt folder")
    put(own, "hold_ready/ja/body.txt", '{% include "_shared/ja/footer.txt" %}\n{{ branch_name }}\n')
    put(own, "hold_expiring/en/body.txt", '{% include "mine.txt" %}\n')
    put(own, "_shared/ja/hours.txt", "for own templates to include")
    put(own, "cancel_done/zh/body.txt", "a language of its own")
    put(own, "sender_migration/ja/body.txt", "{% if %}")  # rendering reports this
    assert [str(warning) for warning in Renderer(own).warnings()] == [
        "hold_redy/ja/body.txt: replaces no template and belongs to no notice",
        "hold_ready/ja/body.txt: does not say deadline",
        "hold_expiring/en/body.txt: does not say branch_name",
        "hold_expiring/en/body.txt: does not say deadline",
    ]


def test_the_readme_lists_every_name_a_template_may_use() -> None:
    readme = resources.files("templates").joinpath("mail", "README.md").read_text(encoding="utf-8")
    table = "".join(line.split("|")[1] for line in readme.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`(\w+)`", table))
    assert documented == {field.name for field in fields(NoticeView)} | {"titles_shown"}


# やさしい日本語

_SENTENCE_ENDS = re.compile("[。■※]")
_KANJI = re.compile("[一-鿿々]")
_EASY_KANJI = frozenset("日人月火水木金土曜様点")
"""What a beginner reads, the days of a date, and the polite 様 after a name."""


@pytest.mark.parametrize("kind", list(Kind))
def test_easy_japanese_is_kana_in_short_sentences(kind: Kind) -> None:
    view = sample_view(kind, "ja-easy")
    own_words = [getattr(view, field.name) for field in fields(NoticeView) if field.type == "str"]
    mail = RENDERER.render(view)
    text = flat(mail.subject + mail.body)
    for words in sorted(filter(None, [*own_words, *(line.title for line in view.holds)]), key=len)[::-1]:
        text = text.replace(flat(words), "")
    for words in view.branch_hours.splitlines():
        text = text.replace(flat(words), "")
    assert set(_KANJI.findall(text)) <= _EASY_KANJI
    for sentence in _SENTENCE_ENDS.split(text):
        assert len(sentence) <= 60, sentence
