"""What all sections of the settings share: the base class, and how to ask a class about its keys.

Nothing here knows any key.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo

from holds_core.settings.values import Complaint, refused


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section class that a field holds, alone, optional or in a list."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def is_optional(field: FieldInfo) -> bool:
    """Whether `null` is a value of its own for this field."""
    return NoneType in get_args(field.annotation)


def is_list(field: FieldInfo) -> bool:
    """Whether the field takes a list."""
    return get_origin(field.annotation) is tuple


class Section(BaseModel):
    """A group of keys. Unknown keys are errors; a key left empty counts as absent, unless None is a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        """Make absence visible below: an absent section becomes an empty one, an absent required key
        None, so that the key's own type says what it expected."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        for name, field in cls.model_fields.items():
            key = field.alias or name
            if filled.get(key) is not None or is_optional(field):
                continue
            filled.pop(key, None)
            if section_of(field) and not is_list(field):
                filled[key] = {}
            elif field.is_required():
                filled[key] = None
        return filled


def unique(items: Iterable[Any], key: str, ja: str, en: str) -> None:
    """Complain of each item whose `key` an earlier item has."""
    seen: set[Hashable] = set()
    again = []
    for index, item in enumerate(items):
        value = getattr(item, key)
        if value in seen:
            again.append(Complaint(ja, en, (index, key)))
        seen.add(value)
    if again:
        raise refused(*again)
