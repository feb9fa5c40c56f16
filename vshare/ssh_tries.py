"""How often the SSH password may be tried. Pure.

A try counts from the moment that the share's SPAKE2 message is out, since a guest that hangs up
then has tried a password as well; the one that was right is given back.
"""

from __future__ import annotations

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.key_handover import TRIES

# Over all guests, since who is refused can join again under another name. Odds for a guesser by
# then, if the password is one of the 10,000 that people like best: 1 in 333.
MAX_FAILURES = 30


class Tries:
    """The failures so far, by the guest's certificate."""

    def __init__(self, per_guest: int = TRIES, in_all: int = MAX_FAILURES) -> None:
        self._per_guest = per_guest
        self._in_all = in_all
        self._failed: dict[str, int] = {}
        self.failures = 0

    @property
    def locked(self) -> bool:
        """Whether nobody may try any more."""
        return self.failures >= self._in_all

    def left(self, fingerprint: str) -> int:
        """How many tries this guest still has."""
        return 0 if self.locked else self._per_guest - self._failed.get(fingerprint, 0)

    def require(self, fingerprint: str) -> None:
        """Raise RefusedError unless this guest may try."""
        if self.locked:
            raise RefusedError(
                Code.NOT_ALLOWED,
                "too many wrong SSH passwords were tried: SSH is closed for newcomers",
            )
        if self.left(fingerprint) <= 0:
            raise RefusedError(
                Code.NOT_ALLOWED, f"{self._per_guest} wrong SSH passwords were the limit"
            )

    def count(self, fingerprint: str) -> None:
        """Count a failure, in the same step in which the message leaves. Raises RefusedError."""
        self.require(fingerprint)
        self._failed[fingerprint] = self._failed.get(fingerprint, 0) + 1
        self.failures += 1

    def succeeded(self, fingerprint: str) -> None:
        """It was no failure: take back what `count` did."""
        self.failures -= 1
        self._failed[fingerprint] -= 1
        if not self._failed[fingerprint]:
            del self._failed[fingerprint]
