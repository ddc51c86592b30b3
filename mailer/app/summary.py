"""The morning's mail to staff: how many patrons wait for a call, and what else is to be done. Numbers only.

Enters the settings and the ledger's counts; leaves one mail a day to each address of `desk.summary.to`,
through the library's relay. Whose turn it was is kept in the ledger, so that no restart, and no second
daemon, sends a mail again. Never a name, an address or a title.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from holds_core.ledger import desk_summary
from holds_core.ledger.desk_summary import Counts
from holds_core.ledger.session import Transaction
from holds_core.ledger.sql import get_flag, lock_flag, put_flag
from holds_core.notices import Result
from holds_core.settings import Settings, SummaryWhen
from mailer import maillog
from mailer.app.services import Services, relay_options
from mailer.app.web.desk.words import day
from mailer.clock import wait
from mailer.message import Letter, Letterhead, build
from mailer.sender import PAUSED
from mailer.smtp import Relay

LOOK_EVERY_S = 60.0
CATCH_UP = timedelta(hours=4)
"""After a stop, or with the relay down, the morning's mail is sent until then; later it is no news."""
LOST = timedelta(minutes=15)
"""A mail on its way for longer died with its daemon: it may have left, and is not sent again."""
FLAG = "summary"


class Summary:
    """The task. Reads the settings anew each time, so that a reload counts."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.look()
            await wait(self._services.clock, stop, LOOK_EVERY_S)

    @property
    def _settings(self) -> Settings:
        return self._services.sender.rulebook.settings

    async def look(self) -> int:
        """Sends what is due now. Returns how many mails the relay took."""
        wanted = self._settings.desk.summary
        now = self._services.clock.now()
        local = now.astimezone(self._settings.library.timezone)
        due = local.replace(hour=wanted.at.hour, minute=wanted.at.minute, second=0, microsecond=0)
        if wanted.when is SummaryWhen.OFF or not due <= local < due + CATCH_UP:
            return 0
        async with self._services.ledger.read() as connection:
            if not _Day.of(await get_flag(connection, FLAG), local.date(), wanted.to).left:
                return 0
            counts = await desk_summary.counts(connection, local)
            paused = await get_flag(connection, PAUSED) is not None
        if wanted.when is SummaryWhen.IF_ANY and not counts and not paused:
            await self._nothing(local)
            return 0
        return await self._send(*text(counts, self._settings, local, paused=paused), local)

    async def _send(self, subject: str, body: str, local: datetime) -> int:
        """One mail after the other, each committed before it is said to the relay."""
        sent = 0
        relay = Relay(relay_options(self._services.settings, self._services.secrets))
        try:
            while (recipient := await self._next(local)) is not None:
                letter = self._letter(recipient, subject, body, local)
                # from nobody who could get a bounce: automatic mail makes no loops (RFC 5321 section 4.5.5)
                outcome = await relay.send("", recipient, letter, dsn=False)
                again = outcome.result in (Result.NOT_STARTED, Result.DEFERRED)
                await self._tried(local, recipient, again=again)
                sent += outcome.result is Result.HANDED_OVER
                maillog.event("summary_waits" if again else "summary_sent", result=outcome.result.value)
                if again:
                    break
        finally:
            await relay.close()
        return sent

    def _letter(self, recipient: str, subject: str, body: str, local: datetime) -> bytes:
        sender = self._settings.sender.address
        place = self._settings.desk.summary.to.index(recipient)
        letter = Letter(
            to=recipient,
            subject=subject,
            body=body,
            date=local,
            message_id=f"<summary.{local:%Y%m%d}.{place}@{sender.rpartition('@')[2]}>",
            token="summary",  # noqa: S106 - names no delivery, and is no secret
        )
        return build(Letterhead("Todoku", sender), letter)

    async def _nothing(self, local: datetime) -> None:
        """It is decided in the morning: what comes up later waits for the next one."""
        async with self._services.ledger.write() as connection:
            today = await self._locked(connection, local)
            today.left.clear()
            await put_flag(connection, FLAG, today.as_json(), local)

    async def _next(self, local: datetime) -> str | None:
        """The next address to write to, taken so that nobody else writes to it; None if there is none."""
        async with self._services.ledger.write() as connection:
            today = await self._locked(connection, local)
            if today.trying:
                if local - today.at < LOST:
                    return None
                today.trying = ""
            if not today.left:
                return None
            today.trying = today.left.pop(0)
            today.at = local
            await put_flag(connection, FLAG, today.as_json(), local)
            return today.trying

    async def _tried(self, local: datetime, recipient: str, *, again: bool) -> None:
        async with self._services.ledger.write() as connection:
            today = await self._locked(connection, local)
            today.trying = ""
            today.left += [recipient] if again else []
            await put_flag(connection, FLAG, today.as_json(), local)

    async def _locked(self, connection: Transaction, local: datetime) -> _Day:
        value = await lock_flag(connection, FLAG, local)
        return _Day.of(value, local.date(), self._settings.desk.summary.to)


@dataclass(slots=True)
class _Day:
    """Today's mails: who is `left`, and who was being written to, since when."""

    day: date
    left: list[str]
    trying: str
    at: datetime

    @classmethod
    def of(cls, value: Any, today: date, to: tuple[str, ...]) -> _Day:
        """From the flag's value; a new day begins with everybody."""
        if not value or value["day"] != today.isoformat():
            return cls(today, list(to), "", datetime.min.replace(tzinfo=UTC))
        # an address that was taken out of the settings since is not written to
        left = [address for address in value["left"] if address in to]
        return cls(today, left, value["trying"], datetime.fromisoformat(value["at"]))

    def as_json(self) -> dict[str, Any]:
        return {
            "day": self.day.isoformat(),
            "left": self.left,
            "trying": self.trying,
            "at": self.at.isoformat(),
        }


# -- the words -----------------------------------------------------------------------------------------


def text(counts: Counts, settings: Settings, local: datetime, *, paused: bool) -> tuple[str, str]:
    """(subject, body): Japanese first, English below. Pure."""
    today = local.date()
    subject = f"[届く] {day(today, 'ja')} 連絡が必要な方 {counts.calls}名"
    ja = [
        f"{settings.library.name} {day(today, 'ja')} {local:%H:%M} 現在",
        "",
        f"きょう連絡が必要な方  {counts.calls}名"
        + (f"(うち期限まで1日以内 {counts.urgent}名)" if counts.urgent else ""),
        *(f"  {_branch(settings, branch, 'ja')}  {number}名" for branch, number in counts.by_branch),
        *(f"{said}  {number}{unit}" for number, said, unit, _ in _lines(counts) if number),
        *(["", "メールの送信を止めています。再開は管理者が行います。"] if paused else []),
        *([] if counts or paused else ["", "きょう対応が必要なものはありません。"]),
        "",
        "氏名などは、職員用の画面「今日の連絡」でご確認ください。",
        "このメールは自動で送信しています。返信は読まれません。",
    ]
    en = [
        f"{settings.library.name_en or settings.library.name}, {day(today, 'en')} {local:%H:%M}",
        "",
        f"Patrons to call today: {counts.calls}"
        + (f" ({counts.urgent} with a day left or less)" if counts.urgent else ""),
        *(f"  {_branch(settings, branch, 'en')}: {number}" for branch, number in counts.by_branch),
        *(f"{said}: {number}" for number, _, _, said in _lines(counts) if number),
        *(["", "All mail is stopped. An admin lets it go on."] if paused else []),
        *([] if counts or paused else ["", "Nothing is to be done today."]),
        "",
        "Names are on the staff desk, page “Today's calls”. Nobody reads answers to this mail.",
    ]
    return subject, "\n".join([*ja, "", "-" * 40, *en]) + "\n"


def _lines(counts: Counts) -> tuple[tuple[int, str, str, str], ...]:
    return (
        (counts.undelivered, "不達・到着確認なし(7日間)", "通", "Undelivered or unanswered mails, 7 days"),
        (
            counts.unsynced,
            "図書館システムへ未反映のアドレス",
            "件",
            "Addresses not yet in the library system",
        ),
        (counts.quarantined, "判別できないメール", "通", "Mails in quarantine"),
        (counts.held, "多すぎるため保留中のお知らせ", "通", "Notices held: too many at once"),
        (counts.providers, "届き方が変わったメールサービス", "件", "Mail services that fare differently"),
    )


def _branch(settings: Settings, branch_id: str, language: str) -> str:
    branch = settings.library.branch(branch_id)
    if branch is None:
        return branch_id
    return (branch.name_en if language == "en" else None) or branch.name
