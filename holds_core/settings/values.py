"""The kinds of value a setting can have: text from the file enters, a typed value leaves.

Every scalar of config.yaml arrives here as text, so that YAML 1.1 cannot turn `off` into False, `9:10`
into 550 or the branch code `01` into 1; the setting's own type decides. A value that does not fit raises
`refused(...)`, which carries the complaint in Japanese and English. Values that are already typed (the
defaults) pass. Reads no file; paths are only joined with the folder given as validation context.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Context:
    """What validation may know beside the file: the folder it lies in, and the environment."""

    base: Path
    env: Mapping[str, str]


class Complaint(NamedTuple):
    """What was expected instead of a value. `at` leads from the complaining field to the culprit below it."""

    ja: str
    en: str
    at: tuple[str | int, ...] = ()


def refused(*complaints: Complaint) -> PydanticCustomError:
    """The error a validator raises; pydantic collects it with all the others."""
    return PydanticCustomError("todoku", "refused", {"complaints": complaints})


def expected(ja: str, en: str) -> PydanticCustomError:
    """`refused` with one complaint that only names what would have been right."""
    return refused(Complaint(ja, en))


def context(info: ValidationInfo) -> Context:
    """The context of this validation; outside `parse` the current folder and an empty environment."""
    return info.context if isinstance(info.context, Context) else Context(Path(), {})


# Text -----------------------------------------------------------------------------------------------


_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _has_controls(text: str, allowed: str = "") -> bool:
    """Control characters, line separators, unpaired surrogates, and what turns the direction of text
    (Unicode UAX #9): a name or path with them is not what it looks like, and names stand in mail headers."""
    return any(
        c not in allowed
        and (unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(c) in _TURNING)
        for c in text
    )


def _line(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > 200 or _has_controls(text):
        raise expected("200字までの1行の文字列", "one line of text, at most 200 characters")
    return text


def _paragraph(value: object) -> str:
    if not isinstance(value, str) or len(value) > 2000 or _has_controls(value, "\n"):
        raise expected("2000字までの文章", "text of at most 2000 characters")
    return value.strip()


Line = Annotated[str, PlainValidator(_line)]
Paragraph = Annotated[str, PlainValidator(_paragraph)]


def choice(kind: type[E]) -> Callable[[object], E]:
    """A converter to one member of a StrEnum."""

    def convert(value: object) -> E:
        try:
            return kind(value) if isinstance(value, str) else kind("")
        except ValueError:
            names = [member.value for member in kind]
            raise expected(" / ".join(names) + " のいずれか", "one of " + ", ".join(names)) from None

    return convert


# Numbers and yes or no --------------------------------------------------------------------------------


def whole(low: int, high: int) -> Callable[[object], int]:
    """A converter to an int from `low` to `high`, both included."""

    def convert(value: object) -> int:
        digits = unicodedata.normalize("NFKC", value) if isinstance(value, str) else ""
        number = int(digits) if re.fullmatch(r"[0-9]{1,12}", digits) else None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        if number is None or not low <= number <= high:
            raise expected(f"{low}〜{high}の整数", f"a whole number from {low} to {high}")
        return number

    return convert


_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise expected("true または false", "true or false")


Flag = Annotated[bool, PlainValidator(_flag)]
Port = Annotated[int, PlainValidator(whole(1, 65535))]


# Time -------------------------------------------------------------------------------------------------

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


def duration(low: str, high: str) -> Callable[[object], timedelta]:
    """A converter from `10m`, `24h`, `3d`, `2w`, `3y` (365 days each) to a timedelta within bounds."""

    def convert(value: object) -> timedelta:
        found = value if isinstance(value, timedelta) else _read_duration(value)
        if found is None or not _read(low) <= found <= _read(high):
            raise expected(
                f"30s・10m・24h・3d・2w・1y のような期間 ({low}〜{high})",
                f"a duration such as 30s, 10m, 24h, 3d, 2w, 1y (from {low} to {high})",
            )
        return found

    return convert


def _read_duration(value: object) -> timedelta | None:
    match = re.fullmatch(r"([0-9]{1,6}) ?([smhdwy])", value) if isinstance(value, str) else None
    return int(match[1]) * _UNITS[match[2]] if match else None


def _read(bound: str) -> timedelta:
    found = _read_duration(bound)
    assert found is not None, bound
    return found


def _clock(value: object) -> time:
    if isinstance(value, time):
        return value
    text = unicodedata.normalize("NFKC", value) if isinstance(value, str) else ""
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text)
    if not match:
        raise expected("09:10 のような時刻 (00:00〜23:59)", "a time of day such as 09:10 (00:00 to 23:59)")
    return time(int(match[1]), int(match[2]))


def _zone(value: object) -> zoneinfo.ZoneInfo:
    if isinstance(value, zoneinfo.ZoneInfo):
        return value
    name = value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_+/-]{1,60}", value) else ""
    try:
        return zoneinfo.ZoneInfo(name or "-")
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = difflib.get_close_matches(name, sorted(zoneinfo.available_timezones()), 1)
        like = near[0] if near else "Asia/Tokyo"
        raise expected(f"{like} のような時間帯名", f"the name of a time zone, such as {like}") from None


Clock = Annotated[time, PlainValidator(_clock)]
Zone = Annotated[zoneinfo.ZoneInfo, PlainValidator(_zone)]


# Mail and network -------------------------------------------------------------------------------------

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"


def _domain(value: object) -> str:
    if not isinstance(value, str) or len(value) > 253 or not re.fullmatch(_DOMAIN, value):
        raise expected("bounce.example.jp のようなドメイン名", "a domain name such as bounce.example.jp")
    return value.lower()


def _pattern(value: object) -> str:
    if not isinstance(value, str) or len(value) > 253 or not re.fullmatch(rf"(?:\*\.)?{_DOMAIN}", value):
        raise expected(
            "docomo.ne.jp または *.ezweb.ne.jp のようなドメイン名",
            "a mail domain such as docomo.ne.jp or *.ezweb.ne.jp",
        )
    return value.lower()


def _local_part(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64 or not re.fullmatch(_LOCAL, value):
        raise expected("@ より前の部分 (64字まで)", "the part before the @, at most 64 characters")
    return value


def _address(value: object) -> str:
    """An address of the library's own (RFC 5321 section 4.1.2, dot-string only, 64 octets before the @).
    Patrons' addresses, which may be odder, are judged elsewhere."""
    local, _, domain = value.rpartition("@") if isinstance(value, str) else ("", "", "")
    fits = len(local) <= 64 and len(domain) <= 253
    if not (fits and re.fullmatch(_LOCAL, local) and re.fullmatch(_DOMAIN, domain)):
        raise expected(
            "yoyaku@library.example.jp のようなメールアドレス",
            "a mail address such as yoyaku@library.example.jp",
        )
    return f"{local}@{domain.lower()}"


def is_host(text: str) -> bool:
    """Whether `text` is an IP address or could be a host name."""
    try:
        ip_address(text)
    except ValueError:
        # digits and dots alone are an address with a slip, not a name
        return len(text) <= 253 and bool(re.fullmatch(_DOMAIN, text)) and not re.fullmatch(r"[0-9.]+", text)
    return True


def _host(value: object) -> str:
    if not isinstance(value, str) or not is_host(value):
        raise expected(
            "mail.example.jp または 127.0.0.1 のようなホスト名・IPアドレス",
            "a host name or IP address such as mail.example.jp or 127.0.0.1",
        )
    return value.lower()


class Listen(NamedTuple):
    """Where a server of ours listens. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(value: object) -> Listen:
    if isinstance(value, Listen):
        return value
    match = re.fullmatch(rf"(?:\[([0-9A-Fa-f:.]+)\]|({_DOMAIN})):([0-9]{{1,5}})", str(value))
    if not match or int(match[3]) > 65535 or not is_host(match[1] or match[2]):
        raise expected(
            "127.0.0.1:8080 または [::1]:8080 のような待ち受け先",
            "host and port such as 127.0.0.1:8080 or [::1]:8080",
        )
    return Listen(match[1] or match[2], int(match[3]))


def _url(value: object) -> str:
    shape = rf"https?://(?:{_DOMAIN}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~/%-]*)?"
    if not isinstance(value, str) or len(value) > 500 or not re.fullmatch(shape, value):
        raise expected(
            "https://todoku.example.jp のような URL", "a URL such as https://todoku.example.jp (no query)"
        )
    return value.rstrip("/")


def _web_page(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[!-~]{1,500}", value):
        raise expected("https:// で始まる URL", "a URL that begins with https:// or http://")
    return value


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise expected(
            "127.0.0.1 または 10.1.2.0/24 のようなIPアドレスの範囲",
            "an IP address or a range of them, such as 127.0.0.1 or 10.1.2.0/24",
        ) from None


def _header_name(value: object) -> str:
    """A field name (RFC 9110 section 5.6.2), of the letters that all proxies pass on."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,59}", value):
        raise expected("X-Remote-User のようなヘッダー名", "the name of a header, such as X-Remote-User")
    return value


Host = Annotated[str, PlainValidator(_host)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
HeaderName = Annotated[str, PlainValidator(_header_name)]
Domain = Annotated[str, PlainValidator(_domain)]
MailDomain = Annotated[str, PlainValidator(_pattern)]
LocalPart = Annotated[str, PlainValidator(_local_part)]
Address = Annotated[str, PlainValidator(_address)]
ListenAddress = Annotated[Listen, PlainValidator(_listen)]
BaseUrl = Annotated[str, PlainValidator(_url)]
WebPage = Annotated[str, PlainValidator(_web_page)]


# Files and the database -------------------------------------------------------------------------------

_DIRECTORIES = ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "CONFIGURATION_DIRECTORY")
"""Variables that systemd sets for a unit (systemd.exec(5)); no others are expanded."""


def expand(text: str, where: Context) -> Path:
    """The absolute path that `text` means: `${CREDENTIALS_DIRECTORY}` and its like replaced, relative
    paths counted from the folder of the configuration file."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in _DIRECTORIES:
            names = [f"${{{name}}}" for name in _DIRECTORIES]
            raise expected(
                f"{'・'.join(names)} のいずれかの環境変数", f"no variable other than {', '.join(names)}"
            )
        # systemd separates several directories by colons; the first is ours
        directory = where.env.get(match[1], "").split(":")[0]
        if not directory:
            raise expected(
                f"systemd が設定する環境変数 {match[1]} (いまは設定されていません)",
                f"the variable {match[1]} to be set, as systemd does",
            )
        return directory

    return where.base / re.sub(r"\$\{([^}]*)\}", value_of, text)


def _file(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return context(info).base / value
    if not isinstance(value, str) or not value.strip() or len(value) > 1000 or _has_controls(value):
        raise expected("ファイルのパス", "the path of a file")
    return expand(value.strip(), context(info))


def _database(value: object, info: ValidationInfo) -> str:
    """`sqlite:///relative`, `sqlite:////absolute` or `postgresql://…`; the driver part is dropped."""
    text = value if isinstance(value, str) and len(value) < 1000 and not _has_controls(value) else ""
    if match := re.fullmatch(r"sqlite(?:\+aiosqlite)?:///([^?:]+)", text):
        return f"sqlite:///{expand(match[1], context(info))}"
    if match := re.fullmatch(r"postgres(?:ql)?(?:\+asyncpg)?://([^/\s]*/[^/?\s]+(?:\?\S*)?)", text):
        return f"postgresql://{match[1]}"
    raise expected(
        "sqlite:///todoku.db または postgresql://利用者@ホスト/データベース名",
        "sqlite:///todoku.db or postgresql://user@host/database",
    )


FilePath = Annotated[Path, PlainValidator(_file)]
DatabaseUrl = Annotated[str, PlainValidator(_database)]
