"""アカウント: who may use the desk, as an admin decides it, and everybody's own password.

An admin adds people, limits them to branches, disables them and gives new passwords; a password that an admin
knows opens nothing but the page on which its owner chooses another. Nobody disables themselves, and whoever
changes an account is a working admin at that moment, so that one is always left.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holds_core.errors import BadInput, Conflict, NotFound
from holds_core.ledger import accounts
from holds_core.ledger.accounts import Account, Role
from holds_core.ledger.session import Transaction
from mailer.app.web.desk.login import GUESSES
from mailer.app.web.desk.pages import CHOOSE_ANEW, Desk, Forbidden, Part
from mailer.app.web.desk.visit import Visit, base_of
from mailer.app.web.desk.who import SESSION
from mailer.app.web.security import RateLimit

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what looks alike on paper: i l o 0 1."""


def draw_password() -> str:
    """Three groups of five, 74 bits, that can be read out over a telephone."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(3))


class People(Part):
    """The accounts, for admins."""

    def routes(self) -> list[Route]:
        where = "/system/accounts/{login}"
        return [
            self.get("/system/accounts", self.show, admin=True),
            self.post("/system/accounts", self.add, admin=True),
            self.get(where, self.one, admin=True),
            self.post(where, self.change, admin=True),
            self.post(f"{where}/disable", self.disable, admin=True),
            self.post(f"{where}/enable", self.enable, admin=True),
            self.post(f"{where}/password", self.password, admin=True),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        async with self._services.ledger.read() as connection:
            everyone = await accounts.everyone(connection)
        return await self._desk.render(
            visit,
            "accounts.html",
            everyone=everyone,
            branches=self._services.settings.library.branches,
            said=visit.said("said", 20),
        )

    async def one(self, request: Request, visit: Visit) -> Response:
        """One account and its forms. Raises NotFound."""
        async with self._services.ledger.read() as connection:
            person, hashed = await _stored(connection, str(request.path_params["login"]))
        return await self._desk.render(
            visit,
            "account.html",
            person=person,
            own=person.login == visit.account.login,
            seen=accounts.version_of(person, hashed),
            branches=self._services.settings.library.branches,
            said=visit.said("said", 20),
        )

    async def add(self, request: Request, visit: Visit) -> Response:
        """A new account. A password that was drawn is shown on this one answer, and never again."""
        wanted = Account(visit.said("login", 60).lower(), *self._fields(visit), password_once=True)
        password, drawn = self._password(visit)
        hashed = await _hashed(self._desk, password)
        detail = {"by": _by(drawn), "after": _told(wanted)}
        async with self._services.ledger.write() as connection:
            await _still_admin(connection, visit)
            await accounts.add(connection, wanted, hashed, visit.now)
            await self._record(connection, visit, "user.add", wanted.login, detail)
        if not drawn:
            return self.to(visit, "/system/accounts", said="added")
        return await self._desk.render(
            visit, "account_password.html", person=wanted, password=password, new=True
        )

    async def change(self, request: Request, visit: Visit) -> Response:
        """Name, role and branches. Raises NotFound, BadInput, Conflict."""
        login = str(request.path_params["login"])
        name, role, branches = self._fields(visit)
        async with self._services.ledger.write() as connection:
            before = await self._unchanged(connection, visit, login)
            if login == visit.account.login and role is not before.role:
                raise BadInput(visit.say(*_NOT_OWN_ROLE))
            after = replace(before, name=name, role=role, branches=branches)
            if after != before:
                await accounts.change(connection, login, name=name, role=role, branches=branches)
                detail = {"before": _told(before), "after": _told(after)}
                await self._record(connection, visit, "user.change", login, detail)
        return self.to(visit, f"/system/accounts/{login}", said="changed")

    async def disable(self, request: Request, visit: Visit) -> Response:
        """Ends an account and its sessions at once, whatever else somebody has changed: it may be urgent.

        Raises BadInput, NotFound."""
        login = str(request.path_params["login"])
        async with self._services.ledger.write() as connection:
            admins = await _still_admin(connection, visit)
            if login == visit.account.login:
                raise BadInput(visit.say(*(_LAST_ADMIN if len(admins) == 1 else _NOT_OWN)))
            person, _ = await _stored(connection, login)
            if person.disabled_at is None:
                await accounts.disable(connection, login, visit.now)
                detail = {"before": {"disabled": False}, "after": {"disabled": True}}
                await self._record(connection, visit, "user.disable", login, detail)
        return self.to(visit, "/system/accounts", said="disabled")

    async def enable(self, request: Request, visit: Visit) -> Response:
        """Raises NotFound, Conflict."""
        login = str(request.path_params["login"])
        async with self._services.ledger.write() as connection:
            person = await self._unchanged(connection, visit, login)
            if person.disabled_at is not None:
                await accounts.enable(connection, login)
                detail = {"before": {"disabled": True}, "after": {"disabled": False}}
                await self._record(connection, visit, "user.enable", login, detail)
        return self.to(visit, f"/system/accounts/{login}", said="enabled")

    async def password(self, request: Request, visit: Visit) -> Response:
        """A new password for somebody else, which also lets a disabled account work again.

        Raises NotFound, BadInput, Conflict."""
        login = str(request.path_params["login"])
        if login == visit.account.login:
            return self.to(visit, CHOOSE_ANEW)
        password, drawn = self._password(visit)
        hashed = await _hashed(self._desk, password)
        async with self._services.ledger.write() as connection:
            person = await self._unchanged(connection, visit, login)
            await accounts.set_password(connection, login, hashed, once=True)
            detail: dict[str, Any] = {"by": _by(drawn)}
            if person.disabled_at is not None:
                detail |= {"before": {"disabled": True}, "after": {"disabled": False}}
            await self._record(connection, visit, "user.password", login, detail)
        if not drawn:
            return self.to(visit, f"/system/accounts/{login}", said="password")
        return await self._desk.render(
            visit, "account_password.html", person=person, password=password, new=False
        )

    def _fields(self, visit: Visit) -> tuple[str, Role, tuple[str, ...]]:
        """(name, role, branches) of the form. Raises BadInput."""
        role = visit.said("role", 20)
        if role not in list(Role):
            raise BadInput(visit.say("権限を選んでください。", "Choose a role."))
        asked = {str(value) for value in visit.form.getlist("branch")}
        known = [branch.id for branch in self._services.settings.library.branches]
        if unknown := asked.difference(known):
            raise BadInput(visit.say("設定にない館です: ", "No such branch: ") + ", ".join(sorted(unknown)))
        chosen = tuple(branch for branch in known if branch in asked)
        return visit.said("name", 80), Role(role), chosen

    def _password(self, visit: Visit) -> tuple[str, bool]:
        """(password, whether it was drawn because none was typed)."""
        typed = _secret(visit, "password")
        return (typed, False) if typed else (draw_password(), True)

    async def _unchanged(self, connection: Transaction, visit: Visit, login: str) -> Account:
        """The account, if it still is what the form showed and an admin asks.

        Raises NotFound, Forbidden, and Conflict with how the account stands now."""
        await _still_admin(connection, visit)
        person, hashed = await _stored(connection, login)
        if accounts.version_of(person, hashed) != visit.said("seen"):
            raise Conflict(self._now(person, visit))
        return person

    def _now(self, person: Account, visit: Visit) -> str:
        named = [self._desk.branch_name(branch, visit.language) for branch in person.branches]
        said = (
            (visit.say("氏名", "name"), person.name or "—"),
            (visit.say("権限", "role"), _role(person, visit)),
            (visit.say("担当館", "branches"), visit.say("・", ", ").join(named) or visit.say("全館", "all")),
            (visit.say("状態", "state"), _state(person, visit)),
        )
        stands = visit.say("、", ", ").join(f"{label}: {value}" for label, value in said)
        return visit.say(
            f"このアカウントは、画面を開いたあとに変更されました。いまの操作は記録していません。現在の内容 — {stands}",
            f"This account was changed after you opened the page; nothing was recorded. Now: {stands}",
        )

    async def _record(
        self, connection: Transaction, visit: Visit, what: str, login: str, detail: dict[str, Any]
    ) -> None:
        await accounts.record(connection, visit.account.login, what, f"user:{login}", detail, visit.now)


class OwnPassword(Part):
    """Everybody's own password. Guessing the present one is slowed down as at the door."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._guesses = RateLimit(GUESSES)

    def routes(self) -> list[Route]:
        return [self.get(CHOOSE_ANEW, self.show), self.post(CHOOSE_ANEW, self.change)]

    async def show(self, request: Request, visit: Visit) -> Response:
        return await self._form(visit)

    async def change(self, request: Request, visit: Visit) -> Response:
        """Ends all sessions of the account but this browser's, which gets a new one."""
        login, new = visit.account.login, _secret(visit, "new")
        if problem := self._problem(visit, new):
            return await self._form(visit, 422, problem)
        if self._guesses.left(login, visit.now.timestamp()) < 1:
            return await self._form(visit, 429, visit.say(*_SLOW))
        async with self._services.ledger.read() as connection:
            _, known = await _stored(connection, login)
        async with self._desk.hashing:
            right = await asyncio.to_thread(accounts.verify, known, _secret(visit, "password"))
        if not right:
            self._guesses.take(login, visit.now.timestamp())
            return await self._form(visit, 422, visit.say(*_WRONG))
        hashed = await _hashed(self._desk, new)
        async with self._services.ledger.write() as connection:
            await accounts.set_password(connection, login, hashed)
            cookie = await accounts.begin_session(connection, login, visit.now)
            detail = {"by": "owner"}
            await accounts.record(connection, login, "user.password", f"user:{login}", detail, visit.now)
        response = RedirectResponse(f"{base_of(request)}/", 303)
        self._desk.who.put_cookie(request, response, SESSION, cookie)
        return response

    def _problem(self, visit: Visit, new: str) -> str:
        if not accounts.MIN_PASSWORD <= len(new) <= accounts.MAX_PASSWORD:
            return visit.say(*_LENGTH)
        if new != _secret(visit, "again"):
            return visit.say(*_DIFFER)
        return visit.say(*_SAME) if new == _secret(visit, "password") else ""

    async def _form(self, visit: Visit, status: int = 200, problem: str = "") -> Response:
        return await self._desk.render(
            visit, "password.html", status, problem=problem, least=accounts.MIN_PASSWORD
        )


async def _stored(connection: Transaction, login: str) -> tuple[Account, str]:
    found = await accounts.stored(connection, login)
    if found is None:
        raise NotFound(f"アカウント {login} はありません。 There is no account {login}.")
    return found


async def _still_admin(connection: Transaction, visit: Visit) -> list[str]:
    """The working admins, the one who asks among them, whom a colleague may have disabled just now."""
    admins = await accounts.lock_admins(connection)
    if visit.account.login not in admins:
        raise Forbidden
    return admins


async def _hashed(desk: Desk, password: str) -> str:
    """Raises BadInput."""
    async with desk.hashing:
        return await asyncio.to_thread(accounts.hash_password, password)


def _secret(visit: Visit, name: str) -> str:
    """A password as it was typed: not trimmed."""
    value = visit.form.get(name, "")
    return value if isinstance(value, str) else ""


def _by(drawn: bool) -> str:
    return "drawn" if drawn else "typed"


def _told(account: Account) -> dict[str, Any]:
    return {"name": account.name, "role": account.role.value, "branches": list(account.branches)}


def _role(account: Account, visit: Visit) -> str:
    return visit.say("管理者", "admin") if account.is_admin else visit.say("職員", "staff")


def _state(account: Account, visit: Visit) -> str:
    return visit.say("停止中", "disabled") if account.disabled_at else visit.say("有効", "active")


_NOT_OWN = ("自分のアカウントは停止できません。", "You cannot disable your own account.")
_LAST_ADMIN = (
    "最後の管理者のアカウントは停止できません。先にほかの管理者を追加してください。",
    "The last admin cannot be disabled: add another one first.",
)
_NOT_OWN_ROLE = (
    "自分の権限は変更できません。ほかの管理者に依頼してください。",
    "You cannot change your own role: ask another admin.",
)
_LENGTH = (
    f"新しいパスワードは{accounts.MIN_PASSWORD}〜{accounts.MAX_PASSWORD}文字にしてください。",
    f"The new password has {accounts.MIN_PASSWORD} to {accounts.MAX_PASSWORD} characters.",
)
_DIFFER = ("新しいパスワードが2回で異なります。", "The new password was typed in two ways.")
_SAME = ("いまと違うパスワードにしてください。", "Choose another password than the present one.")
_WRONG = ("いまのパスワードが違います。", "The present password is wrong.")
_SLOW = (
    "続けて間違えたため、少し時間をおいてください(約20秒)。",
    "Too many wrong passwords: please wait about 20 seconds.",
)
