"""`todoku campaign`: telling everybody that the sender changes, and finding who went silent after it.

The announcement leaves from the old sender, a part with each batch, and is over before the day of the change.
"""

from __future__ import annotations

import getpass
import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated

import typer

from holds_core.errors import BadInput
from holds_core.identities import coming_change, last_change, switch_moment
from holds_core.ledger import accounts, campaign
from holds_core.ledger.campaign import Campaign, Progress, Silent
from holds_core.rulebook import Rulebook
from holds_core.settings import OnClosedDays, SenderChange
from mailer.app.commands import common
from mailer.app.services import Services
from mailer.batches import slots_between

app = typer.Typer(help="一斉のお知らせ / announcements to everybody", no_args_is_help=True)

SPARE = 3
"""A part is made so large that one batch in this many may fail without the announcement being late."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an announcement will do. `batches` are left before the change."""

    change: SenderChange
    addresses: int
    batches: int
    per_batch: int

    @property
    def in_time(self) -> bool:
        return self.per_batch * self.batches >= self.addresses

    def as_json(self) -> dict[str, object]:
        return {
            "switch_on": self.change.since.isoformat(),
            "new_sender": self.change.address,
            "addresses": self.addresses,
            "batches": self.batches,
            "per_batch": self.per_batch,
            "in_time": self.in_time,
        }


@app.command("sender-change")
def sender_change(
    per_batch: Annotated[
        int | None, typer.Option(min=1, help="1便あたりの通数 / mails with each batch")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="予定だけを示す / only shows the plan")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """差出人アドレスの変更を知らせ始める / announces the next change of the sender (sender.changes)."""
    plan = common.run(_start(per_batch, dry_run=dry_run))
    if as_json:
        common.print_json(plan.as_json() | {"started": not dry_run})
        return
    typer.echo(
        f"{plan.change.since.isoformat()} {plan.change.address}: アドレス addresses {plan.addresses}"
        f" · 変更までの便 batches {plan.batches} · 1便 per batch {plan.per_batch}"
    )
    typer.echo(
        "開始していません / not started" if dry_run else "次の便から送ります / begins with the next batch"
    )


async def _start(per_batch: int | None, *, dry_run: bool) -> Plan:
    async with common.open_services() as services:
        now = services.clock.now()
        plan = await _plan(services, per_batch, now)
        if not plan.in_time:
            raise BadInput(
                f"変更までの {plan.batches} 便では {plan.addresses} 件を送り切れません。"
                f" {plan.addresses} mails do not fit into {plan.batches} batches of {plan.per_batch}."
            )
        if dry_run:
            return plan
        who = f"cli:{getpass.getuser()}"
        async with services.ledger.write() as connection:
            await campaign.start(connection, plan.change.since, plan.per_batch, who, now)
            name = campaign.name_of(plan.change.since)
            await accounts.record(connection, who, "campaign.start", name, plan.as_json(), now)
        return plan


async def _plan(services: Services, per_batch: int | None, now: datetime) -> Plan:
    book = services.rulebook
    change = coming_change(book.settings.sender, book.local(now).date())
    if change is None:
        raise BadInput(
            "設定 sender.changes にこれからの変更がありません。 The settings name no change to come (sender.changes)."
        )
    async with services.ledger.read() as connection:
        addresses = await campaign.left(connection, campaign.name_of(change.since))
    batches = _batches_left(book, change, now)
    wanted = per_batch or max(1, math.ceil(addresses * SPARE / max(1, batches * (SPARE - 1))))
    return Plan(change, addresses, batches, wanted)


def _batches_left(book: Rulebook, change: SenderChange, now: datetime) -> int:
    """How many batches will run before the change. Without a timetable: one for each day."""
    settings = book.settings
    zone = settings.library.timezone
    until = switch_moment(change, zone) - timedelta(microseconds=1)
    if not settings.batches:
        return (change.since - book.local(now).date()).days
    waits = settings.batch_rules.on_closed_days is OnClosedDays.WAIT
    slots = slots_between(settings.batches, zone, now, until)
    return sum(not (waits and book.all_closed(slot.due_at.astimezone(zone).date())) for slot in slots)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """お知らせの進み具合 / the announcements and how far they are."""
    found = common.run(_listed())
    if as_json:
        common.print_json([_json(item, done) for item, done in found])
        return
    for item, done in found:
        state = "送信中 running" if item.running else item.ended_why
        states = " ".join(f"{name}={number}" for name, number in sorted(done.states.items()))
        typer.echo(f"{item.campaign_id}\t{state}\t{item.queued}\t残り left {done.left}\t{states}")


async def _listed() -> list[tuple[Campaign, Progress]]:
    async with common.open_ledger() as ledger, ledger.read() as connection:
        found = await campaign.listed(connection)
        return [(item, await campaign.progress(connection, item.campaign_id)) for item in found]


def _json(item: Campaign, done: Progress) -> dict[str, object]:
    return {
        "campaign": item.campaign_id,
        "switch_on": item.switch_on.isoformat(),
        "per_batch": item.per_batch,
        "queued": item.queued,
        "left": done.left,
        "states": done.states,
        "findings": done.findings,
        "running": item.running,
        "ended_at": item.ended_at.isoformat() if item.ended_at else None,
        "ended_why": item.ended_why,
    }


@app.command("stop")
def stop(name: Annotated[str, typer.Argument(help="sender-change 2027-04-01")]) -> None:
    """お知らせを止める。もう一度始めると残りから送ります / stops one; started again, it goes on."""
    waiting = common.run(_stop(name))
    typer.echo(f"{name}: 止めました stopped · 送信前の取りやめ taken back {waiting}")


async def _stop(name: str) -> int:
    async with common.open_services() as services, services.ledger.write() as connection:
        now = services.clock.now()
        count = await campaign.stop(connection, name, now)
        who = f"cli:{getpass.getuser()}"
        await accounts.record(connection, who, "campaign.stop", name, {"taken_back": count}, now)
        return count


@app.command("silent")
def silent(
    day: Annotated[str | None, typer.Option("--since", help="変更の日 / the day of the change")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """変更の前は反応があり、後は反応のないアドレス / addresses that answered before a change and not since."""
    found = common.run(_silent(day))
    if as_json:
        common.print_json(
            [
                {
                    "patron_id": item.patron_id,
                    "address": item.address,
                    "last_sign_at": item.last_sign_at.isoformat(),
                    "mails": item.mails,
                    "missed": item.missed,
                }
                for item in found
            ]
        )
        return
    for item in found:
        cells = (item.patron_id, item.address, f"{item.last_sign_at:%Y-%m-%d}")
        typer.echo(
            "\t".join((*cells, f"その後のメール mails {item.mails}", f"反応なし missed {item.missed}"))
        )


async def _silent(day: str | None) -> list[Silent]:
    async with common.open_services() as services:
        book = services.rulebook
        change = last_change(book.settings.sender, book.local(services.clock.now()).date())
        since = _since(day) if day else change.since if change else None
        if since is None:
            raise BadInput("差出人はまだ変わっていません。 The sender has not changed yet (or give --since).")
        moment = datetime.combine(since, datetime.min.time(), book.settings.library.timezone)
        async with services.ledger.read() as connection:
            return await campaign.silent_since(connection, moment)


def _since(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text}: 2027-04-01 のような日付を。 Expected a date such as 2027-04-01.") from None
