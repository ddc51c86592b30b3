"""Checks of this machine: configuration, files, templates, database, disk, clock, sending, feeds."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from holds_core.errors import TodokuError
from holds_core.ledger import breaker
from holds_core.ledger.upkeep import LedgerDown, probe, versions
from holds_core.settings import Mode
from mailer.app.doctor.check import Said, Verdict, failed, ok, warning
from mailer.app.doctor.site import Site
from mailer.app.feeds.live import lags
from mailer.render import Renderer
from mailer.samples import template_faults

STALE = timedelta(days=3)
"""A weekly closing day and a public holiday beside it bring no events; three days without any are odd."""
SKEW = timedelta(minutes=2)
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that is right is before this."""
DISK_LOW, DISK_OUT = 1_000_000_000, 100_000_000
"""Octets free. A day of a big consortium with raw bounces is some hundred megabytes."""


async def configuration(site: Site) -> Verdict:
    """The file could be read, or there would be no site; here are its doubts and the secrets."""
    if site.faults:
        first = site.faults[0]
        return failed(
            Said(f"{first.path}: {first.ja}", f"{first.path}: {first.en}"),
            Said(
                "このファイルを用意するか、設定を直してください。", "Provide that file, or mend the setting."
            ),
        )
    doubts = site.settings.warnings
    if doubts:
        return warning(
            Said(
                " ".join(f"{doubt.path}: {doubt.ja}" for doubt in doubts),
                " ".join(f"{doubt.path}: {doubt.en}" for doubt in doubts),
            ),
            Said("意図したものでなければ設定を直してください。", "Change the setting unless you mean it."),
        )
    return ok("設定に誤りはありません。", "The configuration has no errors.")


async def files(site: Site) -> Verdict:
    """Secrets are not for others; the database holds patrons' data and is its owner's only."""
    settings = site.settings
    boxes = [settings.intake.imap, settings.intake.former_imap, *settings.canaries.mailboxes]
    named = (
        settings.sender.token_keys_file,
        settings.relay.password_file,
        *(file for box in boxes if box is not None for file in (box.password_file, box.token_file)),
        settings.api.tokens_file,
        settings.alerts.relay.password_file if settings.alerts.relay else None,
        *(key.key_file for key in settings.sender.dkim.keys),
    )
    exposed = [path for path in named if path is not None and _mode(path) & stat.S_IRWXO]
    database = site.database_file
    if database is not None:
        kept = [Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm")]
        exposed += [path for path in kept if _mode(path) & (stat.S_IRWXG | stat.S_IRWXO)]
    if exposed:
        listed = ", ".join(map(str, exposed))
        return warning(
            Said(f"ほかの利用者も読めるファイルがあります: {listed}", f"Others can read {listed}"),
            Said(f"chmod 600 {' '.join(map(str, exposed))}", f"chmod 600 {' '.join(map(str, exposed))}"),
        )
    return ok(
        "秘密の値とデータベースのファイルは、ほかの利用者から読めません。",
        "Files with secrets and the database are closed to others.",
    )


def _mode(path: Path) -> int:
    """The permission bits; 0 for a file that is not there, which other checks tell of."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


async def templates(site: Site) -> Verdict:
    """Every notice in every language, rendered with samples."""
    todo = Said(
        "「todoku preview」で文面を確かめ、このファイルを直してください。",
        "Mend that file, and look at the result with `todoku preview`.",
    )
    try:
        renderer = Renderer(site.settings.library.templates_folder)
    except TodokuError as error:
        return failed(Said("templates_folder のフォルダーがありません。", str(error)), todo)
    faults = template_faults(renderer)
    if faults:
        return failed(
            Said(
                f"文面のひな形に誤りが{len(faults)}件あります: {faults[0]}",
                f"{len(faults)} faults: {faults[0]}",
            ),
            todo,
        )
    doubts = renderer.warnings()
    if doubts:
        return warning(
            Said(
                f"ひな形に疑問点が{len(doubts)}件あります: {doubts[0]}", f"{len(doubts)} doubts: {doubts[0]}"
            ),
            todo,
        )
    return ok("すべてのお知らせの文面を作成できました。", "Every notice can be rendered.")


async def database(site: Site) -> Verdict:
    """Reached, of this program's schema, and a commit goes through."""
    if site.ledger is None:
        return _no_database(site)
    try:
        found, wanted = await versions(site.ledger)
    except LedgerDown as error:
        return failed(
            Said(f"データベースに接続できません ({error})。", f"The database cannot be reached ({error})."),
            Said(
                "database.url と、データベースの稼働を確認してください。",
                "Look at database.url and whether it runs.",
            ),
        )
    if found != wanted:
        return failed(
            Said(
                f"データベースの版が合いません (現在 {found or 'なし'}、必要 {wanted})。",
                f"The database has schema {found or 'none'}, this program needs {wanted}.",
            ),
            Said("「todoku db upgrade」を実行してください。", "Run `todoku db upgrade`."),
        )
    try:
        await probe(site.ledger, site.now)
    except LedgerDown as error:
        return failed(
            Said(f"データベースに書き込めません ({error})。", f"The database cannot be written ({error})."),
            Said(
                "ファイルの所有者、空き容量、ほかの処理による占有を確認してください。",
                "Look at the file's owner, the free space, and who else holds it.",
            ),
        )
    return ok(
        f"データベースは読み書きできます (版 {wanted})。", f"The database takes writes (schema {wanted})."
    )


def _no_database(site: Site) -> Verdict:
    file = site.database_file
    assert file is not None
    parent = next(folder for folder in file.parents if folder.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return warning(
            Said(f"データベース {file} はまだありません。", f"There is no database {file} yet."),
            Said(
                "「todoku db upgrade」か初回の起動で作成されます。",
                "`todoku db upgrade` or the first start makes it.",
            ),
        )
    return failed(
        Said(f"{parent} にデータベースを作成できません。", f"No database can be made in {parent}."),
        Said("フォルダーの所有者を確認してください。", "Look at who owns the folder."),
    )


async def disk(site: Site) -> Verdict:
    """Room where the database lies; on PostgreSQL where we run."""
    folder = site.database_file.parent if site.database_file is not None else Path.cwd()
    folder = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(folder).free
    said = Said(
        f"{folder} の空き容量は {free / 1e9:.1f} GB です。", f"{folder} has {free / 1e9:.1f} GB left."
    )
    todo = Said("不要なファイルを消すか、容量を増やしてください。", "Remove what is not needed, or add room.")
    if free < DISK_OUT:
        return failed(said, todo)
    return warning(said, todo) if free < DISK_LOW else ok(*said)


async def clock(site: Site) -> Verdict:
    """Not before anything that we have written down ourselves."""
    todo = Said(
        "timedatectl で時刻同期 (NTP) を確認してください。", "Look at time synchronisation with timedatectl."
    )
    shown = f"{site.now.astimezone(site.settings.library.timezone):%Y-%m-%d %H:%M}"
    if site.now < RELEASED:
        return failed(Said(f"時計が狂っています ({shown})。", f"The clock is wrong ({shown})."), todo)
    newest = (await site.health()).recorded_at if site.ledger is not None else None
    if newest is not None and newest > site.now + SKEW:
        return failed(
            Said(
                f"時計 ({shown}) が、保存済みの最新の記録より前を指しています。",
                f"The clock ({shown}) is before the newest record in the database.",
            ),
            todo,
        )
    if site.synchronised is False:
        return warning(
            Said(
                f"時計は {shown} ですが、時刻同期されていません。",
                f"The clock says {shown}, but nothing keeps it right.",
            ),
            todo,
        )
    return ok(f"時計は {shown} です。", f"The clock says {shown}.")


_TIME_ERROR = 5


def synchronised() -> bool | None:
    """Whether the kernel's clock is kept right by somebody (NTP, a hypervisor), as adjtimex(2) says; None on
    systems without it."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # all zero: only asks
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


async def sending(site: Site) -> Verdict:
    """Whether mail leaves at all."""
    mode = site.settings.sending.mode
    if mode is not Mode.ON:
        what = {
            Mode.OFF: Said(
                "sending.mode が off のため、送信しません。", "sending.mode is off: no mail leaves."
            ),
            Mode.REDIRECT: Said(
                "sending.mode が redirect のため、利用者には届きません。",
                "sending.mode is redirect: patrons get no mail.",
            ),
            Mode.ALLOWLIST: Said(
                "sending.mode が allowlist のため、一覧の宛先だけに送ります。",
                "sending.mode is allowlist: only listed addresses get mail.",
            ),
        }[mode]
        return warning(
            what, Said("試行が終わったら on にしてください。", "Set it to on when the trial is over.")
        )
    if (await site.health()).paused:
        return warning(
            Said("送信を止めています。", "Sending is stopped."),
            Said(
                "再開するには「todoku resume」を実行してください。", "`todoku resume` lets mail leave again."
            ),
        )
    assert site.ledger is not None  # or its health could not have been asked
    async with site.ledger.read() as connection:
        fuse = await breaker.read(connection)
    if fuse.lets_mail_through:
        return ok("送信は有効です。", "Mail leaves.")
    return failed(
        Said(
            f"こちらの原因による拒否が続いたため、送信を自動で止めています (応答 {fuse.code})。",
            f"Sending stopped by itself: too many refusals by a fault of our own ({fuse.code}).",
        ),
        Said(
            "原因を取り除いてから「todoku resume」を実行してください。拒否されたメールも送り直します。",
            "Mend the cause, then run `todoku resume`; what was refused is sent again.",
        ),
    )


async def feeds(site: Site) -> Verdict:
    """When the library system was last heard of."""
    newest = (await site.health()).heard_at
    todo = Said(
        "図書館システムからの書き出しと、取り込みの定期実行を確認してください。",
        "Look at the library system's export, and at the job that imports it.",
    )
    if newest is None:
        return warning(
            Said("図書館システムからの取り込みが一度もありません。", "Nothing was ever imported."), todo
        )
    shown = f"{newest.astimezone(site.settings.library.timezone):%Y-%m-%d %H:%M}"
    assert site.ledger is not None  # or its health could not have been asked
    async with site.ledger.read() as connection:
        late = [item.feed for item in await lags(connection, site.settings, site.now) if item.late]
    if late:
        names = ", ".join(late)
        return warning(Said(f"取り込みが遅れています: {names}", f"Feeds that are late: {names}"), todo)
    if site.now - newest > STALE:
        return warning(Said(f"最後の取り込みは {shown} です。", f"The last event came in on {shown}."), todo)
    return ok(f"最後の取り込みは {shown} です。", f"The last event came in on {shown}.")
