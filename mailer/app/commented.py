"""Sets values in a commented YAML file, and leaves every comment where it stands.

Enters the text of `config.yaml`, where "#key:" is a key out of use; leaves the same text with a key set, put
to use or taken out of use. No YAML parser keeps comments; lines with their indentation are enough here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

Value = str | int | bool | Sequence[str]

_KEY = re.compile(r"(?P<indent> *)(?P<off>#?)(?P<item>- )?(?P<key>[a-z_]+):(?P<rest>.*)")


class Commented:
    """A commented YAML file. Paths are dotted, as errors write them: `intake.imap.host`."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def set(self, path: str, value: Value) -> None:
        """Sets a key, putting it and the sections above it to use. Raises KeyError if there is none."""
        keys = path.split(".")
        for depth in range(1, len(keys)):
            self._use(self._find(keys[:depth]))
        at = self._find(keys)
        self._use(at)
        found = self._parts(at)
        self._lines[at] = f"{found['indent']}{found['item'] or ''}{found['key']}: {scalar(value)}"

    def unset(self, path: str) -> None:
        """Takes a key and everything below it out of use. Raises KeyError if there is none."""
        at = self._find(path.split("."))
        depth = len(self._parts(at)["indent"])
        for number in range(at, len(self._lines)):
            found = _KEY.fullmatch(self._lines[number])
            if found and number > at and len(found["indent"]) <= depth:
                return
            if found and not found["off"]:
                line = self._lines[number]
                self._lines[number] = f"{found['indent']}#{line[len(found['indent']) :]}"

    def _parts(self, at: int) -> re.Match[str]:
        found = _KEY.fullmatch(self._lines[at])
        assert found is not None
        return found

    def _use(self, at: int) -> None:
        found = self._parts(at)
        if found["off"]:
            self._lines[at] = found["indent"] + self._lines[at][len(found["indent"]) + 1 :]

    def _find(self, path: Sequence[str]) -> int:
        """The line of a key. A list's entries lie one deeper than its key; their keys are not found."""
        above: list[tuple[int, str]] = []
        for number, line in enumerate(self._lines):
            found = _KEY.fullmatch(line)
            if found is None:
                continue
            indent = len(found["indent"]) + len(found["item"] or "")
            while above and above[-1][0] >= indent:
                above.pop()
            above.append((indent, found["key"]))
            if [key for _, key in above] == list(path):
                return number
        raise KeyError(".".join(path))


def scalar(value: Value) -> str:
    """A value in YAML. Strings are quoted the JSON way, which YAML reads alike (YAML 1.2 section 10.2)."""
    return json.dumps(value if isinstance(value, str | int) else list(value), ensure_ascii=False)
