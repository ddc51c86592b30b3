"""The people: the library system that shelves and tells Todoku, and the patrons who read, press and come by.

Library events leave through the daemon's HTTP API, presses through its confirmation page, as in life. Each
patron has one hold at a time on the shelf, so what is kept here is bounded by the number of patrons.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

import httpx

from holds_core.errors import TodokuError
from mailer.app.demo.clock import Agenda, TownClock
from mailer.app.demo.letters import Mail
from mailer.app.demo.town import Manner, Patron, Town, Trouble

SHELF_DAYS = 7
OPENS, CLOSES = 9, 19
TITLES = (
    "坊っちゃん", "銀河鉄道の夜", "走れメロス", "こころ", "羅生門", "蜘蛛の糸", "山月記", "草枕",
    "注文の多い料理店", "高瀬舟", "たけくらべ", "雪国ものがたり", "ごん狐", "手袋を買いに", "檸檬", "三四郎",
)  # fmt: skip


class TownFault(TodokuError):  # noqa: N818
    """The daemon did not take what the town handed in: the demo cannot go on."""


@dataclass(slots=True)
class Shelf:
    """A patron's hold on the shelf, if any. `serial` counts the patron's holds."""

    serial: int = 0
    hold_id: str = ""


class Web:
    """The two HTTP addresses of the daemon. Use as an async context."""

    def __init__(self, api: str, token: str) -> None:
        self._api = api
        # a kept connection may be closed by the server just when it is used again
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(limits=limits, timeout=30, trust_env=False)
        self._head = {"Authorization": f"Bearer {token}"}

    async def __aenter__(self) -> Web:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def events(self, items: list[dict[str, Any]]) -> None:
        """Raises TownFault unless every event was applied."""
        answer = await self._client.post(f"{self._api}/api/v1/events", json=items, headers=self._head)
        said = answer.json() if answer.status_code == httpx.codes.OK else {}
        if said.get("applied") != len(items):
            raise TownFault(f"POST /api/v1/events: {answer.status_code} {answer.text[:500]}")

    async def press(self, link: str) -> bool:
        """Opens the page of a link and presses its button. Returns whether there was one."""
        page = await self._client.get(link)
        form = _Form()
        form.feed(page.text)
        if page.status_code != httpx.codes.OK or form.action is None:
            return False
        answer = await self._client.post(urljoin(link, form.action), data=form.fields)
        return answer.status_code == httpx.codes.OK


class _Form(HTMLParser):
    """The page's POST form: where it goes, and what its fields hold."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form" and said.get("method", "").lower() == "post" and self.action is None:
            self.action = said.get("action", "")
        elif tag in ("input", "button") and said.get("name"):
            self.fields[said["name"]] = said.get("value", "")


class People:
    """Plans everybody's days on the agenda."""

    def __init__(self, town: Town, clock: TownClock, agenda: Agenda, zone: ZoneInfo, web: Web) -> None:
        self._town, self._clock, self._agenda, self._zone, self._web = town, clock, agenda, zone, web
        self._shelves = {patron_id: Shelf() for patron_id in town.patrons}
        self._events = 0
        self.unpressed = ""
        """The link of the last mail that its reader did not press: for whoever wants to see the page."""

    async def begin(self) -> None:
        """Hands the patrons' records in, and plans the first holds: most on the first day."""
        await self._tell(*(self._record(patron) for patron in self._town.patrons.values()))
        today = self._local().date()
        for patron in self._town.patrons.values():
            chance = self._town.chance(patron.patron_id, "first")
            # those with a trouble early, so that a short demo has its story
            early = patron.trouble is not Trouble.NONE or chance.random() < 0.7
            day = today + timedelta(days=0 if early else chance.randint(1, 3))
            self._shelve_on(patron.patron_id, day, placed=False)
        mistyper = next(p for p in self._town.patrons.values() if p.manner is Manner.CONFIRMS)
        self._agenda.at(self._time(today, 11, 30), lambda: self._mistype(mistyper.patron_id))

    # -- the library system ------------------------------------------------------------------------

    def _record(self, patron: Patron) -> dict[str, Any]:
        return {
            "type": "patron",
            "patron_id": patron.patron_id,
            "email": patron.email,
            "name": patron.name,
            "phones": [patron.phone],
            "branch": patron.branch,
        }

    async def _mistype(self, patron_id: str) -> None:
        await self._tell(
            {"type": "patron.email_changed", "patron_id": patron_id, "email": self._town.mistype(patron_id)}
        )

    def _shelve_on(self, patron_id: str, day: date, *, placed: bool) -> None:
        """The next hold: asked for on the web the day before if `placed`, and shelved on `day`."""
        shelf = self._shelves[patron_id]
        shelf.serial += 1
        chance = self._town.chance(patron_id, "hold", shelf.serial)
        hold = {
            "hold_id": f"H{patron_id[1:]}-{shelf.serial}",
            "patron_id": patron_id,
            "title": chance.choice(TITLES),
            "branch": self._town.patrons[patron_id].branch,
        }
        if placed:
            asked = self._time(day - timedelta(days=1), chance.randint(12, 20), chance.randrange(0, 60, 10))
            self._agenda.at(asked, lambda: self._tell({"type": "hold.placed", "via": "web"} | hold))
        shelved = self._time(day, chance.randint(OPENS, 15), chance.randrange(0, 60, 10))
        self._agenda.at(shelved, lambda: self._shelve(patron_id, hold))

    async def _shelve(self, patron_id: str, hold: dict[str, str]) -> None:
        last_day = self._local().date() + timedelta(days=SHELF_DAYS)
        self._shelves[patron_id].hold_id = hold["hold_id"]
        await self._tell({"type": "hold.shelved", "deadline": last_day.isoformat()} | hold)
        self._agenda.at(
            self._time(last_day + timedelta(days=1), OPENS, 0),
            lambda: self._lapse(patron_id, hold["hold_id"]),
        )
        if self._town.patrons[patron_id].drops_in:
            self._collect_later(patron_id, hold["hold_id"], (2, 5))

    async def _lapse(self, patron_id: str, hold_id: str) -> None:
        if self._take(patron_id, hold_id):
            self._town.score.lapsed += 1
            await self._tell({"type": "hold.lapsed", "hold_id": hold_id, "patron_id": patron_id})
            self._plan_next(patron_id)

    async def _collect(self, patron_id: str, hold_id: str) -> None:
        if self._take(patron_id, hold_id):
            self._town.score.collected += 1
            told = self._town.told[patron_id]
            told.came_anyway = told.came_anyway or bool(told.lost())
            await self._tell({"type": "hold.collected", "hold_id": hold_id, "patron_id": patron_id})
            self._plan_next(patron_id)

    def _take(self, patron_id: str, hold_id: str) -> bool:
        """Takes the hold off the shelf; False if it has left already."""
        shelf = self._shelves[patron_id]
        found = shelf.hold_id == hold_id
        if found:
            shelf.hold_id = ""
        return found

    def _plan_next(self, patron_id: str) -> None:
        wait = self._town.chance(patron_id, "next", self._shelves[patron_id].serial).randint(2, 5)
        self._shelve_on(patron_id, self._local().date() + timedelta(days=wait), placed=True)

    async def _tell(self, *events: dict[str, Any]) -> None:
        """Hands events in, as the library system does."""
        now = self._clock.now().isoformat()
        items = []
        for event in events:
            self._events += 1
            items.append({"id": f"E{self._events:06}", "at": now} | event)
        await self._web.events(items)

    # -- the patrons -------------------------------------------------------------------------------

    def arrives(self, patron: Patron, mail: Mail) -> None:
        """A mail lies in the patron's inbox."""
        hold_id = self._shelves[patron.patron_id].hold_id
        if not mail.ready or not hold_id:
            return
        chance = self._town.chance(patron.patron_id, "reads", hold_id)
        reads = self._waking(self._clock.now() + timedelta(minutes=chance.randrange(10, 480, 10)))
        if patron.manner is Manner.CONFIRMS and mail.link:
            self._agenda.at(reads, lambda: self._confirm(mail.link))
        elif mail.link:
            self.unpressed = mail.link
        if patron.manner is Manner.LOOKS:
            self._agenda.at(reads, lambda: self._look(patron.patron_id))
        if patron.manner is not Manner.FORGETS:
            self._collect_later(patron.patron_id, hold_id, (4, 6) if patron.manner is Manner.AWAY else (0, 3))

    async def _confirm(self, link: str) -> None:
        if await self._web.press(link):
            self._town.score.confirmed += 1

    async def _look(self, patron_id: str) -> None:
        await self._tell({"type": "patron.seen", "patron_id": patron_id, "via": "opac"})

    def _collect_later(self, patron_id: str, hold_id: str, days: tuple[int, int]) -> None:
        chance = self._town.chance(patron_id, "collects", hold_id, days)
        day = self._local().date() + timedelta(days=chance.randint(*days))
        comes = self._time(day, chance.randint(OPENS, CLOSES - 1), chance.randrange(0, 60, 10))
        if comes <= self._clock.now():
            comes += timedelta(days=1)
        self._agenda.at(comes, lambda: self._collect(patron_id, hold_id))

    # -- times -------------------------------------------------------------------------------------

    def _local(self) -> datetime:
        return self._clock.now().astimezone(self._zone)

    def _time(self, day: date, hour: int, minute: int) -> datetime:
        return datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._zone).astimezone(UTC)

    def _waking(self, moment: datetime) -> datetime:
        """The moment, or eight in the morning if people sleep then."""
        local = moment.astimezone(self._zone)
        if 7 <= local.hour < 23:
            return moment
        return self._time(local.date() + timedelta(days=local.hour >= 23), 8, 0)
