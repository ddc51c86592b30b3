"""What a check of `todoku doctor` says: ok, warning, failed or not checked, in Japanese and English.

Only values: nothing here looks at anything. A message never holds an address of a patron or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from holds_core.errors import TodokuError


class Status(StrEnum):
    """How a check ended. Only `failed` makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


class Said(NamedTuple):
    """One sentence or two, in both languages."""

    ja: str
    en: str

    def in_(self, language: str) -> str:
        """The sentence in "ja" or "en"."""
        return self.en if language == "en" else self.ja


NOTHING = Said("", "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found, and what a person should do about it."""

    status: Status
    message: Said
    todo: Said = NOTHING


@dataclass(frozen=True, slots=True)
class Check:
    """A verdict under the name of its check; `title` is that name for people."""

    name: str
    title: Said
    status: Status
    message: Said
    todo: Said = NOTHING

    def as_json(self, language: str) -> dict[str, str]:
        """The contract's fields, with the sentences in "ja" or "en"."""
        return {
            "name": self.name,
            "status": self.status.value,
            "message": self.message.in_(language),
            "todo": self.todo.in_(language),
        }


class CannotCheck(TodokuError):  # noqa: N818
    """A check cannot tell: what it needs is out of reach. Says so, and what would help."""

    def __init__(self, message: Said, todo: Said = NOTHING) -> None:
        self.message, self.todo = message, todo
        super().__init__(message.en)


def ok(ja: str, en: str) -> Verdict:
    return Verdict(Status.OK, Said(ja, en))


def warning(message: Said, todo: Said) -> Verdict:
    return Verdict(Status.WARNING, message, todo)


def failed(message: Said, todo: Said) -> Verdict:
    return Verdict(Status.FAILED, message, todo)
