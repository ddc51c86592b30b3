"""A private Dovecot: IMAP, IMAPS and LMTP for mailboxes, and the SASL service that Postfix asks.

Accounts that can log in: `ACCOUNTS`. Mail comes in by LMTP for any local part, each its own mailbox;
all of library.example is the mailbox `bounces`; all of junk.example lands in its patron's Junk folder.
"""

import subprocess
from pathlib import Path

from tests.servers.ports import free_port, wait_port, wait_until
from tests.servers.tls import Certificate
from tests.servers.workplace import Workplace, find_program, need_root, render

ACCOUNTS = {"bounces": "bouncepw", "patron": "patronpw", "mailer": "mailerpw"}


class Dovecot:
    """Ports: `imap_port` (plain), `imaps_port`, `lmtp_port`, `sasl_port`; `cert` is what clients trust.

    For XOAUTH2 it asks `http://127.0.0.1:oauth_port/tokeninfo?access_token=…`, where a test that uses it
    listens: 200 with `{"login": name}` for a good token.
    """

    accounts = ACCOUNTS

    def __init__(self, certificate: Certificate) -> None:
        need_root("Dovecot")
        self._binary = find_program("dovecot", "dovecot-core dovecot-imapd dovecot-lmtpd")
        version = subprocess.run(
            [self._binary, "--version"], capture_output=True, text=True, check=True
        ).stdout
        if not version.startswith("2.3."):
            raise RuntimeError(f"the tests' configuration is for Dovecot 2.3, found {version.strip()}")
        self.cert = certificate.authority
        self.imap_port, self.imaps_port = free_port(), free_port()
        self.lmtp_port, self.sasl_port = free_port(), free_port()
        self.oauth_port = free_port()
        self._workplace = Workplace("dovecot")
        self._process: subprocess.Popen[bytes] | None = None
        self.mail = self._workplace.directory("mail", "mail", "mail")
        self._configure(certificate)

    def _configure(self, certificate: Certificate) -> None:
        values: dict[str, object] = {
            "HOME": self._workplace.path,
            "MAIL": self.mail,
            "CHAIN": certificate.chain,
            "KEY": certificate.key,
            "IMAP": self.imap_port,
            "IMAPS": self.imaps_port,
            "LMTP": self.lmtp_port,
            "SASL": self.sasl_port,
            "OAUTH": self.oauth_port,
        }
        for name in ("dovecot.conf", "return-path", "junkers", "oauth2"):
            self._workplace.write(f"etc/{name}", render(f"dovecot/{name}", values))
        lines = [f"{name}:{password}\n" for name, password in ACCOUNTS.items()]
        self._workplace.write("etc/accounts", "".join(lines))

    def start(self) -> None:
        """Starts it and returns when every port is open; nothing if it runs."""
        if self._process is not None:
            return
        home = self._workplace.path
        self._process = self._workplace.run(
            self._binary, "-F", "-c", home / "etc/dovecot.conf", output=home / "dovecot.log"
        )
        for port in (self.imap_port, self.imaps_port, self.lmtp_port, self.sasl_port):
            wait_port(port, gave_up=self._ended)

    def _ended(self) -> str:
        assert self._process is not None
        return "" if self._process.poll() is None else self.log()[-2000:]

    def stop(self) -> None:
        """Stops it, connections included; the mail stays."""
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
        """All that it logged."""
        path = self._workplace.path / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def mailbox(self, name: str, folder: str = "INBOX") -> list[bytes]:
        """The mails of a mailbox as delivered (Return-Path and Delivered-To on top), oldest first."""
        while True:
            files = sorted(self._files(self._folder(name, folder)), key=lambda path: path.name)
            try:
                return [path.read_bytes() for path in files]
            except FileNotFoundError:
                # A client's look moves a file from new/ to cur/ or changes its flags: look again.
                continue

    async def arrived(
        self, name: str, count: int = 1, folder: str = "INBOX", timeout: float = 30
    ) -> list[bytes]:
        """Waits until a mailbox holds at least `count` mails, and returns them all; TimeoutError."""

        def enough() -> list[bytes]:
            mails = self.mailbox(name, folder)
            return mails if len(mails) >= count else []

        return await wait_until(enough, timeout, f"{count} mails in {folder} of {name}")

    def empty(self) -> None:
        """Removes every mail of every mailbox; mailboxes, folders and their UID counters stay. It must run.

        By Dovecot itself: files removed behind its back stay in its indexes, and in later counts.
        """
        for maildir in self.mail.glob("*/Maildir"):
            if any(self._files(folder) for folder in (maildir, *maildir.glob(".*/"))):
                user = maildir.parent.name
                command = ["doveadm", "-c", self._workplace.path / "etc/dovecot.conf", "expunge", "-u", user]
                subprocess.run([*command, "mailbox", "*", "all"], capture_output=True, check=True)

    def _folder(self, name: str, folder: str) -> Path:
        maildir = self.mail / name / "Maildir"
        return maildir if folder == "INBOX" else maildir / f".{folder}"

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        return [path for part in ("new", "cur") for path in folder.glob(f"{part}/*")]
