"""The files that come with the program and are no code: the commented settings, `deploy/`, the guides.

Enters a name as it stands in the project's folder; leaves the text, from the wheel or from the checkout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PLACES: Final = (Path(__file__).with_name("shipped"), Path(__file__).parents[2])
"""Inside a wheel (pyproject.toml puts them there), and in a checkout."""


def shipped(name: str) -> str:
    """The text of `config.yaml`, `deploy/systemd/todoku.service` … Raises FileNotFoundError."""
    return where(name).read_text("utf-8")


def where(name: str) -> Path:
    """The file itself, for a person to open. Raises FileNotFoundError."""
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"{name} did not come with this program")
