"""The signed token that ties a bounce, a confirmation or a complaint to one delivery.

In: a delivery's number and the library's secret keys. Out: a short word that fits the local part of an
envelope sender (VERP) or a link, and that only this library could have made. Pure: no clock, no
randomness, no file; never trusts a word it did not sign.

A token is 16 characters of MAC followed by the delivery's number, both in RFC 4648 section 6's base 32
alphabet in lower case. That alphabet survives mail systems that change the case of a local part, and
has neither 0 nor 1, which people misread when they type a link from paper.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections.abc import Sequence
from enum import StrEnum

from holds_core.errors import BadInput

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_DIGITS = {letter: value for value, letter in enumerate(_ALPHABET)}

MAC_LENGTH = 16
"""Characters of MAC: 80 bits, and 16 characters carry exactly 80, so that no character is slack."""

MIN_KEY_LENGTH = 32
"""Bytes of a key: what HMAC-SHA256 asks for (RFC 2104 section 3, the length of the hash)."""

MAX_DELIVERY_ID = 2**63 - 1
MAX_TOKEN_LENGTH = MAC_LENGTH + 13
MAX_LOCAL_PART = 64  # RFC 5321 section 4.5.3.1.1


class Purpose(StrEnum):
    """What a token may be used for. It is part of what is signed: no token serves another purpose."""

    RETURN_PATH = "return_path"
    CONFIRM = "confirm"
    NOT_ME = "not_me"
    CANARY = "canary"  # the number is a canary mail's, not a delivery's


class ReturnPathMode(StrEnum):
    """How the library receives bounces."""

    VERP = "verp"  # a domain of its own whose every address comes to us: token@domain
    PLUS = "plus"  # one mailbox with address extensions: mailbox+token@domain
    FIXED = "fixed"  # one mailbox without: mailbox@domain; ENVID and Message-ID tell the delivery


class TokenKeys:
    """The library's keys: the first signs, all verify, so that a key can be replaced without a gap.

    Each key is at least MIN_KEY_LENGTH bytes. Raises BadInput for a short key and for none at all; the
    error never shows a key.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise BadInput("token keys: at least one key is needed")
        for number, key in enumerate(keys, start=1):
            if len(key) < MIN_KEY_LENGTH:
                raise BadInput(f"token keys: key {number} has {len(key)} bytes, expected {MIN_KEY_LENGTH}")
        self._keys = tuple(keys)

    @classmethod
    def parse(cls, text: str) -> TokenKeys:
        """Keys from a text with one key per line; blank lines and lines starting with # are skipped.

        A key is the line's own bytes, for example what `openssl rand -hex 32` prints.
        """
        lines = (line.strip() for line in text.splitlines())
        return cls([line.encode() for line in lines if line and not line.startswith("#")])

    def __repr__(self) -> str:
        return f"TokenKeys({len(self._keys)} keys)"

    def make(self, delivery_id: int, purpose: Purpose = Purpose.RETURN_PATH) -> str:
        """The token of a delivery: the same word every time, at most MAX_TOKEN_LENGTH characters.

        Raises ValueError if `delivery_id` is not between 1 and MAX_DELIVERY_ID.
        """
        if not 1 <= delivery_id <= MAX_DELIVERY_ID:
            raise ValueError(f"a delivery number is between 1 and 2**63 - 1, not {delivery_id}")
        return _mac(self._keys[0], purpose, delivery_id) + _number(delivery_id)

    def read(self, token: str, purpose: Purpose = Purpose.RETURN_PATH) -> int | None:
        """The delivery's number, or None if the token was not signed by us for this purpose.

        Case does not matter. The MAC is compared in constant time.
        """
        # ASCII first: lower() maps the Kelvin sign to k, and int() would take full-width digits
        if not token.isascii() or not MAC_LENGTH < len(token) <= MAX_TOKEN_LENGTH:
            return None
        token = token.lower()
        delivery_id = _parse_number(token[MAC_LENGTH:])
        if delivery_id is None:
            return None
        given = token[:MAC_LENGTH].encode()
        genuine = False
        for key in self._keys:
            genuine |= hmac.compare_digest(_mac(key, purpose, delivery_id).encode(), given)
        return delivery_id if genuine else None

    def find(self, address: str, *, domain: str = "") -> int | None:
        """The delivery's number from an envelope address of any mode, or None.

        Takes `token@domain`, `mailbox+token@domain` and the same in angle brackets; a fixed address has
        no token and gives None. With `domain` given, addresses of other domains give None; without it
        any domain will do, as the token alone proves where it comes from.
        """
        local, at, host = address.strip().removeprefix("<").removesuffix(">").rpartition("@")
        if not at or (domain and host.rstrip(".").lower() != domain.rstrip(".").lower()):
            return None
        return self.read(local.strip('"').rpartition("+")[2])


def return_path(mode: ReturnPathMode, token: str, domain: str, mailbox: str = "") -> str:
    """The envelope sender for a token, as the library's return path mode has it.

    `mailbox` is the local part of the library's mailbox, for the modes plus and fixed. Raises BadInput
    if it is missing there, or if the local part would exceed 64 octets (RFC 5321 section 4.5.3.1.1).
    """
    if mode is ReturnPathMode.VERP:
        local = token
    elif not mailbox:
        raise BadInput(f"a return path of mode {mode} needs a mailbox")
    else:
        local = f"{mailbox}+{token}" if mode is ReturnPathMode.PLUS else mailbox
    if len(local.encode()) > MAX_LOCAL_PART:
        raise BadInput(f"the return path's local part exceeds {MAX_LOCAL_PART} octets: shorten the mailbox")
    return f"{local}@{domain}"


def answer_address(address: str, token: str) -> str:
    """The confirmation address of one mail: `kakunin@library` -> `kakunin+token@library` (RFC 5233 section 1).

    Where the local part would exceed 64 octets it stays as it is, and the sender must tell who answers.
    """
    local, _, domain = address.rpartition("@")
    longer = f"{local}+{token}"
    return f"{longer}@{domain}" if len(longer.encode()) <= MAX_LOCAL_PART else address


def _mac(key: bytes, purpose: Purpose, delivery_id: int) -> str:
    # The purpose's length is open, but no purpose holds a space and the number holds digits alone, so
    # that no two pairs give the same bytes.
    digest = hmac.digest(key, b"todoku %s %d" % (purpose.encode(), delivery_id), "sha256")
    return b32encode(digest[:10]).decode().lower()  # 80 bits: 16 letters, no padding


def _number(value: int) -> str:
    """A number in base 32, most significant digit first."""
    letters = []
    while value:
        value, digit = divmod(value, 32)
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))


def _parse_number(text: str) -> int | None:
    """The inverse of `_number` for a delivery's number; None unless `text` is its only spelling."""
    if text.startswith(_ALPHABET[0]):  # a leading zero would give one delivery several tokens
        return None
    value = 0
    for letter in text:
        digit = _DIGITS.get(letter)
        if digit is None:
            return None
        value = value * 32 + digit
    return value if value <= MAX_DELIVERY_ID else None
