"""Two private Postfix instances: the library's relay, and "the far side" with every provider behind it.

The domains (all below .example) and what becomes of their mail:

| domain | fate |
| --- | --- |
| library | the return path: Dovecot's mailbox `bounces`, any local part |
| lmtp.library | the return path, for a test that listens itself on `relay.our_lmtp_port` (LMTP) |
| good | Dovecot, by the relay: receipt `relayed` |
| local | stored by the relay itself (Dovecot's mailbox `localbox`): receipt `delivered` |
| far, relayed | Dovecot, by way of the far side, with and without DSN |
| junk | the same, into the Junk folder |
| nouser, quota5, block | 5xx at RCPT: 5.1.1, 5.2.2, 5.7.1 |
| full, ratelimit | 452 4.2.2 and 421 4.7.28 at RCPT, always: delayed, then failed |
| mix | by local part: `nouser…` 550, `full…` 452, others delivered |
| grey, slow | greylisted, answered after 3 s; then as far |
| late | accepted by the far side, bounced 5.1.1 afterwards |
| blackhole, blackhole-dsn | accepted by the far side and dropped, without and with DSN |
| discard | dropped by the relay |
| dead | nobody listens |
| sink | an smtp-sink that the test starts on `relay.sink_port` |
| any other | refused at RCPT by the relay: 550 5.4.4 |

A mail is reported delayed after 4 s and returned after 15 s.
"""

import grp
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers.dovecot import Dovecot
from tests.servers.greylist import Greylist
from tests.servers.ports import free_port, wait_port, wait_until
from tests.servers.tls import Certificate
from tests.servers.workplace import Workplace, find_program, need_root, render

_QUEUES = ("incoming", "active", "deferred", "maildrop")
# Why a mail is delayed or failed, kept beside the mail for the report.
_LEDGERS = ("bounce", "defer", "trace")
_QUEUE_DIRECTORIES = (*_QUEUES, *_LEDGERS, "corrupt", "flush", "hold", "private", "saved")


class Postfix:
    """One instance; its configuration is `conf/<name>/`, its ports are in `ports` (name -> port)."""

    def __init__(
        self, name: str, tables: tuple[str, ...], ports: Mapping[str, int], values: Mapping[str, object]
    ) -> None:
        need_root("Postfix")
        self._postconf = find_program("postconf", "postfix")
        self._workplace = Workplace(name)
        self._process: subprocess.Popen[bytes] | None = None
        self.name = name
        self.ports = dict(ports)
        self._log_begins = 0
        self._etc = self._workplace.directory("etc")
        self._make_directories()
        self._configure(tables, {"HOME": self._workplace.path, "NAME": name, **self.ports, **values})

    def _make_directories(self) -> None:
        """What `postfix check` would make, without its slow walk over the installation."""
        self._workplace.directory("data", "postfix", "postfix", 0o700)
        self._workplace.directory("queue")
        self._workplace.directory("queue/pid")
        for name in _QUEUE_DIRECTORIES:
            self._workplace.directory(f"queue/{name}", "postfix", "root", 0o700)
        self._workplace.directory("queue/public", "postfix", "postdrop", 0o2710)
        self._workplace.directory("queue/maildrop", "postfix", "postdrop", 0o1730)

    def _configure(self, tables: tuple[str, ...], values: dict[str, object]) -> None:
        main = render("postfix.cf", values) + render(f"{self.name}/main.cf", values)
        master = render(f"{self.name}/master.cf", values) + render("services.cf", values)
        self._workplace.write("etc/main.cf", main)
        self._workplace.write("etc/master.cf", master)
        for table in tables:
            self._workplace.write(f"etc/{table}", render(f"{self.name}/{table}", values))

    def _default(self, parameter: str) -> str:
        command = [self._postconf, "-c", str(self._etc), "-h", parameter]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def start(self) -> None:
        """Starts it and returns when its ports are open; nothing if it runs."""
        self.launch()
        self.wait_started()

    def launch(self) -> None:
        """Starts it without waiting; nothing if it runs."""
        if self._process is not None:
            return
        self._process = self._workplace.run(
            f"{self._default('daemon_directory')}/master",
            *("-s", "-c", self._etc),
            output=self._workplace.path / "master.out",
            env={"MAIL_CONFIG": str(self._etc)},
        )

    def wait_started(self) -> None:
        """Returns when its ports are open."""
        for port in self.ports.values():
            wait_port(port, gave_up=self._ended)

    def _ended(self) -> str:
        assert self._process is not None
        output = (self._workplace.path / "master.out").read_text(errors="replace")
        return "" if self._process.poll() is None else (output + self.log())[-2000:]

    def stop(self) -> None:
        """Stops it as if the machine were off: open connections break, the queue stays."""
        if self._process is not None:
            self._workplace.end(self._process)
            self._process = None

    def close(self) -> None:
        """Stops it and removes everything."""
        self._process = None
        self._workplace.close()

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return self._process is not None

    def log(self) -> str:
        """What it logged since `forget_log`, which each test begins with."""
        return self._whole_log()[self._log_begins :].decode(errors="replace")

    def forget_log(self) -> None:
        """Lets `log` begin here."""
        self._log_begins = len(self._whole_log())

    def _whole_log(self) -> bytes:
        path = self._workplace.path / "mail.log"
        return path.read_bytes() if path.exists() else b""

    def queued(self) -> int:
        """How many mails its queues hold, those on their way included."""
        return len(self._files(*_QUEUES))

    async def queue_empty(self, timeout: float = 30) -> None:
        """Waits until no mail is left in it; TimeoutError."""
        await wait_until(lambda: self.queued() == 0, timeout, f"an empty queue of {self.name}")

    def flush(self) -> None:
        """Tries every deferred mail now."""
        subprocess.run([find_program("postqueue", "postfix"), "-c", str(self._etc), "-f"], check=True)

    def clear(self) -> None:
        """Throws all queued mail away, unreported; to be called while it is stopped."""
        for path in self._files(*_QUEUES, *_LEDGERS):
            path.unlink()

    def _files(self, *directories: str) -> list[Path]:
        queue = self._workplace.path / "queue"
        # Busy directories may be hashed into subdirectories.
        return [path for name in directories for path in queue.glob(f"{name}/**/*") if path.is_file()]


class Relay(Postfix):
    """The library's relay; log in as `mailer` / `mailerpw` where a login is asked for.

    `port` plain with DSN and no login, `submission_port` STARTTLS and login, `submissions_port` implicit
    TLS and login; `our_lmtp_port` and `sink_port` are where tests may listen; `cert` is what clients trust.
    """

    def __init__(self, values: Mapping[str, object], cert: Certificate) -> None:
        self.port, self.submission_port, self.submissions_port = free_port(), free_port(), free_port()
        self.our_lmtp_port, self.sink_port = free_port(), free_port()
        self.cert = cert.authority
        ports = {"PORT": self.port, "SUBMISSION": self.submission_port, "SUBMISSIONS": self.submissions_port}
        own = {"OUR_LMTP": self.our_lmtp_port, "SINK": self.sink_port, "CHAIN": cert.chain, "KEY": cert.key}
        super().__init__("relay", ("transport",), ports, {**values, **own})


class Far(Postfix):
    """Every provider behind one MX: `port` with DSN, `nodsn_port` without, `greylist` for grey.example."""

    def __init__(self, port: int, nodsn_port: int, values: Mapping[str, object], greylist: Greylist) -> None:
        self.port, self.nodsn_port, self.greylist = port, nodsn_port, greylist
        ports = {"PORT": port, "NODSN": nodsn_port}
        super().__init__("far", ("transport", "recipients"), ports, {**values, "GREYLIST": greylist.port})


class PostfixPair:
    """`relay` and `far`, which know each other and deliver into one Dovecot."""

    def __init__(self, dovecot: Dovecot, certificate: Certificate) -> None:
        self.greylist = Greylist()
        far_port, nodsn_port = free_port(), free_port()
        values: dict[str, object] = {
            "LMTP": dovecot.lmtp_port,
            "SASL": dovecot.sasl_port,
            "MAIL": dovecot.mail,
            "MAIL_UID": pwd.getpwnam("mail").pw_uid,
            "MAIL_GID": grp.getgrnam("mail").gr_gid,
            "FAR": far_port,
            "FAR_NODSN": nodsn_port,
        }
        self.relay = Relay(values, certificate)
        self.far = Far(far_port, nodsn_port, {**values, "RELAY": self.relay.port}, self.greylist)

    def start(self) -> None:
        """Starts what does not run."""
        self.greylist.start()
        for side in (self.far, self.relay):
            side.launch()
        for side in (self.far, self.relay):
            side.wait_started()

    def stop(self) -> None:
        """Stops all three; queues stay."""
        self.relay.stop()
        self.far.stop()
        self.greylist.stop()

    def clear(self) -> None:
        """As new for the next test: running, queues and logs empty, no pair greylisted."""
        # Mail goes to and fro: only a side that is empty before and after the other's count was
        # proves that none slipped past. Deleting from a running Postfix would race its deliveries.
        if any(side.queued() for side in (self.far, self.relay, self.far)):
            for side in (self.relay, self.far):
                side.stop()
                side.clear()
        self.start()
        self.greylist.forget()
        for side in (self.far, self.relay):
            side.forget_log()

    def close(self) -> None:
        """Stops all three and removes everything."""
        self.relay.close()
        self.far.close()
        self.greylist.stop()
