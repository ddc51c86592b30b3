"""What a configuration may say but probably does not mean: warnings, never errors. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import time
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from holds_core.settings import Mode, QuietHours, Settings, Tls, Way
from holds_core.settings.problems import Path


class Doubt(NamedTuple):
    """A warning about the value at `path`, in full sentences."""

    path: Path
    ja: str
    en: str


def doubts(settings: Settings) -> list[Doubt]:
    """Every doubt, in the order of the rules below."""
    return [doubt for rule in _RULES for doubt in rule(settings)]


def _batch_times(settings: Settings) -> Iterator[Doubt]:
    for index, batch in enumerate(settings.batches):
        path = ("batches", index, "at")
        if batch.at.minute == 0:
            # carriers ask for it: everyone's batches start on the hour
            yield Doubt(
                path,
                "毎正時は携帯電話会社のメールが混み合います。10分ほどずらしてください。",
                "mail systems are busiest on the hour; choose a time some minutes off.",
            )
        if settings.sending.quiet_hours and _quiet(batch.at, settings.sending.quiet_hours):
            yield Doubt(
                path,
                "sending.quiet_hours (送信を控える時間帯) の中にあります。",
                "this lies within sending.quiet_hours.",
            )


def _quiet(at: time, hours: QuietHours) -> bool:
    if hours.start < hours.end:
        return hours.start <= at < hours.end
    return at >= hours.start or at < hours.end


def _clear_text(settings: Settings) -> Iterator[Doubt]:
    relay, imap = settings.relay, settings.intake.imap
    if relay.tls is Tls.NONE and not is_loopback(relay.host):
        yield Doubt(
            ("relay", "tls"),
            "メールが暗号化されずにネットワークを流れます。starttls か implicit を推奨します。",
            "mail crosses the network in clear text; prefer starttls or implicit.",
        )
    if imap and imap.tls == "none" and not is_loopback(imap.host):
        yield Doubt(
            ("intake", "imap", "tls"),
            "パスワードとメールが暗号化されずにネットワークを流れます。implicit を推奨します。",
            "the password and mail cross the network in clear text; prefer implicit.",
        )
    for path, section in ((("relay",), relay), (("intake", "imap"), imap)):
        if section and not section.verify_tls and section.tls != "none":
            yield Doubt(
                (*path, "verify_tls"),
                "接続先を確認しないため、なりすましを見抜けません。ca_file の指定を推奨します。",
                "an impostor would not be noticed; prefer naming the authority in ca_file.",
            )


def _exposed(settings: Settings) -> Iterator[Doubt]:
    lmtp = settings.intake.lmtp
    if lmtp and not is_loopback(lmtp.listen.host):
        yield Doubt(
            ("intake", "lmtp", "listen"),
            "ほかのコンピューターからも接続できます。127.0.0.1 を推奨します。",
            "other machines can connect; prefer 127.0.0.1.",
        )
    if not is_loopback(settings.desk.listen.host) and not settings.desk.secure_cookies:
        yield Doubt(
            ("desk", "listen"),
            "ほかのコンピューターから暗号化なしで開けます。HTTPS の中継を置き、secure_cookies を true にしてください。",
            "other machines can open it without encryption; put an HTTPS proxy before it, set secure_cookies.",
        )


def _database_password(settings: Settings) -> Iterator[Doubt]:
    if urlsplit(settings.database.url).password:
        yield Doubt(
            ("database", "url"),
            "パスワードが設定ファイルに書かれています。環境変数 PGPASSFILE の指すファイルに移してください。",
            "a password stands in this file; move it to the file that the variable PGPASSFILE names.",
        )


def _signs(settings: Settings) -> Iterator[Doubt]:
    """Without these Todoku cannot learn what became of its mail. Of no interest while nothing is sent."""
    if settings.sending.mode is Mode.OFF:
        return
    asks = settings.confirmation.ask
    ways = (asks.registration_changed, asks.hold_ready)
    has_address = bool(settings.sender.confirm_addresses)
    if any(way is Way.REPLY for way in ways) and not has_address:
        yield Doubt(
            ("sender", "reply_confirm_address"),
            "指定がないため、メールに空メールの宛先が入りません。",
            "without it mail carries no address for an empty mail.",
        )
    if settings.confirm.base_url is None and any(way.link for way in ways) and not has_address:
        yield Doubt(
            ("confirm", "base_url"),
            "指定がないため、メールに確認用のリンクが入りません。",
            "without it mail carries no confirmation link.",
        )
    if settings.intake.lmtp is None and settings.intake.imap is None:
        yield Doubt(
            ("intake",),
            "lmtp も imap も指定がないため、不達メールを受け取れません。",
            "neither lmtp nor imap is set, so that bounces are not seen.",
        )


def _windows(settings: Settings) -> Iterator[Doubt]:
    if settings.confirmation.windows.hold_ready.days >= settings.deadline.days:
        yield Doubt(
            ("confirmation", "windows", "hold_ready"),
            "取置期限 (deadline.days) まで待つため、電話で連絡する時間が残りません。",
            "this is as long as deadline.days, so that no time is left to phone.",
        )
    base_url = settings.confirm.base_url
    if base_url and base_url.startswith("http://") and not is_loopback(urlsplit(base_url).hostname or ""):
        yield Doubt(
            ("confirm", "base_url"),
            "暗号化されません。https:// を推奨します。",
            "this is not encrypted; prefer https://.",
        )


_RULES: tuple[Callable[[Settings], Iterator[Doubt]], ...] = (
    _batch_times,
    _clear_text,
    _exposed,
    _database_password,
    _signs,
    _windows,
)


def is_loopback(host: str) -> bool:
    """Whether a host name or address surely means this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
