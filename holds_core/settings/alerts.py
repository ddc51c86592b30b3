"""Settings of the mail that tells IT of trouble."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from holds_core.settings.base import Section
from holds_core.settings.mail import RELAY_PORTS, Tls, needs_password
from holds_core.settings.values import Address, FilePath, Flag, Host, Line, Port, choice, duration, whole


class AlertRelay(Section):
    """The second way out for alerts, for when the main relay is what is wrong."""

    host: Host
    tls: Annotated[Tls, PlainValidator(choice(Tls))] = Tls.STARTTLS
    port: Port = Field(default_factory=lambda data: RELAY_PORTS[data.get("tls", Tls.STARTTLS)])
    verify_tls: Flag = True
    ca_file: FilePath | None = None
    username: Line | None = None
    password_file: FilePath | None = None

    @field_validator("password_file")
    @classmethod
    def _password(cls, file: FilePath | None, info: ValidationInfo) -> FilePath | None:
        needs_password(info.data.get("username"), file, "TODOKU_ALERTS_PASSWORD", info)
        return file


_Patience = Annotated[timedelta, PlainValidator(duration("1m", "1d"))]


class Alerts(Section):
    """Mail to IT. Without `to` nothing is sent. None of `sender` means that of patrons' mail; `relay` None
    means this machine's own mail server. `disk_free_mb` in millions of octets, `quarantine` in mails a day."""

    to: tuple[Address, ...] = ()
    sender: Address | None = Field(default=None, alias="from")
    relay: AlertRelay | None = None
    repeat: Annotated[timedelta, PlainValidator(duration("1h", "30d"))] = timedelta(hours=24)
    relay_down: _Patience = timedelta(minutes=10)
    intake_dead: _Patience = timedelta(minutes=30)
    batch_late: _Patience = timedelta(minutes=30)
    feed_stale: Annotated[timedelta, PlainValidator(duration("1h", "30d"))] = timedelta(days=3)
    disk_free_mb: Annotated[int, PlainValidator(whole(0, 1_000_000))] = 1000
    quarantine: Annotated[int, PlainValidator(whole(1, 1_000_000))] = 20
