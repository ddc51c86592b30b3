"""仮のアドレス: patrons whose mail address is still the one that the library made up, and their own instead.

A provisional address never gets mail, so whoever has used the web service with it has not followed the rule
that it is replaced at once; those stand first. What a patron says at the counter or on the telephone is
entered here, as a correction of the address (`desk_actions`): with its undo, and for as long as the library
system does not have it, under 「図書館システムへ未反映」.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.errors import BadInput, Conflict
from holds_core.ledger import desk, desk_actions, desk_mail, registrations
from holds_core.ledger.desk_actions import Ask
from holds_core.ledger.desk_deeds import Action
from holds_core.ledger.registrations import Provisional
from holds_core.ledger.session import Transaction
from mailer.app.web.desk.calls import Calls
from mailer.app.web.desk.pages import Desk, Part
from mailer.app.web.desk.sheets import as_csv, download
from mailer.app.web.desk.visit import Visit

PAGE = 50


class ProvisionalAddresses(Part):
    """The handlers."""

    def __init__(self, desk_: Desk, calls: Calls) -> None:
        super().__init__(desk_)
        self._calls = calls

    def routes(self) -> list[Route]:
        return [
            self.get("/provisional", self.show),
            self.get("/provisional.csv", self.as_csv),
            self.post("/provisional/{patron_id:path}", self.replace),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            mine = await self._mine(connection, visit)
            found = _chosen(mine, visit)
            pages = max(1, -(-len(found) // PAGE))
            page = visit.page(pages)
            rows = found[(page - 1) * PAGE : page * PAGE]
            versions = await desk.versions(connection, [item.patron_id for item in rows])
            done = await self._calls.done(connection, visit)
        branches = Counter(item.branch for item in mine)
        return await self._desk.render(
            visit,
            "provisional.html",
            rows=rows,
            total=len(found),
            all=len(mine),
            used=sum(item.used_at is not None for item in found),
            branches=sorted((name, count) for name, count in branches.items() if name),
            chosen={"branch": visit.said("branch"), "use": visit.said("use")},
            page=page,
            pages=pages,
            versions=versions,
            done=done,
        )

    async def as_csv(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            found = _chosen(await self._mine(connection, visit), visit)
        await self.note(visit, "provisional.csv", "provisional", rows=len(found))
        local = self._services.rulebook.local
        rows: list[Sequence[object]] = [
            (
                item.patron_id,
                item.name,
                self._desk.branch_name(item.branch, visit.language),
                item.address,
                local(item.since).strftime("%Y-%m-%d %H:%M"),
                local(item.used_at).strftime("%Y-%m-%d %H:%M") if item.used_at else "",
            )
            for item in found
        ]
        content = as_csv(_HEADER[visit.language], rows)
        return download(content, "text/csv; charset=utf-8", f"kari_{visit.today:%Y%m%d}.csv")

    async def replace(self, request: Request, visit: Visit) -> Response:
        """The patron's own address in place of the provisional one.

        Raises BadInput, UnusableAddress, Conflict if another address is in force by now, Stale."""
        patron_id = str(request.path_params["patron_id"])
        wanted = visit.said("new_address", 320)
        if not wanted:
            raise BadInput(visit.say("アドレスを入力してください。", "Enter the address."))
        async with self._services.ledger.write() as connection:
            await self._calls.check_allowed(connection, visit.account, patron_id)
            await self._still_provisional(connection, visit, patron_id)
            action_id = await desk_actions.act(
                connection,
                Ask(
                    kind=Action.ADDRESS,
                    patron_id=patron_id,
                    who=visit.account.login,
                    seen=visit.said("seen"),
                    note=visit.said("note", desk_actions.MAX_NOTE),
                    address=wanted,
                ),
                self._desk.cause(visit),
            )
        return self.to(visit, "/provisional", **_asked(visit), done=str(action_id))

    async def _still_provisional(self, connection: Transaction, visit: Visit, patron_id: str) -> None:
        """Raises Conflict with the address in force, if it is not the provisional one of the form."""
        now = await desk_mail.in_force(connection, patron_id)
        if any(item["provisional"] and item["address"] == visit.said("shown", 320) for item in now):
            return
        stands = visit.say("、", ", ").join(item["address"] for item in now) or "—"
        raise Conflict(
            visit.say(
                f"この利用者のアドレスは、画面を開いたあとに変わりました。いまの操作は記録していません。現在のアドレス: {stands}",
                f"The patron's address has changed since you opened the page; nothing was recorded. Now: {stands}",
            )
        )

    async def _mine(self, connection: Transaction, visit: Visit) -> list[Provisional]:
        found = await registrations.provisional(connection)
        return [item for item in found if visit.account.may_see([item.branch])]


def _asked(visit: Visit) -> dict[str, str]:
    return {name: visit.said(name, 60) for name in ("branch", "use")}


def _chosen(found: list[Provisional], visit: Visit) -> list[Provisional]:
    branch, use = visit.said("branch", 60), visit.said("use", 10)
    return [
        item
        for item in found
        if (not branch or item.branch == branch)
        and (not use or (item.used_at is not None) == (use == "used"))
    ]


_HEADER = {
    "ja": ("利用者番号", "氏名", "館", "仮のアドレス", "登録日時", "最初の利用"),
    "en": ("patron_id", "name", "branch", "provisional address", "since", "first used"),
}
