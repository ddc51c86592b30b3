"""Koha's REST records (`GET /api/v1/holds`, `/patrons`) -> rows. Pure.

Fields and their meaning are those of Koha's own definitions (`api/v1/swagger/definitions/hold.yaml` and
`patron.yaml`). A hold has no title and no former state: one that was filled or cancelled moves to the old holds,
so that a hold which is no longer listed says nothing until it was looked up there.
"""

from __future__ import annotations

from holds_core.feeds import records
from holds_core.feeds.records import BadRecord, Json, Told
from holds_core.holds import Hold

STATES: dict[str | None, Hold] = {
    None: Hold.PLACED,  # in the queue
    "": Hold.PLACED,
    "T": Hold.PLACED,  # in transit to its branch
    "P": Hold.PLACED,  # being processed there
    "W": Hold.READY,  # waiting for its patron
    "F": Hold.COLLECTED,  # filled: the item was lent to the patron; seen among old holds only
}
"""`status`, the column `reserves.found`."""

EMAILS = ("email", "secondary_email", "altaddress_email")
"""In the order in which Koha itself tries them (EmailFieldPrimary off)."""
PHONES = ("phone", "mobile", "secondary_phone", "sms_number")


def hold(record: Json) -> Told:
    """A record of `/holds`."""
    try:
        key = records.number(record, "hold_id")
    except BadRecord as error:
        return Told("", None, str(error))
    try:
        return _told(record, key, _state(record))
    except BadRecord as error:
        return Told(key, None, str(error))


def old_hold(record: Json) -> Told:
    """A record of the old holds: what became of a hold. One that tells nothing comes back as ENDED."""
    key = records.number(record, "hold_id")
    if record.get("status") == "F":
        return _told(record, key, Hold.COLLECTED)
    if cancelled := records.day(record, "cancellation_date"):
        until = records.day(record, "expiration_date")
        waited = record.get("status") == "W" or record.get("waiting_date")
        # Koha cancels what nobody fetched (cancel_expired_holds.pl): it waited, and its day had passed
        if waited and until and until < cancelled:
            return _told(record, key, Hold.LAPSED)
        return _told(record, key, Hold.CANCELLED)
    return _told(record, key, Hold.ENDED)


def _state(record: Json) -> Hold:
    status = record.get("status")
    try:
        return STATES[status]
    except (KeyError, TypeError):
        raise BadRecord("status is none of T, P, W, F or null") from None


def _told(record: Json, key: str, state: Hold) -> Told:
    work = str(record.get("biblio_id") or "")
    reason = records.text(record, "cancellation_reason") if state is Hold.CANCELLED else ""
    row = records.hold_row(
        key,
        records.number(record, "patron_id"),
        state,
        branch=records.text(record, "pickup_library_id") or None,
        work=work,
        # before it waits, expiration_date is the day until which the patron wants it
        deadline=records.day(record, "expiration_date") if state is Hold.READY else None,
        ready_on=records.day(record, "waiting_date"),
        reason=reason,
        # a reason is chosen by staff; a patron who cancels in the OPAC gives none
        by=("library" if reason else "patron") if state is Hold.CANCELLED else None,
    )
    return Told(key, row, work=work)


def patron(record: Json, *, all_addresses: bool) -> Told:
    """A record of `/patrons`. It does not say how the patron wants to be told: that is left as it is."""
    try:
        key = records.number(record, "patron_id")
    except BadRecord as error:
        return Told("", None, str(error))
    try:
        emails = records.texts(record, EMAILS, 320)
        row = records.patron_row(
            key,
            emails if all_addresses else emails[:1],
            name=" ".join(records.texts(record, ("surname", "firstname"))),
            phones=[number[:40] for number in records.texts(record, PHONES)],
            language=_language(records.text(record, "lang")),
            branch=records.text(record, "library_id") or None,
        )
    except BadRecord as error:
        return Told(key, None, str(error))
    return Told(key, row)


def _language(lang: str) -> str:
    """`ja-Jpan-JP` -> `ja`; `default` is the library's own."""
    return "" if lang in ("", "default") else lang.split("-")[0].lower()


def title(record: Json) -> str:
    """The title of a record of `/biblios`, with its subtitle."""
    return " ".join(records.texts(record, ("title", "subtitle"), 300)).rstrip(" /:;")
