"""The guest list: whose certificate counts, and what it gives."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Set
from dataclasses import dataclass
from itertools import chain

from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError
from tunnel.identity import Peer, Role
from tunnel.looks import is_seen, skeleton
from vshare.policy import EVERYTHING, Rights

MAX_GUESTS = 1_024  # each run of vconnect is one; a share lives for hours
MAX_REMOVED = 1_024  # reasons kept for those who come back with a certificate that is void
MAX_NAME = 40  # characters of a guest's name, on the screen and in its certificate

_PUNCTUATION = " ._@-"  # of the names that people go by: root@host, Ada L.
_NOT_GUESTS = frozenset(map(skeleton, ("sharer", "the sharer")))


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
    direct: int = 0  # of these, those that come directly, and not through the relay
    bytes_in: int = 0  # from the guest
    bytes_out: int = 0  # to the guest
    dropped: int = 0  # datagrams, either way


class Guests:
    """Who has a certificate that counts, by its fingerprint."""

    def __init__(self) -> None:
        self._guests: dict[str, Guest] = {}
        self._removed: dict[str, str] = {}  # why, by fingerprint; the oldest first
        self.on_removed: Callable[[Guest, str], None] = lambda guest, why: None

    def add(
        self,
        role: Role,
        name: str,
        fingerprint: str,
        address: str,
        *,
        rights: Rights = EVERYTHING,
        invite: str = "",
    ) -> Guest:
        """Enter a guest whose certificate was issued just now. Raises RefusedError(busy).

        The gateway always finds room: a full list must not take the public URL away.
        """
        if len(self._guests) >= MAX_GUESTS and role is Role.GUEST:
            raise RefusedError(Code.BUSY, f"this share has {MAX_GUESTS} guests already")
        guest = Guest(name, role, fingerprint, address, time.time(), rights, invite)
        self._guests[fingerprint] = guest
        return guest

    def remove(self, guest: Guest, why: str = "") -> None:
        """Strike a guest off: its certificate is refused from now on, with the sentence `why`.
        Idempotent."""
        if self._guests.pop(guest.fingerprint, None) is None:
            return
        if why:
            self._removed[guest.fingerprint] = why
        if len(self._removed) > MAX_REMOVED:
            del self._removed[next(iter(self._removed))]
        self.on_removed(guest, why)

    def named(self, name: str) -> Guest:
        """The guest of that name. Raises UsageError that names those there are."""
        for guest in self.of_role(Role.GUEST):
            if guest.name == name:
                return guest
        known = ", ".join(guest.name for guest in self.of_role(Role.GUEST)) or "nobody"
        raise UsageError(f"there is no guest {name!r}", f"guests: {known}; see vshare guests")

    def of_role(self, role: Role) -> list[Guest]:
        """Everybody with this role."""
        return [guest for guest in self._guests.values() if guest.role is role]

    def require(self, peer: Peer) -> Guest:
        """The guest with this certificate. Raises RefusedError(not-allowed)."""
        guest = self._guests.get(peer.fingerprint)
        if guest is None or guest.role is not peer.role:
            why = self._removed.get(peer.fingerprint, "this certificate is not on the guest list")
            raise RefusedError(Code.NOT_ALLOWED, why)
        return guest

    def free_name(self, wanted: str, reserved: Set[str] = frozenset()) -> str:
        """`wanted` without what means something to terminals, shells and options, and not to be
        taken for any other guest's name, one of those `reserved`, or the sharer."""
        names = {guest.name for guest in self._guests.values()} | reserved
        taken = _NOT_GUESTS | set(map(skeleton, names))
        clean = clean_name(wanted, _PUNCTUATION)[:MAX_NAME].strip() or "guest"
        numbered = (f"{clean}-{n}" for n in range(2, len(taken) + 3))
        return next(name for name in chain((clean,), numbered) if skeleton(name) not in taken)


def clean_name(wanted: str, punctuation: str) -> str:
    """Letters and digits that are seen, and `punctuation`; no option of a command."""
    composed = unicodedata.normalize("NFKC", wanted)
    kept = (char for char in composed if char in punctuation or (char.isalnum() and is_seen(char)))
    return "".join(kept).strip(" -")
