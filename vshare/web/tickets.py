"""One-time ways into a site that asks for a passcode, for who was let in elsewhere. Pure: the clock
and the secrets are arguments.

The guest page gives its visitors one with each click on a site; the site's passcode rule takes it,
and gives its own cookie for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

PARAMETER = b"ticket"
LASTS = 30.0  # seconds: a browser goes there at once
MAX_TICKETS = 256  # that were not used; another voids the oldest


class Tickets:
    """`secret()` gives a new one, 128 bits or more, that needs no escape in a URL; `clock` seconds
    that never go back."""

    def __init__(self, secret: Callable[[], str], clock: Callable[[], float]) -> None:
        self._secret, self._clock = secret, clock
        self._tickets: dict[bytes, tuple[bytes, float, str]] = {}  # host, until when, whose
        self.still_in: Callable[[str, bytes], bool] = lambda owner, host: True

    def issue(self, host: bytes, owner: str) -> str:
        """One for `owner` that is good at the site with this host, once. `still_in(owner, host)`
        says for each request that is made by it whether who was let in still is."""
        token = self._secret()
        self._tickets[_hash(token.encode())] = (host, self._clock() + LASTS, owner)
        while len(self._tickets) > MAX_TICKETS:
            del self._tickets[next(iter(self._tickets))]
        return token

    def maybe_redeem(self, token: bytes, host: bytes) -> str | None:
        """Whose it is, if it is good at `host`; it is used up, wherever it was shown."""
        found = self._tickets.pop(_hash(token), None)
        is_good = found is not None and found[0] == host and self._clock() < found[1]
        return found[2] if found is not None and is_good else None


def _hash(token: bytes) -> bytes:
    """What is looked up, so that how long it takes says nothing of the token."""
    return hashlib.sha256(token).digest()
