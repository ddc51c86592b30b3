"""`make bundle`: every wheel that Todoku needs in one folder, for servers that do not reach the internet.

    python deploy/bundle.py FOLDER

Needs the internet (or a package index of one's own) and the same system as the server: the same Python
version, the same kind of machine. Leaves the wheels, `requirements.txt` with the hash of each of them,
`install.sh` and `README.txt`. The packages are the locked ones, checked by their hashes as they come.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTALL = "pip install --no-index --find-links . --require-hashes -r requirements.txt"

SCRIPT = f"""#!/bin/sh
# install.sh [FOLDER]: installs Todoku into FOLDER (/opt/todoku) without the internet.
set -eu
cd "$(dirname "$0")"
folder=${{1:-/opt/todoku}}
python=${{PYTHON:-python{{version}}}}
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
"$folder/bin/"{INSTALL}
"$folder/bin/todoku" --version
"""

README = """Todoku {version}: インターネットにつながらないサーバー用の一式
Everything that a server without internet needs

対象 / for: Python {python}, {machine}

1. このフォルダーをそのままサーバーに写します / copy this folder to the server
2. sh install.sh /opt/todoku
   (中で次を実行します / which runs: {install})
3. /opt/todoku/bin/todoku init

新しい版にするときも同じです。/opt/todoku は消さずに上書きします。
The same for a newer version: install over the old one.
"""


def main(folder: Path) -> None:
    """Fills `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    locked = ["--no-deps", "--require-hashes", "-r", ROOT / "requirements/run.txt"]
    _run(*pip, "wheel", *locked, "--wheel-dir", folder)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    wheels = sorted(folder.glob("*.whl"))
    (folder / "requirements.txt").write_text("".join(map(_requirement, wheels)))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    script = folder / "install.sh"
    script.write_text(SCRIPT.replace("{version}", version))
    script.chmod(0o755)
    (own,) = folder.glob("todoku-*.whl")
    facts = {
        "version": own.name.split("-")[1],
        "python": version,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    (folder / "README.txt").write_text(README.format(install=INSTALL, **facts))
    sys.stdout.write(f"{folder}: {len(wheels)} wheels\n")


def _requirement(wheel: Path) -> str:
    """One wheel, by name, version and hash (the binary distribution format: NAME-VERSION-….whl)."""
    name, version, *_ = wheel.name.split("-")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)  # noqa: S603 - our own words


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist/bundle").resolve())
