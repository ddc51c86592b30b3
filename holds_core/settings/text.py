"""YAML text enters; a plain tree of dicts, lists and text leaves, with the line of every key.

Scalars stay text: what `off`, `9:10` or `01` mean is for the setting's type to say, not for YAML 1.1.
Only an empty value, `null` and `~` become None. Tags are refused, duplicate keys are errors, and depth and
size are bounded, so that neither nesting nor aliases of aliases can exhaust the process. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from holds_core.settings.problems import ConfigError, Path, Problem, dotted

Tree = dict[str, "Tree"] | list["Tree"] | str | None

_DEPTH = 12  # the deepest setting is at 6
_NODES = 20_000
_SIZE = 1_000_000
_WIDE = "\uff1a\uff0d\u3000\uff3b\uff3d"  # colon, hyphen, space, brackets of a Japanese keyboard
_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:[a-z]+")


@dataclass(slots=True)
class Document:
    """A tree and where its parts stand. `lines` maps a path to its line, counted from 1."""

    tree: Tree
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of the nearest part above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path) if path else None

    def at(self, path: Path) -> Tree:
        """The value at `path`; None if there is none."""
        node = self.tree
        for step in path:
            if isinstance(node, dict) and isinstance(step, str):
                node = node.get(step)
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                node = node[step]
            else:
                return None
        return node


def read(text: str, source: str) -> Document:
    """The tree of a YAML document. Raises ConfigError if the text is no YAML at all or is beyond bounds;
    duplicate keys and tags are collected in `problems`, to be told with all the others."""
    if len(text) > _SIZE:
        raise _unreadable(source, None, "ファイルが大きすぎます。", "the file is too large.")
    try:
        _measure(text, source)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = f"U+{ord(text[error.position]):04X}"
        raise _unreadable(
            source, line, f"使えない文字 ({code}) があります。", f"a character that YAML forbids ({code})."
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, source) from None
    except (ValueError, OverflowError):
        # PyYAML's scanner lets chr() fail on "\\UFFFFFFFF"
        raise _unreadable(
            source, None, "\\U の後の文字番号が正しくありません。", "a \\U escape names no character."
        ) from None
    document = Document(None)
    if root is not None:
        document.tree = _Walk(document, source).value(root, ())
    return document


def _unreadable(source: str, line: int | None, ja: str, en: str) -> ConfigError:
    return ConfigError([Problem("", line, "", ja, en)], source)


def _syntax(error: yaml.MarkedYAMLError, text: str, source: str) -> ConfigError:
    """The parser's own words with line and column, and a hint at full-width input, which looks right."""
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else None
    column = mark.column + 1 if mark else 1
    said = ", ".join(part for part in (error.context, error.problem) if part)
    lines = text.splitlines()
    # a missing colon is noticed only on the line after
    near = "\n".join(lines[max(0, (number or 1) - 2) : number])
    wide = any(c in near for c in _WIDE)
    return _unreadable(
        source,
        number,
        f"{column}文字目: YAML として読めません ({said})。"
        + ("全角の記号・空白は半角にしてください。" if wide else ""),
        f"column {column}: not readable as YAML ({said})."
        + (" Full-width punctuation or spaces must be ASCII." if wide else ""),
    )


def _measure(text: str, source: str) -> None:
    """Refuse deep nesting before the composer, which recurses, sees it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else None
            raise _unreadable(source, line, "入れ子が深すぎます。", "nested too deeply.")


class _Walk:
    """Turns composed nodes into the tree, noting lines and what is wrong on the way."""

    def __init__(self, document: Document, source: str) -> None:
        self.document, self.source, self.nodes = document, source, 0

    def value(self, node: yaml.Node, path: Path) -> Tree:
        line = node.start_mark.line + 1
        self.nodes += 1
        # so deep only through aliases: the text itself was measured
        if self.nodes > _NODES or len(path) > _DEPTH:
            raise _unreadable(
                self.source,
                line,
                "値が多すぎます (別名 * を含む)。",
                "too many values, counting aliases (*).",
            )
        self.document.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, path, "tag:yaml.org,2002:map")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "tag:yaml.org,2002:seq")
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode), node
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Tree:
        found: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(path, line, "項目名は文字列にしてください。", "a key must be text.")
                continue
            key = key_node.value
            if key in found:
                first = self.document.lines[*path, key]
                self._note(
                    (*path, key),
                    line,
                    f"同じ項目が{first}行目にもあります。",
                    f"this key is also on line {first}.",
                )
                continue
            self.document.lines[*path, key] = line
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Tree:
        plain = node.style is None
        if plain and node.tag == "tag:yaml.org,2002:null":
            return None
        if not _STANDARD_TAG.fullmatch(node.tag):
            self._check_tag(node, path, "")
        return str(node.value)

    def _check_tag(self, node: yaml.Node, path: Path, plain: str) -> None:
        if node.tag != plain:
            line = node.start_mark.line + 1
            self._note(path, line, "YAML のタグ (!) は使えません。", "YAML tags (!) are not used here.")

    def _note(self, path: Path, line: int, ja: str, en: str) -> None:
        self.document.problems.append(Problem(dotted(path), line, "", ja, en))
