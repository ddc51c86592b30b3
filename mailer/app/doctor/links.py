"""Checks of the servers we talk to: the relay, and the ways that mail comes back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from dataclasses import replace
from typing import Literal

from bounces.imap import Broken, Connection, LoginRefused, Secret
from bounces.mailbox import tls_context
from holds_core.notices import Phase
from holds_core.settings import Imap, ImapTls, Listen, Tls
from holds_core.settings.doubts import is_loopback
from mailer.app.doctor.check import CannotCheck, Said, Verdict, failed, ok, warning
from mailer.app.doctor.site import Site
from mailer.app.mailboxes import secret_of
from mailer.app.services import relay_options
from mailer.smtp import Relay

PATIENCE = 10.0
"""Seconds for one answer. Servers that take longer are no use for a batch either."""

_RELAY_TODO: dict[Phase, Said] = {
    Phase.CONNECT: Said(
        "relay.host と relay.port、ファイアウォール、中継サーバーの稼働を確認してください。",
        "Look at relay.host and relay.port, the firewall, and whether the relay runs.",
    ),
    Phase.HELLO: Said(
        "この機械からの接続を中継サーバーで許可し、relay.helo_name を確認してください。",
        "Let the relay accept this machine, and look at relay.helo_name.",
    ),
    Phase.TLS: Said(
        "relay.tls を確認し、独自の認証局なら relay.ca_file に指定してください。",
        "Look at relay.tls, and name the authority in relay.ca_file if it is your own.",
    ),
    Phase.LOGIN: Said(
        "relay.username と relay.password_file を確認してください。",
        "Look at relay.username and relay.password_file.",
    ),
}


async def relay(site: Site) -> Verdict:
    """A session up to where MAIL would follow: TLS, login, and whether delivery reports are offered."""
    settings = site.settings.relay
    options = relay_options(site.settings, site.known_secrets())
    line = Relay(replace(options, timeout=min(options.timeout, PATIENCE)))
    try:
        failure = await line.connect()
    finally:
        await line.close()
    where = f"{settings.host}:{settings.port}"
    if failure is not None:
        said = " ".join(str(part) for part in (failure.code, failure.text) if part)
        return failed(
            Said(
                f"中継サーバー {where} に接続できません ({failure.phase}: {said})。",
                f"The relay {where} cannot be used ({failure.phase}: {said}).",
            ),
            _RELAY_TODO[failure.phase],
        )
    if settings.tls is Tls.NONE and not is_loopback(settings.host):
        return warning(
            Said(
                f"中継サーバー {where} との通信が暗号化されません。", f"Mail goes to {where} in clear text."
            ),
            Said(
                "relay.tls を starttls か implicit にしてください。", "Set relay.tls to starttls or implicit."
            ),
        )
    if site.settings.sending.dsn and "dsn" not in line.extensions:
        return warning(
            Said(
                f"中継サーバー {line.remote} は配送状況通知 (DSN) に対応していません。",
                f"The relay {line.remote} offers no delivery reports (DSN).",
            ),
            Said(
                "中継サーバーで DSN を有効にしてもらうか、sending.dsn を false にしてください。",
                "Have DSN switched on there, or set sending.dsn to false.",
            ),
        )
    tls = "TLS なし" if settings.tls is Tls.NONE else "TLS"
    return ok(
        f"中継サーバー {line.remote} に接続できました ({tls}、DSN {_yes('dsn' in line.extensions)})。",
        f"The relay {line.remote} answers (TLS {settings.tls}, DSN {'dsn' in line.extensions}).",
    )


def _yes(flag: bool) -> str:
    return "あり" if flag else "なし"


async def lmtp(site: Site) -> Verdict:
    """Our listener, asked as the mail server asks it."""
    settings = site.settings.intake.lmtp
    if settings is None:
        if site.settings.intake.imap is not None:
            raise CannotCheck(Said("LMTP は使いません (IMAP で受け取ります)。", "Not in use: IMAP is."))
        return failed(
            Said("不達メールを受け取る方法がありません。", "There is no way for bounces to come in."),
            Said("intake.lmtp か intake.imap を設定してください。", "Set intake.lmtp or intake.imap."),
        )
    listen = settings.listen
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await _greeted(listen)
    except OSError as error:
        return _nobody_listens(listen, error)
    if answer.startswith(b"250"):
        return ok(f"LMTP は {listen} で待ち受けています。", f"LMTP listens on {listen}.")
    return failed(
        Said(f"{listen} の相手は LMTP の応答をしません。", f"What listens on {listen} does not speak LMTP."),
        Said(
            "別のプログラムが使っていないか確認し、intake.lmtp.listen を変えてください。",
            "See whether another program has it, and change intake.lmtp.listen.",
        ),
    )


def _nobody_listens(listen: Listen, error: OSError) -> Verdict:
    """The daemon may not be started yet, which is no fault of the installation."""
    if error.errno == errno.ECONNREFUSED:
        return warning(
            Said(f"LMTP が {listen} で待ち受けていません。", f"Nobody listens on {listen}."),
            Said(
                "todoku を起動してください。起動中ならログを確認してください。",
                "Start todoku; if it runs, look at its log.",
            ),
        )
    return failed(
        Said(f"{listen} に接続できません。", f"{listen} cannot be reached ({type(error).__name__})."),
        Said("intake.lmtp.listen を確認してください。", "Look at intake.lmtp.listen."),
    )


async def _greeted(listen: Listen) -> bytes:
    """The answer to LHLO (RFC 2033 section 4.1), or what came in its place."""
    reader, writer = await asyncio.open_connection(*listen)
    try:
        greeting = await reader.readline()
        if not greeting.startswith(b"220"):
            return greeting
        writer.write(b"LHLO localhost\r\n")
        while (line := await reader.readline())[3:4] == b"-":
            pass
        writer.write(b"QUIT\r\n")
        await reader.readline()
        return line
    except (ValueError, ConnectionError):  # a line without end, or it hung up
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def imap(site: Site) -> Verdict:
    """Login and both folders of the mailbox that bounces come to."""
    settings = site.settings.intake.imap
    if settings is None:
        raise CannotCheck(Said("IMAP は使いません。", "Not in use."))
    password = site.known_secrets().imap_password
    where = f"{settings.host}:{settings.port}"
    by_token = settings.token_file is not None or settings.token_command is not None
    named = "token_file / token_command" if by_token else "password_file"
    try:
        missing = await _folders(settings, await _secret(settings, password))
    except _NoToken as error:
        return failed(
            Said(
                f"IMAP {where} のアクセストークンを得られません ({error})。",
                f"There is no access token for IMAP {where} ({error}).",
            ),
            Said(
                "intake.imap の token_file か token_command を、Todoku を動かす利用者で確認してください。",
                "Try token_file or token_command of intake.imap as the user that Todoku runs as.",
            ),
        )
    except LoginRefused as error:
        return failed(
            Said(
                f"IMAP {where} にログインできません ({error})。", f"IMAP {where} refuses the login ({error})."
            ),
            Said(
                f"intake.imap の username と {named} を確認してください。",
                f"Look at username and {named} of intake.imap.",
            ),
        )
    except (Broken, OSError) as error:
        return failed(
            Said(f"IMAP {where} を使えません ({error})。", f"IMAP {where} cannot be used ({error})."),
            Said(
                "intake.imap のホスト、ポート、ca_file、folder を確認してください。",
                "Look at host, port, ca_file and folder of intake.imap.",
            ),
        )
    note = Said("", "")
    if missing:
        note = Said(
            f" {settings.done_folder} は最初の取り込みで作成します。",
            f" {settings.done_folder} will be made with the first mail.",
        )
    return ok(
        f"IMAP {where} にログインし、フォルダー {settings.folder} を開けました。{note.ja}",
        f"IMAP {where} lets us in, and the folder {settings.folder} opens.{note.en}",
    )


class _NoToken(Exception):  # noqa: N818
    """No access token could be had."""


async def _secret(settings: Imap, password: str | None) -> Secret:
    try:
        return await secret_of(settings, password)
    except (OSError, ValueError) as error:
        raise _NoToken(str(error) or type(error).__name__) from error


async def _folders(settings: Imap, secret: Secret) -> bool:
    """Opens the folder. Returns whether the other one is missing. Raises Broken, OSError."""
    tls: Literal["none", "implicit"] = "none" if settings.tls is ImapTls.NONE else "implicit"
    context = tls_context(tls, verify=settings.verify_tls, ca_file=settings.ca_file)
    connection = Connection(settings.host, settings.port, context, PATIENCE)
    try:
        await connection.open(settings.username, secret.text, token=secret.is_token)
        try:
            await connection.select(settings.done_folder)
            missing = False
        except Broken:
            missing = True
        await connection.select(settings.folder)
        return missing
    finally:
        await connection.close()
