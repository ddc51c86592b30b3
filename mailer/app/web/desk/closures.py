"""臨時休館: closings that nobody foresaw, whom they touch, and the shelf's holds that have lapsed.

Everyone at the desk sees the lists; an admin enters a closing and takes it back. Before it is entered the page
shows whose last day it moves. What it does stands in `mailer.app.closing`.
"""

from __future__ import annotations

from datetime import date, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.calendar import DateRange
from holds_core.errors import BadInput
from holds_core.ledger import closures, shelf
from holds_core.ledger.closures import Touched
from mailer.app import closing
from mailer.app.web.desk.pages import Part
from mailer.app.web.desk.visit import Visit, number_of

LAPSED_FOR = timedelta(days=14)
"""How long a lapsed hold stays on the list of what is to be taken from the shelf."""

ALL_BRANCHES = "*"


class Closures(Part):
    """The handlers."""

    def routes(self) -> list[Route]:
        return [
            self.get("/closures", self.show),
            self.post("/closures", self.enter, admin=True),
            self.post("/closures/{number:int}/remove", self.remove, admin=True),
            self.get("/shelf", self.shelf),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        """The closings in force; with days in the address, whom such a closing would touch."""
        preview, asked = None, self._asked(visit)
        if asked["first"]:
            branch, days = self._days(visit)
            preview = await closing.preview(self._services, branch, days)
        async with self._services.ledger.read() as connection:
            found = await closures.listed(connection, visit.today)
        return await self._desk.render(
            visit,
            "closures.html",
            closures=found,
            preview=preview,
            mine=self._mine(visit, preview.holds if preview else ()),
            asked=asked,
            branches=self._services.settings.library.branches,
            all_branches=ALL_BRANCHES,
            on_closure=self._services.settings.deadline.on_closure,
        )

    async def enter(self, request: Request, visit: Visit) -> Response:
        branch, days = self._days(visit)
        await closing.enter(
            self._services,
            branch,
            days,
            visit.said("reason", 200),
            visit.account.login,
            tell=visit.said("tell") == "yes",
        )
        return self.to(visit, "/closures")

    async def remove(self, request: Request, visit: Visit) -> Response:
        await closing.take_back(self._services, number_of(request, "number"), visit.account.login)
        return self.to(visit, "/closures")

    async def shelf(self, request: Request, visit: Visit) -> Response:
        """What lapsed and may be taken from the shelf."""
        async with self._services.ledger.read() as connection:
            rows = await shelf.to_take_down(connection, visit.now - LAPSED_FOR)
        mine = [row for row in rows if visit.account.may_see([row.branch])]
        return await self._desk.render(visit, "shelf.html", lapsed=mine, days=LAPSED_FOR.days)

    def _asked(self, visit: Visit) -> dict[str, str]:
        return {name: visit.said(name, 200) for name in ("branch", "first", "last", "reason")}

    def _days(self, visit: Visit) -> tuple[str, DateRange]:
        """The branch and days of the form. Raises BadInput."""
        asked = self._asked(visit)
        branch = "" if asked["branch"] == ALL_BRANCHES else asked["branch"]
        if not asked["branch"]:
            raise BadInput(visit.say("館を選んでください。", "Choose a branch."))
        first = self._day(visit, asked["first"])
        last = self._day(visit, asked["last"]) if asked["last"] else first
        return branch, closures.check(self._services.sender.rulebook, branch, first, last, visit.today)

    def _day(self, visit: Visit, text: str) -> date:
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise BadInput(visit.say("日付を入力してください。", "Enter a date.")) from None

    def _mine(self, visit: Visit, found: tuple[Touched, ...]) -> list[Touched]:
        return [item for item in found if visit.account.may_see([item.branch])]
