"""The guides against the program: commands, settings, files and the table of what is kept."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from holds_core.settings import Retention, Settings
from holds_core.settings.base import section_of
from mailer.app.cli import app
from tests.core.test_docs import COMMANDS
from tests.deploy.conftest import ROOT

GUIDES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "deploy/README.md", ROOT / "deploy/README.ja.md"])
DEPLOYED = sorted(
    str(file.relative_to(ROOT / "deploy"))
    for file in (ROOT / "deploy").rglob("*")
    if file.is_file() and file.suffix not in {".md", ".pyc"}
)


def keys(section: type = Settings, above: str = "") -> set[str]:
    """Every key and section of the settings, dotted."""
    found = set()
    for name, info in section.model_fields.items():  # type: ignore[attr-defined]
        path = f"{above}{info.alias or name}"
        found.add(path)
        if below := section_of(info):
            found |= keys(below, f"{path}.")
    return found


KEYS = keys()
SECTIONS = {key for key in KEYS if "." not in key}


def spoken(text: str) -> set[str]:
    """Commands as a guide writes them: `todoku …`, and those behind `todoku-run` in its blocks."""
    found = set(re.findall(r"`todoku ([^`]+)`", text))
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S):
        found |= set(re.findall(r"(?:todoku-run|/bin/todoku|^todoku) (.+)$", block, re.M))
    return found


@pytest.mark.parametrize("guide", GUIDES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_are_there_with_their_options(guide: Path) -> None:
    for line in spoken(guide.read_text("utf-8")):
        words = shlex.split(line)
        depth = next((n for n in (2, 1) if "todoku " + " ".join(words[:n]) in COMMANDS), 0)
        assert depth, f"{guide.name}: todoku {line}"
        command = typer.main.get_command(app)
        for word in words[:depth]:
            command = command.commands[word]  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[depth:] if word.startswith("--")} <= options, line


@pytest.mark.parametrize("guide", GUIDES, ids=lambda file: str(file.relative_to(ROOT)))
def test_settings_are_there(guide: Path) -> None:
    text = guide.read_text("utf-8")
    for key in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: [\w\"]+)?`", text):
        if key.partition(".")[0] in SECTIONS:
            assert key in KEYS, f"{guide.name}: {key}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(guide: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", guide.read_text("utf-8"))
    assert [link for link in links if not (guide.parent / link).exists()] == []


@pytest.mark.parametrize("readme", ["README.md", "README.ja.md"])
def test_every_file_to_deploy_is_explained(readme: str) -> None:
    text = (ROOT / "deploy" / readme).read_text("utf-8")
    assert [name for name in DEPLOYED if f"`{name}`" not in text] == []
    named = re.findall(
        r"`((?:systemd|sysusers\.d|tmpfiles\.d|nginx|apache|postfix|grafana)/[\w.@/-]+)`", text
    )
    assert [name for name in named if name not in DEPLOYED] == []


def test_both_deploy_readmes_show_the_same_commands() -> None:
    blocks = [
        re.findall(r"^```sh\n(.*?)^```$", (ROOT / "deploy" / name).read_text("utf-8"), re.M | re.S)
        for name in ("README.md", "README.ja.md")
    ]
    assert blocks[0] == blocks[1]
    assert blocks[0]


def test_what_is_said_to_be_kept_is_what_is_kept() -> None:
    """docs/ja/chonai.md promises these days to others in the city hall."""
    text = (ROOT / "docs/ja/chonai.md").read_text("utf-8")
    kept = Retention()
    promised = {
        "titles": f"{kept.titles.days}日",
        "raw_mail": f"{kept.raw_mail.days}日",
        "events": f"{kept.events.days}日",
        "audit": f"{kept.audit.days // 365}年",
    }
    assert set(promised) == set(Retention.model_fields)
    rows = re.findall(r"^\|([^|]+)\|[^|]+\|([^|]+)\| `retention\.(\w+)` \|$", text, re.M)
    assert {key for _, _, key in rows} == set(promised)
    for what, period, key in rows:
        assert promised[key] in period, what


def test_the_guide_says_how_to_go_back() -> None:
    text = (ROOT / "docs/ja/donyu.md").read_text("utf-8")
    for word in ("並行稼働", "基準", "redirect", "図書館システムのメール送信を止めます", "元に戻す"):
        assert word in text


@pytest.mark.parametrize(
    "label",
    [
        *("連絡できた", "不在・つながらない", "留守電・家族に伝言", "手紙を出した", "電話番号が違う"),
        *("メールは届いている", "メールは届いていない", "アドレスを訂正", "指定日まで保留"),
        *("電話番号を表示", "今日の連絡", "不達レポート", "判別できないメール", "送信状況"),
        *(
            "図書館システムへ未反映",
            "受信設定のご案内",
            "受信設定の用紙…",
            "取り消す",
            "電話する",
            "印刷用の一覧",
            "利用者を探す",
        ),
    ],
)
def test_what_staff_are_told_to_press_is_on_the_pages(label: str) -> None:
    guide = (ROOT / "docs/ja/shokuin.md").read_text("utf-8")
    assert label in guide
    folders = ("templates/desk/staff", "mailer/app/web/desk", "holds_core")
    pages = [file for name in folders for file in (ROOT / name).iterdir() if file.suffix in {".html", ".py"}]
    assert any(label in page.read_text("utf-8") for page in pages)
