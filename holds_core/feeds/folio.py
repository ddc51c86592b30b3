"""FOLIO's circulation records (`/circulation/requests`, `/users`) -> rows. Pure.

Fields and their meaning are those of mod-circulation's `request.json` and mod-users' `userdata.json`. FOLIO keeps
closed requests, so that what became of one is told; one that cannot be found any more was erased.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from holds_core.feeds import records
from holds_core.feeds.mapping import Row
from holds_core.feeds.records import BadRecord, Json, Told
from holds_core.holds import Hold

STATES: dict[str, Hold] = {
    "Open - Not yet filled": Hold.PLACED,
    "Open - In transit": Hold.PLACED,
    "Open - Awaiting delivery": Hold.PLACED,  # it is brought to the patron: nothing waits on a shelf
    "Open - Awaiting pickup": Hold.READY,
    "Closed - Filled": Hold.COLLECTED,
    "Closed - Cancelled": Hold.CANCELLED,
    "Closed - Pickup expired": Hold.LAPSED,
    # nobody could fill it until the day the patron had set: no shelf, no cancellation, nothing to announce
    "Closed - Unfilled": Hold.ENDED,
}

CONTACTS = {"001": "post", "002": "email", "004": "phone", "005": "phone"}
"""`preferredContactTypeId`; 003 is a short message, which we do not send: it says nothing to us."""


def request(record: Json, zone: tzinfo | None = None) -> Told:
    """A record of `/circulation/requests`. `zone`: the library's, in which its days are meant."""
    try:
        key = records.number(record, "id")
    except BadRecord as error:
        return Told("", None, str(error))
    try:
        return Told(key, _row(record, key, zone))
    except BadRecord as error:
        return Told(key, None, str(error))


def _row(record: Json, key: str, zone: tzinfo | None) -> Row:
    state = STATES.get(str(record.get("status")))
    if state is None:
        raise BadRecord("status is none that FOLIO has")
    requester = records.number(record, "requesterId")
    cancelled = state is Hold.CANCELLED
    return records.hold_row(
        key,
        requester,
        state,
        branch=_branch(record),
        work=str(record.get("instanceId") or ""),
        title=records.text(_part(record, "instance"), "title", 300) or None,
        deadline=records.day(record, "holdShelfExpirationDate", zone) if state is Hold.READY else None,
        ready_on=None,
        reason=records.text(record, "cancellationAdditionalInformation") if cancelled else "",
        by=("patron" if record.get("cancelledByUserId") == requester else "library") if cancelled else None,
    )


def _part(record: Json, name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _branch(record: Json) -> str | None:
    """The code of the service point, which people know; else its id."""
    code = records.text(_part(record, "pickupServicePoint"), "code")
    return code or records.text(record, "pickupServicePointId") or None


def user(record: Json) -> Told:
    """A record of `/users`."""
    try:
        key = records.number(record, "id")
    except BadRecord as error:
        return Told("", None, str(error))
    personal = _part(record, "personal")
    try:
        row = records.patron_row(
            key,
            records.texts(personal, ("email",), 320),
            name=" ".join(records.texts(personal, ("lastName", "firstName"))),
            phones=[number[:40] for number in records.texts(personal, ("phone", "mobilePhone"))],
            contact=CONTACTS.get(str(personal.get("preferredContactTypeId"))),
        )
    except BadRecord as error:
        return Told(key, None, str(error))
    return Told(key, row)
