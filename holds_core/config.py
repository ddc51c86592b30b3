"""config.yaml enters; frozen, typed Settings leave, or one ConfigError with everything that is wrong.

`parse` is pure: text, the folder that relative paths count from, and the environment are arguments. Only
`load` and the readers of secrets touch files. Secrets never stand in the file: it names files (which
may lie in systemd's credentials directory), or the environment carries them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from holds_core.settings import Settings
from holds_core.settings import problems as say
from holds_core.settings.base import Section, section_of
from holds_core.settings.doubts import doubts
from holds_core.settings.problems import ConfigError, Problem
from holds_core.settings.secrets import Secrets, open_to_others, read_secret, read_secrets
from holds_core.settings.text import Document, read
from holds_core.settings.values import Complaint, Context

__all__ = [
    "ConfigError",
    "Problem",
    "Secrets",
    "load",
    "open_to_others",
    "parse",
    "read_secret",
    "read_secrets",
]


def load(path: Path, env: Mapping[str, str]) -> Settings:
    """The settings in the file at `path`. Raises ConfigError, also if the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unusable(
            path, f"読み込めません ({error.strerror})。", f"cannot be read ({error.strerror})."
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unusable(
            path,
            "文字コードが UTF-8 ではありません。UTF-8 で保存し直してください。",
            "not UTF-8. Save it as UTF-8.",
            line,
        ) from None
    return parse(text, base=path.absolute().parent, env=env, source=str(path))


def _unusable(path: Path, ja: str, en: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem("", line, "", ja, en)], str(path))


def parse(text: str, *, base: Path, env: Mapping[str, str], source: str = "config.yaml") -> Settings:
    """The settings in `text`; relative paths are counted from `base`. `source` names it in errors.

    Raises ConfigError with every problem at once, in the order of the file; nothing else, whatever `text`
    is. Only what compares the entries of a list is checked after the entries themselves are right. Doubts
    that are no errors are in `Settings.warnings`.
    """
    document = read(text, source)
    tree = {} if document.tree is None else document.tree
    problems = list(document.problems)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(tree, context=Context(base, env))
    except ValidationError as error:
        # the input is kept out: it may hold a secret, and Document has it anyway
        for details in error.errors(include_url=False, include_input=False):
            problems.extend(_problems(details, document))
    if settings is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0), source)
    settings._warnings = tuple(
        Problem(say.dotted(path), document.line(path), _found(path, document), ja, en)
        for path, ja, en in doubts(settings)
    )
    return settings


# From pydantic's errors to ours -----------------------------------------------------------------------

_SECRET_KEY = re.compile(r"(^|_)(pass(word|wd|phrase)?|secrets?|tokens?|(api|token|signing)_?keys?)$")
_SECRET_FILES = ("password_file", "token_keys_file", "tokens_file")


def _problems(details: ErrorDetails, document: Document) -> Iterator[Problem]:
    """One pydantic error as problems; `loc` leads to the value, as keys stand in the file."""
    path = details["loc"]
    kind = details["type"]
    line = document.line(path)
    if kind == "todoku":
        for complaint in details["ctx"]["complaints"]:
            yield _complaint(complaint, (*path, *complaint.at), document)
    elif kind == "default_factory_not_called":
        return  # a default that hangs on another key, which is complained of itself
    elif kind == "extra_forbidden":
        yield _unknown_key(path, document)
    elif kind in {"tuple_type", "list_type"}:
        yield say.misfit(path, line, say.shown(document.at(path)), "項目の並び (リスト)", "a list")
    else:
        found = say.shown(document.at(path))
        keys = "、".join(_keys(_section(path)))
        yield say.misfit(
            path, line, found, f"{keys} などの項目", f"a group of keys: {keys.replace('、', ', ')}"
        )


def _complaint(complaint: Complaint, path: say.Path, document: Document) -> Problem:
    return say.misfit(path, document.line(path), _found(path, document), complaint.ja, complaint.en)


def _found(path: say.Path, document: Document) -> str:
    """What stands at `path`, fit to be shown: the password in a database URL is not."""
    value = document.at(path)
    if path == ("database", "url"):
        value = re.sub(r"://([^:/@]*):[^/]*@", r"://\1:***@", str(value or ""))
    return say.shown(value)


def _unknown_key(path: say.Path, document: Document) -> Problem:
    """An unknown key with the one probably meant: a similar one here, or the same one in another section."""
    key, line = str(path[-1]), document.line(path)
    here = _keys(_section(path[:-1]))
    if _SECRET_KEY.search(key.lower()):
        return say.secret(path, line, next((name for name in here if name in _SECRET_FILES), ""))
    near = difflib.get_close_matches(key.lower()[:60], here, 1)
    return say.unknown(path, line, near[0] if near else _place(key))


def _section(path: say.Path) -> type[Section]:
    """The class of the section that `path` leads to or into."""
    section: type[Section] = Settings
    for step in path:
        fields = {info.alias or name: info for name, info in section.model_fields.items()}
        if isinstance(step, str) and step in fields:
            section = section_of(fields[step]) or section
    return section


def _keys(section: type[Section]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def _place(key: str, section: type[Section] = Settings, above: str = "") -> str:
    """Where `key` is a key, as "desk.listen"; "" if nowhere."""
    for name, info in section.model_fields.items():
        path = f"{above}{info.alias or name}"
        if (info.alias or name) == key:
            return path
        below = section_of(info)
        if below and (found := _place(key, below, f"{path}.")):
            return found
    return ""
