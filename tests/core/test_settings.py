"""What settings mean once read: values, warnings and secrets."""

from __future__ import annotations

from datetime import date, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from holds_core.config import ConfigError, open_to_others, parse, read_secret, read_secrets
from holds_core.settings import (
    DateRange,
    Mode,
    MonthDay,
    QuietHours,
    Settings,
    Tls,
    Weekday,
    YearlyRange,
)
from tests.core.test_config import BASE, MINIMAL, settings

# Values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["9:10", '"9:10"', "09:10", "'09:10'", "\uff19\uff1a\uff11\uff10"])
def test_times_of_day_quoted_or_not(written: str) -> None:
    assert settings(f"batches: [{{name: 朝, at: {written}}}]").batches[0].at == time(9, 10)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10m", timedelta(minutes=10)),
        ("90s", timedelta(seconds=90)),
        ("24h", timedelta(hours=24)),
        ("1d", timedelta(days=1)),
        ("5 m", timedelta(minutes=5)),
    ],
)
def test_durations(written: str, meant: timedelta) -> None:
    assert settings(f"sending: {{prompt_within: {written}}}").sending.prompt_within == meant


def test_yaml_does_not_guess() -> None:
    found = settings(
        """
library:
  name: no
  phone: 0900
  branches: [{id: 01, name: 1_000}, {id: 0x1, name: on}]
sending: {mode: on}
relay: {host: 127.0.0.1, tls: none, verify_tls: off}
"""
    )
    assert (found.library.name, found.library.phone) == ("no", "0900")
    assert [(branch.id, branch.name) for branch in found.library.branches] == [("01", "1_000"), ("0x1", "on")]
    assert found.sending.mode is Mode.ON
    assert found.relay.verify_tls is False


def test_closed_days() -> None:
    found = settings(
        """
library:
  name: 市立図書館
  branches:
    - id: "1"
      name: 本館
      closed:
        weekly: [mon, 火, 水曜日]
        nth: [{week: 1, weekday: Thursday}]
        last: [fri]
        yearly: [12-29..01-03, 02-29]
        dates: [2026-10-05, 2026-11-01..2026-11-03]
"""
    )
    branch = found.library.branch("1")
    assert branch is not None
    closed = branch.closed
    assert [day.number for day in closed.weekly] == [0, 1, 2]
    assert (closed.nth[0].week, closed.nth[0].weekday, closed.last) == (1, Weekday.THU, (Weekday.FRI,))
    assert closed.yearly == (
        YearlyRange(MonthDay(12, 29), MonthDay(1, 3)),
        YearlyRange(MonthDay(2, 29), MonthDay(2, 29)),
    )
    assert closed.dates == (
        DateRange(date(2026, 10, 5), date(2026, 10, 5)),
        DateRange(date(2026, 11, 1), date(2026, 11, 3)),
    )
    assert found.library.branch("2") is None


@pytest.mark.parametrize(
    ("written", "url", "async_url", "file"),
    [
        (
            "sqlite:///todoku.db",
            "sqlite:////etc/todoku/todoku.db",
            "sqlite+aiosqlite:////etc/todoku/todoku.db",
            "/etc/todoku/todoku.db",
        ),
        (
            "sqlite+aiosqlite:////var/lib/todoku.db",
            "sqlite:////var/lib/todoku.db",
            "sqlite+aiosqlite:////var/lib/todoku.db",
            "/var/lib/todoku.db",
        ),
        (
            "sqlite:///${STATE_DIRECTORY}/t.db",
            "sqlite:////var/lib/a/t.db",
            "sqlite+aiosqlite:////var/lib/a/t.db",
            "/var/lib/a/t.db",
        ),
        ("postgresql://me@db/todoku", "postgresql://me@db/todoku", "postgresql+asyncpg://me@db/todoku", None),
        ("postgres:///todoku?host=/run/pg", "postgresql:///todoku?host=/run/pg", None, None),
    ],
)
def test_database_urls(written: str, url: str, async_url: str | None, file: str | None) -> None:
    database = settings(
        f"database: {{url: '{written}'}}", {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}
    ).database
    assert database.url == url
    assert database.sqlite_file == file
    if async_url:
        assert database.async_url == async_url


@pytest.mark.parametrize(
    ("written", "host", "port", "text"),
    [
        ("127.0.0.1:8024", "127.0.0.1", 8024, "127.0.0.1:8024"),
        ("'[::1]:8024'", "::1", 8024, "[::1]:8024"),
        ("localhost:0", "localhost", 0, "localhost:0"),
    ],
)
def test_listen_addresses(written: str, host: str, port: int, text: str) -> None:
    lmtp = settings(f"intake: {{lmtp: {{listen: {written}}}}}").intake.lmtp
    assert lmtp is not None
    assert (lmtp.listen.host, lmtp.listen.port, str(lmtp.listen)) == (host, port, text)


@pytest.mark.parametrize(
    ("tls", "port"), [(Tls.NONE, 25), (Tls.STARTTLS, 587), (Tls.IMPLICIT, 465), (None, 587)]
)
def test_port_follows_encryption_and_encryption_is_the_default(tls: Tls | None, port: int) -> None:
    relay = settings(f"relay: {{host: mail.example.jp{f', tls: {tls}' if tls else ''}}}").relay
    assert (relay.tls, relay.port) == (tls or Tls.STARTTLS, port)


def test_null_switches_off_what_may_be_absent_and_else_means_the_default() -> None:
    found = settings("sending: {quiet_hours: null, dsn: null}\nrelay: {host: h, port: }\ndesk:")
    assert found.sending.quiet_hours is None
    assert found.sending.dsn is True
    assert found.relay.port == 587
    assert found.desk.listen.port == 8080
    assert settings().sending.quiet_hours == QuietHours()


@pytest.mark.parametrize(
    ("domain", "per_minute"),
    [
        ("docomo.ne.jp", 1),
        ("DOCOMO.ne.jp", 1),
        ("t.vodafone.ne.jp", 2),
        ("k.t.vodafone.ne.jp", 3),
        ("vodafone.ne.jp", None),
        ("notdocomo.ne.jp", None),
    ],
)
def test_exceptions_for_a_provider(domain: str, per_minute: int | None) -> None:
    found = settings(
        """
providers:
  - {domain: docomo.ne.jp, per_minute: 1}
  - {domain: "*.vodafone.ne.jp", per_minute: 2}
  - {domain: "*.t.vodafone.ne.jp", per_minute: 3}
"""
    ).provider_for(domain)
    assert (found.per_minute if found else None) == per_minute


def test_return_path_without_own_domain_uses_that_of_the_sender() -> None:
    for way in ("plus", "fixed"):
        sender = settings(f"sender: {{address: yoyaku@Library.example.jp, return_path: {way}}}").sender
        assert sender.return_path_domain == "library.example.jp"


def test_aliases_may_repeat_a_part() -> None:
    found = settings(
        """
library:
  name: 市立図書館
  branches:
    - {id: 1, name: 本館, closed: &closed {weekly: [mon]}}
    - {id: 2, name: 分館, closed: *closed}
"""
    )
    assert found.library.branches[1].closed.weekly == (Weekday.MON,)


def test_settings_are_typed_and_frozen() -> None:
    found = settings()
    assert found.library.timezone == ZoneInfo("Asia/Tokyo")
    assert found.sender.token_keys_file == BASE / "token.keys"
    with pytest.raises(ValueError, match="frozen"):
        found.sending.mode = Mode.ON  # type: ignore[misc]


def test_no_password_is_shown_when_settings_are_printed() -> None:
    assert "hunter2" not in repr(settings("database: {url: 'postgresql://me:hunter2@db/todoku'}"))


# Warnings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ("", []),
        ("batches: [{name: 昼, at: '12:00'}]", ["batches[0].at"]),
        ("batches: [{name: 夜, at: '22:30'}]", ["batches[0].at"]),
        ("batches: [{name: 夜, at: '22:30'}]\nsending: {quiet_hours: null}", []),
        (
            "batches: [{name: 昼, at: '12:30'}]\nsending: {quiet_hours: {from: 12:10, to: 13:00}}",
            ["batches[0].at"],
        ),
        ("relay: {host: mail.example.jp, tls: none}", ["relay.tls"]),
        ("relay: {host: mail.example.jp, verify_tls: false}", ["relay.verify_tls"]),
        (
            "intake: {imap: {host: imap.example.jp, tls: none, username: u, password_file: p}}",
            ["intake.imap.tls"],
        ),
        ("intake: {lmtp: {listen: '0.0.0.0:8024'}}", ["intake.lmtp.listen"]),
        ("intake: {lmtp: {listen: '[::1]:8024'}}", []),
        ("desk: {listen: '192.0.2.1:8080'}", ["desk.listen"]),
        ("desk: {listen: '192.0.2.1:8080', secure_cookies: true}", []),
        ("database: {url: 'postgresql://me:hunter2@db/todoku'}", ["database.url"]),
        ("sending: {mode: on}", ["confirm.base_url", "intake"]),
        ("sending: {mode: on}\nintake: {lmtp: {}}\nconfirm: {base_url: 'https://t.example.jp/'}", []),
        (
            "sending: {mode: on}\nintake: {lmtp: {}}\nconfirmation: {ask: {registration_changed: none, hold_ready: none}}",
            [],
        ),
        (
            "sending: {mode: on}\nintake: {lmtp: {}}\nconfirmation: {ask: {registration_changed: none, hold_ready: reply}}",
            ["sender.reply_confirm_address"],
        ),
        ("confirm: {base_url: 'http://t.example.jp'}", ["confirm.base_url"]),
        ("confirmation: {windows: {hold_ready: 7d}}", ["confirmation.windows.hold_ready"]),
    ],
)
def test_doubts_are_warnings(more: str, paths: list[str]) -> None:
    found = settings(more).warnings
    assert [warning.path for warning in found] == paths
    assert all(warning.ja and warning.en for warning in found)
    assert "hunter2" not in repr(found)


# Secrets ----------------------------------------------------------------------------------------------


NEW_KEY, OLD_KEY = "new-key-of-2026".ljust(32, "."), "old-key-of-2025".ljust(32, ".")


def secret_file(folder: Path, name: str, text: str, mode: int = 0o600) -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    file.chmod(mode)
    return file


def with_secrets(folder: Path, env: dict[str, str] | None = None) -> Settings:
    text = f"""{MINIMAL.replace("tls: none", "tls: none, username: u, password_file: relay")}
intake: {{imap: {{host: imap.example.jp, username: u, password_file: imap}}}}
api: {{tokens_file: tokens}}
"""
    return parse(text, base=folder, env=env or {})


def test_secrets_come_from_files(tmp_path: Path) -> None:
    secret_file(tmp_path, "relay", "relay pass\n")
    secret_file(tmp_path, "imap", "imap pass ")
    secret_file(tmp_path, "tokens", "# catalogue\nfirst-token\n\nsecond-token\n")
    secret_file(tmp_path, "token.keys", f"{NEW_KEY}\n# 2025\n{OLD_KEY}\n")
    found = read_secrets(with_secrets(tmp_path), {})
    assert (found.relay_password, found.imap_password) == ("relay pass", "imap pass ")
    assert found.api_tokens == ("first-token", "second-token")
    assert found.token_keys == (NEW_KEY.encode(), OLD_KEY.encode())
    assert found.warnings == ()
    assert "pass" not in repr(found).replace("password", "")


@pytest.mark.parametrize("way", ["token_file: t", "token_command: fetch 'my token'"])
def test_a_token_takes_the_passwords_place(tmp_path: Path, way: str) -> None:
    found = settings(f"intake: {{imap: {{host: imap.example.jp, username: u, {way}}}}}")
    assert found.intake.imap is not None
    assert found.intake.imap.password_file is None
    assert found.intake.imap.token_file in (None, Path("/etc/todoku/t"))


def test_the_environment_wins_over_files(tmp_path: Path) -> None:
    secret_file(tmp_path, "token.keys", NEW_KEY)
    env = {"TODOKU_RELAY_PASSWORD": "a", "TODOKU_IMAP_PASSWORD": "b", "TODOKU_API_TOKENS": "one, two,"}
    found = read_secrets(with_secrets(tmp_path, env), env)
    assert (found.relay_password, found.imap_password, found.api_tokens) == ("a", "b", ("one", "two"))


def test_every_secret_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    secret_file(tmp_path, "relay", "\n")
    with pytest.raises(ConfigError) as caught:
        read_secrets(with_secrets(tmp_path), {})
    assert [problem.path for problem in caught.value.problems] == [
        "relay.password_file",
        "intake.imap.password_file",
        "api.tokens_file",
        "sender.token_keys_file",
    ]


def test_a_secret_that_others_can_read_is_doubted(tmp_path: Path) -> None:
    file = secret_file(tmp_path, "token.keys", NEW_KEY + "\r\n", 0o644)
    assert open_to_others(file)
    assert read_secret(file) == NEW_KEY
    found = read_secrets(parse(MINIMAL, base=tmp_path, env={}), {})
    assert [warning.path for warning in found.warnings] == ["sender.token_keys_file"]
    assert found.token_keys == (NEW_KEY.encode(),)


@pytest.mark.parametrize("text", [f"{NEW_KEY}\nhunter2\n", "# no key yet\n"])
def test_short_keys_and_none_are_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    secret_file(tmp_path, "token.keys", text)
    with pytest.raises(ConfigError, match="32 characters or more") as caught:
        read_secrets(parse(MINIMAL, base=tmp_path, env={}), {})
    assert "hunter2" not in str(caught.value)
