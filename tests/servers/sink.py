"""Postfix' own load tools: smtp-sink, a server with faults on order, and smtp-source, a client.

Faults are options of smtp-sink: `-r CMD -b "452 …"` soft and `-f CMD -B "550 …"` hard errors; `-q CMD`
drops the connection, `-Q CMD` after a 421; `-w S` and `-W CMD:S[:ODDS]` delay; `-A S` aborts in DATA; `-N`, `-8`,
`-p`, `-e` hide extensions. `-q .` and `-W .:3` leave the whole message at the server: in doubt.
"""

import os
import re
import subprocess
import time
from pathlib import Path

from tests.servers.ports import HOST, free_port, wait_port
from tests.servers.workplace import Workplace, find_program

_PACKAGE = "postfix"


class Sink:
    """An smtp-sink on `port`, started when made.

    `keep` stores each mail for `messages()`, and `count_mails` prints a counter for `count()`; a bench that
    wants the sink's full speed turns both off.
    """

    def __init__(
        self, *options: str, port: int | None = None, keep: bool = True, count_mails: bool = True
    ) -> None:
        self.port = free_port() if port is None else port
        self._workplace = Workplace("sink")
        self._kept = self._workplace.directory("kept", mode=0o777)
        self._output = self._workplace.path / "counters"
        own = [*(("-c",) if count_mails else ()), *(("-d", f"{self._kept}/%H%M%S.") if keep else ())]
        # It does not run as root.
        own += ["-u", "nobody"] if os.geteuid() == 0 else []
        program = find_program("smtp-sink", _PACKAGE)
        command = (program, *own, "-m", "1000", *options, f"{HOST}:{self.port}", "1024")
        self._process = self._workplace.run(*command, output=self._output)
        try:
            wait_port(self.port, gave_up=self._ended)
        except BaseException:
            self._workplace.close()
            raise

    def _ended(self) -> str:
        return "" if self._process.poll() is None else self._output.read_text(errors="replace")[-2000:]

    def messages(self) -> list[bytes]:
        """The mails so far, oldest first, those cut off before their final dot included.

        Each has the envelope on top: X-Mail-Args and an X-Rcpt-Args for each recipient.
        """
        files = [path for path in self._kept.iterdir() if path.stat().st_size]
        return [path.read_bytes() for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)]

    def count(self) -> int:
        """How many mails ended with a final dot so far."""
        counters = re.findall(rb"mesg=(\d+)", self._output.read_bytes()[-200:])
        return int(counters[-1]) if counters else 0

    def stop(self) -> None:
        """Ends it; what came stays readable."""
        self._workplace.end(self._process)

    def close(self) -> None:
        """Ends it and removes everything."""
        self._workplace.close()


def smtp_source(
    port: int,
    count: int,
    sessions: int = 1,
    file: Path | None = None,
    *,
    sender: str = "source@library.example",
    recipient: str = "sink@sink.example",
    reuse: bool = True,
    timeout: float = 120,
) -> float:
    """Sends `count` mails over `sessions` connections (kept open if `reuse`); the seconds it took.

    `file` is the whole mail with LF line ends. Raises CalledProcessError if the server refuses.
    """
    command = [find_program("smtp-source", _PACKAGE), "-s", str(sessions), "-m", str(count)]
    command += ["-d"] if reuse else []
    command += ["-F", str(file)] if file is not None else []
    command += ["-M", "mx.library.example", "-f", sender, "-t", recipient, f"{HOST}:{port}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, timeout=timeout, capture_output=True)
    return time.perf_counter() - began
