"""What a patron reads: a `NoticeView` enters, a subject and a body in plain text leave.

Templates lie under `templates/mail/<notice>/<language>/`; a library's own folder comes first. They are
compiled once per `Renderer`; to take up changed files, make a new one.

Never here: which notice is owed, what its deadline is, whose address it goes to, and mail headers.
Two privacy rules stand in code, where no library's template can undo them: a subject is rendered without
titles and names, and the notice to a former address without anything about the patron.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.ext import Extension
from jinja2.sandbox import SandboxedEnvironment

from holds_core.errors import BadInput, TodokuError
from holds_core.notices import Kind
from mailer.view import DEFAULT_LANGUAGE, HoldLine, NoticeView, clean, day, show_title
from mailer.wrapping import wrap

__all__ = ["HoldLine", "NoticeView", "Rendered", "Renderer", "TemplateFault", "show_title"]


class TemplateFault(TodokuError):  # noqa: N818
    """A template cannot be used. `file` and `line` (0: the whole file) say where, `problem` says why."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        self.file, self.line, self.problem = file, line, problem
        super().__init__(f"{file}, line {line}: {problem}" if line else f"{file}: {problem}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail's text. The subject is one line; the body has "\\n" line ends."""

    subject: str
    body: str


_FIELDS = tuple(field.name for field in fields(NoticeView))
_VALUES = attrgetter(*_FIELDS)
_MANY_LINES = frozenset({"branch_hours", "send_only_note"})
_ONE_LINE = tuple(
    field.name for field in fields(NoticeView) if field.type == "str" and field.name not in _MANY_LINES
)
_SUBJECT_FIELDS = ("library_name", "branch_name", "deadline", "switch_on")
"""No titles, no names: a subject is read over shoulders and stands in every log on the way."""

_ABOUT_THE_LIBRARY = frozenset(
    {
        *("kind", "language", "library_name", "library_phone", "library_url", "sender_address"),
        *("send_only_note", "opac_url", "account_menu", "address_menu", "not_me_url"),
        "not_me_address",
    }
)
_ALL_IT_MAY_SEE: Mapping[Kind, frozenset[str]] = {
    # The former address may by now be a stranger's: nothing about the patron, whatever a template asks for.
    Kind.REGISTRATION_CHANGED_OLD: _ABOUT_THE_LIBRARY | {"changed", "changed_on"},
}
"""Notices whose templates get only some names; using another is a fault like any unknown name."""

_NEEDED: Mapping[Kind, frozenset[str]] = {
    Kind.HOLD_READY: frozenset({"deadline", "branch_name"}),
    Kind.HOLD_EXPIRING: frozenset({"deadline", "branch_name"}),
    Kind.SENDER_MIGRATION: frozenset({"new_sender"}),
}
"""Names without which a notice fails its purpose, whoever wrote the template."""


def _body_context(view: NoticeView) -> dict[str, Any]:
    context: dict[str, Any] = dict(zip(_FIELDS, _VALUES(view), strict=True))
    for name in _ONE_LINE:
        if not context[name].isprintable():
            context[name] = clean(context[name])
    for name in _MANY_LINES:
        context[name] = _clean_lines(context[name])
    holds = tuple(HoldLine(clean(line.title), line.deadline) for line in view.holds)
    context["holds"], context["titles_shown"] = holds, any(line.title for line in holds)
    allowed = _ALL_IT_MAY_SEE.get(view.kind)
    return context if allowed is None else {name: context[name] for name in allowed}


@lru_cache(maxsize=256)
def _clean_lines(text: str) -> str:
    return "\n".join(map(clean, text.splitlines()))


# Templates

_SUBJECT, _BODY = "subject.txt", "body.txt"
_PACKAGE_FOLDER = "mail"
_SUBJECTS_KEPT = 256  # a batch has a handful


class Renderer:
    """Holds the compiled templates.

    `override_dir` is a folder laid out like the package `templates`: its `mail/hold_ready/ja/body.txt`
    replaces that one file. Raises BadInput if it is given and is no folder.
    """

    def __init__(self, override_dir: Path | None = None) -> None:
        loaders: list[jinja2.BaseLoader] = [jinja2.PackageLoader("templates", _PACKAGE_FOLDER)]
        self._builtin = frozenset(loaders[0].list_templates())
        self._own: frozenset[str] = frozenset()
        if override_dir is not None:
            if not override_dir.is_dir():
                raise BadInput(f"the folder for your own templates does not exist: {override_dir}")
            # utf-8-sig: Windows editors put a byte order mark in front
            own = jinja2.FileSystemLoader(override_dir / _PACKAGE_FOLDER, encoding="utf-8-sig")
            self._own = frozenset(own.list_templates())
            loaders.insert(0, own)
        self._exact = _environment(jinja2.ChoiceLoader(loaders))
        self._quick = _environment(jinja2.ChoiceLoader(loaders), _IncludeInPlace)
        self._compiled: dict[str, jinja2.Template] = {}
        self._subjects: dict[tuple[Any, ...], str] = {}

    def render(self, view: NoticeView) -> Rendered:
        """The mail's text in the view's language, else in Japanese. Raises TemplateFault."""
        folder = self._folder(view.kind, view.language)
        context = _body_context(view)
        return Rendered(self._subject(folder, context), self._text(folder + _BODY, context))

    def _subject(self, folder: str, context: Mapping[str, Any]) -> str:
        seen = {name: context[name] for name in _SUBJECT_FIELDS if name in context}
        key = (folder, *seen.values())
        if key not in self._subjects:
            subject = self._text(folder + _SUBJECT, seen).strip()
            if not subject or "\n" in subject:
                raise TemplateFault(folder + _SUBJECT, 0, "a subject is exactly one line")
            if len(self._subjects) >= _SUBJECTS_KEPT:
                self._subjects.clear()
            self._subjects[key] = subject
        return self._subjects[key]

    def languages(self, kind: Kind) -> list[str]:
        """The languages that have a body for this notice."""
        names = (name.split("/") for name in self._builtin | self._own)
        return sorted(parts[1] for parts in names if parts[0] == kind and parts[2:] == [_BODY])

    def warnings(self) -> list[TemplateFault]:
        """What renders but is surely not meant: own files that will never be used, such as those in a
        misspelt folder, and bodies that leave out what a patron cannot do without."""
        misplaced = [
            TemplateFault(name, 0, "replaces no template and belongs to no notice")
            for name in sorted(self._own - self._builtin)
            if not self._belongs(name)
        ]
        bodies = [
            (kind, f"{kind}/{language}/{_BODY}") for kind in _NEEDED for language in self.languages(kind)
        ]
        return misplaced + [
            TemplateFault(name, 0, f"does not say {missing}")
            for kind, name in bodies
            for missing in sorted(_NEEDED[kind] - self._names_used(name))
        ]

    def _names_used(self, name: str) -> set[str]:
        """The names that a template and what it includes use. A broken one is `render`'s to report."""
        assert self._quick.loader is not None
        try:
            source = self._quick.loader.get_source(self._quick, name)[0]
            return meta.find_undeclared_variables(self._quick.parse(source))
        except (jinja2.TemplateError, UnicodeDecodeError, RecursionError):
            return set(_FIELDS)

    def _belongs(self, name: str) -> bool:
        """A new language of a known notice, or something for other templates to include."""
        parts = name.split("/")
        return parts[0] == "_shared" or (
            len(parts) == 3 and parts[0] in set(Kind) and parts[2] in (_SUBJECT, _BODY)
        )

    def _folder(self, kind: Kind, language: str) -> str:
        """The folder of the best language there is: `en-GB`, then `en`, then Japanese."""
        for candidate in (language, language.partition("-")[0]):
            folder = f"{kind}/{candidate}/"
            if folder + _BODY in self._builtin or folder + _BODY in self._own:
                return folder
        return f"{kind}/{DEFAULT_LANGUAGE}/"

    def _text(self, name: str, context: dict[str, Any]) -> str:
        # A library's template may raise anything at all; whatever it is, it is that file's fault.
        try:
            template = self._compiled.get(name)
            if template is None:
                template = self._compiled[name] = self._quick.get_template(name)
            return template.render(context)
        except Exception as error:
            raise self._located(name, context, error) from error

    def _located(self, name: str, context: dict[str, Any], error: Exception) -> TemplateFault:
        """The fault with its true file and line, which the quick form does not know."""
        try:
            self._exact.get_template(name).render(context)
        except Exception as exact:
            return _fault(name, exact)
        return TemplateFault(name, 0, str(error))


_INCLUDE = re.compile(r"""^[ \t]*\{%-? include "([\w./-]+)" %\}\n""", re.MULTILINE)


class _IncludeInPlace(Extension):
    """Puts the text of an included template in its place before it is compiled. Each include that jinja2
    makes while rendering costs a mail 3 microseconds, half of the whole with the usual six."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        def included(found: re.Match[str]) -> str:
            assert self.environment.loader is not None
            try:
                text = self.environment.loader.get_source(self.environment, found[1])[0]
            except jinja2.TemplateNotFound:
                # Raised here, the loader would take it for the outer file's absence and look further.
                return found[0]
            return self.preprocess(text, found[1])

        return _INCLUDE.sub(included, source)


def _environment(loader: jinja2.BaseLoader, *extensions: type[Extension]) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=loader,
        extensions=extensions,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # text/plain
        auto_reload=False,
        cache_size=-1,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["day"] = day
    environment.filters["fold"] = wrap
    return environment


def _fault(name: str, error: Exception) -> TemplateFault:
    """Where the error is: jinja2 writes template files and lines into the traceback."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return TemplateFault(
            error.filename or error.name or name, error.lineno, error.message or "syntax error"
        )
    problem = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
    if isinstance(error, jinja2.TemplateNotFound):
        problem = f"there is no template {error.name}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith(".txt"):
            return TemplateFault(frame.filename, frame.lineno or 0, problem)
    return TemplateFault(name, 0, problem)
