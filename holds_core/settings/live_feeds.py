"""Settings of the feeds that Todoku asks itself: Koha's REST interface, FOLIO's circulation.

Their secrets are no settings; `holds_core.settings.secrets` reads them.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo, field_validator

from holds_core.settings.base import Section
from holds_core.settings.feeds import FeedName, Guard, WhenGone
from holds_core.settings.values import (
    BaseUrl,
    FilePath,
    Flag,
    Line,
    choice,
    context,
    duration,
    expected,
    whole,
)

KOHA_SECRET = "TODOKU_KOHA_SECRET"  # noqa: S105 - the name of a variable
FOLIO_PASSWORD = "TODOKU_FOLIO_PASSWORD"  # noqa: S105 - the name of a variable

_Interval = Annotated[timedelta, PlainValidator(duration("10s", "1d"))]
_Page = Annotated[int, PlainValidator(whole(1, 1000))]


class Addresses(StrEnum):
    """Which of a patron's addresses mail goes to: the first one that is filled in, or all."""

    FIRST = "first"
    ALL = "all"


class LiveFeed(Section):
    """What both have in common.

    Changes are asked for every `interval`, all that is open every `full_every`: only there can something be
    missed. A feed that could not be read for `late_after` is late, which the log and the metrics say.
    """

    url: BaseUrl
    verify_tls: Flag = True
    ca_file: FilePath | None = None
    timeout: Annotated[timedelta, PlainValidator(duration("1s", "5m"))] = timedelta(seconds=30)
    interval: _Interval = timedelta(minutes=5)
    full_every: _Interval = timedelta(hours=1)
    late_after: Annotated[timedelta, PlainValidator(duration("1m", "30d"))] = timedelta(minutes=30)
    page_size: _Page = 100
    when_gone: WhenGone
    guard: Guard


def _needs(file: Any, variable: str, info: ValidationInfo) -> Any:
    if file is None and not context(info).env.get(variable):
        raise expected(
            f"パスワードや秘密の値を収めたファイル、または環境変数 {variable}",
            f"the file with the secret, or the variable {variable}",
        )
    return file


class Koha(LiveFeed):
    """Koha 22.11 or later, by an API key pair of a staff account (RESTOAuth2ClientCredentials).

    `url` is that of the staff interface, without `/api/v1`.
    """

    name: FeedName = "koha"
    client_id: Line
    client_secret_file: FilePath | None = None
    addresses: Annotated[Addresses, PlainValidator(choice(Addresses))] = Addresses.FIRST
    titles: Flag = True

    @field_validator("client_secret_file")
    @classmethod
    def _secret(cls, file: Any, info: ValidationInfo) -> Any:
        return _needs(file, KOHA_SECRET, info)


class FolioAuth(StrEnum):
    """Who gives out tokens: Okapi (or Eureka's own `/authn`), by name and password; or Eureka's Keycloak, to a
    client with a secret.
    """

    OKAPI = "okapi"
    EUREKA = "eureka"


class Folio(LiveFeed):
    """FOLIO, through its gateway at `url`. `token_url` is Keycloak's, under `auth: eureka`."""

    name: FeedName = "folio"
    tenant: Line
    auth: Annotated[FolioAuth, PlainValidator(choice(FolioAuth))] = FolioAuth.OKAPI
    token_url: BaseUrl | None = None
    username: Line
    password_file: FilePath | None = None

    @field_validator("token_url")
    @classmethod
    def _token_url(cls, url: Any, info: ValidationInfo) -> Any:
        if info.data.get("auth") is FolioAuth.EUREKA and url is None:
            raise expected(
                "auth: eureka のときはトークンを受け取る URL",
                "under auth: eureka the URL that gives tokens out",
            )
        return url

    @field_validator("password_file")
    @classmethod
    def _password(cls, file: Any, info: ValidationInfo) -> Any:
        return _needs(file, FOLIO_PASSWORD, info)
