"""受信設定 slips: half an A4 page for the counter, one per mail service, that tells how to let our mail in.

Enter the guide, the library and its sender addresses; leaves an HTML document that prints as it is. Nothing
of a patron stands on it. The desk links its style sheet, the command puts it into the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

from holds_core.errors import BadInput
from holds_core.receiving import Advice, ReceivingGuide
from holds_core.settings import Library

ALL = "all"
STYLE = "slip.css"


def chosen(guide: ReceivingGuide, key: str) -> tuple[Advice, ...]:
    """The entries that a key stands for: one, or `all`. Raises BadInput."""
    if key == ALL:
        return guide.entries
    entry = guide.get(key)
    if entry is None:
        names = ", ".join([*(item.key for item in guide.entries), ALL])
        raise BadInput(f"{key}: expected one of {names}")
    return (entry,)


def slip_html(
    advices: Sequence[Advice],
    library: Library,
    senders: Sequence[str],
    language: str,
    *,
    style_url: str = "",
    script_url: str = "",
    back_url: str = "",
) -> str:
    """The document. `senders`: the address in force first, then those that will follow it. Without
    `style_url` the style stands in the document itself."""
    english = language == "en"

    def entry(advice: Advice) -> dict[str, Any]:
        return {
            "name": advice.name_in(language),
            "addresses": advice.addresses,
            "search": advice.search,
            "steps": advice.steps_for(senders[0], language),
        }

    return (
        _environment()
        .get_template("slip/slip.html")
        .render(
            language="en" if english else "ja",
            t=lambda ja, en: en if english else ja,
            advices=[entry(advice) for advice in advices],
            senders=list(senders),
            library_name=(library.name_en if english else None) or library.name,
            library_phone=library.phone or "",
            style="" if style_url else style(),
            style_url=style_url,
            script_url=script_url,
            back_url=back_url,
        )
    )


def style() -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), f"static/{STYLE}")[0]


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("templates", "desk"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
