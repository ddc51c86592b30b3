"""A daemon lives through a bad day, and nothing that it says names anybody or what anybody borrows."""

import asyncio
import json
import re
import smtplib
import sqlite3
import stat
from email.message import EmailMessage
from pathlib import Path

import httpx

from tests.e2e.test_daemon import TOKEN, daemon, post, todoku, write_config
from tests.servers.ports import free_port, is_open, wait_until
from tests.servers.postfix import Relay

NAMES = ("himitsu.hanako", "secretive", "秘密", "ヒミツ", "門外不出", "090-1234-5678", "himitsu@")
"""Of an address, a domain of one's own, a name, its reading, a title, a phone number."""

GOOD = "himitsu.hanako@good.example"
GONE = "himitsu.hanako@nouser.example"
OWN = "himitsu@secretive.example"  # the relay refuses it at RCPT
ODD = "himitsu..hanako.@good.example"


LIVED = {
    "started",
    "listening",
    "imported",
    "attempt_ended",
    "mail_stored",
    "mail_quarantined",
    "request_failed",
}
"""Lines without which the daemon did not live through what it should have."""


def everything_in(database: Path) -> set[str]:
    """Which of the words the ledger holds, in any table or mail."""
    connection = sqlite3.connect(database)
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    finally:
        connection.close()
    cells = (cell for row in rows for cell in row)
    texts = [cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for cell in cells]
    # the ledger's JSON writes other letters than ASCII by their numbers
    texts += [json.loads(text) for text in _json_words(texts)]
    return {name for name in NAMES if any(name in text for text in texts)}


def _json_words(texts: list[str]) -> list[str]:
    return [word for text in texts if "\\u" in text for word in re.findall(r'"(?:[^"\\]|\\.)*"', text)]


def words(text: str) -> list[str]:
    return [name for name in NAMES if name in text]


async def said_by(folder: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *todoku(folder, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return said.decode()


async def live(port: int, lmtp: int, database: Path) -> None:
    """Events good and bad, mail that arrives, is refused and bounces, replies, forged and broken reports."""
    people = {"P1": GOOD, "P2": GONE, "P3": OWN, "P4": ODD}
    events = []
    for patron_id, address in people.items():
        person = {"name": "秘密 花子", "name_kana": "ヒミツ ハナコ", "phones": ["090-1234-5678"]}
        events.append(
            {"id": f"p{patron_id}", "type": "patron", "patron_id": patron_id, "email": address} | person
        )
        hold = {"hold_id": f"H{patron_id}", "patron_id": patron_id, "title": "門外不出の書", "branch": "main"}
        events.append({"id": f"h{patron_id}", "type": "hold.shelved"} | hold)
        changed = {"patron_id": patron_id, "email": f"new.{address}"}
        events.append({"id": f"c{patron_id}", "type": "patron.email_changed"} | changed)
    results = await post(port, *events)
    assert {result["outcome"] for result in results} == {"applied"}, results
    await _break_the_api(port)

    def sent() -> bool:
        connection = sqlite3.connect(database)
        try:
            return bool(
                connection.execute("SELECT count(*) FROM attempts WHERE finished_at IS NOT NULL").fetchone()[
                    0
                ]
                >= 3
            )
        finally:
            connection.close()

    await wait_until(sent, 40, "mail to leave")
    await asyncio.to_thread(_mail_back, lmtp)

    def read() -> bool:
        connection = sqlite3.connect(database)
        try:
            query = "SELECT count(*) FROM inbound WHERE state != 'new'"
            return bool(connection.execute(query).fetchone()[0] >= 3)
        finally:
            connection.close()

    await wait_until(read, 40, "mail to be read")


async def _break_the_api(port: int) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        for body in (
            f'{{"type": "patron", "email": "{GOOD}", "title": "門外不出の書"',
            f'[{{"id": "x", "at": "never", "type": "patron", "patron_id": 1, "email": "{GOOD}", "name": "秘密"}}]',
            f'[{{"id": "y", "at": "2026-11-22T00:00:00Z", "type": "秘密", "title": "門外不出の書 {OWN}"}}]',
        ):
            await client.post("/api/v1/events", content=body.encode())
        for path in (f"/api/v1/explain/address:{GOOD}", f"/desk/patrons/{OWN}", f"/api/v1/{OWN}", f"/{GOOD}"):
            await client.get(path)


def _mail_back(lmtp: int) -> None:
    """To our LMTP: a reply, a forged bounce, and something that is no mail."""
    with smtplib.LMTP("127.0.0.1", lmtp) as client:
        for subject, text in (
            ("Re: 門外不出の書", f"秘密 花子です。 {GOOD}"),
            (
                "Undelivered Mail Returned to Sender",
                f"<{OWN}>: host mx said: 550 5.1.1 User unknown 門外不出の書",
            ),
        ):
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = (
                GOOD,
                "aaaaaaaaaaaaaaaaaaaa@lmtp.library.example",
                subject,
            )
            mail.set_content(text)
            client.sendmail(GOOD, ["aaaaaaaaaaaaaaaaaaaa@lmtp.library.example"], mail.as_bytes())
        client.sendmail(
            OWN, ["aaaaaaaaaaaaaaaaaaab@lmtp.library.example"], b"\xff\xfe\x00" + OWN.encode() + b"\r\n"
        )


async def pages(port: int, confirm: int) -> str:
    """Everything that anybody sees without a login."""
    found = []
    async with httpx.AsyncClient(timeout=30) as client:
        for path in (
            "/metrics",
            "/healthz",
            "/desk/login",
            f"/desk/{OWN}",
            f"/{GOOD}",
            "/desk/?q=秘密",
            "/api/v1/report",
        ):
            found.append((await client.get(f"http://127.0.0.1:{port}{path}")).text.replace(path, ""))
        for path in ("/c/aaaaaaaaaaaaaaaaaaaa", f"/c/{GOOD}", "/"):
            found.append((await client.get(f"http://127.0.0.1:{confirm}{path}")).text)
    return "\n".join(found)


async def test_no_log_metric_error_page_or_traceback_names_anybody(tmp_path: Path, relay: Relay) -> None:
    lmtp, confirm = free_port(), free_port()
    port = write_config(tmp_path, RELAY_PORT=relay.port, LMTP_PORT=lmtp)
    config = tmp_path / "config.yaml"
    text = config.read_text().replace(
        'confirm: {listen: "127.0.0.1:0"}', f'confirm: {{listen: "127.0.0.1:{confirm}"}}'
    )
    config.write_text(text + "\nlogging: {level: info}\nbatches: []\n")
    database = tmp_path / "todoku.db"
    async with daemon(tmp_path, port):
        await wait_until(lambda: is_open(lmtp), 20, "LMTP")
        await live(port, lmtp, database)
        # a database that fails under it: tracebacks, if there are any, are written now
        connection = sqlite3.connect(database, isolation_level=None)
        connection.execute("ALTER TABLE events RENAME TO events_away")
        async with httpx.AsyncClient(timeout=60, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            patron = {
                "id": "z",
                "at": "2026-11-22T00:00:00Z",
                "type": "patron",
                "patron_id": "P9",
                "email": OWN,
                "name": "秘密",
            }
            broken = await client.post(f"http://127.0.0.1:{port}/api/v1/events", json=patron)
        connection.execute("ALTER TABLE events_away RENAME TO events")
        connection.close()
        assert broken.status_code >= 500
        assert words(broken.text) == []
        shown = await pages(port, confirm)
    log = (tmp_path / "log").read_text()
    # it did live through all of it, and every word that is looked for was there to be told
    told = set(re.findall(r"\bevent=(\w+)", log))
    assert told >= LIVED, LIVED - told
    assert "todoku_notices" in shown
    assert everything_in(database) == set(NAMES)
    assert words(shown) == []
    found = [(words(line), line) for line in log.splitlines() if words(line)]
    assert found == []


async def test_a_command_that_fails_names_nobody(tmp_path: Path) -> None:
    """A database error's own words hold the values that it was given."""
    write_config(tmp_path, RELAY_PORT=9)
    await said_by(tmp_path, "db", "upgrade")
    connection = sqlite3.connect(tmp_path / "todoku.db")
    # when the patron's row is written: what fails before that was given no name
    for table in ("patrons", "addresses", "events"):
        connection.execute(
            f"CREATE TRIGGER spoil_{table} BEFORE INSERT ON {table} BEGIN SELECT * FROM nowhere; END"
        )
    connection.commit()
    connection.close()
    line = f'{{"id": "1", "at": "2026-11-22T00:00:00Z", "type": "patron", "patron_id": "P1", "email": "{OWN}", "name": "秘密"}}'
    (tmp_path / "events.jsonl").write_text(line + "\n")
    said = await said_by(tmp_path, "import", str(tmp_path / "events.jsonl"))
    assert said.strip()
    assert words(said) == []


async def test_the_database_and_its_copies_are_their_owners_alone(tmp_path: Path, relay: Relay) -> None:
    port = write_config(tmp_path, RELAY_PORT=relay.port, LMTP_PORT=free_port())
    async with daemon(tmp_path, port):
        await post(port, {"type": "patron", "patron_id": "P1", "email": GOOD, "name": "秘密"})
        await said_by(tmp_path, "backup", str(tmp_path / "copy.db"))
        files = [file for file in tmp_path.iterdir() if file.name.startswith(("todoku.db", "copy.db"))]
        assert {"todoku.db", "todoku.db-wal", "copy.db"} <= {file.name for file in files}
        private = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files if file.suffix != ".lock"}
        assert set(private.values()) == {0o600}, private
