"""`todoku doctor`: is this installation well? A list of independent checks, each with what to do about it.

Enters a configuration file; leaves one `Check` each, in a fixed order. Changes no DNS; in the database it
writes one row of its own, to see that it can. Sends no mail, but for one to the library's own return path if
it is asked to (`probe`). Nothing hangs: each check has a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

from holds_core.settings.problems import ConfigError, Problem
from mailer.app.doctor import here, links, records, returning, senders, signing
from mailer.app.doctor.check import CannotCheck, Check, Said, Status, Verdict
from mailer.app.doctor.probe import Probe
from mailer.app.doctor.site import Site

__all__ = ["CHECKS", "Check", "Probe", "Said", "Site", "Status", "examine", "unusable"]

LIMIT = 25.0
"""Seconds for one check. They run side by side, so that it is the limit of all of them too."""


class Item(NamedTuple):
    """One check: its name in JSON, its name for people, and what does it."""

    name: str
    title: Said
    look: Callable[[Site], Awaitable[Verdict]]
    waits: bool = False
    """Whether it may wait for the probe's mail."""


CHECKS = (
    Item("configuration", Said("設定", "configuration"), here.configuration),
    Item("files", Said("ファイルの権限", "file permissions"), here.files),
    Item("templates", Said("文面", "templates"), here.templates),
    Item("database", Said("データベース", "database"), here.database),
    Item("disk", Said("空き容量", "disk space"), here.disk),
    Item("clock", Said("時計", "clock"), here.clock),
    Item("sending", Said("送信", "sending"), here.sending),
    Item("feeds", Said("図書館システムからの取り込み", "feeds"), here.feeds),
    Item("relay", Said("中継サーバー", "relay"), links.relay),
    Item("lmtp", Said("LMTP での受け取り", "LMTP intake"), links.lmtp),
    Item("imap", Said("IMAP での受け取り", "IMAP intake"), links.imap),
    Item(
        "spf_return_path", Said("SPF (返送先)", "SPF of the return path"), senders.spf_return_path, waits=True
    ),
    Item("spf_from", Said("SPF (差出人)", "SPF of From"), senders.spf_from, waits=True),
    Item("dkim", Said("DKIM", "DKIM"), signing.dkim, waits=True),
    Item("dmarc", Said("DMARC", "DMARC"), records.dmarc),
    Item("ptr", Said("逆引き", "PTR"), senders.ptr, waits=True),
    Item("from_domain", Said("差出人のドメイン", "domain of From"), records.from_domain),
    Item("return_path_mx", Said("返送先のドメイン", "domain of the return path"), records.return_path_mx),
    Item(
        "return_path_probe",
        Said("返送先への試験メール", "probe of the return path"),
        returning.return_path_probe,
        waits=True,
    ),
    Item("alerts", Said("異常の知らせ", "alerts to IT"), returning.alerts),
)


async def examine(site: Site, only: Collection[str] = ()) -> AsyncIterator[Check]:
    """All checks, or only those with these names, side by side; they come in the order of `CHECKS`."""
    running = [asyncio.create_task(_run(item, site)) for item in CHECKS if not only or item.name in only]
    try:
        for task in running:
            yield await task
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _run(item: Item, site: Site) -> Check:
    """A check that cannot tell, takes too long or breaks is not checked; the others go on."""
    limit = LIMIT + (site.probe.wait if item.waits and site.probe is not None else 0)
    try:
        async with asyncio.timeout(limit):
            verdict = await item.look(site)
    except CannotCheck as error:
        verdict = Verdict(Status.NOT_CHECKED, error.message, error.todo)
    except TimeoutError:
        verdict = Verdict(
            Status.NOT_CHECKED,
            Said(f"{limit:g} 秒以内に確認できませんでした。", f"It took longer than {limit:g} seconds."),
            Said("時間をおいて再実行してください。", "Try again later."),
        )
    except Exception as error:
        # by its type only: its text may hold anything
        kind = type(error).__name__
        verdict = Verdict(
            Status.NOT_CHECKED,
            Said(f"確認中に予期しない誤りが起きました ({kind})。", f"The check itself broke ({kind})."),
            Said("todoku の開発元に知らせてください。", "Please report this."),
        )
    return Check(item.name, item.title, verdict.status, verdict.message, verdict.todo)


def unusable(error: ConfigError) -> list[Check]:
    """The checks of a configuration that cannot be used: it failed, and nothing else was checked."""
    count = len(error.problems)
    first, *rest = CHECKS
    message = Said(
        f"{error.source}: 設定に誤りが{count}件あります。" + _listed(error.problems, "ja"),
        f"{error.source}: {count} errors in the configuration. " + _listed(error.problems, "en"),
    )
    todo = Said("これらを直してから、もう一度実行してください。", "Mend these, then try again.")
    blocked = Said("設定を読めないため確認していません。", "The configuration cannot be used.")
    later = Said("先に「設定」の項目を直してください。", "Mend the configuration first.")
    return [
        Check(first.name, first.title, Status.FAILED, message, todo),
        *(Check(item.name, item.title, Status.NOT_CHECKED, blocked, later) for item in rest),
    ]


def _listed(problems: Sequence[Problem], language: str) -> str:
    """Each with its key and line."""
    places = (f"{problem.path} ({problem.line})" if problem.line else problem.path for problem in problems)
    said = (problem.ja if language == "ja" else problem.en for problem in problems)
    return " ".join(
        f"{place}: {words}" if place else words for place, words in zip(places, said, strict=True)
    )
