"""The one kind of state machine all tables use: a dict from state to the states it may become.

Pure. `check` raises before anything changes, so that an illegal step leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from holds_core.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)


class Machine(Generic[S]):
    """A named transition table.

    `table` maps each state to the set of states that may follow it; a state that maps to an empty
    set is final.
    """

    def __init__(self, name: str, table: Mapping[S, frozenset[S]]) -> None:
        self.name = name
        self.table = table

    def allows(self, state: S, wanted: S) -> bool:
        return wanted in self.table[state]

    def check(self, state: S, wanted: S, subject: str = "") -> S:
        """Returns `wanted`; raises IllegalTransition if the table does not have the step."""
        if not self.allows(state, wanted):
            raise IllegalTransition(self.name, state, wanted, subject)
        return wanted

    def sources(self, wanted: S) -> frozenset[S]:
        """All states from which `wanted` may be reached in one step."""
        return frozenset(state for state, following in self.table.items() if wanted in following)

    def is_final(self, state: S) -> bool:
        return not self.table[state]
