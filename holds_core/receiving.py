"""How patrons let the library's mail in (受信設定): one entry per mail service, in Japanese and English.

In: `receiving.toml`, and a library's own file of the same form; a provider. Out: an `Advice` with its steps,
the sender's address filled in. It stands on the case, on the confirmation page and on the slip for the
counter, because advice inside the filtered mail never arrives. Pure apart from `ReceivingGuide.load`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from holds_core.errors import BadInput
from holds_core.providers import Provider

FILE = "receiving.toml"
OTHER = "other"
"""The entry for every mail service that has none of its own."""

LANGUAGES = ("ja", "en")


@dataclass(frozen=True, slots=True)
class Advice:
    """One mail service. `steps` and `name` by language; `search` finds the settings page; `freemail`:
    its own servers filter, so that the spam folder is where to look first."""

    key: str
    providers: tuple[str, ...]
    name: Mapping[str, str]
    addresses: str
    search: str
    steps: Mapping[str, tuple[str, ...]]
    freemail: bool = False

    def steps_for(self, sender: str, language: str) -> tuple[str, ...]:
        """What to do, with the library's sender address in its place."""
        domain = sender.rpartition("@")[2]
        # not str.format: a library's own text may hold any braces
        return tuple(
            step.replace("{address}", sender).replace("{domain}", domain)
            for step in self.steps[_known(language)]
        )

    def name_in(self, language: str) -> str:
        return self.name[_known(language)]


class ReceivingGuide:
    """All entries, in the order of the file."""

    __slots__ = ("_by_provider", "entries")

    def __init__(self, entries: tuple[Advice, ...]) -> None:
        self.entries = entries
        self._by_provider = {name: entry for entry in entries for name in entry.providers}

    @classmethod
    def parse(cls, text: str, base: ReceivingGuide | None = None) -> ReceivingGuide:
        """The guide that the text describes, on top of `base`: same names replace, new ones come before
        `other`. Raises BadInput naming the entry and the key."""
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"{FILE}: {error}") from None
        own = {key: _advice(key, value) for key, value in tables.items()}
        before = {entry.key: entry for entry in base.entries} if base else {}
        merged = {**before, **own}
        if OTHER not in merged:
            raise BadInput(f"{FILE}: the entry [{OTHER}] is missing")
        last = merged.pop(OTHER)
        return cls((*merged.values(), last))

    @classmethod
    def load(cls, own_folder: Path | None = None) -> ReceivingGuide:
        """The guide shipped with Todoku, with what the library's template folder replaces. Raises BadInput."""
        shipped = cls.parse(resources.files("holds_core").joinpath(FILE).read_text("utf-8"))
        own = own_folder / FILE if own_folder else None
        if own is None or not own.is_file():
            return shipped
        try:
            return cls.parse(own.read_text("utf-8-sig"), shipped)
        except UnicodeDecodeError:
            raise BadInput(f"{own}: is not UTF-8 text") from None

    def get(self, key: str) -> Advice | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def of(self, provider: Provider) -> Advice:
        """The entry for a mailbox's provider; the general one if there is none."""
        return self._by_provider.get(provider.name) or self.entries[-1]


def _known(language: str) -> str:
    """`en` and `en-GB` are English; `ja`, `ja-easy` and all others get Japanese."""
    return "en" if language.partition("-")[0].lower() == "en" else "ja"


def _advice(key: str, table: Any) -> Advice:
    if not isinstance(table, dict):
        raise BadInput(f"{FILE}: {key}: expected an entry such as [docomo]")
    unknown = set(table) - {"providers", "name", "addresses", "search", "steps", "freemail"}
    if unknown:
        raise BadInput(f"{FILE}: [{key}] {sorted(unknown)[0]}: no such key")
    steps = {language: tuple(_texts(key, table, "steps", language)) for language in LANGUAGES}
    return Advice(
        key=key,
        providers=tuple(_list(key, "providers", table.get("providers", []))),
        name={
            language: _text(key, "name", _pair(key, table, "name").get(language)) for language in LANGUAGES
        },
        addresses=_text(key, "addresses", table.get("addresses", "")),
        search=_text(key, "search", table.get("search", "")),
        steps=steps,
        freemail=table.get("freemail", False) is True,
    )


def _pair(key: str, table: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = table.get(field)
    if not isinstance(value, dict) or not all(value.get(language) for language in LANGUAGES):
        raise BadInput(f"{FILE}: [{key}] {field}: expected ja and en")
    return value


def _texts(key: str, table: Mapping[str, Any], field: str, language: str) -> list[str]:
    return _list(key, f"{field}.{language}", _pair(key, table, field)[language])


def _list(key: str, field: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BadInput(f"{FILE}: [{key}] {field}: expected a list of texts")
    return [_text(key, field, item) for item in value]


def _text(key: str, field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{FILE}: [{key}] {field}: expected a text")
    return value
