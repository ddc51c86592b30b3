"""A made-up library with a real ledger: people, holds on the shelf, mail that arrived and mail that did not.

Everything enters as it does in life: events through the intake, mail through claim and record, evidence
through observe. Names, numbers and addresses are invented; domains that exist are only names here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import argon2
import sqlalchemy as sa
from starlette.applications import Starlette

from holds_core.config import parse, read_secrets
from holds_core.evidence import Sign
from holds_core.feeds.intake import Parsed
from holds_core.feeds.wire import parse as parse_event
from holds_core.ledger import accounts, inbox, observations, sending, slots
from holds_core.ledger.accounts import Account, Role
from holds_core.ledger.models import deliveries
from holds_core.ledger.observations import Observation
from holds_core.ledger.sending import Finish, Start
from holds_core.notices import Outcome, Phase, Result, Transmission
from mailer.app.services import Services
from mailer.app.web.desk import router

MORNING = datetime(2026, 11, 22, 0, 10, tzinfo=UTC)  # 9:10 in Tokyo, a Sunday
PASSWORD = "hashi-no-ue-2026"

CONFIG = """
library:
  name: とどく市立図書館
  name_en: Todoku City Library
  phone: 03-5550-0100
  branches:
    - {id: "01", name: 中央図書館, name_en: Central Library, phone: 03-5550-0101, closed: {weekly: [tue]}}
    - {id: "02", name: 南分館, name_en: South Branch, closed: {weekly: [tue]}}
sender:
  address: oshirase@lib.example.jp
  return_path_domain: bounce.lib.example.jp
  token_keys_file: token.keys
sending: {mode: "on"}
relay: {host: 127.0.0.1, port: 2525, tls: none}
database: {url: "sqlite:///todoku.db"}
confirm: {base_url: "https://kakunin.lib.example.jp"}
"""


@dataclass
class MovedClock:
    """A clock that only the test moves."""

    time: datetime = MORNING

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Library:
    """The library, its services, and short ways to let things happen in it."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        (folder / "token.keys").write_text("k" * 64, "ascii")
        (folder / "token.keys").chmod(0o600)
        settings = parse(config, base=folder, env={})
        self.clock = MovedClock()
        self.services = Services.build(
            settings, read_secrets(settings, {}), clock=self.clock, jitter=lambda: 0.5, owner="test"
        )
        self.ledger = self.services.ledger
        self.serial = 0

    def app(self) -> Starlette:
        """The desk as the staff listener mounts it."""
        app = Starlette()
        app.mount("/desk", router(self.services))
        return app

    async def open(self) -> None:
        await self.ledger.upgrade()
        async with self.ledger.write() as connection:
            for account in (
                Account("kato", "加藤 由美", Role.STAFF),
                Account("mori", "森 健一", Role.STAFF),
                Account("minami", "南 さくら", Role.STAFF, ("02",)),
                Account("admin", "情報担当 林", Role.ADMIN),
            ):
                await accounts.add(connection, account, HASH, MORNING - timedelta(days=30))

    async def event(self, type_: str, **fields: object) -> None:
        self.serial += 1
        data = {"id": f"e{self.serial}", "at": self.clock.time.isoformat(), "type": type_} | fields
        report = await self.services.intake().run([Parsed(1, parse_event(data))], "test")
        assert not report.failed, report.failed
        assert not report.conflicts, report.conflicts

    async def patron(self, patron_id: str, name: str, kana: str, email: str, **fields: object) -> None:
        fields = {"branch": "01", "phones": ["03-5550-0199"], "contact": "email"} | fields
        await self.event("patron", patron_id=patron_id, name=name, name_kana=kana, email=email, **fields)

    async def shelve(self, hold_id: str, patron_id: str, branch: str = "01", **fields: object) -> None:
        title = f"ひみつの書名{hold_id}"
        await self.event(
            "hold.shelved", hold_id=hold_id, patron_id=patron_id, title=title, branch=branch, **fields
        )

    async def send(self, slot: str, *, answers: dict[str, tuple[int, str, str]] | None = None) -> None:
        """Runs a batch and hands everything over, but for addresses with an answer (code, status, text)."""
        now = self.clock.time
        async with self.ledger.write() as connection:
            await slots.run(connection, slot, now, now)
            items = await sending.claim(
                connection, "test", now, now + timedelta(minutes=5), 500, self.services.keys.make
            )
            live = [item for item in items if item.standing != "unreachable"]
            starts = [Start(item.delivery_id, 1, now, None, now + timedelta(minutes=5)) for item in live]
            await sending.record(connection, "test", starts, [])
            ends = [self._end(item, (answers or {}).get(item.address)) for item in live]
            await sending.record(connection, "test", [], ends)
            for end in ends:
                if end.evidence is not None:
                    await observations.observe(connection, end.evidence, now)

    def _end(self, item: sending.Claimed, answer: tuple[int, str, str] | None) -> Finish:
        now = self.clock.time
        if answer is not None:
            code, status, text = answer
            bad = Observation(
                now, Sign.REFUSED, "smtp", f"r{item.delivery_id}", item.delivery_id, "", None,
                "userunknown", "patron", "hard", "rcpt", code, status, text,
            )  # fmt: skip
            said = Outcome(Result.REFUSED, Phase.RCPT, code, status, text, "mx.example.jp")
            return Finish(
                item.delivery_id, item.notice_id, 1, now, said, Transmission.REFUSED,
                reason="userunknown", fault="patron", evidence=bad,
            )  # fmt: skip
        rules = self.services.rulebook
        held = bool(item.holds)
        return Finish(
            item.delivery_id,
            item.notice_id,
            1,
            now,
            Outcome(
                Result.HANDED_OVER, Phase.DATA, 250, "2.0.0", "Ok: queued as 4F1A2", "relay.lib.example.jp"
            ),
            Transmission.HANDED_OVER,
            handed_over_at=now,
            window_ends_at=rules.window_end(item.kind, item.branch, now),
            deadline=rules.deadline(item.branch, sent_on=rules.local(now).date(), ready_on=None)
            if held
            else None,
            hold_ids=tuple(line.hold_id for line in item.holds),
        )

    async def bounce(self, patron_id: str, reason: str = "mailboxfull", severity: str = "soft") -> None:
        """A report about the patron's newest mail comes back."""
        async with self.ledger.write() as connection:
            number = await connection.scalar(
                sa.select(sa.func.max(deliveries.c.delivery_id)).where(deliveries.c.patron_id == patron_id)
            )
            raw = f"Subject: Undelivered Mail\r\n\r\nreport about {patron_id}\r\n".encode()
            await inbox.store(
                connection,
                raw=raw,
                source="lmtp",
                envelope_from="",
                envelope_to=["b+x@bounce.lib.example.jp"],
                received_at=self.clock.time,
            )
            inbound_id = (await inbox.waiting(connection))[-1]
            await inbox.settle(connection, inbound_id, inbox.MailState.USED, kind="soft", delivery_id=number)
            item = Observation(
                self.clock.time, Sign.BOUNCED, "lmtp", f"b{number}", number, "", None, reason, "patron",
                severity, "", 552, "5.2.2", "552 5.2.2 mailbox full", inbound_id,
            )  # fmt: skip
            await observations.observe(connection, item, self.clock.time)

    async def windows(self) -> None:
        async with self.ledger.write() as connection:
            await observations.windows_passed(connection, self.clock.time)

    async def rows(self, table: Any, *where: Any) -> list[Any]:
        async with self.ledger.read() as connection:
            return list(await connection.execute(sa.select(table).where(*where)))


HASH = argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
"""A cheap hash: these tests log in hundreds of times. That real ones are dear is tested by itself."""


async def peopled(library: Library) -> None:
    """Eight days of a small library: by the morning nine patrons need attention, each for another reason."""
    library.clock.time = MORNING - timedelta(days=6)
    await library.patron("1000123", "本多 花子", "ホンダ ハナコ", "hanako.h@docomo.ne.jp")
    await library.patron(
        "1000208",
        "佐々木 一郎",
        "ササキ イチロウ",
        "ichiro@outlook.jp",
        phones=["090-0000-0142", "03-5550-0142"],
        phone_note="夜は携帯へ",
    )
    await library.patron(
        "1000377", "Emily Brown", "エミリー ブラウン", "emily.brown@gmail.com", language="en"
    )
    await library.patron("1000415", "渡辺 美咲", "ワタナベ ミサキ", "misaki@yahoo.co.jp", branch="02")
    await library.patron("1000533", "高橋 勇", "タカハシ イサム", "", branch="02", phones=["03-5550-0133"])
    await library.patron("1000619", "小林 正", "コバヤシ タダシ", "tadashi@ezweb.ne.jp", contact="phone")
    await library.patron(
        "1000702", "中村 さくら", "ナカムラ サクラ", "sakura@icloud.com", guardian_id="1000123", phones=[]
    )
    await library.patron("1000845", "伊藤 誠", "イトウ マコト", "makoto@example.jp")
    await library.patron(
        "1000951",
        "長曽我部 弥右衛門太郎",
        "チョウソカベ ヤエモンタロウ",
        "family@example.ne.jp",
        phones=["03-5550-0151"],
    )
    await library.patron("1000967", "長曽我部 みどり", "チョウソカベ ミドリ", "family@example.ne.jp")
    await library.patron("1001020", "鈴木 陽子", "スズキ ヨウコ", "yoko@example.com")
    for number, patron in enumerate(
        ("1000123", "1000208", "1000415", "1000702", "1000951", "1000208", "1001020")
    ):
        await library.shelve(f"H{500 + number}", patron, "02" if patron == "1000415" else "01")
    await library.event(
        "hold.shelved", hold_id="H520", patron_id="1000208", title="ひみつの書名H520", branch="02"
    )
    answers = {"family@example.ne.jp": (550, "5.1.1", "550 5.1.1 <family@example.ne.jp>: User unknown")}
    await library.send("2026-11-16 朝", answers=answers)
    library.clock.time += timedelta(hours=3)
    await library.bounce("1000123")
    library.clock.time = MORNING - timedelta(days=2)
    await library.windows()
    await library.event("patron.seen", patron_id="1001020")
    for number, patron in enumerate(("1000533", "1000619", "1000377", "1000845", "1000967")):
        await library.shelve(f"H{600 + number}", patron, "02" if patron == "1000533" else "01")
    await library.send("2026-11-20 朝")
    library.clock.time = MORNING - timedelta(hours=14)
    await library.bounce("1000845", "userunknown", "hard")
    await library.event("hold.collected", hold_id="H506")
    library.clock.time = MORNING
