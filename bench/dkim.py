"""What a DKIM signature of our own costs: `python -m bench.dkim [--mails N]`.

Milliseconds of processor time a mail: building it, and signing it with each algorithm; beside them dkimpy's
own RSA, which is written in Python.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import dkim as reference
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from mailer.dkim import Signer, load
from mailer.message import Letter, Letterhead, build

HEAD = Letterhead("とどく市立図書館", "yoyaku@library.example")
NOW = datetime(2025, 11, 25, 0, 10, tzinfo=UTC)
BODY = "予約された資料のご用意ができました。\n" * 30


def letter(number: int = 0) -> bytes:
    """A mail as patrons get it, about 2.5 kB."""
    return build(
        HEAD,
        Letter(
            to=f"patron{number}@far.example",
            subject="予約資料のご用意ができました",
            body=BODY,
            date=NOW,
            message_id=f"<{number}.x@library.example>",
            token="token",
        ),
    )


def cost(work: Callable[[int], object], mails: int) -> float:
    """Milliseconds of processor time for one, the median of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for number in range(mails):
            work(number)
        rounds.append((time.process_time() - began) / mails * 1000)
    return statistics.median(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--mails", type=int, default=500)
    mails = parser.parse_args().mails
    private = {
        "rsa-sha256": rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    pems = {
        name: key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL
            if name == "rsa-sha256"
            else serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for name, key in private.items()
    }
    print(f"{'unsigned':28}{cost(letter, mails):8.3f} ms")
    for name, pem in pems.items():
        signer = Signer([load("s1", pem)])
        print(
            f"{name:28}{cost(lambda number, signer=signer: signer.sign(letter(number), NOW), mails):8.3f} ms"
        )
    both = Signer([load(f"s{place}", pem) for place, pem in enumerate(pems.values())])
    print(f"{'both':28}{cost(lambda number: both.sign(letter(number), NOW), mails):8.3f} ms")
    slow = max(1, mails // 10)
    pem = pems["rsa-sha256"]
    python = cost(lambda number: reference.sign(letter(number), b"s1", b"library.example", pem), slow)
    print(f"{'rsa-sha256 by dkimpy alone':28}{python:8.3f} ms")


if __name__ == "__main__":
    main()
