"""Amazon SES by way of SNS: a JSON event as the text of a mail, about a bounce, a complaint or a delivery."""

from __future__ import annotations

import json
from typing import Any, Final

from bounces.dsn import untyped
from bounces.letter import Draft, Finding, Letter, find_address

MAX_RECIPIENTS: Final = 100
MAX_FIELD: Final = 1000


def read_event(letter: Letter) -> tuple[str, Finding] | None:
    """("bounce" | "complaint" | "delivery", finding), or None if the text is no such event.

    SNS folds its lines with "!" and a blank; a footer may follow the object.
    """
    text = letter.body_text.lstrip()
    if not text.startswith("{") or "otificationType" not in text:
        return None
    try:
        event, _ = json.JSONDecoder().raw_decode(text.replace("!\n ", "").replace("!\n", ""))
        if isinstance(event.get("Message"), str):
            event = json.loads(event["Message"])
        kind = str(event["notificationType"]).lower()
        return kind, Finding("amazon-sns", _DRAFTS[kind](event[kind]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _bounced(part: dict[str, Any]) -> list[Draft]:
    drafts = [
        Draft(
            find_address(str(item["emailAddress"])),
            action=str(item.get("action", "failed")),
            status=str(item.get("status", "")),
            text=untyped(str(item.get("diagnosticCode", ""))),
        )
        for item in part["bouncedRecipients"][:MAX_RECIPIENTS]
    ]
    return [draft for draft in drafts if draft.address]


def _complained(part: dict[str, Any]) -> list[Draft]:
    names = [
        find_address(str(item["emailAddress"])) for item in part["complainedRecipients"][:MAX_RECIPIENTS]
    ]
    return [
        Draft(name, text=str(part.get("complaintFeedbackType", "abuse"))[:MAX_FIELD])
        for name in names
        if name
    ]


def _delivered(part: dict[str, Any]) -> list[Draft]:
    said = str(part.get("smtpResponse", ""))[:MAX_FIELD]
    names = [find_address(str(name)) for name in part["recipients"][:MAX_RECIPIENTS]]
    # the provider took it: RFC 3464 calls that relayed
    return [Draft(name, action="relayed", text=said) for name in names if name]


_DRAFTS: Final = {"bounce": _bounced, "complaint": _complained, "delivery": _delivered}
