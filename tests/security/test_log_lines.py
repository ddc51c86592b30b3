"""What may stand in a line of the log, whoever wrote its words."""

import ast
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from mailer import loglines, maillog

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "himitsu.hanako@example.jp"
TITLE = "門外不出の書"

HOSTILE = (
    "a\nlevel=error event=forged",
    "a\r\nlevel=error event=forged",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m\x90",
    "a\u2028level=error event=forged",
    "\u202etxt.exe",
)


Lines = Callable[[], list[str]]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What the log wrote until now, line by line; the log is set up in the test as `todoku` does it."""
    before, level = structlog.get_config(), logging.root.level
    yield lambda: capsys.readouterr().err.splitlines()
    structlog.configure(**before)
    logging.root.setLevel(level)


@pytest.mark.parametrize("json_", [False, True])
@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_a_line_stays_one_line_and_steers_no_terminal(written: Lines, word: str, json_: bool) -> None:
    """A file's name, a relay's greeting, a feed's answer: others choose their letters."""
    maillog.setup(json=json_, level="info")
    structlog.get_logger("fresh").info("snapshot_waits", file=word, feed="nightly")
    [line] = written()
    assert not loglines._STEERING.search(line)
    if json_:
        assert json.loads(line)["event"] == "snapshot_waits"
    else:
        assert line.startswith("level=info event=snapshot_waits ")


def failure() -> BaseException:
    try:
        try:
            raise ValueError(f"Key (address)=({ADDRESS}) already exists: {TITLE}")
        except ValueError as error:
            raise OSError(28, f"{TITLE} {ADDRESS}") from error
    except OSError as error:
        return error


@pytest.mark.parametrize("json_", [False, True])
def test_an_errors_words_are_left_out_and_its_place_is_told(written: Lines, json_: bool) -> None:
    """PostgreSQL names the row that is there already; so may any other error."""
    maillog.setup(json=json_, level="info")
    structlog.get_logger("fresh").error("task_failed", task="sender", exc_info=failure())
    [line] = written()
    assert ADDRESS not in line
    assert TITLE not in line
    assert "OSError ENOSPC at test_log_lines.py:" in line
    assert "caused by ValueError at test_log_lines.py:" in line


def test_a_librarys_lines_say_where_and_quote_nothing(
    written: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own
    maillog.setup(json=False, level="info")
    library = logging.getLogger("some.library")
    library.error("could not send %r to %s", TITLE, ADDRESS, exc_info=failure())
    library.warning(f"bad address {ADDRESS}\n{TITLE}\x1b[2J")
    library.info("nobody asks")
    first, second = written()
    assert 'logger=some.library said="could not send %r to %s" place="OSError ENOSPC at' in first
    assert second == 'level=warning event=library logger=some.library said="bad address ***"'


def test_a_program_that_ends_by_an_error_quotes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    error = failure()
    loglines.last_words(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert "OSError ENOSPC at test_log_lines.py:" in said
    assert ADDRESS not in said
    assert TITLE not in said


# -- every line there is -----------------------------------------------------------------------------

_NAMES = """
about alert allowed_s again_in_s canary code count cut_off day delivery deliveries due feed held kind late_s limit
mail mails matched_by notice octets owner part phase placed place position reason refused result retry_in server
sign slot source state status suspect task tasks took_s trouble truncated uid uncertain verdict waited_s what why

alarming applied cancel_refused cancelled closings failed lapsed observations passed patrons reminded repeats
resumed sent shown stopped waiting

as_of at changed fate idle method move new sending todo

branch domain error exc_info file host path peer port relay text
"""
# Numbers and names of our own; how many; how something is; and the library's own machines, folders, branches and
# files, where `domain` is a provider's, `text` a relay's greeting or its answer to our login, and `error` a kind, or
# what a server says of our connection.
FACTS = frozenset(_NAMES.split())
"""Every name that a fact in the log may have. One that is not here needs a thought before it is: may it name a
patron, an address, or what somebody borrows?"""

_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "event"})
_LOGGERS = frozenset({"log", "_log", "maillog", "level"})


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call that writes a line of ours; the sandbox town's log is nobody's."""
    for package in ("holds_core", "mailer", "bounces"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and _writes(node.func) and "demo" not in file.parts:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def _writes(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        return called.attr in _METHODS and called.value.id in _LOGGERS
    return isinstance(called, ast.Name) and called.id == "level"


def test_no_line_has_a_fact_that_nobody_thought_about() -> None:
    found = dict(calls())
    assert len(found) > 50
    unknown = {
        (where, keyword.arg)
        for where, call in found.items()
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in FACTS
    }
    assert unknown == set()


def test_no_line_is_a_text_with_something_put_into_it() -> None:
    """The first word names what happened; a text made of parts would hide them from the list above."""
    odd = [
        where
        for where, call in calls()
        if len(call.args) != 1
        or not (isinstance(call.args[0], ast.Constant | ast.Name) or _is_verb(call.args[0]))
    ]
    assert odd == []


def _is_verb(value: ast.expr) -> bool:
    """A choice between two names, or a name out of a table."""
    return isinstance(value, ast.IfExp | ast.Subscript | ast.Attribute)
