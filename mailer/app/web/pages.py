"""The patrons' pages as HTML. Enters what a page says; leaves a response. No ledger, no tokens read here.

Templates lie under `templates/desk/confirm/`: `<language>/<page>.html` where the reader's language is known,
`<page>.html` in both languages where it is not. A library's own folder comes first, file by file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment
from starlette.responses import HTMLResponse, Response

from holds_core.notices import Kind
from holds_core.receiving import ReceivingGuide
from holds_core.settings import Library
from mailer.render import TemplateFault

LANGUAGES = ("ja", "en")
STYLE = "style.css"

NOTICES: Mapping[Kind, tuple[str, str]] = {
    Kind.REGISTRATION_CHANGED: ("登録情報変更のお知らせ", "your registration was changed"),
    Kind.HOLD_READY: ("取置のお知らせ", "a notice about a hold"),
}
_ANY_NOTICE = ("図書館からのお知らせ", "a notice from the library")
"""A link is only ever sent in the kinds above; a token of another kind still gets a page."""

_SWITCH = {"ja": ("en", "English"), "en": ("ja", "日本語")}


class Pages:
    """Writes the pages of one library. Raises jinja2.TemplateError while serving if an own file is broken."""

    def __init__(self, library: Library, guide: ReceivingGuide | None = None) -> None:
        self._guide = guide or ReceivingGuide.load(library.templates_folder)
        loaders: list[jinja2.BaseLoader] = [jinja2.PackageLoader("templates", "desk/confirm")]
        if library.templates_folder is not None:
            own = library.templates_folder / "desk" / "confirm"
            # utf-8-sig: Windows editors put a byte order mark in front
            loaders.insert(0, jinja2.FileSystemLoader(own, encoding="utf-8-sig"))
        self._loader = jinja2.ChoiceLoader(loaders)
        self._environment = SandboxedEnvironment(
            loader=self._loader,
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._library = {language: _about(library, language) for language in LANGUAGES}

    def style(self) -> str:
        return self._loader.get_source(self._environment, STYLE)[0]

    def faults(self) -> list[TemplateFault]:
        """What is wrong with the pages, each tried in every language and form; for doctor and start-up."""
        found: dict[str, TemplateFault] = {}
        for name, attempt in self._attempts():
            try:
                attempt()
            except Exception as error:  # a library's template may raise anything at all
                line = getattr(error, "lineno", 0) or 0
                found.setdefault(name, TemplateFault(name, line, f"{type(error).__name__}: {error}"))
        return list(found.values())

    def _attempts(self) -> Iterator[tuple[str, Callable[[], Response]]]:
        kind = Kind.REGISTRATION_CHANGED
        for language in LANGUAGES:
            for page in ("confirm", "not_me"):
                for given in (False, True):
                    yield (
                        f"{language}/{page}.html",
                        partial(
                            self.ask,
                            page,
                            kind,
                            "token",
                            language,
                            given=given,
                            not_me="token",
                            senders=("library@example.jp",),
                        ),
                    )
            for page in ("confirmed", "not_me_done"):
                yield (
                    f"{language}/{page}.html",
                    partial(self.done, page, kind, language, ("library@example.jp",)),
                )
        for page in ("expired", "unknown", "busy", "broken"):
            yield f"{page}.html", partial(self.both, page, 200)

    def ask(
        self,
        page: str,
        kind: Kind,
        token: str,
        language: str,
        *,
        given: bool,
        not_me: str = "",
        senders: Sequence[str] = (),
    ) -> Response:
        """The page with the one button. `not_me` is the token of the way out; empty: none is offered.
        `senders` are the addresses that our mail comes from, for the advice on letting it in."""
        other, label = _SWITCH[language]
        return self._page(
            f"{language}/{page}.html",
            language,
            notice=_notice(kind, language),
            # relative, so that the page works below any path of a proxy
            action=f"{token}?lang={language}",
            not_me_url=f"{not_me}?lang={language}" if not_me else "",
            given=given,
            receiving=self._receiving(senders, language),
            switch={"url": f"{token}?lang={other}", "language": other, "label": label},
        )

    def done(self, page: str, kind: Kind, language: str, senders: Sequence[str] = ()) -> Response:
        """What follows the button."""
        return self._page(
            f"{language}/{page}.html",
            language,
            notice=_notice(kind, language),
            receiving=self._receiving(senders, language),
            switch=None,
        )

    def _receiving(self, senders: Sequence[str], language: str) -> dict[str, Any] | None:
        """How to let our mail in, for every mail service: the reader's own would say something of the reader."""
        if not senders:
            return None
        services = [
            {"name": entry.name_in(language), "addresses": entry.addresses, "search": entry.search}
            | {"steps": entry.steps_for(senders[0], language)}
            for entry in self._guide.entries
        ]
        return {"senders": list(senders), "services": services}

    def both(
        self, page: str, status: int, *, style_url: str = STYLE, days: int = 0, retry_after: int = 0
    ) -> Response:
        """A page in both languages: expired, unknown, busy or broken."""
        response = self._page(f"{page}.html", "ja", status, days=days, switch=None, style_url=style_url)
        if retry_after:
            response.headers["Retry-After"] = str(retry_after)
        return response

    def _page(
        self, name: str, language: str, status: int = 200, *, style_url: str = STYLE, **values: Any
    ) -> Response:
        text = self._environment.get_template(name).render(
            language=language, library=self._library[language], style_url=style_url, **values
        )
        return HTMLResponse(text, status, headers={"Content-Language": language})


def _notice(kind: Kind, language: str) -> str:
    japanese, english = NOTICES.get(kind, _ANY_NOTICE)
    return english if language == "en" else japanese


def _about(library: Library, language: str) -> dict[str, str]:
    phone = library.phone or ""
    return {
        "name": (library.name_en if language == "en" else None) or library.name,
        "phone": phone,
        # RFC 3966 section 3: digits, with visual separators left out
        "phone_link": re.sub(r"[^0-9+]", "", phone),
        "url": library.url or "",
    }


def language_of(asked: str | None, accepted: str, default: str) -> str:
    """`?lang=` if it is one of ours, else what Accept-Language (RFC 9110 section 12.5.4) likes best of
    Japanese and English, else the library's own.

    >>> language_of(None, "zh-CN,en;q=0.8", "ja"), language_of(None, "en;q=0.5, ja", "ja")
    ('en', 'ja')
    """
    if asked in LANGUAGES:
        return asked
    liked = dict.fromkeys(LANGUAGES, 0.0)
    for item in accepted[:500].lower().split(","):
        tag, _, weight = item.partition(";")
        language = tag.strip().partition("-")[0]
        if language in liked:
            liked[language] = max(liked[language], _weight(weight))
    best = max(liked.values())
    if best == 0:
        return default
    return default if liked[default] == best else next(name for name in LANGUAGES if liked[name] == best)


def _weight(text: str) -> float:
    if not text.strip():
        return 1.0
    match = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", text)
    return float(match[1]) if match else 0.0
