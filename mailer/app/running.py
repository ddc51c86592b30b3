"""What the process says of itself to the pages: its tasks, and the ways in for mail that comes back.

Everything is a function, because it changes while pages are open. Without a daemon around (tests, commands)
there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailer.app.alerts import Senses
from mailer.app.supervisor import TaskState


@dataclass(frozen=True, slots=True)
class Running:
    """`tasks`: those of the supervisor. `senses`: where LMTP listens, how the mailbox is."""

    tasks: Callable[[], Sequence[TaskState]] = tuple
    senses: Senses = field(default_factory=Senses)
