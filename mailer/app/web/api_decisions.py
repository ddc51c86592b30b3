"""Two lists of the API for the library system: what was decided about holds, who has a provisional address.

Enters a router and the parts; leaves it with two addresses more. Who may call and how errors look is decided in
`mailer.app.web.api`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from holds_core.address_checks import AddressDoubt
from holds_core.ledger import decisions, registrations
from holds_core.ledger.decisions import Verdict, What
from mailer.app.services import Services
from mailer.app.web.shapes import DecisionLine, ProvisionalLine

MAX_DECISIONS = 1000
After = Annotated[int, Query(ge=0, le=2**62, description="The last id that was taken over.")]
Limit = Annotated[int, Query(ge=1, le=MAX_DECISIONS)]

Responses = dict[int | str, dict[str, Any]]


def in_result(verdicts: Sequence[Verdict], doubts: Sequence[AddressDoubt]) -> dict[str, Any]:
    """What stands in the result of an event: what our rules made of a request, decisions or under `authority:
    ils` warnings. Doubts about new addresses are warnings too."""
    warnings = [verdict.as_json() for verdict in verdicts if verdict.what is What.WARNED]
    warnings += [doubt.as_json() for doubt in doubts]
    decided = [verdict.as_json() for verdict in verdicts if verdict.what is not What.WARNED]
    return ({"warnings": warnings} if warnings else {}) | ({"decisions": decided} if decided else {})


def add_to(
    router: APIRouter, services: Services, answer: Callable[[Any], Response], unusable: Responses
) -> None:
    """`answer` writes JSON; `unusable` describes the answer to a bad parameter."""

    @router.get(
        "/decisions",
        summary="What Todoku decided about holds",
        description=(
            f"In the order of their ids, at most {MAX_DECISIONS} at a time: ask again with the last id until the "
            "list is empty. Under `authority: ils` they are warnings, and `binding` is false."
        ),
        responses={200: {"model": list[DecisionLine]}, **unusable},
    )
    async def decided(after: After = 0, limit: Limit = MAX_DECISIONS) -> Response:
        async with services.ledger.read() as connection:
            return answer(await decisions.after(connection, after, limit))

    @router.get(
        "/provisional",
        summary="Patrons who have not replaced their provisional address",
        description="They get no mail. First those who used the web service all the same.",
        responses={200: {"model": list[ProvisionalLine]}, **unusable},
    )
    async def provisional() -> Response:
        async with services.ledger.read() as connection:
            found = await registrations.provisional(connection)
        return answer([line.as_json() for line in found])
