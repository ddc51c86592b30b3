"""DKIM signing of our own (RFC 6376, RFC 8463), for libraries whose relay does not sign.

In: a finished mail with CRLF line ends, and the keys. Out: the same mail with one DKIM-Signature in front for
each key. dkimpy reads the mail, canonicalises it and writes the header; the private key's operation is
cryptography's, because dkimpy's own RSA is written in Python and takes ten times as long. Both come with the
extra "dkim" and are loaded only where keys are configured. Reads no file, no DNS and no clock.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from holds_core.errors import TodokuError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SHORTEST_RSA = 1024
"""Bits. RFC 8301 section 3.2: verifiers need not look at shorter keys; signers should use 2048."""

_CANONICAL = b"relaxed/relaxed"
"""Relays fold header lines anew and trim the ends of lines; neither must break a signature."""

_TWICE = (b"from", b"subject", b"reply-to")
"""Named once more than they are there, so that none can be added (RFC 6376 section 8.15)."""

_SIGNED = (
    b"date",
    b"from",
    b"to",
    b"subject",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"auto-submitted",
)


class DkimUnavailable(TodokuError):  # noqa: N818
    """Keys are configured and the extra "dkim" is not installed."""


class BadDkimKey(TodokuError):  # noqa: N818
    """A key file that cannot be used. Names the selector, never the key."""


class _Operation(Protocol):
    """What dkimpy asks of an Ed25519 key, which serves for RSA as well."""

    def sign(self, digest: bytes) -> _Signed: ...


@dataclass(frozen=True, slots=True)
class _Signed:
    signature: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """One selector's private key. `algorithm`: rsa-sha256 or ed25519-sha256; `public`: for the `p=` tag."""

    selector: str
    algorithm: str
    operation: _Operation
    public: bytes

    @property
    def record(self) -> str:
        """The TXT record for selector._domainkey.domain (RFC 6376 section 3.6.1)."""
        kind = self.algorithm.partition("-")[0]
        return f"v=DKIM1; k={kind}; p={base64.b64encode(self.public).decode()}"


def load(selector: str, pem: bytes) -> Key:
    """A key from its PEM file. Raises BadDkimKey, DkimUnavailable."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    except ImportError as error:
        raise _missing() from error
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadDkimKey(
            f"DKIM {selector}: 秘密鍵 (PEM、パスフレーズなし) として読めません / "
            "expected a private key in PEM without a passphrase"
        ) from None
    encoding, forms = serialization.Encoding, serialization.PublicFormat
    if isinstance(key, ed25519.Ed25519PrivateKey):
        # RFC 8463 section 4: the 32 octets alone
        public = key.public_key().public_bytes(encoding.Raw, forms.Raw)
        return Key(selector, "ed25519-sha256", _Ed25519(key), public)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA:
        public = key.public_key().public_bytes(encoding.DER, forms.SubjectPublicKeyInfo)
        return Key(selector, "rsa-sha256", _Rsa(key), public)
    raise BadDkimKey(
        f"DKIM {selector}: RSA ({SHORTEST_RSA} ビット以上) か Ed25519 の鍵が要ります / "
        f"expected an RSA key of at least {SHORTEST_RSA} bits, or an Ed25519 key"
    )


class _Ed25519:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, digest: bytes) -> _Signed:
        """RFC 8463 section 3: the digest is what is signed."""
        return _Signed(self._key.sign(digest))


class _Rsa:
    def __init__(self, key: RSAPrivateKey) -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, utils

        self._key, self._padding = key, padding.PKCS1v15()
        self._hash = utils.Prehashed(hashes.SHA256())

    def sign(self, digest: bytes) -> _Signed:
        return _Signed(self._key.sign(digest, self._padding, self._hash))


class Signer:
    """Signs mails with all keys. `domain` "" is the domain of each mail's own From, which is what DMARC asks
    to be aligned. Raises DkimUnavailable."""

    def __init__(self, keys: Sequence[Key], domain: str = "") -> None:
        try:
            import dkim
            from dkim.canonicalization import CanonicalizationPolicy
        except ImportError as error:
            raise _missing() from error
        self._mail: Any = dkim.DKIM
        self._policy = CanonicalizationPolicy.from_c_value(_CANONICAL)
        self.keys, self.domain = tuple(keys), domain

    def sign(self, data: bytes, now: datetime) -> bytes:
        """The mail with its signatures."""
        mail = self._mail(data)
        domain = self.domain.encode("ascii") or _domain_of_from(mail.headers)
        mail.hasher = hashlib.sha256
        # this branch of dkimpy leaves the operation to the key, whichever algorithm the header names
        mail.signature_algorithm = b"ed25519-sha256"
        body = base64.b64encode(hashlib.sha256(self._policy.canonicalize_body(mail.body)).digest())
        names = self._names(mail)
        signatures = [self._one(mail, key, domain, names, body, now) for key in self.keys]
        return b"".join(signatures) + data

    def _names(self, mail: Any) -> list[bytes]:
        """The header fields to sign, those of _TWICE once more than they occur."""
        there = [name.strip().lower() for name, _ in mail.headers]
        return [name for name in _SIGNED for _ in range(there.count(name))] + list(_TWICE)

    def _one(
        self, mail: Any, key: Key, domain: bytes, names: list[bytes], body: bytes, now: datetime
    ) -> bytes:
        fields = [
            (b"v", b"1"),
            (b"a", key.algorithm.encode()),
            (b"c", _CANONICAL),
            (b"d", domain),
            (b"s", key.selector.encode("ascii")),
            (b"t", b"%d" % now.timestamp()),
            # with spaces, or dkimpy would fold the list inside a name
            (b"h", b" : ".join(names)),
            (b"bh", body),
            # as dkimpy does: makes the folding put b= on lines of its own
            (b"b", b"0" * 60),
        ]
        header = mail.gen_header(fields, names, self._policy, b"DKIM-Signature", key.operation)
        return b"DKIM-Signature: " + bytes(header)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature in a mail. `record` is the name of its key in DNS."""

    domain: str
    selector: str

    @property
    def record(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"


def signatures(data: bytes) -> list[Signature]:
    """Those that a mail bears, from the top; what is no signature is left out. Raises DkimUnavailable."""
    try:
        from dkim import rfc822_parse
        from dkim.util import InvalidTagValueList, parse_tag_value
    except ImportError as error:
        raise _missing() from error
    found = []
    for name, value in rfc822_parse(data)[0]:
        if name.strip().lower() != b"dkim-signature":
            continue
        try:
            tags = parse_tag_value(value)
            found.append(Signature(tags[b"d"].decode("ascii").lower(), tags[b"s"].decode("ascii").lower()))
        except (InvalidTagValueList, KeyError, UnicodeDecodeError):
            continue
    return found


def verifies(data: bytes, wanted: Signature, record: str) -> bool:
    """Whether the mail's signature by this domain and selector holds, with its record in DNS as given."""
    import dkim

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        there = name.decode("ascii", "replace").rstrip(".").lower() == wanted.record
        return record.encode() if there else None

    for place, found in enumerate(signatures(data)):
        if found == wanted:
            try:
                if dkim.DKIM(data).verify(place, ask):
                    return True
            except (dkim.DKIMException, ValueError):
                continue
    return False


_ANGLES = re.compile(rb"<[^<>]*@([^<>@\s]+)>\s*$")


def _domain_of_from(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Of the one From that `mailer.message` writes: a bare address, or a name and an address in brackets."""
    value = next(value for name, value in headers if name.lower() == b"from")
    angles = _ANGLES.search(value)
    return angles[1] if angles else value.strip().rpartition(b"@")[2]


def _missing() -> DkimUnavailable:
    return DkimUnavailable(
        "sender.dkim を使うには追加の部品が要ります: pip install 'todoku[dkim]' / "
        "sender.dkim needs an extra: pip install 'todoku[dkim]'"
    )
