"""The systemd files, by systemd's own tools: no complaint, and a sandbox that leaves little open."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT
from tests.deploy.test_init import OPTIONS, init
from tests.servers.workplace import find_program

SYSTEMD = ROOT / "deploy/systemd"
EXPOSURE = 1.5
"""The most that `systemd-analyze security` may find, of 10."""


def units(folder: Path) -> list[Path]:
    """The shipped units, with a program that is there, and those that `todoku init` writes."""
    program = Path(sys.executable).with_name("todoku")
    found = []
    for name, target in (("todoku", "todoku"), ("todoku@", "todoku@chuo")):
        file = folder / f"{target}.service"
        text = (SYSTEMD / f"{name}.service").read_text()
        file.write_text(text.replace("/opt/todoku/bin/todoku", str(program)))
        found.append(file)
    init(folder / "etc", *OPTIONS, "--relay-username", "todoku", "--api")
    found.append(folder / "etc/install/todoku.service")
    return found


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_program("systemd-analyze", "systemd"), *map(str, arguments), "--no-pager"],
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for unit in units(tmp_path):
        done = analyze("verify", unit)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), unit.name


def test_a_fault_would_be_found(tmp_path: Path) -> None:
    unit = units(tmp_path)[0]
    unit.write_text(unit.read_text().replace("Type=notify", "Typ=notify"))
    assert "Typ" in analyze("verify", unit).stderr


def test_little_is_left_open(tmp_path: Path) -> None:
    for unit in units(tmp_path):
        done = analyze("security", "--offline=true", f"--threshold={int(EXPOSURE * 10)}", unit)
        level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        assert level is not None, done.stdout + done.stderr
        assert float(level[1]) <= EXPOSURE, done.stdout


def test_without_the_sandbox_it_would_be_open(tmp_path: Path) -> None:
    unit = units(tmp_path)[0]
    unit.write_text(re.sub(r"^(Protect|Restrict|System|Private).*\n", "", unit.read_text(), flags=re.M))
    done = analyze("security", "--offline=true", f"--threshold={int(EXPOSURE * 10)}", unit)
    assert done.returncode != 0


@pytest.mark.parametrize("name", ["todoku", "todoku@"])
def test_what_the_daemon_relies_on(name: str) -> None:
    text = (SYSTEMD / f"{name}.service").read_text()
    keys = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))
    assert keys["Type"] == "notify"
    assert int(keys["WatchdogSec"]) >= 30
    assert (keys["Restart"], keys["RestartPreventExitStatus"]) == ("always", "2")
    assert int(keys["RestartSec"]) > 0
    assert keys["User"] == "todoku"
    assert keys["StateDirectory"].startswith("todoku")
    assert "token.keys" in keys["LoadCredential"]


def test_the_two_units_differ_by_the_instance_alone() -> None:
    one, many = ((SYSTEMD / f"{name}.service").read_text() for name in ("todoku", "todoku@"))

    def plain(text: str) -> list[str]:
        kept = [line for line in text.splitlines() if not line.startswith("#")]
        return [line.replace("/%i", "").replace(" library %i", " the library") for line in kept]

    assert plain(many) == plain(one)


def test_restarts_take_longer_where_systemd_knows_how(tmp_path: Path) -> None:
    """RestartSteps= came with systemd 254; an older one would complain, so it stands in a file of its own."""
    text = (SYSTEMD / "backoff.conf").read_text()
    assert "RestartSteps=" in text
    assert "RestartMaxDelaySec=" in text
    version = int(analyze("--version").stdout.split()[1])
    if version < 254:
        return  # this systemd cannot judge it; its two names are those of systemd.service(5)
    unit = units(tmp_path)[0]
    folder = tmp_path / "todoku.service.d"
    folder.mkdir()
    (folder / "backoff.conf").write_text(text)
    assert analyze("verify", unit).stderr == ""


def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for tool, options, file in (
        ("systemd-sysusers", (), "sysusers.d"),
        ("systemd-tmpfiles", ("--create",), "tmpfiles.d"),
    ):
        done = subprocess.run(
            [
                find_program(tool, "systemd"),
                f"--root={tmp_path}",
                *options,
                ROOT / f"deploy/{file}/todoku.conf",
            ],
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
    assert re.search(
        r"^todoku:.*:/var/lib/todoku:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), re.M
    )
    modes = {
        name: oct((tmp_path / name).stat().st_mode)[-4:]
        for name in (
            "etc/todoku/credentials",
            "var/lib/todoku",
            "var/lib/todoku-incoming",
            "var/lib/todoku-backup",
        )
    }
    assert list(modes.values()) == ["0750", "0700", "2770", "0700"]
