"""Looking a patron up, case or not, and the patron's page: standing, holds, the story, the mail's text.

No title stands on any of these pages: the mail's text is rendered anew without them.
"""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.errors import BadInput, NotFound
from holds_core.ledger import accounts, desk, desk_deeds, desk_mail, desk_patrons, sending
from holds_core.ledger.session import Transaction
from holds_core.notices import Transmission
from holds_core.rulebook import Rulebook
from holds_core.settings import Ask, Authority, TitlePolicy, Way
from mailer.app.web.desk import timeline
from mailer.app.web.desk.calls import Calls
from mailer.app.web.desk.pages import Desk, Forbidden, Part
from mailer.app.web.desk.visit import Visit, number_of
from mailer.app.web.desk.words import days_left
from mailer.compose import Composer, Dropped

STORY_DAYS = timedelta(days=120)
"""How far back the story goes on the page: mail matters for weeks, what was read is nobody's business."""


class Patrons(Part):
    """The look-up and the patron's page."""

    def __init__(self, desk_: Desk, calls: Calls) -> None:
        super().__init__(desk_)
        self._calls = calls
        self._untitled = _without_titles(desk_)

    def routes(self) -> list[Route]:
        return [
            self.get("/patrons", self.search),
            self.get("/patrons/{patron_id:path}/resend", self.preview),
            self.get("/patrons/{patron_id:path}", self.show),
            self.get("/mails/{delivery_id:int}/text", self.text),
            self.post("/inbound/{inbound_id:int}/raw", self.raw),
        ]

    async def search(self, request: Request, visit: Visit) -> Response:
        wanted = visit.said("q", 100)
        found: list[desk_patrons.Found] = []
        if wanted:
            async with self._services.ledger.read() as connection:
                found = await desk_patrons.search(connection, wanted, limit=51)
        mine = [item for item in found if visit.account.may_see(item.branches)]
        return await self._desk.render(
            visit, "patrons.html", q=wanted, found=mine[:50], more=len(found) > 50, asked=bool(wanted)
        )

    async def show(self, request: Request, visit: Visit) -> Response:
        patron_id = str(request.path_params["patron_id"])
        async with self._services.ledger.read() as connection:
            page = await desk_patrons.page(connection, patron_id)
            await self._calls.check_allowed(connection, visit.account, patron_id)
            claimed = (await desk.claims_of(connection, [patron_id], visit.now)).get(patron_id)
            mine = claimed is not None and claimed.who == visit.account.login
            deeds = await desk_deeds.deeds(connection, patron_id)
            names = await accounts.names(connection)
            values: dict[str, Any] = {
                "phones": await desk.phones(connection, patron_id) if mine else None,
                "seen": (await desk.versions(connection, [patron_id]))[patron_id],
                "done": await self._calls.done(connection, visit),
                "others": await desk_patrons.sharing(connection, patron_id),
                "moments": await desk_patrons.moments(connection, patron_id, visit.now - STORY_DAYS),
            }
        story = timeline.lines(
            values.pop("moments"),
            deeds,
            names,
            visit.language,
            lambda branch_id: self._desk.branch_name(branch_id, visit.language),
        )
        return await self._desk.render(
            visit,
            "patron.html",
            page=page,
            patron_id=patron_id,
            claim=claimed,
            mine=mine,
            names=names,
            story=story,
            undoable=desk_deeds.undoable(deeds, visit.now),
            left=lambda value: days_left((value - visit.today).days if value else None, visit.language),
            ignore_default=visit.today + timedelta(days=7),
            extend_there=self._services.settings.library.authority is Authority.ILS,
            **values,
        )

    async def _delivery(self, connection: Transaction, visit: Visit, delivery_id: int) -> sending.Claimed:
        found = await sending.load(connection, [delivery_id])
        if not found:
            raise NotFound(f"there is no mail {delivery_id}")
        await self._calls.check_allowed(connection, visit.account, found[0].patron_id)
        return found[0]

    async def text(self, request: Request, visit: Visit) -> Response:
        """The text of a mail as it would read today, without titles and without the patron's links."""
        async with self._services.ledger.read() as connection:
            item = await self._delivery(connection, visit, number_of(request, "delivery_id"))
        subject, body = self._rendered(item, visit)
        return await self._desk.render(visit, "mail_text.html", item=item, subject=subject, body=body)

    def _rendered(self, item: sending.Claimed, visit: Visit) -> tuple[str, str]:
        """(subject, body); both empty if the mail would not be sent any more."""
        readable = replace(item, state=Transmission.PENDING, standing="unproven", created_at=visit.now)
        composed = self._untitled.compose(replace(readable, token=item.token or "sample"), visit.now)
        if isinstance(composed, Dropped):
            return "", ""
        message = email.message_from_bytes(composed.data, policy=email.policy.default)
        part = message.get_body(("plain",))
        return composed.subject, str(part.get_content()) if part is not None else ""

    async def preview(self, request: Request, visit: Visit) -> Response:
        """What sending again would say, before it is asked for."""
        patron_id = str(request.path_params["patron_id"])
        async with self._services.ledger.read() as connection:
            await self._calls.check_allowed(connection, visit.account, patron_id)
            waiting = await desk_patrons.ready_notices(connection, patron_id)
            record = await desk_mail.in_force(connection, patron_id)
            seen = (await desk.versions(connection, [patron_id]))[patron_id]
        if not waiting or not record:
            raise BadInput(
                "お取り置き中の資料、または送信できるアドレスがありません。"
                " There is nothing on the hold shelf, or no address to send to."
            )
        items = [replace(item, address=record[0]["address"]) for item in waiting]
        return await self._desk.render(
            visit,
            "resend.html",
            patron_id=patron_id,
            addresses=[entry["address"] for entry in record],
            letters=[self._rendered(item, visit) for item in items],
            seen=seen,
        )

    async def raw(self, request: Request, visit: Visit) -> Response:
        """A mail that came back, as it came. Audited: it may quote anything."""
        inbound_id = number_of(request, "inbound_id")
        async with self._services.ledger.write() as connection:
            patron_id, raw = await desk_patrons.raw_mail(connection, inbound_id)
            if patron_id:
                await self._calls.check_allowed(connection, visit.account, patron_id)
            elif not visit.account.is_admin:
                raise Forbidden
            await accounts.record(
                connection, visit.account.login, "mail.read", f"mail:{inbound_id}", {}, visit.now
            )
        text = raw[:200_000].decode("utf-8", "replace") if raw is not None else ""
        return await self._desk.render(
            visit, "raw.html", inbound_id=inbound_id, text=text, erased=raw is None, back=visit.said("back")
        )


_ASKS_NOTHING = Ask(registration_changed=Way.NONE, hold_ready=Way.NONE)


def _without_titles(desk_: Desk) -> Composer:
    """A composer for staff's eyes: no titles, and no link that would confirm in the patron's name."""
    services = desk_.services
    settings = services.settings
    shown = settings.model_copy(
        update={
            "library": settings.library.model_copy(update={"title_policy": TitlePolicy.NONE}),
            "confirmation": settings.confirmation.model_copy(update={"ask": _ASKS_NOTHING}),
        }
    )
    book = Rulebook.of(shown, services.rulebook.holidays, services.days.known)
    return Composer(book, services.keys, services.providers, services.renderer)
