"""Koha asked by its REST interface: patrons that changed, holds, and what became of a hold that vanished.

Lists are paged by `_page` and `_per_page` in the order of ids, as far as `Link` and `X-Total-Count` say that there
is more. A record that moved between two pages is healed: lists of changes overlap, and what is missing in a whole
list is looked up before it is believed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from holds_core.feeds import koha, records
from holds_core.feeds.mapping import Kind
from holds_core.feeds.records import BadRecord, Told
from holds_core.holds import Hold
from holds_core.settings import Addresses, Koha
from mailer import maillog
from mailer.app.feeds.http import Api, FeedDown, Reply
from mailer.app.feeds.source import Page, compact, listed, newest
from mailer.app.feeds.tokens import client_credentials

BASE = "/api/v1"
_LISTS = {
    Kind.PATRONS: ("/patrons", "patron_id", "updated_on"),
    Kind.HOLDS: ("/holds", "hold_id", "timestamp"),
}
_TITLES_AT_ONCE = 50
_TITLES_KEPT = 10_000
_UNKNOWN_THERE = frozenset({400, 403, 404})


class KohaSource:
    """One Koha."""

    def __init__(self, options: Koha, secret: str) -> None:
        self.options = options
        token = client_credentials(f"{options.url}{BASE}/oauth/token", options.client_id, secret)
        self._api = Api(
            options.url + BASE,
            token,
            timeout=options.timeout.total_seconds(),
            verify=options.verify_tls,
            ca_file=options.ca_file,
        )
        self._works: dict[str, str] = {}
        self._titles: dict[str, str] = {}
        self._hidden = False

    @property
    def name(self) -> str:
        return self.options.name

    async def __aenter__(self) -> KohaSource:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.__aexit__()

    async def pages(self, kind: Kind, since: datetime | None) -> AsyncIterator[Page]:
        """See `Source`."""
        path, key, changed = _LISTS[kind]
        params: dict[str, str | int] = {"_order_by": f"+{key}", "_per_page": self.options.page_size}
        if since is not None:
            params["q"] = compact({changed: {">=": since.isoformat(timespec="seconds")}})
        if kind is Kind.HOLDS:
            self._works.clear()
        number, seen, more = 0, 0, True
        while more:
            number += 1
            reply = await self._api.get(path, params | {"_page": number})
            found = listed(reply.json, path)
            seen += len(found)
            more = _more(reply, seen, bool(found), path)
            yield Page(
                [self._told(kind, record) for record in found],
                newest(found, lambda record: record.get(changed)),
                reply.at,
            )

    def _told(self, kind: Kind, record: dict[str, Any]) -> Told:
        if kind is Kind.PATRONS:
            everywhere = self.options.addresses is Addresses.ALL
            return koha.patron(record, all_addresses=everywhere)
        told = koha.hold(record)
        if told.row is not None and told.work:
            self._works[told.key] = told.work
        return told

    async def look_up(self, hold_id: str, patron_id: str) -> Told | None:
        """First among the open holds, where it may have moved between two pages; then among the old ones.

        `old` is a boolean parameter of `/patrons/{patron_id}/holds` (api/v1/swagger/paths/patrons_holds.yaml); it
        asks for the right edit_borrowers, in later releases view_holds_history does as well. Koha 23.11 and older
        refuse the parameter (400), others an account without the right (403): there nobody can tell.
        """
        wanted = compact({"hold_id": int(hold_id) if hold_id.isdecimal() else hold_id})
        reply = await self._api.get("/holds", {"q": wanted})
        for record in listed(reply.json, "/holds"):
            if str(record.get("hold_id")) == hold_id:
                return self._told(Kind.HOLDS, record)
        if not patron_id:
            return None
        path = f"/patrons/{quote(patron_id, safe='')}/holds"
        try:
            reply = await self._api.get(path, {"old": "true", "q": wanted})
        except FeedDown as error:
            if error.status == 403 and not self._hidden:
                self._hidden = True
                maillog.event("feed_old_holds_hidden", feed=self.name)
            if error.status in _UNKNOWN_THERE:  # 404: the patron is gone, and their holds with them
                return None
            raise
        for record in listed(reply.json, path):
            if str(record.get("hold_id")) == hold_id:
                return _ended(record)
        return None

    async def titles(self, hold_ids: Sequence[str]) -> Mapping[str, str]:
        """See `Source`. A Koha that shows no records to this account leaves the holds without titles."""
        if not self.options.titles:
            return {}
        works = {hold: work for hold in hold_ids if (work := self._works.get(hold))}
        wanted = sorted({work for work in works.values() if work not in self._titles})
        for start in range(0, len(wanted), _TITLES_AT_ONCE):
            if len(self._titles) > _TITLES_KEPT:
                self._titles.clear()
            self._titles |= await self._ask_titles(wanted[start : start + _TITLES_AT_ONCE])
        return {hold: title for hold, work in works.items() if (title := self._titles.get(work))}

    async def _ask_titles(self, works: Sequence[str]) -> dict[str, str]:
        """The list of records (Koha 23.05 and later), else one by one."""
        query = compact({"biblio_id": {"-in": [int(work) for work in works if work.isdecimal()]}})
        try:
            reply = await self._api.get("/biblios", {"q": query, "_per_page": len(works)})
            found = listed(reply.json, "/biblios")
        except FeedDown as error:
            if error.status not in _UNKNOWN_THERE:
                raise
            found = [record for work in works if (record := await self._one_work(work))]
        return {str(record.get("biblio_id")): _title(record) for record in found}

    async def _one_work(self, work: str) -> dict[str, Any] | None:
        try:
            reply = await self._api.get(f"/biblios/{quote(work, safe='')}")
        except FeedDown as error:
            if error.status in _UNKNOWN_THERE:
                return None
            raise
        return reply.json if isinstance(reply.json, dict) else None


def _more(reply: Reply, seen: int, found: bool, path: str) -> bool:
    """Whether there is another page. Raises FeedDown for a list that ends before its end."""
    total = reply.headers.get("x-total-count", "")
    left = total.isdecimal() and seen < int(total)
    if left and not found:
        raise FeedDown(f"{path}: {seen} records came of {total}")
    return left or ('rel="next"' in reply.headers.get("link", "") and found)


def _ended(record: dict[str, Any]) -> Told | None:
    try:
        told = koha.old_hold(record)
    except BadRecord:
        return None
    return None if told.row is None or told.row.mark == Hold.ENDED else told


def _title(record: dict[str, Any]) -> str:
    try:
        return koha.title(record)
    except records.BadRecord:
        return ""
