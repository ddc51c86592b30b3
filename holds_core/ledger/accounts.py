"""Staff accounts and their sessions, and the lines of the audit trail that tell what staff did.

Passwords enter and leave only as argon2id hashes; session cookies are stored as hashes too. Whether a person
may try again after a wrong password is the desk's business, not this module's.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.errors import BadInput, NotFound
from holds_core.ledger.models import audit, sessions, users

IDLE = timedelta(hours=1)
"""A session nobody used for this long is over: counters are left in a hurry."""
LONGEST = timedelta(hours=14)
"""No session outlives a working day."""
SEEN_STEP = timedelta(minutes=1)
"""`seen_at` is written at most this often: reading a page must not cost a commit."""
MIN_PASSWORD = 10
MAX_PASSWORD = 200

_LOGIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class Role(StrEnum):
    """What an account may do. Admins may do all that staff may."""

    STAFF = "staff"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Account:
    """One person's account. `branches` empty: all branches."""

    login: str
    name: str
    role: Role
    branches: tuple[str, ...] = ()
    disabled_at: datetime | None = None
    password_once: bool = False
    """Somebody else knows the password: the desk asks for another one before it shows anything."""

    @property
    def shown(self) -> str:
        """The name as colleagues see it."""
        return self.name or self.login

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN

    def may_see(self, branches: Sequence[str]) -> bool:
        """Whether any of these branches is this account's. What has no branch concerns everyone."""
        known = [branch for branch in branches if branch]
        return not self.branches or not known or not set(known).isdisjoint(self.branches)


# -- passwords -------------------------------------------------------------------------------------

_HASHER = PasswordHasher()  # argon2id with RFC 9106's second recommended parameters
_NOBODY = _HASHER.hash(secrets.token_hex(16))
"""Checked when there is no such account, so that an answer's time does not tell."""


def hash_password(password: str) -> str:
    """Takes tens of milliseconds on purpose. Raises BadInput for a password too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadInput(
            f"パスワードは{MIN_PASSWORD}〜{MAX_PASSWORD}文字にしてください。"
            f" A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters."
        )
    return _HASHER.hash(password)


def verify(stored: str | None, password: str) -> bool:
    """Whether the password is the one that was hashed. None: no such account, takes as long."""
    try:
        return _HASHER.verify(stored or _NOBODY, password[:MAX_PASSWORD]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


# -- accounts --------------------------------------------------------------------------------------


async def add(
    connection: AsyncConnection,
    account: Account,
    password_hash: str,
    now: datetime,
) -> None:
    """Makes an account. Raises BadInput if the login is taken or cannot be one."""
    if not _LOGIN.fullmatch(account.login):
        raise BadInput(
            "ログイン名は半角の英小文字・数字・「.」「_」「-」で、40文字までです。"
            " A login has small letters a-z, digits, . _ - and at most 40 characters."
        )
    if await stored(connection, account.login) is not None:
        raise BadInput(
            f"ログイン名 {account.login} はすでにあります。 There is an account {account.login} already."
        )
    await connection.execute(
        sa.insert(users).values(
            login=account.login,
            name=account.name,
            role=account.role,
            branches=list(account.branches),
            password=password_hash,
            password_once=account.password_once,
            created_at=now,
        )
    )


async def stored(connection: AsyncConnection, login: str) -> tuple[Account, str] | None:
    """The account with its password hash, disabled or not."""
    row = (await connection.execute(sa.select(users).where(users.c.login == login))).first()
    return None if row is None else (_account(row), row.password)


async def everyone(connection: AsyncConnection) -> list[Account]:
    return [_account(row) for row in await connection.execute(sa.select(users).order_by(users.c.login))]


async def names(connection: AsyncConnection) -> dict[str, str]:
    """Login -> the name to show, of all accounts there ever were."""
    return {account.login: account.shown for account in await everyone(connection)}


async def set_password(
    connection: AsyncConnection, login: str, password_hash: str, *, once: bool = False
) -> None:
    """A new password, which also makes a disabled account work again. `once`: its owner has to choose
    another at the next login. Ends the account's sessions. Raises NotFound."""
    await _update(connection, login, password=password_hash, password_once=once, disabled_at=None)
    await _end_sessions(connection, login)


async def change(
    connection: AsyncConnection, login: str, *, name: str, role: Role, branches: Sequence[str]
) -> None:
    """Who the account's owner is and what it may do, from the owner's next request on. Raises NotFound."""
    await _update(connection, login, name=name, role=role, branches=list(branches))


async def disable(connection: AsyncConnection, login: str, now: datetime) -> None:
    """Ends the account's sessions; its name stays on what it did. Raises NotFound."""
    await _update(connection, login, disabled_at=now)
    await _end_sessions(connection, login)


async def enable(connection: AsyncConnection, login: str) -> None:
    """The account works again, with the password that it had. Raises NotFound."""
    await _update(connection, login, disabled_at=None)


async def lock_admins(connection: AsyncConnection) -> list[str]:
    """The admins whose accounts work. Until the transaction ends nobody else changes them (PostgreSQL; on
    SQLite writers take turns), so that two admins cannot disable each other."""
    query = sa.select(users.c.login).where(users.c.role == Role.ADMIN, users.c.disabled_at.is_(None))
    return list(await connection.scalars(query.order_by(users.c.login).with_for_update()))


def version_of(account: Account, password_hash: str) -> str:
    """What a form about the account must hand back to be accepted: differs after every change."""
    said = (account.login, account.name, account.role, account.branches, account.disabled_at, password_hash)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


async def _update(connection: AsyncConnection, login: str, **values: Any) -> None:
    result = await connection.execute(sa.update(users).where(users.c.login == login).values(**values))
    if result.rowcount != 1:
        raise NotFound(f"アカウント {login} はありません。 There is no account {login}.")


async def _end_sessions(connection: AsyncConnection, login: str) -> None:
    await connection.execute(sa.delete(sessions).where(sessions.c.login == login))


def _account(row: Any) -> Account:
    return Account(
        row.login, row.name, Role(row.role), tuple(row.branches), row.disabled_at, row.password_once
    )


# -- sessions --------------------------------------------------------------------------------------


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


async def begin_session(connection: AsyncConnection, login: str, now: datetime) -> str:
    """A new session's cookie value. Sessions that are over are cleared away by the way."""
    cookie = secrets.token_urlsafe(32)
    await connection.execute(
        sa.delete(sessions).where(
            sa.or_(sessions.c.seen_at < now - IDLE, sessions.c.created_at < now - LONGEST)
        )
    )
    await connection.execute(
        sa.insert(sessions).values(session_key=_key(cookie), login=login, created_at=now, seen_at=now)
    )
    return cookie


async def end_session(connection: AsyncConnection, cookie: str) -> None:
    await connection.execute(sa.delete(sessions).where(sessions.c.session_key == _key(cookie)))


async def session_of(
    connection: AsyncConnection, cookie: str, now: datetime
) -> tuple[Account, datetime] | None:
    """Whose session this is and when it was last used, or None if it is over or the account disabled."""
    row = (
        await connection.execute(
            sa.select(users, sessions.c.seen_at)
            .join(sessions, sessions.c.login == users.c.login)
            .where(
                sessions.c.session_key == _key(cookie),
                sessions.c.seen_at >= now - IDLE,
                sessions.c.created_at >= now - LONGEST,
                users.c.disabled_at.is_(None),
            )
        )
    ).first()
    return None if row is None else (_account(row), row.seen_at)


async def touch(connection: AsyncConnection, cookie: str, now: datetime) -> None:
    """The session was used just now."""
    await connection.execute(
        sa.update(sessions).where(sessions.c.session_key == _key(cookie)).values(seen_at=now)
    )


# -- audit -----------------------------------------------------------------------------------------


async def record(
    connection: AsyncConnection,
    who: str,
    what: str,
    subject: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """One line of the audit trail (`trail` reads it). `subject` as `todoku explain` takes it: `patron:…`,
    `mail:…`."""
    await connection.execute(
        sa.insert(audit).values(at=now, who=who, what=what, subject=subject, detail=dict(detail))
    )
