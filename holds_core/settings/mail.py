"""Settings of mail out and mail back: sender, sending, batches, relay, providers, intake."""

from __future__ import annotations

from datetime import date, time, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo
from pydantic import field_validator as check

from holds_core.settings.base import Section, unique
from holds_core.settings.days import local_day
from holds_core.settings.outgoing import Breaker, Dkim
from holds_core.settings.tokens import Tokens
from holds_core.settings.values import (
    Address,
    Clock,
    DatabaseUrl,
    Domain,
    FilePath,
    Flag,
    Host,
    Line,
    Listen,
    ListenAddress,
    LocalPart,
    MailDomain,
    Paragraph,
    Port,
    choice,
    context,
    duration,
    expected,
    whole,
)
from holds_core.tokens import MAX_LOCAL_PART, MAX_TOKEN_LENGTH


class ReturnPath(StrEnum):
    """How the envelope sender names its notice: own domain, mailbox+token, or not at all."""

    VERP = "verp"
    PLUS = "plus"
    FIXED = "fixed"


class SenderChange(Section):
    """Another sender from a day on. What is left out stays as it was before.

    `watch`: how long afterwards silent addresses are looked at more closely, because a patron who accepts
    listed senders only may have missed the announcement.
    """

    since: Annotated[date, PlainValidator(local_day)]
    address: Address
    name: Line | None = None
    name_en: Line | None = None
    return_path_domain: Domain | None = None
    reply_confirm_address: Address | None = None
    watch: Annotated[timedelta, PlainValidator(duration("0d", "1y"))] = timedelta(days=60)


class Sender(Section):
    """Who the mail is from. `return_path_mailbox` is the part before the @ under plus and fixed.

    `reply_confirm_plus`: whether "+" and a token may follow the local part of `reply_confirm_address`; None
    takes the return path's word for it (see `confirm_by_token`).
    """

    address: Address
    name: Line | None = None
    name_en: Line | None = None
    note: Paragraph | None = None
    note_en: Paragraph | None = None
    return_path: Annotated[ReturnPath, PlainValidator(choice(ReturnPath))] = ReturnPath.VERP
    return_path_domain: Domain
    return_path_mailbox: LocalPart = "bounce"
    token_keys_file: FilePath = Path("token.keys")
    reply_confirm_address: Address | None = None
    reply_confirm_plus: Flag | None = None
    dkim: Dkim
    changes: tuple[SenderChange, ...] = ()

    @property
    def confirm_by_token(self) -> bool:
        """Whether each mail has a confirmation address of its own. Where bounces come to one fixed mailbox,
        the mail system knows no address extensions."""
        if self.reply_confirm_plus is not None:
            return self.reply_confirm_plus
        return self.return_path is not ReturnPath.FIXED

    def addresses_from(self, day: date) -> tuple[str, ...]:
        """The sender's address in force on a day, and those that will follow: what patrons should accept."""
        before = [self.address, *(change.address for change in self.changes if change.since <= day)]
        after = [change.address for change in self.changes if change.since > day]
        return tuple(dict.fromkeys([before[-1], *after]))

    @property
    def confirm_addresses(self) -> tuple[str, ...]:
        """All addresses for confirmation by empty mail, of today, yesterday and tomorrow."""
        every = (self.reply_confirm_address, *(change.reply_confirm_address for change in self.changes))
        return tuple(dict.fromkeys(address for address in every if address))

    @check("changes")
    @classmethod
    def _in_order(cls, changes: tuple[SenderChange, ...]) -> tuple[SenderChange, ...]:
        unique(changes, "since", "ほかの変更と異なる日付", "a day on which no other change begins")
        return tuple(sorted(changes, key=lambda change: change.since))

    @check("return_path_domain", mode="before")
    @classmethod
    def _domain_for_verp(cls, domain: object, info: ValidationInfo) -> object:
        """Under plus and fixed the domain of `address` may serve; under verp it would catch all its mail."""
        if domain is None and info.data.get("return_path") is ReturnPath.VERP:
            raise expected(
                "return_path: verp の返送先ドメイン (例 bounce.example.jp)",
                "the domain that bounces come back to (return_path is verp), such as bounce.example.jp",
            )
        if domain is None:
            # without a usable address or way there is an error already; another one would not help
            return str(info.data.get("address", "@localhost")).rpartition("@")[2]
        return domain

    @check("return_path_mailbox")
    @classmethod
    def _room_for_token(cls, mailbox: str, info: ValidationInfo) -> str:
        """Under plus, "+" and the token follow the mailbox."""
        room = MAX_LOCAL_PART - 1 - MAX_TOKEN_LENGTH
        if info.data.get("return_path") is ReturnPath.PLUS and len(mailbox) > room:
            raise expected(
                f"{room}字までの文字列 (return_path: plus では後ろに符号が付くため)",
                f"at most {room} characters (return_path is plus, so a token follows)",
            )
        return mailbox


class Mode(StrEnum):
    """Whether mail leaves: nothing, everything to one address, to listed addresses only, or to all."""

    OFF = "off"
    REDIRECT = "redirect"
    ALLOWLIST = "allowlist"
    ON = "on"


class QuietHours(Section):
    """When phones must not ring, in library time; `start` after `end` goes over midnight."""

    start: Clock = Field(default=time(21, 0), alias="from")
    end: Clock = Field(default=time(8, 0), alias="to")

    @check("end")
    @classmethod
    def _some_time(cls, end: time, info: ValidationInfo) -> time:
        if end == info.data.get("start"):
            raise expected("from と異なる時刻", "a time other than from")
        return end


_MINUTES = (1, 5, 15, 30, 60)


class Sending(Section):
    """Whether, when and how stubbornly mail is sent. The last of `retry_delays` repeats."""

    mode: Annotated[Mode, PlainValidator(choice(Mode))] = Mode.OFF
    redirect_to: Address | None = None
    allowlist: tuple[Address, ...] = ()
    quiet_hours: QuietHours | None = Field(default_factory=QuietHours)
    prompt_within: Annotated[timedelta, PlainValidator(duration("1m", "1d"))] = timedelta(minutes=10)
    dsn: Flag = True
    give_up_after: Annotated[timedelta, PlainValidator(duration("10m", "7d"))] = timedelta(hours=24)
    retry_delays: tuple[Annotated[timedelta, PlainValidator(duration("1s", "1d"))], ...] = tuple(
        timedelta(minutes=minutes) for minutes in _MINUTES
    )
    breaker: Breaker

    @check("redirect_to")
    @classmethod
    def _redirect_somewhere(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is None and info.data.get("mode") is Mode.REDIRECT:
            raise expected(
                "mode: redirect で全メールを受け取るメールアドレス",
                "the mail address that gets all mail (mode is redirect)",
            )
        return address

    @check("allowlist")
    @classmethod
    def _allow_someone(cls, allowed: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not allowed and info.data.get("mode") is Mode.ALLOWLIST:
            raise expected(
                "1件以上のメールアドレス (mode: allowlist のため)",
                "at least one mail address (mode is allowlist)",
            )
        return allowed

    @check("retry_delays")
    @classmethod
    def _some_delay(cls, delays: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if not delays:
            raise expected("1件以上の期間", "at least one duration")
        return delays


class Batch(Section):
    """A daily slot in library time."""

    name: Line
    at: Clock


class OnClosedDays(StrEnum):
    """What a batch does on a day when every branch is closed."""

    SEND = "send"
    WAIT = "wait"


class BatchRules(Section):
    """What holds for every batch. A slot missed by more than `catch_up` is left out."""

    catch_up: Annotated[timedelta, PlainValidator(duration("0h", "7d"))] = timedelta(hours=6)
    on_closed_days: Annotated[OnClosedDays, PlainValidator(choice(OnClosedDays))] = OnClosedDays.SEND


class Tls(StrEnum):
    """How a connection is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


def needs_password(username: str | None, password_file: Any, variable: str, info: ValidationInfo) -> None:
    """A user name needs a password from somewhere."""
    if username and password_file is None and not context(info).env.get(variable):
        raise expected(
            f"username のパスワードを収めたファイル、または環境変数 {variable}",
            f"the file with the password of username, or the variable {variable}",
        )


RELAY_PORTS = {Tls.NONE: 25, Tls.STARTTLS: 587, Tls.IMPLICIT: 465}


class Relay(Section):
    """The mail server that takes our mail. `rate` is mails per minute, None without limit."""

    host: Host
    tls: Annotated[Tls, PlainValidator(choice(Tls))] = Tls.STARTTLS
    port: Port = Field(default_factory=lambda data: RELAY_PORTS[data.get("tls", Tls.STARTTLS)])
    verify_tls: Flag = True
    ca_file: FilePath | None = None
    username: Line | None = None
    password_file: FilePath | None = None
    connections: Annotated[int, PlainValidator(whole(1, 100))] = 8
    rate: Annotated[int, PlainValidator(whole(1, 1_000_000))] | None = None
    timeout: Annotated[timedelta, PlainValidator(duration("1s", "10m"))] = timedelta(seconds=60)
    helo_name: Domain | None = None

    @check("password_file")
    @classmethod
    def _password(cls, file: Any, info: ValidationInfo) -> Any:
        needs_password(info.data.get("username"), file, "TODOKU_RELAY_PASSWORD", info)
        return file


class Charset(StrEnum):
    """The character set of a mail's text."""

    UTF_8 = "utf-8"
    ISO_2022_JP = "iso-2022-jp"


class Quoting(StrEnum):
    """How an address with misplaced dots is written in SMTP and in To."""

    AS_IS = "as_is"
    QUOTED = "quoted"


class Provider(Section):
    """What the library wants otherwise than the built-in table of providers; None leaves it be."""

    domain: MailDomain
    charset: Annotated[Charset, PlainValidator(choice(Charset))] | None = None
    links: Flag | None = None
    quoting: Annotated[Quoting, PlainValidator(choice(Quoting))] | None = None
    per_minute: Annotated[int, PlainValidator(whole(1, 100_000))] | None = None
    line_width: Annotated[int, PlainValidator(whole(20, 200))] | None = None


# What comes back --------------------------------------------------------------------------------------


class Lmtp(Section):
    """Our LMTP listener. `max_size` in octets."""

    listen: ListenAddress = Listen("127.0.0.1", 8024)
    max_size: Annotated[int, PlainValidator(whole(10_000, 100_000_000))] = 2_000_000


class ImapTls(StrEnum):
    """How the mailbox is reached; the IMAP client knows no STARTTLS."""

    NONE = "none"
    IMPLICIT = "implicit"


class Imap(Tokens):
    """The mailbox that bounces come to, if not by LMTP. A token, where there is one, is used and no password."""

    host: Host
    tls: Annotated[ImapTls, PlainValidator(choice(ImapTls))] = ImapTls.IMPLICIT
    port: Port = Field(default_factory=lambda data: 143 if data.get("tls") is ImapTls.NONE else 993)
    verify_tls: Flag = True
    ca_file: FilePath | None = None
    username: Line
    password_file: FilePath | None = None
    folder: Line = "INBOX"
    done_folder: Line = "Todoku-done"
    poll: Annotated[timedelta, PlainValidator(duration("1s", "1d"))] = timedelta(minutes=5)

    @check("password_file")
    @classmethod
    def _password(cls, file: Any, info: ValidationInfo) -> Any:
        # one that cannot be used is missing here, and has its own error
        if info.data.get("token_file", "?") is None and info.data.get("token_command", "?") is None:
            needs_password(info.data.get("username"), file, "TODOKU_IMAP_PASSWORD", info)
        return file

    @check("done_folder")
    @classmethod
    def _elsewhere(cls, done: str, info: ValidationInfo) -> str:
        if done == info.data.get("folder"):
            raise expected("folder と異なるフォルダー名", "a folder other than folder")
        return done


class Intake(Section):
    """How bounces and replies come in: either way, or both. `former_imap` is the mailbox of a sender that was
    given up, where both still come for a while."""

    lmtp: Lmtp | None = None
    imap: Imap | None = None
    former_imap: Imap | None = None


class MxCheck(StrEnum):
    """Whether DNS is asked if a new address's domain takes mail."""

    OFF = "off"
    ON = "on"


class AddressChecks(Section):
    """Checks of new addresses beyond their form. Off where DNS is closed; `keep` is how long an answer serves."""

    mx: Annotated[MxCheck, PlainValidator(choice(MxCheck))] = MxCheck.OFF
    nameserver: ListenAddress | None = None
    timeout: Annotated[timedelta, PlainValidator(duration("1s", "1m"))] = timedelta(seconds=5)
    keep: Annotated[timedelta, PlainValidator(duration("1h", "90d"))] = timedelta(days=7)

    @check("nameserver")
    @classmethod
    def _by_number(cls, server: Listen | None) -> Listen | None:
        """A name could not be looked up without the server it names."""
        if server is None:
            return None
        try:
            ip_address(server.host)
        except ValueError:
            raise expected(
                "192.0.2.53:53 のようなIPアドレスとポート番号",
                "an IP address and a port, such as 192.0.2.53:53",
            ) from None
        return server


class Database(Section):
    """Where the ledger is, without driver: `sqlite:////absolute/path` or `postgresql://…`."""

    url: DatabaseUrl = Field(default="sqlite:///todoku.db", repr=False)

    @property
    def async_url(self) -> str:
        """The URL as SQLAlchemy's asyncio engines want it."""
        scheme, _, rest = self.url.partition("://")
        return {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[scheme] + "://" + rest

    @property
    def sqlite_file(self) -> str | None:
        """The path of the SQLite file; None on PostgreSQL."""
        return self.url.removeprefix("sqlite:///") if self.url.startswith("sqlite:") else None
