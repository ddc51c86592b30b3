"""Made-up notices of a made-up library, for `todoku preview` and for trying every template.

Enters: a kind and a language. Leaves: a view in which every name a template may use has a value.
Nothing real: the domains are those of RFC 2606, the phone numbers those left unused for fiction.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from holds_core.notices import Kind
from holds_core.patrons import family_name
from holds_core.refusals import Limit, Refusal, RefusalCode, Spoilt
from mailer.render import Renderer, TemplateFault
from mailer.sentences import sentence
from mailer.view import HoldLine, NoticeView, TitlePolicy, show_title

_TITLES = ("吾輩は猫である", "銀河鉄道の夜 宮沢賢治童話集", "図解 はじめての家庭菜園")

_REASONS: dict[Kind, str] = {
    Kind.HOLD_REFUSED: Refusal(RefusalCode.LIMIT, Limit(10, name_ja="本", name_en="books")).note,
    Kind.CANCEL_REFUSED: RefusalCode.ALREADY_SHELVED,
    Kind.DEADLINE_CHANGED: "closure:2026-11-27..2026-11-28",
    Kind.HOLD_CANCELLED_BY_LIBRARY: Spoilt.MISSING,
}
"""As a notice keeps them: the sentences are those that patrons get."""

_JAPANESE = NoticeView(
    kind=Kind.HOLD_READY,
    language="ja",
    library_name="とどく市立図書館",
    sender_address="oshirase@lib.example.jp",
    library_phone="03-5550-0100",
    library_url="https://www.lib.example.jp/",
    branch_name="中央図書館",
    branch_phone="03-5550-0101",
    branch_hours="火曜~金曜 9:30~19:00\n土曜・日曜・祝日 9:30~17:00\n休館日 月曜",
    family_name=family_name("本多 花子"),
    deadline=date(2026, 11, 29),
    changed_on=date(2026, 11, 22),
    opac_url="https://opac.lib.example.jp/",
    confirm_url="https://mail.lib.example.jp/c/sample",
    confirm_address="kakunin+sample@lib.example.jp",
    not_me_url="https://mail.lib.example.jp/n/sample",
    not_me_address="kakunin+other@lib.example.jp",
    old_sender="oshirase@old.example.jp",
    new_sender="oshirase@lib.example.jp",
    switch_on=date(2026, 12, 1),
)

_ENGLISH = replace(
    _JAPANESE,
    library_name="Todoku City Library",
    branch_name="Central Library",
    branch_hours="Tue-Fri 9:30-19:00\nSat, Sun, holidays 9:30-17:00\nClosed on Mondays",
)


def sample_view(kind: Kind, language: str = "ja", title_policy: str = TitlePolicy.FULL) -> NoticeView:
    """A notice as a patron might get it. `hold_ready` and its like list three holds, the others one."""
    english = language.partition("-")[0] == "en"
    several = kind in (Kind.HOLD_READY, Kind.HOLD_EXPIRING, Kind.DEADLINE_CHANGED)
    return replace(
        _ENGLISH if english else _JAPANESE,
        kind=kind,
        language=language,
        holds=tuple(HoldLine(show_title(title, title_policy)) for title in _TITLES[: 3 if several else 1]),
        reason=sentence(kind, _REASONS.get(kind, ""), language),
    )


def template_faults(renderer: Renderer) -> list[TemplateFault]:
    """Every fault that trying all notices in all languages brings to light, each once.

    Each is tried complete, without links and titles, and with nothing but what is always known.
    """
    found: dict[str, TemplateFault] = {}
    for kind in Kind:
        for language in renderer.languages(kind):
            full, untitled = sample_view(kind, language), sample_view(kind, language, TitlePolicy.NONE)
            bare = NoticeView(kind, language, full.library_name, full.sender_address)
            for view in (full, untitled.without_links(), bare):
                try:
                    renderer.render(view)
                except TemplateFault as fault:
                    found.setdefault(str(fault), fault)
    return list(found.values())
