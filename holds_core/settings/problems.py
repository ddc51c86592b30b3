"""How an error or a doubt about the configuration is said: key, line, what was found, what was expected.

Every sentence exists in Japanese and English. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holds_core.errors import TodokuError

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions, such as ("batches", 0, "at")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong or doubtful in the configuration.

    `path` is the key as "relay.port" or "batches[0].at", "" for the file as a whole; `line` counts from 1,
    None if no line can be named; `found` is what stood there, shortened, and "" where nothing stood or it
    may be a secret; `ja` and `en` are full sentences that say what was found and what was expected.
    """

    path: str
    line: int | None
    found: str
    ja: str
    en: str

    def __str__(self) -> str:
        """Two lines, Japanese first."""
        return f"{self._place('{}行目')}{self.ja}\n{self._place('line {}')}{self.en}"

    def _place(self, template: str) -> str:
        line = template.format(self.line) if self.line else ""
        place = f"{self.path} ({line})" if self.path and line else self.path or line
        return f"{place}: " if place else ""


class ConfigError(TodokuError):
    """The configuration cannot be used; `problems` holds everything that is wrong, in the file's order."""

    def __init__(self, problems: Sequence[Problem], source: str = "config.yaml") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        head = (
            f"{source}: 設定に誤りが{count}件あります。",
            f"{source}: {count} {'error' if count == 1 else 'errors'} in the configuration",
        )
        super().__init__("\n".join([*head, *map(str, self.problems)]))


def dotted(path: Path) -> str:
    """("batches", 0, "at") as "batches[0].at"."""
    text = ""
    for step in path:
        # a key is what someone typed, and may be anything
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if text else shown(step)
    return text


def shown(value: object) -> str:
    """A value as it may stand in an error: one line, at most 60 characters, "" for nothing."""
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, list):
        return "[…]"
    text = "" if value is None else str(value)[:61]
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= 60 else text[:59] + "…"


def misfit(path: Path, line: int | None, found: str, ja: str, en: str) -> Problem:
    """A value that is not what was expected; `ja` and `en` name what would have been."""
    said_ja = f"「{found}」は使えません。" if found else "指定がありません。"
    gap = " " if ja[-1].isalnum() and ja[-1].isascii() else ""
    said_en = f'found "{found}"' if found else "found nothing"
    return Problem(
        dotted(path), line, found, f"{said_ja}{ja}{gap}を指定してください。", f"{said_en}, expected {en}."
    )


def unknown(path: Path, line: int | None, suggestion: str) -> Problem:
    """A key that does not exist; `suggestion` is the one probably meant, or "". What stands there is not
    repeated: the key may be a misspelt password."""
    hint_ja = f"「{suggestion}」の誤りではありませんか。" if suggestion else ""
    hint_en = f" Did you mean {suggestion}?" if suggestion else ""
    ja, en = f"この名前の項目はありません。{hint_ja}", f"there is no such key.{hint_en}"
    return Problem(dotted(path), line, "", ja, en)


def secret(path: Path, line: int | None, instead: str) -> Problem:
    """A secret in the file; `instead` is the key that names a file for it, or "". What was found is not
    repeated."""
    ja = f"別のファイルに保存し、そのパスを「{instead}」に指定してください。" if instead else ""
    en = f" Put it into a file of its own and name that file in {instead}." if instead else ""
    if path[:1] == ("database",):
        ja = "環境変数 PGPASSFILE の指すファイルに保存してください。"
        en = " Put it into the file that the variable PGPASSFILE names."
    return Problem(
        dotted(path),
        line,
        "",
        f"パスワードなどの秘密の値は設定ファイルに書けません。{ja}",
        f"secrets do not belong in this file.{en}",
    )
