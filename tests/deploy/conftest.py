"""The bundle as `make bundle` leaves it, and what it installs where there is no network and no checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def clean_environment() -> dict[str, str]:
    """What a server's shell has: nothing that leads back to the checkout or its virtual environment."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every wheel; its packages come from the package index, as in CI."""
    folder = tmp_path_factory.mktemp("bundle")
    subprocess.run(
        [sys.executable, ROOT / "deploy/bundle.py", folder],
        check=True,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return folder


@pytest.fixture(scope="session")
def installed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs after `install.sh`, run in a network namespace that has no network."""
    folder = tmp_path_factory.mktemp("opt") / "todoku"
    done = subprocess.run(
        ["unshare", "--net", "sh", bundle / "install.sh", folder],
        cwd="/",
        env=clean_environment() | {"PYTHON": os.path.realpath(sys.executable)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"
