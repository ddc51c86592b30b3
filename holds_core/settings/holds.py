"""Settings of the rules about holds: reception, limits, what may be asked for where, volumes of a set.

Each list of `web` and `desk` says where a rule binds; an empty one switches it off.
"""

from __future__ import annotations

import re
from datetime import time
from enum import StrEnum
from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic import field_validator as check

from holds_core.limits import Availability, Via, VolumeOrder
from holds_core.settings.base import Section
from holds_core.settings.values import Clock, Line, choice, expected, whole


class Reception(StrEnum):
    """When a request takes effect."""

    IMMEDIATE = "immediate"
    NEXT_OPEN_MORNING = "next_open_morning"


class Contact(StrEnum):
    """How a patron is told."""

    EMAIL = "email"
    PHONE = "phone"
    POST = "post"
    NONE = "none"


class HoldLimit(Section):
    """At most so many holds of these materials together; no materials: of all. The names go into the
    sentence that a refused patron reads."""

    at_most: Annotated[int, PlainValidator(whole(0, 10_000))]
    materials: tuple[Line, ...] = ()
    name: Line = "合計"
    name_en: Line = "items in all"
    unit: Line = "点"


_Where = Annotated[Via, PlainValidator(choice(Via))]
_Item = Annotated[Availability, PlainValidator(choice(Availability))]
_Order = Annotated[VolumeOrder, PlainValidator(choice(VolumeOrder))]


class Volumes(Section):
    """In which order the volumes of a set are offered: those asked for on the web, and those for which the
    desk gave a set. `besides` are materials whose volumes come in any order even so."""

    web: _Order = VolumeOrder.ANY
    desk: _Order = VolumeOrder.ANY
    besides: tuple[Line, ...] = Field(default=(), alias="except")


class Holds(Section):
    """Holds. `default_contact` serves patrons whose record names none."""

    reception: Annotated[Reception, PlainValidator(choice(Reception))] = Reception.IMMEDIATE
    reception_at: Clock = time(8, 30)
    default_contact: Annotated[Contact, PlainValidator(choice(Contact))] = Contact.EMAIL
    limits: tuple[HoldLimit, ...] = ()
    limits_bind: tuple[_Where, ...] = (Via.WEB, Via.DESK)
    overdue_blocks: tuple[_Where, ...] = ()
    on_loan_only: tuple[_Where, ...] = ()
    email_required: tuple[_Where, ...] = ()
    never: tuple[_Item, ...] = (
        Availability.NEWEST_ISSUE,
        Availability.IN_LIBRARY,
        Availability.MISSING,
        Availability.SOILED,
        Availability.DAMAGED,
    )
    card_pattern: Line | None = None
    volumes: Volumes

    @check("card_pattern")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error:
            raise expected(
                "000[0-9]{6} のような正規表現", "a regular expression such as 000[0-9]{6}"
            ) from None
        return pattern
