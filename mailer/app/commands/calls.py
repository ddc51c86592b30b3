"""The command `todoku calls`: this morning's call list, in the order of the desk.

Reads the ledger; the risks are those that the daemon weighed last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from holds_core.ledger import desk, silence
from holds_core.ledger.cases import REASONS
from holds_core.ledger.desk import Case, View
from holds_core.settings import Settings
from holds_core.silence_reasons import SENTENCES
from mailer.app.commands import common, terminal
from mailer.clock import SystemClock

COLUMNS = (
    ("順", "rank"),
    ("利用者", "patron"),
    ("氏名", "name"),
    ("期限", "deadline"),
    ("おそれ", "risk"),
    ("理由", "why"),
)


def add_to(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command()(calls)


def calls(as_json: Annotated[bool, typer.Option("--json", help="JSON で / as JSON")] = False) -> None:
    """今日の要連絡一覧 / whom to phone today, first things first."""
    settings = common.settings()
    found, weighed_at = common.run(_calls(settings))
    if as_json:
        common.print_json([_as_json(place, case, settings) for place, case in enumerate(found, 1)])
        return
    if weighed_at is not None:
        local = weighed_at.astimezone(settings.library.timezone)
        # beside the list: in a pipe every line is one of the list's
        common.errors.print(f"{local:%Y-%m-%d %H:%M} 現在のおそれ / risks as of then", markup=False)
    _show(found, settings.case.calls_per_day)


async def _calls(settings: Settings) -> tuple[list[Case], datetime | None]:
    local = SystemClock().now().astimezone(settings.library.timezone)
    async with common.open_ledger() as ledger, ledger.read() as connection:
        found = await desk.open_cases(connection, local.date())
        return (
            desk.order((case for case in found if case.view is View.TODAY), local),
            await silence.weighed_at(connection),
        )


def _as_json(place: int, case: Case, settings: Settings) -> dict[str, Any]:
    """`today`: whether it is within the calls that staff can make (0: no limit is known, so all are)."""
    limit = settings.case.calls_per_day
    return {
        "rank": place,
        "today": not limit or place <= limit,
        "patron_id": case.patron_id,
        "deadline": case.deadline.isoformat() if case.deadline else None,
        "hold_ids": list(case.hold_ids),
        "branches": list(case.branches),
        "reasons": list(case.reasons),
        "risk": None if case.risk is None else round(case.risk, 4),
        "risk_reasons": [str(reason) for reason in case.risk_reasons],
    }


def _show(found: Sequence[Case], limit: int) -> None:
    """With a line after the calls of one day."""
    rows = [_cells(place, case) for place, case in enumerate(found, 1)]
    terminal.show(COLUMNS, rows, "連絡の必要な利用者はいません / nobody needs a call", limit)


def _cells(place: int, case: Case) -> tuple[str, ...]:
    risk = "" if case.risk is None else f"{case.risk_word[0]} {case.risk:.0%}"
    why = [REASONS[case.reasons[0]][0]] if case.reasons else []
    why += [SENTENCES[reason][0] for reason in case.risk_reasons[:1]]
    deadline = case.deadline.isoformat() if case.deadline else ""
    return (str(place), case.patron_id, case.name, deadline, risk, " ".join(why))
