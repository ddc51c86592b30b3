"""The units under a real systemd, installed by the very commands that `todoku init` prints."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.app.commented import Commented
from tests.deploy.conftest import ROOT
from tests.deploy.machine import Machine, boot, movable

INIT = (
    "/opt/todoku/bin/todoku init --no-input --name 桜市立図書館 --address yoyaku@lib.sakura.example.jp"
    " --relay 127.0.0.1 --relay-tls none --relay-port 2525"
)
FEED = {
    "feeds.snapshots.name": "nightly",
    "feeds.snapshots.folder": "/var/lib/todoku-incoming",
    "feeds.snapshots.patrons.files": "riyousha*.csv",
    "feeds.snapshots.patrons.columns.patron_id": "利用者番号",
}
LOGIN = """
import http.cookiejar, re, sys, urllib.parse, urllib.request
jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
browser = urllib.request.build_opener(jar)
page = browser.open(sys.argv[1] + "/desk/login").read().decode()
csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
form = {"login": "tantou", "password": "nagai-aikotoba-2026", "csrf": csrf}
print(browser.open(sys.argv[1] + "/desk/login", urllib.parse.urlencode(form).encode()).url)
"""
SANDBOX = {"NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0" * 16, "CapEff": "0" * 16}


@pytest.fixture(scope="module")
def machine(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with boot(movable(installed.parent, tmp_path_factory.mktemp("programs"))) as found:
        yield found


def commands(said: str, *, but: tuple[str, ...]) -> list[str]:
    """The commands among what `todoku init` printed, without those for a person or for Postfix."""
    steps = re.findall(r"^ {5}(\S.*)$", said, re.M)
    return [step for step in steps if not any(word in step for word in but)]


@pytest.fixture(scope="module")
def service(machine: Machine) -> Machine:
    """`todoku.service`, enabled and started as `todoku init` says, with a folder for nightly lists."""
    steps = commands(machine.does(INIT), but=("editor ", "postfix", "doctor", "user add"))
    assert len(steps) >= 6
    settings = Commented(machine.does("cat /etc/todoku/config.yaml"))
    for key, value in FEED.items():
        settings.set(key, value)
    (machine.share / "config.yaml").write_text(str(settings))
    machine.does("cp /srv/share/config.yaml /etc/todoku/config.yaml")
    for step in steps:
        machine.does(step)
    return machine


def page(machine: Machine, url: str) -> str:
    read = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    return machine.does(f"/opt/todoku/bin/python -c '{read}' {url}")


def test_started_as_printed_it_is_ready_in_its_sandbox(service: Machine) -> None:
    assert service.shows("todoku", "ActiveState") == "active"
    assert service.shows("todoku", "StatusText").startswith("sending off")
    assert service.shows("todoku", "NRestarts") == "0"
    pid = service.shows("todoku", "MainPID")
    status = dict(line.split(":", 1) for line in service.does(f"cat /proc/{pid}/status").splitlines())
    assert {name: status[name].strip() for name in SANDBOX} == SANDBOX
    assert status["Uid"].split() == [service.does("id -u todoku").strip()] * 4
    environment = service.does(f"tr '\\0' '\\n' < /proc/{pid}/environ").splitlines()
    assert "CREDENTIALS_DIRECTORY=/run/credentials/todoku.service" in environment
    assert '"ready":true' in page(service, "http://127.0.0.1:8080/healthz")


def test_within_the_sandbox_staff_log_in_and_lists_are_taken_in(service: Machine) -> None:
    """What a sandbox may stop: a password's hash in much memory, threads, a folder outside the state's."""
    service.does(
        "echo nagai-aikotoba-2026 |"
        " /etc/todoku/install/todoku-run user add tantou --role admin --password-stdin"
    )
    (service.share / "login.py").write_text(LOGIN)
    came = service.does("/opt/todoku/bin/python /srv/share/login.py http://127.0.0.1:8080")
    assert came.strip() == "http://127.0.0.1:8080/desk/"

    incoming = "/var/lib/todoku-incoming"
    service.does(f"printf '利用者番号,email\\n1,a@example.jp\\n' > {incoming}/riyousha.csv")
    service.does(f"chmod 0660 {incoming}/riyousha.csv; touch {incoming}/riyousha.csv.done")
    service.until(lambda: not service.tries(f"ls {incoming}/done/riyousha*.csv").returncode, "taken in")


def test_the_doctor_is_run_beside_it(service: Machine) -> None:
    said = service.tries("/etc/todoku/install/todoku-run doctor --json").stdout
    found = {check["name"]: check["status"] for check in json.loads(said)}
    assert {found[name] for name in ("configuration", "files", "database", "lmtp")} == {"ok"}


def test_the_guides_nightly_copy_can_be_made_beside_it(service: Machine) -> None:
    """The very line of docs/ja/donyu.md, as cron runs it: there `\\%` stands for `%` (crontab(5))."""
    guide = (ROOT / "docs/ja/donyu.md").read_text("utf-8")
    found = re.search(r"^ *30 2 \* \* \* root (.+)$", guide, re.M)
    assert found is not None
    service.does(found[1].replace("\\%", "%"))
    folder = "/var/lib/todoku-backup"
    assert service.does(f"stat -c %U:%a {folder} {folder}/*").split() == ["todoku:700", "todoku:600"]


def test_a_reload_is_confirmed(service: Machine) -> None:
    pid = service.shows("todoku", "MainPID")
    service.does("systemctl reload todoku")
    service.until(lambda: "event=reloaded" in service.journal(), "reloaded")
    assert service.shows("todoku", "MainPID") == pid
    assert service.shows("todoku", "StatusText") == "sending off; relay not tried; handed over 0"


def test_one_that_hangs_or_dies_is_started_again(service: Machine) -> None:
    drop_in = "/run/systemd/system/todoku.service.d"
    service.does(
        f"mkdir -p {drop_in} && printf '[Service]\\nRestartSec=0\\nWatchdogSec=10\\n' > {drop_in}/quick.conf"
    )
    service.does("systemctl daemon-reload && systemctl restart todoku")
    for signal in ("STOP", "KILL"):
        service.until(lambda: service.shows("todoku", "ActiveState") == "active", "active")
        before = int(service.shows("todoku", "NRestarts"))
        service.does(f"kill -{signal} {service.shows('todoku', 'MainPID')}")
        service.until(
            lambda before=before: (  # type: ignore[misc]
                int(service.shows("todoku", "NRestarts")) > before
                and service.shows("todoku", "ActiveState") == "active"
            ),
            f"started again after {signal}",
        )
    service.does(f"rm -r {drop_in} && systemctl daemon-reload && systemctl restart todoku")


def test_several_libraries_run_side_by_side(service: Machine) -> None:
    """`todoku@NAME`: a database, keys, ports and a copy of the settings of its own."""
    ports = " --lmtp 127.0.0.1:8124 --desk 127.0.0.1:8180 --confirm 127.0.0.1:8181"
    said = service.does(f"{INIT} --instance chuo{ports}")
    for step in commands(said, but=("editor ", "postfix", "doctor", "user add")):
        service.does(step)
    assert service.shows("todoku@chuo", "ActiveState") == "active"
    assert service.shows("todoku", "ActiveState") == "active"
    assert '"ready":true' in page(service, "http://127.0.0.1:8180/healthz")
    assert service.does("stat -c %U:%a /var/lib/todoku/chuo/todoku.db").strip() == "todoku:600"
    keys = ("/etc/todoku/credentials/token.keys", "/etc/todoku/chuo/credentials/token.keys")
    assert len({service.does(f"cat {key}") for key in keys}) == 2
    service.does("systemctl stop todoku@chuo")
    assert service.shows("todoku@chuo", "Result") == "success"


def test_a_stop_is_clean_and_a_faulty_setting_is_not_tried_again(service: Machine) -> None:
    service.does("systemctl stop todoku")
    assert (service.shows("todoku", "Result"), service.shows("todoku", "ActiveState")) == (
        "success",
        "inactive",
    )
    service.does("echo 'nonsense: 1' >> /etc/todoku/config.yaml")
    assert service.tries("systemctl start todoku").returncode != 0
    assert service.shows("todoku", "ExecMainStatus") == "2"
    assert service.shows("todoku", "ActiveState") == "failed"
    assert "nonsense" in service.journal()
