"""今日の連絡: whom to call today, the buttons in each row, undo, and the list on paper.

The list shows neither titles nor phone numbers. Opening a row claims the patron, is audited, and shows the
numbers to the one who opened it for as long as the claim lasts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holds_core.contact import NAMES, means_of
from holds_core.errors import BadInput, NotFound
from holds_core.ledger import accounts, desk, desk_actions, desk_closed, desk_deeds, desk_mail
from holds_core.ledger.accounts import Account
from holds_core.ledger.cases import REASONS
from holds_core.ledger.desk import Case, View
from holds_core.ledger.desk_actions import Ask
from holds_core.ledger.desk_deeds import Action
from holds_core.ledger.session import Transaction
from holds_core.settings import PhoneFallback
from mailer.app.services import event_rules
from mailer.app.web.desk.pages import Forbidden, Part
from mailer.app.web.desk.visit import Visit, base_of, local_path, number_of, query_of
from mailer.app.web.desk.words import days_left

PAGE = 50
MESSAGE_WAITS = 2
"""Open days that a message left with the family is given before the case comes back."""
LONGEST_IGNORE = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the list is narrowed to; the empty text means everything."""

    view: View
    branch: str
    reason: str
    provider: str
    q: str

    @classmethod
    def of(cls, visit: Visit) -> Chosen:
        asked = visit.request.query_params
        view = asked.get("view", "")
        return cls(
            view=View(view) if view in list(View) else View.TODAY,
            branch=asked.get("branch", ""),
            reason=asked.get("reason", ""),
            provider=asked.get("provider", ""),
            q=asked.get("q", "").strip()[:100],
        )

    def query(self, **other: object) -> str:
        """The address of this list with some choices changed; a changed choice begins at page 1."""
        said: dict[str, object] = {
            "view": "" if self.view is View.TODAY else self.view,
            "branch": self.branch,
            "reason": self.reason,
            "provider": self.provider,
            "q": self.q,
        }
        return query_of({name: str(value) for name, value in (said | other).items()})


class Calls(Part):
    """The call list's handlers."""

    def routes(self) -> list[Route]:
        return [
            self.get("/", self.show),
            self.get("/closed", self.closed),
            self.get("/print", self.on_paper),
            self.post("/print", self.on_paper),
            self.post("/patrons/{patron_id:path}/open", self.open),
            self.post("/patrons/{patron_id:path}/close", self.close),
            self.post("/patrons/{patron_id:path}/act", self.act),
            self.post("/actions/{action_id:int}/undo", self.undo),
        ]

    # -- the list ----------------------------------------------------------------------------------

    async def show(self, request: Request, visit: Visit) -> Response:
        chosen = Chosen.of(visit)
        async with self._services.ledger.read() as connection:
            mine = self._mine(await desk.open_cases(connection, visit.today), visit.account)
            found = [case for case in mine if self._fits(case, chosen)]
            heaps = desk.counts(found)
            shown = desk.order((case for case in found if chosen.view in (case.view, View.ALL)), visit.local)
            pages = max(1, -(-len(shown) // PAGE))
            page = visit.page(pages)
            rows = shown[(page - 1) * PAGE : page * PAGE]
            beside = await self._beside(connection, visit, [case.patron_id for case in rows])
        return await self._desk.render(
            visit,
            "calls.html",
            chosen=chosen,
            heaps=heaps,
            total=len(mine),
            rows=rows,
            page=page,
            pages=pages,
            first=(page - 1) * PAGE + 1,
            choices=self._choices(mine, visit),
            days_left=lambda case: days_left(case.days_left(visit.today), visit.language),
            means=lambda case: self._means(case, visit),
            calls_per_day=self._services.settings.case.calls_per_day,
            **beside,
        )

    def _means(self, case: Case, visit: Visit) -> str:
        """How to reach the patron, as this library does it."""
        rules = self._services.settings.case
        found = means_of(
            case.reasons,
            contact=case.contact,
            phones=rules.phone_fallback is PhoneFallback.ALWAYS and case.mark.tries < rules.call_limit,
            has_phone=case.has_phone,
            days_left=case.days_left(visit.today),
        )
        return NAMES[found][visit.language != "ja"]

    def _mine(self, found: list[Case], account: Account) -> list[Case]:
        return [case for case in found if account.may_see(case.branches)]

    def _fits(self, case: Case, chosen: Chosen) -> bool:
        return (
            (not chosen.branch or chosen.branch in case.branches)
            and (not chosen.reason or chosen.reason in case.reasons)
            and (not chosen.provider or chosen.provider in self._providers(case))
            and (not chosen.q or _about(case, chosen.q))
        )

    def _providers(self, case: Case) -> list[str]:
        return [self._desk.provider_of(domain) for domain in case.domains]

    def _choices(self, mine: list[Case], visit: Visit) -> dict[str, list[tuple[str, int]]]:
        """The values that occur, with how many cases each has."""
        providers = Counter(name for case in mine for name in set(self._providers(case)))
        branches = Counter(branch for case in mine for branch in case.branches)
        reasons = Counter(reason for case in mine for reason in case.reasons)
        known = [*self._desk.branches_of(visit.account), *sorted(branches)]
        return {
            "branch": [(name, branches[name]) for name in dict.fromkeys(known) if branches[name]],
            "reason": [(name, reasons[name]) for name in REASONS if reasons[name]],
            "provider": providers.most_common(40),
        }

    async def _beside(self, connection: Transaction, visit: Visit, patron_ids: list[str]) -> dict[str, Any]:
        """What stands beside the rows: last mails, claims, the opened row, the undo bar."""
        claimed = await desk.claims_of(connection, patron_ids, visit.now)
        opened = visit.request.query_params.get("open", "")
        mine = opened in claimed and claimed[opened].who == visit.account.login
        return {
            "mails": await desk.last_mails(connection, patron_ids),
            "claims": claimed,
            "names": await accounts.names(connection),
            "opened": opened if mine else "",
            "phones": await desk.phones(connection, opened) if mine else None,
            "addresses": await self.addresses(connection, opened) if mine else [],
            "versions": await desk.versions(connection, [opened]) if mine else {},
            "done": await self.done(connection, visit),
            "ignore_default": visit.today + timedelta(days=7),
        }

    async def addresses(self, connection: Transaction, patron_id: str) -> list[str]:
        return [item["address"] for item in await desk_mail.in_force(connection, patron_id)]

    async def done(self, connection: Transaction, visit: Visit) -> desk_deeds.Deed | None:
        """The action just done by this person, for the bar that offers to undo it."""
        number = visit.request.query_params.get("done", "")
        if not number.isdecimal() or len(number) > 15:
            return None
        try:
            deed = await desk_deeds.deed(connection, int(number))
        except NotFound:
            return None
        mine = deed.who == visit.account.login and deed.undone_at is None
        return deed if mine and visit.now - deed.at < desk_deeds.UNDO_FOR else None

    async def closed(self, request: Request, visit: Visit) -> Response:
        """What needed no call in the end."""
        async with self._services.ledger.read() as connection:
            found = await desk_closed.closed_by_themselves(connection, visit.now)
        mine = [item for item in found if visit.account.may_see([item.branch])]
        return await self._desk.render(visit, "closed.html", found=mine, days=desk_closed.LISTED.days)

    # -- opening a row -----------------------------------------------------------------------------

    async def open(self, request: Request, visit: Visit) -> Response:
        """Claims the patron and shows the phone numbers, which the audit trail keeps."""
        patron_id = str(request.path_params["patron_id"])
        async with self._services.ledger.write() as connection:
            await self.check_allowed(connection, visit.account, patron_id)
            take_over = visit.said("take") == "1"
            claim = await desk.claim(
                connection, patron_id, visit.account.login, visit.now, take_over=take_over
            )
            mine = claim.who == visit.account.login
            if mine:
                await accounts.record(
                    connection,
                    visit.account.login,
                    "phone.shown",
                    f"patron:{patron_id}",
                    {"take_over": take_over},
                    visit.now,
                )
        return self._back_to_row(visit, patron_id, {"open": patron_id} if mine else {})

    async def close(self, request: Request, visit: Visit) -> Response:
        patron_id = str(request.path_params["patron_id"])
        async with self._services.ledger.write() as connection:
            held = (await desk.claims_of(connection, [patron_id], visit.now)).get(patron_id)
            if held is not None and held.who == visit.account.login:
                await desk.release(connection, patron_id)
        return self._back_to_row(visit, patron_id, {})

    def _back_to_row(self, visit: Visit, patron_id: str, said: dict[str, str]) -> Response:
        """To the list or page the button was on, at the patron's row."""
        path, _, query = local_path(visit.said("back"), "/").partition("?")
        kept = [part for part in query.split("&") if part and part.partition("=")[0] not in ("open", "done")]
        query = "&".join([*kept, query_of(said)[1:]]).strip("&")
        where = base_of(visit.request) + path + (f"?{query}" if query else "")
        return RedirectResponse(f"{where}#row-{patron_id}" if path == "/" else where, 303)

    async def check_allowed(self, connection: Transaction, account: Account, patron_id: str) -> None:
        """Raises Forbidden if the patron belongs to branches that the account may not see."""
        if not account.may_see(await desk.branches_of_patron(connection, patron_id)):
            raise Forbidden

    # -- actions -----------------------------------------------------------------------------------

    async def act(self, request: Request, visit: Visit) -> Response:
        patron_id = str(request.path_params["patron_id"])
        ask = self._ask(visit, patron_id)
        async with self._services.ledger.write() as connection:
            await self.check_allowed(connection, visit.account, patron_id)
            if ask.kind is Action.ADDRESS:
                await self._same_addresses(connection, visit, patron_id)
            action_id = await desk_actions.act(
                connection,
                ask,
                self._desk.cause(visit),
                today=visit.today,
                last_day=event_rules(self._services.rulebook).last_day,
            )
        return self._back_to_row(visit, patron_id, {"done": str(action_id)})

    async def _same_addresses(self, connection: Transaction, visit: Visit, patron_id: str) -> None:
        """A correction of addresses that the patron has changed in the meantime. Raises Stale."""
        had = visit.form.get("had")
        if isinstance(had, str) and had.split() != await self.addresses(connection, patron_id):
            since = visit.said("seen").partition(".")[0]
            raise desk.Stale(patron_id, int(since) if since.isdecimal() and len(since) < 18 else 0)

    def _ask(self, visit: Visit, patron_id: str) -> Ask:
        """The form as an `Ask`. Raises BadInput."""
        if visit.said("kind") not in list(Action):
            raise BadInput("操作が選ばれていません。 No action was chosen.")
        kind = Action(visit.said("kind"))
        branch = visit.said("branch")
        return Ask(
            kind=kind,
            patron_id=patron_id,
            who=visit.account.login,
            seen=visit.said("seen"),
            note=visit.said("note", desk_actions.MAX_NOTE),
            address=visit.said("new_address" if kind is Action.ADDRESS else "address", 320),
            replaces=visit.said("replaces", 320),
            again_on=self._again_on(visit, kind, branch),
            call_limit=self._services.settings.case.call_limit,
        )

    def _again_on(self, visit: Visit, kind: Action, branch: str) -> date | None:
        calendar = self._services.rulebook.calendar(branch)
        if kind is Action.NOT_REACHED:
            return calendar.add_open_days(visit.today, 1)
        if kind is Action.MESSAGE:
            return calendar.add_open_days(visit.today, MESSAGE_WAITS)
        if kind is not Action.IGNORE:
            return None
        try:
            until = date.fromisoformat(visit.said("until"))
        except ValueError:
            raise BadInput("日付を入力してください。 Enter a date.") from None
        if not visit.today < until <= visit.today + LONGEST_IGNORE:
            raise BadInput("日付は明日から90日後までです。 Choose a day from tomorrow to 90 days ahead.")
        return until

    async def undo(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.write() as connection:
            deed = await desk_deeds.deed(connection, number_of(request, "action_id"))
            await self.check_allowed(connection, visit.account, deed.patron_id)
            await desk_actions.undo(connection, deed.action_id, visit.account.login, self._desk.cause(visit))
        return self._back_to_row(visit, deed.patron_id, {})

    # -- on paper ----------------------------------------------------------------------------------

    async def on_paper(self, request: Request, visit: Visit) -> Response:
        """The list as it is narrowed, for A4. With phone numbers only after a press of a button."""
        chosen = Chosen.of(visit)
        with_phones = request.method == "POST"
        numbers: dict[str, desk.Phones] = {}
        async with self._services.ledger.read() as connection:
            mine = self._mine(await desk.open_cases(connection, visit.today), visit.account)
            fit = (case for case in mine if self._fits(case, chosen) and chosen.view in (case.view, View.ALL))
            rows = desk.order(fit, visit.local)[:200]
            if with_phones:
                numbers = {case.patron_id: await desk.phones(connection, case.patron_id) for case in rows}
        if with_phones:
            async with self._services.ledger.write() as connection:
                who, listed = visit.account.login, [case.patron_id for case in rows]
                await accounts.record(
                    connection, who, "phone.printed", "list", {"patrons": listed}, visit.now
                )
        return await self._desk.render(
            visit,
            "calls_print.html",
            rows=rows,
            numbers=numbers,
            with_phones=with_phones,
            chosen=chosen,
            days_left=lambda case: days_left(case.days_left(visit.today), visit.language),
            means=lambda case: self._means(case, visit),
        )


def _about(case: Case, text: str) -> bool:
    wanted = desk.plain(text)
    return any(wanted in desk.plain(field) for field in (case.patron_id, case.name, case.name_kana))
