"""The desk in a made-up library, over HTTP without a network."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.mailer.desk.library import PASSWORD, Library, peopled


class Staff:
    """One person's browser: keeps cookies, follows forms."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.csrf = ""
        self.page = ""

    async def get(self, path: str, **params: str) -> httpx.Response:
        answer = await self.client.get(f"/desk{path}", params=params or None)
        self._remember(answer)
        return answer

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Sends a form with the session's token and follows where it leads."""
        answer = await self.client.post(f"/desk{path}", data={"csrf": self.csrf} | fields)
        while answer.is_redirect:
            answer = await self.client.get(answer.headers["location"])
        self._remember(answer)
        return answer

    def _remember(self, answer: httpx.Response) -> None:
        self.page = answer.text
        if found := re.search(r'name="csrf" value="([0-9a-f]{64})"', answer.text):
            self.csrf = found[1]

    def hidden(self, name: str) -> str:
        """A hidden field of the page shown last."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page)
        assert found, f"no field {name}"
        return found[1]

    async def log_in(self, login: str, password: str = PASSWORD) -> httpx.Response:
        await self.get("/login")
        return await self.post("/login", login=login, password=password)

    async def open(self, patron_id: str) -> httpx.Response:
        """Opens a patron's row in the list."""
        await self.get("/", view="all")
        return await self.post(f"/patrons/{patron_id}/open", back="/?view=all")

    async def act(self, patron_id: str, kind: str, **fields: str) -> httpx.Response:
        """Presses a button on the patron's page as it is now."""
        await self.get(f"/patrons/{patron_id}")
        seen, branch = self.hidden("seen"), self.hidden("branch")
        return await self.post(
            f"/patrons/{patron_id}/act", kind=kind, seen=seen, branch=branch, back="/", **fields
        )


@pytest.fixture(scope="session")
def eight_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library after eight days, made once; each test gets a copy."""
    folder = tmp_path_factory.mktemp("library")

    async def live() -> None:
        library = Library(folder)
        await library.open()
        await peopled(library)
        await library.services.close()

    asyncio.run(live())
    return folder


@pytest.fixture
async def library(eight_days: Path, tmp_path: Path) -> AsyncIterator[Library]:
    shutil.copytree(eight_days, tmp_path, dirs_exist_ok=True)
    library = Library(tmp_path)
    library.serial = 1000
    yield library
    await library.services.close()


def browser(library: Library, address: str = "192.0.2.10") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(library.app(), client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://desk.test")


@pytest.fixture
async def visitor(library: Library) -> AsyncIterator[Staff]:
    """Somebody who has not logged in."""
    async with browser(library) as client:
        yield Staff(client)


@pytest.fixture
async def kato(library: Library) -> AsyncIterator[Staff]:
    """A member of staff, logged in."""
    async with browser(library) as client:
        staff = Staff(client)
        assert (await staff.log_in("kato")).status_code == 200
        yield staff


@pytest.fixture
async def mori(library: Library) -> AsyncIterator[Staff]:
    """A colleague at another counter."""
    async with browser(library, "192.0.2.11") as client:
        staff = Staff(client)
        await staff.log_in("mori")
        yield staff


@pytest.fixture
async def admin(library: Library) -> AsyncIterator[Staff]:
    async with browser(library, "192.0.2.12") as client:
        staff = Staff(client)
        await staff.log_in("admin")
        yield staff
