"""What each token allows, as it was when the accounts were read last. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from tunnel.errors import UsageError
from tunnel.relay_token import parse_token

SHARE = "share"  # the scope of what shares are registered with
_NO_HASH = bytes(32)  # compared with, where there is none


@dataclass(frozen=True, slots=True)
class Permit:
    """One token that is not revoked. Times are seconds since the epoch; None: no limit, not ever.

    `account` is whose it is: a number that no other account gets later.
    """

    token: str  # its ID
    account: int
    hash: bytes = field(repr=False)
    scopes: frozenset[str]
    shares: int | None
    expires_at: float | None

    def is_over(self, now: float) -> bool:
        """Whether its time is."""
        return self.expires_at is not None and self.expires_at <= now


class Permits:
    """Looked up in memory: the disk is waited for elsewhere (relay/accounts/watch.py)."""

    def __init__(self) -> None:
        self._permits: Mapping[str, Permit] = {}

    def replace(self, permits: Mapping[str, Permit]) -> None:
        """From now on there are these, by their tokens' IDs."""
        self._permits = permits

    def find(self, text: str, now: float) -> Permit | None:
        """What the token `text` allows a share; None: nothing, for whatever reason."""
        permit = self.known(text, now)
        return permit if permit is not None and self.is_good(permit.token, now) else None

    def known(self, text: str, now: float) -> Permit | None:
        """What the token `text` is for, be it sharing or not; None: nothing."""
        try:
            token = parse_token(text)
        except UsageError:
            return None
        permit = self._permits.get(token.id)
        matches = hmac.compare_digest(permit.hash if permit else _NO_HASH, token.hash)
        if permit is None or not matches:
            return None
        return self.get(token.id, now)

    def get(self, token: str, now: float) -> Permit | None:
        """What the token with that ID is for (still); None: nothing."""
        permit = self._permits.get(token)
        return permit if permit is not None and not permit.is_over(now) else None

    def tokens_of(self, account: int) -> list[str]:
        """The IDs of an account's tokens that are not revoked."""
        return [each.token for each in self._permits.values() if each.account == account]

    def is_good(self, token: str, now: float) -> bool:
        """Whether the token with that ID may share (still)."""
        permit = self.get(token, now)
        return permit is not None and SHARE in permit.scopes
