"""Two pages for whoever runs the library's Todoku: the settings in force, and a preview of every template."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time, timedelta
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holds_core.errors import NotFound
from holds_core.notices import Kind
from holds_core.settings import Listen, Settings
from mailer.app.web.desk.pages import Part
from mailer.app.web.desk.visit import Visit
from mailer.samples import sample_view


class Admin(Part):
    """The handlers; the templates are for everybody, the settings for admins."""

    def routes(self) -> list[Route]:
        return [
            self.get("/system/settings", self.settings, admin=True),
            self.get("/system/templates", self.templates),
            self.get("/system/templates/{kind}/{language}", self.template),
        ]

    async def settings(self, request: Request, visit: Visit) -> Response:
        """The settings in force, key by key. What is secret lies in files of its own, named here only."""
        shown = plain(self._services.sender.rulebook.settings)
        return await self._desk.render(visit, "settings.html", sections=shown)

    async def templates(self, request: Request, visit: Visit) -> Response:
        renderer = self._services.renderer
        kinds = [(kind, renderer.languages(kind)) for kind in Kind]
        return await self._desk.render(
            visit, "templates.html", kinds=[(kind, found) for kind, found in kinds if found]
        )

    async def template(self, request: Request, visit: Visit) -> Response:
        """A template with made-up data. Raises NotFound."""
        kind, language = str(request.path_params["kind"]), str(request.path_params["language"])
        renderer = self._services.renderer
        if kind not in list(Kind) or language not in renderer.languages(Kind(kind)):
            raise NotFound(f"there is no template {kind}/{language}")
        shown = renderer.render(sample_view(Kind(kind), language))
        return await self._desk.render(
            visit, "template.html", kind=kind, template_language=language, shown=shown
        )


def plain(settings: Settings) -> dict[str, list[tuple[str, str]]]:
    """Section -> (key path, value as text), in the order of config.yaml; a database's password is left out.

    >>> plain_value("postgresql://todoku:secret@db/todoku")
    'postgresql://todoku:***@db/todoku'
    """
    return {
        name: list(_keys(value, "")) or [("", "-")]
        for name, value in settings.model_dump(mode="python").items()
    }


def _keys(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _keys(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, tuple | list) and not isinstance(value, Listen) and value:
        for number, item in enumerate(value):
            yield from _keys(item, f"{path}[{number}]")
    else:
        yield path, plain_value(value)


def plain_value(value: object) -> str:
    """One value as people write it."""
    match value:
        case None | () | "":
            return "-"
        case bool():
            return str(value).lower()
        case timedelta():
            return str(value)
        case time():
            return f"{value:%H:%M}"
        case StrEnum():
            return value.value
        case _:
            return re.sub(r"(?<=://)([^:/@]*):[^@]*@", r"\1:***@", str(value))
