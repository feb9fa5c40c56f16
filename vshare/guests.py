"""The guest list, and how often the code may be guessed (docs/protocol.md 7). Pure.

The clock is an argument: seconds that never go back.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Peer, Role
from vshare.policy import EVERYTHING, Rights

BUCKET = 10  # attempts that may come at once
REFILL_SECONDS = 6.0  # for one more
LOCK_AFTER = 1_000  # failures in a share's life: odds of 1 in 8.6 million for a guesser by then
MAX_GUESTS = 1_024  # each run of vconnect is one; a share lives for hours
MAX_NAME = 40  # characters of a guest's name, on the screen and in its certificate


class Attempts:
    """A token bucket for joining. Guests that have a certificate never come here."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BUCKET)
        self._at = now
        self.failures = 0

    def take(self, now: float) -> None:
        """Spend a token on an attempt. Raises RefusedError(busy)."""
        self._tokens = min(BUCKET, self._tokens + (now - self._at) / REFILL_SECONDS)
        self._at = now
        if self.failures >= LOCK_AFTER:
            raise RefusedError(
                Code.BUSY, "too many wrong codes were tried: the sharer has to start a new share"
            )
        if self._tokens < 1:
            raise RefusedError(Code.BUSY, "too many attempts to join; try again in a minute")
        self._tokens -= 1

    def succeeded(self) -> None:
        """The attempt was no guess: take the failure back, and give its token back."""
        self.failures -= 1
        self._tokens = min(BUCKET, self._tokens + 1)

    def failed(self) -> None:
        """Count a failure, before message 2 goes out: from then on the attempt is a guess,
        however it ends, unless `succeeded` takes it back."""
        self.failures += 1


@dataclass(slots=True)
class Guest:
    """One certificate that was issued."""

    name: str
    role: Role
    fingerprint: str
    address: str  # the relay's word
    joined_at: float = 0.0  # seconds since the epoch
    rights: Rights = EVERYTHING
    invite: str = ""  # the plate of the invite that it came by
    has_ssh_key: bool = False
    streams: int = 0
    connections: int = 0
    bytes_in: int = 0  # from the guest
    bytes_out: int = 0  # to the guest


class Guests:
    """Who has a certificate that counts, by its fingerprint."""

    def __init__(self) -> None:
        self._guests: dict[str, Guest] = {}

    def add(self, role: Role, name: str, fingerprint: str, address: str) -> Guest:
        """Enter a guest whose certificate was issued just now. Raises RefusedError(busy).

        The gateway always finds room: a full list must not take the public URL away.
        """
        if len(self._guests) >= MAX_GUESTS and role is Role.GUEST:
            raise RefusedError(Code.BUSY, f"this share has {MAX_GUESTS} guests already")
        guest = Guest(name, role, fingerprint, address)
        self._guests[fingerprint] = guest
        return guest

    def remove(self, guest: Guest) -> None:
        """Strike a guest off: its certificate is refused from now on. Idempotent."""
        self._guests.pop(guest.fingerprint, None)

    def of_role(self, role: Role) -> list[Guest]:
        """Everybody with this role."""
        return [guest for guest in self._guests.values() if guest.role is role]

    def require(self, peer: Peer) -> Guest:
        """The guest with this certificate. Raises RefusedError(not-allowed)."""
        guest = self._guests.get(peer.fingerprint)
        if guest is None or guest.role is not peer.role:
            raise RefusedError(Code.NOT_ALLOWED, "this certificate is not on the guest list")
        return guest

    def free_name(self, wanted: str) -> str:
        """`wanted` made printable, and unlike every other guest's name."""
        clean = "".join(char for char in wanted if char.isprintable()).strip()[:MAX_NAME] or "guest"
        taken = {guest.name for guest in self._guests.values()}
        if clean not in taken:
            return clean
        return next(f"{clean}-{n}" for n in range(2, len(taken) + 3) if f"{clean}-{n}" not in taken)
