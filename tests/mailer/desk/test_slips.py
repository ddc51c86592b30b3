"""受信設定: the advice on the patron's page, and the slips for the counter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holds_core.errors import BadInput
from holds_core.receiving import OTHER, ReceivingGuide
from mailer.app import slips
from mailer.app.cli import app
from tests.mailer.desk.conftest import Staff
from tests.mailer.desk.library import Library

GUIDE = ReceivingGuide.load()


async def addresses(kato: Staff, patron_id: str) -> list[str]:
    page = (await kato.get(f"/patrons/{patron_id}")).text
    return re.findall(r'<p class="address">([^<]+)</p>', page)


async def any_patron(library: Library) -> str:
    import sqlalchemy as sa

    from holds_core.ledger.models import patron_addresses

    async with library.services.ledger.read() as connection:
        found = await connection.scalar(
            sa.select(patron_addresses.c.patron_id).where(patron_addresses.c.until.is_(None))
        )
    return str(found)


async def test_the_patrons_page_tells_how_their_service_lets_mail_in(kato: Staff, library: Library) -> None:
    patron_id = await any_patron(library)
    page = (await kato.get(f"/patrons/{patron_id}")).text
    [address, *_] = await addresses(kato, patron_id)
    advice = GUIDE.of(library.services.providers.of(address))
    sender = library.services.settings.sender.address
    assert f"受信設定のご案内({advice.name_in('ja')})" in page
    assert advice.steps_for(sender, "ja")[0] in page
    assert f'href="/desk/slips?patron={patron_id}"' in page


async def test_the_patrons_own_service_is_chosen_and_nothing_of_the_patron_printed(
    kato: Staff, library: Library
) -> None:
    patron_id = await any_patron(library)
    [address, *_] = await addresses(kato, patron_id)
    key = GUIDE.of(library.services.providers.of(address)).key
    chooser = (await kato.get("/slips", patron=patron_id)).text
    assert f"/desk/slips/print?service={key}&amp;patron={patron_id}" in chooser
    printed = (await kato.get("/slips/print", patron=patron_id)).text
    assert printed.count('<section class="slip') == 1
    assert address not in printed
    assert patron_id not in printed
    assert library.services.settings.sender.address in printed


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_one_slip_for_each_service(kato: Staff, language: str) -> None:
    every = (await kato.get("/slips/print", service="all", language=language)).text
    assert every.count('<section class="slip') == len(GUIDE.entries)
    for entry in GUIDE.entries:
        one = (await kato.get("/slips/print", service=entry.key, language=language)).text
        assert one.count('<section class="slip') == 1
        assert entry.name_in(language) in one
        assert f'<html lang="{language}">' in one


async def test_a_service_that_is_none(kato: Staff) -> None:
    answer = await kato.get("/slips/print", service="nowhere")
    assert answer.status_code == 422


async def test_the_slip_loads_only_our_style_and_script(kato: Staff) -> None:
    answer = await kato.get("/slips/print")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<style" not in answer.text
    style = re.search(r'href="/desk(/static/slip\.css)"', answer.text)
    assert style is not None
    assert "@page" in (await kato.get(style[1])).text


async def test_nobody_sees_slips_without_logging_in(visitor: Staff) -> None:
    for path in ("/slips", "/slips/print"):
        assert (await visitor.get(path)).is_redirect


# -- the command -----------------------------------------------------------------------------------

CONFIG = """
library: {name: みなみ市立図書館, name_en: Minami City Library, phone: 0993-00-0000, branches: [{id: main, name: 本館}]}
sender:
  address: yoyaku@library.example.jp
  return_path_domain: bounce.library.example.jp
  changes: [{since: 2099-04-01, address: yoyaku@city.example.jp}]
relay: {host: 127.0.0.1, tls: none}
"""


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    (folder / "config.yaml").write_text(CONFIG)
    result = CliRunner().invoke(app, ["--config", str(folder / "config.yaml"), "slip", *arguments])
    return result.exit_code, result.output


def test_the_command_writes_a_document_that_needs_no_other_file(tmp_path: Path) -> None:
    code, html = run(tmp_path, "docomo")
    assert code == 0
    assert html.count('<section class="slip') == 1
    assert "<style>" in html
    assert not re.search(r"(?:src|href)=|url\(|<script", html)
    for word in ("ドコモ", "yoyaku@library.example.jp", "みなみ市立図書館", "0993-00-0000"):
        assert word in html
    # who adds only today's sender to the list would lose mail on the day of the change
    assert "yoyaku@city.example.jp" in html


def test_the_command_writes_all_into_a_file(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--language", "en", "--out", str(tmp_path / "slips.html"))
    assert (code, said) == (0, "")
    html = (tmp_path / "slips.html").read_text("utf-8")
    assert html.count('<section class="slip') == len(GUIDE.entries)
    assert "Minami City Library" in html


@pytest.mark.parametrize("arguments", [["nowhere"], ["docomo", "--language", "fr"]])
def test_the_command_refuses_what_it_does_not_know(tmp_path: Path, arguments: list[str]) -> None:
    code, said = run(tmp_path, *arguments)
    assert code == 2
    assert "expected" in said


# -- the guide -------------------------------------------------------------------------------------


def test_every_carrier_and_free_mail_service_of_the_country_has_an_entry() -> None:
    names = {entry.key for entry in GUIDE.entries}
    assert names >= {
        "docomo",
        "au",
        "uq",
        "softbank",
        "ymobile",
        "rakuten",
        "gmail",
        "yahoo",
        "outlook",
        "icloud",
    }
    assert GUIDE.entries[-1].key == OTHER
    for entry in GUIDE.entries:
        for language in ("ja", "en"):
            steps = entry.steps_for("a@library.example", language)
            assert any("a@library.example" in step for step in steps), entry.key
            assert not [step for step in steps if "{" in step]


OWN = """
[docomo]
providers = ["NTT docomo"]
name = {ja = "ドコモ", en = "docomo"}
steps.ja = ["窓口へ {address} {other}"]
steps.en = ["Ask us"]

[townnet]
providers = ["town.example"]
name = {ja = "町ネット", en = "Town net"}
steps.ja = ["{domain}"]
steps.en = ["{domain}"]
"""


def test_a_library_replaces_and_adds_entries(tmp_path: Path) -> None:
    (tmp_path / "receiving.toml").write_text(OWN)
    guide = ReceivingGuide.load(tmp_path)
    docomo, town = guide.get("docomo"), guide.get("townnet")
    assert docomo is not None
    assert town is not None
    assert docomo.steps_for("a@x.jp", "ja") == ("窓口へ a@x.jp {other}",)
    assert town.steps_for("a@x.jp", "en") == ("x.jp",)
    assert [entry.key for entry in guide.entries[-2:]] == ["townnet", OTHER]
    assert len(guide.entries) == len(GUIDE.entries) + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[docomo", "receiving.toml"),
        ("docomo = 1", "docomo: expected an entry"),
        ("[x]\nname = {ja = 'a'}", "[x] steps: expected ja and en"),
        ("[x]\nsteps.ja = ['a']\nsteps.en = 'b'", "[x] steps.en: expected a list"),
        ("[x]\nsteps.ja = ['a']\nsteps.en = [1]", "[x] steps.en: expected a text"),
        ("[x]\nnaem = 1", "[x] naem: no such key"),
        ("[x]\nname = {ja='a', en='b'}\nsteps.ja = ['a']\nsteps.en = ['b']", "[other] is missing"),
    ],
)
def test_a_guide_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        ReceivingGuide.parse(text)


def test_words_of_the_library_are_words(tmp_path: Path) -> None:
    (tmp_path / "receiving.toml").write_text(OWN.replace("Ask us", "<b>Ask</b>"))
    guide = ReceivingGuide.load(tmp_path)
    entry = guide.get("docomo")
    assert entry is not None
    from holds_core.config import parse

    settings = parse(CONFIG, base=tmp_path, env={})
    html = slips.slip_html([entry], settings.library, ["a@x.jp"], "en")
    assert "&lt;b&gt;Ask" in html


async def test_a_doubtful_address_says_so_on_the_page_and_on_the_list(kato: Staff, library: Library) -> None:
    await library.event("patron", patron_id="P-slip", email="taro@gmial.com", name="図書 太郎")
    page = (await kato.get("/patrons/P-slip")).text
    assert "登録のメールアドレスに入力間違いの可能性があります" in page
    assert "「taro@gmail.com」ではありませんか。" in page


@pytest.mark.parametrize(
    ("email", "said"),
    [("taro@gmail.com", "フリーメールは"), ("taro@docomo.ne.jp", "携帯電話会社のアドレスは")],
)
async def test_what_to_tell_at_the_counter(kato: Staff, library: Library, email: str, said: str) -> None:
    await library.event("patron", patron_id="P-slip", email=email, name="図書 太郎")
    assert said in (await kato.get("/patrons/P-slip")).text


async def test_an_open_case_on_the_list_leads_to_the_slip(kato: Staff) -> None:
    listed = (await kato.get("/", view="all")).text
    found = re.search(r'id="row-([^"]+)"', listed)
    assert found is not None
    opened = (await kato.open(found[1])).text
    assert f'href="/desk/slips?patron={found[1]}"' in opened
