"""FOLIO asked through its gateway (Okapi, or Eureka's Kong): users and requests that changed, open requests.

Lists are paged by `limit` and `offset` in the order of ids until one is not full: `totalRecords` may be an estimate.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote

from holds_core.feeds import folio
from holds_core.feeds.mapping import Kind
from holds_core.feeds.records import Told
from holds_core.holds import Hold
from holds_core.settings import Folio, FolioAuth
from mailer.app.feeds.http import Api, FeedDown
from mailer.app.feeds.source import Page, listed, newest
from mailer.app.feeds.tokens import folio_client, folio_login

_LISTS = {
    Kind.PATRONS: ("/users", "users", "cql.allRecords=1"),
    Kind.HOLDS: ("/circulation/requests", "requests", 'status=="Open*"'),
}


class FolioSource:
    """One tenant of a FOLIO."""

    def __init__(self, options: Folio, password: str, zone: tzinfo | None = None) -> None:
        self.options, self._zone = options, zone
        if options.auth is FolioAuth.EUREKA:
            assert options.token_url is not None
            token = folio_client(options.tenant, options.token_url, options.username, password)
        else:
            token = folio_login(options.tenant, options.username, password)
        self._api = Api(
            options.url,
            token,
            timeout=options.timeout.total_seconds(),
            verify=options.verify_tls,
            ca_file=options.ca_file,
        )

    @property
    def name(self) -> str:
        return self.options.name

    async def __aenter__(self) -> FolioSource:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.__aexit__()

    async def pages(self, kind: Kind, since: datetime | None) -> AsyncIterator[Page]:
        """See `Source`. What changed includes what was closed; all that is open does not."""
        path, name, everything = _LISTS[kind]
        query = everything if since is None else f'metadata.updatedDate>="{_utc(since)}"'
        limit, offset, more = self.options.page_size, 0, True
        while more:
            reply = await self._api.get(
                path, {"query": f"{query} sortby id", "limit": limit, "offset": offset}
            )
            found = listed(reply.json.get(name) if isinstance(reply.json, dict) else None, path)
            offset += len(found)
            more = len(found) >= limit
            yield Page([self._told(kind, record) for record in found], newest(found, _changed), reply.at)

    def _told(self, kind: Kind, record: Mapping[str, Any]) -> Told:
        return folio.request(record, self._zone) if kind is Kind.HOLDS else folio.user(record)

    async def look_up(self, hold_id: str, patron_id: str) -> Told | None:
        """FOLIO keeps closed requests; one that it does not find was erased."""
        path = f"/circulation/requests/{quote(hold_id, safe='')}"
        reply = await self._api.find(path)
        if reply is None:
            return None
        if not isinstance(reply.json, dict):
            raise FeedDown(f"{path}: the answer is no record")
        told = folio.request(reply.json, self._zone)
        return None if told.row is not None and told.row.mark == Hold.ENDED else told

    async def titles(self, hold_ids: Sequence[str]) -> Mapping[str, str]:
        """They come with the request."""
        return {}


def _changed(record: Mapping[str, Any]) -> Any:
    metadata = record.get("metadata")
    return metadata.get("updatedDate") if isinstance(metadata, dict) else None


def _utc(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000}Z"
