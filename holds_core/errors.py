"""Every error Todoku raises on purpose. An error says whose fault it is; nothing else lives here.

Failures of delivery are not errors: they are values (`holds_core.notices.Outcome`) with evidence.
"""

from __future__ import annotations


class TodokuError(Exception):
    """Base of all errors that a caller may catch and show; its text is safe to print."""


class BadInput(TodokuError):  # noqa: N818
    """What came from outside (a file, a request, an option) cannot be used. The sender must mend it."""


class IllegalTransition(TodokuError):  # noqa: N818
    """A state machine was asked for a step its table does not have. Nothing was changed."""

    def __init__(self, machine: str, state: str, wanted: str, subject: str = "") -> None:
        self.machine, self.state, self.wanted, self.subject = machine, state, wanted, subject
        about = f" of {subject}" if subject else ""
        super().__init__(f"{machine}{about}: {state} -> {wanted} is not a legal step")


class Conflict(TodokuError):  # noqa: N818
    """Someone else changed the row first, or holds its lease. Nothing was changed; look again."""


class NotFound(TodokuError):  # noqa: N818
    """No such notice, hold, patron, address or mail."""
