"""The wheel and the bundle: installed away from the checkout and without a network, everything is there."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.deploy.conftest import ROOT, clean_environment


def run(program: Path, *arguments: object, cwd: Path) -> str:
    """What an installed program prints, in a folder of its own."""
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_packages_is_in_the_wheel(bundle: Path) -> None:
    [wheel] = bundle.glob("todoku-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "holds_core",
            "mailer",
            "bounces",
            "templates",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert listed
    assert {name for name in listed if (ROOT / name).exists()} <= inside
    assert "mailer/app/shipped/config.yaml" in inside
    assert "mailer/app/shipped/deploy/systemd/todoku@.service" in inside
    assert not [name for name in inside if name.startswith(("tests/", "bench/", "docs/"))]


def test_each_wheel_stands_in_the_requirements_with_its_hash(bundle: Path) -> None:
    lines = (bundle / "requirements.txt").read_text().splitlines()
    hashes = {line.rpartition("sha256:")[2] for line in lines}
    assert hashes == {hashlib.sha256(file.read_bytes()).hexdigest() for file in bundle.glob("*.whl")}
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements/run.txt").read_text(), re.M)
    normal = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in locked}
    here = {tuple(line.partition(" ")[0].split("==")) for line in lines}
    ours = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in here}
    assert {name for name, _ in ours - normal} == {"todoku"}


def test_a_changed_wheel_is_not_installed(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for file in bundle.iterdir():
        os.link(file, copy / file.name)
    [wheel] = copy.glob("jinja2-*.whl")
    content = wheel.read_bytes()
    wheel.unlink()
    wheel.write_bytes(content + b"\0")
    done = subprocess.run(
        ["unshare", "--net", "sh", copy / "install.sh", tmp_path / "opt"],
        env=clean_environment() | {"PYTHON": os.path.realpath(sys.executable)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0
    assert "HASH" in done.stdout + done.stderr


def test_installed_it_knows_its_version(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "todoku", "--version", cwd=tmp_path) == "todoku 0.1.0\n"


def test_installed_it_writes_settings_that_it_can_use(installed: Path, tmp_path: Path) -> None:
    run(
        installed / "todoku",
        *("init", "--no-input", "--folder", tmp_path / "etc", "--name", "桜市立図書館"),
        *("--address", "yoyaku@lib.example.jp", "--relay", "mail.example.jp"),
        *("--database", f"sqlite:///{tmp_path}/todoku.db"),
        cwd=tmp_path,
    )
    unit = (tmp_path / "etc/install/todoku.service").read_text()
    assert f"ExecStart={installed}/todoku --config {tmp_path}/etc/config.yaml serve" in unit
    config = tmp_path / "etc/config.yaml"
    text = config.read_text().replace("${CREDENTIALS_DIRECTORY}", str(tmp_path / "etc/credentials"))
    config.write_text(text)
    # migrations and templates, from inside the wheel
    assert "(empty) -> " in run(installed / "todoku", "--config", config, "db", "upgrade", cwd=tmp_path)
    assert "ご用意できました" in run(
        installed / "todoku", "--config", config, "preview", "hold_ready", cwd=tmp_path
    )


def test_installed_the_demo_plays_a_day(installed: Path, tmp_path: Path) -> None:
    """The whole daemon: templates of pages and mail, migrations, the table of providers."""
    said = run(installed / "todoku", "demo", "--fast", "--days", "1", cwd=tmp_path)
    assert "取置" in said or "hold" in said
    assert not list(tmp_path.iterdir())


def test_installed_nothing_is_found_in_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import holds_core, mailer, bounces, templates, sys;"
        "from holds_core.providers import Providers; from mailer.app.shipped import shipped;"
        "print(len(Providers.load().rows) > 50, len(shipped('config.yaml')) > 10000);"
        "print(*[m.__path__[0] for m in (holds_core, mailer, bounces, templates)], sep='\\n')"
    )
    first, *places = run(installed / "python", "-c", code, cwd=tmp_path).splitlines()
    assert first == "True True"
    assert len(places) == 4
    assert all(place.startswith(str(installed.parent)) for place in places)
