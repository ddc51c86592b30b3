"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailer.app.notify import Notifier
from tests.clock import HandClock


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(10)

    def heard(self) -> dict[str, str]:
        """One datagram's assignments."""
        lines = self._socket.recv(65536).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def nothing_more(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(1)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    unique = f"todoku-{uuid.uuid4()}"
    if request.param == "path":
        other = Systemd(str(tmp_path / "notify"), str(tmp_path / "notify"))
    else:
        other = Systemd(f"@{unique}", f"\0{unique}")
    yield other
    other.close()


def notifier(systemd: Systemd, **env: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": systemd.name} | env)


def test_ready_and_status(systemd: Systemd) -> None:
    notifier(systemd).send(READY="1", STATUS="送信 on; handed over 3")
    assert systemd.heard() == {"READY": "1", "STATUS": "送信 on; handed over 3"}


def test_a_status_of_several_lines_is_one_assignment(systemd: Systemd) -> None:
    """A relay's error text must not name us another main process."""
    notifier(systemd).send(STATUS="relay down (connect: no\r\nMAINPID=1\n)", STOPPING="1")
    assert systemd.heard() == {"STATUS": "relay down (connect: no MAINPID=1 )", "STOPPING": "1"}


def test_half_a_character_does_no_harm(systemd: Systemd) -> None:
    notifier(systemd).send(STATUS="\ud800")
    assert systemd.heard() == {"STATUS": "?"}


def test_a_reload_comes_with_its_time(systemd: Systemd) -> None:
    notifier(systemd).reloading()
    said = systemd.heard()
    assert said["RELOADING"] == "1"
    assert int(said["MONOTONIC_USEC"]) > 0


def test_without_systemd_nothing_happens() -> None:
    silent = Notifier({})
    silent.send(READY="1")
    silent.reloading()
    assert silent.watchdog_s == 0


@pytest.mark.parametrize("name", ["/nonexistent/notify", "@todoku-nobody-listens"])
def test_a_service_manager_that_is_gone_does_not_stop_the_mail(name: str) -> None:
    Notifier({"NOTIFY_SOCKET": name}).send(READY="1")


def test_a_service_manager_that_does_not_read_does_not_stop_the_mail(systemd: Systemd) -> None:
    talker = notifier(systemd)
    for number in range(2000):  # more than the socket holds
        talker.send(STATUS=str(number))
    assert systemd.heard() == {"STATUS": "0"}


@pytest.mark.parametrize(("usec", "seconds"), [("30000000", 30.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0)])
def test_the_watchdogs_period(usec: str, seconds: float) -> None:
    assert Notifier({"WATCHDOG_USEC": usec}).watchdog_s == seconds


@pytest.mark.parametrize(("usec", "every"), [("6000000", 3.0), ("0", 10.0), ("90000000", 10.0)])
async def test_it_beats_at_half_the_watchdogs_period(systemd: Systemd, usec: str, every: float) -> None:
    clock, stop = HandClock(), asyncio.Event()
    told: list[int] = []

    def status() -> str:
        told.append(1)
        return f"beat {len(told)}"

    beating = asyncio.create_task(notifier(systemd, WATCHDOG_USEC=usec).beat(clock, stop, status))
    for number in range(1, 4):
        await clock.asleep()
        assert systemd.heard() == {"STATUS": f"beat {number}", "WATCHDOG": "1"}
        clock.advance(timedelta(seconds=every * 0.9))
        await asyncio.sleep(0)
        assert len(told) == number
        clock.advance(timedelta(seconds=every * 0.1))
        while len(told) == number:
            await asyncio.sleep(0.001)
    stop.set()
    await asyncio.wait_for(beating, 30)
