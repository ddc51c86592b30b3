"""The Grafana dashboard and the Containerfile against what the program really has."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx

from mailer.app.web.app import staff_app
from tests.deploy.conftest import ROOT
from tests.e2e.library import library
from tests.servers.ports import free_port
from tests.servers.workplace import find_program

DASHBOARD = json.loads((ROOT / "deploy/grafana/todoku.json").read_text("utf-8"))


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


async def metrics(folder: Path) -> str:
    """What /metrics says of a library that has sent, or has tried to."""
    async with library(folder, RELAY_PORT=free_port()) as town:
        await town.ready_hold(1, "p@good.example")
        await town.batch()
        await town.send()
        transport = httpx.ASGITransport(app=staff_app(town.services))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            return (await client.get("/metrics")).text


def labels(text: str, name: str) -> set[str]:
    """The labels that a metric's samples carry."""
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith(f"{name}{{"):
            found |= set(re.findall(r'(\w+)="', line))
    return found


async def test_every_metric_of_the_dashboard_is_there(tmp_path: Path) -> None:
    text = await metrics(tmp_path)
    there = set(re.findall(r"^# TYPE (todoku_\w+)", text, re.M))
    named = set(re.findall(r"\btodoku_\w+", " ".join(expressions())))
    assert len(named) > 15
    assert named <= there | {f"{name}_total" for name in there}, named - there


async def test_every_label_it_groups_by_is_there(tmp_path: Path) -> None:
    text = await metrics(tmp_path)
    given = {"instance"}  # Prometheus adds it
    for expression in expressions():
        grouped: set[str] = set()
        for words in re.findall(r"by \(([^)]*)\)", expression):
            grouped |= {word.strip() for word in words.split(",")}
        names = re.findall(r"\btodoku_\w+", expression)
        present = set().union(*(labels(text, name) for name in names))
        if any(f"\n{name}{{" in text for name in names):
            assert grouped - given <= present, expression


def test_it_can_be_imported_anywhere() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    sources = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert sources == {"${source}"}
    assert all("/" in panel["title"] and panel["description"] for panel in DASHBOARD["panels"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_the_containerfile_copies_what_the_program_is_made_of(tmp_path: Path) -> None:
    """Its COPY lines, followed in an empty folder, are enough to build the wheel that the checkout builds."""
    text = (ROOT / "deploy/Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        *sources, target = line.split()
        for source in sources:
            place = tmp_path / "src" / target / ("" if (ROOT / source).is_dir() else Path(source).name)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, place)
    for name, folder in (("copied", tmp_path / "src"), ("whole", ROOT)):
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / name],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=180,
        )
    [ours], [theirs] = (list((tmp_path / name).glob("*.whl")) for name in ("copied", "whole"))
    assert set(zipfile.ZipFile(ours).namelist()) == set(zipfile.ZipFile(theirs).namelist())


def test_the_containerfile_locks_what_it_installs_and_runs_as_nobody_special() -> None:
    text = (ROOT / "deploy/Containerfile").read_text()
    assert "--require-hashes -r requirements/run.txt" in text
    assert re.search(r"^USER todoku$", text, re.M)
    minimum = re.search(r'requires-python = ">=(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    images = re.findall(r"python:(\d+)\.(\d+)-slim", text)
    assert minimum is not None
    assert images
    assert all(tuple(map(int, image)) >= tuple(map(int, minimum.groups())) for image in images)


def test_an_audit_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    """Without pip-audit `make audit` says what to install; what pip-audit cannot look up fails it too."""
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "make"):
        (tmp_path / "bin" / tool).symlink_to(find_program(tool, tool))
    done = subprocess.run(
        [tmp_path / "bin/make", "audit"],
        cwd=ROOT,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "pipx install pip-audit" in done.stderr
    assert re.search(r"^\tpip-audit --strict .*--require-hashes", (ROOT / "Makefile").read_text(), re.M)
