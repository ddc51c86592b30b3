"""Settings that guard the way out: the circuit breaker, and DKIM signing of our own."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import PlainValidator, field_validator

from holds_core.settings.base import Section, unique
from holds_core.settings.feeds import Share
from holds_core.settings.values import Domain, FilePath, duration, expected, whole


class Breaker(Section):
    """When refusals that are our own fault stop all mail: at `at_least`, if more than `share` of the last mails.

    A single mail tests after `probe_after`, up to `probes` times; then a person decides.
    """

    share: Share = 0.3
    at_least: Annotated[int, PlainValidator(whole(1, 1_000))] = 5
    probe_after: Annotated[timedelta, PlainValidator(duration("1s", "1d"))] = timedelta(minutes=10)
    probes: Annotated[int, PlainValidator(whole(0, 100))] = 3

    @field_validator("share")
    @classmethod
    def _some_share(cls, share: float) -> float:
        if share <= 0:
            raise expected("1%以上の割合", "a share of at least 1%")
        return share


class DkimKey(Section):
    """One signing key: RSA or Ed25519, told by the file."""

    selector: Domain
    key_file: FilePath


class Dkim(Section):
    """DKIM signing of our own. Without keys the relay signs, or nobody. `domain` None: that of From."""

    domain: Domain | None = None
    keys: tuple[DkimKey, ...] = ()

    @field_validator("keys")
    @classmethod
    def _selectors_differ(cls, keys: tuple[DkimKey, ...]) -> tuple[DkimKey, ...]:
        unique(keys, "selector", "ほかの鍵と重ならないセレクター", "a selector that no other key has")
        return keys
