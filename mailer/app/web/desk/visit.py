"""One request of a person at the desk, and the small things that every page asks of an address or a form.

Enters what a browser sent; leaves texts that are trimmed and paths that lead nowhere else. Reads no ledger.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request

from holds_core.errors import NotFound
from holds_core.ledger.accounts import Account


@dataclass(slots=True)
class Visit:
    """One request of a person who has logged in. `now` in UTC, `local` in the library's zone."""

    request: Request
    account: Account
    csrf: str
    language: str
    now: datetime
    local: datetime
    form: FormData = field(default_factory=FormData)
    vouched: bool = False
    """A proxy has logged the person in: there is no logging out here."""
    new_session: str = ""
    """The cookie of a session that began with this request; the answer sets it."""

    @property
    def today(self) -> date:
        return self.local.date()

    def said(self, name: str, limit: int = 1000) -> str:
        """A field of the form, or of the address, as one trimmed text."""
        value = self.form.get(name) if name in self.form else self.request.query_params.get(name, "")
        return value.strip()[:limit] if isinstance(value, str) else ""

    def page(self, pages: int) -> int:
        """Which of so many pages is asked for; the nearest one there is."""
        asked = self.request.query_params.get("page", "")
        return min(max(1, int(asked) if asked.isdecimal() and len(asked) < 6 else 1), pages)

    def say(self, ja: str, en: str) -> str:
        return en if self.language == "en" else ja


def csrf_of(cookie: str) -> str:
    """The form token of a session: whoever knows it knows the cookie, which only the browser does."""
    return hmac.new(cookie.encode(), b"csrf", hashlib.sha256).hexdigest()


def base_of(request: Request) -> str:
    """The path that the desk is mounted at."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def here(request: Request) -> str:
    """This page's address below the desk's base."""
    path = request.url.path.removeprefix(base_of(request)) or "/"
    return f"{path}?{request.url.query}" if request.url.query else path


def number_of(request: Request, name: str) -> int:
    """A number in the path. Raises NotFound for one that no row can have."""
    number = int(request.path_params[name])
    if number >= 2**63:
        raise NotFound(f"there is no number {number}")
    return number


def local_path(text: str, default: str = "/") -> str:
    """`text` if it is a path of ours. "//host" and "/\\\\host" would lead a browser elsewhere."""
    safe = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if safe else default


def query_of(values: Mapping[str, str]) -> str:
    """An address's query without what says nothing."""
    said = {name: value for name, value in values.items() if value}
    return "?" + urlencode(said) if said else "?"
