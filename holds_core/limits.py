"""What a patron may ask for: the checks of a request and of a cancellation, and the order of a set's volumes.

In go a library's rules, one request and the patron's situation; out come refusals (`holds_core.refusals`), or
none. Pure. Who decides is not known here: under `authority: todoku` a refusal
is one, under `ils` it is a warning that names its rule. The same checks serve the moment of asking and the
reception run; only what is counted differs (`COUNTED_WHEN_ASKED`, `COUNTED_AT_RECEPTION`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from holds_core.errors import BadInput
from holds_core.holds import Hold
from holds_core.refusals import Limit, Refusal, RefusalCode

COUNTED_WHEN_ASKED = frozenset({Hold.REQUESTED, Hold.PLACED, Hold.CANCEL_REQUESTED, Hold.READY})
"""Holds that count towards a limit when a new one is asked for, at the web or at the desk alike. A
cancellation that was only asked for frees nothing yet."""

COUNTED_AT_RECEPTION = COUNTED_WHEN_ASKED - {Hold.REQUESTED}
"""The same at the reception run: only what was accepted, or twelve waiting requests would refuse each other.
The run takes requests in their order and counts those it has just placed."""

_C = RefusalCode

MAX_CARD_NUMBER = 64  # longer input is no card number, and is not given to a library's own pattern


class Via(StrEnum):
    """Where a patron asked."""

    WEB = "web"
    DESK = "desk"


BOTH = frozenset(Via)
WEB_ONLY = frozenset({Via.WEB})
NOWHERE: frozenset[Via] = frozenset()


class Availability(StrEnum):
    """What the catalogue says of the item asked for."""

    ON_LOAN = "on_loan"
    AVAILABLE = "available"
    NEWEST_ISSUE = "newest_issue"  # 雑誌最新刊
    IN_LIBRARY = "in_library"  # 館内閲覧のみ
    MISSING = "missing"
    SOILED = "soiled"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"  # refuses nothing

    @classmethod
    def of(cls, text: str | None) -> Availability:
        """A feed's own word; UNKNOWN for one that is not known here."""
        word = (text or "").strip().lower()
        return _AVAILABILITY_WORDS.get(word) or (cls(word) if word in _AVAILABILITIES else cls.UNKNOWN)


_AVAILABILITIES = frozenset(Availability)
_AVAILABILITY_WORDS = {
    **dict.fromkeys(("貸出中", "貸出", "on loan", "checked out"), Availability.ON_LOAN),
    **dict.fromkeys(("在庫", "在架", "貸出可", "貸出可能", "所蔵", "in"), Availability.AVAILABLE),
    **dict.fromkeys(("雑誌最新刊", "雑誌最新号", "最新刊", "最新号"), Availability.NEWEST_ISSUE),
    **dict.fromkeys(("館内閲覧のみ", "館内閲覧", "館内のみ", "館内", "禁帯出"), Availability.IN_LIBRARY),
    **dict.fromkeys(("行方不明", "所在不明", "不明", "lost"), Availability.MISSING),
    "汚損": Availability.SOILED,
    "破損": Availability.DAMAGED,
}
"""What Japanese library systems write, beside our own words."""


class VolumeOrder(StrEnum):
    """In which order the volumes of a set are offered."""

    ANY = "any"  # whichever is there first (Tosu on the web, Moriyama)
    IN_ORDER = "in_order"  # a volume waits for all before it (Tosu at the desk)
    WAIT_FOR_FIRST = "wait_for_first"  # all wait for the first only (Ibaraki, comics excepted)
    TOGETHER = "together"  # all wait for all (Fuchu, if asked at the desk)


@dataclass(frozen=True, slots=True)
class LimitRules:
    """A library's rules. Each set of `Via` says where the rule binds. Raises BadInput for a card pattern
    that is no regular expression."""

    limits: tuple[Limit, ...] = ()
    limits_bind: frozenset[Via] = BOTH
    overdue_blocks: frozenset[Via] = NOWHERE
    on_loan_only: frozenset[Via] = NOWHERE
    email_required: frozenset[Via] = NOWHERE
    """For requests and for cancellations."""
    never: frozenset[Availability] = frozenset(Availability) - {
        Availability.ON_LOAN,
        Availability.AVAILABLE,
        Availability.UNKNOWN,
    }
    """Items that cannot be asked for anywhere."""
    card_pattern: str | None = None
    """A regular expression for the whole card number, such as `000[0-9]{6}`; None accepts any."""
    volumes: VolumeOrder = VolumeOrder.ANY
    """What a patron gets who asks for no order."""
    volumes_except: frozenset[str] = frozenset()
    """Materials whose volumes come in any order even so."""
    order_asked_via: frozenset[Via] = frozenset({Via.DESK})
    """Where a patron may ask for an order."""
    desk_order: VolumeOrder = VolumeOrder.ANY
    """What a set means that the desk gave with a hold; a feed has no other word for it."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.card_pattern or "")
        except re.error as error:
            raise BadInput(f"card_pattern {self.card_pattern!r} is no regular expression: {error}") from error


@dataclass(frozen=True, slots=True)
class Request:
    """One hold asked for. `material` is the library's own code; `card_number` is None where the library
    system has identified the patron already; `order` None where the patron asked for none."""

    via: Via
    material: str = ""
    availability: Availability = Availability.UNKNOWN
    card_number: str | None = None
    order: VolumeOrder | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the patron. `held` counts other holds by material: those of `COUNTED_WHEN_ASKED`,
    or at reception of `COUNTED_AT_RECEPTION`."""

    has_email: bool
    overdue: bool = False
    held: Mapping[str, int] = field(default_factory=dict)


def check_request(rules: LimitRules, request: Request, situation: Situation) -> tuple[Refusal, ...]:
    """All reasons against a request, the most basic first; empty: it may be placed."""
    via = request.via
    checks = (
        (_C.CARD_NUMBER, not _fits(rules.card_pattern, request.card_number)),
        (_C.EMAIL_REQUIRED, via in rules.email_required and not situation.has_email),
        (_C.OVERDUE, via in rules.overdue_blocks and situation.overdue),
        (
            _C.NOT_ON_LOAN,
            via in rules.on_loan_only and request.availability is Availability.AVAILABLE,
        ),
        (RefusalCode.of(request.availability), request.availability in rules.never),
        (
            _C.VOLUME_ORDER,
            request.order not in (None, VolumeOrder.ANY) and via not in rules.order_asked_via,
        ),
    )
    refusals = [Refusal(code) for code, applies in checks if applies]
    if via in rules.limits_bind:
        refusals += [Refusal(_C.LIMIT, limit) for limit in rules.limits if _full(limit, request, situation)]
    return tuple(refusals)


def check_cancellation(
    rules: LimitRules, *, via: Via, state: Hold, has_email: bool, received: bool = False
) -> tuple[Refusal, ...]:
    """All reasons against the patron's cancellation of a hold in `state`; empty: it may be done.

    `received`: this is the reception run, the patron has asked before. A shelved hold is cancelled at the
    branch only, also when the shelving came between the asking and the run.
    """
    refusals = []
    if via in rules.email_required and not has_email:
        refusals.append(Refusal(_C.EMAIL_REQUIRED))
    if state is Hold.READY and via is Via.WEB:
        refusals.append(Refusal(_C.ALREADY_SHELVED))
    if state in (Hold.WITHDRAWN, Hold.CANCEL_REQUESTED) and not received and via is Via.WEB:
        refusals.append(Refusal(_C.ALREADY_ASKED))
    if state in (Hold.REFUSED, Hold.CANCELLED, Hold.COLLECTED, Hold.LAPSED, Hold.ENDED):
        refusals.append(Refusal(_C.ALREADY_ENDED))
    return tuple(refusals)


def order_for(rules: LimitRules, request: Request) -> VolumeOrder:
    """The order in which a set's volumes are offered to the patron who made this request."""
    if request.order is not None and request.via in rules.order_asked_via:
        return request.order
    return VolumeOrder.ANY if request.material in rules.volumes_except else rules.volumes


_AWAITED = frozenset({Hold.REQUESTED, Hold.PLACED, Hold.CANCEL_REQUESTED, Hold.WITHDRAWN})


def volumes_due(order: VolumeOrder, volumes: Iterable[tuple[int, Hold]]) -> frozenset[int]:
    """Which volumes of one patron's set may be announced now, of (number, state of its hold) each.

    A volume on the shelf is READY. One that was collected, or will never come (cancelled, refused,
    lapsed), holds nobody up.
    """
    known = list(volumes)
    ready = frozenset(number for number, state in known if state is Hold.READY)
    awaited = [number for number, state in known if state in _AWAITED]
    if order is VolumeOrder.ANY or not awaited:
        return ready
    if order is VolumeOrder.IN_ORDER:
        return frozenset(number for number in ready if number < min(awaited))
    if order is VolumeOrder.WAIT_FOR_FIRST:
        return frozenset() if min(awaited) == min(number for number, _ in known) else ready
    return frozenset()


def _fits(pattern: str | None, card_number: str | None) -> bool:
    if pattern is None or card_number is None:
        return True
    # ASCII: a full-width 0 is a digit to Python, not to a library system
    return len(card_number) <= MAX_CARD_NUMBER and bool(re.fullmatch(pattern, card_number, re.ASCII))


def _full(limit: Limit, request: Request, situation: Situation) -> bool:
    held = sum(number for material, number in situation.held.items() if limit.covers(material))
    return limit.covers(request.material) and held >= limit.at_most
